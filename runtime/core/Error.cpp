//===- Error.cpp - Status and one-line messages ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Error.h"

#include <stdarg.h>
#include <stdio.h>

using namespace ferrite::rt;

FerriteStatus ferrite::rt::fail(FerriteError *error, FerriteStatus status,
                                const char *format, ...) {
  if (!error)
    return status;
  error->status = status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  // Names come from files: a newline in one must not break a line of a log.
  for (char *c = error->message; *c; ++c)
    if (*c == '\n' || *c == '\r')
      *c = ' ';
  return status;
}

Text &Text::add(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int wrote =
      vsnprintf(buffer + length, sizeof buffer - length, format, arguments);
  va_end(arguments);
  if (wrote > 0) {
    length += static_cast<size_t>(wrote);
    if (length > sizeof buffer - 1)
      length = sizeof buffer - 1;
  }
  return *this;
}

void ferrite::rt::addShape(Text &text, const int64_t *shape, int32_t rank) {
  text.add("[");
  for (int32_t i = 0; i < rank; ++i)
    text.add("%s%lld", i ? ", " : "", static_cast<long long>(shape[i]));
  text.add("]");
}

void ferrite::rt::addDims(Text &text, const FerriteAbiTensor &tensor,
                          const FerriteAbiSymbol *symbols) {
  text.add("[");
  for (int32_t i = 0; i < tensor.rank; ++i) {
    const FerriteAbiDim &dim = tensor.dims[i];
    if (dim.symbol >= 0)
      text.add("%s%s", i ? ", " : "", symbols[dim.symbol].name);
    else
      text.add("%s%lld", i ? ", " : "", static_cast<long long>(dim.size));
  }
  text.add("]");
}

const char *ferriteRuntimeVersion(void) { return FERRITE_VERSION_STRING; }

uint32_t ferriteRuntimeAbiVersion(void) { return FERRITE_ABI_VERSION; }

const char *ferriteStatusName(FerriteStatus status) {
  switch (status) {
  case FERRITE_OK:
    return "ok";
  case FERRITE_INVALID_ARGUMENT:
    return "invalid argument";
  case FERRITE_NOT_FOUND:
    return "not found";
  case FERRITE_INCOMPATIBLE:
    return "incompatible";
  case FERRITE_OUT_OF_MEMORY:
    return "out of memory";
  case FERRITE_CANCELLED:
    return "cancelled";
  case FERRITE_IO:
    return "input/output error";
  case FERRITE_INTERNAL:
    return "internal error";
  case FERRITE_OUT_OF_PAGES:
    return "out of pages";
  }
  return "unknown status";
}

size_t ferriteDTypeSize(int32_t dtype) {
  switch (dtype) {
  case FERRITE_I8:
  case FERRITE_U8:
  case FERRITE_BOOL:
  case FERRITE_F8E4M3FN:
  case FERRITE_F8E4M3FNUZ:
  case FERRITE_F8E5M2:
  case FERRITE_F8E5M2FNUZ:
  case FERRITE_F8E8M0FNU:
  case FERRITE_F4E2M1FN:
  case FERRITE_I4:
  case FERRITE_U4:
  case FERRITE_I2:
  case FERRITE_U2:
    return 1;
  case FERRITE_F16:
  case FERRITE_BF16:
  case FERRITE_I16:
  case FERRITE_U16:
    return 2;
  case FERRITE_F32:
  case FERRITE_I32:
  case FERRITE_U32:
    return 4;
  case FERRITE_F64:
  case FERRITE_I64:
  case FERRITE_U64:
    return 8;
  default:
    return 0;
  }
}

const char *ferriteDTypeName(int32_t dtype) {
  static const char *const names[] = {
      "f32",      "f16",      "bf16",       "f64",    "i8",         "i16",
      "i32",      "i64",      "u8",         "u16",    "u32",        "u64",
      "bool",     "f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f8e8m0fnu",
      "f4e2m1fn", "i4",       "u4",         "i2",     "u2"};
  if (dtype < 0 || dtype > FERRITE_U2)
    return "unknown";
  return names[dtype];
}
