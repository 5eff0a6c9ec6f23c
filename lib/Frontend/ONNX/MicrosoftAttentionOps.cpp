//===- MicrosoftAttentionOps.cpp - Attention with its own heads -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// com.microsoft: Attention projects its input itself, MultiHeadAttention and
// its decoder take what is projected. A mask counts what it drops by
// mask_filter_value; what is not causal is dropped for good.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/MicrosoftAttention.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Where an op has its inputs.
struct MultiHeadInputs {
  unsigned bias, mask, scoreBias, pastKey, pastValue;
};

/// Queries, keys and values from one input of [batch, tokens, heads, 3, size],
/// or from the last two of such a pair.
LogicalResult unpackHeads(OpBinder &b, unsigned input, int64_t heads,
                          MutableArrayRef<KnownTensor> parts) {
  KnownOps ops(b);
  FailureOr<KnownTensor> packed = ops.input(input);
  if (failed(packed))
    return failure();
  DimExpr count = static_cast<int64_t>(parts.size());
  if (packed->dims.size() != 5 || packed->dims[2] != DimExpr(heads) ||
      packed->dims[3] != count)
    return b.error("its input " + Twine(input) + " of shape " +
                   printDims(packed->dims) + " is not [batch, tokens, " +
                   Twine(heads) + ", " + count.str() + ", size]");
  Dims dims = packed->dims;
  dims.erase(dims.begin() + 3);
  for (auto [i, part] : llvm::enumerate(parts))
    part = ops.view(ops.slice(*packed, 3, static_cast<int64_t>(i), DimExpr(1)),
                    dims);
  return success();
}

/// The three inputs in one of their layouts, with the bias added. Heads that
/// come as a cache of their own are complete: no past and no bias.
LogicalResult readHeads(OpBinder &b, int64_t heads, const MultiHeadInputs &at,
                        AttentionParts &parts, bool &isCache) {
  KnownOps ops(b);
  KnownTensor rows[3];
  size_t rank = b.input(0).rank(),
         keyRank = b.hasInput(1) ? b.input(1).rank() : 0;
  isCache = keyRank == 4;
  bool isPacked = rank == 5 || keyRank == 5;
  if (isPacked || isCache ? b.hasInput(2) != isCache
                          : b.hasInput(1) != b.hasInput(2))
    return b.error("its keys and values do not come in one of their layouts");
  if (rank != 3 && rank != 5)
    return b.error("its query has rank " + Twine(rank));
  if (rank == 5 && keyRank != 0)
    return b.error("it has keys beside packed queries, keys and values");
  if (isPacked) {
    KnownTensor parts5[3];
    if (rank == 5) {
      if (failed(unpackHeads(b, 0, heads, parts5)))
        return failure();
    } else {
      FailureOr<KnownTensor> query = ops.input(0);
      if (failed(query) || failed(query = splitHeads(b, *query, heads)) ||
          failed(unpackHeads(
              b, 1, heads, MutableArrayRef<KnownTensor>(parts5).drop_front())))
        return failure();
      parts5[0] = *query;
    }
    for (unsigned i = 0; i < 3; ++i) {
      Dims flat(parts5[i].dims.begin(), parts5[i].dims.end() - 1);
      flat.back() = flat.back() * parts5[i].dims.back();
      rows[i] = ops.view(parts5[i], flat);
    }
  } else {
    if (keyRank == 0)
      return b.unsupported("without keys is not supported");
    for (unsigned i = 0; i < 3; ++i) {
      FailureOr<KnownTensor> input = ops.input(i);
      if (failed(input))
        return failure();
      if (input->dims.size() != (isCache && i > 0 ? 4u : 3u))
        return b.error("its input " + Twine(i) + " has rank " +
                       Twine(input->dims.size()));
      if (isCache && i > 0 && input->dims[1] != DimExpr(heads))
        return b.error("its input " + Twine(i) + " of shape " +
                       printDims(input->dims) + " has not " + Twine(heads) +
                       " heads");
      rows[i] = *input;
    }
  }
  for (unsigned i : {1u, 2u})
    if (rows[i].element != rows[0].element)
      return b.error("its queries, keys and values have different types");
  if (isCache) {
    // The projections of a cross attention's keys had their bias before.
    if (b.hasInput(at.bias)) {
      DimExpr columns = rows[0].dims[2];
      TensorValue &given = b.input(at.bias);
      if (given.rank() != 1)
        return b.error("its bias is no vector");
      FailureOr<KnownTensor> bias =
          ops.input(at.bias, given.dims, rows[0].element);
      if (failed(bias))
        return failure();
      if (!b.symbols().requireLessEqual(columns, given.dims[0]))
        return b.error("its bias is shorter than its queries");
      rows[0] = ops.binary<AddOp>(rows[0], ops.slice(*bias, 0, 0, columns));
    }
    parts.key = swapHeads(b, rows[1]);
    parts.value = swapHeads(b, rows[2]);
  } else if (failed(addProjectionBias(b, at.bias, rows[0], rows[1], rows[2]))) {
    return failure();
  }
  FailureOr<KnownTensor> query = splitHeads(b, rows[0], heads);
  if (failed(query))
    return failure();
  parts.query = *query;
  if (isCache)
    return success();
  FailureOr<KnownTensor> key = splitHeads(b, rows[1], heads),
                         value = splitHeads(b, rows[2], heads);
  if (failed(key) || failed(value))
    return failure();
  parts.key = *key;
  parts.value = *value;
  return success();
}

