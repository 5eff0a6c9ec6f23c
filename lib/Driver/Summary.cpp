//===- Summary.cpp - The JSON of a compilation ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Summary.h"

#include "dialects/Plan/IR/Plan.h"
#include "passes/Planning/Lifetimes.h"
#include "passes/Select/CostModel.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ferrite;
using llvm::json::Array;
using llvm::json::Object;

static StringRef emitName(int32_t emit) {
  static constexpr StringLiteral names[] = {"so",   "static", "exe", "obj",
                                            "llvm", "mlir",   "cuda"};
  return names[emit];
}

/// Fusion remarks by kind.
static Array fusions(const RemarkLog &remarks, bool all) {
  struct Kind {
    int64_t fused = 0, candidates = 0;
    Array records;
  };
  // Arrays of JSON copy their elements when they grow.
  llvm::StringMap<size_t> counts;
  for (const RemarkRecord &record : remarks.records())
    ++counts[record.pass];
  llvm::MapVector<StringRef, Kind, llvm::StringMap<unsigned>> kinds;
  for (const RemarkRecord &record : remarks.records()) {
    StringRef name = fusionKind(record.pass);
    if (name.empty() || !(record.passed || record.missed))
      continue;
    Kind &kind = kinds[name];
    ++kind.candidates;
    kind.fused += record.passed;
    if (record.passed && !all)
      continue;
    kind.records.reserve(counts[record.pass]);
    Object entry{{"node", record.node}, {"fused", record.passed}};
    if (!record.reason.empty())
      entry["reason"] = record.reason;
    for (const auto &[key, value] : record.facts)
      entry.try_emplace(key, value);
    kind.records.push_back(std::move(entry));
  }
  Array result;
  for (auto &[name, kind] : kinds)
    result.push_back(Object{{"kind", name},
                            {"fused", kind.fused},
                            {"candidates", kind.candidates},
                            {"records", std::move(kind.records)}});
  return result;
}

/// Each part of the model: what it was matched as, or what was missing.
static Array concepts(ArrayRef<ConceptRecord> records, bool all) {
  Array result;
  result.reserve(records.size());
  for (const ConceptRecord &record : records) {
    if (record.reason.empty() && !all)
      continue;
    Object row{{"concept", record.kind},
               {"nodes", record.nodes},
               {"matched", record.reason.empty()}};
    if (!record.into.empty())
      row["into"] = record.into;
    if (!record.reason.empty())
      row["reason"] = record.reason;
    result.push_back(std::move(row));
  }
  return result;
}

/// Copies and other things that passes after fusion noted.
static Array notes(const RemarkLog &remarks) {
  Array result;
  for (const RemarkRecord &record : remarks.records())
    if (record.missed && fusionKind(record.pass).empty())
      result.push_back(Object{{"pass", record.pass},
                              {"name", record.name},
                              {"node", record.node},
                              {"reason", record.reason}});
  return result;
}

static Array symbols(plan::EntryOp entry) {
  Array result;
  for (Attribute attr : entry.getSymbols()) {
    auto symbol = cast<SymbolAttr>(attr);
    Object row{
        {"name", symbol.getName()}, {"min", symbol.getMin()}, {"max", nullptr}};
    if (symbol.getMax() != INT64_MAX)
      row["max"] = symbol.getMax();
    result.push_back(std::move(row));
  }
  return result;
}

static Array kernels(ModuleOp plan) {
  llvm::StringMap<int64_t> launches;
  plan.walk([&](plan::LaunchOp launch) { ++launches[launch.getKernel()]; });
  Array result;
  for (auto kernel : plan.getOps<plan::KernelOp>())
    result.push_back(
        Object{{"name", kernel.getSymName()},
               {"kernel", kernel.getComputation()->getName().getStringRef()},
               {"launches", launches[kernel.getSymName()]}});
  return result;
}

/// The plan is verified: its sizes parse.
static std::vector<std::pair<plan::BufferOp, ArenaBuffer>>
buffersOf(plan::EntryOp entry) {
  auto lifetimes = findLifetimes(entry);
  if (failed(lifetimes))
    return {};
  return std::move(*lifetimes);
}

