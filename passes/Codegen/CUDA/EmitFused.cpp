//===- EmitFused.cpp - Elementwise and reducing bodies in CUDA ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Without a reduction a thread has a point. With one, a warp has a result when
// neighbours along the reduction lie together, and a thread has one otherwise:
// reads of a warp are then neighbours either way. Sums run in one order.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitFused.h"

#include "passes/Codegen/CUDA/Emit.h"
#include "passes/Codegen/CUDA/EmitBody.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

namespace {
class FusedText {
public:
  FusedText(KernelText &kt, FusedOp op) : kt(kt), op(op) {
    auto map = cast<AffineMapAttr>(op.getMaps().getValue().back()).getValue();
    for (auto [d, size] : llvm::enumerate(*parseDims(op.getDomain())))
      reduction.push_back(!map.isFunctionOfDim(d) && !size.isConstant(1));
    loops = cpu::inferFusedLoops(kt.layout, reduction);
    for (unsigned d = 0; d < loops.size(); ++d) {
      (reduction[d] ? reduced : parallel).push_back(d);
      index.push_back("i" + std::to_string(d));
    }
  }

  LogicalResult emit();

private:
  std::string size(unsigned d) {
    if (!ShapedType::isDynamic(loops[d].size))
      return std::to_string(loops[d].size);
    return kt.dim(loops[d].operand, loops[d].dim);
  }
  SmallVector<std::string> sizes(ArrayRef<unsigned> which) {
    SmallVector<std::string> result;
    for (unsigned d : which)
      result.push_back(size(d));
    return result;
  }
  SmallVector<std::string> names(ArrayRef<unsigned> which) {
    SmallVector<std::string> result;
    for (unsigned d : which)
      result.push_back(index[d]);
    return result;
  }
  std::vector<GridStep> grid();
  FailureOr<std::string> point(SmallVectorImpl<std::string> &results);
  FailureOr<std::string> finish(const std::string &combined);
  LogicalResult emitPoints();
  LogicalResult emitReduction();
  bool reducesNeighbours();
  std::string combiner();
  std::string identity(Type type);
  std::string loopIndex(int64_t d) { return index[d]; }

  KernelText &kt;
  FusedOp op;
  SmallVector<bool> reduction;
  SmallVector<cpu::FusedLoop> loops;
  SmallVector<unsigned> parallel, reduced;
  SmallVector<std::string> index;
};
} // namespace

std::vector<GridStep> FusedText::grid() {
  std::vector<GridStep> steps;
  for (unsigned d : parallel)
    if (ShapedType::isDynamic(loops[d].size))
      steps.push_back(kt.sizeStep(loops[d].operand, loops[d].dim));
    else if (loops[d].size != 1)
      steps.push_back({GridStep::Factor, loops[d].size});
  return steps;
}

FailureOr<std::string> FusedText::point(SmallVectorImpl<std::string> &results) {
  Block &body = op.getBody().front();
  std::string text;
  SmallVector<std::string> args;
  for (BlockArgument argument : body.getArguments()) {
    unsigned i = argument.getArgNumber();
    args.push_back("a" + std::to_string(i));
    std::string type = valueName(argument.getType());
    if (type.empty())
      return kt.error() << "has no values of type " << argument.getType();
    std::string loaded =
        "ferrite::load(" + kt.ptr(i) + " + " + kt.offset(i, index) + ")";
    if (isa<FloatType>(argument.getType()))
      loaded = convertFloat(loaded, kt.element(i), argument.getType());
    text += "const " + type + " " + args.back() + " = " + loaded + ";\n";
  }
  FailureOr<std::string> lines =
      emitBody(body, args, results, "v", [&](int64_t d) { return index[d]; });
  if (failed(lines))
    return failure();
  return text + *lines;
}

/// The finish of a combined value, and its store.
FailureOr<std::string> FusedText::finish(const std::string &combined) {
  Block &block = op.getFinish().front();
  SmallVector<std::string> args = {combined}, results;
  FailureOr<std::string> lines =
      emitBody(block, args, results, "f", [&](int64_t d) { return index[d]; });
  if (failed(lines))
    return failure();
  SmallVector<std::string> at = index;
  for (unsigned d : reduced)
    at[d] = "0";
  return *lines + "ferrite::store(" + kt.ptr(kt.result()) + " + " +
         kt.offset(kt.result(), at) + ", " + results[0] + ");\n";
}

