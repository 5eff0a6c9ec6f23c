//===- SideFile.cpp - Codes and scales on the way to the link -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/SideFile.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FileSystem.h"

#include <cerrno>
#include <unistd.h>

using namespace mlir;
using namespace ferrite;

FailureOr<std::unique_ptr<SideFile>> SideFile::create(const std::string &path,
                                                      Location loc) {
  int fd = -1;
  if (std::error_code error = llvm::sys::fs::openFileForReadWrite(
          path, fd, llvm::sys::fs::CD_CreateAlways, llvm::sys::fs::OF_None))
    return emitError(loc) << "cannot write '" << path
                          << "': " << error.message();
  return std::unique_ptr<SideFile>(new SideFile(path, fd));
}

SideFile::~SideFile() { ::close(fd); }

int64_t SideFile::reserve(int64_t bytes) {
  int64_t begin = (end + 63) / 64 * 64;
  end = begin + bytes;
  return begin;
}

bool SideFile::write(int64_t offset, const void *data, size_t bytes) {
  auto *from = static_cast<const char *>(data);
  while (bytes > 0) {
    ssize_t done = ::pwrite(fd, from, bytes, offset);
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return false;
    from += done;
    offset += done;
    bytes -= done;
  }
  return true;
}
