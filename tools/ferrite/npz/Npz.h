//===- Npz.h - NumPy's archives of named arrays -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A .npz file is a zip archive with one .npy file for each array. Reading looks
// at the directory first; an array is read when it is asked for, straight into
// its memory.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_NPZ_NPZ_H
#define FERRITE_TOOLS_FERRITE_NPZ_NPZ_H

#include "npz/Npy.h"
#include "npz/Zip.h"

#include <memory>
#include <vector>

namespace ferrite::cli {

/// Every function throws Error with the name of the file in the message.
class NpzReader {
public:
  explicit NpzReader(const std::string &path);

  /// The names of the arrays, in the order of the file.
  const std::vector<std::string> &names() const { return arrayNames; }
  bool contains(const std::string &name) const;
  Array read(const std::string &name);

private:
  std::string path;
  std::unique_ptr<ZipReader> archive;
  std::vector<std::string> arrayNames;
};

/// Writes the tensors, which must have names, in their order, uncompressed.
/// Either the whole file is written or `path` is left as it was.
void writeNpz(const std::string &path,
              const std::vector<FerriteTensor> &tensors);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_NPZ_NPZ_H
