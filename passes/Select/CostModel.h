//===- CostModel.h - What a launch costs ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Operations and bytes of a launch, as polynomials of the entry's symbols, and
// the time that a machine must take for them at least. The report has both;
// `bench --profile` sets what it measured beside them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_COSTMODEL_H
#define FERRITE_PASSES_SELECT_COSTMODEL_H

#include "dialects/Plan/IR/Plan.h"
#include "lib/Support/MachineProfile.h"

namespace ferrite {

struct LaunchCost {
  /// Multiply-adds of products count as two; all else counts as nothing.
  /// Attention as if no key were masked.
  DimExpr operations;
  /// Weights, operands and results, each once; of tables that are looked up as
  /// many rows as are taken.
  DimExpr bytes;
  int64_t weightBytes = 0; ///< those of `bytes` that are weights
  /// What the products are of: "f32", "f16", "bf16", "i8".
  llvm::StringRef arithmetic = "f32";
};

LaunchCost costOf(plan::LaunchOp launch, plan::KernelOp kernel);

/// The instruction that does this arithmetic at a level, in a profile's words;
/// "" when the machine lacks it.
llvm::StringRef instructionOf(llvm::StringRef arithmetic, llvm::StringRef level,
                              const MachineProfile &machine);

/// Seconds at least: what is slower, the products or the memory. The weights
/// come from the level that holds `allWeights`, those of the whole model, as
/// each run reads them in turn; all else from the second level of caches. 0
/// when the machine lacks the instruction.
double leastSeconds(int64_t operations, int64_t bytes, const LaunchCost &cost,
                    int64_t allWeights, llvm::StringRef level, bool allThreads,
                    const MachineProfile &machine);

/// A product with a stored weight, and what of the weight is kept in blocks of
/// `strip` columns; 0: all of it, in panels.
struct ProductShape {
  int64_t rows = 0, depth = 0, columns = 0;
  bool isBytes = false; ///< else f32
  int64_t strip = 0, kept = 0;
};

/// Seconds of such a product with one thread at the best of some levels, of
/// which one `isWide` (512 bits), one has dots of bytes (`hasDots`). Not at
/// least, as above, but as kernels do: what `ferrite tune` measured of strips
/// in this profile, or what was measured where the kernels were written.
double productSeconds(const ProductShape &shape, bool isWide, bool hasDots,
                      int64_t allWeights, const MachineProfile &machine);
/// What a profile calls the rate of such strips: "i8_strip32_512".
std::string stripRate(const ProductShape &shape, bool isWide);

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_COSTMODEL_H
