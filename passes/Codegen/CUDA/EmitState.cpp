//===- EmitState.cpp - Keys and values in pages, in CUDA ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

#include "dialects/Ferrite/IR/KvPool.h"

#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

/// rows [1, T, H, D], slots [T], pool [P, H, D, 64] or [P, H, 64, D]; of a pool
/// of records D is the width of one.
LogicalResult cuda::emit(KernelText &kt, KvAppendOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned result = kt.result();
  Type pool = kt.element(result);
  int64_t depth = kt.operand(0).shape[3], width = kvPoolWidth(pool, depth);
  if (ShapedType::isDynamic(depth) ||
      kt.operand(result).shape[op.getKeys() ? 2 : 3] != width)
    return kt.error() << "a pool of " << pool << " keeps no rows of " << depth;
  std::string d = std::to_string(width);
  auto place = [&](const char *at) {
    return op.getKeys()
               ? "(page * heads + i2) * " + d + " * 64 + " + at +
                     " * 64 + slot % 64"
               : "((page * heads + i2) * 64 + slot % 64) * " + d + " + " + at;
  };
  std::string head =
      "const i64 slot = ferrite::load(" + kt.ptr(1) + " + " +
      kt.offset(1, {"i1"}) +
      ");\nconst i64 page = slot / 64;\nconst i64 heads = " + kt.dim(0, 2) +
      ";\n";
  auto number = [&](const char *at) {
    return "ferrite::load(" + kt.ptr(0) + " + " +
           kt.offset(0, {"0", "i1", "i2", at}) + ")";
  };
  if (!pool.isInteger(8)) {
    defineItems(kt, 0, 4,
                head + "ferrite::store(" + kt.ptr(result) + " + " +
                    place("i3") + ", " + number("i3") + ");\n");
    return success();
  }
  defineRows(kt, 0, 3,
             head + "ferrite::" +
                 (pool.isUnsignedInteger() ? "packNibbles<" : "packBytes<") +
                 std::to_string(depth) + ">(\n    [&](int d) { return (float)" +
                 number("d") +
                 "; },\n    [&](int w, ferrite::u8 byte) {\n      "
                 "((ferrite::u8 *)" +
                 kt.ptr(result) + ")[" + place("w") + "] = byte;\n    });\n");
  return success();
}

static std::string number(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.9g", value);
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return text + "f";
}

namespace {
/// What the two ops of paged attention have in common; their operands are as
/// EmitPagedAttention.h says.
template <typename OpTy>
class PagedText {
public:
  PagedText(KernelText &kt, OpTy op, unsigned next) : kt(kt), op(op) {
    if (op.getSlopes())
      slopes = next++;
    if (op.getBias())
      bias = next++;
  }

  /// The lambdas that pagedBlock() calls, for one token and head.
  std::string lambdas();
  std::string sizes();
  int64_t valueSize() {
    return kvPoolDepth(kt.element(2), kt.operand(2).shape[3]);
  }

private:
  KernelText &kt;
  OpTy op;
  unsigned slopes = 0, bias = 0;
};
} // namespace

template <typename OpTy>
std::string PagedText<OpTy>::sizes() {
  return "constexpr int size = " + kt.dim(0, 3) +
         ";\nconstexpr int valueSize = " + std::to_string(valueSize()) +
         ";\nconstexpr int heads = " + kt.dim(0, 2) +
         ";\nconstexpr int keyHeads = " + kt.dim(1, 1) + ";\n";
}

