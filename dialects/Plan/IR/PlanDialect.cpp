//===- PlanDialect.cpp - Registration and verifiers -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Plan/IR/Plan.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite::plan;
using ferrite::DimExpr;
using ferrite::Dims;

#include "dialects/Plan/IR/PlanDialect.cpp.inc"
#include "dialects/Plan/IR/PlanEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Plan/IR/PlanTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Plan/IR/PlanAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Plan/IR/PlanOps.cpp.inc"

void PlanDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/Plan/IR/PlanOps.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/Plan/IR/PlanTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Plan/IR/PlanAttrs.cpp.inc"
      >();
}

/// `[?, 384]`: the declarative format would print the value of kDynamic.
static ParseResult parseSizes(AsmParser &parser,
                              SmallVectorImpl<int64_t> &sizes) {
  return parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&] {
    if (succeeded(parser.parseOptionalQuestion())) {
      sizes.push_back(ShapedType::kDynamic);
      return ParseResult(success());
    }
    return parser.parseInteger(sizes.emplace_back());
  });
}

static void printSizes(AsmPrinter &printer, ArrayRef<int64_t> sizes) {
  printer << '[';
  llvm::interleaveComma(sizes, printer, [&](int64_t size) {
    if (ShapedType::isDynamic(size))
      printer << '?';
    else
      printer << size;
  });
  printer << ']';
}

Attribute LayoutAttr::parse(AsmParser &parser, Type) {
  Type type;
  SmallVector<int64_t> shape, strides;
  if (parser.parseLess() || parser.parseType(type) ||
      parseSizes(parser, shape) || parser.parseKeyword("strides") ||
      parseSizes(parser, strides))
    return {};
  bool alias = succeeded(parser.parseOptionalKeyword("alias"));
  if (parser.parseGreater())
    return {};
  if (shape.size() != strides.size()) {
    parser.emitError(parser.getNameLoc(), "expects as many strides as sizes");
    return {};
  }
  return get(parser.getContext(), type, shape, strides, alias);
}

void LayoutAttr::print(AsmPrinter &printer) const {
  printer << '<' << getType() << ' ';
  printSizes(printer, getShape());
  printer << " strides ";
  printSizes(printer, getStrides());
  printer << (getAlias() ? " alias>" : ">");
}

LogicalResult WeightOp::verify() {
  if (getSources().has_value() == getValue().has_value()) // C1
    return emitOpError("expects either sources or a value");
  bool isPacked = getFormat() == WeightFormat::Packed;
  if (getLayout().has_value() != isPacked || (isPacked && !getSources())) // C2
    return emitOpError("expects a layout and sources where it is packed, and "
                       "there alone");
  bool isSparse = getFormat() == WeightFormat::Sparse;
  if (getBlocks().has_value() != isSparse ||
      (isSparse && (!getSources() || getBlocks()->getKept() < 0))) // C3
    return emitOpError("expects counted blocks and sources where it is sparse, "
                       "and there alone");
  return success();
}

LogicalResult KernelOp::verify() {
  Block &block = getBody().front();
  if (block.getOperations().size() != 2 || !isa<ReturnOp>(block.back()) ||
      block.back().getOperands() != block.front().getResults() ||
      getLayouts().size() !=
          block.getNumArguments() + block.front().getNumResults()) // C1
    return emitOpError(
               "expects one op, a return of its results and a layout for each "
               "operand and result, but got ")
           << getLayouts().size() << " layouts for " << block.getNumArguments()
           << " operands";
  return success();
}

LogicalResult LaunchOp::verify() {
  if (getOffsets().size() != getMemory().size() ||
      !ferrite::parseDims(getOffsets()) ||
      !ferrite::parseDims(getValues())) // C1
    return emitOpError("expects an offset for each of ")
           << getMemory().size() << " memory operands, but got "
           << getOffsets();
  return success();
}

LogicalResult StateOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  bool isKeys = getState().getKind() == StateKind::Keys;
  if (!type || type.getRank() != 4 ||
      type.getDimSize(isKeys ? 3 : 2) != KvAppendOp::kPageTokens ||
      llvm::any_of(type.getShape().drop_front(),
                   [](int64_t size) { return size < 1; })) // C1
    return emitOpError("expects pages of ")
           << KvAppendOp::kPageTokens << " tokens, but got " << getType();
  return success();
}

int64_t ferrite::elementBytes(Type type) {
  return (type.getIntOrFloatBitWidth() + 7) / 8;
}

FailureOr<std::vector<PassedShape>>
ferrite::plan::getPassedShapes(LaunchOp launch, KernelOp kernel) {
  std::optional<Dims> values = ferrite::parseDims(launch.getValues());
  if (!values)
    return failure();
  auto layouts = kernel.getLayouts().getAsRange<LayoutAttr>();
  std::vector<PassedShape> shapes(kernel.getLayouts().size());
  ArrayRef<DimExpr> left = *values;
  bool enough = true;
  auto take = [&](ArrayRef<int64_t> from, Dims &to) {
    for (int64_t value : from) {
      bool open = ShapedType::isDynamic(value);
      if (open && left.empty()) {
        enough = false;
        return;
      }
      to.push_back(open ? left.front() : DimExpr(value));
      left = left.drop_front(open);
    }
  };
  // In the order of KernelArgs: all sizes, then all strides.
  for (auto [layout, shape] : llvm::zip(layouts, shapes))
    take(layout.getShape(), shape.sizes);
  for (auto [layout, shape] : llvm::zip(layouts, shapes))
    take(layout.getStrides(), shape.strides);
  if (!enough || !left.empty())
    return failure();
  return shapes;
}
