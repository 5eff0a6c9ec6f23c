//===- Inspect.cpp - ferrite inspect --------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What runs comes from the tables that the runtime reads; why it is so
// (fusions, buffers, kernels in words) from the compiler's description beside
// them.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Disassemble.h"
#include "Main.h"
#include "Model.h"
#include "Report.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>
#include <set>
#include <sys/stat.h>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;

namespace {
struct InspectOptions {
  ModelOptions model;
  std::vector<std::string> shapes;
  std::string assembly;
  bool json = false;
};
} // namespace

//===----------------------------------------------------------------------===//
// As JSON: everything
//===----------------------------------------------------------------------===//

static Json tensorJson(const FerriteTensorInfo &info) {
  Json shape = Json::array();
  for (int32_t i = 0; i < info.rank; ++i) {
    const FerriteDimInfo &dim = info.dims[i];
    if (dim.symbol)
      shape.push_back(dim.symbol);
    else
      shape.push_back(dim.size >= 0 ? Json(dim.size) : Json());
  }
  Json result = {{"name", info.name},
                 {"dtype", ferriteDTypeName(info.dtype)},
                 {"shape", shape}};
  if (info.id_limit > 0)
    result["id_limit"] = info.id_limit;
  return result;
}

static Json stateJson(const FerriteAbiState &state) {
  return {{"name", state.name},
          {"dtype", ferriteDTypeName(state.dtype)},
          {"kind", state.kind == FERRITE_STATE_KEYS     ? "keys"
                   : state.kind == FERRITE_STATE_VALUES ? "values"
                                                        : "summary"},
          {"layer", state.layer},
          {"group", state.group == FERRITE_STATE_SOURCE ? "source" : "own"},
          {"heads", state.heads},
          {"width", state.width},
          {"page_tokens", state.page_tokens},
          {"page_bytes", state.page_bytes},
          {"window", state.window},
          {"sinks", state.sinks}};
}

static Json entryJson(const FerriteModel *model, size_t index) {
  const FerriteAbiModel *abi = ferriteModelAbi(model);
  const FerriteAbiEntry &entry = abi->entries[index];
  Json result = {{"name", entry.name},
                 {"symbols", Json::array()},
                 {"inputs", Json::array()},
                 {"outputs", Json::array()},
                 {"role", entry.role == FERRITE_ENTRY_STEP     ? "step"
                          : entry.role == FERRITE_ENTRY_ENCODE ? "encode"
                                                               : "tensors"},
                 {"states", Json::array()},
                 {"launches", Json::array()}};
  FerriteError error;
  for (uint32_t i = 0; i < entry.symbol_count; ++i) {
    FerriteSymbolInfo symbol;
    check(ferriteModelSymbol(model, index, i, &symbol, &error), error);
    result["symbols"].push_back(
        {{"name", symbol.name},
         {"min", symbol.min},
         {"max", symbol.max == INT64_MAX ? Json() : Json(symbol.max)}});
  }
  for (const FerriteTensorInfo &info : listInputs(model, index))
    result["inputs"].push_back(tensorJson(info));
  for (const FerriteTensorInfo &info : listOutputs(model, index))
    result["outputs"].push_back(tensorJson(info));
  for (uint32_t i = 0; i < entry.state_count; ++i)
    result["states"].push_back(stateJson(entry.states[i]));
  for (uint32_t i = 0; i < entry.launch_count; ++i)
    result["launches"].push_back(
        {{"kernel", abi->kernels[entry.launches[i].kernel].name},
         {"nodes", entry.launches[i].name}});
  return result;
}

/// The compiler's description, or an empty object.
static Json descriptionJson(const FerriteModel *model) {
  size_t size = 0;
  const char *text = ferriteModelDescription(model, &size);
  if (!text)
    return Json::object();
  Json json = Json::parse(text, text + size, nullptr,
                          /*allow_exceptions=*/false);
  if (!json.is_object()) {
    fprintf(stderr,
            "%s: warning: the artifact's description is no JSON object and is "
            "not shown\n",
            program().name.c_str());
    return Json::object();
  }
  return json;
}

/// The cubins, and what a launch of each function takes.
static Json cubinsJson(const FerriteAbiModel *abi) {
  Json rows = Json::array();
  for (uint32_t i = 0; i < abi->cuda_count; ++i) {
    const FerriteAbiCudaCode &code = abi->cuda[i];
    Json functions = Json::array();
    std::set<std::string> known;
    for (uint32_t k = 0; k < abi->kernel_count; ++k)
      for (uint64_t v = 0; v < code.kernels[k].variant_count; ++v) {
        const FerriteAbiCudaVariant &variant = code.kernels[k].variants[v];
        if (known.insert(variant.name).second)
          functions.push_back({{"name", variant.name},
                               {"threads", variant.threads},
                               {"shared_bytes", variant.shared_bytes},
                               {"tensor_maps", variant.map_count}});
      }
    rows.push_back({{"name", code.name},
                    {"bytes", code.image_bytes},
                    {"functions", functions}});
  }
  return rows;
}

