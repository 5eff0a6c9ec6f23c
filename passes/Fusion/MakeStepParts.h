//===- MakeStepParts.h - What a step has on request -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_MAKESTEPPARTS_H
#define FERRITE_PASSES_FUSION_MAKESTEPPARTS_H

#include "passes/Fusion/MakeStep.h"

#include <set>

namespace ferrite {

/// Of a module, arrays of strings: what steps take and give besides tokens and
/// logits ("embeddings", "hidden:3", "hidden:/model/Add", "lse:0"), and steps
/// that leave layers out, for all of a call ("draft:skip:4-7+9") or for the
/// runs that each call chooses ("exits:choose:4-7+9").
inline constexpr llvm::StringLiteral kStepWithAttr = "ferrite.step_with",
                                     kStepEntriesAttr = "ferrite.step_entries";
/// Of a module, a string: what pools of keys and values hold, `f32`, `f16`,
/// `bf16`, `int8` or `int4`. Absent: what the model computes them in.
inline constexpr llvm::StringLiteral kKvAttr = "ferrite.kv";
/// Of a function, a string: steps of it are named PREFIX_step.
inline constexpr llvm::StringLiteral kModelPrefixAttr = "ferrite.model_prefix";

/// What caches hold, as a text says it: TYPE[,f16-sinks=N][,f16-recent=W]. The
/// first N tokens and those that lie less than W behind a query are f16, where
/// all else is bytes.
struct KvTypes {
  std::string type; ///< empty: as computed
  int64_t sinks = 0, recent = 0;

  bool isMixed() const { return sinks > 0 || recent > 0; }
  /// Empty, or what is wrong with the text.
  std::string parse(llvm::StringRef text);
};

/// Adds the states of f16 to a step whose attentions read bytes
/// (MakeStepMixed.cpp).
llvm::LogicalResult mixCaches(mlir::func::FuncOp func, const KvTypes &types,
                              std::string &reason, mlir::Operation *&culprit);

struct StepParts {
  std::string name = "step"; ///< of the entry
  bool embeddings = false;
  std::vector<std::string> hidden; ///< layers from 0, or names of nodes
  std::vector<int64_t> lse;        ///< layers
  std::set<int64_t> skipped;       ///< layers
  std::set<int64_t> chosen;        ///< layers that some runs leave out
  KvTypes kv;                      ///< as kKvAttr says

  /// Adds what a text asks for; empty, or what is wrong with it.
  std::string addWith(llvm::StringRef text);
  std::string addEntry(llvm::StringRef text);
};

/// Gives a step of one sequence, whose attentions read pages already and whose
/// one result are the logits, what `parts` ask for.
///
/// A layer begins where one value is all that the tokens have come to: the
/// residual stream. It ends where the next one begins. So `hidden:n` is the
/// stream behind n layers, and a layer that is left out hands on what it got.
class StepPartsMaker {
public:
  StepPartsMaker(mlir::func::FuncOp func, const StepParts &parts)
      : func(func), parts(parts), builder(func) {}

  llvm::LogicalResult run();
  /// The layers that some runs leave out (MakeStepChosen.cpp), once the dims of
  /// all values are those of a step: `dims`, which gets those of new ones.
  llvm::LogicalResult chooseLayers(llvm::DenseMap<mlir::Value, Dims> &dims);
  std::string reason;
  mlir::Operation *culprit = nullptr;

private:
  llvm::LogicalResult fail(const llvm::Twine &why,
                           mlir::Operation *at = nullptr) {
    reason = why.str();
    culprit = at;
    return llvm::failure();
  }
  std::string whyNotLayers(const std::set<int64_t> &layers) const;
  llvm::LogicalResult findLayers();
  llvm::LogicalResult takeEmbeddings();
  llvm::LogicalResult giveSums();
  llvm::LogicalResult giveHidden();
  llvm::LogicalResult skipLayers();
  mlir::Value findNode(llvm::StringRef name);
  void give(mlir::Value value, const std::string &name);

  mlir::func::FuncOp func;
  const StepParts &parts;
  mlir::OpBuilder builder;
  /// What comes of the token ids.
  llvm::DenseSet<mlir::Value> ofTokens;
  llvm::SmallVector<PagedAttentionOp> attentions;
  /// Behind n layers; the last is null where it cannot be told.
  llvm::SmallVector<mlir::Value> streams;
};

} // namespace ferrite
#endif // FERRITE_PASSES_FUSION_MAKESTEPPARTS_H
