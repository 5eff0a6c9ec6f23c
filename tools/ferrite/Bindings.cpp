//===- Bindings.cpp - Inputs that become constants ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Error.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

namespace ferrite::cli {

static Array readNpy(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(stream)),
                    std::istreambuf_iterator<char>());
  if (!stream)
    throw Error(format("cannot read '%s'", path.c_str()));
  try {
    NpyHeader header = parseNpyHeader(
        std::string_view(bytes).substr(0, maxNpyHeaderBytes), bytes.size());
    Array array;
    array.dtype = header.dtype;
    array.rank = header.rank;
    std::copy(header.shape, header.shape + FERRITE_MAX_RANK, array.shape);
    array.bytes = header.dataBytes;
    array.allocate();
    if (array.bytes)
      std::memcpy(array.data.get(), bytes.data() + header.headerBytes,
                  array.bytes);
    normalizeElements(array, header);
    return array;
  } catch (const Error &error) {
    throw Error(format("cannot read '%s': %s", path.c_str(), error.what()),
                error.exitCode);
  }
}

Bindings::Bindings(const std::vector<std::string> &texts) {
  words.reserve(2 * texts.size()); // c_str() stays where it is
  arrays.reserve(texts.size());
  for (const std::string &text : texts) {
    size_t equal = text.rfind('=');
    if (equal == std::string::npos || equal == 0)
      throw Error(format("--bind: '%s' is not of the form NAME=VALUE or "
                         "NAME=FILE.npy",
                         text.c_str()));
    words.push_back(text.substr(0, equal));
    FerriteBinding binding = {};
    binding.name = words.back().c_str();
    words.push_back(text.substr(equal + 1));
    const std::string &value = words.back();
    size_t length = value.size();
    if (length > 4 && value.compare(length - 4, 4, ".npy") == 0) {
      arrays.push_back(readNpy(value));
      binding.value = arrays.back().tensor();
    } else {
      binding.text = value.c_str();
    }
    bindings.push_back(binding);
  }
}

Bindings::~Bindings() = default;

void addBindOption(CLI::App &command, std::vector<std::string> &texts) {
  command
      .add_option("--bind", texts,
                  "NAME=VALUE, NAME=1,2,3 or NAME=FILE.npy: make this input a "
                  "constant")
      ->allow_extra_args(false)
      ->type_size(1)
      ->delimiter('\0');
}

} // namespace ferrite::cli
