//===- ferrite.cpp - The command-line program -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Error.h"

#include <CLI/CLI.hpp>

using namespace ferrite::cli;

/// One line, whatever is in it: names come from files.
static int fail(std::string message, int exitCode) {
  for (char &c : message)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      c = ' ';
  while (!message.empty() && message.back() == ' ')
    message.pop_back();
  fprintf(stderr, "ferrite: error: %s\n", message.c_str());
  return exitCode;
}

static int runCommand(int argc, char **argv) {
  CLI::App app("Compiles transformer models ahead of time, and runs them.",
               "ferrite");
  int exitCode = 0;
  bool version = false, json = false;
  app.add_flag("--version", version, "print the version and the build");
  app.add_flag("--json", json, "with --version: as one JSON object");
  app.footer("Examples:\n"
             "  ferrite compile model.onnx -o model.so\n"
             "  ferrite run model.so --inputs in.npz --outputs out.npz\n"
             "  ferrite bench model.so --shape input_ids=1x128\n"
             "`ferrite COMMAND --help` says more of each.\n");
  app.require_subcommand(0, 1);
  addCompile(app, exitCode);
  addRun(app, exitCode);
  addBench(app, exitCode);
  addInspect(app, exitCode);
  addCheck(app, exitCode);
  addVerify(app, exitCode);
  try {
    checkNames(app, argc, argv);
    app.parse(argc, argv);
    if (version)
      printVersion(json);
    else if (app.get_subcommands().empty())
      throw Error("which command? See ferrite --help");
  } catch (const CLI::Success &help) {
    return app.exit(help);
  } catch (const CLI::ParseError &error) {
    return fail(error.what(), FERRITE_COMPILE_USER_ERROR);
  } catch (const Error &error) {
    return fail(error.what(), error.exitCode);
  } catch (const std::bad_alloc &) {
    return fail("no memory", FERRITE_COMPILE_USER_ERROR);
  } catch (const std::exception &error) {
    return fail(std::string("internal error: ") + error.what(),
                FERRITE_COMPILE_BUG);
  }
  return exitCode;
}

int main(int argc, char **argv) {
  int exitCode = runCommand(argc, argv);
  // A full disk shows here; without a word, a truncated answer would pass.
  if (fflush(stdout) || ferror(stdout))
    return fail("cannot write the answer", FERRITE_COMPILE_USER_ERROR);
  return exitCode;
}
