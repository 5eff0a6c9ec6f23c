//===- runner.cpp - The program around a model of --emit=exe --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `ferrite run`, `bench` and `inspect` on the model that the linker put beside
// this object.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstring>

using namespace ferrite::cli;

/// The host program of the artifact defines it.
extern "C" __attribute__((visibility("hidden")))
const FerriteAbiModel ferrite_model;

static void addCommands(CLI::App &app, int &exitCode) {
  addRun(app, exitCode);
  addBench(app, exitCode);
  addInspect(app, exitCode);
}

static void printModelVersion(bool json) {
  if (!json) {
    printf("%s, written by %s, ABI %u\n", ferrite_model.name,
           ferrite_model.compiler, ferrite_model.version);
    return;
  }
  nlohmann::ordered_json answer = {{"model", ferrite_model.name},
                                   {"compiler", ferrite_model.compiler},
                                   {"abi_version", ferrite_model.version}};
  printf("%s\n", answer
                     .dump(-1, ' ', false,
                           nlohmann::ordered_json::error_handler_t::replace)
                     .c_str());
}

int main(int argc, char **argv) {
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : nullptr;
  Program program{slash      ? slash + 1
                  : argc > 0 ? argv[0]
                             : "model",
                  &ferrite_model,
                  "Runs the compiled model that is in this program.",
                  {"run --inputs in.npz --outputs out.npz",
                   "bench --shape input_ids=1x128", "inspect"},
                  addCommands,
                  printModelVersion};
  return runMain(program, argc, argv);
}
