//===- SideFile.h - Codes and scales on the way to the link -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_SIDEFILE_H
#define FERRITE_LIB_QUANTIZATION_SIDEFILE_H

#include "mlir/IR/Location.h"
#include "mlir/Support/LLVM.h"

#include <memory>
#include <string>

namespace ferrite {

/// A file that the quantizer fills and `#ferrite.source` refers to. It is not
/// mapped while it is written: pages of a mapping would count as ours.
class SideFile {
public:
  static mlir::FailureOr<std::unique_ptr<SideFile>>
  create(const std::string &path, mlir::Location loc);
  ~SideFile();

  /// Room for `bytes`, aligned as kernels like it.
  int64_t reserve(int64_t bytes);
  /// Threads may write at once.
  bool write(int64_t offset, const void *data, size_t bytes);
  const std::string &path() const { return name; }
  int64_t bytes() const { return end; }

private:
  SideFile(std::string name, int fd) : name(std::move(name)), fd(fd) {}
  std::string name;
  int fd;
  int64_t end = 0;
};

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_SIDEFILE_H
