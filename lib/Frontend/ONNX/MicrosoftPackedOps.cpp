//===- MicrosoftPackedOps.cpp - Attention over tokens without padding -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// com.microsoft PackedAttention and PackedMultiHeadAttention: the tokens of all
// rows, one row after another. They are spread over [batch, longest] for the
// attention, whose rows have lengths, and gathered again behind it.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/MicrosoftAttention.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Where an op has the inputs that tell of the packing.
struct PackedInputs {
  unsigned offsets, ends, scoreBias;
};

/// Attention of `rows`, each [tokens, heads * size].
LogicalResult setPackedAttention(OpBinder &b, ArrayRef<KnownTensor> rows,
                                 int64_t heads, const PackedInputs &at) {
  KnownOps ops(b);
  Type i32 = b.builder().getI32Type();
  TensorValue &grid = b.input(at.offsets);
  if (grid.rank() != 2)
    return b.error("its token_offset is not of rank 2");
  DimExpr count = rows[0].dims[0], batch = grid.dims[0], longest = grid.dims[1];
  FailureOr<KnownTensor> offsets = ops.input(at.offsets, grid.dims, i32),
                         ends = ops.input(at.ends, {batch + DimExpr(1)}, i32);
  if (failed(offsets) || failed(ends))
    return failure();
  // Behind a row's last token some other one stands; no key is read there.
  KnownTensor starts = ops.slice(*ends, 0, 0, batch);
  KnownTensor places = ops.binary<AddOp>(ops.view(starts, {batch, DimExpr(1)}),
                                         ops.iota(longest, 1, 2, i32));
  KnownTensor most =
      ops.binary<SubOp>(ops.size(count, i32), ops.number(1, i32));
  places = ops.binary<MinOp>(places, most);
  AttentionParts parts;
  KnownTensor *sides[] = {&parts.query, &parts.key, &parts.value};
  for (auto [row, part] : llvm::zip_equal(rows, sides)) {
    FailureOr<KnownTensor> split =
        splitHeads(b, ops.gather(row, places, 0), heads);
    if (failed(split))
      return failure();
    *part = *split;
  }
  parts.lengths = ops.binary<SubOp>(ops.slice(*ends, 0, 1, batch), starts);
  parts.scale = scaleAttr(b, parts);
  if (failed(addScoreBias(b, at.scoreBias, parts)) ||
      failed(checkAttention(b, parts)))
    return failure();
  Value result = buildAttention(b, parts);
  Dims dims = parts.resultDims(), flat = {batch * longest, dims[2] * dims[3]};
  KnownTensor all = ops.view({result, dims, parts.query.element}, flat);
  // Its first entries are where the tokens stand in the grid.
  KnownTensor own =
      ops.slice(ops.view(*offsets, {batch * longest}), 0, 0, count);
  KnownTensor packed = ops.gather(all, own, 0);
  return b.setData(packed.value, packed.dims);
}

LogicalResult importPackedAttention(OpBinder &b) {
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  if (failed(heads) || failed(requireInputs(b, {3, 4})))
    return failure();
  FailureOr<KnownTensor> projected = projectRows(b, 2);
  if (failed(projected))
    return failure();
  FailureOr<Dims> sizes = projectedSizes(b, projected->dims.back());
  KnownTensor rows[3];
  if (failed(sizes) || failed(splitColumns(b, *projected, *sizes, rows)))
    return failure();
  return setPackedAttention(b, rows, *heads, {3, 4, 5});
}

LogicalResult importPackedMultiHeadAttention(OpBinder &b) {
  KnownOps ops(b);
  FailureOr<int64_t> heads = headsAttr(b, "num_heads");
  if (failed(heads) || failed(requireInputs(b, {4, 5})))
    return failure();
  b.floatAttr("mask_filter_value", -10000.0f); // no key is masked
  if (b.hasInput(1) != b.hasInput(2))
    return b.error("it has one of keys and values");
  FailureOr<KnownTensor> query = ops.input(0);
  if (failed(query))
    return failure();
  bool isPacked = !b.hasInput(1);
  if (query->dims.size() != (isPacked ? 4u : 2u) ||
      !isa<FloatType>(query->element))
    return b.error("its query of shape " + printDims(query->dims) +
                   " is not of floats and rank " + (isPacked ? "4" : "2"));
  KnownTensor rows[3] = {*query, {}, {}};
  if (isPacked) {
    const Dims &dims = query->dims;
    if (dims[1] != DimExpr(*heads) || !dims[2].isConstant(3))
      return b.error("its query of shape " + printDims(dims) +
                     " is not [tokens, " + Twine(*heads) + ", 3, size]");
    for (int64_t i = 0; i < 3; ++i)
      rows[i] = ops.view(ops.slice(*query, 2, i, DimExpr(1)),
                         {dims[0], dims[1] * dims[3]});
  } else {
    for (unsigned i : {1u, 2u}) {
      Dims dims = b.input(i).dims;
      if (dims.empty())
        return b.error("its input " + Twine(i) + " is a scalar");
      FailureOr<KnownTensor> side =
          ops.input(i, {query->dims[0], dims.back()}, query->element);
      if (failed(side))
        return failure();
      rows[i] = *side;
    }
  }
  if (failed(addProjectionBias(b, 3, rows[0], rows[1], rows[2])))
    return failure();
  return setPackedAttention(b, rows, *heads, {4, 5, 6});
}

} // namespace

void registerMicrosoftPackedOps(OpTable &table) {
  table.add("com.microsoft::PackedAttention", importPackedAttention, 2, 6);
  table.add("com.microsoft::PackedMultiHeadAttention",
            importPackedMultiHeadAttention, 1, 7);
}

} // namespace ferrite::frontend
