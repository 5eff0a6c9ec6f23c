//===- MakeStep.h - What a step is made of ----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_MAKESTEP_H
#define FERRITE_PASSES_FUSION_MAKESTEP_H

#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/MaskAnalysis.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace ferrite {

/// Symbols of a step, and of the function of one sequence that it is made of.
inline constexpr llvm::StringLiteral kTokens = "tokens", kPast = "past",
                                     kRuns = "runs", kTable = "table",
                                     kLogits = "logits", kPages = "pages";

/// Rows of a past, from an argument of the function, and new rows behind them:
/// the result of a concatenation, or of a scatter of the new rows into it
/// (GroupQueryAttention, whose sequences differ in length).
struct CacheRows {
  mlir::Operation *whole;
  mlir::BlockArgument past;

  mlir::Value newRows() const {
    auto scatter = llvm::dyn_cast<ScatterNDOp>(whole);
    return scatter ? scatter.getUpdates() : whole->getOperand(1);
  }
};

/// An attention whose keys and values are such rows, in whatever layout.
struct CachedAttention {
  AttentionOp op;
  CacheRows keys, values;
  mlir::Value slopes; ///< of a bias by distance; null: no bias
};

/// All attentions of `func` with a past, in order; `others` gets those without.
llvm::SmallVector<CachedAttention>
findCachedAttentions(mlir::func::FuncOp func,
                     llvm::SmallVectorImpl<AttentionOp> &others);

/// What an argument of the function stands for, by its name.
enum class StepInput { Ids, Mask, Positions, CachePositions, Past, Other };
StepInput classifyInput(mlir::func::FuncOp func, mlir::BlockArgument arg,
                        llvm::ArrayRef<CachedAttention> attentions);

/// Expressions in place of symbols.
using SymbolMap = std::map<std::string, DimExpr>;
/// In the dims of `op`'s attributes and results, whose operands have theirs
/// in `dims` already; adds those of the result. Fails with the reason.
llvm::LogicalResult replaceSymbols(mlir::Operation *op,
                                   const SymbolMap &symbols,
                                   llvm::DenseMap<mlir::Value, Dims> &dims,
                                   std::string &reason);
/// The same for every op of the function and its arguments, whose dims
/// become `ferrite.dims`.
llvm::LogicalResult replaceSymbols(mlir::func::FuncOp func,
                                   const SymbolMap &symbols,
                                   std::string &reason);

/// The name of an argument, for messages.
std::string argumentName(mlir::func::FuncOp func, mlir::BlockArgument arg);
/// Makes the batch 1, and all sizes ones of `past` and `tokens`.
llvm::LogicalResult
bringToOneSequence(mlir::func::FuncOp func,
                   llvm::ArrayRef<CachedAttention> attentions,
                   std::string &reason);

/// What a graph of one sequence without padding knows: the mask is all ones,
/// and token i of `tokens` is at position past + i.
class SequenceFacts {
public:
  SequenceFacts(mlir::func::FuncOp func, DimAnalysis &dims,
                llvm::ArrayRef<CachedAttention> attentions);

  /// `value`, an element for each token, is its position plus this.
  std::optional<int64_t> asPosition(mlir::Value value);
  /// Empty: the attention sees the past and, causally, the new tokens, within
  /// its window. Finds the slopes of a bias.
  std::string whyNotCausal(CachedAttention &attention);

private:
  /// Empty: a scatter writes the new rows behind the past.
  std::string whyNotBehind(mlir::Operation *whole);
  std::string whyNotBias(CachedAttention &attention, MaskAnalysis &masks);
  void assumeFacts(MaskAnalysis &masks);

  mlir::func::FuncOp func;
  DimAnalysis &dims;
  llvm::ArrayRef<CachedAttention> attentions;
  CoordSpace space;
  ScoreCoords scores;
  MaskAnalysis indices;
};

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_MAKESTEP_H
