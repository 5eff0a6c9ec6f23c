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
struct StepParts;

/// Symbols of a step, and of the function of one sequence that it is made of.
inline constexpr llvm::StringLiteral kTokens = "tokens", kPast = "past",
                                     kRuns = "runs", kTable = "table",
                                     kLogits = "logits", kPages = "pages",
                                     kSourceTable = "source_table",
                                     kChosenRows = "layer_rows_";

/// What an attention reads of a cache. Of the sequence itself: rows of a past,
/// from an argument of the function, and new rows behind them, the result of a
/// concatenation, or of a scatter of the new rows into it (GroupQueryAttention,
/// whose sequences differ in length); in a graph without a past the new rows
/// alone. Of a source: an argument, or rows that are computed of others.
struct CacheRows {
  mlir::Operation *whole = nullptr; ///< null: nothing is joined
  mlir::BlockArgument past;         ///< null: no argument
  mlir::Value rows; ///< whose uses lead to attentions: what there is one of
  /// The past is a buffer of a fixed size, and this dim of it counts tokens: a
  /// scatter writes into it. -1: it is as long as what it holds.
  int64_t bufferDim = -1;
  int64_t places = -1; ///< of such a buffer; -1: it varies

  mlir::Value newRows() const {
    auto scatter = llvm::dyn_cast<ScatterNDOp>(whole);
    return scatter ? scatter.getUpdates() : whole->getOperand(1);
  }
};

/// A bias of T5: row `rows[d]` of `table` [n, heads] for a key `d` tokens back,
/// and the last for all that are further.
struct DistanceBias {
  mlir::Value table;
  llvm::SmallVector<int64_t> rows;
};

/// An attention whose keys and values are such rows, in whatever layout.
struct CachedAttention {
  AttentionOp op;
  CacheRows keys, values;
  bool isSource = false;   ///< they are an encoder's: no new token adds to them
  bool isCircular = false; ///< its buffers begin again: adoptWindows
  int64_t kept =
      -1; ///< what its rows are kept for: `left` of the widest reader
  mlir::Value slopes = {}; ///< of a bias by distance; null: no such
  std::optional<DistanceBias> distances = {};

  bool hasPast() const { return keys.past || values.past; }
};

/// All attentions of `func` that a step computes, in order: those whose queries
/// are of its tokens. `others` gets those that have half of a past.
llvm::SmallVector<CachedAttention>
findCachedAttentions(mlir::func::FuncOp func,
                     llvm::SmallVectorImpl<AttentionOp> &others);

/// Has an attention of its own tokens, and all of these are causal.
bool isDecoder(llvm::ArrayRef<CachedAttention> attentions);
/// Some past of the sequence itself is an argument.
bool hasOwnPast(llvm::ArrayRef<CachedAttention> attentions);
/// The rows of the source are computed here.
bool computesSource(llvm::ArrayRef<CachedAttention> attentions);

/// The windows of the attentions that are no source's, widest first (-1: all),
/// each a group of states. Sets what each one's rows are kept for.
llvm::SmallVector<int64_t>
findWindows(llvm::MutableArrayRef<CachedAttention> attentions);

/// What an argument of the function stands for, by its name. SourceMask is of
/// the tokens of an encoder, Begins how many tokens a buffer holds already.
enum class StepInput {
  Ids,
  Mask,
  SourceMask,
  Positions,
  CachePositions,
  Begins,
  Past,
  Other
};
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

/// Adds an input behind the others.
mlir::BlockArgument addStepArgument(mlir::func::FuncOp func,
                                    llvm::StringRef name,
                                    llvm::ArrayRef<DimExpr> dims,
                                    mlir::Type element);
/// The name of an argument, for messages.
std::string argumentName(mlir::func::FuncOp func, mlir::BlockArgument arg);
/// The name of a state: of its past, or one that says layer and kind.
std::string stateName(mlir::func::FuncOp func, const CachedAttention &attention,
                      bool keys, int64_t layer);
