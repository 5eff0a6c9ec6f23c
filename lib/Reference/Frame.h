//===- Frame.h - What the rules of ops see ----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A rule fills `out`, which has the result's shape and zeros. Types and static
// sizes were verified; sizes that symbols gave are checked here, because a rule
// never reads outside of a tensor.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_FRAME_H
#define FERRITE_LIB_REFERENCE_FRAME_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Reference/Parallel.h"
#include "lib/Reference/Tensor.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

namespace ferrite {
class ModelFolder;
class MatchTokensOp;
class MergeTokensOp;
class SelectBlocksOp;
class SelectRunPagesOp;
class TokenMetricOp;
class UnmergeTokensOp;
} // namespace ferrite

namespace ferrite::reference {

struct Frame {
  llvm::DenseMap<mlir::Value, Tensor> values;
  llvm::StringMap<int64_t> symbols;
  unsigned threads = 1;

  /// An operand of the op at hand.
  const Tensor &operator[](mlir::Value value) const {
    return values.find(value)->second;
  }
  /// The sizes of expressions of the entry's symbols.
  llvm::FailureOr<Sizes> sizes(mlir::Operation *op,
                               llvm::ArrayRef<DimExpr> dims) const;
  llvm::FailureOr<Sizes> sizes(mlir::Operation *op,
                               mlir::ArrayAttr dims) const {
    return sizes(op, *parseDims(dims)); // verified to parse
  }
};

/// Strides by which `tensor` is read at the points of `shape`, by NumPy's rule.
llvm::FailureOr<Sizes> broadcastStrides(mlir::Operation *op,
                                        const Tensor &tensor,
                                        llvm::ArrayRef<int64_t> shape);

/// Emits an error unless the sizes are equal.
llvm::LogicalResult expectSize(mlir::Operation *op, const char *what,
                               int64_t got, int64_t expected);

llvm::LogicalResult evaluateElementwise(mlir::Operation *op, Frame &frame,
                                        Tensor &out);
llvm::LogicalResult evaluateTranspose(TransposeOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateBroadcast(BroadcastOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateSlice(SliceOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateConcat(ConcatOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateIota(IotaOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateDimValues(DimValuesOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateGather(GatherOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateGatherND(GatherNDOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateCumSum(CumSumOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateGatherElements(GatherElementsOp op, Frame &frame,
                                           Tensor &out);
llvm::LogicalResult evaluateScatterND(ScatterNDOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateScatterElements(ScatterElementsOp op, Frame &frame,
                                            Tensor &out);
llvm::LogicalResult evaluateArgReduce(ArgReduceOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateTopK(TopKOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateCumProd(CumProdOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateNonZero(NonZeroOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateExpertLinear(ExpertLinearOp op, Frame &frame,
                                         Tensor &out);
llvm::LogicalResult evaluateSelectBlocks(SelectBlocksOp op, Frame &frame,
                                         Tensor &out);
llvm::LogicalResult evaluateSelectRunPages(SelectRunPagesOp op, Frame &frame,
                                           Tensor &out);
llvm::LogicalResult evaluateTokenMetric(TokenMetricOp op, Frame &frame,
                                        Tensor &out);
llvm::LogicalResult evaluateMatchTokens(MatchTokensOp op, Frame &frame,
                                        Tensor &out);
llvm::LogicalResult evaluateMergeTokens(MergeTokensOp op, Frame &frame,
                                        Tensor &out);
llvm::LogicalResult evaluateUnmergeTokens(UnmergeTokensOp op, Frame &frame,
                                          Tensor &out);
llvm::LogicalResult evaluateRoute(RouteOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateGroupedLinear(GroupedLinearOp op, Frame &frame,
                                          Tensor &out);
llvm::LogicalResult evaluateMatmul(MatmulOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateLinear(LinearOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateAttention(AttentionOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateNorm(NormOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateSoftmax(SoftmaxOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateEmbedding(EmbeddingOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluateReduce(ReduceOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateRope(RopeOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateLinearAttention(LinearAttentionOp op, Frame &frame,
                                            Tensor &out);
llvm::LogicalResult evaluateKvAppend(KvAppendOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluatePagedAttention(PagedAttentionOp op, Frame &frame,
                                           Tensor &out);
llvm::LogicalResult evaluatePagedPartials(PagedPartialsOp op, Frame &frame,
                                          Tensor &out);
llvm::LogicalResult evaluateWindows(WindowsOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluatePad(PadOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateFused(FusedOp op, Frame &frame, Tensor &out);

llvm::LogicalResult evaluateQuantize(QuantizeOp op, Frame &frame, Tensor &out);
llvm::LogicalResult evaluateDequantize(DequantizeOp op, Frame &frame,
                                       Tensor &out);

llvm::LogicalResult evaluateRoundRows(RoundRowsOp op, Frame &frame,
                                      Tensor &out);
llvm::LogicalResult evaluatePackedLinear(PackedLinearOp op, Frame &frame,
                                         Tensor &out);
/// The matrix that bytes of that layout hold, as f32; and rows of floats, or
/// (block above 0) what round_rows made of them.
void unpackMatrix(PackedAttr packed, const char *bytes, Tensor &to);
void unroundRows(const RoundedRows &layout, const Tensor &rows, Tensor &to);
/// Rows of `tensor`, each rounded as a linear with that input_block rounds it.
Tensor roundedRows(const Tensor &tensor, int64_t block);

/// Elements from the files of `folder`, as a weight's recipe says.
llvm::LogicalResult readWeight(WeightOp op, ModelFolder &folder, Tensor &to);
llvm::LogicalResult readConstant(mlir::arith::ConstantOp op, Tensor &to);

/// How many elements are not zero.
int64_t countNonZero(const Tensor &tensor);
/// The row of `rows` that an index means: a negative one counts from the end.
/// One outside is an error when `indices` are an input of the entry, and is
/// clamped otherwise.
llvm::FailureOr<int64_t> rowOf(mlir::Operation *op, mlir::Value indices,
                               int64_t index, int64_t rows);
/// out[..] = row * rsqrt(mean(row^2) + epsilon) * weight + bias, of the row
/// (less its mean with `centre`), which is overwritten.
void normalizeRow(llvm::MutableArrayRef<double> row, bool centre,
                  double epsilon, const Tensor &weight, const Tensor *bias);

} // namespace ferrite::reference

#endif // FERRITE_LIB_REFERENCE_FRAME_H
