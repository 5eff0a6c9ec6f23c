//===- EmitExperts.h - Products of rows with chosen matrices ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Two kernels: one sorts the slots (a token and one of its experts) by expert,
// the other takes the rows of each expert through its matrix. Time and memory
// go with the slots, whatever the number of experts.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITEXPERTS_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITEXPERTS_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Operands: experts [R] (i32 or i64), result [4 * R] of i64, both contiguous:
///
///   result[3 * i ..]  = group, begin, rows of chunk i; rows is 0 past the last
///   result[3 * R + p] = the slot at place p
///
/// A negative expert counts from the end; one still outside is clamped.
struct RouteSpec {
  int64_t groups = 0;
  int64_t chunk = 0; ///< most rows of a chunk
};
llvm::LogicalResult emitRoute(KernelBuilder &kb, const RouteSpec &spec);

/// result[s, n] = sum over k of x[s / share, k] * W(g)[k, n] + bias[g, n], for
/// each slot s of each chunk of group g. Operands:
///
///   x           [R / share, K], strides (any, 1)
///   weights     the panels of each group (lib/Support/PanelLayout.h), end to
///               end: floats of [K, N], or with `bits` bytes of [K*bits/8, N]
///   route       see above
///   bias        [groups, N], contiguous                      if `hasBias`
///   scales      panels of [K / block, N] of each group       with `bits`
///   zero points panels of bytes of [K / block * bits / 8, N] if
///   `hasZeroPoints` result      [R, N], strides (any, 1)
///
/// Only the pointers of weights, route, bias, scales and zero points are used.
struct GroupedLinearSpec {
  int64_t groups = 0, depth = 0, columns = 0;
  int64_t share = 1, chunk = 0;
  int64_t bits = 0, block = 0;
  bool hasBias = false, hasZeroPoints = false;
};
llvm::LogicalResult emitGroupedLinear(KernelBuilder &kb,
                                      const GroupedLinearSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITEXPERTS_H
