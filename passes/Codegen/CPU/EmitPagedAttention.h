//===- EmitPagedAttention.h - Attention to pages of a cache -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ferrite.paged_attention and ferrite.paged_partials. A page of the keys of a
// head is [D][64], the panel of a product with queries; one of values is
// [64][Dv], the panel of a product with weights: nothing is packed.
//
// Two kernels, because units are independent. A sequence that decodes alone has
// as many units of `partials` as it has heads and blocks of 512 keys; each
// writes sums, maximum and total of its block. The units of the attention
// kernel add those up in order, and compute all longer runs, a head and up to
// 384 rows each, with no partials in memory: those of a prefill of 2048 tokens
// would be hundreds of MiB, those of a decode are 1/1000 of the keys it reads.
//
// Bits: a block's weights are relative to its own maximum, and blocks are
// merged in order by one formula (`merge` in PagedEmitter.h), in either kernel;
// a key that a row does not see adds an exact 0. So a token's result depends on
// its own sequence alone. Of a tree, a row sums weights as they would lie if
// the run were its way alone.
//
// How many units have work is in memory (runs, contexts), and the runtime asks
// for their number once for all calls of equal sizes. So units are shares of
// the work items, at most 128; who runs one scans the runs.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITPAGEDATTENTION_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITPAGEDATTENTION_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// The operands, in this order:
///   q [1, T, H, D], keys [P, Hkv, D, 64], values [P, Hkv, 64, Dv];
///   runBegins [R + 1], contexts [R] (i32), visible [T] (i64),
///   pageTables [R, W] (i32);
///   sinks [H], partials [R, H, X], kept [H, N], slopes [H], bias [H, N],
///   selected [16 R, Hkv, Y] (i32), where the spec has them; result [1, T, H,
///   Dv] (Dv + 1 with lse), or [R, H, X] of partials.
/// Floats are f32, f16 or bf16 each (partials and bias f32); f32 arithmetic. Of
/// q and the result the innermost stride is 1, all else is contiguous. Heads, D
/// and Dv are static.
struct PagedSpec {
  double scale = 1, softcap = 0;
  int64_t left = -1;
  /// The part of a sequence that the pages hold: tokens from `from` on, before
  /// `until` (0: all), and `gap` behind the row's at least.
  int64_t from = 0, until = 0, gap = 0;
  bool cross = false;
  bool hasSinks = false, hasPartials = false, hasSlopes = false,
       hasBias = false, hasSelected = false;
  /// The kernel that computes partials.
  bool isPartials = false;
  /// A row of the result ends with the logarithm of the sum of its weights.
  bool hasLse = false;
  /// Rows of runs of more than 64 tokens have lists of so many pages at most
  /// (ferrite.select_run_pages): kept [H, N] (i32) behind the partials.
  int64_t keptPages = 0;

  static constexpr unsigned kQuery = 0, kKeys = 1, kValues = 2, kBegins = 3,
                            kContexts = 4, kVisible = 5, kTables = 6,
                            kSinks = 7;
  unsigned partialsOperand() const { return kSinks + hasSinks; }
  unsigned keptOperand() const { return partialsOperand() + hasPartials; }
  unsigned slopesOperand() const { return keptOperand() + (keptPages > 0); }
  unsigned biasOperand() const { return slopesOperand() + hasSlopes; }
  unsigned selectedOperand() const { return biasOperand() + hasBias; }
  unsigned resultOperand() const { return selectedOperand() + hasSelected; }
};

/// Emits the units and the body. Failure, with a diagnostic, when the layout is
/// not as said above.
llvm::LogicalResult emitPagedAttention(KernelBuilder &kb,
                                       const PagedSpec &spec);

/// ferrite.kv_append: rows [1, T, Hkv, D], slots [T] (i64), the pool
/// [P, Hkv, D, 64] of keys or [P, Hkv, 64, D] of values, and the same memory
/// once more as the result.
llvm::LogicalResult emitKvAppend(KernelBuilder &kb, bool keys);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITPAGEDATTENTION_H