LogicalResult importHeads(OpBinder &b, const MultiHeadInputs &at) {
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  AttentionParts parts;
  bool isCache = false;
  if (failed(heads) || failed(readHeads(b, *heads, at, parts, isCache)))
    return failure();
  if (b.hasInput(at.pastKey) != b.hasInput(at.pastValue))
    return b.error("it has one of past_key and past_value");
  DimExpr past = 0;
  if (b.hasInput(at.pastKey)) {
    if (isCache)
      return b.error("it has a past beside keys that are complete");
    if (b.input(at.pastKey).rank() == 4)
      past = b.input(at.pastKey).dims[2];
  }
  if (isCache) {
    for (auto [i, cache] : {std::pair(1u, &parts.key), {2u, &parts.value}}) {
      KnownTensor present = swapHeads(b, *cache);
      if (b.hasOutput(i) && failed(b.setData(present.value, present.dims, i)))
        return failure();
    }
  } else {
    FailureOr<KnownTensor> key = appendPast(b, at.pastKey, 1, parts.key),
                           value = appendPast(b, at.pastValue, 2, parts.value);
    if (failed(key) || failed(value))
      return failure();
    parts.key = *key;
    parts.value = *value;
  }
  parts.scale = scaleAttr(b, parts);
  if (b.intAttr("unidirectional", 0) != 0) {
    parts.right = 0;
    parts.offset = past;
  }
  if (failed(addKeyMask(b, at.mask, past, parts)) ||
      failed(addScoreBias(b, at.scoreBias, parts)))
    return failure();
  return setAttention(b, parts, 3, ScoreStage::Masked);
}

LogicalResult importMultiHeadAttention(OpBinder &b) {
  for (unsigned i : {8u, 9u})
    if (b.hasInput(i))
      return b.unsupported(i == 8 ? "its input past_sequence_length (a cache "
                                    "shared with the past) is not supported"
                                  : "its input cache_indirection (of a beam "
                                    "search) is not supported");
  return importHeads(b, {3, 4, 5, 6, 7});
}

