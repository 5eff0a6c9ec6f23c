//===- OpBinder.cpp - Operands and attributes of one ONNX node ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/OpBinder.h"
#include "dialects/Ferrite/IR/Elements.h"
#include "lib/Frontend/ONNX/Elementwise.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace ferrite::frontend {

LogicalResult OpBinder::error(const Twine &message) {
  importer.report(&node, message.str(), Fault::Model);
  return failure();
}

LogicalResult OpBinder::errorUnlessEqual(const DimExpr &a, const DimExpr &b,
                                         const Twine &message) {
  return importer.unify(node, a, b) ? failure() : error(message);
}

LogicalResult OpBinder::unsupported(const Twine &message) {
  importer.report(&node, message.str(), Fault::Limitation);
  return failure();
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

FailureOr<std::vector<DimExpr>> OpBinder::contents(unsigned i, StringRef what) {
  TensorValue &value = input(i);
  if (value.contents)
    return *value.contents;
  if (isa<FloatType>(value.element))
    return error("its " + what + " '" + node.input(i) +
                 "' has elements of a float type");
  return needsConstant(i, what);
}

FailureOr<DimExpr> OpBinder::number(unsigned i, StringRef what) {
  FailureOr<std::vector<DimExpr>> elements = contents(i, what);
  if (failed(elements))
    return failure();
  if (elements->size() != 1)
    return error("its " + what + " is not one number");
  return elements->front();
}

LogicalResult OpBinder::needsConstant(unsigned i, StringRef what) {
  std::string binding = importer.suggestBinding(node.input(i));
  return unsupported(
      "its " + what + " '" + node.input(i) +
      "' depends on data; Ferrite needs it as a constant or as an expression "
      "of input dims" +
      (binding.empty() ? "" : "; make it one with " + binding));
}

FailureOr<std::vector<int64_t>> OpBinder::integers(unsigned i, StringRef what) {
  FailureOr<std::vector<DimExpr>> exprs = contents(i, what);
  if (failed(exprs))
    return failure();
  std::vector<int64_t> numbers;
  for (const DimExpr &expr : *exprs) {
    if (!expr.constant())
      return unsupported("its " + what +
                         " depends on input dims: " + expr.str());
    numbers.push_back(*expr.constant());
  }
  return numbers;
}

FailureOr<int64_t> OpBinder::normalizeAxis(int64_t axis, size_t rank) {
  auto size = static_cast<int64_t>(rank);
  if (axis < -size || axis >= size)
    return error("axis " + Twine(axis) + " is outside a tensor of rank " +
                 Twine(rank));
  return axis < 0 ? axis + size : axis;
}

FailureOr<std::vector<int64_t>>
OpBinder::normalizeAxes(std::vector<int64_t> axes, size_t rank) {
  for (int64_t &axis : axes) {
    FailureOr<int64_t> normal = normalizeAxis(axis, rank);
    if (failed(normal))
      return failure();
    axis = *normal;
  }
  std::vector<int64_t> sorted = axes;
  llvm::sort(sorted);
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    return error("an axis occurs twice");
  return axes;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

const onnx::AttributeProto *OpBinder::find(StringRef name) {
  read.insert(name);
  for (const auto &attribute : node.attribute())
    if (attribute.name() == name)
      return &attribute;
  return nullptr;
}

// The checker compares types with the schema's, where there is one.
const onnx::AttributeProto *
OpBinder::find(StringRef name, onnx::AttributeProto::AttributeType type) {
  const auto *attribute = find(name);
  if (attribute && attribute->type() != type) {
    mistyped = name.str();
    return nullptr;
  }
  return attribute;
}

int64_t OpBinder::intAttr(StringRef name, int64_t otherwise) {
  const auto *attribute = find(name, onnx::AttributeProto::INT);
  return attribute ? attribute->i() : otherwise;
}

float OpBinder::floatAttr(StringRef name, float otherwise) {
  const auto *attribute = find(name, onnx::AttributeProto::FLOAT);
  return attribute ? attribute->f() : otherwise;
}

std::string OpBinder::stringAttr(StringRef name, StringRef otherwise) {
  const auto *attribute = find(name, onnx::AttributeProto::STRING);
  return attribute ? attribute->s() : otherwise.str();
}

std::optional<std::vector<int64_t>> OpBinder::intsAttr(StringRef name) {
  const auto *attribute = find(name, onnx::AttributeProto::INTS);
  if (!attribute)
    return std::nullopt;
  return std::vector<int64_t>(attribute->ints().begin(),
                              attribute->ints().end());
}

LogicalResult OpBinder::expectInt(StringRef name, int64_t value,
                                  int64_t otherwise) {
  int64_t found = intAttr(name, otherwise);
  if (found != value)
    return unsupported("attribute '" + name + "' = " + Twine(found) +
                       " is not supported; Ferrite knows " + Twine(value));
  return success();
}

LogicalResult OpBinder::checkAllRead() {
  if (!mistyped.empty())
    return error("attribute '" + mistyped + "' has the wrong type");
  for (const auto &attribute : node.attribute())
    if (!read.contains(attribute.name()))
      return unsupported("attribute '" + attribute.name() +
                         "' is not supported");
  return success();
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

std::string printDims(ArrayRef<DimExpr> dims) {
  std::string text;
  for (const DimExpr &dim : dims)
    text += (text.empty() ? "" : ", ") +
            (dim.isValid() ? dim.str() : "(too large)");
  return "[" + text + "]";
}

TensorValue OpBinder::makeValue(Type element, ArrayRef<DimExpr> dims) const {
  TensorValue value(loc);
  value.element = element;
  value.dims.assign(dims.begin(), dims.end());
  return value;
}

void OpBinder::setResult(TensorValue value, unsigned i) {
  if (hasOutput(i))
    importer.define(node.output(i), std::move(value));
}

/// A small constant.
static std::optional<std::vector<Element>> readConstant(Value value) {
  DenseElementsAttr attr;
  if (!matchPattern(value, m_Constant(&attr)) ||
      attr.getNumElements() > kMaxContents)
    return std::nullopt;
  std::vector<Element> elements;
  if (isa<FloatType>(attr.getElementType())) {
    for (APFloat number : attr.getValues<APFloat>()) {
      bool lost;
      number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                     &lost);
      elements.push_back({number.convertToDouble(), 0});
    }
    return elements;
  }
  bool isUnsigned = isUnsignedKind(*kindOf(attr.getElementType()));
  for (const APInt &number : attr.getValues<APInt>())
    elements.push_back({0, isUnsigned
                               ? static_cast<int64_t>(number.getZExtValue())
                               : number.getSExtValue()});
  return elements;
}

/// Computes `op` where it is elementwise, of small constants: exporters compute
/// in floats too what becomes a size or a number of trips.
static bool foldConstants(Operation *op, TensorValue &result) {
  std::optional<int64_t> count = product(result.dims).constant();
  if (!op || !op->hasTrait<OpTrait::ResultsBroadcastableShape>() ||
      op->getNumOperands() > 3 || !count || *count < 1 || *count > kMaxContents)
    return false;
  ElementFunction function = ElementFunction::of(op);
  // What a DimExpr would print as negative is not one.
  if (!function || function.kind() == Kind::U64)
    return false;
  std::vector<std::vector<Element>> operands;
  std::vector<Dims> shapes;
  for (Value operand : op->getOperands()) {
    std::optional<std::vector<Element>> elements = readConstant(operand);
    if (!elements)
      return false;
    operands.push_back(std::move(*elements));
    Dims &shape = shapes.emplace_back();
    for (int64_t size : cast<RankedTensorType>(operand.getType()).getShape())
      shape.push_back(DimExpr(size));
  }
  std::vector<DimExpr> integers;
  std::vector<double> floats;
  for (int64_t i = 0; i < *count; ++i) {
    Element in[3];
    for (auto [k, elements] : llvm::enumerate(operands))
      in[k] = elements[broadcastIndex(i, result.dims, shapes[k])];
    Element element = function(in);
    integers.push_back(DimExpr(element.i));
    floats.push_back(element.f);
  }
  if (isFloat(function.kind()))
    result.floats = std::move(floats);
  else
    result.contents = std::move(integers);
  return true;
}

LogicalResult OpBinder::setData(Value data, ArrayRef<DimExpr> dims,
                                unsigned i) {
  DimExpr total = product(dims);
  bool isPossible = total.isValid() && dims.size() <= kMostRank;
  // What is symbolic has one element at least, or the result has none at all.
  int64_t least = 1;
  for (const DimExpr &dim : dims) {
    int64_t size = dim.constant().value_or(1);
    isPossible &= dim.isValid() && size >= 0;
    isPossible &= size == 0 || !llvm::MulOverflow(least, size, least);
  }
  isPossible &= least <= kMostElements || total.isConstant(0);
  if (!isPossible)
    return error("its result has an impossible shape: " + printDims(dims));
  TensorValue value = makeValue(elementOf(data), dims);
  if (!foldConstants(data.getDefiningOp(), value))
    value.data = data;
  // What has no elements is a constant: no kernel needs to see it. A constant's
  // sizes are all known.
  if (total.isConstant(0) &&
      llvm::cast<RankedTensorType>(data.getType()).hasStaticShape())
    value.data = arith::ConstantOp::create(
        builder(), loc,
        DenseElementsAttr::get(llvm::cast<RankedTensorType>(data.getType()),
                               ArrayRef<Attribute>()));
  setResult(std::move(value), i);
  return success();
}

LogicalResult OpBinder::setContents(std::vector<DimExpr> contents, Type element,
                                    ArrayRef<DimExpr> dims, unsigned i) {
  TensorValue value = makeValue(element, dims);
  value.contents = std::move(contents);
  setResult(std::move(value), i);
  return success();
}

LogicalResult OpBinder::forward(unsigned i) {
  TensorValue &value = input(i);
  // A copy would be made data a second time; what is small may be.
  if (!value.contents && !value.floats && failed(data(i)))
    return failure();
  setResult(value);
  return success();
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

FailureOr<Dims> OpBinder::broadcast(ArrayRef<DimExpr> a, ArrayRef<DimExpr> b) {
  std::optional<Dims> dims = broadcastDims(a, b);
  if (!dims) {
    for (size_t i = 1; i <= std::min(a.size(), b.size()); ++i) {
      const DimExpr &left = a[a.size() - i], &right = b[b.size() - i];
      if (!broadcastDim(left, right) && importer.unify(node, left, right))
        return failure();
    }
    return error("shapes " + printDims(a) + " and " + printDims(b) +
                 " do not broadcast");
  }
  for (ArrayRef<DimExpr> side : {a, b})
    for (size_t i = 0; i < side.size(); ++i) {
      const DimExpr &from = side[i],
                    &to = (*dims)[dims->size() - side.size() + i];
      if (from != to && !from.isConstant(1) &&
          !(to.constant() && symbols().requireEqual(from, *to.constant())))
        return error("shapes " + printDims(a) + " and " + printDims(b) +
                     " do not broadcast");
    }
  return *dims;
}

Value OpBinder::view(Value value, ArrayRef<DimExpr> dims) {
  Type type = getTensorType(dims, elementOf(value));
  // One dynamic dim at most: equal types are then equal dims.
  if (value.getType() == type &&
      llvm::cast<RankedTensorType>(type).getNumDynamicDims() <= 1)
    return value;
  return ViewOp::create(builder(), loc, type, value, dimsAttr(dims))
      .getResult();
}

Value OpBinder::transpose(Value value, ArrayRef<DimExpr> dims,
                          ArrayRef<int64_t> perm) {
  if (llvm::equal(perm, llvm::seq<int64_t>(0, perm.size())))
    return value;
  Dims permuted;
  for (int64_t dim : perm)
    permuted.push_back(dims[dim]);
  return create<TransposeOp>(permuted, elementOf(value), value, perm);
}

Value OpBinder::cast(Value value, ArrayRef<DimExpr> dims, Type element) {
  return elementOf(value) == element ? value
                                     : create<CastOp>(dims, element, value);
}

Value OpBinder::scalar(double value, Type element) {
  auto type = RankedTensorType::get({}, element);
  Attribute attr;
  if (auto floating = dyn_cast<FloatType>(element)) {
    APFloat exact(value);
    bool lost;
    exact.convert(floating.getFloatSemantics(), APFloat::rmNearestTiesToEven,
                  &lost);
    attr = FloatAttr::get(element, exact);
  } else {
    attr = IntegerAttr::get(element, static_cast<int64_t>(value));
  }
  return arith::ConstantOp::create(builder(), loc,
                                   DenseElementsAttr::get(type, attr))
      .getResult();
}

} // namespace ferrite::frontend
