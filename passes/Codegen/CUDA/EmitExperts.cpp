//===- EmitExperts.cpp - Products of the experts of a layer, in CUDA ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

/// One block: a thread has some groups, and finds their slots in order.
LogicalResult cuda::emit(KernelText &kt, RouteOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string groups = std::to_string(op.getGroups());
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.sharedBytes = 8 * (int64_t(op.getGroups()) + 1);
  if (variant.sharedBytes > 96 * 1024)
    return kt.error() << "route has no kernel for " << op.getGroups()
                      << " groups";
  variant.grid = {{GridStep::Factor, 1}};
  kt.define(std::move(variant),
            "ferrite::route(p, " + kt.dim(0, 0) + ", " + groups + ", " +
                std::to_string(op.getChunk()) +
                ", [&](i64 i) { return (i64)ferrite::load(" + kt.ptr(0) +
                " + " + kt.offset(0, {"i"}) + "); }, " + kt.ptr(1) + ");\n");
  return success();
}

LogicalResult cuda::emit(KernelText &kt, GroupedLinearOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  auto input = cast<RankedTensorType>(op.getInput().getType());
  int64_t depth = input.getDimSize(1), columns = weight.getDimSize(2);
  int64_t bits = op.getBits(), chunk = op.getChunk();
  unsigned next = 3, bias = 0, scales = 0, zeros = 0;
  if (op.getBias())
    bias = next++;
  if (bits)
    scales = next++;
  if (op.getZeroPoints())
    zeros = next++;
  unsigned result = kt.result();
  if (chunk % 16 != 0)
    return kt.error() << "grouped products expect chunks of 16 rows, but got "
                      << chunk;
  int64_t tile = chunk % 64 == 0 ? 64 : chunk % 48 == 0 ? 48 : 16;
  std::string k = std::to_string(depth), n = std::to_string(columns);
  auto panels = [&](int64_t rows, Type type, const std::string &place,
                    unsigned i, const std::string &row) {
    int64_t group = kt.panelGroup(type);
    // The panels of each group are end to end, each as wide as it must be.
    int64_t stored = (rows + group - 1) / group * group;
    int64_t wide = (columns + 15) / 16 * 16;
    return "ferrite::load(" + kt.ptr(i) + " + " + place + " * " +
           std::to_string(stored * wide) + "ll + ferrite::panelOffset<" +
           std::to_string(group) + ">(" + row + ", n, " + std::to_string(rows) +
           ", " + n + "))";
  };
  std::string load;
  if (!bits) {
    load = "return (float)" +
           panels(depth, weight.getElementType(), "group", 1, "k") + ";\n";
  } else {
    int64_t perByte = 8 / bits, block = op.getBlock(), blocks = depth / block;
    std::string b = std::to_string(bits), each = std::to_string(perByte),
                mask = std::to_string((1 << bits) - 1);
    Type byte = weight.getElementType();
    load = "const i64 at = k / " + std::to_string(block) +
           ";\nconst int packed = (ferrite::u8)" +
           panels(depth / perByte, byte, "group", 1, "k / " + each) +
           ";\nconst int q = packed >> (k % " + each + " * " + b + ") & " +
           mask + ";\n";
    if (zeros)
      load += "const int zero = (ferrite::u8)" +
              panels((blocks + perByte - 1) / perByte, kt.element(zeros),
                     "group", zeros, "at / " + each) +
              " >> (at % " + each + " * " + b + ") & " + mask + ";\n";
    else
      load += "const int zero = " + std::to_string(1 << (bits - 1)) + ";\n";
    load += "return (float)(q - zero) * (float)" +
            panels(blocks, kt.element(scales), "group", scales, "at") + ";\n";
  }
  std::string sum = "acc";
  if (bias)
    sum +=
        " + (float)ferrite::load(" + kt.ptr(bias) + " + group * " + n + " + n)";
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.sharedBytes = 4 * 16 * (tile + 4 + 64 + 4);
  int64_t acrossN = (columns + 63) / 64, acrossM = chunk / tile;
  std::string slots = kt.dim(result, 0);
  // A chunk has a slot, so there are at most as many: what lies behind the last
  // one has no rows.
  variant.grid = {kt.sizeStep(result, 0),
                  {GridStep::Ceil, 1},
                  {GridStep::Factor, acrossN * acrossM}};
  std::string body =
      "const i64 tile = unit % " + std::to_string(acrossN * acrossM) +
      ", number = unit / " + std::to_string(acrossN * acrossM) +
      ";\nconst i64 *const chunk = x2 + 3 * number;\nconst i64 group = "
      "chunk[0], begin = chunk[1], rows = chunk[2], firstRow = tile / " +
      std::to_string(acrossN) + " * " + std::to_string(tile) +
      ";\nif (firstRow >= rows)\n  continue;\nconst i64 *const slots = x2 + 3 "
      "* " +
      slots + " + begin;\nferrite::productTile<float, " + std::to_string(tile) +
      ", 64, true>(\n    rows, " + n + ", " + k + ", firstRow, tile % " +
      std::to_string(acrossN) +
      " * 64,\n    [&](i64 m, i64 k) { return (float)ferrite::load(x0 + " +
      kt.offset(0,
                {"(slots[m] / " + std::to_string(op.getShare()) + ")", "k"}) +
      "); },\n    [&](i64 k, i64 n) {\n" + indent(load, 3) +
      "    },\n    [&](i64 m, i64 n, float acc) {\n      ferrite::store(" +
      kt.ptr(result) + " + " + kt.offset(result, {"slots[m]", "n"}) + ", " +
      sum + ");\n    });\n";
  kt.define(std::move(variant), "for (i64 unit = ferrite::block(); unit < "
                                "p.units; unit += ferrite::blocks()) "
                                "{\n" +
                                    indent(body) + "}\n");
  return success();
}