static Json modelJson(const FerriteModel *model, const std::string &path) {
  const FerriteAbiModel *abi = ferriteModelAbi(model);
  const char *weightsPath = ferriteModelWeightsPath(model);
  struct stat status = {};
  stat(path.c_str(), &status);
  Json result = {{"name", ferriteModelName(model)},
                 {"compiler", ferriteModelCompiler(model)},
                 {"abi_version", abi->version},
                 {"artifact_bytes", int64_t(status.st_size)},
                 {"weights_bytes", ferriteModelWeightsBytes(model)},
                 {"weights_file", weightsPath ? Json(weightsPath) : Json()},
                 {"level", ferriteModelLevel(model)},
                 {"levels", Json::array()},
                 {"cubins", cubinsJson(abi)},
                 {"entries", Json::array()},
                 {"kernels", Json::array()}};
  for (size_t i = 0; i < ferriteModelLevelCount(model); ++i)
    result["levels"].push_back(
        {{"name", ferriteModelLevelName(model, i)},
         {"usable", ferriteModelLevelUsable(model, i) != 0}});
  for (size_t i = 0; i < ferriteModelEntryCount(model); ++i)
    result["entries"].push_back(entryJson(model, i));
  // With --debug each launch has a row of its kernel's name, after the others.
  std::set<std::string> kernels;
  for (uint32_t i = 0; i < abi->kernel_count; ++i)
    if (kernels.insert(abi->kernels[i].name).second)
      result["kernels"].push_back(abi->kernels[i].name);
  result["description"] = descriptionJson(model);
  return result;
}

static Json memoryJson(FerriteModel *model, const InspectOptions &options) {
  size_t entry = findEntry(model, options.model.entry);
  std::vector<Array> arrays = makeInputShapes(model, entry, options.shapes);
  SessionPtr session =
      createSession(model, options.model.entry, /*threads=*/1, false);
  std::vector<FerriteTensor> inputs = tensorsOf(arrays);
  FerriteMemory memory;
  FerriteError error;
  check(ferriteSessionMemory(session.get(), inputs.data(), inputs.size(),
                             &memory, &error),
        error);
  return {{"arena_bytes", memory.arena_bytes},
          {"scratch_bytes", memory.scratch_bytes},
          {"output_bytes", memory.output_bytes},
          {"weights_bytes", memory.weights_bytes}};
}

//===----------------------------------------------------------------------===//
// For people
//===----------------------------------------------------------------------===//

static void printTensors(const char *title, const Json &tensors) {
  for (const Json &tensor : tensors) {
    std::string shape;
    for (const Json &dim : tensor["shape"]) {
      if (!shape.empty())
        shape += " x ";
      shape += dim.is_string() ? dim.get<std::string>()
               : dim.is_null() ? "?"
                               : dim.dump();
    }
    printf("  %-7s %s: %s [%s]", title,
           tensor["name"].get<std::string>().c_str(),
           tensor["dtype"].get<std::string>().c_str(), shape.c_str());
    if (tensor.contains("id_limit"))
      printf(", below %s", tensor["id_limit"].dump().c_str());
    printf("\n");
  }
}

static void printState(const Json &state) {
  printf(
      "  state   %s: %s of layer %s, %s [%s x %s], pages of %s tokens in %s "
      "bytes",
      state["name"].get<std::string>().c_str(),
      state["kind"].get<std::string>().c_str(), state["layer"].dump().c_str(),
      state["dtype"].get<std::string>().c_str(), state["heads"].dump().c_str(),
      state["width"].dump().c_str(), state["page_tokens"].dump().c_str(),
      state["page_bytes"].dump().c_str());
  if (state["group"] == "source")
    printf(", of the source");
  if (state["window"] != -1)
    printf(", window %s", state["window"].dump().c_str());
  if (state["sinks"] != 0)
    printf(", the first %s", state["sinks"].dump().c_str());
  printf("\n");
}

static void printEntry(const Json &entry) {
  const Json &role = entry["role"];
  printf("entry %s%s\n", entry["name"].get<std::string>().c_str(),
         role == "step"     ? ": tokens of many sequences"
         : role == "encode" ? ": keys and values of a source"
                            : "");
  printTensors("input", entry["inputs"]);
  printTensors("output", entry["outputs"]);
  for (const Json &state : entry["states"])
    printState(state);
  for (const Json &symbol : entry["symbols"]) {
    printf("  size    %s from %s", symbol["name"].get<std::string>().c_str(),
           symbol["min"].dump().c_str());
    if (symbol["max"].is_null())
      printf(" up\n");
    else
      printf(" to %s\n", symbol["max"].dump().c_str());
  }
  printf("  launches\n");
  size_t index = 0;
  for (const Json &launch : entry["launches"])
    printf("  %4zu %-32s %s\n", index++,
           launch["kernel"].get<std::string>().c_str(),
           launch["nodes"].is_null()
               ? ""
               : launch["nodes"].get<std::string>().c_str());
}

