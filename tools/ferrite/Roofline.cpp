//===- Roofline.cpp - Launches beside what the machine can do -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Roofline.h"
#include "Error.h"
#include "machine/Caches.h"
#include "machine/Probes.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;
using Symbols = std::map<std::string, double>;

/// Enough for the least time of each launch to be that of the launch.
static constexpr int kRuns = 7;

/// A polynomial as DimExpr prints it, "batch*sequence*12 + 4"; less than 0
/// when a symbol is unknown.
static double evaluate(const std::string &text, const Symbols &symbols) {
  double sum = 0, factor = 1;
  std::string word;
  bool any = false;
  auto take = [&] {
    if (word.empty())
      return true;
    any = true;
    char *end = nullptr;
    double value = strtod(word.c_str(), &end);
    if (*end != 0) {
      auto found = symbols.find(word);
      if (found == symbols.end())
        return false;
      value = found->second;
    }
    factor *= value;
    word.clear();
    return true;
  };
  double sign = 1;
  for (size_t i = 0; i <= text.size(); ++i) {
    // Terms are joined by " + " and " - "; a sign elsewhere is a number's.
    bool joint = i + 2 < text.size() && text[i] == ' ' && text[i + 2] == ' ';
    if (i == text.size() || joint) {
      if (!take())
        return -1;
      sum += sign * factor;
      factor = 1;
      if (joint) {
        sign = text[i + 1] == '-' ? -1 : 1;
        i += 2;
      }
    } else if (text[i] == '*') {
      if (!take())
        return -1;
    } else {
      word += text[i];
    }
  }
  return any ? sum : -1;
}

static Symbols symbolsOf(const FerriteModel *model, size_t entry,
                         const std::vector<FerriteTensor> &tensors) {
  Symbols symbols;
  std::vector<FerriteTensorInfo> inputs = listInputs(model, entry);
  for (size_t i = 0; i < inputs.size() && i < tensors.size(); ++i)
    for (int32_t d = 0; d < inputs[i].rank && d < tensors[i].rank; ++d)
      if (inputs[i].dims[d].symbol)
        symbols[inputs[i].dims[d].symbol] = double(tensors[i].shape[d]);
  return symbols;
}

/// What the description says of the entry's launches.
static void addCosts(const FerriteModel *model, size_t entry,
                     const Symbols &symbols, std::vector<StageProfile> &rows) {
  size_t size = 0;
  const char *text = ferriteModelDescription(model, &size);
  Json json = text ? Json::parse(text, text + size, nullptr, false) : Json();
  if (!json.is_object() || !json.contains("entries") ||
      !json["entries"].is_array() || json["entries"].size() <= entry ||
      !json["entries"][entry].is_object())
    return;
  const Json &found = json["entries"][entry];
  if (!found.contains("launches") || !found["launches"].is_array() ||
      found["launches"].size() != rows.size())
    return;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json &launch = found["launches"][i];
    auto polynomial = [&](const char *key) {
      return launch.is_object() && launch.contains(key) &&
                     launch[key].is_string()
                 ? evaluate(launch[key].get<std::string>(), symbols)
                 : -1;
    };
    rows[i].operations = polynomial("operations");
    rows[i].bytes = polynomial("bytes");
    if (launch.is_object() && launch.contains("weight_bytes") &&
        launch["weight_bytes"].is_number())
      rows[i].weightBytes = launch["weight_bytes"].get<double>();
    if (launch.is_object() && launch.contains("arithmetic") &&
        launch["arithmetic"].is_string())
      rows[i].arithmetic = launch["arithmetic"].get<std::string>();
  }
}

/// The instruction that does the products of a launch at a level.
static const machine::Instruction *instructionOf(const std::string &arithmetic,
                                                 const std::string &level) {
  bool isAmx = level == "amx", wide = isAmx || level.rfind("avx512", 0) == 0;
  auto has = [&](const char *part) {
    return level.find(part) != std::string::npos;
  };
  const char *name = wide ? "f32_512" : "f32_256";
  // Levels above avx512_vnni have its instructions.
  bool dots = isAmx || has("vnni") || has("bf16") || has("fp16");
  if (arithmetic == "i8" && dots)
    name = wide ? "i8_dot_512" : "i8_dot_256";
  else if (arithmetic == "bf16" && has("bf16"))
    name = "bf16_dot_512";
  else if (arithmetic == "f16" && has("fp16"))
    name = "f16_512";
  return machine::findInstruction(name);
}

