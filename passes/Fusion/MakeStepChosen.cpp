//===- MakeStepChosen.cpp - Layers that some runs leave out ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Early exit of each sequence by itself: a call names, for each block of such
// layers, the runs that go through it and their tokens. The rows of those
// tokens are gathered, the layer computes them alone, and its result goes back
// among the rows that passed by. So what a layer costs is what its own tokens
// cost, with two exceptions: copies of the residual stream, and keys and
// values.
//
// Keys and values of a token that passes a layer by are computed of what it
// hands on, for a later token of its sequence may run the layer and reads the
// pages of all tokens before it: what is in them must be this sequence's, and
// of the distribution that the layer's weights know. (Early exits are trained
// with the same rule: systems.md, "Early exit and layer skipping".)
//
// The layers of a block:
//
//   x [1, tokens, E]                        the stream before
//   rows [n], runs [m], begins [m + 1]      inputs
//   k, v = of x, appended to pages          all tokens
//   y    = layer(x[rows], pages of runs)    n tokens
//   x'   = x with y at rows                 the stream behind
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStepParts.h"

using namespace mlir;
using namespace ferrite;

namespace {
class LayerChooser {
public:
  LayerChooser(func::FuncOp func, int64_t first,
               llvm::DenseMap<Value, Dims> &dims);

  /// What the stream is behind the layer from `from` to `to`. Null: `reason`.
  Value run(Value from, Value to);
  std::string reason;
  Operation *culprit = nullptr;

private:
  void findOps(Value from, Value to);
  Value select(Value value);
  Value gather(Value value, Value at, size_t axis, const DimExpr &count);
  LogicalResult shorten(Operation *op);
  Value putBack(Value stream, Value rows);
  Value view(Value value, const Dims &to);
  BlockArgument addInput(StringRef name, const DimExpr &size, unsigned bits);
  std::optional<size_t> tokenAxis(Value value) const;

  func::FuncOp func;
  int64_t first; ///< layer of the block, which its inputs are named after
  llvm::DenseMap<Value, Dims> &dims;
  OpBuilder builder;
  DimExpr tokens = DimExpr::symbol(kTokens), rowCount, runCount;
  BlockArgument rows, runs, begins;
  llvm::SetVector<Operation *> shortened; ///< ops of the layer, in order
  Operation *update = nullptr;            ///< reads what the layer computes
  llvm::DenseMap<Value, Value> selected;
};
} // namespace

LayerChooser::LayerChooser(func::FuncOp func, int64_t first,
                           llvm::DenseMap<Value, Dims> &dims)
    : func(func), first(first), dims(dims), builder(func),
      rowCount(DimExpr::symbol(kChosenRows.str() + std::to_string(first))),
      runCount(DimExpr::symbol("layer_runs_" + std::to_string(first))) {
  rows = addInput(kChosenRows, rowCount, 64);
  runs = addInput("layer_runs_", runCount, 64);
  begins = addInput("layer_begins_", runCount + DimExpr(1), 32);
  SmallVector<Attribute> symbols(
      func->getAttrOfType<ArrayAttr>(kSymbolsAttr).getValue());
  for (const DimExpr &symbol : {rowCount, runCount})
    symbols.push_back(
        SymbolAttr::get(func.getContext(), symbol.str(), 0, INT32_MAX));
  func->setAttr(kSymbolsAttr, builder.getArrayAttr(symbols));
}

BlockArgument LayerChooser::addInput(StringRef name, const DimExpr &size,
                                     unsigned bits) {
  BlockArgument arg = addStepArgument(func, (name + Twine(first)).str(), size,
                                      builder.getIntegerType(bits));
  dims[arg] = {size};
  return arg;
}

std::optional<size_t> LayerChooser::tokenAxis(Value value) const {
  for (auto [i, dim] : llvm::enumerate(dims.lookup(value)))
    if (dim == tokens)
      return i;
  return std::nullopt;
}

static bool mentions(const Dims &dims, StringRef symbol) {
  return llvm::any_of(dims, [&](const DimExpr &dim) {
    return llvm::is_contained(dim.symbols(), symbol.str());
  });
}

/// What leads from the stream before the layer to that behind it, without what
/// leads to keys and values.
void LayerChooser::findOps(Value from, Value to) {
  using Ops = llvm::DenseSet<Operation *>;
  SmallVector<Value> appended;
  auto follow = [&](SmallVector<Value> pending, Ops &found) {
    while (!pending.empty()) {
      Value value = pending.pop_back_val();
      Operation *op = value.getDefiningOp(), *start = from.getDefiningOp();
      if (value == from || !op)
        continue;
      if (auto append = dyn_cast<KvAppendOp>(op)) {
        appended.push_back(append.getRows());
        continue;
      }
      // Before the stream there is what layers share: tables of positions.
      if ((start && op->isBeforeInBlock(start)) ||
          !mentions(dims.lookup(value), kTokens) || !found.insert(op).second)
        continue;
      llvm::append_range(pending, op->getOperands());
    }
  };
  Ops inside, whole;
  follow({to}, inside);
  follow(SmallVector<Value>(appended), whole);
  shortened.clear();
  for (Operation &op : func.getBody().front())
    if (inside.contains(&op) && !whole.contains(&op))
      shortened.insert(&op);
}

