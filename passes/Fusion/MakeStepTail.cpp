//===- MakeStepTail.cpp - Rows of logits that are asked for ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The product with the vocabulary is the largest of a small model, and of a
// prompt only the last token needs it. All that leads to the logits alone and
// works on each token by itself is computed of the rows that are asked for: up
// to the last attention, the feed-forward part of the last layer with it.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStepTail.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Analysis/TokenAxis.h"

using namespace mlir;
using namespace ferrite;

/// The rows of layers that some runs leave out.
static bool areChosenRows(Value value) {
  auto rows = dyn_cast<BlockArgument>(value);
  auto func =
      rows ? dyn_cast<func::FuncOp>(rows.getOwner()->getParentOp()) : nullptr;
  return func && StringRef(argumentName(func, rows)).starts_with(kChosenRows);
}

bool ferrite::isRowSelection(GatherOp op, BlockArgument logitRows) {
  return op.getIndices() == logitRows || areChosenRows(op.getIndices());
}

bool ferrite::isRowReturn(ScatterNDOp op) {
  auto view = op.getIndices().getDefiningOp<ViewOp>();
  return view && areChosenRows(view.getInput());
}

/// Everything whose users are in the tail, or the end itself.
void StepTail::findTail() {
  Block &block = func.getBody().front();
  Operation *end = block.getTerminator();
  for (Operation &op : llvm::reverse(block.without_terminator()))
    if (auto scatter = dyn_cast<ScatterNDOp>(op);
        !(scatter && isRowReturn(scatter)) &&
        !isa<PagedAttentionOp, KvAppendOp, WeightOp, arith::ConstantOp>(op) &&
        llvm::all_of(op.getUsers(), [&](Operation *user) {
          return user == end || tail.contains(user);
        }))
      tail.insert(&op);
}

static std::optional<size_t> tokenAxis(ArrayRef<DimExpr> dims) {
  for (auto [i, dim] : llvm::enumerate(dims))
    if (dim == DimExpr::symbol(kTokens))
      return i;
  return std::nullopt;
}

static bool mentionsTokens(ArrayRef<DimExpr> dims) {
  return llvm::any_of(dims, [](const DimExpr &dim) {
    return llvm::is_contained(dim.symbols(), kTokens.str());
  });
}

/// The wanted rows of a value for each token; null where it has none such dim.
Value StepTail::select(Value value) {
  Value &result = selected[value];
  if (result)
    return result;
  std::optional<size_t> axis = tokenAxis(dims[value]);
  if (!axis)
    return {};
  Dims part = dims[value];
  part[*axis] = DimExpr::symbol(kLogits);
  builder.setInsertionPointAfterValue(value);
  if (isa<BlockArgument>(value))
    builder.setInsertionPointToStart(&func.getBody().front());
  result = GatherOp::create(builder, value.getLoc(),
                            getTensorType(part, elementTypeOf(value)), value,
                            logitRows, *axis);
  dims[result] = part;
  return result;
}

LogicalResult StepTail::selectOperands(Operation *op) {
  for (OpOperand &operand : op->getOpOperands()) {
    Operation *from = operand.get().getDefiningOp();
    if ((from && tail.contains(from)) || !mentionsTokens(dims[operand.get()]))
      continue;
    Value rows = select(operand.get());
    if (!rows)
      return fail("has no dim of tokens alone, of which rows could be taken",
                  op);
    operand.set(rows);
  }
  return success();
}

/// The last token, where the graph takes it: each of the wanted rows is one.
bool StepTail::isLastToken(SliceOp op) {
  Dims from = dims[op.getInput()], to = *parseDims(op.getDims()),
       offsets = *parseDims(op.getOffsets());
  const DimExpr tokens = DimExpr::symbol(kTokens);
  bool found = false;
  for (auto [i, dim] : llvm::enumerate(from)) {
    if (to[i] == dim && offsets[i].isConstant(0))
      continue;
    if (found || dim != DimExpr::symbol(kLogits) || !to[i].isConstant(1) ||
        offsets[i] != tokens - DimExpr(1))
      return false;
    found = true;
  }
  return found;
}

/// Whether an attribute holds the number of past tokens.
static bool mentionsPast(Operation *op) {
  auto isPast = [](Attribute attr) {
    auto text = dyn_cast<StringAttr>(attr);
    std::optional<DimExpr> dim =
        text ? DimExpr::parse(text.getValue()) : std::nullopt;
    return dim && llvm::is_contained(dim->symbols(), kPast.str());
  };
  return !isa<WeightOp>(op) &&
         llvm::any_of(op->getAttrs(), [&](NamedAttribute attr) {
           auto array = dyn_cast<ArrayAttr>(attr.getValue());
           return array ? llvm::any_of(array, isPast) : isPast(attr.getValue());
         });
}

