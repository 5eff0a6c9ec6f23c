//===- AttentionOps.cpp - Attention and rotary embedding ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ai.onnx alone; com.microsoft has other ops of the same names.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Attention.h"
#include "lib/Frontend/ONNX/Elementwise.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Input `i` as [batch, heads, tokens, size], from that or [batch, tokens,
/// heads * size].
FailureOr<KnownTensor> headsFirst(OpBinder &b, unsigned i, int64_t heads) {
  TensorValue &input = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  if (input.rank() == 4)
    return KnownTensor{*data, input.dims, input.element};
  if (input.rank() != 3)
    return b.error("its input " + Twine(i) + " has rank " +
                   Twine(input.rank()) + ", where ONNX wants 3 or 4");
  if (heads <= 0)
    return b.error("its inputs of rank 3 need attributes that tell the heads");
  std::optional<DimExpr> size = input.dims[2].dividedBy(DimExpr(heads));
  if (!size)
    return b.error("its input " + Twine(i) + " does not divide into " +
                   Twine(heads) + " heads");
  Dims split = {input.dims[0], input.dims[1], DimExpr(heads), *size};
  Dims dims = {split[0], split[2], split[1], split[3]};
  Value value = b.view(*data, input.dims, split);
  return KnownTensor{b.transpose(value, split, {0, 2, 1, 3}), dims,
                     input.element};
}

KnownTensor tokensFirst(OpBinder &b, const KnownTensor &from) {
  return {b.transpose(from.value, from.dims, {0, 2, 1, 3}),
          {from.dims[0], from.dims[2], from.dims[1], from.dims[3]},
          from.element};
}

/// The past, followed by `now`.
FailureOr<KnownTensor> append(OpBinder &b, unsigned past,
                              const KnownTensor &now) {
  if (!b.hasInput(past))
    return now;
  TensorValue &before = b.input(past);
  FailureOr<Value> data = b.data(past);
  if (failed(data))
    return failure();
  if (before.rank() != 4 || before.element != now.element ||
      before.dims[0] != now.dims[0] || before.dims[1] != now.dims[1] ||
      before.dims[3] != now.dims[3])
    return b.error("its past of shape " + printDims(before.dims) +
                   " does not fit " + printDims(now.dims));
  Dims dims = now.dims;
  dims[2] = before.dims[2] + now.dims[2];
  Value both =
      b.create<ConcatOp>(dims, now.element, ValueRange{*data, now.value}, 2);
  return KnownTensor{both, dims, now.element};
}

/// Input 3 as a mask or bias of rank 4, its keys filled up with dropped ones.
LogicalResult addMask(OpBinder &b, AttentionParts &parts) {
  if (!b.hasInput(3))
    return success();
  TensorValue &input = b.input(3);
  FailureOr<Value> data = b.data(3);
  if (failed(data))
    return failure();
  bool isBool = input.element.isInteger(1);
  if (!isBool && !isa<FloatType>(input.element))
    return b.unsupported("a mask of integers is not supported");
  if (input.rank() == 0 || input.rank() > 4)
    return b.error("its mask has rank " + Twine(input.rank()));
  Dims dims(4 - input.rank(), DimExpr(1));
  dims.append(input.dims.begin(), input.dims.end());
  KnownTensor mask{b.view(*data, input.dims, dims), dims, input.element};
  DimExpr keys = parts.key.dims[1];
  if (dims[3] != keys) {
    DimExpr missing = keys - dims[3];
    // Of sizes, which are not negative, only a sum is known to be none.
    if (llvm::any_of(missing.terms(),
                     [](auto &term) { return term.second < 0; }))
      return b.error("its mask has " + dims[3].str() + " keys beside " +
                     keys.str());
    Dims rest = dims, whole = dims;
    rest[3] = missing;
    whole[3] = keys;
    Value dropped = b.scalar(isBool ? 0 : -kInf, input.element);
    Dims ones(4, DimExpr(1));
    dropped = b.create<BroadcastOp>(rest, input.element, b.view(dropped, ones),
                                    b.dimsAttr(rest));
    mask = {b.create<ConcatOp>(whole, input.element,
                               ValueRange{mask.value, dropped}, 3),
            whole, input.element};
  }
  (isBool ? parts.mask : parts.bias) = mask;
  return success();
}

/// Causality, windows and lengths. Positions are counted from the end of the
/// keys: behind the past, or behind the `nonpad` keys that hold something.
LogicalResult addWindow(OpBinder &b, AttentionParts &parts) {
  parts.left = b.intAttr("left_window_size", -1);
  parts.right = b.intAttr("right_window_size", -1);
  if (parts.left < -1 || parts.right < -1)
    return b.error("its window is below -1");
  if (b.intAttr("is_causal", 0) != 0)
    parts.right = 0; // of two limits the nearer
  if (b.hasInput(4))
    parts.offset = b.input(4).dims[2];
  if (!b.hasInput(6))
    return success();
  TensorValue &nonpad = b.input(6);
  FailureOr<Value> data = b.data(6);
  if (failed(data))
    return failure();
  if (b.hasInput(4) || nonpad.rank() != 1 ||
      nonpad.dims[0] != parts.query.dims[0])
    return b.error("its nonpad_kv_seqlen is not one number for each batch, or "
                   "comes with a past");
  parts.lengths = {*data, nonpad.dims, nonpad.element};
  if (parts.left < 0 && parts.right < 0)
    return success();
  parts.offsets = parts.lengths;
  parts.offset = DimExpr(0) - parts.query.dims[1];
  return success();
}