Value LayerChooser::gather(Value value, Value at, size_t axis,
                           const DimExpr &count) {
  Dims part = dims.lookup(value);
  part[axis] = count;
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  Value result =
      GatherOp::create(builder, value.getLoc(), getTensorType(part, element),
                       value, at, static_cast<int64_t>(axis));
  dims[result] = part;
  return result;
}

/// The rows of a value that has one for each token; null where that is no dim
/// of its own.
Value LayerChooser::select(Value value) {
  if (Value known = selected.lookup(value))
    return known;
  std::optional<size_t> axis = tokenAxis(value);
  if (!axis)
    return {};
  return selected[value] = gather(value, rows, *axis, rowCount);
}

LogicalResult LayerChooser::shorten(Operation *op) {
  builder.setInsertionPoint(op);
  for (OpOperand &operand : op->getOpOperands()) {
    Value value = operand.get();
    if (Operation *by = value.getDefiningOp(); by && shortened.contains(by))
      continue;
    if (!mentions(dims.lookup(value), kTokens))
      continue;
    Value taken = select(value);
    if (!taken) {
      reason = "has no dim of tokens alone, of which rows could be taken";
      return failure();
    }
    operand.set(taken);
  }
  if (auto paged = dyn_cast<PagedAttentionOp>(op)) {
    for (OpOperand *of :
         {&paged.getContextsMutable(), &paged.getPageTablesMutable()})
      of->set(gather(of->get(), runs, 0, runCount));
    paged.getRunBeginsMutable().set(begins);
  }
  return replaceSymbols(op, {{kTokens.str(), rowCount}}, dims, reason);
}

Value LayerChooser::view(Value value, const Dims &to) {
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  Value result =
      ViewOp::create(builder, value.getLoc(), getTensorType(to, element), value,
                     getDimsAttr(func.getContext(), to));
  dims[result] = to;
  return result;
}

/// `stream` with `taken` in place of the rows that were taken.
Value LayerChooser::putBack(Value stream, Value taken) {
  Dims whole = dims.lookup(stream), flat, part;
  for (const DimExpr &dim : whole)
    if (!flat.empty() || !dim.isConstant(1))
      flat.push_back(dim);
  if (flat.empty() || flat[0] != tokens) {
    reason = "has no dim of tokens in what passes it by";
    return {};
  }
  part = flat;
  part[0] = rowCount;
  builder.setInsertionPointAfterValue(taken);
  Value data = view(stream, flat), own = view(taken, part),
        at = view(rows, {rowCount, DimExpr(1)});
  update = own.getDefiningOp();
  Value result = ScatterNDOp::create(builder, taken.getLoc(), data.getType(),
                                     data, at, own, CombineKind::None);
  dims[result] = flat;
  return view(result, whole);
}

Value LayerChooser::run(Value from, Value to) {
  findOps(from, to);
  Operation *last = to.getDefiningOp();
  if (!last || !shortened.contains(last)) {
    reason = "has no layer behind its stream that could be left out";
    return {};
  }
  for (Operation *op : shortened)
    if (failed(shorten(op))) {
      culprit = op;
      return {};
    }
  Value behind = putBack(from, to);
  if (!behind) {
    culprit = last;
    return {};
  }
  to.replaceAllUsesExcept(behind, update);
  // The next layer of the block need not take the same rows again.
  selected[behind] = to;
  return behind;
}

LogicalResult StepPartsMaker::chooseLayers(llvm::DenseMap<Value, Dims> &dims) {
  if (parts.chosen.empty())
    return success();
  if (std::string why = whyNotLayers(parts.chosen); !why.empty())
    return fail(why);
  std::optional<LayerChooser> block;
  int64_t before = -2;
  for (int64_t layer : parts.chosen) {
    Value from = streams[layer], to = streams[layer + 1];
    if (!to || from.getType() != to.getType())
      return fail("has no value that is all of its tokens behind layer " +
                      Twine(layer),
                  attentions[layer]);
    if (layer != before + 1)
      block.emplace(func, layer, dims);
    before = layer;
    Value behind = block->run(from, to);
    if (!behind)
      return fail(block->reason,
                  block->culprit ? block->culprit : attentions[layer]);
    streams[layer + 1] = behind;
  }
  return success();
}
