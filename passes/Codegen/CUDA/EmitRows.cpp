//===- EmitRows.cpp - Norms, softmax, embedding and rope in CUDA ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

/// "i0", .., then `last`; where operand i has fewer dims, its last ones.
static SmallVector<std::string> indices(KernelText &kt, unsigned i,
                                        StringRef last) {
  SmallVector<std::string> result;
  unsigned rank = kt.operand(i).shape.size();
  for (unsigned d = 0; d + 1 < rank; ++d)
    result.push_back(isBroadcast(kt.operand(i), d) ? "0"
                                                   : "i" + std::to_string(d));
  result.push_back(last.str());
  return result;
}

static std::string at(KernelText &kt, unsigned i, StringRef last) {
  return kt.ptr(i) + " + " + kt.offset(i, indices(kt, i, last));
}

static std::string number(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.9g", value);
  return text;
}

LogicalResult cuda::emit(KernelText &kt, NormOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string type = kt.element(0).isF64() ? "double" : "float";
  unsigned rank = kt.operand(0).shape.size(), next = 2;
  auto loaded = [&](unsigned i) {
    return "(" + type + ")ferrite::load(" + at(kt, i, "d") + ")";
  };
  std::string value = "v * " + loaded(1);
  if (op.getBias())
    value += " + " + loaded(next++);
  std::string input = loaded(0);
  if (op.getResidual())
    input += " + " + loaded(next++);
  if (op.getAfter())
    value += " + " + loaded(next++);
  bool centered = op.getKind() == NormKind::Layer;
  defineRows(kt, kt.result(), rank - 1,
             "ferrite::normRow<" + type + ">(" + kt.dim(0, rank - 1) + ", " +
                 number(op.getEpsilon().convertToFloat()) + ", " +
                 (centered ? "true" : "false") + ", [&](i64 d) {\n  return " +
                 input + ";\n}, [&](i64 d, " + type +
                 " v) {\n  ferrite::store(" + at(kt, next, "d") + ", " + value +
                 ");\n});\n");
  return success();
}

LogicalResult cuda::emit(KernelText &kt, SoftmaxOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  std::string type = kt.element(0).isF64() ? "double" : "float";
  unsigned rank = kt.operand(0).shape.size();
  defineRows(kt, 1, rank - 1,
             "ferrite::softmaxRow<" + type + ">(" + kt.dim(0, rank - 1) +
                 ", [&](i64 d) {\n  return (" + type + ")ferrite::load(" +
                 at(kt, 0, "d") + ");\n}, [&](i64 d, " + type +
                 " v) {\n  ferrite::store(" + at(kt, 1, "d") + ", v);\n});\n");
  return success();
}

LogicalResult cuda::emit(KernelText &kt, EmbeddingOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  unsigned ids = op.getIds().size(), tables = op.getTables().size();
  std::string text, sum;
  for (unsigned t = 0; t < tables; ++t) {
    unsigned table = ids + t;
    int64_t source = op.getIndex()[t], offset = op.getPositions()[t];
    std::string id = "i1 + " + std::to_string(offset);
    if (source >= 0) {
      SmallVector<std::string> index = {"i0", "i1"};
      for (unsigned d = 0; d < 2; ++d)
        if (isBroadcast(kt.operand(source), d))
          index[d] = "0";
      id = "ferrite::load(" + kt.ptr(source) + " + " +
           kt.offset(source, index) + ")";
    }
    std::string row = "row" + std::to_string(t);
    text += "const i64 " + row + " = ferrite::position(p, " + id + ", " +
            kt.dim(table, 0) + ");\n";
    sum += (t ? " + " : "") + std::string("(float)ferrite::load(") +
           kt.ptr(table) + " + " + kt.offset(table, {row, "d"}) + ")";
  }
  unsigned weight = ids + tables, result = kt.result();
  std::string size = kt.dim(result, 2);
  std::string target = at(kt, result, "d");
  if (op.getWeight())
    text += "ferrite::normRow<float>(" + size + ", " +
            number(op.getEpsilon().convertToFloat()) +
            ", true, [&](i64 d) {\n  return " + sum +
            ";\n}, [&](i64 d, float v) {\n  ferrite::store(" + target +
            ", v * (float)ferrite::load(" + at(kt, weight, "d") +
            ") + (float)ferrite::load(" + at(kt, weight + 1, "d") +
            "));\n});\n";
  else
    text += "for (i64 d = ferrite::lane(); d < " + size +
            "; d += 32)\n  ferrite::store(" + target + ", " + sum + ");\n";
  defineRows(kt, result, 2, text);
  return success();
}

/// A thread turns a pair, which may lie where it was.
LogicalResult cuda::emit(KernelText &kt, RopeOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  int64_t half = kt.operand(1).shape[2], size = kt.operand(0).shape[3];
  if (ShapedType::isDynamic(half) || ShapedType::isDynamic(size))
    return kt.error() << "rope expects static sizes of heads";
  std::string pairs = std::to_string(half);
  int64_t perHead = half + (size - 2 * half);
  auto element = [&](unsigned i, const std::string &d) {
    return kt.ptr(i) + " + " + kt.offset(i, {"i0", "i1", "i2", d});
  };
  auto table = [&](unsigned i) {
    SmallVector<std::string> index = {"i0", "i1", "i3"};
    for (unsigned d = 0; d < 2; ++d)
      if (isBroadcast(kt.operand(i), d))
        index[d] = "0";
    return "(float)ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) +
           ")";
  };
  std::string first = op.getInterleaved() ? "i3 * 2" : "i3";
  std::string second = op.getInterleaved() ? "i3 * 2 + 1" : "i3 + " + pairs;
  std::string turn =
      "const i64 first = " + first + ", second = " + second +
      ";\nconst float a = (float)ferrite::load(" + element(0, "first") +
      "), b = (float)ferrite::load(" + element(0, "second") +
      ");\nconst float cosine = " + table(1) + ", sine = " + table(2) +
      ";\nferrite::store(" + element(3, "first") +
      ", ferrite::fma(a, cosine, -(b * sine)));\nferrite::store(" +
      element(3, "second") + ", ferrite::fma(b, cosine, a * sine));\n";
  std::string text = turn;
  if (size > 2 * half)
    text = "if (i3 >= " + pairs + ") {\n  const i64 rest = i3 + " + pairs +
           ";\n  ferrite::store(" + element(3, "rest") + ", ferrite::load(" +
           element(0, "rest") + "));\n  continue;\n}\n" + turn;
  SmallVector<std::string> sizes = {kt.dim(3, 0), kt.dim(3, 1), kt.dim(3, 2),
                                    std::to_string(perHead)};
  SmallVector<std::string> names = {"i0", "i1", "i2", "i3"};
  defineItems(kt,
              {kt.sizeStep(3, 0),
               kt.sizeStep(3, 1),
               kt.sizeStep(3, 2),
               {GridStep::Factor, perHead}},
              sizes, names, text);
  return success();
}