/// Bytes of the arena at the shapes that benchmarks use.
static Array arena(plan::EntryOp entry) {
  Array result;
  std::vector<ArenaBuffer> buffers;
  for (const auto &[op, buffer] : buffersOf(entry))
    buffers.push_back(buffer);
  auto total = DimExpr::parse(entry.getArena().value_or("0"));
  std::vector<std::string> names;
  for (const ArenaBuffer &buffer : buffers)
    for (const std::string &name : buffer.bytes.symbols())
      if (!llvm::is_contained(names, name))
        names.push_back(name);
  llvm::sort(names);
  for (auto [batch, size] :
       {std::pair<int64_t, int64_t>(1, 16), {1, 128}, {8, 128}}) {
    Object shape;
    bool sameAsBefore = names.size() == 1 && batch == 1 && size == 128 &&
                        StringRef(names[0]).contains_insensitive("batch");
    if (sameAsBefore)
      continue;
    auto sizeOf = [&, batch = batch, size = size](StringRef name) {
      return std::optional(name.contains_insensitive("batch") ? batch : size);
    };
    for (const std::string &name : names)
      shape[name] = *sizeOf(name);
    std::optional<ArenaBytes> bytes =
        total ? measureArena(buffers, *total, sizeOf) : std::nullopt;
    if (bytes)
      result.push_back(Object{{"shape", std::move(shape)},
                              {"naive", bytes->naive},
                              {"planned", bytes->planned},
                              {"lower_bound", bytes->lowerBound}});
    if (names.empty())
      break;
  }
  return result;
}

static std::vector<std::pair<plan::LaunchOp, LaunchCost>>
costs(plan::EntryOp entry) {
  SymbolTable symbols(entry->getParentOp());
  std::vector<std::pair<plan::LaunchOp, LaunchCost>> result;
  for (auto launch : entry.getBody().getOps<plan::LaunchOp>())
    result.push_back({launch, costOf(launch, symbols.lookup<plan::KernelOp>(
                                                 launch.getKernel()))});
  return result;
}

/// The time that each launch must take at least, at some shapes.
static Array stages(plan::EntryOp entry, const DriverOptions &options,
                    const CompileRecord &record) {
  const MachineProfile &machine = options.machine;
  Array result;
  if (record.levels.empty())
    return result;
  StringRef level = record.levels.front();
  for (auto &[launch, cost] : costs(entry)) {
    Array predicted;
    for (auto [batch, size] :
         {std::pair<int64_t, int64_t>(1, 16), {1, 128}, {8, 128}}) {
      Object shape;
      auto sizeOf = [&, batch = batch, size = size](StringRef name) {
        int64_t value = name.contains_insensitive("batch") ? batch : size;
        shape[name.str()] = value;
        return std::optional(value);
      };
      std::optional<int64_t> operations = cost.operations.evaluate(sizeOf);
      std::optional<int64_t> bytes = cost.bytes.evaluate(sizeOf);
      StringRef instruction = instructionOf(cost.arithmetic, level, machine);
      if (!operations || !bytes || instruction.empty())
        continue;
      double seconds =
          leastSeconds(*operations, *bytes, cost, record.weightsBytes, level,
                       /*allThreads=*/false, machine);
      bool constant = shape.empty();
      Object row{{"shape", std::move(shape)}, {"seconds", seconds}};
      if (*operations > 0)
        row["peak_percent"] = 100 * double(*operations) / seconds /
                              machine.operations.lookup(instruction).one;
      predicted.push_back(std::move(row));
      if (constant)
        break;
    }
    result.push_back(Object{{"nodes", nodeNames(launch.getLoc())},
                            {"kernel", launch.getKernel()},
                            {"predicted", std::move(predicted)}});
  }
  return result;
}

static Object describeEntry(plan::EntryOp entry) {
  Array launches, buffers;
  for (const auto &[launch, cost] : costs(entry))
    launches.push_back(
        Object{{"nodes", Array{nodeNames(plan::LaunchOp(launch).getLoc())}},
               {"kernel", plan::LaunchOp(launch).getKernel()},
               {"operations", cost.operations.str()},
               {"bytes", cost.bytes.str()},
               {"weight_bytes", cost.weightBytes},
               {"arithmetic", cost.arithmetic}});
  for (const auto &[op, buffer] : buffersOf(entry))
    buffers.push_back(
        Object{{"value", nodeNames(op->getLoc())},
               {"offset", plan::BufferOp(op).getOffset().value_or("")},
               {"bytes", plan::BufferOp(op).getBytes()},
               {"first", buffer.first},
               {"last", buffer.last}});
  return Object{{"name", entry.getSymName()},
                {"launches", std::move(launches)},
                {"buffers", std::move(buffers)}};
}

/// What --quantize did.
static Array layers(const CompileRecord &record) {
  Array result;
  result.reserve(record.layers.size());
  for (const LayerRecord &layer : record.layers) {
    Object row{{"node", layer.node},
               {"weight", layer.weight},
               {"format", layer.format},
               {"wide_bytes", layer.wideBytes},
               {"stored_bytes", layer.storedBytes}};
    if (layer.error >= 0)
      row["error"] = layer.error;
    if (layer.kld >= 0)
      row["kld"] = layer.kld;
    if (!layer.why.empty())
      row["reason"] = layer.why;
    result.push_back(std::move(row));
  }
  return result;
}

