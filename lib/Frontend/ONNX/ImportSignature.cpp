//===- ImportSignature.cpp - Inputs and outputs of the entry --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Importer.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace ferrite::frontend {

/// The dim along which a Concat joins something to a value of this rank.
static std::optional<int64_t> getConcatDim(const onnx::NodeProto &node,
                                           int64_t rank) {
  if (node.op_type() != "Concat" || node.input_size() < 2)
    return std::nullopt;
  for (const auto &attribute : node.attribute())
    if (attribute.name() == "axis")
      return attribute.i() + (attribute.i() < 0 ? rank : 0);
  return std::nullopt;
}

/// Whether `node` takes the keys or the values of two that are stacked.
static bool takesHalf(const onnx::GraphProto &graph,
                      const onnx::NodeProto &node, StringRef stacked) {
  if (node.op_type() != "Gather" || node.input_size() != 2 ||
      node.output_size() != 1 || node.input(0) != stacked)
    return false;
  for (const auto &attribute : node.attribute())
    if (attribute.name() == "axis" && attribute.i() != 0)
      return false;
  return llvm::any_of(graph.initializer(), [&](const auto &initializer) {
    return initializer.name() == node.input(1) && initializer.dims_size() == 0;
  });
}

/// The dim along which `node` joins something to `input`: by name, or as the
/// cache of an attention. One buffer for past and present is never empty.
static std::optional<int64_t> getJoinedDim(const onnx::GraphProto &graph,
                                           const onnx::NodeProto &node,
                                           const onnx::ValueInfoProto &input) {
  const auto &shape = input.type().tensor_type().shape();
  if (node.op_type() == "Concat")
    return getConcatDim(node, shape.dim_size());
  // Where such an op has its past, [batch, heads, tokens, size] or two of it.
  bool isMicrosoft = node.domain() == "com.microsoft";
  StringRef op = node.op_type();
  int first = isMicrosoft && op == "GroupQueryAttention"               ? 3
              : isMicrosoft && op == "MultiHeadAttention"              ? 6
              : isMicrosoft && op == "DecoderMaskedMultiHeadAttention" ? 5
              : op == "Attention"                                      ? 4
                                                                       : -1;
  int64_t axis = isMicrosoft && op == "Attention" ? 3 : 2;
  if (first < 0 || axis >= shape.dim_size())
    return std::nullopt;
  for (int i = 0; i < node.input_size(); ++i)
    if (node.input(i) == input.name() && i != first &&
        (i != first + 1 || axis == 3))
      return std::nullopt;
  for (const auto &output : graph.output()) {
    const auto &dims = output.type().tensor_type().shape();
    if (llvm::is_contained(node.output(), output.name()) &&
        dims.dim_size() > axis &&
        dims.dim(axis).dim_param() == shape.dim(axis).dim_param())
      return std::nullopt;
  }
  return axis;
}

/// Calls `visit` on the graph's nodes and on those of its branches and bodies,
/// which read the graph's values by name.
static void forNodes(const onnx::GraphProto &graph,
                     llvm::function_ref<void(const onnx::NodeProto &)> visit) {
  for (const auto &node : graph.node()) {
    visit(node);
    for (const auto &attribute : node.attribute())
      if (attribute.has_g())
        forNodes(attribute.g(), visit);
  }
}

void Importer::collectEmptyDims(const onnx::GraphProto &graph) {
  // The dim along which every use of the input joins something to it: what is
  // computed has that other part's elements even when this part has none.
  for (const auto &input : graph.input()) {
    const auto &shape = input.type().tensor_type().shape();
    std::optional<int64_t> joined;
    bool isJoined = true;
    int halves = 0; // more than two would be no cache, and cost a walk each
    auto join = [&](std::optional<int64_t> axis) {
      isJoined &= axis && joined.value_or(*axis) == *axis;
      joined = axis;
    };
    forNodes(graph, [&](const onnx::NodeProto &node) {
      if (!llvm::is_contained(node.input(), input.name()) ||
          node.op_type() == "Shape")
        return;
      if (halves == 2 || !takesHalf(graph, node, input.name()))
        return join(getJoinedDim(graph, node, input));
      ++halves;
      forNodes(graph, [&](const onnx::NodeProto &user) {
        if (!llvm::is_contained(user.input(), node.output(0)) ||
            user.op_type() == "Shape")
          return;
        std::optional<int64_t> axis = getConcatDim(user, shape.dim_size() - 1);
        join(axis ? std::optional<int64_t>(*axis + 1) : std::nullopt);
      });
    });
    if (isJoined && joined && *joined >= 0 && *joined < shape.dim_size())
      emptyDims.insert(shape.dim(*joined).dim_param());
  }
  // A symbol that is also another dim of an input is no such thing.
  for (const auto &input : graph.input())
    if (input.type().tensor_type().shape().dim_size() < 3)
      for (const auto &dim : input.type().tensor_type().shape().dim())
        emptyDims.erase(dim.dim_param());
}

