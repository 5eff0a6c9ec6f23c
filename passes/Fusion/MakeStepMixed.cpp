//===- MakeStepMixed.cpp - Caches of two types ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a cache of bytes loses is lost most where weights of attention are
// largest: at the first tokens of a text and at the last. There a step keeps
// f16, besides: states of a group of their own, whose window is what counts as
// recent, so that the runtime gives back what lies between. Attention is that
// to each part of the sequence by itself, with the logarithms of their sums;
// the parts meet in a few elementwise ops, which fusion makes one kernel.
//
// Which part a key belongs to goes by its own place and the query's alone, so a
// token has the same bits in whatever company.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/KvPool.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"
#include "passes/Fusion/MakeStepParts.h"
#include "passes/Fusion/MakeStepTail.h"

using namespace mlir;
using namespace ferrite;

/// A gap is at least the tokens of a tree (`gap` of paged_attention), and pages
/// are 32-bit numbers.
static constexpr int64_t kLeastRecent = 64, kMostTokens = 1 << 30;

std::string KvTypes::parse(StringRef text) {
  auto [first, rest] = text.split(',');
  type = first.str();
  if (!type.empty() && type != "f32" && type != "f16" && type != "bf16" &&
      type != "int8" && type != "int4")
    return "unknown type of caches '" + type +
           "': f32, f16, bf16, int8 or int4";
  while (!rest.empty()) {
    StringRef item;
    std::tie(item, rest) = rest.split(',');
    auto [name, number] = item.split('=');
    int64_t *to = name == "f16-sinks"    ? &sinks
                  : name == "f16-recent" ? &recent
                                         : nullptr;
    int64_t least = to == &recent ? kLeastRecent : 1;
    if (!to || *to != 0 || number.getAsInteger(10, *to) || *to < least ||
        *to > kMostTokens)
      return "'" + item.str() +
             "' in the type of caches: f16-sinks=TOKENS from 1 on and "
             "f16-recent=TOKENS from 64 on go behind int8 or int4, each once";
  }
  if (isMixed() && type != "int8" && type != "int4")
    return "f16-sinks and f16-recent are for caches of int8 or int4, not '" +
           type + "'";
  return "";
}

namespace {
class Mixer {
public:
  Mixer(func::FuncOp func, const KvTypes &types, DimAnalysis &dims)
      : func(func), types(types), dims(dims), builder(func) {}

  LogicalResult run();
  std::string reason;
  Operation *culprit = nullptr;

private:
  LogicalResult fail(const Twine &why, Operation *at) {
    reason = why.str();
    culprit = at;
    return failure();
  }
  Value asOld(Value old, BlockArgument in);
  Value pool(Value bytes);
  Value part(PagedAttentionOp op, int64_t begin, int64_t depth);
  PagedAttentionOp attend(PagedAttentionOp op, ArrayRef<int64_t> range);
  void mix(PagedAttentionOp op);

  func::FuncOp func;
  const KvTypes &types;
  DimAnalysis &dims;
  OpBuilder builder;
  int64_t group = 0;
  BlockArgument slots, tables;
  Dims tokens;                        ///< of the attention's query
  llvm::DenseMap<Value, Value> pools; ///< of f16, by those of bytes
};
} // namespace

/// What `in` is where `old` is used: it may be rows of the input.
Value Mixer::asOld(Value old, BlockArgument in) {
  auto gather = old.getDefiningOp<GatherOp>();
  if (!gather)
    return in;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfter(gather);
  auto copy = cast<GatherOp>(builder.clone(*gather));
  copy->setOperand(0, in);
  return copy.getResult();
}

/// The f16 state beside one of bytes, with the same rows appended.
Value Mixer::pool(Value bytes) {
  Value &found = pools[bytes];
  if (found)
    return found;
  auto append = bytes.getDefiningOp<KvAppendOp>();
  auto of = cast<BlockArgument>(append.getPool());
  bool isKeys = append.getKeys();
  auto rows = cast<RankedTensorType>(append.getRows().getType());
  DimExpr heads(rows.getDimSize(2)), size(rows.getDimSize(3)),
      page(KvAppendOp::kPageTokens);
  BlockArgument arg =
      addStepArgument(func, argumentName(func, of) + ".f16",
                      {DimExpr::symbol(kPages), heads, isKeys ? size : page,
                       isKeys ? page : size},
                      builder.getF16Type());
  auto state = func.getArgAttrOfType<StateAttr>(of.getArgNumber(), kStateAttr);
  func.setArgAttr(
      arg.getArgNumber(), kStateAttr,
      StateAttr::get(func.getContext(), state.getKind(), state.getLayer(),
                     std::max<int64_t>(types.recent, 1), group, types.sinks));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfter(append);
  return found = KvAppendOp::create(
             builder, append.getLoc(), arg.getType(), append.getRows(),
             asOld(append.getSlots(), slots), arg, isKeys);
}

/// Elements [begin, begin + depth) of each head.
Value Mixer::part(PagedAttentionOp op, int64_t begin, int64_t depth) {
  Dims to = tokens, offsets(4, DimExpr(0));
  to[3] = DimExpr(depth);
  offsets[3] = DimExpr(begin);
  MLIRContext *context = func.getContext();
  return SliceOp::create(
      builder, op.getLoc(), getTensorType(to, builder.getF32Type()),
      op.getResult(), getDimsAttr(context, offsets),
      builder.getDenseI64ArrayAttr({1, 1, 1, 1}), getDimsAttr(context, to));
}

