//===- Error.h - Status and one-line messages -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every message is written into memory that somebody else owns (the caller's
// FerriteError, a Text on the stack): an error must be reportable when there is
// no memory left, and from any thread.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_ERROR_H
#define FERRITE_RUNTIME_CORE_ERROR_H

#include "ferrite/runtime.h"

namespace ferrite::rt {

/// Writes the message, when somebody wants it, and returns `status`:
/// `return fail(error, FERRITE_IO, "cannot read '%s'", path);`
__attribute__((format(printf, 3, 4))) FerriteStatus fail(FerriteError *error,
                                                         FerriteStatus status,
                                                         const char *format,
                                                         ...);

/// A line that grows to a fixed limit and is cut there.
class Text {
public:
  __attribute__((format(printf, 2, 3))) Text &add(const char *format, ...);
  const char *str() const { return buffer; }

private:
  char buffer[320] = {};
  size_t length = 0;
};

/// "[2, 16]".
void addShape(Text &text, const int64_t *shape, int32_t rank);

/// "[batch, sequence, 384]".
void addDims(Text &text, const FerriteAbiTensor &tensor,
             const FerriteAbiSymbol *symbols);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_ERROR_H
