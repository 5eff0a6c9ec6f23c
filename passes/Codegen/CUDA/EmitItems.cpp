//===- EmitItems.cpp - What a thread or a warp computes for itself --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/Emit.h"

#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

std::string cuda::productOf(ArrayRef<std::string> sizes) {
  SmallVector<std::string> factors;
  for (const std::string &size : sizes)
    if (size != "1")
      factors.push_back(size);
  return factors.empty() ? "1" : llvm::join(factors, " * ");
}

std::string cuda::delinearize(StringRef linear, ArrayRef<std::string> sizes,
                              ArrayRef<std::string> names) {
  std::string text, rest = linear.str();
  SmallVector<unsigned> moving;
  for (auto [d, size] : llvm::enumerate(sizes))
    if (size == "1")
      text += "const i64 " + names[d] + " = 0;\n";
    else
      moving.push_back(d);
  for (unsigned d : llvm::reverse(moving)) {
    if (d == moving.front()) {
      text += "const i64 " + names[d] + " = " + rest + ";\n";
      break;
    }
    std::string next = names[d] + "_rest";
    // A constant is divided by without a division.
    bool isConstant = llvm::all_of(sizes[d], llvm::isDigit);
    text += "const i64 " + next + " = " +
            (isConstant ? rest + " / " + sizes[d]
                        : "ferrite::quotient(" + rest + ", " + sizes[d] + ")") +
            ";\n" + "const i64 " + names[d] + " = " + rest + " - " + next +
            " * " + sizes[d] + ";\n";
    rest = next;
  }
  return text;
}

bool cuda::isBroadcast(const OperandLayout &operand, unsigned d) {
  return operand.shape[d] == 1 || operand.strides[d] == 0;
}

LogicalResult cuda::checkTypes(KernelText &kt) {
  for (unsigned i = 0; i < kt.operands(); ++i)
    if (kt.storage(i).empty())
      return kt.error() << "has no elements of type " << kt.element(i);
  return success();
}

static SmallVector<std::string> indexNames(unsigned count) {
  SmallVector<std::string> names;
  for (unsigned d = 0; d < count; ++d)
    names.push_back("i" + std::to_string(d));
  return names;
}

static std::vector<GridStep> countOf(KernelText &kt, unsigned operand,
                                     unsigned count) {
  std::vector<GridStep> steps;
  for (unsigned d = 0; d < count; ++d)
    if (GridStep step = kt.sizeStep(operand, d);
        step.kind == GridStep::Size || step.value != 1)
      steps.push_back(step);
  return steps;
}

static SmallVector<std::string> sizesOf(KernelText &kt, unsigned operand,
                                        unsigned count) {
  SmallVector<std::string> sizes;
  for (unsigned d = 0; d < count; ++d)
    sizes.push_back(kt.dim(operand, d));
  return sizes;
}

std::string cuda::combinerOf(CombineKind kind, Type element) {
  bool isUnsigned = element.isUnsignedInteger();
  switch (kind) {
  case CombineKind::None:
  case CombineKind::Sum:
    return "ferrite::Sum()";
  case CombineKind::Prod:
    return "ferrite::Product()";
  case CombineKind::Max:
    return isUnsigned ? "ferrite::LargestUnsigned()" : "ferrite::Largest()";
  case CombineKind::Min:
    return isUnsigned ? "ferrite::LeastUnsigned()" : "ferrite::Least()";
  }
  llvm_unreachable("all kinds are covered");
}

void cuda::defineItems(KernelText &kt, std::vector<GridStep> grid,
                       ArrayRef<std::string> sizes, ArrayRef<std::string> names,
                       StringRef body) {
  constexpr int64_t kThreads = 256;
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = kThreads;
  variant.grid = std::move(grid);
  variant.grid.push_back({GridStep::Ceil, kThreads});
  std::string text =
      "const i64 items = " + productOf(sizes) +
      ";\nfor (i64 item = ferrite::block() * 256 + ferrite::thread(); item < "
      "items;\n     item += ferrite::blocks() * 256) {\n" +
      indent(delinearize("item", sizes, names) + body.str()) + "}\n";
  kt.define(std::move(variant), text);
}

void cuda::defineItems(KernelText &kt, unsigned operand, unsigned count,
                       StringRef body) {
  defineItems(kt, countOf(kt, operand, count), sizesOf(kt, operand, count),
              indexNames(count), body);
}

void cuda::defineRows(KernelText &kt, unsigned operand, unsigned count,
                      StringRef body) {
  constexpr int64_t kWarps = 8;
  CudaVariant variant;
  variant.symbol = kt.name();
  variant.threads = 32 * kWarps;
  variant.grid = countOf(kt, operand, count);
  variant.grid.push_back({GridStep::Ceil, kWarps});
  auto sizes = sizesOf(kt, operand, count);
  std::string text =
      "const i64 rows = " + productOf(sizes) +
      ";\nfor (i64 row = ferrite::block() * 8 + ferrite::warp(); row < rows;\n"
      "     row += ferrite::blocks() * 8) {\n" +
      indent(delinearize("row", sizes, indexNames(count)) + body.str()) + "}\n";
  kt.define(std::move(variant), text);
}