LogicalResult StepTail::setSizes(Operation *op, bool isTail) {
  if (!rowViews.contains(op) && mentionsPast(op))
    return fail("depends on how many tokens are past", op);
  DimExpr tokens = DimExpr::symbol(isTail ? kLogits : kTokens);
  const SymbolMap symbols = {{kPast.str(), DimExpr(0)},
                             {kTokens.str(), tokens}};
  std::string why;
  if (failed(replaceSymbols(op, symbols, dims, why)))
    return fail("does not hold for tokens of many sequences: " + why, op);
  return success();
}

LogicalResult StepTail::settle() {
  for (BlockArgument arg : func.getArguments())
    dims[arg] = *parseDims(
        func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), kDimsAttr));
  for (Operation &op : func.getBody().front().without_terminator())
    if (failed(setSizes(&op, /*isTail=*/false)))
      return failure();
  return success();
}

LogicalResult StepTail::run() {
  findTail();
  Block &block = func.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(block.without_terminator())) {
    if (!tail.contains(&op))
      continue;
    if (failed(selectOperands(&op)))
      return failure();
    if (auto slice = dyn_cast<SliceOp>(op); slice && isLastToken(slice)) {
      slice.getResult().replaceAllUsesWith(slice.getInput());
      slice.erase();
      continue;
    }
    if (failed(setSizes(&op, /*isTail=*/true)))
      return failure();
  }
  return returnRows();
}

/// One number for each head: their dim of one goes.
bool StepTail::isSums(func::ReturnOp end, OpOperand &result) {
  auto name = func.getResultAttrOfType<StringAttr>(result.getOperandNumber(),
                                                   kNameAttr);
  return name && name.getValue().starts_with("lse:") &&
         dims[result.get()].back().isConstant(1);
}

/// The logits as [logits, vocabulary], and in the same way what else there is.
LogicalResult StepTail::returnRows() {
  auto end = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  for (OpOperand &result : end->getOpOperands()) {
    Value value = result.get();
    if (mentionsTokens(dims[value])) // nothing is behind the last attention
      value = select(value);
    Dims rows;
    if (value)
      for (const DimExpr &dim : dims[value])
        if (!dim.isConstant(1) || !rows.empty())
          rows.push_back(dim);
    if (rows.empty() || rows[0] != DimExpr::symbol(kLogits))
      return fail("has no dim of tokens in its logits", end);
    // Of one token a call: [logits, 1, ..].
    if (dims[value][0] == rows[0] && rows.size() > 2 && rows[1].isConstant(1))
      rows.erase(rows.begin() + 1);
    if (isSums(end, result))
      rows.pop_back();
    builder.setInsertionPoint(end);
    if (rows != dims[value])
      value = ViewOp::create(builder, end.getLoc(),
                             getTensorType(rows, elementTypeOf(value)), value,
                             getDimsAttr(func.getContext(), rows));
    result.set(value);
  }
  func.setFunctionType(FunctionType::get(func.getContext(),
                                         func.getBody().getArgumentTypes(),
                                         end.getOperandTypes()));
  return success();
}

FailureOr<DimAnalysis> ferrite::dimsOfStep(func::FuncOp func,
                                           std::string &reason) {
  std::string why;
  ScopedDiagnosticHandler handler(func.getContext(), [&](Diagnostic &said) {
    why = said.str();
    return success();
  });
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims))
    reason = "does not hold for tokens of many sequences: " + why;
  return dims;
}

LogicalResult ferrite::verifyStep(func::FuncOp func, BlockArgument logitRows,
                                  std::string &reason, Operation *&culprit) {
  FailureOr<DimAnalysis> dims = dimsOfStep(func, reason);
  if (failed(dims))
    return failure();
  SmallVector<StringRef> symbols = {kTokens, kLogits};
  for (Attribute symbol : func->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    if (StringRef name = cast<SymbolAttr>(symbol).getName();
        name.starts_with(kChosenRows))
      symbols.push_back(name);
  TokenAxis tokens([&](Value value) { return dims->getDims(value); }, symbols);
  for (Operation &op : func.getBody().front().without_terminator()) {
    if (isa<KvAppendOp, PagedAttentionOp>(op))
      continue;
    auto gather = dyn_cast<GatherOp>(op);
    if (gather && isRowSelection(gather, logitRows))
      continue;
    if (auto scatter = dyn_cast<ScatterNDOp>(op);
        scatter && isRowReturn(scatter))
      continue;
    reason = tokens.whyNot(&op);
    if (!reason.empty()) {
      culprit = &op;
      return failure();
    }
  }
  return success();
}
