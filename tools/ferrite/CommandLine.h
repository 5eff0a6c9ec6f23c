//===- CommandLine.h - Commands and what they share of parsing --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each add<Command> declares a command's options; the command runs as a
// callback of the parser, sets the exit code, and throws what Error.h declares.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_COMMANDLINE_H
#define FERRITE_TOOLS_FERRITE_COMMANDLINE_H

#include "ferrite/compiler.h"

#include "npz/Npy.h"

#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace ferrite::cli {

void addCompile(CLI::App &app, int &exitCode);
void addRun(CLI::App &app, int &exitCode);
void addGenerate(CLI::App &app, int &exitCode);
void addBench(CLI::App &app, int &exitCode);
void addInspect(CLI::App &app, int &exitCode);
void addCheck(CLI::App &app, int &exitCode);
void addVerify(CLI::App &app, int &exitCode);
void addTune(CLI::App &app, int &exitCode);
void printVersion(bool json);

/// Throws for a command or option that does not exist, with the nearest one
/// that does, before the parser looks: it would complain of what follows from
/// the typo.
void checkNames(const CLI::App &app, int argc, char **argv);

/// "; did you mean 'compile'?" when one of `known` is near, else "".
std::string suggestion(const std::string &word,
                       const std::vector<std::string> &known);

/// "'a', 'b' and 'c'"; "nothing" of an empty list.
std::string quotedList(const std::vector<std::string> &words);

/// "a,b" -> {"a", "b"}.
std::vector<std::string> splitList(const std::string &text, char separator);

/// "input_ids=1x128".
struct NamedShape {
  std::string name;
  std::vector<int64_t> sizes;
};
NamedShape parseNamedShape(const std::string &text);

/// "batch=1..8", "batch=4", "sequence=1.."; also ':' for '..'. The names live
/// in `names`, which must outlive the result.
std::vector<FerriteDimBounds> parseDims(const std::vector<std::string> &texts,
                                        std::vector<std::string> &names);

/// "use_cache_branch=true" or "shape=shape.npy", and what they need to live.
class Bindings {
public:
  explicit Bindings(const std::vector<std::string> &texts);
  ~Bindings();
  const FerriteBinding *data() const { return bindings.data(); }
  size_t size() const { return bindings.size(); }

private:
  std::vector<FerriteBinding> bindings;
  std::vector<std::string> words;
  std::vector<Array> arrays;
};

void addBindOption(CLI::App &command, std::vector<std::string> &texts);

/// "87.1 MiB".
std::string bytesString(double bytes);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_COMMANDLINE_H