/// Attention to {from, until, gap} of the sequence, in f32, with the logarithm
/// of its sum. Of a copy that reads what lies in f16.
PagedAttentionOp Mixer::attend(PagedAttentionOp op, ArrayRef<int64_t> range) {
  auto copy = cast<PagedAttentionOp>(builder.clone(*op));
  auto [from, until, gap] = std::tuple(range[0], range[1], range[2]);
  copy.setFrom(from);
  copy.setUntil(until);
  copy.setGap(gap);
  Dims result = tokens;
  auto values = cast<RankedTensorType>(op.getValues().getType());
  result[3] =
      DimExpr(kvPoolDepth(values.getElementType(), values.getDimSize(3)) + 1);
  copy.getResult().setType(getTensorType(result, builder.getF32Type()));
  return copy;
}

void Mixer::mix(PagedAttentionOp op) {
  builder.setInsertionPoint(op);
  Location loc = op.getLoc();
  tokens = Dims(dims.getDims(op.getQuery()));
  auto values = cast<RankedTensorType>(op.getValues().getType());
  int64_t depth = kvPoolDepth(values.getElementType(), values.getDimSize(3));
  Value f16Keys = pool(op.getKeys()), f16Values = pool(op.getValues());
  Value f16Tables = asOld(op.getPageTables(), tables);
  SmallVector<PagedAttentionOp> parts = {
      attend(op, {types.sinks, 0, types.recent})};
  auto inF16 = [&](ArrayRef<int64_t> range) {
    PagedAttentionOp near = attend(op, range);
    near.getKeysMutable().assign(f16Keys);
    near.getValuesMutable().assign(f16Values);
    near.getPageTablesMutable().assign(f16Tables);
    // What a model adds to each sum counts once.
    near.getSinksMutable().clear();
    parts.push_back(near);
    return near;
  };
  if (types.sinks > 0)
    inF16({0, types.sinks, 0});
  if (types.recent > 0)
    inF16({types.sinks, 0, 0}).setLeft(types.recent - 1);
  // As one softmax over all: each relative to the highest logarithm.
  Type f32 = builder.getF32Type();
  Dims sums = tokens, outs = tokens;
  sums[3] = DimExpr(1);
  outs[3] = DimExpr(depth);
  Type sumType = getTensorType(sums, f32), outType = getTensorType(outs, f32);
  SmallVector<Value> logs;
  Value highest;
  for (PagedAttentionOp each : parts) {
    logs.push_back(part(each, depth, 1));
    highest = highest
                  ? MaxOp::create(builder, loc, sumType, highest, logs.back())
                  : logs.back();
  }
  Value total, result;
  for (auto [each, log] : llvm::zip_equal(parts, logs)) {
    Value weight =
        ExpOp::create(builder, loc, sumType,
                      SubOp::create(builder, loc, sumType, log, highest));
    Value value =
        MulOp::create(builder, loc, outType, part(each, 0, depth), weight);
    total =
        total ? AddOp::create(builder, loc, sumType, total, weight) : weight;
    result =
        result ? AddOp::create(builder, loc, outType, result, value) : value;
  }
  result = DivOp::create(builder, loc, outType, result, total);
  auto given = cast<RankedTensorType>(op.getType());
  if (given.getDimSize(3) > depth) {
    Value sum = AddOp::create(builder, loc, sumType, highest,
                              LogOp::create(builder, loc, sumType, total));
    Dims all = tokens;
    all[3] = DimExpr(depth + 1);
    result = ConcatOp::create(builder, loc, getTensorType(all, f32),
                              ValueRange{result, sum}, 3);
  }
  if (given.getElementType() != f32)
    result = CastOp::create(builder, loc, given, result);
  op.getResult().replaceAllUsesWith(result);
  op.erase();
}

LogicalResult Mixer::run() {
  SmallVector<PagedAttentionOp> ops;
  for (auto op : func.getBody().getOps<PagedAttentionOp>())
    if (!op.getCross())
      ops.push_back(op);
  for (PagedAttentionOp op : ops) {
    if (types.recent > 0 && op.getLeft() >= 0 && op.getLeft() < types.recent)
      return fail("has a window of " + Twine(op.getLeft() + 1) +
                      " tokens, all of which f16-recent=" +
                      Twine(types.recent) + " would keep in f16",
                  op);
    for (Value bytes : {op.getKeys(), op.getValues()})
      if (auto append = bytes.getDefiningOp<KvAppendOp>();
          !append || !isa<BlockArgument>(append.getPool()))
        return fail("reads keys or values that are no state", op);
  }
  for (unsigned i = 0; i < func.getNumArguments(); ++i)
    if (auto state = func.getArgAttrOfType<StateAttr>(i, kStateAttr))
      group = std::max<int64_t>(group, state.getGroup());
  group = std::max<int64_t>(group + 1, 2); // 1 is the source's
  std::string suffix = "_" + std::to_string(group);
  slots = addStepArgument(func, "slots" + suffix, DimExpr::symbol(kTokens),
                          builder.getI64Type());
  tables = addStepArgument(func, "page_tables" + suffix,
                           {DimExpr::symbol(kRuns), DimExpr::symbol(kTable)},
                           builder.getI32Type());
  for (PagedAttentionOp op : ops)
    mix(op);
  return success();
}

LogicalResult ferrite::mixCaches(func::FuncOp func, const KvTypes &types,
                                 std::string &reason, Operation *&culprit) {
  FailureOr<DimAnalysis> dims = dimsOfStep(func, reason);
  if (failed(dims))
    return failure();
  Mixer mixer(func, types, *dims);
  LogicalResult mixed = mixer.run();
  reason = mixer.reason;
  culprit = mixer.culprit;
  return mixed;
}
