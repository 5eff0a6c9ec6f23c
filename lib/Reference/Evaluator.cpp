//===- Evaluator.cpp - What a module computes, slowly ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Evaluator.h"

#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "lib/Reference/Frame.h"
#include "lib/Reference/PagedParts.h"
#include "passes/Analysis/DimAnalysis.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

//===--- what rules share -------------------------------------------------===//

FailureOr<Sizes> Frame::sizes(Operation *op, ArrayRef<DimExpr> dims) const {
  Sizes result;
  for (const DimExpr &dim : dims) {
    std::optional<int64_t> size =
        dim.evaluate([&](StringRef name) -> std::optional<int64_t> {
          auto found = symbols.find(name);
          return found == symbols.end() ? std::nullopt
                                        : std::optional(found->second);
        });
    if (!size)
      return op->emitError("the size ")
             << dim.str() << " is not known for these inputs";
    result.push_back(*size);
  }
  return result;
}

FailureOr<Sizes> ferrite::reference::broadcastStrides(Operation *op,
                                                      const Tensor &tensor,
                                                      ArrayRef<int64_t> shape) {
  Sizes own = stridesOf(tensor.shape()), strides(shape.size(), 0);
  size_t lead = shape.size() - std::min<size_t>(shape.size(), tensor.rank());
  if (tensor.rank() > static_cast<int64_t>(shape.size()))
    return op->emitError("an operand of rank ")
           << tensor.rank() << " meets a shape of rank " << shape.size();
  for (int64_t i = 0; i < tensor.rank(); ++i) {
    if (tensor.dim(i) == 1)
      continue;
    if (tensor.dim(i) != shape[lead + i])
      return op->emitError("an operand has ")
             << tensor.dim(i) << " where the result has " << shape[lead + i];
    strides[lead + i] = own[i];
  }
  return strides;
}

LogicalResult ferrite::reference::expectSize(Operation *op, const char *what,
                                             int64_t got, int64_t expected) {
  if (got == expected)
    return success();
  return op->emitError("expects ") << what << " to be " << expected
                                   << " for these inputs, but got " << got;
}

//===--- the walk ---------------------------------------------------------===//

namespace {
class Evaluation {
public:
  Evaluation(func::FuncOp func, ModelFolder &folder, unsigned threads)
      : func(func), folder(folder) {
    frame.threads =
        threads ? threads : std::max(1u, std::thread::hardware_concurrency());
  }

  LogicalResult run(ArrayRef<Tensor> inputs, Observer observe,
                    SmallVectorImpl<Tensor> &outputs);

private:
  LogicalResult bind(ArrayRef<Tensor> inputs);
  LogicalResult bindDim(const DimExpr &dim, int64_t size, StringRef input);
  LogicalResult checkLimits();
  LogicalResult checkExpressions();
  /// Makes the weights and constants that `op` is the first to use.
  LogicalResult fetchOperands(Operation *op);
  LogicalResult evaluateOp(Operation *op, ArrayRef<int64_t> shape, Tensor &out);
  void release(Operation *op);

  func::FuncOp func;
  ModelFolder &folder;
  Frame frame;
  llvm::DenseMap<Value, Operation *> lastUse;
  unsigned fragmentSymbols = 0;
  struct Expression {
    DimExpr dim;
    int64_t size;
    std::string input;
  };
  /// Sizes of inputs that other sizes must give.
  std::vector<Expression> expressions;
};
} // namespace

LogicalResult Evaluation::bindDim(const DimExpr &dim, int64_t size,
                                  StringRef input) {
  std::string name = dim.str();
  bool isSymbol =
      dim.symbols().size() == 1 && DimExpr::symbol(dim.symbols()[0]) == dim;
  if (isSymbol && frame.symbols.try_emplace(name, size).second)
    return success();
  if (!isSymbol && !dim.constant())
    expressions.push_back({dim, size, input.str()});
  int64_t expected =
      isSymbol ? frame.symbols[name] : dim.constant().value_or(size);
  if (size == expected)
    return success();
  return func.emitError("input '")
         << input << "' has " << size << " where " << expected << " is expected"
         << (isSymbol ? " for " + name : "");
}

LogicalResult Evaluation::bind(ArrayRef<Tensor> inputs) {
  if (inputs.size() != func.getNumArguments())
    return func.emitError("takes ")
           << func.getNumArguments() << " inputs, but got " << inputs.size();
  for (auto [i, input] : llvm::enumerate(inputs)) {
    auto type = dyn_cast<RankedTensorType>(func.getArgumentTypes()[i]);
    auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
    std::string label = name ? name.str() : std::to_string(i);
    if (!type || kindOf(type.getElementType()) != input.kind() ||
        type.getRank() != input.rank())
      return func.emitError("input '")
             << label << "' takes " << func.getArgumentTypes()[i];
    auto attr = func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr);
    std::optional<Dims> dims = attr ? parseDims(attr) : std::nullopt;
    for (int64_t d = 0; d < input.rank(); ++d) {
      // A fragment's `?` is bound by the name that DimAnalysis gives it.
      DimExpr dim = dims ? (*dims)[d] : DimExpr(type.getDimSize(d));
      if (!dims && type.isDynamicDim(d))
        dim = DimExpr::symbol("arg" + std::to_string(i) + "." +
                              std::to_string(fragmentSymbols++));
      if (failed(bindDim(dim, input.dim(d), label)))
        return failure();
    }
    frame.values[func.getArgument(i)] = input;
  }
  return checkLimits();
}