FailureOr<Dims> Importer::importDims(const onnx::ValueInfoProto &input) {
  auto reject = [&](const Twine &message) {
    report(nullptr, ("input '" + Twine(input.name()) + "' " + message).str());
    return failure();
  };
  if (input.type().value_case() == onnx::TypeProto::VALUE_NOT_SET)
    return reject("has no type");
  if (!input.type().has_tensor_type()) {
    report(nullptr,
           "input '" + input.name() +
               "' is not a tensor; sequences and optional values are not "
               "supported as inputs",
           Fault::Limitation);
    return failure();
  }
  const auto &type = input.type().tensor_type();
  if (!type.has_shape())
    return reject("has no shape; Ferrite needs at least its rank");
  if (type.shape().dim_size() > kMostRank)
    return reject("has more than " + Twine(kMostRank) + " dimensions");
  Dims dims;
  int64_t count = 1;
  for (const auto &dim : type.shape().dim()) {
    if (dim.has_dim_value()) {
      if (dim.dim_value() < 0)
        return reject("has a dimension of size " + Twine(dim.dim_value()));
      if (llvm::MulOverflow(count, dim.dim_value(), count) ||
          count > kMostElements)
        return reject("has more elements than any memory can hold");
      dims.push_back(DimExpr(dim.dim_value()));
      continue;
    }
    // A dim without a name is like no other.
    std::string name = dim.dim_param();
    if (name.empty())
      name = input.name() + "_dim_" + std::to_string(dims.size());
    SymbolBounds::Bounds bounds;
    int64_t least = emptyDims.contains(name) ? 0 : 1;
    bounds.min = least;
    if (auto given = options.dims.find(name); given != options.dims.end()) {
      std::tie(bounds.min, bounds.max) = given->second;
      if (bounds.max == 0 || bounds.max > SymbolBounds::kUnbounded)
        bounds.max = SymbolBounds::kUnbounded;
      if (bounds.min < least || bounds.max < bounds.min)
        return reject("has a dim '" + name +
                      "' that was given impossible bounds");
      if (bounds.min == bounds.max) {
        dims.push_back(DimExpr(bounds.min));
        continue;
      }
    }
    dims.push_back(symbols.declare(name, bounds));
  }
  return dims;
}

FailureOr<TensorValue>
Importer::importInput(const onnx::ValueInfoProto &input) {
  FailureOr<Dims> dims = importDims(input);
  if (failed(dims))
    return failure();
  int32_t elementType = input.type().tensor_type().elem_type();
  Type element = getElementType(elementType);
  if (!element) {
    report(nullptr,
           "input '" + input.name() + "' has elements of " +
               getTypeName(elementType) + ", which Ferrite does not support",
           isStandardType(elementType) ? Fault::Limitation : Fault::Model);
    return failure();
  }
  TensorValue value(NameLoc::get(builder.getStringAttr(input.name())));
  value.element = element;
  value.dims = *dims;
  return value;
}

LogicalResult Importer::importInputs(func::FuncOp function) {
  bool clean = true;
  for (const auto &input : file.getModel().graph().input()) {
    // Before IR version 4 initializers were inputs; their values are given.
    if (find(input.name()))
      continue;
    FailureOr<TensorValue> value = importInput(input);
    if (failed(value)) {
      clean = false;
      TensorValue poison(builder.getUnknownLoc());
      poison.poisoned = true;
      define(input.name(), std::move(poison));
      continue;
    }
    unsigned index = function.getNumArguments();
    auto attrs = builder.getDictionaryAttr(
        {builder.getNamedAttr(kNameAttr, builder.getStringAttr(input.name())),
         builder.getNamedAttr(kDimsAttr,
                              getDimsAttr(builder.getContext(), value->dims))});
    if (failed(function.insertArgument(
            index, getTensorType(value->dims, value->element), attrs,
            value->loc)))
      return failure();
    value->data = function.getArgument(index);
    define(input.name(), std::move(*value));
  }
  for (const auto &given : options.dims) {
    bool isUsed = false;
    for (const auto &input : file.getModel().graph().input())
      for (const auto &dim : input.type().tensor_type().shape().dim())
        isUsed |= dim.dim_param() == given.getKey();
    if (!isUsed) {
      report(nullptr,
             "no input has a dim named '" + given.getKey().str() + "'");
      clean = false;
    }
  }
  return goOn(clean);
}

LogicalResult Importer::importInitializers() {
  const onnx::GraphProto &graph = file.getModel().graph();
  bool clean = true;
  auto poison = [&](StringRef name) {
    TensorValue value(builder.getUnknownLoc());
    value.poisoned = true;
    define(name, std::move(value));
    clean = false;
  };
  for (const auto &tensor : graph.initializer()) {
    Location loc = NameLoc::get(builder.getStringAttr(tensor.name()));
    FailureOr<TensorValue> value = importConstant(tensor, tensor.name(), loc);
    if (failed(value))
      poison(tensor.name());
    else
      define(tensor.name(), std::move(*value));
  }
  for (const auto &tensor : graph.sparse_initializer()) {
    report(nullptr,
           "initializer '" + tensor.values().name() +
               "' is sparse, which Ferrite does not support",
           Fault::Limitation);
    poison(tensor.values().name());
  }
  return goOn(clean);
}