/// Measures, and compares each stage.
static void addRoofline(Roofline &roofline, const std::string &level,
                        int32_t threads) {
  std::map<std::string, double> peaks;
  for (const StageProfile &stage : roofline.stages)
    if (const machine::Instruction *found =
            instructionOf(stage.arithmetic, level);
        found && !peaks.count(stage.arithmetic))
      peaks[stage.arithmetic] = machine::peakTogether(*found, threads, 0.05);
  roofline.f32Peak = peaks.count("f32") ? peaks["f32"] : 0;
  machine::Caches caches = machine::caches();
  // As much as the weights that a run reads in turn, from where they lie.
  size_t bytes = size_t(std::clamp<int64_t>(
      roofline.allWeights, INT64_C(1) << 20, INT64_C(256) << 20));
  machine::Buffer buffer(bytes);
  if (buffer.data()) {
    roofline.readRate = machine::readRate(buffer.data(), bytes, threads, 0.1);
    size_t cached = std::min(size_t(caches.l2 / 2 * threads), bytes);
    roofline.cacheRate =
        machine::readRate(buffer.data(), cached, threads, 0.05);
  }
  for (StageProfile &stage : roofline.stages) {
    if (stage.seconds <= 0 || stage.operations < 0)
      continue;
    double least = 0;
    if (double peak = peaks[stage.arithmetic]; peak > 0) {
      least = stage.operations / peak;
      stage.peakShare = least / stage.seconds;
    }
    if (roofline.readRate > 0 && stage.bytes >= stage.weightBytes &&
        stage.weightBytes >= 0)
      least = std::max(least, stage.weightBytes / roofline.readRate +
                                  (stage.bytes - stage.weightBytes) /
                                      roofline.cacheRate);
    stage.rooflineShare = least / stage.seconds;
  }
}

static std::vector<WorkerTrack> tracksOf(FerriteSession *session) {
  FerriteError error;
  const FerriteWorkerSpan *spans = nullptr;
  const FerriteLaunchProfile *rows = nullptr;
  size_t workers = 0, launches = 0;
  check(ferriteSessionProfile(session, &rows, &launches, &error), error);
  check(ferriteSessionWorkers(session, &spans, &workers, &error), error);
  std::vector<WorkerTrack> tracks;
  for (size_t worker = 0; worker < workers; ++worker)
    for (size_t i = 0; i < launches; ++i) {
      const FerriteWorkerSpan &span = spans[i * workers + worker];
      if (span.units > 0)
        tracks.push_back({worker, i, double(span.begin) * 1e-9,
                          double(span.end) * 1e-9, double(span.busy) * 1e-9,
                          span.units});
    }
  return tracks;
}

