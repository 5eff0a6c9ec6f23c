//===- TokenMerger.h - Merges the tokens of a function ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// MergeTokens.cpp has where tokens merge, MergeFollow.cpp what comes of the ops
// behind.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_TOKENMERGER_H
#define FERRITE_PASSES_SPARSITY_TOKENMERGER_H

#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Sparsity/Spec.h"

#include <map>

namespace ferrite {

/// The tokens after so many merges.
struct Generation {
  DimExpr tokens;
  DimExpr batch;
  mlir::Value sizes;   ///< [batch, tokens]; null: all 1
  mlir::Value to;      ///< [batch, tokens before]: where those went
  mlir::Value total;   ///< the same, of those that nothing merged
  mlir::Value weights; ///< log of the sizes, as attention adds it
};

class TokenMerger {
public:
  TokenMerger(mlir::func::FuncOp func, DimAnalysis &dims)
      : func(func), dims(dims) {}

  /// Which attentions an item is for; the first that holds.
  void plan(llvm::ArrayRef<SparsityItem> items, std::vector<bool> &taken);
  void run();

private:
  struct Merge {
    const SparsityItem *item;
    size_t index;
    AttentionOp attention;
  };

  bool isCounted(mlir::Value value);
  /// Why tokens may not merge by what an attention sees, or nothing.
  std::string whyNotMerged(AttentionOp op);
  void findCuts();
  std::string whyNotFollowed(mlir::Operation *op, unsigned generation);
  bool isAligned(mlir::Value operand, mlir::Value result, unsigned generation);
  std::string whyNotFused(FusedOp op, unsigned generation, int64_t &loop);
  void follow(mlir::Operation *op, unsigned generation);
  void restore(mlir::Operation *op);
  std::string merge(const Merge &merge, mlir::Value stream);

  unsigned generationOf(mlir::Value value) const {
    return generations.lookup(value);
  }
  Dims dimsAt(mlir::Value value, unsigned generation);
  mlir::Value view(mlir::Value value, const Dims &to, mlir::Location loc);
  mlir::Value weightsOf(unsigned generation, mlir::Location loc);
  mlir::Value totalOf(unsigned generation, mlir::Location loc);
  /// As they were before anything merged, of values made here too.
  llvm::ArrayRef<DimExpr> dimsOf(mlir::Value value) {
    auto own = made.find(value.getAsOpaquePointer());
    return own != made.end() ? llvm::ArrayRef<DimExpr>(own->second)
                             : dims.getDims(value);
  }

  mlir::func::FuncOp func;
  DimAnalysis &dims; ///< asked about values of the graph alone
  std::map<void *, Dims> made;
  DimExpr tokens;
  std::vector<Merge> merges;
  llvm::DenseMap<mlir::Operation *, const Merge *>
      cuts; ///< what makes the stream
  llvm::DenseMap<mlir::Value, unsigned> generations;
  llvm::DenseMap<mlir::Value, mlir::Value> restored;
  std::vector<Generation> steps;
  mlir::OpBuilder builder{func.getContext()};
  std::vector<bool> *taken = nullptr;
};

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_TOKENMERGER_H
