//===- CompilerLibrary.cpp - libferrite_compiler.so, when needed ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CompilerLibrary.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <climits>
#include <csignal>
#include <dlfcn.h>
#include <unistd.h>

namespace ferrite::cli {

//===----------------------------------------------------------------------===//
// The library
//===----------------------------------------------------------------------===//

std::string compilerLibraryPath() {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  std::string program(path, length > 0 ? size_t(length) : 0);
  std::string folder = program.substr(0, program.rfind('/'));
  std::string name = "/libferrite_compiler.so";
  // The build's place, and the distribution's, which may be lib64.
  std::string besides = folder + "/../" FERRITE_INSTALL_LIBDIR + name;
  return access(besides.c_str(), F_OK) ? folder + "/../lib" + name : besides;
}

template <typename T>
static void findFunction(void *handle, T &function, const char *name,
                         const std::string &path) {
  function = reinterpret_cast<T>(dlsym(handle, name));
  if (!function)
    throw Error(format("'%s' has no function %s: it is of another version",
                       path.c_str(), name));
}

static CompilerLibrary openOnce() {
  std::string path = compilerLibraryPath();
  if (access(path.c_str(), R_OK))
    throw Error(
        format("this command needs the compiler, which is not installed: "
               "no file '%s'",
               path.c_str()));
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error(format("cannot load the compiler: %s", dlerror()));
  decltype(&ferriteCompilerApiVersion) apiVersion;
  findFunction(handle, apiVersion, "ferriteCompilerApiVersion", path);
  if (apiVersion() != FERRITE_COMPILER_API_VERSION)
    throw Error(format("'%s' has version %u of its interface and this program "
                       "needs version %u: install both from one build",
                       path.c_str(), apiVersion(),
                       FERRITE_COMPILER_API_VERSION));
  CompilerLibrary library;
  findFunction(handle, library.version, "ferriteCompilerVersion", path);
  findFunction(handle, library.llvmVersion, "ferriteCompilerLLVMVersion", path);
  findFunction(handle, library.compile, "ferriteCompile", path);
  findFunction(handle, library.destroy, "ferriteCompileResultDestroy", path);
  findFunction(handle, library.check, "ferriteCheck", path);
  findFunction(handle, library.verify, "ferriteVerify", path);
  return library;
}

const CompilerLibrary &openCompiler() {
  static const CompilerLibrary library = openOnce();
  return library;
}

nlohmann::ordered_json Result::summary() const {
  if (!value.summary)
    return nlohmann::ordered_json::object();
  auto json = nlohmann::ordered_json::parse(value.summary, nullptr,
                                            /*allow_exceptions=*/false);
  if (!json.is_object())
    throw Error("the compiler's summary is no JSON object",
                FERRITE_COMPILE_BUG);
  return json;
}

//===----------------------------------------------------------------------===//
// Diagnostics and progress
//===----------------------------------------------------------------------===//

static double now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Set by the first Ctrl-C: the library then removes what it was writing. The
/// second one has the default effect.
static volatile sig_atomic_t interrupted = 0;

static void onInterrupt(int) { interrupted = 1; }

Reporter::Reporter(Progress progress) : progress(progress), begin(now()) {
  struct sigaction action = {};
  action.sa_handler = onInterrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

Reporter::~Reporter() { clearLine(); }

void Reporter::clearLine() {
  if (lineOpen)
    fputs("\r\33[K", stderr);
  lineOpen = false;
}

void Reporter::onDiagnostic(void *data, FerriteSeverity severity,
                            const char *message) {
  auto &self = *static_cast<Reporter *>(data);
  self.clearLine();
  if (interrupted) // "stopped" is no news; finish() says why
    return;
  self.errors += severity == FERRITE_SEVERITY_ERROR;
  const char *const names[] = {"error", "warning", "note", "remark"};
  bool known = unsigned(severity) < sizeof names / sizeof *names;
  // One line whatever is in it: a name in a model may hold a newline.
  std::string line = message;
  for (char &c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
      c = ' ';
  fprintf(stderr, "ferrite: %s: %s\n", known ? names[severity] : "note",
          line.c_str());
}

int32_t Reporter::onProgress(void *data, const char *phase, uint64_t done,
                             uint64_t total) {
  auto &self = *static_cast<Reporter *>(data);
  if (interrupted)
    return 1;
  double time = now() - self.begin;
  bool next = self.phase != phase;
  self.phase = phase;
  std::string steps;
  if (total)
    steps = format(" %3llu %%", static_cast<unsigned long long>(
                                    100.0 * double(done) / double(total)));
  if (self.progress == Progress::Lines && next) {
    fprintf(stderr, "ferrite: %7.2f s  %s\n", time, phase);
  } else if (self.progress == Progress::Terminal && time > 0.5 &&
             (next || time - self.shown > 0.1)) {
    // Half a second: what is done by then needs no progress.
    self.shown = time;
    self.lineOpen = true;
    fprintf(stderr, "\r\33[K%5.1f s  %s%s", time, phase, steps.c_str());
    fflush(stderr);
  }
  return 0;
}

int Reporter::finish(int32_t status) {
  clearLine();
  if (interrupted) {
    fprintf(stderr, "ferrite: error: interrupted\n");
    return FERRITE_COMPILE_USER_ERROR;
  }
  if (status != FERRITE_COMPILE_OK && !errors) {
    fprintf(stderr,
            "ferrite: error: the compiler failed and did not say why\n");
    return FERRITE_COMPILE_BUG;
  }
  return status;
}

} // namespace ferrite::cli
