//===- EmitIndex.cpp - Gathers, scatters, scans and orders in CUDA --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A thread has one result, or, where results depend on one another (scans,
// scatters whose indices may be equal), one line of them: the order is then
// that of the model.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

static std::string loadAt(KernelText &kt, unsigned i,
                          ArrayRef<std::string> index) {
  return "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
}

/// Elements are moved as they are: no value is made of them.
static std::string copyTo(KernelText &kt, unsigned to,
                          ArrayRef<std::string> target, unsigned from,
                          ArrayRef<std::string> source) {
  return kt.ptr(to) + "[" + kt.offset(to, target) + "] = " + kt.ptr(from) +
         "[" + kt.offset(from, source) + "];\n";
}

static std::string positionOf(KernelText &kt, const std::string &index,
                              const std::string &size) {
  return "ferrite::position(p, " + index + ", " + size + ")";
}

/// data [O, A, I], indices [n], result [O, n, I].
LogicalResult cuda::emit(KernelText &kt, GatherOp) {
  if (failed(checkTypes(kt)))
    return failure();
  defineItems(
      kt, 2, 3,
      "const i64 at = " + positionOf(kt, loadAt(kt, 1, {"i1"}), kt.dim(0, 1)) +
          ";\n" + copyTo(kt, 2, {"i0", "i1", "i2"}, 0, {"i0", "at", "i2"}));
  return success();
}

/// data [D0, .., Dk-1, I], indices [n, k], result [n, I].
LogicalResult cuda::emit(KernelText &kt, GatherNDOp) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned depth = kt.operand(0).shape.size() - 1;
  std::string text;
  SmallVector<std::string> source;
  for (unsigned d = 0; d < depth; ++d) {
    source.push_back("at" + std::to_string(d));
    text +=
        "const i64 " + source.back() + " = " +
        positionOf(kt, loadAt(kt, 1, {"i0", std::to_string(d)}), kt.dim(0, d)) +
        ";\n";
  }
  source.push_back("i1");
  defineItems(kt, 2, 2, text + copyTo(kt, 2, {"i0", "i1"}, 0, source));
  return success();
}

static SmallVector<std::string> itemIndex(unsigned rank) {
  SmallVector<std::string> index;
  for (unsigned d = 0; d < rank; ++d)
    index.push_back("i" + std::to_string(d));
  return index;
}

LogicalResult cuda::emit(KernelText &kt, GatherElementsOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned rank = kt.operand(2).shape.size(), axis = op.getAxis();
  SmallVector<std::string> index = itemIndex(rank), source = index;
  source[axis] = "at";
  defineItems(kt, 2, rank,
              "const i64 at = " +
                  positionOf(kt, loadAt(kt, 1, index), kt.dim(0, axis)) +
                  ";\n" + copyTo(kt, 2, index, 0, source));
  return success();
}

/// Update `source` into the result at `target`.
static std::string update(KernelText &kt, unsigned updates, CombineKind kind,
                          Type element, ArrayRef<std::string> target,
                          ArrayRef<std::string> source) {
  unsigned result = kt.result();
  if (kind == CombineKind::None)
    return copyTo(kt, result, target, updates, source);
  std::string to = kt.ptr(result) + " + " + kt.offset(result, target);
  return "ferrite::store(" + to + ", " + combinerOf(kind, element) +
         "(ferrite::load(" + to + "), " + loadAt(kt, updates, source) + "));\n";
}

/// data, indices [n, k], updates [n, s..], result [D0.., s..], which holds the
/// data already. A thread has one place
/// within the slices and takes the updates in order.
LogicalResult cuda::emit(KernelText &kt, ScatterNDOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned indices = 1, updates = 2, result = kt.result();
  unsigned sliceRank = kt.operand(updates).shape.size() - 1;
  unsigned depth = kt.operand(result).shape.size() - sliceRank;
  SmallVector<std::string> sizes, names, target, source = {"j"};
  std::vector<GridStep> grid;
  for (unsigned d = 0; d < sliceRank; ++d) {
    sizes.push_back(kt.dim(updates, d + 1));
    names.push_back("i" + std::to_string(d));
    grid.push_back(kt.sizeStep(updates, d + 1));
    source.push_back(names.back());
  }
  std::string at;
  for (unsigned d = 0; d < depth; ++d) {
    target.push_back("at" + std::to_string(d));
    at += "const i64 " + target.back() + " = " +
          positionOf(kt, loadAt(kt, indices, {"j", std::to_string(d)}),
                     kt.dim(result, d)) +
          ";\n";
  }
  target.append(names.begin(), names.end());
  defineItems(kt, grid, sizes, names,
              "for (i64 j = 0; j < " + kt.dim(updates, 0) + "; ++j) {\n" +
                  indent(at + update(kt, updates, op.getCombine(),
                                     getElementTypeOrSelf(op.getData()), target,
                                     source)) +
                  "}\n");
  return success();
}

/// Indices, updates and result of one rank; a thread has a line along `axis`.
LogicalResult cuda::emit(KernelText &kt, ScatterElementsOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned indices = 1, updates = 2, result = kt.result();
  unsigned rank = kt.operand(indices).shape.size(), axis = op.getAxis();
  SmallVector<std::string> sizes, names, index = itemIndex(rank);
  std::vector<GridStep> grid;
  for (unsigned d = 0; d < rank; ++d)
    if (d != axis) {
      sizes.push_back(kt.dim(indices, d));
      names.push_back(index[d]);
      grid.push_back(kt.sizeStep(indices, d));
    }
  SmallVector<std::string> source = index, target = index;
  source[axis] = "j";
  target[axis] = "at";
  defineItems(
      kt, grid, sizes, names,
      "for (i64 j = 0; j < " + kt.dim(indices, axis) + "; ++j) {\n" +
          indent("const i64 at = " +
                 positionOf(kt, loadAt(kt, indices, source),
                            kt.dim(result, axis)) +
                 ";\n" +
                 update(kt, updates, op.getCombine(),
                        getElementTypeOrSelf(op.getData()), target, source)) +
          "}\n");
  return success();
}

