//===- Entries.cpp - One entry, or one for each value of a flag -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A merged decoder holds two graphs, one without a past and one with it, and a
// flag among its inputs says which. A plan has no branches: such a model
// becomes two entries, `FLAG_false` and `FLAG_true`, that share weights and
// kernels.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Bindings.h"
#include "lib/Frontend/ONNX/Importer.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// Branches of fewer nodes are both computed, which costs less than a caller
/// who must choose.
constexpr int kLargeBranch = 32;

/// The input of one bool that large branches depend on; empty where there is
/// none.
std::string findFlag(const onnx::GraphProto &graph,
                     ArrayRef<InputBinding> bindings) {
  auto isFlag = [&](StringRef name) {
    auto isNamed = [&](const auto &each) { return each.name() == name; };
    auto input = llvm::find_if(graph.input(), isNamed);
    if (input == graph.input().end() ||
        llvm::any_of(graph.initializer(), isNamed) ||
        llvm::any_of(bindings, [&](auto &each) { return each.name == name; }))
      return false;
    const auto &type = input->type().tensor_type();
    return input->type().has_tensor_type() && type.has_shape() &&
           type.elem_type() == onnx::TensorProto::BOOL &&
           llvm::all_of(type.shape().dim(),
                        [](const auto &dim) { return dim.dim_value() == 1; });
  };
  for (const auto &node : graph.node()) {
    if (node.op_type() != "If" || node.input_size() != 1 ||
        (!node.domain().empty() && node.domain() != "ai.onnx"))
      continue;
    int nodes = 0;
    for (const auto &attribute : node.attribute())
      nodes += attribute.g().node_size();
    if (nodes >= kLargeBranch && isFlag(node.input(0)))
      return node.input(0);
  }
  return "";
}

/// A C identifier, for names of entries become symbols.
std::string makeIdentifier(StringRef name) {
  std::string result;
  for (char c : name.take_front(200))
    result += llvm::isAlnum(c) ? c : '_';
  return result;
}

} // namespace
} // namespace ferrite::frontend

FailureOr<OwningOpRef<ModuleOp>>
ferrite::importOnnxModel(MLIRContext *context, const std::string &path,
                         const ImportOptions &options, ImportSummary *summary) {
  ImportSummary unused;
  ImportSummary &found = summary ? *summary : unused;
  std::string flag;
  // What is wrong with the file is reported by the import itself.
  if (auto file = frontend::ModelFile::open(path))
    flag = frontend::findFlag((*file)->getModel().graph(), options.bindings);
  else
    llvm::consumeError(file.takeError());
  if (flag.empty())
    return frontend::importEntry(context, path, options, found);
  OwningOpRef<ModuleOp> all;
  for (bool value : {false, true}) {
    ImportOptions each = options;
    InputBinding &binding = each.bindings.emplace_back();
    binding.name = flag;
    binding.text = value ? "1" : "0";
    auto module = frontend::importEntry(context, path, each, found);
    if (failed(module))
      return failure();
    auto entry = *(*module)->getOps<func::FuncOp>().begin();
    entry.setName(frontend::makeIdentifier(flag) +
                  (value ? "_true" : "_false"));
    if (!all) {
      all = std::move(*module);
    } else {
      entry->remove();
      all->push_back(entry);
    }
  }
  return std::move(all);
}
