//===- EmitAttention.cpp - Attention in CUDA ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What is added to a score, and which keys a query sees, is text that every
// skeleton calls: score(row, key, product) and the range of keys of a tile.
// Rows are the queries of all heads that read one head of keys, query by query.
// Longer than other files because all of it is the text of one kernel.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

#include "passes/Analysis/AttentionScores.h"

#include "mlir/IR/Remarks.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

namespace {
class AttentionText {
public:
  AttentionText(KernelText &kt, AttentionOp op) : kt(kt), op(op) {}
  LogicalResult emit();

private:
  LogicalResult readOperands();
  std::string number(const llvm::APFloat &value);
  std::string addend(unsigned i);
  std::string perBatch(unsigned i) {
    return "ferrite::load(" + kt.ptr(i) + " + " +
           kt.offset(i, {isBroadcast(kt.operand(i), 0) ? "0" : "batch"}) + ")";
  }
  std::string chunk() { return std::to_string(op.getChunk()) + "ll"; }
  std::string positions();
  std::string readBlocks();
  std::string score();
  std::string range();
  bool cutsLeft() { return op.getLeft() >= 0 || op.getChunk() > 0; }
  bool cutsRight() { return op.getRight() >= 0 || op.getChunk() > 0; }
  bool isSoft() { return op.hasWindow() && op.getWindowFill().isFinite(); }

  KernelText &kt;
  AttentionOp op;
  std::optional<unsigned> mask, bias, offsets, lengths, sinks, prefix, segments,
      blockRows;
};
} // namespace

std::string AttentionText::number(const llvm::APFloat &value) {
  if (value.isInfinity())
    return value.isNegative() ? "-FERRITE_INFINITY" : "FERRITE_INFINITY";
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format("%.9g", double(value.convertToFloat()));
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text + "f";
}

LogicalResult AttentionText::readOperands() {
  unsigned next = 3;
  auto take = [&](Value operand, std::optional<unsigned> &place) {
    if (operand)
      place = next++;
  };
  take(op.getMask(), mask);
  take(op.getBias(), bias);
  take(op.getOffsets(), offsets);
  take(op.getLengths(), lengths);
  take(op.getSinks(), sinks);
  take(op.getPrefix(), prefix);
  take(op.getQuerySegments(), segments);
  if (segments)
    ++next;
  if (op.hasBlocks()) {
    // Rows, columns, and what the CPU packs, which is nothing here.
    blockRows = next;
    next += 3;
  }
  if (next + 1 != kt.operands())
    return kt.error() << "attention has " << kt.operands()
                      << " operands, expected " << next + 1;
  for (unsigned i : {0u, 1u, 2u})
    if (ShapedType::isDynamic(kt.operand(i).shape[3]) ||
        ShapedType::isDynamic(kt.operand(i).shape[2]))
      return kt.error() << "attention expects static heads and sizes";
  return success();
}

/// A mask or bias at (batch, head, query, key).
std::string AttentionText::addend(unsigned i) {
  const OperandLayout &operand = kt.operand(i);
  SmallVector<std::string> index = {"batch", "head", "query", "key"};
  if (operand.shape.size() == 2)
    index = {"batch", "key"};
  for (auto [d, at] : llvm::enumerate(index))
    if (isBroadcast(operand, d))
      at = "0";
  return "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
}

/// `start`: the position of query 0; `prefixEnd`, `length`.
std::string AttentionText::positions() {
  std::string text, start = "0";
  const DimExpr offset = op.getOffsetExpr();
  for (const auto &[symbols, factor] : offset.terms()) {
    std::string size = symbols.empty()           ? "1"
                       : symbols[0] == "queries" ? kt.dim(0, 1)
                                                 : kt.dim(1, 1);
    start += " + " + std::to_string(factor) + "ll * " + size;
  }
  if (offsets)
    start += " + (i64)" + perBatch(*offsets);
  if (op.hasWindow() || op.hasBlocks())
    text += "const i64 start = " + start + ";\n";
  std::string keys = kt.dim(1, 1);
  text += "const i64 length = " +
          (lengths ? "ferrite::minOf(ferrite::maxOf(" + perBatch(*lengths) +
                         ", 0), " + keys + ")"
                   : keys) +
          ";\n";
  if (prefix)
    text += "const i64 prefixEnd = " + perBatch(*prefix) + ";\n";
  return text;
}