/// A block has a batch and a key head, a thread a column of the state.
LogicalResult cuda::emit(KernelText &kt, LinearAttentionOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned next = 3, decay = 0, beta = 0, state = 0, result = kt.result();
  if (op.getDecay())
    decay = next++;
  if (op.getBeta())
    beta = next++;
  if (op.getState())
    state = next++;
  int64_t heads = kt.operand(1).shape[2], depth = kt.operand(1).shape[3];
  int64_t valueSize = kt.operand(2).shape[3];
  int64_t group = kt.operand(0).shape[2] / heads;
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = 128;
  variant.sharedBytes = 4 * depth * 128;
  if (variant.sharedBytes > 160 * 1024)
    return kt.error() << "linear attention has no kernel for keys of " << depth
                      << " elements";
  int64_t pieces = (valueSize + 127) / 128;
  variant.grid = {kt.sizeStep(0, 0), {GridStep::Factor, heads * pieces}};
  auto load = [&](unsigned i, ArrayRef<std::string> given) {
    SmallVector<std::string> index(given);
    for (unsigned d = 0; d < index.size(); ++d)
      if (isBroadcast(kt.operand(i), d))
        index[d] = "0";
    return "(float)ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) +
           ")";
  };
  std::string k = std::to_string(depth), g = std::to_string(group);
  std::string scale;
  llvm::raw_string_ostream(scale)
      << llvm::format("%.9g", double(op.getScale().convertToFloat()));
  std::string body =
      "const i64 piece = unit % " + std::to_string(pieces) +
      ", head = unit / " + std::to_string(pieces) + " % " +
      std::to_string(heads) + ", batch = unit / " +
      std::to_string(pieces * heads) +
      ", column = piece * 128 + "
      "ferrite::thread();\nfloat *const state = ferrite::shared<float>(0) + "
      "ferrite::thread();\nif (column >= " +
      std::to_string(valueSize) + ")\n  continue;\nfor (int d = 0; d < " + k +
      "; ++d)\n  state[d * 128] = " +
      (state ? load(state, {"batch", "head", "d", "column"})
             : std::string("0")) +
      ";\nfor (i64 t = 0; t < " + kt.dim(1, 1) + "; ++t) {\n";
  std::string step;
  if (decay)
    step += "for (int d = 0; d < " + k + "; ++d)\n  state[d * 128] *= " +
            load(decay, {"batch", "t", "head", "d"}) + ";\n";
  step += "float w = " + load(2, {"batch", "t", "head", "column"}) + ";\n";
  if (beta)
    step += "float known = 0;\nfor (int d = 0; d < " + k +
            "; ++d)\n  known = ferrite::fma(state[d * 128], " +
            load(1, {"batch", "t", "head", "d"}) +
            ", known);\nw = " + load(beta, {"batch", "t", "head"}) +
            " * (w - known);\n";
  step +=
      "for (int d = 0; d < " + k + "; ++d)\n  state[d * 128] = ferrite::fma(" +
      load(1, {"batch", "t", "head", "d"}) +
      ", w, state[d * 128]);\nfor (int g = 0; g < " + g +
      "; ++g) {\n  float sum = 0;\n  for (int d = 0; d < " + k +
      "; ++d)\n    sum = ferrite::fma(state[d * 128], " +
      load(0, {"batch", "t", "(head * " + g + " + g)", "d"}) +
      ", sum);\n  ferrite::store(" + kt.ptr(result) + " + " +
      kt.offset(result, {"batch", "head", "(t * " + g + " + g)", "column"}) +
      ", (float)" + scale + " * sum);\n}\n";
  body +=
      indent(step) + "}\nfor (int d = 0; d < " + k +
      "; ++d)\n  ferrite::store(" + kt.ptr(result) + " + " +
      kt.offset(result, {"batch", "head",
                         "(" + kt.dim(1, 1) + " * " + g + " + d)", "column"}) +
      ", state[d * 128]);\n";
  kt.define(std::move(variant),
            "for (i64 unit = ferrite::block(); unit < p.units; unit += "
            "ferrite::blocks()) {\n" +
                indent(body) + "}\n");
  return success();
}
