//===- Error.h - How a command of the CLI fails -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Commands throw; main prints one line, "ferrite: error: ...", and exits with
// the code. The libraries beneath (runtime, compiler) return statuses, which
// become exceptions in one place each.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_ERROR_H
#define FERRITE_TOOLS_FERRITE_ERROR_H

#include "ferrite/compiler.h"

#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace ferrite::cli {

/// The exit code is a FerriteCompileStatus: the user's mistake, a limitation of
/// ours, or a bug.
struct Error : std::runtime_error {
  explicit Error(const std::string &message,
                 int exitCode = FERRITE_COMPILE_USER_ERROR)
      : std::runtime_error(message), exitCode(exitCode) {}
  int exitCode;
};

/// printf into a string: messages are built next to the check that fails.
__attribute__((format(printf, 1, 2))) inline std::string
format(const char *text, ...) {
  va_list arguments, copy;
  va_start(arguments, text);
  va_copy(copy, arguments);
  std::string result(static_cast<size_t>(vsnprintf(nullptr, 0, text, copy)),
                     '\0');
  va_end(copy);
  vsnprintf(result.data(), result.size() + 1, text, arguments);
  va_end(arguments);
  return result;
}

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_ERROR_H