/// Whether `func` takes one token of each sequence a call, [batch, 1]. Then its
/// batch is what counts tokens, of any sequences and also several of one.
bool takesOneToken(mlir::func::FuncOp func);

/// Sizes of the function that a step is made of.
struct SequenceSizes {
  DimExpr batch, fresh, past; ///< `fresh`: new tokens; `past`: 0 without any

  static SequenceSizes of(mlir::func::FuncOp func,
                          llvm::ArrayRef<CachedAttention> attentions);
  DimExpr all() const { return past + fresh; }
};

/// Makes the batch 1 (or, of one token a call, `tokens`), and all sizes ones of
/// `past` and `tokens`.
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
  /// `op` takes rows of a table by their position plus this: the dim they lie
  /// in, and the addend.
  std::optional<std::pair<int64_t, int64_t>> asRowsByPosition(SliceOp op);
  /// Empty: the attention sees the past and, causally, the new tokens, within
  /// its window. Finds the slopes or distances of a bias.
  std::string whyNotCausal(CachedAttention &attention);
  /// Empty: the attention sees the whole of its source.
  std::string whyNotWhole(CachedAttention &attention);

  /// A mask of given positions is a window once they are known: that of a
  /// buffer of a fixed size is.
  void adoptWindow(AttentionOp op);
  /// Of a function of one token a call, whose buffers have `places` places: in
  /// the call of the token that comes to place `p` in [0, places) for the first
  /// time (`round` 0) or a later one, it is written there, and seen are the
  /// places that were ever written. `givesPlace`: the input that says where to
  /// write gives a place, not a position.
  bool isCircular(CachedAttention &attention, int64_t places, int64_t round,
                  bool givesPlace);

private:
  bool isOneSegment(AttentionOp op, MaskAnalysis &masks);
  bool seesWritten(AttentionOp op, MaskAnalysis &masks, const DimExpr &written,
                   bool all);
  std::string whyNotMasked(AttentionOp op, MaskAnalysis &masks,
                           const DimExpr &keys);
  /// Empty: a scatter writes the new rows behind the past.
  std::string whyNotBehind(mlir::Operation *whole, MaskAnalysis &masks,
                           const DimExpr &place);
  std::string whyNotBias(CachedAttention &attention, MaskAnalysis &masks);
  void assumeFacts(MaskAnalysis &masks);

  mlir::func::FuncOp func;
  DimAnalysis &dims;
  llvm::ArrayRef<CachedAttention> attentions;
  SequenceSizes sizes;
  DimExpr past;          ///< tokens before the new ones, as a size
  DimExpr before, begin; ///< the same, and where to write, as values
  CoordSpace space;
  ScoreCoords scores;
  MaskAnalysis indices;
};

/// Gives attentions the windows that only show when positions are known: of a
/// mask, and of buffers that begin again when they are full. Before groups of
/// states are made, for what is behind a window is given back.
void adoptWindows(mlir::func::FuncOp func,
                  llvm::MutableArrayRef<CachedAttention> attentions);

/// The table of a bias that depends on how far back a key lies; nothing where
/// it does not, or goes on changing beyond 4096 tokens.
std::optional<DistanceBias> readDistances(mlir::Value bias, MaskAnalysis &masks,
                                          CoordSpace &space, bool hasPast);

/// Gives `paged` the slopes or the bias of `attention`.
void addBias(mlir::func::FuncOp func, PagedAttentionOp paged,
             const CachedAttention &attention);

/// Makes a step of a copy of a decoder. Fails with what keeps it from being
/// one, and where; the copy is then of no use.
llvm::LogicalResult makeStep(mlir::func::FuncOp func,
                             llvm::SmallVector<CachedAttention> attentions,
                             const StepParts &parts, std::string &reason,
                             mlir::Operation *&culprit);

/// Erases ops whose results nobody reads.
void eraseUnused(mlir::func::FuncOp func);

/// A copy of `func` that computes the rows of its source alone, for the states
/// of group 1 of the step.
mlir::func::FuncOp makeEncode(mlir::func::FuncOp func);

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_MAKESTEP_H
