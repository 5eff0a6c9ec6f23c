//===- SelectAttention.cpp - How attention becomes a launch ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Apart from the other rules for its many operands, and for its window: the
// position of a query is an expression of the entry's symbols, which a kernel
// does not know.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/AttentionScores.h"
#include "passes/Select/Selector.h"

using namespace mlir;
using namespace ferrite;

/// Its heads and their size.
static std::string nameOf(const StridedView &query) {
  return "attention_" + query.dims[2].str() + "x" + query.dims[3].str();
}

/// An attention's window offset as its kernel takes it: an expression over the
/// kernel's own `queries` and `keys`, and what else there is, as a [1] tensor.
static std::optional<std::pair<DimExpr, DimExpr>>
splitOffset(const DimExpr &offset, const DimExpr &queries,
            const DimExpr &keys) {
  for (int form = 0; form < 4; ++form) {
    DimExpr known(0), rest = offset;
    if (form % 2 == 1) {
      known = known + DimExpr::symbol("keys");
      rest = rest - keys;
    }
    if (form / 2 == 1) {
      known = known - DimExpr::symbol("queries");
      rest = rest + queries;
    }
    if (std::optional<int64_t> number = rest.constant())
      return std::pair(known + DimExpr(*number), DimExpr(0));
    // A loop counts it.
    if (llvm::all_of(rest.terms(), [](auto &term) { return term.second > 0; }))
      return std::pair(known, rest);
  }
  return std::nullopt;
}

/// Keys and values as a kernel over block lists reads them.
StridedView Selector::packKeys(const KernelOperand &key,
                               const KernelOperand &value, AttentionOp op) {
  Location loc = op.getLoc();
  const Dims &dims = key.view.dims;
  int64_t width = PackKeysOp::widthOf(
      cast<RankedTensorType>(op.getKey().getType()).getDimSize(3),
      cast<RankedTensorType>(op.getValue().getType()).getDimSize(3));
  Type f32 = Float32Type::get(op.getContext());
  StridedView panels = plan.makeBuffer(
      loc, f32,
      {dims[0], dims[2], dims[1] + DimExpr(PackKeysOp::kSpareRows),
       DimExpr(width)});
  plan.launch(loc, "pack_keys_" + dims[2].str() + "x" + dims[3].str(),
              {key, value}, KernelOperand(panels), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return PackKeysOp::create(
                    b, loc, getTensorType(panels.dims, panels.element), args[0],
                    args[1]);
              });
  return panels;
}

FailureOr<DimExpr> Selector::positionOf(Operation *op, const DimExpr &offset,
                                        Value offsets, Value lengths,
                                        const StridedView &query,
                                        const StridedView &key,
                                        std::vector<KernelOperand> &operands,
                                        bool &isCounted) {
  auto split = splitOffset(offset, query.dims[1], key.dims[1]);
  if (!split || (offsets && !split->second.isConstant(0)))
    return op->emitError("no kernel computes a window offset of ")
           << offset.str();
  isCounted = !split->second.isConstant(0);
  if (isCounted) {
    Type i64 = IntegerType::get(op->getContext(), 64);
    StridedView sizes = plan.makeBuffer(op->getLoc(), i64, {DimExpr(1)});
    launchSizes({split->second}, sizes, op);
    operands.push_back(sizes.broadcast({query.dims[0]}));
  }
  for (Value value : {offsets, lengths})
    if (value)
      operands.push_back(get(value).broadcast({query.dims[0]}));
  return split->first;
}

LogicalResult Selector::selectSelectBlocks(SelectBlocksOp op) {
  Location loc = op.getLoc();
  std::vector<KernelOperand> operands;
  for (Value value : {op.getQuery(), op.getKey()})
    operands.push_back(unitInner(get(value), loc));
  StridedView q = operands[0].view, k = operands[1].view;
  operands.push_back(contiguous(op.getThresholds(), loc));
  if (op.getMask())
    operands.push_back(get(op.getMask()).broadcast({q.dims[0], k.dims[1]}));
  bool counted = false;
  FailureOr<DimExpr> offset =
      positionOf(op, op.getOffsetExpr(), op.getOffsets(), op.getLengths(), q, k,
                 operands, counted);
  if (failed(offset))
    return failure();
  StridedView result = makeResult(op);
  plan.launch(
      loc, "select_blocks_" + q.dims[2].str() + "x" + q.dims[3].str(), operands,
      KernelOperand(result), /*claimed=*/false,
      [&](OpBuilder &b, ValueRange args) -> Operation * {
        auto next = args.begin() + 3;
        auto take = [&](bool present) { return present ? *next++ : Value(); };
        Value mask = take(static_cast<bool>(op.getMask()));
        Value offsets = take(counted || op.getOffsets());
        Value lengths = take(static_cast<bool>(op.getLengths()));
        StringAttr at = offset->isConstant(0) ? StringAttr()
                                              : b.getStringAttr(offset->str());
        return SelectBlocksOp::create(
            b, loc, getTensorType(result.dims, result.element), args[0],
            args[1], args[2], mask, offsets, lengths, op.getScaleAttr(),
            op.getSoftcapAttr(), op.getBlock(), op.getStride(), op.getBlocks(),
            op.getLeft(), at, op.getCausal(), op.getPooled());
      });
  return success();
}

