//===- MakeStep.cpp - A second entry, over tokens of many sequences -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A copy of the decoder is brought to one sequence: batch is 1, and all sizes
// are in `past` and `tokens`. There, positions and masks are known
// (SequenceFacts) and go, caches become pages, and what remains of `past` would
// mix sequences. When every op that is left keeps tokens apart (TokenAxis), the
// tokens may be of any sequences, and the copy is the step.
//
// The file is longer than others because all parts of the rewrite share the
// inputs that it adds.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStep.h"
#include "dialects/Ferrite/IR/KvPool.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStepParts.h"
#include "passes/Fusion/MakeStepTail.h"

#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace ferrite;

namespace {
class StepMaker {
public:
  StepMaker(func::FuncOp func, SmallVector<CachedAttention> attentions,
            StringRef kv)
      : func(func), attentions(std::move(attentions)), kv(kv), builder(func) {}

  /// Rewrites `func`; fails with what keeps it from being a step.
  LogicalResult run(const StepParts &parts);
  std::string reason;
  Operation *culprit = nullptr; ///< null: the function as a whole

private:
  LogicalResult fail(const Twine &why, Operation *at = nullptr) {
    reason = why.str();
    culprit = at;
    return failure();
  }
  LogicalResult addInputs();
  LogicalResult replaceFacts();
  void replacePositions(Value value, int64_t shift);
  Value positionsFrom(Location loc, int64_t shift);
  void replaceRows(SliceOp op, int64_t axis, int64_t shift);
  LogicalResult replaceAttention(CachedAttention &attention, int64_t layer);
  LogicalResult followRows(Value value);
  Value pool(const CachedAttention &attention, bool keys, int64_t layer);
  Type poolElement(Type computed);
  int64_t groupOf(const CachedAttention &attention) const;
  LogicalResult keepLogits();
  Value asRow(Value value);
  BlockArgument addArgument(StringRef name, ArrayRef<DimExpr> dims, Type type) {
    return addStepArgument(func, name, dims, type);
  }

  func::FuncOp func;
  SmallVector<CachedAttention> attentions;
  StringRef kv;          ///< what pools hold (kKvAttr); empty: as computed
  bool isSingle = false; ///< the graph takes one token a call
  OpBuilder builder;
  /// Pages of the states of one window.
  struct Group {
    int64_t left; ///< -1: all
    int64_t number;
    BlockArgument slots, tables;
  };
  SmallVector<Group> groups; ///< the widest first
  BlockArgument ids, positions, slots, runBegins, contexts, visible, tables,
      logitRows, sourceLengths, sourceTables; ///< the last two: may be null
  /// By CacheRows::rows, and whether they are keys: one value may be both.
  llvm::DenseMap<std::pair<Value, unsigned>, Value> pools;
  llvm::DenseMap<Operation *, Value> newRows; ///< by CacheRows::whole
  llvm::SmallPtrSet<Operation *, 8> rowViews; ///< of caches, up to attentions
};
} // namespace

//===--- inputs -----------------------------------------------------------===//

int64_t StepMaker::groupOf(const CachedAttention &attention) const {
  for (const Group &group : groups)
    if (!attention.isSource && group.left == attention.kept)
      return group.number;
  return 1;
}

