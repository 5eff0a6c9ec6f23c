//===- Sources.cpp - What the encoder of `generate` reads -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Sources.h"
#include "npz/Npz.h"

#include <cstring>

namespace ferrite::cli {

std::vector<FerriteTensor> SourceInputs::tensors() const {
  std::vector<FerriteTensor> result;
  for (size_t i = 0; i < arrays.size(); ++i) {
    result.push_back(arrays[i].tensor());
    result.back().name = names[i].c_str();
  }
  return result;
}

SourceInputs sourceOfIds(const std::vector<int64_t> &ids) {
  SourceInputs source;
  Array array;
  array.dtype = FERRITE_I64;
  array.rank = 2;
  array.shape[0] = 1;
  array.shape[1] = int64_t(ids.size());
  array.bytes = ids.size() * sizeof(int64_t);
  array.allocate();
  if (!ids.empty())
    memcpy(array.data.get(), ids.data(), array.bytes);
  source.names.push_back("input_ids");
  source.arrays.push_back(std::move(array));
  return source;
}

SourceInputs sourceOfFile(const std::string &path) {
  NpzReader reader(path);
  SourceInputs source;
  for (const std::string &name : reader.names()) {
    source.names.push_back(name);
    source.arrays.push_back(reader.read(name));
  }
  return source;
}

} // namespace ferrite::cli
