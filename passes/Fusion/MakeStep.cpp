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
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStep.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Analysis/TokenAxis.h"
#include "passes/Fusion/MakeStepTail.h"
#include "passes/Fusion/Passes.h"

#define DEBUG_TYPE "ferrite-make-step"

namespace ferrite {
#define GEN_PASS_DEF_MAKESTEP
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
class StepMaker {
public:
  StepMaker(func::FuncOp func, SmallVector<CachedAttention> attentions)
      : func(func), attentions(std::move(attentions)), builder(func) {}

  /// Rewrites `func`; fails with what keeps it from being a step.
  LogicalResult run();
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
  LogicalResult replaceAttention(CachedAttention &attention, int64_t layer);
  LogicalResult followRows(Value value);
  Value append(CacheRows rows, Value rowsOfAll, StateKind kind, int64_t layer,
               int64_t left);
  LogicalResult keepLogits();
  void eraseUnused();
  LogicalResult verify();
  BlockArgument addArgument(StringRef name, ArrayRef<DimExpr> dims, Type type);

  func::FuncOp func;
  SmallVector<CachedAttention> attentions;
  OpBuilder builder;
  BlockArgument ids, positions, slots, runBegins, contexts, visible, tables,
      logitRows;
  llvm::DenseMap<Operation *, Value> pools, newRows; ///< by CacheRows::whole
  llvm::SmallPtrSet<Operation *, 8> rowViews; ///< of caches, up to attentions
};
} // namespace

//===--- inputs -----------------------------------------------------------===//

BlockArgument StepMaker::addArgument(StringRef name, ArrayRef<DimExpr> dims,
                                     Type type) {
  MLIRContext *context = func.getContext();
  unsigned index = func.getNumArguments();
  NamedAttribute attrs[] = {
      builder.getNamedAttr(kNameAttr, builder.getStringAttr(name)),
      builder.getNamedAttr(kDimsAttr, getDimsAttr(context, dims))};
  (void)func.insertArgument(index, getTensorType(dims, type),
                            DictionaryAttr::get(context, attrs), func.getLoc());
  return func.getArgument(index);
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
    return fail("has no input 'input_ids' of [batch, tokens]");
  BlockArgument tokenIds = addArgument("token_ids", tokens, i64);
  positions = addArgument("positions", tokens, i64);
  slots = addArgument("slots", tokens, i64);
  runBegins = addArgument("run_begins", runs + DimExpr(1), i32);
  contexts = addArgument("contexts", runs, i32);
  visible = addArgument("visible", tokens, i64);
  tables = addArgument("page_tables", {runs, DimExpr::symbol(kTable)}, i32);
  logitRows = addArgument("logit_rows", DimExpr::symbol(kLogits), i64);
  builder.setInsertionPointToStart(&func.getBody().front());
  Value values = tokenIds;
  Type element = elementTypeOf(ids);
  if (element != i64)
    values = CastOp::create(builder, ids.getLoc(),
                            getTensorType(tokens, element), values);
  ids.replaceAllUsesWith(
      ViewOp::create(builder, ids.getLoc(), ids.getType(), values,
                     getDimsAttr(func.getContext(), {DimExpr(1), tokens})));
  return success();
}

//===--- what is known ----------------------------------------------------===//

void StepMaker::replacePositions(Value value, int64_t shift) {
  builder.setInsertionPointAfterValue(value);
  if (isa<BlockArgument>(value))
    builder.setInsertionPointToStart(&func.getBody().front());
  Location loc = value.getLoc();
  DimExpr tokens = DimExpr::symbol(kTokens);
  Type i64 = builder.getI64Type(), element = elementTypeOf(value);
  Value at = positions;
  if (shift != 0) {
    auto type = RankedTensorType::get({1}, i64);
    Value by = arith::ConstantOp::create(
        builder, loc,
        DenseElementsAttr::get(type, builder.getI64IntegerAttr(shift)));
    at = AddOp::create(builder, loc, positions.getType(), at, by);
  }
  if (element != i64)
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
  auto ask = [&](Value value) {
    if (std::optional<int64_t> shift = facts.asPosition(value))
      found.push_back({value, *shift});
  };
  for (BlockArgument arg : func.getArguments())
    if (arg != positions)
      ask(arg);
  for (Operation &op : func.getBody().front())
    for (Value result : op.getResults())
      ask(result);
  for (CachedAttention &each : attentions)
    if (why = facts.whyNotCausal(each); !why.empty())
      return fail(why, each.op);
  for (const CachedAttention &each : attentions)
    for (CacheRows rows : {each.keys, each.values})
      if (failed(followRows(rows.whole->getResult(0))))
        return failure();
  for (auto [value, shift] : found)
    replacePositions(value, shift);
  for (auto [layer, each] : llvm::enumerate(attentions))
    if (failed(replaceAttention(each, layer)))
      return failure();
  return success();
}

//===--- caches -----------------------------------------------------------===//

/// Rows of the past and new ones are read by attentions alone, through views
/// that will be of the new rows.
LogicalResult StepMaker::followRows(Value value) {
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<func::ReturnOp>(user))
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

