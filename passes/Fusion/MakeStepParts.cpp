//===- MakeStepParts.cpp - What a step has on request ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Embeddings in, hidden states and sums of attention out, and layers left out.
// Nothing of it costs a step that was not asked for it.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStepParts.h"
#include "dialects/Ferrite/IR/KvPool.h"
#include "passes/Analysis/Matchers.h"

using namespace mlir;
using namespace ferrite;

//===--- inputs -----------------------------------------------------------===//

BlockArgument ferrite::addStepArgument(func::FuncOp func, StringRef name,
                                       ArrayRef<DimExpr> dims, Type type) {
  MLIRContext *context = func.getContext();
  Builder builder(context);
  unsigned index = func.getNumArguments();
  NamedAttribute attrs[] = {
      builder.getNamedAttr(kNameAttr, builder.getStringAttr(name)),
      builder.getNamedAttr(kDimsAttr, getDimsAttr(context, dims))};
  (void)func.insertArgument(index, getTensorType(dims, type),
                            DictionaryAttr::get(context, attrs), func.getLoc());
  return func.getArgument(index);
}

//===--- what is asked for ------------------------------------------------===//

static constexpr int64_t kMostLayers = 100000;

static bool parseLayer(StringRef text, int64_t &layer) {
  return !text.getAsInteger(10, layer) && layer >= 0 && layer < kMostLayers;
}

std::string StepParts::addWith(StringRef text) {
  auto [kind, which] = text.split(':');
  int64_t layer;
  if (text == "embeddings") {
    embeddings = true;
    return "";
  }
  if (kind == "hidden" && !which.empty()) {
    hidden.push_back(which.str());
    return "";
  }
  if (kind == "lse" && parseLayer(which, layer)) {
    lse.push_back(layer);
    return "";
  }
  return "a step has no '" + text.str() +
         "'; it may have: embeddings, hidden:LAYER, hidden:NODE, lse:LAYER";
}

std::string StepParts::addEntry(StringRef text) {
  auto [entry, rest] = text.split(':');
  auto [kind, layers] = rest.split(':');
  std::string problem = "'" + text.str() +
                        "' is no step entry: NAME:skip:LAYERS or "
                        "NAME:choose:LAYERS, the layers as in 4-7+9";
  if (entry.empty() || (kind != "skip" && kind != "choose") || layers.empty() ||
      !llvm::all_of(entry, [](char c) { return llvm::isAlnum(c) || c == '_'; }))
    return problem;
  name = entry.str();
  SmallVector<StringRef> ranges;
  layers.split(ranges, '+');
  for (StringRef range : ranges) {
    auto [first, last] = range.split('-');
    int64_t from, to;
    if (!parseLayer(first, from) ||
        !parseLayer(range.contains('-') ? last : first, to) || to < from)
      return problem;
    for (; from <= to; ++from)
      (kind == "skip" ? skipped : chosen).insert(from);
  }
  return "";
}

//===--- layers -----------------------------------------------------------===//

static bool isStream(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && isa<FloatType>(type.getElementType()) && type.getRank() >= 2;
}

LogicalResult StepPartsMaker::findLayers() {
  Block &block = func.getBody().front();
  for (BlockArgument arg : func.getArguments())
    if (argumentName(func, arg) == "token_ids")
      ofTokens.insert(arg);
  // The last op that reads a value; all that lives at one point is one value
  // where the stream is.
  llvm::DenseMap<Value, Operation *> lastUse;
  for (Operation &op : block) {
    bool derived = false;
    for (Value operand : op.getOperands()) {
      lastUse[operand] = &op;
      derived |= ofTokens.contains(operand);
    }
    if (derived)
      ofTokens.insert(op.result_begin(), op.result_end());
  }
  llvm::SmallSetVector<Value, 8> live;
  for (Value value : ofTokens)
    if (isa<BlockArgument>(value))
      live.insert(value);
  SmallVector<Value> cuts;
  SmallVector<size_t> before; // cuts up to each attention
  for (Operation &op : block.without_terminator()) {
    auto paged = dyn_cast<PagedAttentionOp>(op);
    if (paged && !paged.getCross()) { // which is of the same layer
      attentions.push_back(paged);
      before.push_back(cuts.size());
    }
    for (Value result : op.getResults())
      if (ofTokens.contains(result))
        live.insert(result);
    live.remove_if([&](Value value) { return lastUse.lookup(value) == &op; });
    if (live.size() == 1 && isStream(live.front()) &&
        (cuts.empty() || cuts.back() != live.front()))
      cuts.push_back(live.front());
  }
  for (auto [i, count] : llvm::enumerate(before)) {
    if (count == 0 || (i > 0 && count == before[i - 1]))
      return fail("has no value that is all of its tokens before layer " +
                      Twine(i),
                  attentions[i]);
    streams.push_back(cuts[count - 1]);
  }
  if (streams.empty())
    return fail("has no attention");
  // The last layer ends as the others do: behind as many such values.
  Value last;
  size_t layers = before.size();
  if (layers > 1) {
    size_t end = 2 * before[layers - 1] - before[layers - 2] - 1;
    if (end < cuts.size() && cuts[end].getType() == streams.back().getType())
      last = cuts[end];
  }
  streams.push_back(last);
  return success();
}