/// One query a call: otherwise the same with its inputs in another order.
LogicalResult importDecoderAttention(OpBinder &b) {
  for (auto [i, name] :
       {std::pair(8u, "beam_width"), {9u, "cache_indirection"}})
    if (b.hasInput(i))
      return b.unsupported("its input " + Twine(name) +
                           " (of a beam search) is not supported");
  // The shared form reorders the keys.
  if (failed(b.expectInt("past_present_share_buffer", 0, 0)))
    return failure();
  if (b.hasInput(7))
    return b.unsupported("its input past_sequence_length (a cache shared with "
                         "the past) is not supported");
  if (b.intAttr("output_qk", 0) == 0 && b.hasOutput(3))
    return b.error("it has an output qk, but no attribute 'output_qk'");
  if (b.input(0).rank() == 3 && !b.hasInput(1))
    return b.unsupported("packed queries, keys and values are not supported");
  return importHeads(b, {10, 3, 4, 5, 6});
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// The past or present of keys (`which` 0) or values (1).
KnownTensor halfOf(OpBinder &b, const KnownTensor &both, int64_t which) {
  KnownOps ops(b);
  Dims dims(both.dims.begin() + 1, both.dims.end());
  return ops.view(ops.slice(both, 0, which, DimExpr(1)), dims);
}

/// Keys and values behind their past, [2, batch, heads, tokens, size], which is
/// input 4; and all of them as result 1.
LogicalResult addPast(OpBinder &b, AttentionParts &parts, DimExpr &past) {
  KnownOps ops(b);
  KnownTensor all[2] = {swapHeads(b, parts.key), swapHeads(b, parts.value)};
  if (b.hasInput(4)) {
    Dims dims = all[0].dims;
    if (b.input(4).rank() == 5)
      past = dims[2] = b.input(4).dims[3];
    dims.insert(dims.begin(), DimExpr(2));
    if (parts.value.dims[3] != parts.key.dims[3])
      return b.error("with a past its keys and values have one size");
    FailureOr<KnownTensor> before = ops.input(4, dims, parts.key.element);
    if (failed(before))
      return failure();
    for (int64_t i : {0, 1})
      all[i] = ops.concat({halfOf(b, *before, i), all[i]}, 2);
  }
  if (b.hasOutput(1)) {
    if (all[0].dims != all[1].dims)
      return b.error("its output present needs keys and values of one size");
    Dims one = all[0].dims;
    one.insert(one.begin(), DimExpr(1));
    KnownTensor both =
        ops.concat({ops.view(all[0], one), ops.view(all[1], one)}, 0);
    if (failed(b.setData(both.value, both.dims, 1)))
      return failure();
  }
  parts.key = swapHeads(b, all[0]);
  parts.value = swapHeads(b, all[1]);
  return success();
}

LogicalResult importContribAttention(OpBinder &b) {
  KnownOps ops(b);
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  if (failed(heads) || failed(b.expectInt("past_present_share_buffer", 0, 0)) ||
      failed(b.expectInt("do_rotary", 0, 0)))
    return failure();
  b.intAttr("rotary_embedding_dim", 0); // of do_rotary
  if (b.hasInput(6))
    return b.unsupported("its input past_sequence_length (a cache shared with "
                         "the past) is not supported");
  FailureOr<KnownTensor> projected = projectRows(b, 3);
  AttentionParts parts;
  if (failed(projected) || failed(splitProjected(b, *projected, *heads, parts)))
    return failure();
  DimExpr past = 0;
  if (failed(addPast(b, parts, past)))
    return failure();
  parts.scale = scaleAttr(b, parts);
  if (b.intAttr("unidirectional", 0) != 0) {
    parts.right = 0;
    parts.offset = past;
  }
  if (failed(addKeyMask(b, 3, past, parts)) ||
      failed(addScoreBias(b, 5, parts)))
    return failure();
  return setAttention(b, parts, /*scores=*/2, ScoreStage::Masked);
}

} // namespace

void registerMicrosoftAttentionOps(OpTable &table) {
  table.add("com.microsoft::Attention", importContribAttention, 2, 7);
  table.add("com.microsoft::MultiHeadAttention", importMultiHeadAttention, 1,
            10);
  table.add("com.microsoft::DecoderMaskedMultiHeadAttention",
            importDecoderAttention, 1, 11);
}

} // namespace ferrite::frontend