/// Appends to the pool of these rows, once for all attentions that read them;
/// `rowsOfAll` is what an attention makes of them.
Value StepMaker::append(CacheRows rows, Value rowsOfAll, StateKind kind,
                        int64_t layer, int64_t left) {
  Value &pool = pools[rows.whole];
  newRows[rows.whole] = rows.newRows();
  if (pool)
    return pool;
  auto type = cast<RankedTensorType>(rowsOfAll.getType());
  DimExpr heads(type.getDimSize(2)), size(type.getDimSize(3)),
      page(KvAppendOp::kPageTokens);
  bool isKeys = kind == StateKind::Keys;
  Dims dims = {DimExpr::symbol(kPages), heads, isKeys ? size : page,
               isKeys ? page : size};
  BlockArgument arg =
      addArgument(argumentName(func, rows.past), dims, type.getElementType());
  func.setArgAttr(
      arg.getArgNumber(), kStateAttr,
      StateAttr::get(func.getContext(), kind, layer, left < 0 ? -1 : left + 1));
  return pool = KvAppendOp::create(builder, rows.whole->getLoc(), arg.getType(),
                                   rowsOfAll, slots, arg, isKeys);
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
  Value keys =
      append(attention.keys, op.getKey(), StateKind::Keys, layer, op.getLeft());
  Value values = append(attention.values, op.getValue(), StateKind::Values,
                        layer, op.getLeft());
  auto paged =
      PagedAttentionOp::create(builder, op.getLoc(), op.getResult().getType(),
                               ValueRange{op.getQuery(), keys, values,
                                          runBegins, contexts, visible, tables},
                               op.getScale().convertToFloat());
  if (op.getSinks())
    paged.getSinksMutable().assign(op.getSinks());
  if (Value slopes = attention.slopes) {
    // A constant, which may lie behind what is asked to read it now.
    slopes.getDefiningOp()->moveBefore(&func.getBody().front().front());
    builder.setInsertionPoint(paged);
    DimExpr heads(typeOf(op.getQuery()).getDimSize(2));
    paged.getSlopesMutable().assign(ViewOp::create(
        builder, op.getLoc(), getTensorType(heads, elementTypeOf(slopes)),
        slopes, getDimsAttr(func.getContext(), heads)));
  }
  paged.setSoftcapAttr(op.getSoftcapAttr());
  paged.setLeft(op.getLeft());
  op.getResult().replaceAllUsesWith(paged.getResult());
  op.erase();
  return success();
}

//===--- what is left -----------------------------------------------------===//

void StepMaker::eraseUnused() {
  Block &block = func.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.use_empty() && !op.hasTrait<OpTrait::IsTerminator>())
      op.erase();
}

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
  eraseUnused();
  for (unsigned i = func.getNumArguments(); i-- > 0;) {
    BlockArgument arg = func.getArgument(i);
    StepInput kind = classifyInput(func, arg, {});
    bool isOurs = arg == positions || arg == slots || arg == runBegins ||
                  arg == contexts || arg == visible || arg == tables ||
                  arg == logitRows || i >= func.getNumArguments() ||
                  func.getArgAttr(i, kStateAttr);
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

LogicalResult StepMaker::verify() {
  std::string why;
  ScopedDiagnosticHandler handler(func.getContext(), [&](Diagnostic &said) {
    why = said.str();
    return success();
  });
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims))
    return fail("does not hold for tokens of many sequences: " + why);
  const StringRef symbols[] = {kTokens, kLogits};
  TokenAxis tokens([&](Value value) { return dims->getDims(value); }, symbols);
  for (Operation &op : func.getBody().front().without_terminator()) {
    if (isa<KvAppendOp, PagedAttentionOp>(op))
      continue;
    auto gather = dyn_cast<GatherOp>(op);
    if (gather && isRowSelection(gather, logitRows))
      continue;
    if (std::string reason = tokens.whyNot(&op); !reason.empty())
      return fail(reason, &op);
  }
  return success();
}

LogicalResult StepMaker::run() {
  if (failed(bringToOneSequence(func, attentions, reason)) ||
      failed(addInputs()) || failed(replaceFacts()) || failed(keepLogits()))
    return failure();
  StepTail tail(func, logitRows, rowViews);
  if (failed(tail.run()))
    return fail(tail.reason, tail.culprit);
  eraseUnused();
  if (failed(verify()))
    return failure();
  SmallVector<Attribute> symbols; // no input has the past
  for (Attribute symbol : func->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    if (cast<SymbolAttr>(symbol).getName() != kPast)
      symbols.push_back(symbol);
  func->setAttr(kSymbolsAttr, builder.getArrayAttr(symbols));
  func->setAttr(kStepAttr, builder.getUnitAttr());
  return success();
}

//===--- the pass ---------------------------------------------------------===//

namespace {
struct MakeStepPass final : ferrite::impl::MakeStepBase<MakeStepPass> {
  void runOnOperation() override;
};
} // namespace

void MakeStepPass::runOnOperation() {
  ModuleOp module = getOperation();
  SymbolTable table(module);
  for (auto func : llvm::to_vector(module.getOps<func::FuncOp>())) {
    SmallVector<AttentionOp> others;
    if (func->hasAttr(kStepAttr) || findCachedAttentions(func, others).empty())
      continue;
    func::FuncOp step = func.clone();
    step.setName("step");
    others.clear();
    StepMaker maker(step, findCachedAttentions(step, others));
    if (!others.empty()) {
      reportMissed(others.front(), DEBUG_TYPE, "an attention without a past");
    } else if (failed(maker.run())) {
      Operation *at = maker.culprit ? maker.culprit : step.getOperation();
      reportMissed(at, DEBUG_TYPE, maker.reason);
    } else {
      reportPassed(func.getLoc(), DEBUG_TYPE,
                   "an entry for tokens of many sequences");
      module.push_back(step);
      table.insert(step);
      continue;
    }
    step.erase();
  }
}