LogicalResult StepMaker::addInputs() {
  DimExpr tokens = DimExpr::symbol(kTokens), runs = DimExpr::symbol(kRuns);
  Type i64 = builder.getI64Type(), i32 = builder.getI32Type();
  for (BlockArgument arg : func.getArguments()) {
    if (classifyInput(func, arg, attentions) != StepInput::Ids)
      continue;
    if (ids)
      return fail("has two inputs of token ids");
    ids = arg;
  }
  if (!ids)
    return fail("has no input of token ids, [batch, tokens]");
  BlockArgument tokenIds = addArgument("token_ids", tokens, i64);
  positions = addArgument("positions", tokens, i64);
  slots = addArgument("slots", tokens, i64);
  runBegins = addArgument("run_begins", runs + DimExpr(1), i32);
  contexts = addArgument("contexts", runs, i32);
  visible = addArgument("visible", tokens, i64);
  tables = addArgument("page_tables", {runs, DimExpr::symbol(kTable)}, i32);
  logitRows = addArgument("logit_rows", DimExpr::symbol(kLogits), i64);
  if (llvm::any_of(attentions,
                   [](const auto &each) { return each.isSource; })) {
    sourceLengths = addArgument("source_lengths", runs, i32);
    sourceTables = addArgument("source_tables",
                               {runs, DimExpr::symbol(kSourceTable)}, i32);
  }
  for (int64_t left : findWindows(attentions)) // number 1 is the source's
    groups.push_back(
        {left, groups.empty() ? 0 : int64_t(groups.size()) + 1, {}, {}});
  for (Group &group : groups) {
    std::string suffix = "_" + std::to_string(group.number);
    bool isFirst = group.number == 0;
    group.slots = isFirst ? slots : addArgument("slots" + suffix, tokens, i64);
    group.tables = isFirst ? tables
                           : addArgument("page_tables" + suffix,
                                         {runs, DimExpr::symbol(kTable)}, i32);
  }
  builder.setInsertionPointToStart(&func.getBody().front());
  Value values = tokenIds;
  Type element = elementTypeOf(ids);
  if (element != i64)
    values = CastOp::create(builder, ids.getLoc(),
                            getTensorType(tokens, element), values);
  Dims given = {DimExpr(1), tokens};
  if (isSingle)
    std::swap(given[0], given[1]);
  ids.replaceAllUsesWith(ViewOp::create(builder, ids.getLoc(), ids.getType(),
                                        values,
                                        getDimsAttr(func.getContext(), given)));
  return success();
}

//===--- what is known ----------------------------------------------------===//

/// Positions with `shift` added.
Value StepMaker::positionsFrom(Location loc, int64_t shift) {
  if (shift == 0)
    return positions;
  auto type = RankedTensorType::get({1}, builder.getI64Type());
  Value by = arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(type, builder.getI64IntegerAttr(shift)));
  return AddOp::create(builder, loc, positions.getType(), positions, by);
}

/// A part of a table that begins with the past: rows by position.
void StepMaker::replaceRows(SliceOp op, int64_t axis, int64_t shift) {
  builder.setInsertionPoint(op);
  Value at = positionsFrom(op.getLoc(), shift);
  op.replaceAllUsesWith(GatherOp::create(builder, op.getLoc(), op.getType(),
                                         op.getInput(), at, axis)
                            .getResult());
}

void StepMaker::replacePositions(Value value, int64_t shift) {
  builder.setInsertionPointAfterValue(value);
  if (isa<BlockArgument>(value))
    builder.setInsertionPointToStart(&func.getBody().front());
  Location loc = value.getLoc();
  DimExpr tokens = DimExpr::symbol(kTokens);
  Type element = elementTypeOf(value);
  Value at = positionsFrom(loc, shift);
  if (element != builder.getI64Type())
    at = CastOp::create(builder, loc, getTensorType(tokens, element), at);
  auto type = cast<RankedTensorType>(value.getType());
  Dims dims;
  for (int64_t size : type.getShape())
    dims.push_back(ShapedType::isDynamic(size) ? tokens : DimExpr(size));
  if (dims.size() != 1)
    at = ViewOp::create(builder, loc, type, at,
                        getDimsAttr(func.getContext(), dims));
  value.replaceAllUsesWith(at);
}

