//===- EmitPages.h - Which pages of a cache matter --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ferrite.summarize_pages and ferrite.select_pages: what is known of the keys
// of a full page without reading them, and which pages a token reads then.
// ferrite.weigh_pages: what keys got, by which who evicts keeps them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITPAGES_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITPAGES_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// A summary: of `kPageParts` parts of a page, one after the other, the means
/// and half the ranges of their keys, [parts][2][D].
constexpr int64_t kPageParts = 4;

/// The operands, in this order: keys [P, Hkv, D, 64], runBegins [R + 1],
/// contexts [R], pageTables [R, W] (i32), summaries [P, Hkv, 64, X], and the
/// same memory once more as the result. A unit is a run and a head.
llvm::LogicalResult emitSummarizePages(KernelBuilder &kb);

struct SelectPagesSpec {
  double scale = 1;
  double share = 0;   ///< of the pages that a token sees; or
  int64_t tokens = 0; ///< so many
  int64_t left = -1;
};

/// The operands: q [1, T, H, D], summaries, runBegins, contexts, visible [T],
/// pageTables; the result [16 R, Hkv, X] (i32). A unit is a run and a key head.
llvm::LogicalResult emitSelectPages(KernelBuilder &kb,
                                    const SelectPagesSpec &spec);

struct WeighPagesSpec {
  double scale = 1, softcap = 0;
};

/// The operands: q [1, T, H, D], keys, runBegins, contexts, pageTables, runs
/// [W] (i64), tokens [W] (i32); the result [W, Hkv, 64 * width] (i64). A unit
/// is one of W and a key head.
llvm::LogicalResult emitWeighPages(KernelBuilder &kb,
                                   const WeighPagesSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITPAGES_H
