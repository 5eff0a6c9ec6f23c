//===- FunctionBodies.cpp - Ops that the standard defines by others -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A body may depend on the types of the inputs. All of them are known when the
// node is imported, better than ONNX's shape inference could tell before: so
// bodies are built then, and imported in the node's place.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Importer.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"

using namespace mlir;

namespace ferrite::frontend {

/// A body may use functions; the standard's nest no deeper than this.
constexpr unsigned kMaxFunctionDepth = 8;

onnx::TypeProto Importer::getType(StringRef name) {
  onnx::TypeProto type;
  TensorValue *value = name.empty() ? nullptr : find(name);
  if (!value || !value->isTensor() || value->poisoned)
    return type;
  auto &tensor = *type.mutable_tensor_type();
  for (int32_t each = 1; each < 64; ++each)
    if (getElementType(each) == value->element) {
      tensor.set_elem_type(each);
      break;
    }
  auto &shape = *tensor.mutable_shape();
  for (const DimExpr &dim : value->dims) {
    auto *to = shape.add_dim();
    if (dim.constant())
      to->set_dim_value(*dim.constant());
    else
      to->set_dim_param(dim.str());
  }
  return type;
}

LogicalResult Importer::importFunction(const onnx::NodeProto &node) {
  ++summary.expanded[OpTable::getKey(node)];
  if (functionDepth >= kMaxFunctionDepth) {
    report(&node, "functions nest too deeply", Fault::Limitation);
    return failure();
  }
  SmallVector<onnx::TypeProto> types;
  for (const std::string &input : node.input())
    types.push_back(getType(input));
  // Two nodes may have one name, and a loop imports a node again.
  std::string prefix =
      getNodeName(node) + "/" + std::to_string(bodies.size()) + "/";
  auto built = buildFunctionBody(node, opset,
                                 static_cast<int>(file.getModel().ir_version()),
                                 types, prefix);
  if (!built) {
    report(&node, llvm::toString(built.takeError()));
    return failure();
  }
  if (!*built) {
    report(&node,
           "the op is not supported with these attributes and types of inputs",
           Fault::Limitation);
    return failure();
  }
  const onnx::FunctionProto &body = *bodies.emplace_back(std::move(*built));
  collectUses(body.node());
  int outer = opset;
  for (const auto &import : body.opset_import())
    if (import.domain().empty())
      opset = static_cast<int>(import.version());
  ++functionDepth;
  bool clean = true;
  for (const auto &inner : body.node()) {
    ++summary.ops[OpTable::getKey(inner)];
    clean &= succeeded(importNode(inner));
    if (!clean && !options.collectAll)
      break;
  }
  --functionDepth;
  opset = outer;
  return success(clean);
}

} // namespace ferrite::frontend
