//===- Version.cpp - ferrite --version ------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The build id tells two builds apart whose artifacts may differ; the benchmark
// harness keeps artifacts under it. A commit is not enough, for sources change
// between commits: so it ends in a hash of the program and the compiler
// library.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "CompilerLibrary.h"
#include "ferrite/Commit.h" // FERRITE_COMMIT, written by each build

#include <nlohmann/json.hpp>

#include <cstring>
#include <memory>

namespace ferrite::cli {

/// Mixes a file into `hash`, eight bytes a step: 30 MB must take milliseconds.
/// A file that is not there (no compiler installed) changes nothing.
static uint64_t hashFile(const std::string &path, uint64_t hash) {
  FILE *file = fopen(path.c_str(), "re");
  if (!file)
    return hash;
  auto buffer = std::make_unique<char[]>(1 << 16);
  while (size_t got = fread(buffer.get(), 1, 1 << 16, file)) {
    memset(buffer.get() + got, 0, (8 - got % 8) % 8);
    for (size_t i = 0; i < got; i += 8) {
      uint64_t word;
      memcpy(&word, buffer.get() + i, 8);
      hash = (hash ^ word) * 0x9e3779b97f4a7c15;
      hash ^= hash >> 29;
    }
  }
  fclose(file);
  return hash;
}

static std::string buildId() {
  uint64_t hash = hashFile("/proc/self/exe", 0x2545f4914f6cdd1d);
  hash = hashFile(compilerLibraryPath(), hash);
  return format("%s-%s-%08x", FERRITE_VERSION, FERRITE_COMMIT,
                static_cast<unsigned>(hash >> 32));
}

void printVersion(bool json) {
  if (!json) {
    printf("ferrite %s (build %s, ABI %u)\n", FERRITE_VERSION,
           buildId().c_str(), ferriteRuntimeAbiVersion());
    return;
  }
  nlohmann::ordered_json answer = {
      {"version", FERRITE_VERSION},
      {"build", buildId()},
      {"commit", FERRITE_COMMIT},
      {"abi_version", ferriteRuntimeAbiVersion()},
      {"compiler_api_version", FERRITE_COMPILER_API_VERSION}};
  printf("%s\n", answer.dump().c_str());
}

} // namespace ferrite::cli