/// Queries from firstQuery on that have one row of the list, and that row.
std::string AttentionText::readBlocks() {
  std::string block = std::to_string(op.getBlock());
  auto pointer = [&](unsigned i) {
    std::string of = isBroadcast(kt.operand(i), 0) ? "0" : "batch";
    return kt.ptr(i) + " + " + kt.offset(i, {of, "layout"});
  };
  unsigned columns = *blockRows + 1;
  return "const i64 listed = ferrite::floorDivide(start + firstQuery, " +
         block +
         "ll);\nconst int count = (int)(ferrite::minOf(queriesEnd, "
         "(listed + 1) * " +
         block + " - start) - firstQuery);\nconst i64 layout = firstHead % " +
         kt.dim(*blockRows, 1) + ";\nkept.read(" + pointer(*blockRows) + ", " +
         kt.dim(*blockRows, 2) + ", listed, " + pointer(columns) + ", " +
         kt.dim(columns, 2) + ", " + kt.dim(1, 1) + ");\n";
}

std::string AttentionText::score() {
  std::string text = "const i64 query = firstQuery + row / group;\nconst i64 "
                     "head = firstHead + row % group;\nfloat z = product * " +
                     number(op.getScale()) + ";\n";
  if (!op.getSoftcap().isZero()) {
    std::string cap = number(op.getSoftcap());
    text += "z = " + cap + " * ferrite::tanh(z / " + cap + ");\n";
  }
  if (bias)
    text += "z += (float)" + addend(*bias) + ";\n";
  if (mask)
    text += "const bool keep = (bool)" + addend(*mask) + ";\n";
  if (op.hasWindow()) {
    text += "const i64 at = start + query;\n";
    std::string inside;
    auto both = [&](const std::string &condition) {
      inside += (inside.empty() ? "" : " && ") + condition;
    };
    if (op.getChunk() > 0)
      text += "const i64 first = ferrite::floorDivide(at, " + chunk() + ") * " +
              chunk() + ";\n";
    if (cutsLeft()) {
      std::string low;
      if (op.getLeft() >= 0)
        low = "at - " + std::to_string(op.getLeft()) + "ll <= key";
      if (op.getChunk() > 0)
        low += (low.empty() ? "" : " && ") + std::string("first <= key");
      both(op.getAnchors() > 0 ? "(key < " + std::to_string(op.getAnchors()) +
                                     " || (" + low + "))"
                               : low);
    }
    if (cutsRight()) {
      std::string high;
      if (op.getRight() >= 0)
        high = "key <= at + " + std::to_string(op.getRight()) + "ll";
      if (op.getChunk() > 0)
        high += (high.empty() ? "" : " && ") + std::string("key < first + ") +
                chunk();
      both(prefix ? "(key < prefixEnd || (" + high + "))" : high);
    }
    if (segments) {
      auto segment = [&](unsigned i, const char *at) {
        SmallVector<std::string> index = {"batch", at};
        for (auto [d, text] : llvm::enumerate(index))
          if (isBroadcast(kt.operand(i), d))
            text = "0";
        return "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
      };
      both(segment(*segments, "query") +
           " == " + segment(*segments + 1, "key"));
    }
    text += "const bool inside = " + inside + ";\n";
  }
  if (mask && op.getJoined())
    text += "z += keep && inside ? 0.0f : " + number(op.getFill()) + ";\n";
  else {
    if (mask)
      text += "z += keep ? 0.0f : " + number(op.getFill()) + ";\n";
    if (op.hasWindow())
      text += "z += inside ? 0.0f : " + number(op.getWindowFill()) + ";\n";
  }
  return text + (op.hasBlocks()
                     ? "return kept.hasKey(key) ? z : -FERRITE_INFINITY;\n"
                     : "return z;\n");
}

/// The keys that some query of the tile sees.
std::string AttentionText::range() {
  std::string text = "i64 keyBegin = 0, keyEnd = length;\n";
  if (!op.hasWindow())
    return text;
  text += "const i64 lowest = start + firstQuery;\nconst i64 highest = start + "
          "firstQuery + (count - 1) / group;\n";
  if (cutsLeft() && op.getAnchors() == 0) {
    if (op.getLeft() >= 0)
      text += "keyBegin = ferrite::maxOf(keyBegin, lowest - " +
              std::to_string(op.getLeft()) + "ll);\n";
    if (op.getChunk() > 0)
      text += "keyBegin = ferrite::maxOf(keyBegin, "
              "ferrite::floorDivide(lowest, " +
              chunk() + ") * " + chunk() + ");\n";
  }
  if (cutsRight()) {
    text += "i64 behind = length;\n";
    if (op.getRight() >= 0)
      text += "behind = ferrite::minOf(behind, highest + " +
              std::to_string(op.getRight() + 1) + "ll);\n";
    if (op.getChunk() > 0)
      text +=
          "behind = ferrite::minOf(behind, (ferrite::floorDivide(highest, " +
          chunk() + ") + 1) * " + chunk() + ");\n";
    if (prefix)
      text += "behind = ferrite::maxOf(behind, prefixEnd);\n";
    text += "keyEnd = ferrite::maxOf(ferrite::minOf(keyEnd, behind), 0);\n";
  }
  return text;
}

