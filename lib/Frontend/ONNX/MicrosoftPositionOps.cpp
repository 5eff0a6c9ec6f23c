//===- MicrosoftPositionOps.cpp - Positions of com.microsoft --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Rotary embeddings and biases by relative position.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/MicrosoftAttention.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

/// Input 0 as [batch, tokens, heads, size]: its heads are told by attributes,
/// by the width of the tables, or by its own dims.
FailureOr<KnownTensor> rotaryRows(OpBinder &b, int64_t &rotated,
                                  const DimExpr &half) {
  KnownOps ops(b);
  FailureOr<KnownTensor> input = ops.input(0);
  int64_t heads = b.intAttr("num_heads", 0);
  rotated = b.intAttr("rotary_embedding_dim", 0);
  if (failed(input))
    return failure();
  if (!isa<FloatType>(input->element))
    return b.error("its input is not of floats");
  if (rotated < 0 || heads < 0)
    return b.error("attribute 'num_heads' or 'rotary_embedding_dim' is "
                   "negative");
  FailureOr<KnownTensor> rows = failure();
  if (input->dims.size() == 4) {
    rows = swapHeads(b, *input);
  } else if (input->dims.size() != 3) {
    return b.error("its input has rank " + Twine(input->dims.size()) +
                   ", not 3 or 4");
  } else if (rotated > 0) {
    if (heads == 0)
      return b.error("attribute 'rotary_embedding_dim' needs 'num_heads'");
    rows = splitHeads(b, *input, heads);
  } else {
    std::optional<DimExpr> count;
    if (half.constant().value_or(0) > 0)
      count = input->dims[2].dividedBy(half * DimExpr(2));
    if (!count || !count->constant())
      return b.error("its " + input->dims[2].str() +
                     " columns are no heads of twice " + half.str());
    rows = splitHeads(b, *input, *count->constant());
  }
  if (failed(rows))
    return failure();
  if (failed(checkRotated(b, rows->dims[3], rotated)))
    return failure();
  return rows;
}

LogicalResult setRotated(OpBinder &b, const KnownTensor &rows,
                         const KnownTensor &cos, const KnownTensor &sin) {
  bool interleaved = b.intAttr("interleaved", 0) != 0;
  Value result = b.create<RopeOp>(rows.dims, rows.element, rows.value,
                                  cos.value, sin.value, interleaved);
  TensorValue &input = b.input(0);
  if (input.rank() == 3)
    return b.setData(b.view(result, input.dims), input.dims);
  return b.setData(b.transpose(result, rows.dims, {0, 2, 1, 3}), input.dims);
}

/// The two tables, [positions, angles].
LogicalResult readTables(OpBinder &b, KnownTensor (&tables)[2]) {
  for (unsigned i : {2u, 3u}) {
    TensorValue &input = b.input(i);
    if (input.rank() != 2 || input.dims != b.input(2).dims ||
        input.element != b.input(0).element)
      return b.error("its cos_cache and sin_cache of shapes " +
                     printDims(b.input(2).dims) + " and " +
                     printDims(b.input(3).dims) +
                     " are no two equal tables of its input's type");
    FailureOr<KnownTensor> data = KnownOps(b).input(i);
    if (failed(data))
      return failure();
    tables[i - 2] = *data;
  }
  float scale = b.floatAttr("scale", 1.0f);
  if (scale != 1.0f)
    return b.unsupported("attribute 'scale' = " + std::to_string(scale) +
                         " is not supported; Ferrite knows 1");
  // Batches packed into one row may have more tokens than there are positions.
  b.intAttr("is_packed_batching", 0);
  return success();
}

LogicalResult importContribRotary(OpBinder &b) {
  KnownOps ops(b);
  KnownTensor tables[2];
  if (failed(readTables(b, tables)))
    return failure();
  const DimExpr &half = tables[0].dims[1];
  int64_t rotated = 0;
  FailureOr<KnownTensor> rows = rotaryRows(b, rotated, half);
  if (failed(rows))
    return failure();
  if (half != DimExpr(rotated / 2))
    return b.error("its tables have " + half.str() + " angles, expected " +
                   Twine(rotated / 2));
  const DimExpr &batch = rows->dims[0], &tokens = rows->dims[1];
  TensorValue &given = b.input(1);
  if (!given.element.isInteger(64))
    return b.error("its position_ids are not int64");
  FailureOr<KnownTensor> at = failure();
  if (given.rank() == 1) {
    at = ops.input(1, {DimExpr(1)}, given.element);
    if (failed(at))
      return failure();
    at = ops.binary<AddOp>(ops.iota(tokens, 1, 2, given.element), *at);
  } else {
    at = ops.input(1, {batch, tokens}, given.element);
  }
  if (failed(at))
    return failure();
  return setRotated(b, *rows, ops.gather(tables[0], *at, 0),
                    ops.gather(tables[1], *at, 0));
}