LogicalResult Evaluation::checkExpressions() {
  for (const auto &[dim, size, input] : expressions) {
    std::optional<int64_t> expected =
        dim.evaluate([&](StringRef name) -> std::optional<int64_t> {
          auto found = frame.symbols.find(name);
          return found == frame.symbols.end() ? std::nullopt
                                              : std::optional(found->second);
        });
    if (expected != size)
      return func.emitError("input '") << input << "' has " << size << " where "
                                       << dim.str() << " is expected";
  }
  return success();
}

LogicalResult Evaluation::checkLimits() {
  if (failed(checkExpressions()))
    return failure();
  auto limits = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
  if (!limits)
    return success();
  for (auto symbol : limits.getAsRange<SymbolAttr>()) {
    auto found = frame.symbols.find(symbol.getName());
    if (found != frame.symbols.end() &&
        (found->second < symbol.getMin() || found->second > symbol.getMax()))
      return func.emitError("'") << symbol.getName() << "' is " << found->second
                                 << ", outside of its limits";
  }
  return success();
}

LogicalResult Evaluation::fetchOperands(Operation *op) {
  for (Value operand : op->getOperands()) {
    if (frame.values.count(operand))
      continue;
    Tensor made;
    LogicalResult read = failure();
    if (auto weight = operand.getDefiningOp<WeightOp>())
      read = readWeight(weight, folder, made);
    else if (auto constant = operand.getDefiningOp<arith::ConstantOp>())
      read = readConstant(constant, made);
    else
      return op->emitError("bug: an operand was never computed");
    if (failed(read))
      return failure();
    frame.values[operand] = made;
  }
  return success();
}

