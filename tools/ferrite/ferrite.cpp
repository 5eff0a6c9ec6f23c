//===- ferrite.cpp - The command-line program -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Main.h"

using namespace ferrite::cli;

static void addCommands(CLI::App &app, int &exitCode) {
  addCompile(app, exitCode);
  addRun(app, exitCode);
  addBench(app, exitCode);
  addGenerate(app, exitCode);
  addInspect(app, exitCode);
  addCheck(app, exitCode);
  addVerify(app, exitCode);
  addTune(app, exitCode);
}

int main(int argc, char **argv) {
  Program program{
      "ferrite",
      nullptr,
      "Compiles transformer models ahead of time, and runs them.",
      {"compile model.onnx -o model.so",
       "run model.so --inputs in.npz --outputs out.npz",
       "bench model.so --shape input_ids=1x128",
       "generate llm.so --tokenizer tokenizer.json --prompt \"def f(\""},
      addCommands,
      printVersion};
  return runMain(program, argc, argv);
}
