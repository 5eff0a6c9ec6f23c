//===- PlanBuilder.h - Weights, kernels and launches of an entry *- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Writes the plan dialect: shares a weight between all who read it in the same
// format, and a kernel between all launches of the same structure.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_PLANBUILDER_H
#define FERRITE_PASSES_SELECT_PLANBUILDER_H

#include "dialects/Plan/IR/Plan.h"
#include "passes/Select/StridedView.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

namespace ferrite {

/// An operand or result as a kernel sees it: dims and strides as the emitter of
/// its op wants them, of constant or run-time sizes.
struct KernelOperand {
  StridedView view;
  /// The type of the kernel's block argument or of its op's result; null: the
  /// tensor of `view.dims`.
  mlir::RankedTensorType type;
  bool alias = false;
  /// Sizes that the kernel does not ask this operand for are passed as 1.
  llvm::SmallVector<bool> sized;

  KernelOperand(StridedView view, mlir::RankedTensorType type = {})
      : view(std::move(view)), type(type) {}
};

/// What the entries of a module share.
struct PlanSymbols {
  /// Names of functions, which become entries, are taken.
  explicit PlanSymbols(mlir::ModuleOp module);
  /// `stem`, or `stem_1` and so on where that is taken.
  std::string unique(llvm::StringRef stem);

  llvm::StringMap<plan::KernelOp> kernels; ///< by structure
  llvm::StringMap<plan::WeightOp> weights; ///< by recipe

private:
  llvm::StringMap<unsigned> taken; ///< and how often a stem was asked for
};

class PlanBuilder {
public:
  /// `entry` is inside the module that gets weights and kernels.
  PlanBuilder(mlir::ModuleOp module, plan::EntryOp entry, PlanSymbols &symbols);

  /// A buffer of the arena for a contiguous tensor.
  StridedView makeBuffer(mlir::Location loc, mlir::Type element,
                         llvm::ArrayRef<DimExpr> dims);
  /// The bytes of a weight or constant in a format.
  StridedView useWeight(WeightOp op, plan::WeightFormat format);
  StridedView useConstant(mlir::arith::ConstantOp op,
                          plan::WeightFormat format);
  /// The blocks of a weight that are not of zeros alone.
  StridedView useSparse(WeightOp op, SparseAttr sparse);
  /// The bytes of a weight of few bits.
  StridedView usePacked(WeightOp op, PackedAttr packed);

  using MakeOp = llvm::function_ref<mlir::Operation *(mlir::OpBuilder &,
                                                      mlir::ValueRange args)>;
  /// Launches the kernel whose body `make` builds from its arguments (one per
  /// input), writing `results`. `stem` begins its name.
  void launch(mlir::Location loc, llvm::StringRef stem,
              llvm::ArrayRef<KernelOperand> inputs,
              llvm::ArrayRef<KernelOperand> results, bool claimed, MakeOp make);

  mlir::OpBuilder &entryBuilder() { return builder; }

private:
  plan::KernelOp getKernel(mlir::Location loc, llvm::StringRef stem,
                           llvm::ArrayRef<KernelOperand> inputs,
                           llvm::ArrayRef<KernelOperand> results, bool claimed,
                           MakeOp make);
  StridedView use(plan::WeightOp weight, mlir::RankedTensorType type);

  mlir::ModuleOp module;
  mlir::OpBuilder builder;       ///< at the end of the entry
  mlir::OpBuilder moduleBuilder; ///< before the entry
  PlanSymbols &symbols;
  llvm::DenseMap<mlir::Operation *, mlir::Value> uses;
};

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_PLANBUILDER_H
