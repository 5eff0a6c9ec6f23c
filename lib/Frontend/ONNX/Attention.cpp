//===- Attention.cpp - What importers of attention share ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Attention.h"

using namespace mlir;

namespace ferrite::frontend {

static constexpr float kInf = std::numeric_limits<float>::infinity();

LogicalResult checkAttention(OpBinder &b, AttentionParts &parts) {
  const Dims &q = parts.query.dims, &k = parts.key.dims, &v = parts.value.dims;
  for (const KnownTensor *side : {&parts.query, &parts.key, &parts.value})
    if (!isa<FloatType>(side->element))
      return b.error("its queries, keys or values are no floats");
  if (q[0] != k[0] || k[0] != v[0] || k[1] != v[1] || k[2] != v[2] ||
      q[3] != k[3])
    return b.error("its queries, keys and values of shapes " + printDims(q) +
                   ", " + printDims(k) + " and " + printDims(v) +
                   " (batch, tokens, heads, size) do not fit");
  std::optional<int64_t> heads = q[2].constant(), keyHeads = k[2].constant();
  if (!heads || !keyHeads || !q[3].constant() || !v[3].constant())
    return b.unsupported("with heads of a size or number that is not known at "
                         "compile time is not supported");
  if (*keyHeads <= 0 || *heads % *keyHeads != 0)
    return b.error("its " + Twine(*keyHeads) + " heads of keys do not divide " +
                   Twine(*heads) + " heads of queries");
  Dims scores = parts.scoreDims();
  for (const KnownTensor *side : {&parts.mask, &parts.bias}) {
    if (!*side)
      continue;
    FailureOr<Dims> both = b.broadcast(side->dims, scores);
    if (failed(both))
      return failure();
    if (*both != scores)
      return b.error("its mask of shape " + printDims(side->dims) +
                     " does not broadcast to scores of shape " +
                     printDims(scores));
  }
  return success();
}

static bool isWide(const AttentionParts &parts) {
  return parts.query.element.isF64() || parts.value.element.isF64();
}

LogicalResult checkRotated(OpBinder &b, const DimExpr &size, int64_t &rotated) {
  std::optional<int64_t> known = size.constant();
  if (!known)
    return b.unsupported("with heads of a size that is not known at compile "
                         "time is not supported");
  if (rotated == 0)
    rotated = *known;
  if (rotated < 2 || rotated % 2 != 0 || rotated > *known)
    return b.error("it rotates " + Twine(rotated) + " of " + size.str() +
                   " elements");
  return success();
}

Value buildAttention(OpBinder &b, const AttentionParts &parts) {
  if (isWide(parts) || parts.inDouble) {
    Value scores;
    return decomposeAttention(b, parts, ScoreStage::Weights, scores);
  }
  auto op = AttentionOp::create(
      b.builder(), b.loc,
      getTensorType(parts.resultDims(), parts.query.element), parts.query.value,
      parts.key.value, parts.value.value, parts.scale);
  auto assign = [](MutableOperandRange operand, Value value) {
    if (value)
      operand.assign(value);
  };
  assign(op.getMaskMutable(), parts.mask.value);
  Value bias = parts.bias.value;
  if (bias && parts.bias.element.isF64())
    bias = b.cast(bias, parts.bias.dims, b.builder().getF32Type());
  assign(op.getBiasMutable(), bias);
  assign(op.getOffsetsMutable(), parts.offsets.value);
  assign(op.getLengthsMutable(), parts.lengths.value);
  assign(op.getSinksMutable(), parts.sinks.value);
  assign(op.getBlockRowsMutable(), parts.blockRows.value);
  assign(op.getBlockColumnsMutable(), parts.blockColumns.value);
  op.setBlock(parts.block);
  op.setFillAttr(b.builder().getF32FloatAttr(parts.fill));
  op.setSoftcapAttr(b.builder().getF32FloatAttr(parts.softcap));
  op.setLeft(parts.left);
  op.setRight(parts.right);
  if (!parts.offset.isConstant(0))
    op.setOffset(parts.offset.str());
  op.setGuarded(true);
  return op.getResult();
}

//===----------------------------------------------------------------------===//
// Decomposition
//===----------------------------------------------------------------------===//

namespace {
class Decomposer {
public:
  Decomposer(OpBinder &b, const AttentionParts &parts)
      : b(b), parts(parts),
        type(isWide(parts) ? Type(b.builder().getF64Type())
                           : Type(b.builder().getF32Type())) {}
  Value run(ScoreStage stage, Value &scores);

private:
  template <typename OpTy>
  KnownTensor binary(const KnownTensor &lhs, const KnownTensor &rhs) {
    Dims dims = *broadcastDims(lhs.dims, rhs.dims);
    return {b.create<OpTy>(dims, lhs.element, lhs.value, rhs.value), dims,
            lhs.element};
  }
  KnownTensor compare(const KnownTensor &lhs, const KnownTensor &rhs,
                      Predicate predicate) {
    Dims dims = *broadcastDims(lhs.dims, rhs.dims);
    Type i1 = b.builder().getI1Type();
    return {b.create<CompareOp>(dims, i1, lhs.value, rhs.value, predicate),
            dims, i1};
  }
  KnownTensor number(double value, Type element) {
    return {b.scalar(value, element), {}, element};
  }
  KnownTensor wide(const KnownTensor &tensor) {
    return {b.cast(tensor.value, tensor.dims, type), tensor.dims, type};
  }
  KnownTensor viewed(const KnownTensor &tensor, const Dims &dims) {
    return {b.view(tensor.value, tensor.dims, dims), dims, tensor.element};
  }
  /// [batch, heads, ...] of a [batch, tokens, heads, size] operand, each head
  /// as often as queries read it.
  KnownTensor headed(const KnownTensor &operand, ArrayRef<int64_t> perm);
  KnownTensor positions(const DimExpr &size, bool ofQueries);
  KnownTensor asLong(const KnownTensor &tensor);
  /// 0 where `kept`, `fill` elsewhere, joined with what there is.
  void drop(const KnownTensor &kept, float fill);
  void add(const KnownTensor &addend) {
    sum = sum ? binary<AddOp>(sum, addend) : addend;
  }
  void addMasks();

