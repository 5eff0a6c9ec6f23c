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
#include "onnx/shape_inference/attribute_binder.h"
#include "onnx/version_converter/convert.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
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
  name.resize(std::min<size_t>(name.size(), 400));
  // The cut may be inside a character.
  return llvm::json::isUTF8(name) ? name : llvm::json::fixUTF8(name);
}

/// A Scan of today with the body of one of opset 8: what differs besides its
/// handler looks at.
static onnx::NodeProto makeScan(const onnx::NodeProto &node) {
  onnx::NodeProto scan = node;
  scan.set_domain("");
  scan.clear_attribute();
  for (const auto &attribute : node.attribute())
    if (attribute.name() != "directions")
      *scan.add_attribute() = attribute;
  return scan;
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
  // Exporters use an op before the opset that has it: then that one's rules are
  // the ones that its handler knows.
  int opset = std::exchange(opsets[""], getNewestOpset());
  onnx::checker::CheckerContext newest;
  newest.set_ir_version(static_cast<int>(model.ir_version()));
  newest.set_opset_imports(opsets);

  const onnx::GraphProto &graph = model.graph();
  // Inputs and initializers are checked where they are imported.
  for (const auto &input : graph.input())
    scope.add(input.name());
  for (const auto &tensor : graph.initializer())
    scope.add(tensor.name());
  for (const auto &node : graph.node()) {
    bool isBatchScan = node.domain() == kBatchScanDomain;
    auto check = [&] {
      if (isBatchScan)
        return onnx::checker::check_node(makeScan(node), context, scope);
      const auto &rules = isKnownOp(node, opset) ? context : newest;
      onnx::checker::check_node(node, rules, scope);
    };
    if (isBatchScan || !skip(node))
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

namespace {
/// Gives the values of a body the names that they have where it is called.
class BodyRenamer {
public:
  BodyRenamer(const onnx::NodeProto &call, const onnx::FunctionProto &body,
              StringRef prefix)
      : prefix(prefix) {
    for (int i = 0; i < body.input_size(); ++i)
      names[body.input(i)] = i < call.input_size() ? call.input(i) : "";
    for (int i = 0; i < body.output_size(); ++i)
      if (i < call.output_size() && !call.output(i).empty())
        names[body.output(i)] = call.output(i);
  }

  void rename(google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes) {
    for (onnx::NodeProto &node : nodes) {
      for (std::string &input : *node.mutable_input())
        rename(input);
      for (std::string &output : *node.mutable_output())
        rename(output);
      node.set_name(prefix.str() +
                    (node.name().empty() ? node.op_type() : node.name()));
      for (auto &attribute : *node.mutable_attribute())
        if (attribute.has_g())
          rename(*attribute.mutable_g());
    }
  }

private:
  void rename(std::string &name) {
    if (name.empty())
      return;
    auto known = names.find(name);
    name = known != names.end() ? known->second : prefix.str() + name;
  }
  void rename(onnx::GraphProto &graph) {
    for (auto &input : *graph.mutable_input())
      rename(*input.mutable_name());
    for (auto &output : *graph.mutable_output())
      rename(*output.mutable_name());
    for (auto &tensor : *graph.mutable_initializer())
      rename(*tensor.mutable_name());
    rename(*graph.mutable_node());
  }

  StringRef prefix;
  std::map<std::string, std::string> names;
};

/// What the checker says about the nodes of a body, whose attributes come from
/// the model.
void checkBody(const onnx::FunctionProto &body, int irVersion) {
  onnx::checker::CheckerContext context;
  onnx::checker::LexicalScopeContext scope;
  context.set_ir_version(irVersion);
  std::unordered_map<std::string, int> opsets;
  for (const auto &opset : body.opset_import())
    opsets[opset.domain()] = static_cast<int>(opset.version());
  context.set_opset_imports(opsets);
  for (const auto &node : body.node()) {
    for (const std::string &input : node.input())
      scope.add(input);
    onnx::checker::check_node(node, context, scope);
    for (const std::string &output : node.output())
      scope.add(output);
  }
}
} // namespace

llvm::Expected<std::unique_ptr<onnx::FunctionProto>>
buildFunctionBody(const onnx::NodeProto &node, int opset, int irVersion,
                  llvm::ArrayRef<onnx::TypeProto> types, StringRef prefix) {
  auto body = std::make_unique<onnx::FunctionProto>();
  bool exists = false;
  Error error = guarded("the standard's body of it cannot be built: ", [&] {
    onnx::NodeProto call = node;
    const onnx::OpSchema *schema = findSchema(node, opset);
    addDefaultAttributes(call, *schema);
    const onnx::FunctionProto *fixed =
        schema->HasFunction() ? schema->GetFunction(opset) : nullptr;
    exists = fixed != nullptr;
    if (fixed) {
      *body = *fixed;
    } else if (schema->HasContextDependentFunction()) {
      onnx::FunctionBodyBuildContextImpl context(
          call, std::vector<onnx::TypeProto>(types.begin(), types.end()));
      exists = schema->BuildContextDependentFunction(context, *body, opset);
    }
    if (!exists)
      return;
    onnx::internal::AttributeBinder::BindAttributes(call, *body);
    BodyRenamer(call, *body, prefix).rename(*body->mutable_node());
    if (llvm::none_of(body->opset_import(), [](const auto &import) {
          return import.domain().empty();
        })) {
      auto *import = body->add_opset_import();
      import->set_domain("");
      import->set_version(opset);
    }
    checkBody(*body, irVersion);
  });
  if (error)
    return std::move(error);
  if (!exists)
    body.reset();
  return std::move(body);
}

bool isKnownOp(const onnx::NodeProto &node, int opset) {
  return findSchema(node, opset) != nullptr;
}

bool takesType(const onnx::NodeProto &node, int opset, unsigned input,
               int32_t type) {
  const onnx::OpSchema *schema = findSchema(node, opset);
  if (!schema || schema->inputs().empty())
    return true;
  onnx::TypeProto proto;
  proto.mutable_tensor_type()->set_elem_type(type);
  const auto &inputs = schema->inputs();
  const auto &types =
      inputs[std::min<size_t>(input, inputs.size() - 1)].GetTypes();
  bool takes = true;
  // Throws for what it has no name for.
  llvm::consumeError(guarded("", [&] {
    takes = types.count(onnx::Utils::DataTypeUtils::ToType(proto)) != 0;
  }));
  return takes;
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
