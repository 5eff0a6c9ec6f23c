//===- MicrosoftCacheOps.cpp - GroupQueryAttention ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"
#include "lib/Frontend/ONNX/MicrosoftCache.h"

using namespace mlir;

namespace ferrite::frontend {

/// Queries, keys and values from three inputs or from one.
LogicalResult CachedAttention::readHeads() {
  FailureOr<int64_t> heads = headsAttr(b, "num_heads"),
                     keyHeads = headsAttr(b, "kv_num_heads");
  if (failed(heads) || failed(keyHeads))
    return failure();
  if (b.hasInput(1) != b.hasInput(2))
    return b.error("it has one of keys and values");
  KnownTensor rows[3];
  for (unsigned i = 0; i < (b.hasInput(1) ? 3u : 1u); ++i) {
    FailureOr<KnownTensor> input = ops.input(i);
    if (failed(input))
      return failure();
    if (input->dims.size() != 3 || !isa<FloatType>(input->element))
      return b.error("its input " + Twine(i) + " of shape " +
                     printDims(input->dims) + " is not of floats and rank 3");
    rows[i] = *input;
  }
  if (!b.hasInput(1)) {
    KnownTensor packed = rows[0];
    std::optional<DimExpr> size =
        packed.dims[2].dividedBy(DimExpr(*heads) + DimExpr(2 * *keyHeads));
    if (!size)
      return b.error("its " + packed.dims[2].str() +
                     " columns do not divide into " + Twine(*heads) +
                     " heads of queries and twice " + Twine(*keyHeads));
    DimExpr columns = *size * DimExpr(*keyHeads);
    if (failed(splitColumns(b, packed,
                            {*size * DimExpr(*heads), columns, columns}, rows)))
      return failure();
  }
  FailureOr<KnownTensor> query = splitHeads(b, rows[0], *heads),
                         key = splitHeads(b, rows[1], *keyHeads),
                         value = splitHeads(b, rows[2], *keyHeads);
  if (failed(query) || failed(key) || failed(value))
    return failure();
  parts.query = *query;
  parts.key = *key;
  parts.value = *value;
  batch = query->dims[0];
  tokens = query->dims[1];
  if (key->dims[1] != tokens)
    return b.errorUnlessEqual(key->dims[1], tokens,
                              "it has " + key->dims[1].str() +
                                  " new keys for " + tokens.str() + " queries");
  return checkAttention(b, parts);
}

/// What input `lengths`, the tokens of each row or with `countsLast` one less,
/// says of the positions. Rows padded on the right begin at 0.
LogicalResult CachedAttention::readRow(unsigned lengths, bool countsLast) {
  TensorValue &given = b.input(lengths);
  if (given.rank() == 0 || !product(given.dims).isConstant(1) ||
      batch != DimExpr(1)) {
    FailureOr<KnownTensor> checked =
        ops.input(lengths, {batch}, b.builder().getI32Type());
    if (failed(checked))
      return failure();
  }
  FailureOr<KnownTensor> data = ops.input(lengths);
  if (failed(data))
    return failure();
  KnownTensor total = ops.view(ops.cast(*data, i64), {batch});
  if (countsLast)
    total = ops.binary<AddOp>(total, ops.number(1, i64));
  before = ops.binary<MaxOp>(ops.binary<SubOp>(total, ops.size(tokens, i64)),
                             ops.number(0, i64));
  positions = ops.binary<AddOp>(ops.view(before, {batch, DimExpr(1)}),
                                ops.iota(tokens, 1, 2, i64));
  parts.offsets = before;
  return success();
}

//===----------------------------------------------------------------------===//
// Rotation
//===----------------------------------------------------------------------===//

FailureOr<KnownTensor> CachedAttention::angles(unsigned table,
                                               const KnownTensor &at) {
  FailureOr<KnownTensor> data = ops.input(table);
  if (failed(data))
    return failure();
  std::optional<int64_t> half, size = parts.query.dims[3].constant();
  if (data->dims.size() == 2)
    half = data->dims[1].constant();
  if (!half || !size || *half < 1 || 2 * *half > *size ||
      !isa<FloatType>(data->element))
    return b.error("its table of shape " + printDims(data->dims) +
                   " does not hold angles for heads of " +
                   parts.query.dims[3].str());
  return ops.gather(*data, at, 0);
}

LogicalResult CachedAttention::rotate(unsigned cos, unsigned sin,
                                      const KnownTensor &at) {
  bool interleaved = b.intAttr("rotary_interleaved", 0) != 0;
  if (b.intAttr("do_rotary", 0) == 0)
    return success();
  if (!b.hasInput(cos) || !b.hasInput(sin))
    return b.error("attribute 'do_rotary' needs its inputs cos_cache and "
                   "sin_cache");
  FailureOr<KnownTensor> c = angles(cos, at), s = angles(sin, at);
  if (failed(c) || failed(s))
    return failure();
  if (c->dims != s->dims)
    return b.error("its cos_cache and sin_cache have different shapes");
  for (KnownTensor *heads : {&parts.query, &parts.key})
    heads->value = b.create<RopeOp>(heads->dims, heads->element, heads->value,
                                    c->value, s->value, interleaved);
  return success();
}

/// Positions of input `given`. At a first prompt, when all tokens are new, it
/// tells that of the first token alone.
FailureOr<KnownTensor> CachedAttention::positionsOf(unsigned given) {
  if (!b.hasInput(given))
    return positions;
  FailureOr<KnownTensor> ids = ops.input(given, {batch, tokens}, i64),
                         total = ops.input(6);
  if (failed(ids) || failed(total))
    return failure();
  Dims one = {DimExpr(1), DimExpr(1)};
  KnownTensor first = ops.slice(ops.slice(*ids, 0, 0, DimExpr(1)), 1, 0,
                                DimExpr(1)),
              fromFirst = ops.binary<AddOp>(ops.iota(tokens, 1, 2, i64), first);
  KnownTensor isPrompt = ops.compare(ops.view(ops.cast(*total, i64), one),
                                     ops.size(tokens, i64), Predicate::Eq);
  return ops.where(isPrompt, fromFirst, *ids);
}

KnownTensor CachedAttention::normalized(const KnownTensor &heads,
                                        const KnownTensor &weight,
                                        float epsilon) {
  return {b.create<NormOp>(heads.dims, heads.element, heads.value, weight.value,
                           Value(), Value(), NormKind::RMS,
                           b.builder().getF32FloatAttr(epsilon)),
          heads.dims, heads.element};
}

/// Each head of queries and keys by its root mean square, before the rotation.
LogicalResult CachedAttention::normalizeHeads() {
  float epsilon = b.floatAttr("qk_norm_epsilon", 1e-6f);
  if (b.hasInput(14) != b.hasInput(15))
    return b.error("it has one of q_norm_weight and k_norm_weight");
  if (!b.hasInput(14))
    return success();
  if (!(epsilon >= 0))
    return b.error("attribute 'qk_norm_epsilon' is negative or no number");
  Dims size = {parts.query.dims[3]};
  FailureOr<KnownTensor> q = ops.input(14, size, parts.query.element),
                         k = ops.input(15, size, parts.query.element);
  if (failed(q) || failed(k))
    return failure();
  parts.query = normalized(parts.query, *q, epsilon);
  parts.key = normalized(parts.key, *k, epsilon);
  return success();
}

//===----------------------------------------------------------------------===//
// The cache
//===----------------------------------------------------------------------===//

/// Whether past and present are one buffer of a fixed size, as their declared
/// dims tell; otherwise the present is longer by the new tokens.
bool CachedAttention::isShared(unsigned past, unsigned present) {
  if (!b.hasInput(past) || !b.hasOutput(present))
    return false;
  const onnx::GraphProto &graph = b.importer.file.getModel().graph();
  auto find = [](const auto &values,
                 StringRef name) -> const onnx::TensorShapeProto::Dimension * {
    for (const auto &value : values)
      if (value.name() == name &&
          value.type().tensor_type().shape().dim_size() == 4)
        return &value.type().tensor_type().shape().dim(2);
    return nullptr;
  };
  const auto *from = find(graph.input(), b.node.input(past)),
             *to = find(graph.output(), b.node.output(present));
  if (from && to && (from->has_dim_value() || !from->dim_param().empty()) &&
      from->dim_value() == to->dim_value() &&
      from->dim_param() == to->dim_param())
    return true;
  // Otherwise the sizes themselves.
  const auto &total = b.input(6).contents;
  const TensorValue &before = b.input(past);
  if (!total || total->size() != 1 || before.rank() != 4)
    return false;
  return b.symbols().lessEqual(total->front(), before.dims[2]).value_or(false);
}

/// Keys and values as rows of the batch at its positions: the past, perhaps
/// longer by the new tokens, which are then written behind those of each row.
FailureOr<KnownTensor> CachedAttention::writeCache(unsigned past,
                                                   unsigned present,
                                                   const KnownTensor &now) {
  KnownTensor all = now;
  if (b.hasInput(past)) {
    Dims dims = {batch, now.dims[2], DimExpr(0), now.dims[3]};
    if (b.input(past).rank() == 4)
      dims[2] = b.input(past).dims[2];
    FailureOr<KnownTensor> data = ops.input(past, dims, now.element);
    if (failed(data))
      return failure();
    // In the order of the present, so that it is written where it lies.
    if (!shared)
      *data = ops.concat({*data, swapHeads(b, now)}, 2);
    all = swapHeads(b, *data);
    Dims points = {batch, tokens}, column = {batch, tokens, DimExpr(1)};
    Value rows = ownPositions(b, points, 0, i64),
          at = ops.view(positions, column).value;
    Value tuples = joinTuples(b, points, {rows, at});
    all.value = b.create<ScatterNDOp>(all.dims, all.element, all.value, tuples,
                                      now.value, CombineKind::None);
  }
  KnownTensor whole = swapHeads(b, all);
  if (b.hasOutput(present) &&
      failed(b.setData(whole.value, whole.dims, present)))
    return failure();
  return all;
}

/// The keys are as many as all tokens are: for the batch's longest row.
LogicalResult CachedAttention::checkTotal() {
  const auto &total = b.input(6).contents;
  if (!total || total->size() != 1)
    return success();
  const DimExpr &keys = parts.key.dims[1], &all = total->front();
  std::string message = "its total_sequence_length is " + all.str() +
                        ", but it has " + keys.str() + " keys";
  if (!shared)
    return all == keys ? success() : b.errorUnlessEqual(all, keys, message);
  if (!b.symbols().requireLessEqual(all, keys))
    return success(); // of two symbols the call decides
  // What lies behind is no key of any row.
  parts.key = ops.slice(parts.key, 1, 0, all);
  parts.value = ops.slice(parts.value, 1, 0, all);
  return success();
}

LogicalResult CachedAttention::writeCaches() {
  if (b.hasInput(3) != b.hasInput(4))
    return b.error("it has one of past_key and past_value");
  if (keepsWindow)
    return writeWindow();
  shared = isShared(3, 1);
  FailureOr<KnownTensor> key = writeCache(3, 1, parts.key),
                         value = writeCache(4, 2, parts.value);
  if (failed(key) || failed(value))
    return failure();
  parts.key = *key;
  parts.value = *value;
  return checkTotal();
}

//===----------------------------------------------------------------------===//
// GroupQueryAttention
//===----------------------------------------------------------------------===//

LogicalResult CachedAttention::readOptions() {
  for (const char *name : {"k_quant_type", "v_quant_type"}) {
    std::string type = b.stringAttr(name, "NONE");
    if (type != "NONE" && !type.empty())
      return b.unsupported("attribute '" + Twine(name) + "' = '" + type +
                           "' (a quantized cache) is not supported");
  }
  b.intAttr("kv_cache_bit_width", 0); // of a quantized cache
  for (unsigned i : {12u, 13u})
    if (b.hasInput(i))
      return b.unsupported(Twine("its input ") +
                           (i == 12 ? "k_scale" : "v_scale") +
                           " (of a quantized cache) is not supported");
  int64_t keeps = b.intAttr("sliding_window_cache", 0);
  parts.scale = scaleAttr(b, parts);
  parts.softcap = b.floatAttr("softcap", 0);
  if (!std::isfinite(parts.softcap) || parts.softcap < 0)
    return b.error("attribute 'softcap' is negative or no number");
  int64_t causal = b.intAttr("causal", 1);
  window = b.intAttr("local_window_size", -1);
  keepsWindow = keeps != 0;
  if (keeps != 0 && (keeps != 1 || window < 1))
    return b.error("attribute 'sliding_window_cache' = " + Twine(keeps) +
                   " needs a 'local_window_size'");
  if (window < -1 || window == 0 || (causal != 0 && causal != 1) ||
      (causal == 0 && window > 0))
    return b.error("attributes 'local_window_size' = " + Twine(window) +
                   " and 'causal' = " + Twine(causal) + " do not fit");
  if (causal)
    parts.right = 0;
  if (window > 0)
    parts.left = window - 1;
  if (!causal)
    parts.lengths = ops.binary<AddOp>(before, ops.size(tokens, i64));
  Dims heads = {parts.query.dims[2]};
  bool smooth = b.intAttr("smooth_softmax", 0) > 0;
  if (b.hasInput(11)) {
    FailureOr<KnownTensor> sinks = ops.input(11, heads, parts.query.element);
    if (failed(sinks))
      return failure();
    parts.sinks = *sinks;
  } else if (smooth) {
    parts.sinks = ops.filled(0, parts.query.element, heads);
  }
  return success();
}

LogicalResult CachedAttention::importGroupQuery() {
  if (failed(requireInputs(b, {5, 6})) || failed(readHeads()) ||
      failed(readRow(5, /*countsLast=*/true)) || failed(normalizeHeads()))
    return failure();
  if (!product(b.input(6).dims).isConstant(1))
    return b.error("its total_sequence_length is not one number");
  FailureOr<KnownTensor> at = positionsOf(9);
  if (failed(at) || failed(rotate(7, 8, *at)) || failed(readOptions()) ||
      failed(writeCaches()) || failed(addScoreBias(b, 10, parts)))
    return failure();
  int64_t mode = b.intAttr("qk_output", 0);
  if (mode < 0 || mode > 2)
    return b.error("attribute 'qk_output' is not 0 to 2");
  if (b.hasOutput(3) && mode == 0)
    return b.error("it has an output qk, but no attribute 'qk_output'");
  return setAttention(b, parts, 3,
                      mode == 1 ? ScoreStage::Masked : ScoreStage::Weights,
                      /*zeroDropped=*/mode == 1);
}

namespace {

LogicalResult importGroupQueryAttention(OpBinder &b) {
  return CachedAttention(b).importGroupQuery();
}

} // namespace

void registerMicrosoftCacheOps(OpTable &table) {
  table.add("com.microsoft::GroupQueryAttention", importGroupQueryAttention, 1,
            16);
}

} // namespace ferrite::frontend