//===--- embeddings -------------------------------------------------------===//

LogicalResult StepPartsMaker::takeEmbeddings() {
  SmallVector<GatherOp> lookups;
  for (auto op : func.getBody().getOps<GatherOp>())
    if (ofTokens.contains(op.getIndices()) && !ofTokens.contains(op.getData()))
      lookups.push_back(op);
  if (lookups.size() != 1)
    return fail("looks its tokens up in " + Twine(lookups.size()) +
                " tables, so that no one row is its embedding");
  GatherOp lookup = lookups[0];
  DimExpr tokens = DimExpr::symbol(kTokens);
  Dims whole; // no other size varies in a step of one sequence
  for (int64_t size : typeOf(lookup.getResult()).getShape())
    whole.push_back(ShapedType::isDynamic(size) ? tokens : DimExpr(size));
  Type element = elementTypeOf(lookup.getResult());
  Dims rows = {tokens, whole.back()}, one = whole;
  one.back() = DimExpr(1);
  if (product(whole) != product(rows))
    return fail("has embeddings that are no row for each token", lookup);
  BlockArgument given = addStepArgument(func, "embeddings", rows, element);
  BlockArgument chosen =
      addStepArgument(func, "embedded", tokens, builder.getI1Type());
  builder.setInsertionPointAfter(lookup);
  Location loc = lookup.getLoc();
  auto view = [&](Value value, const Dims &to, Type type) -> Value {
    return ViewOp::create(builder, loc, getTensorType(to, type), value,
                          getDimsAttr(func.getContext(), to));
  };
  Value isGiven = view(chosen, one, builder.getI1Type());
  Value row = view(given, whole, element);
  auto where = WhereOp::create(builder, loc, lookup.getResult().getType(),
                               isGiven, row, lookup.getResult());
  lookup.getResult().replaceAllUsesExcept(where.getResult(), where);
  for (Value &stream : streams)
    if (stream == lookup.getResult())
      stream = where.getResult();
  return success();
}

//===--- results ----------------------------------------------------------===//

void StepPartsMaker::give(Value value, const std::string &name) {
  auto end = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  end.getOperandsMutable().append(value);
  SmallVector<DictionaryAttr> attrs;
  for (unsigned i = 0; i + 1 < end.getNumOperands(); ++i)
    attrs.push_back(func.getResultAttrDict(i));
  attrs.push_back(builder.getDictionaryAttr(
      builder.getNamedAttr(kNameAttr, builder.getStringAttr(name))));
  func.setFunctionType(FunctionType::get(func.getContext(),
                                         func.getBody().getArgumentTypes(),
                                         end.getOperandTypes()));
  func.setAllResultAttrs(attrs);
}

LogicalResult StepPartsMaker::giveSums() {
  for (int64_t layer : parts.lse) {
    if (layer >= int64_t(attentions.size()))
      return fail("has no layer " + Twine(layer) +
                  ", of which 'lse:" + Twine(layer) + "' would be: it has " +
                  Twine(attentions.size()));
    PagedAttentionOp op = attentions[layer];
    auto type = cast<RankedTensorType>(op.getType());
    auto pool = cast<RankedTensorType>(op.getValues().getType());
    int64_t depth = kvPoolDepth(pool.getElementType(), pool.getDimSize(3));
    DimExpr tokens = DimExpr::symbol(kTokens), heads(type.getDimSize(2));
    auto slice = [&](int64_t from, int64_t size) -> Value {
      Dims part = {DimExpr(1), tokens, heads, DimExpr(size)},
           offsets(4, DimExpr(0));
      offsets[3] = DimExpr(from);
      return SliceOp::create(
          builder, op.getLoc(), getTensorType(part, type.getElementType()),
          op.getResult(), getDimsAttr(func.getContext(), offsets),
          SmallVector<int64_t>(4, 1), getDimsAttr(func.getContext(), part));
    };
    if (type.getDimSize(3) == depth) {
      SmallVector<OpOperand *> uses;
      for (OpOperand &use : op->getUses())
        uses.push_back(&use);
      builder.setInsertionPointAfter(op);
      op.getResult().setType(
          getTensorType({DimExpr(1), tokens, heads, DimExpr(depth + 1)},
                        type.getElementType()));
      Value values = slice(0, depth);
      for (OpOperand *use : uses)
        use->set(values);
    }
    builder.setInsertionPoint(func.getBody().front().getTerminator());
    give(slice(depth, 1), "lse:" + std::to_string(layer));
  }
  return success();
}