/// Three positions a token: which one turns angle i is told by sections of the
/// angles, one after another or interleaved.
LogicalResult importMRotary(OpBinder &b) {
  KnownOps ops(b);
  KnownTensor tables[2];
  if (failed(readTables(b, tables)))
    return failure();
  const DimExpr &half = tables[0].dims[1];
  int64_t rotated = 0, layout = b.intAttr("mrope_layout", 0);
  FailureOr<KnownTensor> rows = rotaryRows(b, rotated, half);
  if (failed(rows))
    return failure();
  auto sections = b.intsAttr("mrope_section");
  int64_t sum = 0;
  if (sections)
    for (int64_t section : *sections)
      sum += section < 0 || section > rotated ? rotated : section;
  if (!sections || sections->size() != 3 || sum != rotated / 2 ||
      half != DimExpr(sum) || (layout != 0 && layout != 1))
    return b.error("attributes 'mrope_section' and 'mrope_layout' do not say "
                   "which of three positions each of " +
                   half.str() + " angles has");
  const DimExpr &batch = rows->dims[0], &tokens = rows->dims[1];
  FailureOr<KnownTensor> ids =
      ops.input(1, {DimExpr(3), batch, tokens}, b.builder().getI64Type());
  if (failed(ids))
    return failure();
  KnownTensor angles[2];
  for (auto [table, joined] : llvm::zip_equal(tables, angles)) {
    KnownTensor all = ops.gather(table, *ids, 0); // [3, batch, tokens, half]
    auto part = [&](int64_t stream, int64_t offset, int64_t size) {
      KnownTensor columns = ops.slice(ops.slice(all, 0, stream, DimExpr(1)), 3,
                                      offset, DimExpr(size));
      return ops.view(columns, {batch, tokens, DimExpr(size)});
    };
    SmallVector<KnownTensor> parts;
    if (layout == 0) {
      for (int64_t i = 0, offset = 0; i < 3; offset += (*sections)[i++])
        if ((*sections)[i] > 0)
          parts.push_back(part(i, offset, (*sections)[i]));
    } else {
      // Angle i is of stream i % 3, while that one's section lasts.
      for (int64_t i = 0; i < sum; ++i) {
        int64_t stream = i % 3;
        if (i >= (*sections)[stream] * 3)
          stream = 0;
        parts.push_back(part(stream, i, 1));
      }
    }
    joined = parts.size() == 1 ? parts[0] : ops.concat(parts, 2);
  }
  return setRotated(b, *rows, angles[0], angles[1]);
}

//===----------------------------------------------------------------------===//
// Biases
//===----------------------------------------------------------------------===//

/// The bucket of each distance between a query and a key, as T5 has it: exact
/// ones for half of them, then wider and wider ones.
KnownTensor distanceBuckets(OpBinder &b, const DimExpr &queries,
                            const DimExpr &keys, int64_t buckets,
                            int64_t maxDistance, bool bidirectional) {
  KnownOps ops(b);
  Type i64 = b.builder().getI64Type(), f32 = b.builder().getF32Type();
  auto number = [&](int64_t value) {
    return ops.number(static_cast<double>(value), i64);
  };
  KnownTensor distance = ops.binary<SubOp>(ops.iota(keys, 1, 2, i64),
                                           ops.iota(queries, 0, 2, i64));
  KnownTensor base = number(0);
  if (bidirectional) {
    buckets /= 2;
    KnownTensor isAhead = ops.compare(distance, number(0), Predicate::Gt);
    base = ops.where(isAhead, number(buckets), number(0));
    distance = ops.unary<AbsOp>(distance);
  } else {
    distance = ops.unary<NegOp>(ops.binary<MinOp>(distance, number(0)));
  }
  int64_t exact = buckets / 2;
  KnownTensor isExact = ops.compare(distance, number(exact), Predicate::Lt);
  // A distance of 0 is exact: its logarithm is not used.
  KnownTensor some = ops.cast(ops.binary<MaxOp>(distance, number(1)), f32);
  KnownTensor ratio = ops.unary<LogOp>(
      ops.binary<DivOp>(some, ops.number(static_cast<double>(exact), f32)));
  ratio = ops.binary<DivOp>(
      ratio, ops.number(std::log(static_cast<float>(maxDistance) /
                                 static_cast<float>(exact)),
                        f32));
  ratio = ops.binary<MulOp>(
      ratio, ops.number(static_cast<double>(buckets - exact), f32));
  KnownTensor wide = ops.binary<AddOp>(ops.cast(ratio, i64), number(exact));
  wide = ops.binary<MinOp>(wide, number(buckets - 1));
  return ops.binary<AddOp>(ops.where(isExact, distance, wide), base);
}