/// Lines along A of [O, A, I], one a thread: `body` sees i0 and i2.
static void defineLines(KernelText &kt, StringRef body) {
  defineItems(kt, {kt.sizeStep(0, 0), kt.sizeStep(0, 2)},
              {kt.dim(0, 0), kt.dim(0, 2)}, {"i0", "i2"}, body);
}

static LogicalResult emitScan(KernelText &kt, bool exclusive, bool reverse,
                              bool product) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string value = valueName(kt.element(0)), size = kt.dim(0, 1);
  std::string next = "(" + value + ")(sum " + (product ? "*" : "+") + " " +
                     loadAt(kt, 0, {"i0", "at", "i2"}) + ")";
  std::string text =
      value + " sum = " + (product ? "1" : "0") + ";\nfor (i64 j = 0; j < " +
      size +
      "; ++j) {\n  const i64 at = " + (reverse ? size + " - 1 - j" : "j") +
      ";\n  const " + value + " next = " + next + ";\n  ferrite::store(" +
      kt.ptr(1) + " + " + kt.offset(1, {"i0", "at", "i2"}) + ", " +
      (exclusive ? "sum" : "next") + ");\n  sum = next;\n}\n";
  defineLines(kt, text);
  return success();
}

LogicalResult cuda::emit(KernelText &kt, CumSumOp op) {
  return emitScan(kt, op.getExclusive(), op.getReverse(), false);
}

LogicalResult cuda::emit(KernelText &kt, CumProdOp op) {
  return emitScan(kt, op.getExclusive(), op.getReverse(), true);
}

/// Whether `a` comes before `b`: more extreme, a NaN most.
static std::string before(KernelText &kt, const std::string &a,
                          const std::string &b, bool smallest,
                          bool isUnsigned) {
  std::string sign = smallest ? " < " : " > ";
  if (isUnsigned)
    return "ferrite::unsignedOf(" + a + ")" + sign + "ferrite::unsignedOf(" +
           b + ")";
  std::string compared = a + sign + b;
  if (!isa<FloatType>(kt.element(0)))
    return compared;
  return compared + " || (ferrite::isNaN(" + a + ") && !ferrite::isNaN(" + b +
         "))";
}

static bool hasUnsigned(Value value) {
  Type element = getElementTypeOrSelf(value);
  return element.isUnsignedInteger() || element.isInteger(1);
}

/// input [O, A, I], result [O, 1, I].
LogicalResult cuda::emit(KernelText &kt, ArgReduceOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string value = valueName(kt.element(0));
  bool smallest = op.getKind() == CombineKind::Min;
  bool isUnsigned = hasUnsigned(op.getInput());
  std::string better =
      op.getSelectLast()
          ? "!(" + before(kt, "best", "v", smallest, isUnsigned) + ")"
          : before(kt, "v", "best", smallest, isUnsigned);
  defineLines(kt, value + " best = " + loadAt(kt, 0, {"i0", "0", "i2"}) +
                      ";\ni64 found = 0;\nfor (i64 j = 1; j < " + kt.dim(0, 1) +
                      "; ++j) {\n  const " + value +
                      " v = " + loadAt(kt, 0, {"i0", "j", "i2"}) + ";\n  if (" +
                      better + ") {\n    best = v;\n    found = j;\n  }\n}\n" +
                      "ferrite::store(" + kt.ptr(1) + " + " +
                      kt.offset(1, {"i0", "0", "i2"}) + ", found);\n");
  return success();
}

/// input [O, A, I], result [O, k, I] of places. A thread has a line; each next
/// place is the best of those behind the last one: k passes, no memory.
LogicalResult cuda::emit(KernelText &kt, TopKOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string value = valueName(kt.element(0));
  bool isUnsigned = hasUnsigned(op.getInput());
  bool smallest = op.getSmallest();
  std::string text = value +
                     " last = 0;\ni64 lastAt = -1;\nfor (i64 n = 0; n < " +
                     kt.dim(1, 1) + "; ++n) {\n  " + value +
                     " best = 0;\n  i64 found = -1;\n  for (i64 j = 0; j < " +
                     kt.dim(0, 1) + "; ++j) {\n    const " + value +
                     " v = " + loadAt(kt, 0, {"i0", "j", "i2"}) +
                     ";\n    const bool taken = lastAt >= 0 && (" +
                     before(kt, "v", "last", smallest, isUnsigned) + " || (!(" +
                     before(kt, "last", "v", smallest, isUnsigned) +
                     ") && j <= lastAt));\n    if (!taken && (found < 0 || " +
                     before(kt, "v", "best", smallest, isUnsigned) +
                     ")) {\n      best = v;\n      found = j;\n    }\n  }\n"
                     "  ferrite::store(" +
                     kt.ptr(1) + " + " + kt.offset(1, {"i0", "n", "i2"}) +
                     ", found);\n  last = best;\n  lastAt = found;\n}\n";
  defineLines(kt, text);
  return success();
}