Value StepPartsMaker::findNode(StringRef name) {
  for (Operation &op : func.getBody().front().without_terminator()) {
    auto loc = dyn_cast<NameLoc>(op.getLoc());
    if (loc && loc.getName() == name && op.getNumResults() == 1 &&
        ofTokens.contains(op.getResult(0)) && isStream(op.getResult(0)))
      return op.getResult(0);
  }
  return {};
}

LogicalResult StepPartsMaker::giveHidden() {
  for (const std::string &name : parts.hidden) {
    int64_t layer;
    Value value;
    if (parseLayer(name, layer)) {
      if (layer >= int64_t(streams.size()) || !streams[layer])
        return fail("has no value that is all of its tokens behind " + name +
                    " layers: it has " + Twine(attentions.size()) + " layers");
      value = streams[layer];
    } else if (!(value = findNode(name))) {
      return fail("has no node '" + name +
                  "' whose value is left: it is none of tokens, or a fusion "
                  "has taken it");
    }
    give(value, "hidden:" + name);
  }
  return success();
}

//===--- fewer layers -----------------------------------------------------===//

/// States that nothing reads any more, and the pages of a group without any.
static void eraseStates(func::FuncOp func) {
  for (unsigned i = func.getNumArguments(); i-- > 0;) {
    BlockArgument arg = func.getArgument(i);
    std::string name = argumentName(func, arg);
    if (arg.use_empty() && (func.getArgAttr(i, kStateAttr) ||
                            StringRef(name).starts_with("slots_") ||
                            StringRef(name).starts_with("page_tables_")))
      (void)func.eraseArgument(i);
  }
}

std::string
StepPartsMaker::whyNotLayers(const std::set<int64_t> &chosen) const {
  auto layers = int64_t(attentions.size());
  if (int64_t(chosen.size()) < layers && *chosen.rbegin() < layers)
    return "";
  return ("has " + Twine(layers) + " layers, of which it cannot leave out " +
          Twine(chosen.size()) + " up to the one of number " +
          Twine(*chosen.rbegin()))
      .str();
}

/// Where no layer is left that sees the most, those with the widest window that
/// is left are what `slots` and `page_tables` are for: every step has these.
static void fillFirstGroup(func::FuncOp func) {
  auto stateOf = [&](unsigned i) {
    return func.getArgAttrOfType<StateAttr>(i, kStateAttr);
  };
  int64_t first = INT64_MAX;
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (StateAttr state = stateOf(i))
      first = std::min<int64_t>(first, state.getGroup());
  if (first == 0 || first == INT64_MAX)
    return;
  std::string suffix = "_" + std::to_string(first);
  auto find = [&](const std::string &name) -> BlockArgument {
    for (BlockArgument arg : func.getArguments())
      if (argumentName(func, arg) == name)
        return arg;
    return {};
  };
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (StateAttr state = stateOf(i); state && state.getGroup() == first)
      func.setArgAttr(i, kStateAttr,
                      StateAttr::get(func.getContext(), state.getKind(),
                                     state.getLayer(), state.getWindow(), 0,
                                     state.getSinks()));
  for (StringRef name : {"slots", "page_tables"}) {
    BlockArgument to = find(name.str()), from = find(name.str() + suffix);
    from.replaceAllUsesWith(to);
    (void)func.eraseArgument(from.getArgNumber());
  }
}

LogicalResult StepPartsMaker::skipLayers() {
  if (std::string why = whyNotLayers(parts.skipped); !why.empty())
    return fail(why);
  // An encoder's keys and values are made for all layers.
  for (auto op : func.getBody().getOps<PagedAttentionOp>())
    if (op.getCross())
      return fail(
          "reads an encoder in each layer, so that none can be left out", op);
  for (int64_t layer : parts.skipped) {
    Value from = streams[layer], to = streams[layer + 1];
    if (!to || from.getType() != to.getType())
      return fail("has no value that is all of its tokens behind layer " +
                      Twine(layer),
                  attentions[layer]);
    to.replaceAllUsesWith(from);
    streams[layer + 1] = from;
  }
  eraseUnused(func);
  eraseStates(func);
  fillFirstGroup(func);
  return success();
}

LogicalResult StepPartsMaker::run() {
  bool wantsAny = parts.embeddings || !parts.hidden.empty() ||
                  !parts.lse.empty() || !parts.skipped.empty() ||
                  !parts.chosen.empty();
  if (!wantsAny)
    return success();
  if (failed(findLayers()))
    return failure();
  if (parts.embeddings && failed(takeEmbeddings()))
    return failure();
  // Before layers go: their numbers are those of the whole model.
  if (failed(giveHidden()) || failed(giveSums()))
    return failure();
  return parts.skipped.empty() ? success() : skipLayers();
}