LogicalResult importRelativePositionBias(OpBinder &b) {
  KnownOps ops(b);
  bool bidirectional = b.intAttr("is_bidirectional", 0) != 0;
  int64_t maxDistance = b.intAttr("max_distance", 0);
  FailureOr<DimExpr> queries = b.number(1, "query_length"),
                     keys = b.number(2, "key_length");
  FailureOr<KnownTensor> table = ops.input(0);
  if (failed(queries) || failed(keys) || failed(table))
    return failure();
  if (!b.symbols().requireLessEqual(0, *queries) ||
      !b.symbols().requireLessEqual(0, *keys))
    return b.error("its lengths " + queries->str() + " and " + keys->str() +
                   " are no sizes");
  std::optional<int64_t> buckets, heads;
  if (table->dims.size() == 2) {
    buckets = table->dims[0].constant();
    heads = table->dims[1].constant();
  }
  if (!buckets || !heads || !isa<FloatType>(table->element))
    return b.error("its bias_table of shape " + printDims(table->dims) +
                   " is not [buckets, heads]");
  int64_t exact = *buckets / (bidirectional ? 4 : 2);
  if (exact < 1 || maxDistance <= exact)
    return b.error("attribute 'max_distance' = " + Twine(maxDistance) +
                   " is not above the " + Twine(exact) + " exact distances");
  // The table lies with its columns one after another, whatever its dims say.
  KnownTensor byHead = ops.view(*table, {DimExpr(*heads), DimExpr(*buckets)});
  KnownTensor bias = ops.gather(
      byHead,
      distanceBuckets(b, *queries, *keys, *buckets, maxDistance, bidirectional),
      1);
  Dims dims = {DimExpr(1), DimExpr(*heads), *queries, *keys};
  return b.setData(ops.view(bias, dims).value, dims);
}

/// rel_pos * (u * (r * eco_a - 1) + 2), where u and r are gates of each query.
LogicalResult importGatedBias(OpBinder &b) {
  KnownOps ops(b);
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  if (b.hasInput(6))
    return b.unsupported("its input token_offset (of packed tokens) is not "
                         "supported");
  FailureOr<KnownTensor> query = ops.input(0);
  if (failed(heads) || failed(query))
    return failure();
  Type element = query->element;
  if (query->dims.size() != 3 || !isa<FloatType>(element))
    return b.error("its query of shape " + printDims(query->dims) +
                   " is not of floats and rank 3");
  DimExpr batch = query->dims[0], tokens = query->dims[1], one = 1,
          count = *heads;
  FailureOr<KnownTensor> added = ops.input(1, {query->dims[2]}, element),
                         position = ops.input(2, {one, count, tokens, tokens},
                                              element);
  if (failed(added) || failed(position))
    return failure();
  FailureOr<KnownTensor> rows =
      splitHeads(b, ops.binary<AddOp>(*query, *added), *heads);
  if (failed(rows))
    return failure();
  std::optional<DimExpr> half;
  if (b.input(3).rank() == 2)
    half = b.input(3).dims[1].dividedBy(DimExpr(2));
  if (!half)
    return b.error("its weight of shape " + printDims(b.input(3).dims) +
                   " has no two halves of columns");
  DimExpr width = *half * DimExpr(2);
  FailureOr<KnownTensor> weight = ops.input(3, {rows->dims[3], width}, element),
                         bias = ops.input(4, {width}, element),
                         scale = ops.input(5, {one, count, one, one}, element);
  if (failed(weight) || failed(bias) || failed(scale))
    return failure();
  Dims dims = {batch, tokens, count, width};
  KnownTensor gates{
      b.create<MatmulOp>(dims, element, rows->value, weight->value), dims,
      element};
  gates = ops.binary<AddOp>(gates, *bias);
  gates = ops.view(gates, {batch, tokens, count, DimExpr(2), *half});
  gates = ops.unary<SigmoidOp>(ops.reduce(gates, ReduceKind::Sum, 4));
  auto gate = [&](int64_t i) {
    KnownTensor part = ops.slice(gates, 3, i, one);
    return swapHeads(b, ops.view(part, {batch, tokens, count, one}));
  };
  KnownTensor inner = ops.binary<SubOp>(ops.binary<MulOp>(gate(1), *scale),
                                        ops.number(1, element));
  KnownTensor factor = ops.binary<AddOp>(ops.binary<MulOp>(gate(0), inner),
                                         ops.number(2, element));
  KnownTensor result = ops.binary<MulOp>(factor, *position);
  return b.setData(result.value, result.dims);
}

} // namespace

void registerMicrosoftPositionOps(OpTable &table) {
  table.add("com.microsoft::RotaryEmbedding", importContribRotary, 4, 4);
  table.add("com.microsoft::MRotaryEmbedding", importMRotary, 4, 4);
  table.add("com.microsoft::RelativePositionBias", importRelativePositionBias,
            3, 3);
  table.add("com.microsoft::GatedRelativePositionBias", importGatedBias, 6, 7);
}

} // namespace ferrite::frontend
