//===- DimAnalysis.h - The dims of every tensor as expressions --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A tensor type says `?`; this says "batch*12". Dims of a value follow from
// those of the operands (SymbolicShapeOpInterface), and the arguments' from
// `ferrite.dims`, so nothing has to be kept up to date in the IR.
//
// A pass that rewrites asks again about the values that it made, and they are
// computed then. It must forget() what it erases: an address can come back as
// another value. DimListener does that for the rewriter drivers.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_DIMANALYSIS_H
#define FERRITE_PASSES_ANALYSIS_DIMANALYSIS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/DenseMap.h"
#include <memory>

namespace ferrite {

class DimAnalysis {
public:
  /// The dims of every ranked tensor of `func`. Emits an error at the op whose
  /// dims cannot be known or contradict its type.
  static llvm::FailureOr<DimAnalysis> compute(mlir::func::FuncOp func);

  /// The dims of a ranked tensor. A dim that an op made by a rewrite does not
  /// tell is a symbol of its own, equal to no other.
  llvm::ArrayRef<DimExpr> getDims(mlir::Value value);
  /// Provably the same dims.
  bool haveSameDims(mlir::Value a, mlir::Value b) {
    return getDims(a) == getDims(b);
  }
  void forget(mlir::Operation *op);

private:
  llvm::LogicalResult visit(mlir::Operation *op);
  void set(mlir::Value value, llvm::ArrayRef<DimExpr> dims);
  /// What the type knows, and symbols of the value's own for the rest.
  Dims fresh(mlir::Value value, llvm::StringRef stem);

  // By pointer: an ArrayRef into it survives the growth of the map.
  llvm::DenseMap<mlir::Value, std::unique_ptr<Dims>> known;
  unsigned freshSymbols = 0;
};

/// Forgets erased ops.
class DimListener final : public mlir::RewriterBase::Listener {
public:
  explicit DimListener(DimAnalysis &analysis) : analysis(analysis) {}
  void notifyOperationErased(mlir::Operation *op) override {
    analysis.forget(op);
  }

private:
  DimAnalysis &analysis;
};

} // namespace ferrite

#endif // FERRITE_PASSES_ANALYSIS_DIMANALYSIS_H
