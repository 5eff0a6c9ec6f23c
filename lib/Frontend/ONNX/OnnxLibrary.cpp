//===- OnnxLibrary.cpp - ONNX's own library, without exceptions -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "onnx/checker.h"
#include "onnx/defs/parser.h"
#include "onnx/defs/schema.h"
#include "onnx/inliner/inliner.h"
#include "onnx/shape_inference/implementation.h"
#include "onnx/version_converter/convert.h"
#include "llvm/ADT/StringExtras.h"
#include <exception>
#include <map>
#include <set>
#include <unordered_map>

using llvm::createStringError;
using llvm::Error;
using llvm::StringRef;

namespace ferrite::frontend {
namespace {

/// The checker's "==> Context: ..." repeats the node, which our location has.
std::string oneLine(StringRef text) {
  text = text.split("==> Context").first;
  // Assertions begin with the place in ONNX's sources.
  if (text.contains("Assertion `"))
    text = text.split("failed: ").second;
  std::string out;
  for (char c : text.take_front(400)) {
    bool space = c == '\n' || c == '\t' || c == ' ' || c == '\r';
    if (space && (out.empty() || out.back() == ' '))
      continue;
    out.push_back(space ? ' ' : c);
  }
  return StringRef(out).rtrim().str();
}

/// Calls `body`; an exception becomes an Error of one line.
template <typename Body>
Error guarded(StringRef what, Body &&body) {
  std::string message;
  try {
    body();
    return Error::success();
  } catch (const std::exception &e) {
    message = oneLine(e.what());
  } catch (...) {
    message = "unknown failure";
  }
  return createStringError(what.str() + message);
}

constexpr uint64_t kMaxInlinedNodes = 400000;

using FunctionKey = std::pair<std::string, std::string>;

/// Nodes after inlining, by function; saturates above the limit. Cycles are the
/// checker's to find: a function on the path counts nothing.
class InlinedSize {
public:
  explicit InlinedSize(const onnx::ModelProto &model) {
    for (const auto &function : model.functions())
      functions[{function.domain(), function.name()}] = &function;
  }

  template <typename Nodes>
  uint64_t count(const Nodes &nodes, unsigned depth) {
    uint64_t total = 0;
    for (const onnx::NodeProto &node : nodes) {
      total += 1 + countCall({node.domain(), node.op_type()}, depth);
      for (const auto &attribute : node.attribute()) {
        if (attribute.has_g())
          total += count(attribute.g().node(), depth);
        for (const auto &graph : attribute.graphs())
          total += count(graph.node(), depth);
      }
      if (total > kMaxInlinedNodes)
        return kMaxInlinedNodes + 1;
    }
    return total;
  }

private:
  uint64_t countCall(const FunctionKey &key, unsigned depth) {
    auto function = functions.find(key);
    if (function == functions.end() || depth > 100 || !path.insert(key).second)
      return 0;
    auto [entry, isNew] = sizes.try_emplace(key, 0);
    if (isNew)
      entry->second = count(function->second->node(), depth + 1);
    path.erase(key);
    return entry->second;
  }

