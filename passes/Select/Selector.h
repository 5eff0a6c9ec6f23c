//===- Selector.h - Where values lie, and a rule per op ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Walks an entry in order and keeps for each value where it lies. A rule per op
// (SelectRules.cpp) brings the operands into the form that the op's emitter
// reads (a product takes rows, an attention [batch, tokens, heads, size]) and
// launches it.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_SELECTOR_H
#define FERRITE_PASSES_SELECT_SELECTOR_H

#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "passes/Select/PlanBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>

namespace ferrite {

class Selector {
public:
  Selector(mlir::func::FuncOp func, plan::EntryOp entry, PlanSymbols &symbols,
           bool forCpu)
      : func(func),
        plan(func->getParentOfType<mlir::ModuleOp>(), entry, symbols),
        forCpu(forCpu) {}

  llvm::LogicalResult run();

private:
  llvm::LogicalResult selectInputs();
  llvm::LogicalResult selectOp(mlir::Operation *op);
  llvm::LogicalResult selectReturn(mlir::func::ReturnOp op);

  void selectLinear(LinearOp op);
  void selectByteLinear(LinearOp op);
  void selectByteMatmul(LinearOp op);
  void selectMatmul(MatmulOp op);
  llvm::LogicalResult selectAttention(AttentionOp op);
  StridedView packKeys(const KernelOperand &key, const KernelOperand &value,
                       AttentionOp op);
  llvm::LogicalResult selectSelectBlocks(SelectBlocksOp op);
  void selectSelectRunPages(SelectRunPagesOp op);
  /// Ops of FerriteMerge.h.
  void selectMerging(mlir::Operation *op);
  void selectWeighPages(WeighPagesOp op);
  llvm::LogicalResult selectExpertLinear(ExpertLinearOp op);
  void selectNorm(NormOp op);
  void selectSoftmax(SoftmaxOp op);
  void selectRope(RopeOp op);
  void selectEmbedding(EmbeddingOp op);
  void selectGather(GatherOp op);
  void selectGatherND(GatherNDOp op);
  void selectCumSum(CumSumOp op);
  void selectGatherElements(GatherElementsOp op);
  void selectScatterND(ScatterNDOp op);
  void selectScatterElements(ScatterElementsOp op);
  void selectArgReduce(ArgReduceOp op);
  void selectTopK(TopKOp op);
  void selectLinearAttention(LinearAttentionOp op);
  void selectCumProd(CumProdOp op);
  void selectConcat(ConcatOp op);
  void selectPad(PadOp op);
  void selectFused(FusedOp op);
  void selectDimValues(DimValuesOp op);
  void selectKvAppend(KvAppendOp op);
  void selectPagedAttention(PagedAttentionOp op);
  void selectSummarizePages(SummarizePagesOp op);
  void selectSelectPages(SelectPagesOp op);

  /// Where a value lies; weights and constants as rows.
  StridedView get(mlir::Value value);
  /// How the right operand of a float product lies. Tensor cores that read
  /// shared memory take no pairs.
  plan::WeightFormat productFormat(mlir::Type element) const {
    return forCpu ? plan::productFormat(element) : plan::WeightFormat::Panels;
  }
  /// A weight or constant in a format.
  StridedView stored(mlir::Value value, plan::WeightFormat format);
  /// The weight of a linear: without blocks of zeros where it says so.
  StridedView storedWeight(LinearOp op, plan::WeightFormat format);
  /// What the kernel of `op` skips, whatever its weight has; or null.
  SparseAttr sparseOf(LinearOp op);
  /// Where the result of `op` is written: an output of the entry, or a buffer.
  StridedView makeResult(mlir::Operation *op);
  /// The same, of a scatter into `data`: it lies as `data` does.
  StridedView makeScattered(mlir::Operation *op, const StridedView &data);
  /// The result of a scatter into operand `data`, which holds that already.
  StridedView startScatter(mlir::Operation *op, mlir::Value data);
  /// `output` as the memory of a cache that is written through a transpose and
  /// returned through its inverse, and of what it is made of.
  void writeCacheTo(mlir::Value returned, StridedView output);
  StridedView copied(const StridedView &view, mlir::Location loc,
                     llvm::StringRef reason);
  /// As a matrix of rows with adjacent elements, copied if need be.
  StridedView rows(mlir::Value value, mlir::Location loc);
  StridedView contiguous(mlir::Value value, mlir::Location loc);
  StridedView unitInner(StridedView view, mlir::Location loc);
  /// A side of a linear as the matrix that its kernel reads.
  KernelOperand sideOf(LinearOp op, mlir::Value side);
  /// An operand of a batched product with two leading dims: what is more of
  /// them is merged, what is less is 1.
  StridedView asBatch(StridedView view, llvm::ArrayRef<DimExpr> result,
                      mlir::Location loc);
  /// The sum of each row of `matrix`, which is `input`, once for all who ask.
  StridedView rowSums(mlir::Value input, const StridedView &matrix,
                      LinearOp op);
  /// The rows of `matrix`, which is op's input, rounded in groups of `block`
  /// with sums of each `sums`, once for all who ask.
  StridedView roundedRows(const StridedView &matrix, int64_t block,
                          int64_t sums, mlir::Type element, LinearOp op);
  /// A linear whose weight lies in few bits; false if it cannot.
  bool selectPackedLinear(LinearOp op);
  /// A mask or bias of `scores`, its innermost dim adjacent or repeated.
  StridedView addend(mlir::Value value, const Dims &scores, mlir::Location loc);
  /// The position of query 0 of `op`, whose sizes these are, as a kernel takes
  /// it: an expression over its own `queries` and `keys`. What is left of it
  /// becomes an operand, and then `isCounted`; `offsets` and `lengths` of the
  /// sequences, where it has them, are the next.
  llvm::FailureOr<DimExpr>
  positionOf(mlir::Operation *op, const DimExpr &offset, mlir::Value offsets,
             mlir::Value lengths, const StridedView &query,
             const StridedView &key, std::vector<KernelOperand> &operands,
             bool &isCounted);
  /// Launches what writes these sizes to `result`, for `op`.
  void launchSizes(const Dims &sizes, const StridedView &result,
                   mlir::Operation *op);
  /// The slots of `experts` by group (ferrite.route), once for all who ask.
  StridedView routeOf(mlir::Value experts, int64_t groups, mlir::Location loc);
  /// Says that elements of `ids` index a table of `limit` rows.
  void limitIds(mlir::Value ids, int64_t limit);

  mlir::func::FuncOp func;
  PlanBuilder plan;
  const bool forCpu;
  llvm::DenseMap<mlir::Value, StridedView> views;
  llvm::DenseMap<mlir::Value, StridedView>
      outputOf; ///< computed value -> its output
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, StridedView> routes;
  /// Value and how it is rounded -> its rounded rows.
  std::map<std::pair<void *, std::string>, StridedView> roundedOf;
  llvm::DenseMap<mlir::Value, StridedView> sumsOf; ///< value -> its row sums
  std::vector<StridedView> outputs;
  llvm::SmallVector<plan::InputOp> inputs; ///< by argument; null: a state
};

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_SELECTOR_H