LogicalResult FusedText::emitPoints() {
  SmallVector<std::string> results;
  FailureOr<std::string> body = point(results);
  if (failed(body))
    return failure();
  FailureOr<std::string> end = finish(results[0]);
  if (failed(end))
    return failure();
  defineItems(kt, grid(), sizes(parallel), names(parallel), *body + *end);
  return success();
}

/// Whether an input moves by neighbours along the last reduction, and none
/// along a parallel loop.
bool FusedText::reducesNeighbours() {
  bool along = false, across = false;
  for (unsigned i = 0; i < kt.result(); ++i) {
    along |= kt.operand(i).strides[reduced.back()] == 1;
    for (unsigned d : parallel)
      across |= kt.operand(i).strides[d] == 1 && kt.operand(i).shape[d] != 1;
  }
  return along || !across;
}

std::string FusedText::combiner() {
  return combinerOf(op.getCombine(), getElementTypeOrSelf(op.getType()));
}

std::string FusedText::identity(Type type) {
  CombineKind kind = op.getCombine();
  std::string value = valueName(type);
  bool isLargest = kind == CombineKind::Min;
  if (kind == CombineKind::Sum)
    return "(" + value + ")0";
  if (kind == CombineKind::Prod)
    return "(" + value + ")1";
  if (isa<FloatType>(type))
    return std::string(isLargest ? "" : "-") + "(" + value +
           ")FERRITE_INFINITY";
  if (type.isInteger(1))
    return isLargest ? "true" : "false";
  unsigned width = type.getIntOrFloatBitWidth();
  bool isUnsigned = getElementTypeOrSelf(op.getType()).isUnsignedInteger();
  llvm::APInt bound = isUnsigned  ? (isLargest ? llvm::APInt::getAllOnes(width)
                                               : llvm::APInt::getZero(width))
                      : isLargest ? llvm::APInt::getSignedMaxValue(width)
                                  : llvm::APInt::getSignedMinValue(width);
  int64_t number = bound.getSExtValue();
  return "(" + value + ")" +
         (number == INT64_MIN ? "(-9223372036854775807ll - 1)"
                              : std::to_string(number) + "ll");
}

LogicalResult FusedText::emitReduction() {
  SmallVector<std::string> results;
  FailureOr<std::string> body = point(results);
  if (failed(body))
    return failure();
  Value yielded = op.getBody().front().back().getOperand(0);
  std::string type = valueName(yielded.getType());
  FailureOr<std::string> end = finish("sum");
  if (failed(end))
    return failure();
  bool byWarp = reducesNeighbours();
  std::string count = productOf(sizes(reduced));
  std::string loop =
      type + " sum = " + identity(yielded.getType()) +
      ";\nfor (i64 step = " + (byWarp ? "ferrite::lane()" : "0") + "; step < " +
      count + "; step += " + (byWarp ? "32" : "1") + ") {\n" +
      indent(delinearize("step", sizes(reduced), names(reduced)) + *body +
             "sum = " + combiner() + "(sum, (" + type + ")(" + results[0] +
             "));\n") +
      "}\n";
  CudaVariant variant;
  variant.symbol = kt.name();
  std::string items = "const i64 items = " + productOf(sizes(parallel)) + ";\n";
  std::string split = delinearize("item", sizes(parallel), names(parallel));
  if (byWarp) {
    variant.grid = grid();
    variant.grid.push_back({GridStep::Ceil, variant.threads / 32});
    kt.define(std::move(variant),
              items +
                  "for (i64 item = ferrite::block() * 8 + ferrite::warp(); "
                  "item < items;\n     item += ferrite::blocks() * 8) {\n" +
                  indent(split + loop + "sum = ferrite::combineWarp(sum, " +
                         combiner() + ");\nif (ferrite::lane() == 0) {\n" +
                         indent(*end) + "}\n") +
                  "}\n");
    return success();
  }
  variant.grid = grid();
  variant.grid.push_back({GridStep::Ceil, variant.threads});
  kt.define(std::move(variant),
            items +
                "for (i64 item = ferrite::block() * 256 + "
                "ferrite::thread(); item < items;\n     item += "
                "ferrite::blocks() * 256) {\n" +
                indent(split + loop + *end) + "}\n");
  return success();
}

LogicalResult FusedText::emit() {
  return reduced.empty() ? emitPoints() : emitReduction();
}

LogicalResult cuda::emit(KernelText &kt, FusedOp op) {
  if (failed(checkTypes(kt)))
    return failure();
  return FusedText(kt, op).emit();
}