/// "first" to "last" are launches; offsets are expressions of the sizes.
static void printBuffers(const Json &description) {
  if (!description.contains("entries") || !description["entries"].is_array())
    return;
  for (const Json &entry : description["entries"]) {
    if (!entry.is_object() || !entry.contains("buffers") ||
        !entry["buffers"].is_array() || entry["buffers"].empty())
      continue;
    printf("memory plan of %s\n  %-9s %-28s %-28s %s\n",
           entry.value("name", "?").c_str(), "launches", "bytes", "at",
           "value");
    for (const Json &buffer : entry["buffers"]) {
      if (!buffer.is_object())
        continue;
      auto text = [&](const char *key) {
        auto found = buffer.find(key);
        if (found == buffer.end())
          return std::string("?");
        return found->is_string() ? found->get<std::string>() : found->dump();
      };
      printf("  %-9s %-28s %-28s %s\n",
             (text("first") + "-" + text("last")).c_str(),
             text("bytes").c_str(), text("offset").c_str(),
             text("value").c_str());
    }
  }
}

static void printModel(const Json &model) {
  printf("%s, written by %s, ABI %s\n",
         model["name"].get<std::string>().c_str(),
         model["compiler"].get<std::string>().c_str(),
         model["abi_version"].dump().c_str());
  printf("file     %s\n",
         bytesString(model["artifact_bytes"].get<double>()).c_str());
  printf("weights  %s%s\n",
         bytesString(model["weights_bytes"].get<double>()).c_str(),
         model["weights_file"].is_null()
             ? ""
             : (" in " + model["weights_file"].get<std::string>()).c_str());
  printf("levels  ");
  for (const Json &level : model["levels"]) {
    std::string name = level["name"];
    printf(" %s%s", name.c_str(),
           name == model["level"]        ? " (taken)"
           : level["usable"].get<bool>() ? ""
                                         : " (not on this machine)");
  }
  printf("\n");
  for (const Json &cubin : model["cubins"])
    printf("cubin    %s, %s, %zu functions\n",
           cubin["name"].get<std::string>().c_str(),
           bytesString(cubin["bytes"].get<double>()).c_str(),
           cubin["functions"].size());
  for (const Json &entry : model["entries"])
    printEntry(entry);
  const Json &description = model["description"];
  const struct {
    const char *title, *key;
    void (*print)(const Json &);
  } sections[] = {{"fused", "fusions", printFusions},
                  {"quantized", "layers", printLayers},
                  {"noted", "notes", printNotes},
                  {"kernels", "kernels", printKernels}};
  for (const auto &section : sections) {
    auto found = description.find(section.key);
    if (found == description.end() || !found->is_array() || found->empty())
      continue;
    printf("%s\n", section.title);
    section.print(*found);
  }
  printArenas(description);
  printBuffers(description);
}

static void printAssembly(const FerriteModel *model,
                          const InspectOptions &options) {
  const FerriteAbiModel *abi = ferriteModelAbi(model);
  std::vector<std::string> names;
  for (uint32_t i = 0; i < abi->kernel_count; ++i) {
    names.push_back(abi->kernels[i].name);
    if (names.back() == options.assembly)
      return disassemble(options.model.artifact, ferriteModelKernel(model, i));
  }
  throw Error(format("no kernel '%s'%s", options.assembly.c_str(),
                     names.size() <= 20
                         ? (": the model has " + quotedList(names)).c_str()
                         : suggestion(options.assembly, names).c_str()));
}

static int inspect(const InspectOptions &options) {
  ModelPtr model = loadModel(options.model);
  if (!options.assembly.empty()) {
    printAssembly(model.get(), options);
    return 0;
  }
  Json json = modelJson(model.get(), options.model.artifact);
  if (!options.shapes.empty())
    json["memory"] = memoryJson(model.get(), options);
  if (options.json) {
    printf("%s\n",
           json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    return 0;
  }
  printModel(json);
  if (json.contains("memory"))
    printf("memory at this shape: arena %s, scratch %s a thread, outputs %s\n",
           bytesString(json["memory"]["arena_bytes"].get<double>()).c_str(),
           bytesString(json["memory"]["scratch_bytes"].get<double>()).c_str(),
           bytesString(json["memory"]["output_bytes"].get<double>()).c_str());
  return 0;
}

void addInspect(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *command =
      app.add_subcommand("inspect", "Show what is in a compiled model");
  addModelOptions(*command, options->model);
  command
      ->add_option("--shape", options->shapes,
                   "NAME=2x128: add the memory that a run on this shape "
                   "needs")
      ->allow_extra_args(false);
  auto *assembly =
      command->add_option("--asm", options->assembly,
                          "print the machine code of this kernel instead");
  command->add_flag("--json", options->json, "print one JSON object")
      ->excludes(assembly);
  command->footer(
      examples({"inspect $MODEL", "inspect $MODEL --shape input_ids=8x128",
                "inspect $MODEL --cpu=avx2 --asm KERNEL"}));
  command->callback([options, &exitCode] { exitCode = inspect(*options); });
}

} // namespace ferrite::cli
