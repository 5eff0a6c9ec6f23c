//===- LinearAttentionOps.cpp - Attention through a state -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Attention.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Input `i`, [batch, tokens, heads * size], with its heads apart.
FailureOr<KnownTensor> splitHeads(OpBinder &b, unsigned i, int64_t heads) {
  TensorValue &input = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  if (input.rank() != 3 || !isa<FloatType>(input.element))
    return b.error("its input " + Twine(i) +
                   " is not [batch, tokens, heads * "
                   "size] of floats, but " +
                   printDims(input.dims));
  std::optional<DimExpr> size = input.dims[2].dividedBy(DimExpr(heads));
  if (!size || !size->constant() || *size->constant() < 1)
    return b.error("its input " + Twine(i) + " of shape " +
                   printDims(input.dims) + " does not divide into " +
                   Twine(heads) + " heads of a known size");
  Dims dims = {input.dims[0], input.dims[1], DimExpr(heads), *size};
  return KnownTensor{b.view(*data, input.dims, dims), dims, input.element};
}

/// Each head `count` times.
KnownTensor repeatHeads(OpBinder &b, const KnownTensor &from, int64_t count) {
  const Dims &dims = from.dims;
  Dims apart = {dims[0], dims[1], dims[2], DimExpr(1), dims[3]}, each = apart;
  each[3] = DimExpr(count);
  Dims all = {dims[0], dims[1], dims[2] * DimExpr(count), dims[3]};
  Value repeated = b.create<BroadcastOp>(
      each, from.element, b.view(from.value, dims, apart), b.dimsAttr(each));
  return {b.view(repeated, each, all), all, from.element};
}

struct LinearAttentionParts {
  KnownTensor query, key, value, decay, beta, state;
  float scale = 1;
};

LogicalResult checkShapes(OpBinder &b, const LinearAttentionParts &parts) {
  auto differs = [&](const KnownTensor &each, size_t i, const DimExpr &size) {
    return each && each.dims[i] != size;
  };
  const Dims &key = parts.key.dims;
  for (const KnownTensor *each :
       {&parts.query, &parts.value, &parts.decay, &parts.beta})
    if (differs(*each, 0, key[0]) || differs(*each, 1, key[1]))
      return b.error("its inputs have different batches or tokens: " +
                     printDims(key) + " and " + printDims(each->dims));
  if (parts.query.dims[3] != key[3])
    return b.error("heads of its queries have " + parts.query.dims[3].str() +
                   " elements, those of its keys " + key[3].str());
  Dims state = {key[0], key[2], key[3], parts.value.dims[3]};
  if (parts.state && parts.state.dims != state)
    return b.error("its past_state has shape " + printDims(parts.state.dims) +
                   ", not " + printDims(state));
  if (parts.decay && !parts.decay.dims[3].isConstant(1) &&
      parts.decay.dims[3] != key[3])
    return b.error("its decay has " + parts.decay.dims[3].str() +
                   " elements a head, not 1 or " + key[3].str());
  for (const DimExpr &size :
       {key[3], parts.value.dims[3], key[2], parts.query.dims[2]})
    if (*size.constant() > 4096)
      return b.unsupported("its heads are too large or too many: " +
                           size.str());
  return success();
}