  std::map<FunctionKey, const onnx::FunctionProto *> functions;
  std::map<FunctionKey, uint64_t> sizes;
  std::set<FunctionKey> path;
};

const onnx::OpSchema *findSchema(const onnx::NodeProto &node, int opset) {
  StringRef domain = node.domain() == "ai.onnx" ? "" : StringRef(node.domain());
  return onnx::OpSchemaRegistry::Schema(node.op_type(), opset, domain.str());
}

} // namespace

std::string getNodeName(const onnx::NodeProto &node) {
  std::string name = node.name();
  if (name.empty() && node.output_size() > 0)
    name = node.op_type() + "(" + node.output(0) + ")";
  if (name.empty())
    name = node.op_type();
  for (char &c : name)
    if (!llvm::isPrint(c) && static_cast<unsigned char>(c) < 128)
      c = '?';
  return name.substr(0, 400);
}

bool checkModel(ModelFile &file,
                llvm::function_ref<bool(const onnx::NodeProto &)> skip,
                NodeError emit) {
  bool clean = true;
  const onnx::ModelProto &model = file.getModel();
  file.hideSources();
  onnx::checker::CheckerContext context;
  onnx::checker::LexicalScopeContext scope;
  context.set_ir_version(static_cast<int>(model.ir_version()));
  std::unordered_map<std::string, int> opsets;
  for (const auto &opset : model.opset_import())
    opsets[opset.domain() == "ai.onnx" ? "" : opset.domain()] =
        static_cast<int>(opset.version());
  context.set_opset_imports(opsets);

  const onnx::GraphProto &graph = model.graph();
  // Inputs and initializers are checked where they are imported.
  for (const auto &input : graph.input())
    scope.add(input.name());
  for (const auto &tensor : graph.initializer())
    scope.add(tensor.name());
  for (const auto &node : graph.node()) {
    auto check = [&] { onnx::checker::check_node(node, context, scope); };
    if (!skip(node))
      if (Error error = guarded("", check)) {
        emit(&node, llvm::toString(std::move(error)));
        clean = false;
      }
    for (const auto &output : node.output())
      scope.add(output);
  }
  file.restoreSources();
  return clean;
}

Error inlineFunctions(onnx::ModelProto &model) {
  if (model.functions_size() == 0)
    return Error::success();
  if (InlinedSize(model).count(model.graph().node(), 0) > kMaxInlinedNodes)
    return createStringError("the model's functions expand to more than " +
                             std::to_string(kMaxInlinedNodes) + " nodes");
  return guarded("the model's functions cannot be inlined: ", [&] {
    onnx::inliner::InlineLocalFunctions(model, /*convert_version=*/true);
  });
}

/// A body refers to attributes by name: defaults have to be there.
static void addDefaultAttributes(onnx::NodeProto &node,
                                 const onnx::OpSchema &schema) {
  for (const auto &[name, attribute] : schema.attributes()) {
    auto has = [&, &wanted = name](const onnx::AttributeProto &given) {
      return given.name() == wanted;
    };
    if (attribute.default_value.type() != onnx::AttributeProto::UNDEFINED &&
        llvm::none_of(node.attribute(), has)) {
      *node.add_attribute() = attribute.default_value;
      node.mutable_attribute()->rbegin()->set_name(name);
    }
  }
}

Error expandFunctions(
    onnx::ModelProto &model, int opset,
    llvm::function_ref<bool(const onnx::NodeProto &)> select) {
  onnx::inliner::FunctionIdVector ids;
  for (auto &node : *model.mutable_graph()->mutable_node())
    if (select(node)) {
      ids.emplace_back(node.domain(), node.op_type());
      if (const onnx::OpSchema *schema = findSchema(node, opset))
        addDefaultAttributes(node, *schema);
    }
  if (ids.empty())
    return Error::success();
  return guarded("the standard's function bodies cannot be expanded: ", [&] {
    onnx::shape_inference::InferShapes(model);
    auto set = onnx::inliner::FunctionIdSet::Create(std::move(ids));
    onnx::inliner::InlineSelectedFunctions(model, *set, nullptr);
  });
}

bool isKnownOp(const onnx::NodeProto &node, int opset) {
  return findSchema(node, opset) != nullptr;
}

bool hasFunctionBody(const onnx::NodeProto &node, int opset) {
  const onnx::OpSchema *schema = findSchema(node, opset);
  return schema &&
         (schema->HasFunction() || schema->HasContextDependentFunction());
}

Error convertVersion(onnx::ModelProto &model, int target) {
  return guarded(
      "the model cannot be converted to opset " + std::to_string(target) + ": ",
      [&] { model = onnx::version_conversion::ConvertVersion(model, target); });
}

Error parseText(StringRef text, onnx::ModelProto &model) {
  std::string message;
  Error error = guarded("", [&] {
    std::string copy = text.str();
    auto status = onnx::OnnxParser::Parse(model, copy.c_str());
    if (!status.IsOK())
      message = oneLine(status.ErrorMessage());
  });
  if (error || message.empty())
    return error;
  return createStringError(message);
}

int getNewestOpset() {
  const auto &map =
      onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  return map.at("").second;
}

int getNewestIRVersion() { return onnx::Version::IR_VERSION; }

} // namespace ferrite::frontend
