//===- Sources.h - What the encoder of `generate` reads ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_SOURCES_H
#define FERRITE_TOOLS_FERRITE_SOURCES_H

#include "npz/Npy.h"

#include <string>
#include <vector>

namespace ferrite::cli {

/// The inputs of an encoder for one text, by name.
struct SourceInputs {
  std::vector<std::string> names;
  std::vector<Array> arrays;

  std::vector<FerriteTensor> tensors() const;
};

/// Tokens as the input 'input_ids'.
SourceInputs sourceOfIds(const std::vector<int64_t> &ids);
/// All arrays of an .npz file.
SourceInputs sourceOfFile(const std::string &path);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_SOURCES_H
