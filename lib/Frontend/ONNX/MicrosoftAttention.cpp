//===- MicrosoftAttention.cpp - Attention of com.microsoft ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/MicrosoftAttention.h"

using namespace mlir;

namespace ferrite::frontend {

FailureOr<int64_t> headsAttr(OpBinder &b, StringRef name) {
  int64_t heads = b.intAttr(name, 0);
  if (heads <= 0 || heads > 1 << 20)
    return b.error("attribute '" + name + "' is missing or no number of heads");
  return heads;
}

float scaleAttr(OpBinder &b, const AttentionParts &parts) {
  float scale = b.floatAttr("scale", 0);
  auto size = static_cast<float>(parts.query.dims[3].constant().value_or(1));
  return scale == 0 ? 1.0f / std::sqrt(size) : scale;
}

FailureOr<KnownTensor> projectRows(OpBinder &b, size_t rank) {
  KnownOps ops(b);
  FailureOr<KnownTensor> input = ops.input(0), weights = ops.input(1);
  if (failed(input) || failed(weights))
    return failure();
  if (input->dims.size() != rank || weights->dims.size() != 2 ||
      !isa<FloatType>(input->element) || weights->element != input->element)
    return b.error("its input of shape " + printDims(input->dims) +
                   " and weights of shape " + printDims(weights->dims) +
                   " are not of rank " + Twine(rank) + " and 2 and one type");
  if (input->dims.back() != weights->dims[0])
    return b.errorUnlessEqual(input->dims.back(), weights->dims[0],
                              "it multiplies " + input->dims.back().str() +
                                  " columns by " + weights->dims[0].str() +
                                  " rows");
  Dims dims = input->dims;
  dims.back() = weights->dims[1];
  KnownTensor result{
      b.create<MatmulOp>(dims, input->element, input->value, weights->value),
      dims, input->element};
  if (b.hasInput(2)) {
    FailureOr<KnownTensor> bias = ops.input(2, {dims.back()}, input->element);
    if (failed(bias))
      return failure();
    result = ops.binary<AddOp>(result, *bias);
  }
  return result;
}

FailureOr<Dims> projectedSizes(OpBinder &b, const DimExpr &columns) {
  if (std::optional<std::vector<int64_t>> sizes =
          b.intsAttr("qkv_hidden_sizes")) {
    if (sizes->size() != 3 ||
        llvm::any_of(*sizes, [](int64_t size) { return size <= 0; }))
      return b.error("attribute 'qkv_hidden_sizes' is not three sizes");
    return Dims{DimExpr((*sizes)[0]), DimExpr((*sizes)[1]),
                DimExpr((*sizes)[2])};
  }
  std::optional<DimExpr> third = columns.dividedBy(DimExpr(3));
  if (!third)
    return b.error("its weights have " + columns.str() +
                   " columns, which are no three parts");
  return Dims(3, *third);
}

FailureOr<KnownTensor> splitHeads(OpBinder &b, const KnownTensor &rows,
                                  int64_t heads) {
  std::optional<DimExpr> size = rows.dims.back().dividedBy(DimExpr(heads));
  if (!size)
    return b.error(rows.dims.back().str() + " columns do not divide into " +
                   Twine(heads) + " heads");
  Dims dims = rows.dims;
  dims.back() = DimExpr(heads);
  dims.push_back(*size);
  return KnownOps(b).view(rows, dims);
}

KnownTensor swapHeads(OpBinder &b, const KnownTensor &from) {
  return KnownOps(b).transpose(from, {0, 2, 1, 3});
}

LogicalResult splitColumns(OpBinder &b, const KnownTensor &rows,
                           ArrayRef<DimExpr> sizes,
                           MutableArrayRef<KnownTensor> columns) {
  DimExpr offset = 0;
  auto last = static_cast<int64_t>(rows.dims.size()) - 1;
  for (auto [size, column] : llvm::zip_equal(sizes, columns)) {
    column = KnownOps(b).slice(rows, last, offset, size);
    offset = offset + size;
  }
  if (offset != rows.dims.back())
    return b.error("its queries, keys and values have " + offset.str() +
                   " columns of " + rows.dims.back().str());
  return success();
}

LogicalResult splitProjected(OpBinder &b, const KnownTensor &projected,
                             int64_t heads, AttentionParts &parts) {
  FailureOr<Dims> sizes = projectedSizes(b, projected.dims.back());
  KnownTensor rows[3];
  if (failed(sizes) || failed(splitColumns(b, projected, *sizes, rows)))
    return failure();
  KnownTensor *sides[] = {&parts.query, &parts.key, &parts.value};
  for (auto [row, part] : llvm::zip_equal(rows, sides)) {
    FailureOr<KnownTensor> split = splitHeads(b, row, heads);
    if (failed(split))
      return failure();
    *part = *split;
  }
  return success();
}

LogicalResult addProjectionBias(OpBinder &b, unsigned i, KnownTensor &q,
                                KnownTensor &k, KnownTensor &v) {
  if (!b.hasInput(i))
    return success();
  KnownOps ops(b);
  Dims sizes = {q.dims.back(), k.dims.back(), v.dims.back()};
  FailureOr<KnownTensor> bias =
      ops.input(i, {sizes[0] + sizes[1] + sizes[2]}, q.element);
  KnownTensor parts[3];
  if (failed(bias) || failed(splitColumns(b, *bias, sizes, parts)))
    return failure();
  q = ops.binary<AddOp>(q, parts[0]);
  k = ops.binary<AddOp>(k, parts[1]);
  v = ops.binary<AddOp>(v, parts[2]);
  return success();
}

FailureOr<KnownTensor> appendPast(OpBinder &b, unsigned past, unsigned present,
                                  const KnownTensor &now) {
  KnownOps ops(b);
  KnownTensor all = swapHeads(b, now);
  if (b.hasInput(past)) {
    TensorValue &before = b.input(past);
    Dims dims = all.dims;
    if (before.rank() == 4)
      dims[2] = before.dims[2];
    FailureOr<KnownTensor> data = ops.input(past, dims, now.element);
    if (failed(data))
      return failure();
    all = ops.concat({*data, all}, 2);
  }
  if (b.hasOutput(present) && failed(b.setData(all.value, all.dims, present)))
    return failure();
  return swapHeads(b, all);
}

//===----------------------------------------------------------------------===//
// Masks
//===----------------------------------------------------------------------===//

/// From ends (exclusive) and perhaps starts (inclusive) of rows.
static LogicalResult addRowMask(OpBinder &b, unsigned i,
                                AttentionParts &parts) {
  KnownOps ops(b);
  FailureOr<KnownTensor> ranges = ops.input(i);
  if (failed(ranges))
    return failure();
  const DimExpr &batch = parts.query.dims[0], &keys = parts.key.dims[1];
  const DimExpr size = ranges->dims[0];
  bool hasStarts = size == batch * DimExpr(2);
  // The last of the three forms has offsets of all tokens behind the ends.
  if (size != batch && !hasStarts && size != batch * DimExpr(3) + DimExpr(2))
    return b.errorUnlessEqual(
        size, batch,
        "its mask of shape " + printDims(ranges->dims) + " has none of the " +
            "forms [batch], [2 * batch] and [3 * batch + 2]");
  KnownTensor at = ops.iota(keys, 3, 4, ranges->element);
  auto bound = [&](const DimExpr &offset) {
    return ops.view(ops.slice(*ranges, 0, offset, batch),
                    {batch, DimExpr(1), DimExpr(1), DimExpr(1)});
  };
  parts.mask = ops.compare(at, bound(0), Predicate::Lt);
  if (hasStarts)
    parts.mask = ops.binary<AndOp>(
        parts.mask, ops.compare(at, bound(batch), Predicate::Ge));
  return success();
}

LogicalResult addKeyMask(OpBinder &b, unsigned i, const DimExpr &past,
                         AttentionParts &parts) {
  parts.fill = b.floatAttr("mask_filter_value", -10000.0f);
  if (!b.hasInput(i))
    return success();
  KnownOps ops(b);
  TensorValue &input = b.input(i);
  Type element = input.element;
  if (!element.isInteger(32) && !element.isInteger(64))
    return b.error("its mask is not of int32 or int64");
  if (input.rank() == 1)
    return addRowMask(b, i, parts);
  const DimExpr &batch = parts.query.dims[0], &queries = parts.query.dims[1],
                &keys = parts.key.dims[1], one = DimExpr(1);
  FailureOr<KnownTensor> mask = failure();
  if (input.rank() == 2) {
    mask = ops.input(i, {batch, keys}, element);
  } else if (input.rank() == 3) {
    mask = ops.input(i, {batch, queries, keys}, element);
  } else if (input.rank() == 4) {
    // Of all positions: the rows are those of the queries.
    const DimExpr longest = input.dims[3];
    if (!b.symbols().requireLessEqual(keys, longest))
      return b.error("its mask of shape " + printDims(input.dims) +
                     " is too small for " + keys.str() + " keys");
    mask = ops.input(i, {batch, one, longest, longest}, element);
    if (succeeded(mask))
      mask = ops.slice(ops.slice(*mask, 3, 0, keys), 2, past, queries);
  } else {
    return b.error("its mask has rank " + Twine(input.rank()));
  }
  if (failed(mask))
    return failure();
  Dims four = mask->dims;
  while (four.size() < 4)
    four.insert(four.begin() + 1, one);
  parts.mask =
      ops.compare(ops.view(*mask, four), ops.number(0, element), Predicate::Gt);
  return success();
}

LogicalResult addScoreBias(OpBinder &b, unsigned i, AttentionParts &parts) {
  if (!b.hasInput(i))
    return success();
  TensorValue &input = b.input(i);
  if (input.rank() != 4 || !isa<FloatType>(input.element))
    return b.error("its attention bias of shape " + printDims(input.dims) +
                   " is not of floats and rank 4");
  Dims dims = parts.scoreDims();
  for (auto [dim, given] : llvm::zip_equal(dims, input.dims))
    if (given.isConstant(1))
      dim = given;
  FailureOr<KnownTensor> bias = KnownOps(b).input(i, dims, input.element);
  if (failed(bias))
    return failure();
  parts.bias = *bias;
  return success();
}

LogicalResult setAttention(OpBinder &b, AttentionParts &parts, unsigned scores,
                           ScoreStage stage, bool zeroDropped) {
  if (failed(checkAttention(b, parts)))
    return failure();
  Value result;
  if (b.hasOutput(scores)) {
    Value value;
    result = decomposeAttention(b, parts, stage, value);
    if (zeroDropped) {
      KnownOps ops(b);
      KnownTensor all{value, parts.scoreDims(), OpBinder::elementOf(value)};
      double inf = std::numeric_limits<double>::infinity();
      KnownTensor isDropped =
          ops.compare(all, ops.number(-inf, all.element), Predicate::Eq);
      value = ops.where(isDropped, ops.number(0, all.element), all).value;
    }
    if (failed(b.setData(value, parts.scoreDims(), scores)))
      return failure();
  } else {
    result = buildAttention(b, parts);
  }
  Dims dims = parts.resultDims();
  Dims flat = {dims[0], dims[1], dims[2] * dims[3]};
  return b.setData(b.view(result, flat), flat);
}

} // namespace ferrite::frontend
