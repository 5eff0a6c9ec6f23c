//===- Options.h - Options of callers of any version ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_OPTIONS_H
#define FERRITE_RUNTIME_CORE_OPTIONS_H

#include "core/Error.h"

#include <cstring>

namespace ferrite::rt {

/// Options of this version from those of the caller, which may be older, or
/// null: then all are 0. `type` is the name of their struct.
template <typename Options>
FerriteStatus readOptions(const Options *given, Options &options,
                          const char *type, FerriteError *error) {
  memset(&options, 0, sizeof options);
  if (!given)
    return FERRITE_OK;
  if (given->size < sizeof(size_t))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%s::size is %zu: set it to sizeof(%s)", type, given->size,
                type);
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  return FERRITE_OK;
}

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_OPTIONS_H
