//===- Main.h - What a program of these commands is -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Two programs have commands: `ferrite`, and a model of --emit=exe, whose
// commands run the model that is linked into it and take no ARTIFACT.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_MAIN_H
#define FERRITE_TOOLS_FERRITE_MAIN_H

#include "ferrite/abi.h"

#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace ferrite::cli {

struct Program {
  std::string name;                       ///< in messages
  const FerriteAbiModel *model = nullptr; ///< linked in; null: of a file
  const char *description;
  std::vector<const char *> examples; ///< as for examples()
  void (*addCommands)(CLI::App &app, int &exitCode);
  void (*printVersion)(bool json);
};

/// The one that runMain was given; before, a nameless one.
const Program &program();

/// Lines of a help's end. Each begins with a command, and $MODEL stands for the
/// artifact: "run $MODEL --inputs in.npz" is shown as "ferrite run minilm.so
/// --inputs in.npz", or as "./minilm run --inputs in.npz".
std::string examples(const std::vector<const char *> &lines);

/// main(): parses, runs a command, and says in one line what went wrong.
int runMain(const Program &program, int argc, char **argv);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_MAIN_H
