//===- NpzFuzz.cpp - Arbitrary bytes as a file of inputs ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A libFuzzer target: what `ferrite run --inputs` reads, a zip archive of .npy
// files, both untrusted.
//
//===----------------------------------------------------------------------===//
#include "Error.h"
#include "npz/Npz.h"

#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace ferrite::cli;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static int file = memfd_create("in.npz", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, 0) != 0 ||
      pwrite(file, bytes, size, 0) != static_cast<ssize_t>(size))
    abort();
  try {
    NpzReader reader("/proc/self/fd/" + std::to_string(file));
    for (const std::string &name : reader.names())
      reader.read(name);
  } catch (const Error &) {
    // Refused with a message: as it should be.
  }
  try {
    std::string_view all(reinterpret_cast<const char *>(bytes), size);
    parseNpyHeader(all.substr(0, maxNpyHeaderBytes), size);
  } catch (const Error &) {
  }
  return 0;
}