LogicalResult AttentionText::emit() {
  if (failed(readOperands()))
    return failure();
  int64_t size = kt.operand(0).shape[3], valueSize = kt.operand(2).shape[3];
  int64_t heads = kt.operand(0).shape[2], keyHeads = kt.operand(1).shape[2];
  // Heads of one head of keys share tiles, but not where each has a list.
  int64_t shared = heads / keyHeads, group = op.hasBlocks() ? 1 : shared,
          keys = 32;
  auto bytes = [&] {
    return 4 * (32 * (size + 1) + keys * (size + 1) + keys * valueSize +
                32 * (keys + 1));
  };
  while (bytes() > 96 * 1024 && keys > 8)
    keys /= 2;
  if (bytes() > 160 * 1024)
    return kt.error() << "attention has no kernel for heads of " << size
                      << " and " << valueSize << " elements";
  std::string queries = kt.dim(0, 1), result = kt.ptr(kt.result());
  auto element = [&](unsigned i, ArrayRef<std::string> index) {
    return "(float)ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) +
           ")";
  };
  std::string at = "firstQuery + row / group", head = "firstHead + row % group";
  std::string query = "(" + at + ")", of = "(" + head + ")";
  std::string nothing = op.getGuarded() || sinks ? "0.0f" : "FERRITE_NAN";
  std::string least = sinks ? element(*sinks, {of}) : "-FERRITE_INFINITY";
  std::string enough = "-FERRITE_INFINITY";
  if (isSoft()) {
    llvm::APFloat half = op.getWindowFill();
    half = llvm::APFloat(half.convertToFloat() / 2);
    enough = number(half);
  }
  std::string tail =
      "; },\n    score, [&](int row) { return " + least +
      "; },\n    [&](int row, int d, float v) {\n      ferrite::store(" +
      result + " + " + kt.offset(kt.result(), {"batch", query, of, "d"}) +
      ", v);\n    }, " + (op.hasBlocks() ? "kept" : "ferrite::EveryTile()") +
      ")";
  std::string call = "ferrite::attentionTile<" + std::to_string(size) + ", " +
                     std::to_string(valueSize) + ", " + std::to_string(keys) +
                     ">(\n    count, keyBegin, keyEnd, " + nothing + ", " +
                     enough + ",\n    [&](int row, int d) { return " +
                     element(0, {"batch", query, of, "d"}) +
                     "; },\n    [&](i64 key, int d) { return " +
                     element(1, {"batch", "key", "keyHead", "d"}) +
                     "; },\n    [&](i64 key, int d) { return " +
                     element(2, {"batch", "key", "keyHead", "d"}) + tail;
  // 16-bit heads of whole chunks go to tensor cores.
  Type type = kt.element(0);
  int64_t tile = 32;
  bool mma = (type.isF16() || type.isBF16()) && kt.element(1) == type &&
             kt.element(2) == type && size % 16 == 0 && valueSize % 16 == 0 &&
             size <= 128 && valueSize <= 128 && 64 % group == 0;
  for (unsigned i : {0u, 1u, 2u})
    mma &= kt.operand(i).strides[3] == 1;
  // Whole tiles of 64 elements, and lists of whole tiles of keys, to
  // warpgroups.
  bool warpgroups = mma && kt.arch.hasWarpgroups() && size % 64 == 0 &&
                    valueSize % 64 == 0 && 128 % group == 0 &&
                    (!op.hasBlocks() || op.getBlock() % 128 == 0);
  std::string alignment;
  if (mma) {
    tile = warpgroups ? 128 : 64;
    auto row = [&](unsigned i, ArrayRef<std::string> index) {
      return kt.ptr(i) + " + " + kt.offset(i, index);
    };
    alignment = "const ferrite::u64 misplaced = (ferrite::u64)x0 | "
                "(ferrite::u64)x1 | (ferrite::u64)x2";
    for (unsigned i : {0u, 1u, 2u})
      for (unsigned d = 0; d < 3; ++d)
        alignment += " | (ferrite::u64)" + kt.stride(i, d) + " * 2";
    alignment += ";\nconst bool aligned = misplaced % 16 == 0;\n";
    std::string sizes = "<" + storageName(type) + ", " + std::to_string(size) +
                        ", " + std::to_string(valueSize) + ">";
    if (warpgroups)
      alignment += "typedef ferrite::WarpgroupAttention" + sizes +
                   " Tiles;\nTiles::begin();\n";
    call = (warpgroups ? "attention" : "ferrite::attentionMma" + sizes) +
           "(\n    count, keyBegin, keyEnd, " + nothing + ", " + enough +
           ", aligned,\n    [&](int row) { return " +
           row(0, {"batch", query, of, "0"}) +
           "; },\n    [&](i64 key) { return " +
           row(1, {"batch", "key", "keyHead", "0"}) +
           "; },\n    [&](i64 key) { return " +
           row(2, {"batch", "key", "keyHead", "0"}) + tail;
  }
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.sharedBytes = bytes();
  if (mma) {
    variant.threads = 128;
    variant.sharedBytes = 2 * 64 * (3 * (size + 8) + 2 * (valueSize + 8));
  }
  if (warpgroups) {
    variant.threads = 384;
    // WarpgroupAttention::SHARED: queries, two places for keys and values, and
    // two barriers for each place.
    variant.sharedBytes = 128 * 2 * (3 * size + 2 * valueSize) + 8 * 8;
    variant.blocksPerSm = 1;
  }
  int64_t step = warpgroups ? 128 : mma ? 64 : keys;
  std::string kept = "ferrite::KeptBlocks<" + std::to_string(op.getBlock()) +
                     ", " + std::to_string(step) + ">";
  if (op.hasBlocks()) {
    alignment += kept + " kept;\nkept.bits = ferrite::shared<ferrite::u32>(" +
                 std::to_string(variant.sharedBytes) + ");\n";
    variant.sharedBytes += 2048; // KeptBlocks::BYTES
    tile = std::min<int64_t>(tile, op.getBlock());
  }
  if (tile % group != 0)
    return kt.error() << "attention expects a group of heads that divides "
                      << tile << ", but got " << group;
  std::string g = std::to_string(group), rows = std::to_string(tile),
              owners = std::to_string(heads / group);
  std::string places =
      "const ferrite::u32 tiles = (ferrite::u32)((" + queries + " * " + g +
      " + " + std::to_string(tile - 1) + ") / " + rows + ")" +
      ";\nconst ferrite::u32 place = (ferrite::u32)unit;\nconst i64 batch = "
      "place / (tiles * " +
      owners + ");\nconst i64 owner = place / tiles % " + owners +
      ";\nconst i64 keyHead = owner" +
      (op.hasBlocks() ? " / " + std::to_string(shared) : "") +
      ";\nconst i64 group = " + g +
      ";\nconst i64 firstHead = owner * group;\nconst i64 firstRow = place % "
      "tiles * " +
      rows + ";\n" + positions();
  std::string body;
  if (op.hasBlocks())
    body = readBlocks();
  else
    body = "const int count = (int)ferrite::minOf(" + rows + ", " + queries +
           " * group - firstRow);\nconst i64 firstQuery = firstRow / group;\n";
  body += range();
  body +=
      "const auto score = [&](i64 row, i64 key, float product) -> float {\n" +
      indent(score()) + "};\n";
  if (isSoft())
    // Rows that see no key weigh those outside of the window too.
    body += "const bool low = " + call +
            ";\nif (ferrite::syncAny(low)) {\n  keyBegin = 0;\n  keyEnd = "
            "length;\n" +
            indent(call + ";\n") + "}\n";
  else
    body += call + ";\n";
  if (op.hasBlocks())
    body = "const i64 queriesEnd = ferrite::minOf(firstRow + " + rows + ", " +
           queries +
           ");\nfor (i64 firstQuery = firstRow; firstQuery < queriesEnd;) {\n" +
           indent(body + "firstQuery += count;\n") + "}\n";
  variant.grid = {kt.sizeStep(0, 1),
                  {GridStep::Factor, group},
                  {GridStep::Ceil, tile},
                  kt.sizeStep(0, 0),
                  {GridStep::Factor, heads / group}};
  std::string units = "for (i64 unit = ferrite::block(); unit < p.units; unit "
                      "+= ferrite::blocks()) {\n" +
                      indent(places + body) + "}\n";
  if (warpgroups)
    units = "Tiles::run([&](auto &attention) {\n" + indent(units) + "});\n";
  kt.define(std::move(variant), alignment + units);
  return success();
}

LogicalResult cuda::emit(KernelText &kt, AttentionOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  if (op->hasAttr(kScoresAttr))
    remark::missed(op.getLoc(),
                   remark::RemarkOpts::name("cuda-attention").category("cuda"))
        << remark::reason("{0}", "kernels for GPUs compute scores of floats: "
                                 "qk8 is for CPUs");
  return AttentionText(kt, op).emit();
}