LogicalResult StepMaker::replaceFacts() {
  std::string why;
  ScopedDiagnosticHandler handler(func.getContext(), [&](Diagnostic &said) {
    why = said.str();
    return success();
  });
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims))
    return fail("does not hold for one sequence: " + why);
  // All is asked before anything is rewritten: the analysis keeps values.
  SequenceFacts facts(func, *dims, attentions);
  SmallVector<std::pair<Value, int64_t>> found;
  SmallVector<std::tuple<SliceOp, int64_t, int64_t>> rows;
  auto ask = [&](Value value) {
    if (std::optional<int64_t> shift = facts.asPosition(value))
      found.push_back({value, *shift});
    else if (auto slice = value.getDefiningOp<SliceOp>())
      if (auto part = facts.asRowsByPosition(slice))
        rows.push_back({slice, part->first, part->second});
  };
  for (BlockArgument arg : func.getArguments())
    if (arg != positions)
      ask(arg);
  for (Operation &op : func.getBody().front())
    for (Value result : op.getResults())
      ask(result);
  for (CachedAttention &each : attentions)
    if (why =
            each.isSource ? facts.whyNotWhole(each) : facts.whyNotCausal(each);
        !why.empty())
      return fail(why, each.op);
  for (const CachedAttention &each : attentions)
    for (const CacheRows &part : {each.keys, each.values})
      if ((part.whole || part.past) && failed(followRows(part.rows)))
        return failure();
  for (auto [value, shift] : found)
    replacePositions(value, shift);
  for (auto [slice, axis, shift] : rows)
    replaceRows(slice, axis, shift);
  // States of a group lie side by side.
  for (int64_t number = 0; number <= int64_t(groups.size()); ++number) {
    int64_t layers[] = {0, 0};
    for (CachedAttention &each : attentions) {
      int64_t layer = layers[each.isSource]++;
      if (groupOf(each) == number && failed(replaceAttention(each, layer)))
        return failure();
    }
  }
  return success();
}

//===--- caches -----------------------------------------------------------===//

/// What `op` computes becomes a present and nothing else: two in one tensor, or
/// the last rows where a cache keeps a window.
static bool leadsToPresents(Operation *op) {
  return isa<ConcatOp, GatherNDOp, ViewOp, TransposeOp>(op) &&
         llvm::all_of(op->getUsers(), [](Operation *user) {
           return isa<func::ReturnOp>(user) || leadsToPresents(user);
         });
}

/// Rows of the past and new ones are read by attentions alone, through views
/// that will be of the new rows.
LogicalResult StepMaker::followRows(Value value) {
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<func::ReturnOp>(user) || leadsToPresents(user))
      continue;
    if (isa<ViewOp, TransposeOp, BroadcastOp>(user)) {
      if (rowViews.insert(user).second &&
          failed(followRows(user->getResult(0))))
        return failure();
      continue;
    }
    bool isCached = llvm::any_of(attentions, [&](const CachedAttention &each) {
      return each.op == user;
    });
    unsigned index = use.getOperandNumber();
    if (!isCached || (index != 1 && index != 2))
      return fail("reads a cache beside its attention", user);
  }
  return success();
}

/// What pools hold of rows that are computed in this type.
Type StepMaker::poolElement(Type computed) {
  return llvm::StringSwitch<Type>(kv)
      .Case("f32", builder.getF32Type())
      .Case("f16", builder.getF16Type())
      .Case("bf16", builder.getBF16Type())
      .Case("int8", builder.getI8Type())
      .Case("int4", builder.getIntegerType(8, /*isSigned=*/false))
      .Default(computed);
}

/// Heads of [tokens, 1, ..] as those of the row of tokens [1, tokens, ..].
Value StepMaker::asRow(Value value) {
  if (!isSingle)
    return value;
  auto type = cast<RankedTensorType>(value.getType());
  Dims dims = {DimExpr(1), DimExpr::symbol(kTokens),
               DimExpr(type.getDimSize(2)), DimExpr(type.getDimSize(3))};
  return ViewOp::create(builder, value.getLoc(),
                        getTensorType(dims, type.getElementType()), value,
                        getDimsAttr(func.getContext(), dims));
}

