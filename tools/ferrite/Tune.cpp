//===- Tune.cpp - ferrite tune --------------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Tune.h"
#include "CommandLine.h"
#include "Error.h"
#include "Main.h"
#include "machine/Caches.h"
#include "machine/Probes.h"

#include "ferrite/runtime.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;

std::string defaultProfile() {
  const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
  // The specification: a relative path is as good as none.
  if (config && *config == '/')
    return std::string(config) + "/ferrite/machine.json";
  if (home && *home == '/')
    return std::string(home) + "/.config/ferrite/machine.json";
  return "";
}

std::string tunedProfile() {
  std::string path = defaultProfile();
  return !path.empty() && access(path.c_str(), F_OK) == 0 ? path : "";
}

namespace {
struct TuneOptions {
  std::string output;
  int32_t threads = 0;
  double seconds = 0.3;
  bool json = false;
};
} // namespace

/// Read rates of a level, out of `bytes` in all.
static Json readRates(const machine::Buffer &buffer, int64_t one, int64_t all,
                      int32_t threads, double seconds) {
  return {
      {"one", machine::readRate(buffer.data(), size_t(one), 1, seconds)},
      {"all", machine::readRate(buffer.data(), size_t(all), threads, seconds)}};
}

static Json probe(const TuneOptions &options) {
  int32_t threads = options.threads ? options.threads : ferriteDefaultThreads();
  machine::Caches caches = machine::caches();
  Json sizes = {{"l1d", caches.l1d}, {"l2", caches.l2}};
  if (caches.l3)
    sizes["l3"] = caches.l3;
  Json operations = Json::object();
  for (const machine::Instruction &each : machine::instructions())
    if (const machine::Instruction *found = machine::findInstruction(each.name))
      operations[each.name] = {
          {"one", machine::peakTogether(*found, 1, options.seconds)},
          {"all", machine::peakTogether(*found, threads, options.seconds)}};
  if (operations.empty())
    throw Error("no instruction of this CPU is known to tune",
                FERRITE_COMPILE_UNSUPPORTED);

  // Four times the last cache is not in it; no more than a fourth of what is
  // free.
  int64_t last = std::max(caches.l3, caches.l2 * threads);
  int64_t pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  int64_t large = std::min(std::max(4 * last, INT64_C(256) << 20),
                           std::max(pages * page / 4, INT64_C(16) << 20));
  machine::Buffer buffer{size_t(large)};
  if (!buffer.data())
    throw Error(
        format("no memory for %s to read", bytesString(double(large)).c_str()));
  Json reads;
  int64_t half = caches.l2 / 2;
  reads["l2"] = readRates(buffer, half, std::min(half * threads, large),
                          threads, options.seconds);
  if (caches.l3) {
    // Half of it, which neither second level holds.
    int64_t bytes = std::min(caches.l3 / 2, large);
    reads["l3"] = readRates(buffer, bytes, bytes, threads, options.seconds);
  }
  reads["memory"] = readRates(buffer, large, large, threads, options.seconds);
  return {{"ferrite_machine_profile", 1},
          {"cpu", machine::cpuName()},
          {"threads", threads},
          {"caches", sizes},
          {"operations_per_second", operations},
          {"bytes_per_second", reads}};
}

static void makeFolders(const std::string &path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1))
    mkdir(path.substr(0, slash).c_str(), 0777); // or there is one
}

static void write(const std::string &path, const std::string &text) {
  // Renamed when whole: a compile may be reading.
  std::string part = path + "." + std::to_string(getpid());
  std::ofstream stream(part, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream || rename(part.c_str(), path.c_str()) != 0) {
    int error = errno;
    unlink(part.c_str());
    throw Error(format("cannot write '%s': %s", path.c_str(), strerror(error)));
  }
}

static void print(const Json &profile) {
  printf("%s, %d threads\n", profile["cpu"].get<std::string>().c_str(),
         profile["threads"].get<int>());
  printf("  %-14s %10s %10s\n", "", "one thread", "all");
  for (const auto &[name, rate] : profile["operations_per_second"].items())
    printf("  %-14s %10.0f %10.0f  Gop/s\n", name.c_str(),
           rate["one"].get<double>() / 1e9, rate["all"].get<double>() / 1e9);
  for (const auto &[name, rate] : profile["bytes_per_second"].items())
    printf("  read %-9s %10.1f %10.1f  GB/s\n", name.c_str(),
           rate["one"].get<double>() / 1e9, rate["all"].get<double>() / 1e9);
}

static int tune(const TuneOptions &options) {
  std::string path = options.output.empty() ? defaultProfile() : options.output;
  if (path.empty())
    throw Error("neither XDG_CONFIG_HOME nor HOME says where profiles lie: "
                "name a file with --output");
  Json profile = probe(options);
  if (options.output.empty())
    makeFolders(path);
  write(path, profile.dump(2) + "\n");
  if (options.json) {
    printf("%s\n", profile.dump().c_str());
  } else {
    print(profile);
    printf("wrote %s\n", path.c_str());
  }
  return 0;
}

void addTune(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<TuneOptions>();
  CLI::App *command = app.add_subcommand(
      "tune", "Measure what this machine can do, for compile to choose by");
  command->add_option("-o,--output", options->output,
                      "the profile to write (default: "
                      "$XDG_CONFIG_HOME/ferrite/machine.json, where compile "
                      "looks)");
  command
      ->add_option("--threads", options->threads,
                   "how many threads all are (default: the CPUs of this "
                   "process)")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--seconds", options->seconds,
                   "how long to time each figure")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  command->add_flag("--json", options->json, "print the profile as JSON");
  command->footer("Examples:\n"
                  "  ferrite tune\n"
                  "  ferrite tune --output here.json && ferrite compile "
                  "m.onnx -o m.so --profile here.json\n");
  command->callback([options, &exitCode] { exitCode = tune(*options); });
}

} // namespace ferrite::cli
