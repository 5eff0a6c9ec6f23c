//===- Main.cpp - What a program of these commands is ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Main.h"
#include "CommandLine.h"
#include "Error.h"

#include <CLI/CLI.hpp>

namespace ferrite::cli {

static const Program *running = nullptr;

const Program &program() {
  static const Program none{"ferrite", nullptr, "", {}, nullptr, nullptr};
  return running ? *running : none;
}

std::string examples(const std::vector<const char *> &lines) {
  std::string result = lines.size() == 1 ? "Example:\n" : "Examples:\n";
  bool hasModel = program().model;
  for (std::string line : lines) {
    size_t at = line.find("$MODEL");
    if (at != std::string::npos && hasModel)
      line.erase(at, 7); // and the space behind it
    else if (at != std::string::npos)
      line.replace(at, 6, "minilm.so");
    while (!line.empty() && line.back() == ' ')
      line.pop_back();
    result += "  " + std::string(hasModel ? "./" : "") + program().name + " " +
              line + "\n";
  }
  return result;
}

/// One line, whatever is in it: names come from files.
static int fail(std::string message, int exitCode) {
  for (char &c : message)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      c = ' ';
  while (!message.empty() && message.back() == ' ')
    message.pop_back();
  fprintf(stderr, "%s: error: %s\n", program().name.c_str(), message.c_str());
  return exitCode;
}

static int runCommand(int argc, char **argv) {
  CLI::App app(program().description, program().name);
  int exitCode = 0;
  bool version = false, json = false;
  app.add_flag("--version", version, "print the version and the build");
  app.add_flag("--json", json, "with --version: as one JSON object");
  app.footer(examples(program().examples) + "`" + program().name +
             " COMMAND --help` says more of each.\n");
  app.require_subcommand(0, 1);
  program().addCommands(app, exitCode);
  try {
    checkNames(app, argc, argv);
    app.parse(argc, argv);
    if (version)
      program().printVersion(json);
    else if (app.get_subcommands().empty())
      throw Error(
          format("which command? See %s --help", program().name.c_str()));
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

int runMain(const Program &program, int argc, char **argv) {
  running = &program;
  int exitCode = runCommand(argc, argv);
  // A full disk shows here; without a word, a truncated answer would pass.
  if (fflush(stdout) || ferror(stdout))
    return fail("cannot write the answer", FERRITE_COMPILE_USER_ERROR);
  return exitCode;
}

} // namespace ferrite::cli
