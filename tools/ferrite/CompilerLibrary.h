//===- CompilerLibrary.h - libferrite_compiler.so, when needed --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `run` must start in milliseconds, and loading LLVM takes a hundred: so the
// program does not link the compiler but opens it for the commands that need
// it.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_COMPILERLIBRARY_H
#define FERRITE_TOOLS_FERRITE_COMPILERLIBRARY_H

#include "Error.h"

#include <nlohmann/json_fwd.hpp>

#include <vector>

namespace ferrite::cli {

struct CompilerLibrary {
  decltype(&ferriteCompilerVersion) version;
  decltype(&ferriteCompilerLLVMVersion) llvmVersion;
  decltype(&ferriteCompile) compile;
  decltype(&ferriteCompileResultDestroy) destroy;
  decltype(&ferriteCheck) check;
  decltype(&ferriteVerify) verify;
};

/// Where the library lies: beside an installed program in ../lib, which is also
/// where the build puts it.
std::string compilerLibraryPath();

/// Opens the library once; throws Error when it is missing or of another
/// version.
const CompilerLibrary &openCompiler();

/// Prints diagnostics to stderr, one line each, and shows progress. Of problems
/// it keeps count, so that a command that fails without a word can say so.
class Reporter {
public:
  enum class Progress { None, Terminal, Lines };
  explicit Reporter(Progress progress);
  ~Reporter();
  Reporter(const Reporter &) = delete;

  /// For the options of a call: `diagnostic_data` and `progress_data` are
  /// `this`.
  static void onDiagnostic(void *data, FerriteSeverity severity,
                           const char *message);
  static int32_t onProgress(void *data, const char *phase, uint64_t done,
                            uint64_t total);
  size_t errorCount() const { return errors; }

  /// The exit code of a call that returned `status`. A failure without an error
  /// is a bug of the library and is printed as one.
  int finish(int32_t status);

private:
  void clearLine();
  Progress progress;
  double begin, shown = 0;
  std::string phase;
  size_t errors = 0;
  bool lineOpen = false;
};

/// The summary of a call, parsed, and freed whatever happens.
class Result {
public:
  explicit Result(const CompilerLibrary &library) : library(library) {
    value.size = sizeof value;
  }
  ~Result() { library.destroy(&value); }
  Result(const Result &) = delete;
  FerriteCompileResult *operator&() { return &value; }
  /// An empty object when there is none. Throws (a bug) when it is no JSON.
  nlohmann::ordered_json summary() const;

private:
  const CompilerLibrary &library;
  FerriteCompileResult value = {};
};

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_COMPILERLIBRARY_H
