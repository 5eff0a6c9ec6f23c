//===- Npy.h - NumPy's format of one array ----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Versions 1 to 3 of the .npy format. A header is untrusted: it is a Python
// literal, of which exactly what NumPy writes is accepted, and its shape is
// only believed once it agrees with the bytes that are there.
//
// NumPy has no bfloat16. Such arrays are written as '|V2', raw pairs of bytes,
// as NumPy itself does with the bfloat16 of ml_dtypes, and are read from that.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_NPZ_NPY_H
#define FERRITE_TOOLS_FERRITE_NPZ_NPY_H

#include "ferrite/runtime.h"

#include <memory>
#include <string>
#include <string_view>

namespace ferrite::cli {

/// What a header says.
struct NpyHeader {
  int32_t dtype = FERRITE_F32; /* FerriteDType */
  int32_t rank = 0;
  int64_t shape[FERRITE_MAX_RANK] = {};
  bool fortranOrder = false;
  bool bigEndian = false;
  uint64_t headerBytes = 0; /* offset of the elements */
  uint64_t dataBytes = 0;
};

/// An array in memory: row-major, native byte order, 64-byte aligned.
struct Array {
  struct Free {
    void operator()(void *memory) const;
  };
  std::string name;
  int32_t dtype = FERRITE_F32;
  int32_t rank = 0;
  int64_t shape[FERRITE_MAX_RANK] = {};
  uint64_t bytes = 0;
  std::unique_ptr<void, Free> data; /* null when there are no elements */

  /// Allocates `bytes` bytes; throws Error when there is no memory.
  void allocate();
  FerriteTensor tensor() const;
};

/// The longest prefix that a header can need.
constexpr size_t maxNpyHeaderBytes = 12 + 65536;

/// Reads a header from the first bytes of a file of `fileBytes` bytes, of which
/// `prefix` are min(fileBytes, maxNpyHeaderBytes). Throws Error: what is wrong,
/// without the name of the file.
NpyHeader parseNpyHeader(std::string_view prefix, uint64_t fileBytes);

/// The header that NumPy would write, padded so that the elements begin at a
/// multiple of 64. Version 1: names are not part of it.
std::string makeNpyHeader(int32_t dtype, int32_t rank, const int64_t *shape);

/// Brings elements read from a file into native byte order and row-major order.
void normalizeElements(Array &array, const NpyHeader &header);

/// "2x16" for messages; "scalar" for rank 0.
std::string shapeString(int32_t rank, const int64_t *shape);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_NPZ_NPY_H
