//===- EmitGather.h - Kernels that move elements by index -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Indices are i32 or i64, as KernelBuilder::checkedIndex takes them. Sizes and
// strides of the layouts may be dynamic; dims marked "adjacent" have a static
// stride of 1 (any, where their size is a static 1). The element type is any of
// 1, 2, 4 or 8 bytes and the same in data and result.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITGATHER_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITGATHER_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

enum class GatherKind {
  /// ONNX Gather. Operands data [O, A, I], indices [n], result [O, n, I], with
  /// I adjacent in data and result:
  ///   result[o, j, i] = data[o, indices[j], i]
  Slices,
  /// ONNX GatherElements. Operands data, indices and result of one rank, the
  /// latter two of one shape:
  ///   result[.., p, ..] = data[.., indices[.., p, ..], ..] along `axis`
  Elements,
  /// ONNX GatherND with batch_dims = 0. Operands data [D0, .., Dk-1, I],
  /// indices [n, k], result [n, I], with I adjacent in data and result:
  ///   result[j, i] = data[indices[j, 0], .., indices[j, k-1], i]
  Tuples
};

struct GatherSpec {
  GatherKind kind = GatherKind::Slices;
  /// Of Elements alone.
  unsigned axis = 0;
};

/// Defines both functions of `kb`. Fails with an error at kb's location.
mlir::LogicalResult emitGather(KernelBuilder &kb, const GatherSpec &spec);

/// ONNX CumSum or CumProd. Operands input [O, A, I] and result [O, A, I] of one
/// type (floats but f64 add in f32, others in their type), summed or multiplied
/// along A from its first position, or last if `reverse`. An exclusive sum
/// leaves its own element out. May be in place.
struct ScanSpec {
  bool exclusive = false;
  bool reverse = false;
  bool product = false;
};
mlir::LogicalResult emitScan(KernelBuilder &kb, const ScanSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITGATHER_H