template <typename OpTy>
std::string PagedText<OpTy>::lambdas() {
  std::string score =
      "float z = product * " + number(op.getScale().convertToFloat()) + ";\n";
  if (float cap = op.getSoftcap().convertToFloat(); cap > 0)
    score +=
        "z = " + number(cap) + " * ferrite::tanh(z / " + number(cap) + ");\n";
  std::string left = std::to_string(op.getLeft()) + "ll";
  if (slopes || bias)
    score += "const i64 at = placed(j);\n";
  if (slopes)
    score += "z = ferrite::fma((float)ferrite::load(" + kt.ptr(slopes) +
             " + head), (float)(at - index), z);\n";
  if (bias)
    score += "z += (float)ferrite::load(" + kt.ptr(bias) + " + head * " +
             kt.dim(bias, 1) +
             " + ferrite::minOf(ferrite::maxOf(index - at, "
             "0), " +
             kt.dim(bias, 1) + " - 1));\n";
  // A token sees what is before its run, and of the run what its bits say.
  std::string seen = "if (j >= context && !(";
  seen += op.getCross() ? "false"
                        : "mask == 0 ? j <= index\n                  : j - "
                          "context < 64 && (mask >> (j - context) & 1) != 0";
  seen += "))\n  return false;\n";
  seen += op.getLeft() >= 0 ? "return index - " + left + " <= placed(j);\n"
                            : std::string("return true;\n");
  std::string placed;
  if (slopes || bias || op.getLeft() >= 0)
    placed = "const auto placed = [&](i64 j) -> i64 {\n"
             "  return j < context ? j : ferrite::placeAmong(mask, context, j "
             "- context);\n};\n";
  return placed + "const auto score = [&](i64 j, float product) -> float {\n" +
         indent(score + "return z;\n") +
         "};\nconst auto seen = [&](i64 j) -> bool {\n" + indent(seen) + "};\n";
}

template <typename OpTy>
static std::string firstKey(OpTy op) {
  if (op.getLeft() < 0)
    return "0";
  return "ferrite::maxOf(index - " + std::to_string(op.getLeft()) + "ll, 0)";
}

/// The text that finds run, index and mask of `token`.
template <typename OpTy>
static std::string tokenFacts(KernelText &kt, OpTy op) {
  return "const i64 context = x4[run];\nconst i64 mask = " +
         std::string(op.getCross() ? "0" : "x5[token]") +
         ";\nconst i64 index = ferrite::placeAmong(mask, context, token - "
         "x3[run]);\nconst i64 runKeys = " +
         std::string(op.getCross() ? "context"
                                   : "mask == 0 ? index + 1 : context + "
                                     "x3[run + 1] - x3[run]") +
         ";\nconst int *const table = x6 + run * " + kt.dim(6, 1) + ";\n";
}

static LogicalResult refuseSelection(KernelText &kt, bool isThere) {
  if (!isThere)
    return success();
  return kt.error() << "attention to selected pages (--sparsify-steps, "
                       "select_blocks) has no CUDA kernel";
}

template <typename OpTy>
static LogicalResult refuseParts(KernelText &kt, OpTy op) {
  if (op.getFrom() == 0 && op.getUntil() == 0 && op.getGap() == 0)
    return success();
  return kt.error() << "attention to a cache of two types (--kv=..,f16-sinks=, "
                       "f16-recent=) has no CUDA kernel";
}

/// A warp has a token and a head.
LogicalResult cuda::emit(KernelText &kt, PagedAttentionOp op) {
  if (failed(refuseSelection(kt, op.getSelected() || op.getKept())) ||
      failed(refuseParts(kt, op)))
    return failure();
  if (failed(checkTypes(kt)))
    return failure();
  unsigned next = 7, sinks = 0, partials = 0;
  if (op.getSinks())
    sinks = next++;
  if (op.getPartials())
    partials = next++;
  PagedText<PagedAttentionOp> paged(kt, op, next);
  unsigned result = kt.result();
  std::string least = sinks
                          ? "(float)ferrite::load(" + kt.ptr(sinks) + " + head)"
                          : std::string("-FERRITE_INFINITY");
  std::string blocks =
      "const i64 firstBlock = " + firstKey(op) +
      " / 512;\nfor (i64 block = firstBlock; block * 512 < runKeys; ++block) "
      "{\n";
  std::string compute =
      "ferrite::PagedBlock<valueSize> next;\nferrite::pagedBlock<size, "
      "valueSize>(next, block * 512, ferrite::minOf(runKeys, block * 512 + "
      "512),\n    table, x1, x2, keyHeads, keyHead, query, score, seen);\n";
  if (partials)
    // The blocks of a run of one token are computed already.
    compute =
        "ferrite::PagedBlock<valueSize> next;\nif (single) {\n  "
        "ferrite::readPartial<valueSize>(next, " +
        kt.ptr(partials) + " + (run * heads + head) * " + kt.dim(partials, 2) +
        " + block * ((valueSize + 17) / 16 * 16));\n} else {\n" +
        indent("ferrite::pagedBlock<size, valueSize>(next, block * 512, "
               "ferrite::minOf(runKeys, block * 512 + 512),\n    table, x1, "
               "x2, keyHeads, keyHead, query, score, seen);\n") +
        "}\n";
  std::string body =
      "const i64 run = ferrite::runOf(x3, " + kt.dim(4, 0) + ", token);\n" +
      tokenFacts(kt, op) +
      (partials ? "const bool single = x3[run + 1] - x3[run] == 1;\n" : "") +
      "const auto query = [&](int d) -> float { return (float)ferrite::load(" +
      kt.ptr(0) + " + " + kt.offset(0, {"0", "token", "head", "d"}) +
      "); };\n" + paged.lambdas() +
      "ferrite::PagedBlock<valueSize> all;\nall.begin(" + least + ");\n" +
      blocks + indent(compute + "all.add(next);\n") +
      "}\nall.finish([&](int d, float v) {\n  ferrite::store(" +
      kt.ptr(result) + " + " + kt.offset(result, {"0", "token", "head", "d"}) +
      ", v);\n});\n";
  if (kt.operand(result).shape[3] > paged.valueSize())
    // The logarithm of the sum of its weights ends a row.
    body += "if (ferrite::lane() == 0)\n  ferrite::store(" + kt.ptr(result) +
            " + " + kt.offset(result, {"0", "token", "head", "valueSize"}) +
            ", all.logSum());\n";
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = 128;
  variant.grid = {kt.sizeStep(0, 1), kt.sizeStep(0, 2), {GridStep::Ceil, 4}};
  kt.define(std::move(variant),
            paged.sizes() + "const i64 items = " + kt.dim(0, 1) +
                " * heads;\nfor (i64 item = ferrite::block() * 4 + "
                "ferrite::warp(); item < items;\n     item += "
                "ferrite::blocks() * 4) {\n" +
                indent("const i64 token = item / heads, head = item % heads, "
                       "keyHead = head / (heads / keyHeads);\n" +
                       body) +
                "}\n");
  return success();
}