/// What ptxas says of each function: "Compiling entry function 'f' for ..",
/// then ".. bytes spill stores", then "Used 40 registers, ..".
static Array cudaFunctions(StringRef log) {
  Array functions;
  Object row;
  auto numberBefore = [](StringRef line, StringRef word) -> int64_t {
    StringRef before = line.take_front(line.find(word)).rtrim();
    size_t at = before.find_last_not_of("0123456789");
    int64_t value = 0;
    before.drop_front(at == StringRef::npos ? 0 : at + 1)
        .getAsInteger(10, value);
    return value;
  };
  while (!log.empty()) {
    auto [line, rest] = log.split('\n');
    log = rest;
    if (line.contains("Compiling entry function '")) {
      row = Object{{"name", line.split("function '").second.split("'").first}};
    } else if (line.contains("bytes spill stores")) {
      row["stack_bytes"] = numberBefore(line, "bytes stack frame");
      row["spill_bytes"] = numberBefore(line, "bytes spill stores") +
                           numberBefore(line, "bytes spill loads");
    } else if (line.contains("Used ") && line.contains("registers")) {
      row["registers"] = numberBefore(line, "registers");
      if (row.get("name"))
        functions.push_back(std::move(row));
      row = Object();
    }
  }
  return functions;
}

/// What the compilers complain of. What ptxas makes slower than it was written
/// (products of warpgroups one after the other, registers that are not
/// exchanged) it calls information.
static Array cudaWarnings(StringRef log) {
  Array lines;
  while (!log.empty()) {
    auto [line, rest] = log.split('\n');
    log = rest;
    if (line.contains_insensitive("warning") ||
        line.contains("Potential Performance Loss") ||
        line.contains("setmaxnreg"))
      lines.push_back(line.trim());
  }
  return lines;
}

static Array gpus(const CompileRecord &record) {
  Array rows;
  for (const CompileRecord::Gpu &gpu : record.gpus)
    rows.push_back(Object{{"name", gpu.name},
                          {"cubin_bytes", gpu.cubinBytes},
                          {"compiler", gpu.tool},
                          {"functions", cudaFunctions(gpu.log)},
                          {"warnings", cudaWarnings(gpu.log)}});
  return rows;
}

Object ferrite::summarize(ModuleOp plan, const DriverOptions &options,
                          const CompileRecord &record, SummaryKind kind) {
  Object json{
      {"model", options.name},
      {"source", llvm::sys::path::filename(options.model)},
      {"emit", emitName(options.emit)},
      {"levels", Array(record.levels)},
      {"weights_bytes", record.weightsBytes},
      {"weights_file", nullptr},
      {"onnx_nodes", record.import.nodes},
      {"fusions", fusions(record.remarks, kind != SummaryKind::Result)},
      {"concepts", concepts(record.concepts, kind == SummaryKind::Report)},
      {"notes", notes(record.remarks)}};
  if (!record.weightsFile.empty())
    json["weights_file"] = record.weightsFile;
  if (!record.layers.empty())
    json["layers"] = layers(record);
  if (!record.pruned.empty())
    json["pruned"] = describePruned(record);
  if (kind == SummaryKind::Report)
    json["weight_zeros"] = describeZeros(record);
  if (kind == SummaryKind::Report && !record.attentions.empty())
    json["attention"] = describeAttentions(record);
  Object own;
  for (const auto &[level, kernels] : record.ownKernels)
    own[level] = Array(kernels);
  json["own_kernels"] = std::move(own);
  if (!record.gpus.empty())
    json["gpus"] = gpus(record);
  if (plan) {
    json["kernels"] = kernels(plan);
    int64_t launchCount = 0;
    Array entries;
    for (auto entry : plan.getOps<plan::EntryOp>()) {
      auto launches = entry.getBody().getOps<plan::LaunchOp>();
      launchCount += std::distance(launches.begin(), launches.end());
      // Those of the default entry stand by themselves as well.
      if (!json.get("arena")) {
        json["symbols"] = symbols(entry);
        json["arena"] = arena(entry);
      }
      Object row = kind == SummaryKind::Description
                       ? describeEntry(entry)
                       : Object{{"name", entry.getSymName()}};
      row["symbols"] = symbols(entry);
      row["arena"] = arena(entry);
      if (kind == SummaryKind::Report)
        row["stages"] = stages(entry, options, record);
      entries.push_back(std::move(row));
    }
    json["launches"] = launchCount;
    json["entries"] = std::move(entries);
  }
  if (kind != SummaryKind::Description) {
    json["machine"] = options.machine.name;
    Array phases;
    for (auto [phase, seconds] : record.seconds)
      phases.push_back(
          Object{{"name", phaseName(phase)}, {"seconds", seconds}});
    json["phases"] = std::move(phases);
    json["seconds"] = record.totalSeconds;
    json["output"] = options.output;
    json["artifact_bytes"] = record.artifactBytes;
  }
  return json;
}