Roofline profileStages(FerriteSession *session,
                       const std::vector<FerriteTensor> &inputs,
                       const std::function<double()> &runOnce) {
  Roofline roofline;
  FerriteError error;
  check(ferriteSessionSetProfiling(session, 1, &error), error);
  for (int run = 0; run < kRuns; ++run) {
    double seconds = runOnce();
    if (run == 0 || seconds < roofline.wallSeconds) {
      roofline.wallSeconds = seconds;
      roofline.tracks = tracksOf(session);
    }
    const FerriteLaunchProfile *rows = nullptr;
    size_t count = 0;
    check(ferriteSessionProfile(session, &rows, &count, &error), error);
    for (size_t i = 0; i < count; ++i) {
      if (run == 0) {
        StageProfile stage;
        stage.nodes = rows[i].launch;
        stage.kernel = rows[i].kernel;
        stage.arithmetic = "f32";
        stage.seconds = 1e300;
        roofline.stages.push_back(stage);
      }
      StageProfile &stage = roofline.stages[i];
      stage.seconds =
          std::min(stage.seconds, double(rows[i].nanoseconds) * 1e-9);
      stage.units = rows[i].units;
    }
  }
  const FerriteModel *model = ferriteSessionModel(session);
  size_t entry = ferriteSessionEntry(session);
  addCosts(model, entry, symbolsOf(model, entry, inputs), roofline.stages);
  FerriteMemory memory;
  check(ferriteSessionMemory(session, nullptr, 0, &memory, &error), error);
  roofline.allWeights = int64_t(memory.weights_bytes);
  addRoofline(roofline, ferriteModelLevel(model),
              ferriteSessionThreads(session));
  return roofline;
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

void printRoofline(const Roofline &roofline) {
  std::vector<const StageProfile *> rows;
  double total = 0, operations = 0;
  size_t width = strlen("kernel");
  for (const StageProfile &stage : roofline.stages) {
    rows.push_back(&stage);
    total += stage.seconds;
    operations += std::max(stage.operations, 0.0);
    width = std::max(width, stage.kernel.size());
  }
  width = std::min<size_t>(width, 40);
  std::stable_sort(rows.begin(), rows.end(),
                   [](auto *a, auto *b) { return a->seconds > b->seconds; });
  printf("f32 peak %.0f GFLOP/s, read rate of the weights %.1f GB/s, of a "
         "cache %.1f GB/s, now\n",
         roofline.f32Peak * 1e-9, roofline.readRate * 1e-9,
         roofline.cacheRate * 1e-9);
  // Times first and names last: names of ONNX nodes are long.
  printf("%10s %6s %8s %6s %6s %6s %7s  %-*s  nodes\n", "us", "%", "GFLOP/s",
         "peak%", "GB/s", "roof%", "units", int(width), "kernel");
  for (const StageProfile *stage : rows) {
    printf("%10.1f %6.1f", stage->seconds * 1e6,
           total > 0 ? 100 * stage->seconds / total : 0);
    if (stage->operations > 0 && stage->seconds > 0)
      printf(" %8.1f %6.1f", stage->operations / stage->seconds * 1e-9,
             100 * stage->peakShare);
    else
      printf(" %8s %6s", "-", "-");
    if (stage->bytes >= 0 && stage->seconds > 0)
      printf(" %6.1f %6.1f", stage->bytes / stage->seconds * 1e-9,
             100 * stage->rooflineShare);
    else
      printf(" %6s %6s", "-", "-");
    printf(" %7lld  %-*s  %s\n", static_cast<long long>(stage->units),
           int(width), stage->kernel.c_str(), stage->nodes.c_str());
  }
  printf("%10.1f        %8.1f                              all %zu launches, "
         "the least of %d runs each; %.1f us the fastest run\n",
         total * 1e6, total > 0 ? operations / total * 1e-9 : 0,
         roofline.stages.size(), kRuns, roofline.wallSeconds * 1e6);
}

static Json stageJson(const StageProfile &stage) {
  Json row = {{"nodes", stage.nodes},
              {"kernel", stage.kernel},
              {"seconds", stage.seconds},
              {"units", stage.units}};
  if (stage.operations >= 0) {
    row["operations"] = stage.operations;
    row["bytes"] = stage.bytes;
    row["weight_bytes"] = stage.weightBytes;
    row["arithmetic"] = stage.arithmetic;
    if (stage.peakShare > 0)
      row["peak_percent"] = 100 * stage.peakShare;
    row["roofline_percent"] = 100 * stage.rooflineShare;
  }
  return row;
}

Json rooflineJson(const Roofline &roofline) {
  Json rows = Json::array();
  for (const StageProfile &stage : roofline.stages)
    rows.push_back(stageJson(stage));
  return rows;
}

/// A name for a process or, with a thread, for one of its tracks.
static Json nameOf(const char *what, int process, size_t thread,
                   const std::string &name) {
  return {{"ph", "M"},
          {"name", what},
          {"pid", process},
          {"tid", thread},
          {"args", {{"name", name}}}};
}

void writeTrace(const std::string &path, const std::string &model,
                const Roofline &roofline) {
  Json events = Json::array();
  events.push_back(nameOf("process_name", 1, 0, model));
  events.push_back(nameOf("thread_name", 1, 1, "launches"));
  events.push_back(nameOf("process_name", 2, 0, model + ", the fastest run"));
  std::set<size_t> workers;
  for (const WorkerTrack &track : roofline.tracks) {
    if (workers.insert(track.worker).second)
      events.push_back(nameOf("thread_name", 2, track.worker + 1,
                              "thread " + std::to_string(track.worker)));
    const StageProfile &stage = roofline.stages[track.stage];
    events.push_back(
        {{"ph", "X"},
         {"pid", 2},
         {"tid", track.worker + 1},
         {"cat", stage.kernel},
         {"name", stage.nodes.empty() ? stage.kernel : stage.nodes},
         {"ts", track.begin * 1e6},
         {"dur", (track.end - track.begin) * 1e6},
         {"args",
          {{"kernel", stage.kernel},
           {"units", track.units},
           {"busy_us", track.busy * 1e6}}}});
  }
  double at = 0; // microseconds, as the format has it
  for (const StageProfile &stage : roofline.stages) {
    events.push_back(
        {{"ph", "X"},
         {"pid", 1},
         {"tid", 1},
         {"cat", stage.kernel},
         {"name", stage.nodes.empty() ? stage.kernel : stage.nodes},
         {"ts", at},
         {"dur", stage.seconds * 1e6},
         {"args", stageJson(stage)}});
    at += stage.seconds * 1e6;
  }
  std::ofstream stream(path, std::ios::binary);
  stream << Json({{"traceEvents", events}, {"displayTimeUnit", "ns"}}).dump()
         << "\n";
  stream.close();
  if (!stream)
    throw Error(format("cannot write '%s'", path.c_str()));
}

} // namespace ferrite::cli