LogicalResult Evaluation::evaluateOp(Operation *op, ArrayRef<int64_t> shape,
                                     Tensor &out) {
  if (auto view = dyn_cast<ViewOp>(op)) {
    const Tensor &in = frame[view.getInput()];
    if (failed(expectSize(op, "the elements", countOf(shape).value_or(-1),
                          in.count())))
      return failure();
    out = in.viewed(shape);
    return success();
  }
  std::optional<Kind> kind = kindOf(getElementTypeOrSelf(op->getResult(0)));
  if (!kind)
    return op->emitError("no element type for ") << op->getResult(0).getType();
  std::optional<Tensor> made = Tensor::make(*kind, shape);
  if (!made)
    return op->emitError("memory is too short for the result");
  out = *made;
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](TransposeOp o) { return evaluateTranspose(o, frame, out); })
      .Case([&](BroadcastOp o) { return evaluateBroadcast(o, frame, out); })
      .Case([&](SliceOp o) { return evaluateSlice(o, frame, out); })
      .Case([&](ConcatOp o) { return evaluateConcat(o, frame, out); })
      .Case([&](IotaOp o) { return evaluateIota(o, frame, out); })
      .Case([&](DimValuesOp o) { return evaluateDimValues(o, frame, out); })
      .Case([&](GatherOp o) { return evaluateGather(o, frame, out); })
      .Case([&](GatherNDOp o) { return evaluateGatherND(o, frame, out); })
      .Case([&](CumSumOp o) { return evaluateCumSum(o, frame, out); })
      .Case([&](GatherElementsOp o) {
        return evaluateGatherElements(o, frame, out);
      })
      .Case([&](ScatterNDOp o) { return evaluateScatterND(o, frame, out); })
      .Case([&](ScatterElementsOp o) {
        return evaluateScatterElements(o, frame, out);
      })
      .Case([&](ArgReduceOp o) { return evaluateArgReduce(o, frame, out); })
      .Case([&](TopKOp o) { return evaluateTopK(o, frame, out); })
      .Case([&](CumProdOp o) { return evaluateCumProd(o, frame, out); })
      .Case([&](NonZeroOp o) { return evaluateNonZero(o, frame, out); })
      .Case(
          [&](ExpertLinearOp o) { return evaluateExpertLinear(o, frame, out); })
      .Case([&](RouteOp o) { return evaluateRoute(o, frame, out); })
      .Case([&](GroupedLinearOp o) {
        return evaluateGroupedLinear(o, frame, out);
      })
      .Case([&](MatmulOp o) { return evaluateMatmul(o, frame, out); })
      .Case([&](LinearOp o) { return evaluateLinear(o, frame, out); })
      .Case([&](RoundRowsOp o) { return evaluateRoundRows(o, frame, out); })
      .Case(
          [&](PackedLinearOp o) { return evaluatePackedLinear(o, frame, out); })
      .Case([&](AttentionOp o) { return evaluateAttention(o, frame, out); })
      .Case(
          [&](SelectBlocksOp o) { return evaluateSelectBlocks(o, frame, out); })
      .Case([&](WeighPagesOp o) { return evaluateWeighPages(o, frame, out); })
      .Case([&](SelectRunPagesOp o) {
        return evaluateSelectRunPages(o, frame, out);
      })
      .Case([&](TokenMetricOp o) { return evaluateTokenMetric(o, frame, out); })
      .Case([&](MatchTokensOp o) { return evaluateMatchTokens(o, frame, out); })
      .Case([&](MergeTokensOp o) { return evaluateMergeTokens(o, frame, out); })
      .Case([&](UnmergeTokensOp o) {
        return evaluateUnmergeTokens(o, frame, out);
      })
      .Case([&](NormOp o) { return evaluateNorm(o, frame, out); })
      .Case([&](SoftmaxOp o) { return evaluateSoftmax(o, frame, out); })
      .Case([&](EmbeddingOp o) { return evaluateEmbedding(o, frame, out); })
      .Case([&](RopeOp o) { return evaluateRope(o, frame, out); })
      .Case([&](LinearAttentionOp o) {
        return evaluateLinearAttention(o, frame, out);
      })
      .Case([&](KvAppendOp o) { return evaluateKvAppend(o, frame, out); })
      .Case([&](PagedAttentionOp o) {
        return evaluatePagedAttention(o, frame, out);
      })
      .Case([&](SummarizePagesOp o) {
        return evaluateSummarizePages(o, frame, out);
      })
      .Case([&](SelectPagesOp o) { return evaluateSelectPages(o, frame, out); })
      .Case([&](PagedPartialsOp o) {
        return evaluatePagedPartials(o, frame, out);
      })
      .Case([&](WindowsOp o) { return evaluateWindows(o, frame, out); })
      .Case([&](PadOp o) { return evaluatePad(o, frame, out); })
      .Case([&](ReduceOp o) { return evaluateReduce(o, frame, out); })
      .Case([&](FusedOp o) { return evaluateFused(o, frame, out); })
      .Case([&](QuantizeOp o) { return evaluateQuantize(o, frame, out); })
      .Case([&](DequantizeOp o) { return evaluateDequantize(o, frame, out); })
      .Default(
          [&](Operation *o) { return evaluateElementwise(o, frame, out); });
}

void Evaluation::release(Operation *op) {
  for (Value operand : op->getOperands())
    if (lastUse.lookup(operand) == op)
      frame.values.erase(operand);
}

LogicalResult Evaluation::run(ArrayRef<Tensor> inputs, Observer observe,
                              SmallVectorImpl<Tensor> &outputs) {
  if (!llvm::hasSingleElement(func.getBody()))
    return func.emitError("an entry has one block");
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims) || failed(bind(inputs)))
    return failure();
  Block &block = func.getBody().front();
  for (Operation &op : block)
    for (Value operand : op.getOperands())
      lastUse[operand] = &op;
  for (Operation &op : block.without_terminator()) {
    if (isa<WeightOp, arith::ConstantOp>(op))
      continue; // when they are used
    if (!isa_and_present<FerriteDialect>(op.getDialect()) ||
        op.getNumResults() != 1)
      return op.emitError("the reference evaluator does not know ")
             << op.getName();
    if (failed(fetchOperands(&op)))
      return failure();
    // A size that is known only now.
    if (auto nonzero = dyn_cast<NonZeroOp>(op))
      frame.symbols[nonzero.getCount()] =
          countNonZero(frame[nonzero.getInput()]);
    FailureOr<Sizes> shape = frame.sizes(&op, dims->getDims(op.getResult(0)));
    Tensor out;
    if (failed(shape) || failed(evaluateOp(&op, *shape, out)))
      return failure();
    frame.values[op.getResult(0)] = out;
    if (failed(observe(op.getResult(0), out)))
      return failure();
    release(&op);
    if (!lastUse.count(op.getResult(0)))
      frame.values.erase(op.getResult(0));
  }
  Operation *end = block.getTerminator();
  if (failed(fetchOperands(end)))
    return failure();
  for (Value value : end->getOperands())
    outputs.push_back(frame[value]);
  return success();
}

LogicalResult ferrite::reference::evaluate(
    func::FuncOp func, ArrayRef<Tensor> inputs, ModelFolder &folder,
    Observer observe, SmallVectorImpl<Tensor> &outputs, unsigned threads) {
  return Evaluation(func, folder, threads).run(inputs, observe, outputs);
}