/// A warp has a run of one token, a head and a block of 512 keys.
LogicalResult cuda::emit(KernelText &kt, PagedPartialsOp op) {
  if (failed(refuseSelection(kt, static_cast<bool>(op.getSelected()))) ||
      failed(refuseParts(kt, op)))
    return failure();
  if (failed(checkTypes(kt)))
    return failure();
  PagedText<PagedPartialsOp> paged(kt, op, 7);
  unsigned result = kt.result();
  std::string body =
      "if (x3[run + 1] - x3[run] != 1)\n  continue;\nconst i64 token = "
      "x3[run];\n" +
      tokenFacts(kt, op) + "if (block * 512 >= runKeys || block < " +
      firstKey(op) +
      " / 512)\n  continue;\n"
      "const auto query = [&](int d) -> float { return (float)ferrite::load(" +
      kt.ptr(0) + " + " + kt.offset(0, {"0", "token", "head", "d"}) +
      "); };\n" + paged.lambdas() +
      "ferrite::PagedBlock<valueSize> made;\nferrite::pagedBlock<size, "
      "valueSize>(made, block * 512, ferrite::minOf(runKeys, block * 512 + "
      "512),\n    table, x1, x2, keyHeads, keyHead, query, score, "
      "seen);\nferrite::writePartial<valueSize>(made, " +
      kt.ptr(result) + " + (run * heads + head) * " + kt.dim(result, 2) +
      " + block * ((valueSize + 17) / 16 * 16));\n";
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = 128;
  // A page table's width gives the blocks.
  variant.grid = {kt.sizeStep(6, 1),
                  {GridStep::Ceil, 8},
                  kt.sizeStep(4, 0),
                  kt.sizeStep(0, 2),
                  {GridStep::Ceil, 4}};
  kt.define(std::move(variant),
            paged.sizes() + "const i64 blocks = (" + kt.dim(6, 1) +
                " + 7) / 8, items = blocks * " + kt.dim(4, 0) +
                " * heads;\nfor (i64 item = ferrite::block() * 4 + "
                "ferrite::warp(); item < items;\n     item += "
                "ferrite::blocks() * 4) {\n" +
                indent("const i64 owner = ferrite::quotient(item, blocks);\n"
                       "const i64 block = item - owner * blocks;\n"
                       "const i64 head = owner % heads;\n"
                       "const i64 run = owner / heads;\n"
                       "const i64 keyHead = head / (heads / keyHeads);\n" +
                       body) +
                "}\n");
  return success();
}