/// The pool of these rows, once for all attentions that read them, with new
/// rows appended.
Value StepMaker::pool(const CachedAttention &attention, bool keys,
                      int64_t layer) {
  AttentionOp op = attention.op;
  const CacheRows &rows = keys ? attention.keys : attention.values;
  Value &pool = pools[{rows.rows, keys}];
  if (rows.whole)
    newRows[rows.whole] = rows.newRows();
  if (pool)
    return pool;
  Value rowsOfAll = keys ? op.getKey() : op.getValue();
  auto type = cast<RankedTensorType>(rowsOfAll.getType());
  Type element = poolElement(type.getElementType());
  DimExpr heads(type.getDimSize(2)),
      size(kvPoolWidth(element, type.getDimSize(3))),
      page(KvAppendOp::kPageTokens);
  Dims dims = {DimExpr::symbol(kPages), heads, keys ? size : page,
               keys ? page : size};
  BlockArgument arg =
      addArgument(stateName(func, attention, keys, layer), dims, element);
  int64_t left = attention.isSource ? -1 : attention.kept;
  int64_t number = groupOf(attention);
  func.setArgAttr(arg.getArgNumber(), kStateAttr,
                  StateAttr::get(func.getContext(),
                                 keys ? StateKind::Keys : StateKind::Values,
                                 layer, left < 0 ? -1 : left + 1, number, 0));
  if (attention.isSource)
    return pool = arg;
  const Group *group = llvm::find_if(
      groups, [&](const Group &each) { return each.number == number; });
  return pool = KvAppendOp::create(builder, rows.rows.getLoc(), arg.getType(),
                                   asRow(rowsOfAll), group->slots, arg, keys);
}

LogicalResult StepMaker::replaceAttention(CachedAttention &attention,
                                          int64_t layer) {
  AttentionOp op = attention.op;
  builder.setInsertionPoint(op);
  if (ShapedType::isDynamic(typeOf(op.getKey()).getDimSize(3)) ||
      ShapedType::isDynamic(typeOf(op.getKey()).getDimSize(2)) ||
      ShapedType::isDynamic(typeOf(op.getValue()).getDimSize(3)) ||
      ShapedType::isDynamic(typeOf(op.getQuery()).getDimSize(2)))
    return fail("has heads whose number or size is not known", op);
  for (Value rows : {op.getKey(), op.getValue()})
    if (kvPoolWidth(poolElement(elementTypeOf(rows)),
                    typeOf(rows).getDimSize(3)) == 0)
      return fail("has heads of " + Twine(typeOf(rows).getDimSize(3)) +
                      " numbers; caches of four bits take multiples of 32",
                  op);
  Value keys = pool(attention, /*keys=*/true, layer);
  Value values = pool(attention, /*keys=*/false, layer);
  bool isSource = attention.isSource;
  const Group *pages = llvm::find_if(groups, [&](const Group &each) {
    return each.number == groupOf(attention);
  });
  Value query = asRow(op.getQuery());
  auto type = cast<RankedTensorType>(op.getResult().getType());
  Dims result = {DimExpr(1), DimExpr::symbol(kTokens),
                 DimExpr(type.getDimSize(2)), DimExpr(type.getDimSize(3))};
  auto paged = PagedAttentionOp::create(
      builder, op.getLoc(), getTensorType(result, type.getElementType()),
      ValueRange{query, keys, values, runBegins,
                 isSource ? sourceLengths : contexts, visible,
                 isSource ? sourceTables : pages->tables},
      op.getScale().convertToFloat());
  if (op.getSinks())
    paged.getSinksMutable().assign(op.getSinks());
  addBias(func, paged, attention);
  paged.setSoftcapAttr(op.getSoftcapAttr());
  paged.setLeft(isSource ? -1 : op.getLeft());
  paged.setCross(isSource);
  Value heads = paged.getResult();
  if (isSingle) {
    std::swap(result[0], result[1]);
    heads = ViewOp::create(builder, op.getLoc(), type, heads,
                           getDimsAttr(func.getContext(), result));
  }
  op.getResult().replaceAllUsesWith(heads);
  op.erase();
  return success();
}

//===--- what is left -----------------------------------------------------===//

