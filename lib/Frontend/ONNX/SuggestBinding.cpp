//===- SuggestBinding.cpp - Options that make a shape a constant ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Importer.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::frontend;

/// Adds what a node reads, and what its branches and bodies do.
static void collectInputs(const onnx::NodeProto &node,
                          std::vector<std::string> &names) {
  names.insert(names.end(), node.input().begin(), node.input().end());
  for (const auto &attribute : node.attribute())
    if (attribute.has_g())
      for (const auto &inner : attribute.g().node())
        collectInputs(inner, names);
}

std::string Importer::suggestBinding(StringRef name) {
  llvm::StringSet<> seen, inputs;
  for (const auto &input : file.getModel().graph().input())
    inputs.insert(input.name());
  std::vector<std::string> pending = {name.str()}, found;
  bool isOfDims = false;
  while (!pending.empty()) {
    std::string value = pending.back();
    pending.pop_back();
    if (value.empty() || !seen.insert(value).second)
      continue;
    if (const onnx::NodeProto *node = definers.lookup(value)) {
      if (node->op_type() == "Shape" || node->op_type() == "Size")
        isOfDims = true;
      else
        collectInputs(*node, pending);
    } else if (inputs.contains(value)) {
      found.push_back(value);
    }
    // Of large graphs: the data itself decides, and that is no constant.
    if (found.size() > 4 || seen.size() > 1000)
      return "";
  }
  // Arithmetic of dims that a polynomial does not hold, remainders say.
  if (found.empty() && isOfDims)
    return "--dim NAME=N";
  std::string text;
  for (const std::string &input : found)
    text += (text.empty() ? "" : " ") + ("--bind '" + input + "'=VALUE");
  return text;
}