LogicalResult Selector::selectAttention(AttentionOp op) {
  Location loc = op.getLoc();
  std::vector<KernelOperand> operands;
  for (Value value : {op.getQuery(), op.getKey(), op.getValue()})
    operands.push_back(unitInner(get(value), loc));
  StridedView q = operands[0].view, k = operands[1].view;
  Dims scores = {q.dims[0], q.dims[2], q.dims[1], k.dims[1]};
  for (Value value : {op.getMask(), op.getBias()})
    if (value)
      operands.push_back(
          addend(value,
                 cast<RankedTensorType>(value.getType()).getRank() == 2
                     ? Dims{scores[0], scores[3]}
                     : scores,
                 loc));
  bool counted = false;
  FailureOr<DimExpr> offset =
      positionOf(op, op.getOffsetExpr(), op.getOffsets(), op.getLengths(), q, k,
                 operands, counted);
  if (failed(offset))
    return failure();
  if (op.getSinks())
    operands.push_back(get(op.getSinks()));
  if (op.getPrefix())
    operands.push_back(get(op.getPrefix()).broadcast({q.dims[0]}));
  for (Value value : {op.getQuerySegments(), op.getKeySegments()})
    if (value)
      operands.push_back(unitInner(get(value), loc));
  if (op.hasBlocks()) {
    for (Value value : {op.getBlockRows(), op.getBlockColumns()})
      operands.push_back(unitInner(get(value), loc));
    operands.push_back(packKeys(operands[1], operands[2], op));
  }
  StridedView result = makeResult(op);
  auto make = [&](OpBuilder &b, ValueRange args) -> Operation * {
    auto next = args.begin() + 3;
    auto attention = AttentionOp::create(
        b, loc, getTensorType(result.dims, result.element), args[0], args[1],
        args[2], op.getScale().convertToFloat());
    auto take = [&](bool present, MutableOperandRange operand) {
      if (present)
        operand.assign(*next++);
    };
    take(static_cast<bool>(op.getMask()), attention.getMaskMutable());
    take(static_cast<bool>(op.getBias()), attention.getBiasMutable());
    take(counted || op.getOffsets(), attention.getOffsetsMutable());
    take(static_cast<bool>(op.getLengths()), attention.getLengthsMutable());
    take(static_cast<bool>(op.getSinks()), attention.getSinksMutable());
    take(static_cast<bool>(op.getPrefix()), attention.getPrefixMutable());
    bool hasSegments = static_cast<bool>(op.getQuerySegments());
    take(hasSegments, attention.getQuerySegmentsMutable());
    take(hasSegments, attention.getKeySegmentsMutable());
    take(op.hasBlocks(), attention.getBlockRowsMutable());
    take(op.hasBlocks(), attention.getBlockColumnsMutable());
    take(op.hasBlocks(), attention.getPanelsMutable());
    attention.setBlock(op.getBlock());
    attention.setFillAttr(op.getFillAttr());
    attention.setSoftcapAttr(op.getSoftcapAttr());
    attention.setLeft(op.getLeft());
    attention.setRight(op.getRight());
    attention.setChunk(op.getChunk());
    attention.setAnchors(op.getAnchors());
    // The offset of what has no window would tell equal kernels apart.
    if ((op.hasWindow() || op.hasBlocks()) && !offset->isConstant(0))
      attention.setOffset(offset->str());
    attention.setWindowFillAttr(op.getWindowFillAttr());
    attention.setJoined(op.getJoined());
    attention.setGuarded(op.getGuarded());
    if (Attribute scores = op->getAttr(kScoresAttr))
      attention->setAttr(kScoresAttr, scores);
    return attention;
  };
  plan.launch(loc, nameOf(q), operands, KernelOperand(result), /*claimed=*/true,
              make);
  return success();
}