LogicalResult Importer::checkDeclaredDims(const onnx::ValueInfoProto &output,
                                          const TensorValue &value) {
  const auto &type = output.type().tensor_type();
  auto reject = [&](const Twine &message) {
    report(nullptr, ("output '" + Twine(output.name()) + "' " + message).str());
    return failure();
  };
  if (Type element = getElementType(type.elem_type());
      element && element != value.element)
    return reject("is declared with elements of " +
                  getTypeName(type.elem_type()) + ", but its node gives " +
                  llvm::formatv("{0}", value.element).str());
  if (!type.has_shape())
    return success();
  if (type.shape().dim_size() != static_cast<int>(value.rank()))
    return reject("is declared with rank " + Twine(type.shape().dim_size()) +
                  ", but its node gives rank " + Twine(value.rank()));
  for (int i = 0; i < type.shape().dim_size(); ++i) {
    const auto &dim = type.shape().dim(i);
    std::optional<int64_t> size = value.dims[i].constant();
    if (dim.has_dim_value() && size && *size != dim.dim_value())
      return reject("is declared with dim " + Twine(i) + " = " +
                    Twine(dim.dim_value()) + ", but its node gives " +
                    Twine(*size));
  }
  return success();
}

void Importer::addTaps(SmallVectorImpl<Value> &results,
                       SmallVectorImpl<Attribute> &attrs) {
  llvm::DenseSet<Value> seen(results.begin(), results.end());
  for (const auto &node : file.getModel().graph().node())
    for (const std::string &output : node.output()) {
      // What is known at import is computed by nobody.
      TensorValue *value = find(output);
      Value data = value && !value->poisoned ? value->data : Value();
      if (!data || !data.getDefiningOp() ||
          isa<arith::ConstantOp, WeightOp>(data.getDefiningOp()) ||
          !seen.insert(data).second)
        continue;
      results.push_back(data);
      attrs.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr(kNameAttr, builder.getStringAttr(output)),
           builder.getNamedAttr(kTapAttr, builder.getUnitAttr())}));
    }
}

FailureOr<Value> Importer::takeLast(const TensorValue &value, Value data) {
  if (value.rank() != 3 || !symbols.requireLessEqual(1, value.dims[1])) {
    report(nullptr, "output 'logits' is no [batch, sequence, vocabulary], of "
                    "which --last-logits takes the last position");
    return failure();
  }
  Dims offsets(3), dims = value.dims;
  offsets[1] = value.dims[1] - DimExpr(1);
  dims[1] = DimExpr(1);
  MLIRContext *context = builder.getContext();
  return SliceOp::create(builder, value.loc, getTensorType(dims, value.element),
                         data, getDimsAttr(context, offsets),
                         SmallVector<int64_t>(3, 1), getDimsAttr(context, dims))
      .getResult();
}

LogicalResult Importer::importOutputs(func::FuncOp function) {
  bool hasLogits = false;
  SmallVector<Value> results;
  SmallVector<Attribute> attrs;
  for (const auto &output : file.getModel().graph().output()) {
    TensorValue *value = find(output.name());
    if (!value) {
      report(nullptr, "output '" + output.name() + "' is computed by no node");
      return failure();
    }
    if (value->poisoned)
      continue;
    if (!value->isTensor()) {
      report(nullptr,
             "output '" + output.name() +
                 "' is not a tensor; sequences and optional values are not "
                 "supported as outputs",
             Fault::Limitation);
      return failure();
    }
    if (failed(checkDeclaredDims(output, *value)))
      return failure();
    FailureOr<Value> data = materialize(*value);
    if (failed(data))
      return failure();
    if (options.lastLogits && output.name() == "logits") {
      data = takeLast(*value, *data);
      if (failed(data))
        return failure();
      hasLogits = true;
    }
    results.push_back(*data);
    attrs.push_back(builder.getDictionaryAttr(
        builder.getNamedAttr(kNameAttr, builder.getStringAttr(output.name()))));
  }
  if (options.lastLogits && !hasLogits && errors == 0) {
    report(nullptr, "has no output 'logits', of which --last-logits takes the "
                    "last position");
    return failure();
  }
  if (results.empty() && errors == 0) {
    report(nullptr, "has no outputs");
    return failure();
  }
  if (options.taps)
    addTaps(results, attrs);
  func::ReturnOp::create(builder, builder.getUnknownLoc(), results);
  function.setFunctionType(builder.getFunctionType(
      function.getArgumentTypes(), ValueRange(results).getTypes()));
  function.setAllResultAttrs(attrs);
  return success();
}

} // namespace ferrite::frontend