LogicalResult readInputs(OpBinder &b, StringRef rule,
                         LinearAttentionParts &parts) {
  int64_t heads = b.intAttr("q_num_heads", 0),
          keyHeads = b.intAttr("kv_num_heads", 0);
  // In the standard, key heads are never more.
  bool isInverse = b.node.domain() == "com.microsoft" && heads > 0 &&
                   keyHeads > heads && keyHeads % heads == 0;
  if (heads < 1 || keyHeads < 1 || (heads % keyHeads != 0 && !isInverse))
    return b.error("its " + Twine(heads) + " query heads are no multiple of " +
                   Twine(keyHeads) + " key heads");
  bool hasDecay = rule == "gated" || rule == "gated_delta";
  bool hasBeta = rule == "delta" || rule == "gated_delta";
  for (auto [i, has, name] :
       {std::tuple(4u, hasDecay, "decay"), std::tuple(5u, hasBeta, "beta")})
    if (b.hasInput(i) != has)
      return b.error("update rule '" + rule + "' goes " +
                     (has ? "with" : "without") + " input '" + name + "'");
  FailureOr<KnownTensor> query = splitHeads(b, 0, heads),
                         key = splitHeads(b, 1, keyHeads),
                         value = splitHeads(b, 2, keyHeads);
  if (failed(query) || failed(key) || failed(value))
    return failure();
  parts.query = isInverse ? repeatHeads(b, *query, keyHeads / heads) : *query;
  parts.key = *key, parts.value = *value;
  if (hasDecay) {
    FailureOr<KnownTensor> decay = splitHeads(b, 4, keyHeads);
    if (failed(decay))
      return failure();
    Type f32 = b.builder().getF32Type();
    Value wide = b.cast(decay->value, decay->dims, f32);
    parts.decay = {b.create<ExpOp>(decay->dims, f32, wide), decay->dims, f32};
  }
  if (hasBeta) {
    TensorValue &beta = b.input(5);
    FailureOr<Value> data = b.data(5);
    if (failed(data))
      return failure();
    if (beta.rank() != 3 || !isa<FloatType>(beta.element) ||
        (!beta.dims[2].isConstant(1) && !beta.dims[2].isConstant(keyHeads)))
      return b.error("its beta is not [batch, tokens, 1 or heads], but " +
                     printDims(beta.dims));
    parts.beta = {*data, beta.dims, beta.element};
  }
  if (b.hasInput(3)) {
    TensorValue &state = b.input(3);
    FailureOr<Value> data = b.data(3);
    if (failed(data))
      return failure();
    if (!isa<FloatType>(state.element))
      return b.error("its past_state is not of floats");
    parts.state = {*data, state.dims, state.element};
  }
  return checkShapes(b, parts);
}

LogicalResult importLinearAttention(OpBinder &b) {
  std::string rule = b.stringAttr("update_rule", "gated_delta");
  if (rule != "linear" && rule != "gated" && rule != "delta" &&
      rule != "gated_delta")
    return b.error("attribute 'update_rule' = '" + rule + "' is no rule");
  b.intAttr("chunk_size", 64); // a hint, which changes no result
  if (b.node.domain() == "com.microsoft" &&
      failed(b.expectInt("state_window", 0, 0)))
    return failure();
  LinearAttentionParts parts;
  if (failed(readInputs(b, rule, parts)))
    return failure();
  float scale = b.floatAttr("scale", 0);
  const DimExpr &tokens = parts.key.dims[1], &heads = parts.key.dims[2],
                &depth = parts.key.dims[3], &columns = parts.value.dims[3];
  if (scale == 0)
    scale = 1.0f / std::sqrt(static_cast<float>(*depth.constant()));
  DimExpr group(*parts.query.dims[2].constant() / *heads.constant());
  Type f32 = b.builder().getF32Type(), element = b.input(0).element;
  Dims all = {parts.key.dims[0], heads, tokens * group + depth, columns};
  Value result = b.create<LinearAttentionOp>(
      all, f32, parts.query.value, parts.key.value, parts.value.value,
      parts.decay.value, parts.beta.value, parts.state.value,
      b.builder().getF32FloatAttr(scale));
  auto rows = [&](const DimExpr &at, const DimExpr &count) {
    Dims offsets(4, DimExpr(0)), dims = all;
    offsets[2] = at;
    dims[2] = count;
    return b.create<SliceOp>(dims, f32, result, b.dimsAttr(offsets),
                             SmallVector<int64_t>(4, 1), b.dimsAttr(dims));
  };
  if (b.hasOutput(1)) {
    Type type = parts.state ? parts.state.element : element;
    Dims dims = {all[0], heads, depth, columns};
    if (failed(b.setData(b.cast(rows(tokens * group, depth), dims, type), dims,
                         1)))
      return failure();
  }
  Dims grouped = {all[0], heads, tokens, group, columns};
  Value outputs = b.view(rows(DimExpr(0), tokens * group),
                         {all[0], heads, tokens * group, columns}, grouped);
  outputs = b.transpose(outputs, grouped, {0, 2, 1, 3, 4});
  Dims dims = {all[0], tokens, heads * group * columns};
  outputs = b.view(outputs, dims);
  return b.setData(b.cast(outputs, dims, element), dims);
}

} // namespace

void registerLinearAttentionOps(OpTable &table) {
  table.add("LinearAttention", importLinearAttention);
  table.add("com.microsoft::LinearAttention", importLinearAttention, 3, 6);
}

} // namespace ferrite::frontend