  OpBinder &b;
  const AttentionParts &parts;
  Type type;
  KnownTensor sum;
};
} // namespace

KnownTensor Decomposer::headed(const KnownTensor &operand,
                               ArrayRef<int64_t> perm) {
  KnownTensor from = wide(operand);
  Dims dims;
  for (int64_t d : perm)
    dims.push_back(from.dims[d]);
  Value value = b.transpose(from.value, from.dims, perm);
  DimExpr heads = parts.query.dims[2];
  if (dims[1] == heads)
    return {value, dims, type};
  DimExpr group = *heads.dividedBy(dims[1]);
  Dims one = {dims[0], dims[1], DimExpr(1), dims[2], dims[3]}, all = one;
  all[2] = group;
  value = b.create<BroadcastOp>(all, type, b.view(value, dims, one),
                                b.dimsAttr(all));
  dims[1] = heads;
  return {b.view(value, dims), dims, type};
}

KnownTensor Decomposer::asLong(const KnownTensor &tensor) {
  Type i64 = b.builder().getI64Type();
  return {b.cast(tensor.value, tensor.dims, i64), tensor.dims, i64};
}

KnownTensor Decomposer::positions(const DimExpr &size, bool ofQueries) {
  Type i64 = b.builder().getI64Type();
  Dims one = {size};
  Dims four = ofQueries ? Dims{DimExpr(1), DimExpr(1), size, DimExpr(1)}
                        : Dims{DimExpr(1), DimExpr(1), DimExpr(1), size};
  Value iota = b.create<IotaOp>(one, i64, 0, 1, b.dimsAttr(one));
  return {b.view(iota, one, four), four, i64};
}

void Decomposer::drop(const KnownTensor &kept, float fill) {
  Value value = b.create<WhereOp>(kept.dims, type, kept.value,
                                  b.scalar(0, type), b.scalar(fill, type));
  add({value, kept.dims, type});
}

void Decomposer::addMasks() {
  if (parts.bias)
    add(wide(parts.bias));
  if (parts.mask)
    drop(parts.mask, parts.fill);
  Type i64 = b.builder().getI64Type();
  Dims column = {parts.query.dims[0], DimExpr(1), DimExpr(1), DimExpr(1)};
  KnownTensor keys;
  if (parts.lengths || parts.left >= 0 || parts.right >= 0)
    keys = positions(parts.key.dims[1], false);
  if (parts.lengths)
    drop(compare(keys, viewed(asLong(parts.lengths), column), Predicate::Lt),
         -kInf);
  if (parts.left < 0 && parts.right < 0)
    return;
  KnownTensor at = positions(parts.query.dims[1], true);
  if (std::optional<int64_t> known = parts.offset.constant()) {
    at = binary<AddOp>(at, number(*known, i64));
  } else {
    // A size is never negative, so one that is subtracted is read as it is.
    DimExpr negated = DimExpr(0) - parts.offset;
    bool isNegative = llvm::all_of(parts.offset.terms(),
                                   [](auto &term) { return term.second < 0; });
    Dims one = {DimExpr(1)};
    Value size = b.create<DimValuesOp>(
        one, i64, b.dimsAttr({isNegative ? negated : parts.offset}));
    KnownTensor offset{size, one, i64};
    at = isNegative ? binary<SubOp>(at, offset) : binary<AddOp>(at, offset);
  }
  if (parts.offsets)
    at = binary<AddOp>(at, viewed(asLong(parts.offsets), column));
  KnownTensor distance = binary<SubOp>(keys, at);
  if (parts.left >= 0)
    drop(compare(distance, number(-static_cast<double>(parts.left), i64),
                 Predicate::Ge),
         -kInf);
  if (parts.right >= 0)
    drop(compare(distance, number(parts.right, i64), Predicate::Le), -kInf);
}

Value Decomposer::run(ScoreStage stage, Value &scores) {
  KnownTensor q = headed(parts.query, {0, 2, 1, 3}),
              k = headed(parts.key, {0, 2, 3, 1}),
              v = headed(parts.value, {0, 2, 1, 3});
  Dims dims = parts.scoreDims();
  KnownTensor score{b.create<MatmulOp>(dims, type, q.value, k.value), dims,
                    type};
  auto keep = [&](ScoreStage now) {
    if (now == stage)
      scores = b.cast(score.value, dims, parts.query.element);
  };
  score = binary<MulOp>(score, number(parts.scale, type));
  keep(ScoreStage::Product);
  if (parts.softcap > 0) {
    score = binary<DivOp>(score, number(parts.softcap, type));
    score.value = b.create<TanhOp>(dims, type, score.value);
    score = binary<MulOp>(score, number(parts.softcap, type));
  }
  keep(ScoreStage::Capped);
  addMasks();
  if (sum)
    score = binary<AddOp>(score, sum);
  keep(ScoreStage::Masked);
  Type f64 = b.builder().getF64Type();
  if (parts.inDouble)
    score.value = b.cast(score.value, dims, f64);
  score.value =
      b.create<SoftmaxOp>(dims, parts.inDouble ? f64 : type, score.value);
  score.value = b.cast(score.value, dims, type);
  if (sum) {
    // Rows without a key.
    Dims rows = sum.dims;
    rows.back() = DimExpr(1);
    KnownTensor most{b.create<ReduceOp>(rows, type, sum.value, ReduceKind::Max,
                                        ArrayRef<int64_t>(rows.size() - 1),
                                        /*keepDims=*/true),
                     rows, type};
    KnownTensor isEmpty = compare(most, number(-kInf, type), Predicate::Eq);
    score.value = b.create<WhereOp>(dims, type, isEmpty.value,
                                    b.scalar(0, type), score.value);
  }
  keep(ScoreStage::Weights);
  Dims headsFirst = {dims[0], dims[1], dims[2], parts.value.dims[3]};
  Value result = b.create<MatmulOp>(headsFirst, type, score.value, v.value);
  result = b.cast(result, headsFirst, parts.query.element);
  return b.transpose(result, headsFirst, {0, 2, 1, 3});
}

Value decomposeAttention(OpBinder &b, const AttentionParts &parts,
                         ScoreStage stage, Value &scores) {
  return Decomposer(b, parts).run(stage, scores);
}

} // namespace ferrite::frontend