LogicalResult readAttributes(OpBinder &b, AttentionParts &parts) {
  std::optional<int64_t> size = parts.query.dims[3].constant();
  parts.scale = b.floatAttr("scale", 1.0f / std::sqrt(float(size.value_or(1))));
  parts.softcap = b.floatAttr("softcap", 0);
  if (!std::isfinite(parts.softcap) || parts.softcap < 0)
    return b.error("attribute 'softcap' is negative or no number");
  // A softmax in less than f32 is in f32 all the same.
  int64_t precision = b.intAttr("softmax_precision", 0);
  switch (precision) {
  case 0:
  case onnx::TensorProto::FLOAT:
  case onnx::TensorProto::FLOAT16:
  case onnx::TensorProto::BFLOAT16:
    return success();
  case onnx::TensorProto::DOUBLE:
    parts.inDouble = true;
    return success();
  default:
    return b.unsupported("attribute 'softmax_precision' = " + Twine(precision) +
                         " is not supported");
  }
}

LogicalResult importAttention(OpBinder &b) {
  int64_t heads = b.intAttr("q_num_heads", 0),
          keyHeads = b.intAttr("kv_num_heads", 0);
  size_t rank = b.input(0).rank();
  if (b.input(1).rank() != rank || b.input(2).rank() != rank)
    return b.error("its queries, keys and values have different ranks");
  if (b.hasInput(4) != b.hasInput(5))
    return b.error("it has one of past_key and past_value");
  FailureOr<KnownTensor> query = headsFirst(b, 0, heads),
                         key = headsFirst(b, 1, keyHeads),
                         value = headsFirst(b, 2, keyHeads);
  if (failed(query) || failed(key) || failed(value))
    return failure();
  key = append(b, 4, *key);
  value = append(b, 5, *value);
  if (failed(key) || failed(value))
    return failure();
  for (auto [i, present] : {std::pair(1u, &*key), std::pair(2u, &*value)})
    if (b.hasOutput(i) && failed(b.setData(present->value, present->dims, i)))
      return failure();
  AttentionParts parts;
  parts.query = tokensFirst(b, *query);
  parts.key = tokensFirst(b, *key);
  parts.value = tokensFirst(b, *value);
  int64_t mode = b.intAttr("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3)
    return b.error("attribute 'qk_matmul_output_mode' is not 0 to 3");
  if (failed(readAttributes(b, parts)) || failed(addMask(b, parts)) ||
      failed(addWindow(b, parts)) || failed(checkAttention(b, parts)))
    return failure();
  Value result;
  if (b.hasOutput(3)) {
    Value scores;
    result =
        decomposeAttention(b, parts, static_cast<ScoreStage>(mode), scores);
    if (failed(b.setData(scores, parts.scoreDims(), 3)))
      return failure();
  } else {
    result = buildAttention(b, parts);
  }
  Dims dims = parts.resultDims();
  if (rank == 4)
    return b.setData(b.transpose(result, dims, {0, 2, 1, 3}),
                     {dims[0], dims[2], dims[1], dims[3]});
  Dims flat = {dims[0], dims[1], dims[2] * dims[3]};
  return b.setData(b.view(result, flat), flat);
}

/// Rows of a table of angles for the positions of input 3, or the table.
FailureOr<Value> angles(OpBinder &b, unsigned i, const Dims &tokens,
                        const DimExpr &half) {
  TensorValue &table = b.input(i);
  FailureOr<Value> data = b.data(i);
  if (failed(data))
    return failure();
  size_t rank = b.hasInput(3) ? 2 : 3;
  if (table.rank() != rank || table.dims.back() != half)
    return b.error("its table of shape " + printDims(table.dims) +
                   " does not hold " + half.str() + " angles a position");
  if (rank == 3)
    return data;
  TensorValue &positions = b.input(3);
  FailureOr<Value> indices = b.data(3);
  if (failed(indices))
    return failure();
  if (positions.rank() != 2 || positions.dims[1] != tokens[1] ||
      (positions.dims[0] != tokens[0] && !positions.dims[0].isConstant(1)))
    return b.error("its position_ids of shape " + printDims(positions.dims) +
                   " are not one for each token");
  Dims dims = {positions.dims[0], positions.dims[1], half};
  return b.create<GatherOp>(dims, table.element, *data, *indices, 0);
}

LogicalResult importRotaryEmbedding(OpBinder &b) {
  TensorValue &input = b.input(0);
  int64_t heads = b.intAttr("num_heads", 0),
          rotated = b.intAttr("rotary_embedding_dim", 0);
  bool interleaved = b.intAttr("interleaved", 0) != 0;
  if (failed(expectOneType(b, 0, 3)))
    return failure();
  if (!isa<FloatType>(input.element))
    return b.error("its input is not of floats");
  FailureOr<KnownTensor> split = headsFirst(b, 0, heads);
  if (failed(split))
    return failure();
  KnownTensor rows = tokensFirst(b, *split);
  if (failed(checkRotated(b, rows.dims[3], rotated)))
    return failure();
  DimExpr half(rotated / 2);
  FailureOr<Value> cos = angles(b, 1, rows.dims, half),
                   sin = angles(b, 2, rows.dims, half);
  if (failed(cos) || failed(sin))
    return failure();
  Value result = b.create<RopeOp>(rows.dims, rows.element, rows.value, *cos,
                                  *sin, interleaved);
  if (input.rank() == 3)
    return b.setData(b.view(result, input.dims), input.dims);
  return b.setData(b.transpose(result, rows.dims, {0, 2, 1, 3}), input.dims);
}

} // namespace

void registerAttentionOps(OpTable &table) {
  table.add("Attention", importAttention);
  table.add("RotaryEmbedding", importRotaryEmbedding);
}

} // namespace ferrite::frontend