/// Of the outputs the logits alone: the rest are caches, or nothing that a
/// caller of a step asks for.
LogicalResult StepMaker::keepLogits() {
  auto end = cast<func::ReturnOp>(func.getBody().front().getTerminator());
  int64_t logits = -1;
  for (unsigned i = 0; i < end.getNumOperands(); ++i) {
    auto name = func.getResultAttrOfType<StringAttr>(i, kNameAttr);
    if (name && name.getValue() == "logits")
      logits = i;
  }
  if (logits < 0)
    return fail("has no output 'logits'");
  Value value = end.getOperand(logits);
  DictionaryAttr attrs = func.getResultAttrDict(logits);
  end.getOperandsMutable().assign(value);
  func.setFunctionType(FunctionType::get(
      func.getContext(), func.getBody().getArgumentTypes(), value.getType()));
  func.setAllResultAttrs(ArrayRef<DictionaryAttr>(attrs));
  // The new rows for the whole: what reads it are views on the way to pages.
  for (const auto &[whole, rows] : newRows)
    whole->getResult(0).replaceAllUsesWith(rows);
  eraseUnused(func);
  for (unsigned i = func.getNumArguments(); i-- > 0;) {
    BlockArgument arg = func.getArgument(i);
    StepInput kind = classifyInput(func, arg, {});
    bool isOurs = arg == positions || arg == slots || arg == runBegins ||
                  arg == contexts || arg == visible || arg == tables ||
                  arg == logitRows || arg == sourceLengths ||
                  arg == sourceTables || i >= func.getNumArguments() ||
                  func.getArgAttr(i, kStateAttr) ||
                  llvm::any_of(groups, [&](const Group &group) {
                    return arg == group.slots || arg == group.tables;
                  });
    auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
    isOurs |= name && name.getValue() == "token_ids";
    if (isOurs)
      continue;
    if (!arg.use_empty())
      return fail("reads the input '" + argumentName(func, arg) + "'" +
                      (kind == StepInput::Mask
                           ? ", the mask, elsewhere than for attention"
                           : ", of which a step knows nothing"),
                  *arg.user_begin());
    (void)func.eraseArgument(i);
  }
  return success();
}

LogicalResult StepMaker::run(const StepParts &parts) {
  isSingle = takesOneToken(func);
  if (failed(bringToOneSequence(func, attentions, reason)))
    return failure();
  adoptWindows(func, attentions);
  if (failed(addInputs()) || failed(replaceFacts()) || failed(keepLogits()))
    return failure();
  StepPartsMaker more(func, parts);
  if (failed(more.run()))
    return fail(more.reason, more.culprit);
  StepTail tail(func, logitRows, rowViews);
  if (failed(tail.settle()))
    return fail(tail.reason, tail.culprit);
  if (failed(more.chooseLayers(tail.dims)))
    return fail(more.reason, more.culprit);
  if (failed(tail.run()))
    return fail(tail.reason, tail.culprit);
  eraseUnused(func);
  if (parts.kv.isMixed() && failed(mixCaches(func, parts.kv, reason, culprit)))
    return failure();
  if (failed(verifyStep(func, logitRows, reason, culprit)))
    return failure();
  SmallVector<Attribute> symbols; // no input has the past
  for (Attribute symbol : func->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    if (StringRef name = cast<SymbolAttr>(symbol).getName();
        name != kPast && (name != kSourceTable || sourceTables))
      symbols.push_back(symbol);
  func->setAttr(kSymbolsAttr, builder.getArrayAttr(symbols));
  func->setAttr(kStepAttr, builder.getUnitAttr());
  return success();
}

LogicalResult ferrite::makeStep(func::FuncOp func,
                                SmallVector<CachedAttention> attentions,
                                const StepParts &parts, std::string &reason,
                                Operation *&culprit) {
  StepMaker maker(func, std::move(attentions), parts.kv.type);
  LogicalResult made = maker.run(parts);
  reason = maker.reason;
  culprit = maker.culprit ? maker.culprit : func.getOperation();
  return made;
}
