//===- Npz.cpp - NumPy's archives of named arrays -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Npz.h"
#include "Error.h"

#include <algorithm>
#include <cstring>

namespace ferrite::cli {

static constexpr char suffix[] = ".npy";
static constexpr size_t suffixLength = sizeof suffix - 1;

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static bool isArray(const ZipReader::Entry &entry) {
  const std::string &name = entry.name;
  return name.size() > suffixLength &&
         name.compare(name.size() - suffixLength, suffixLength, suffix) == 0;
}

NpzReader::NpzReader(const std::string &path) : path(path) {
  try {
    archive = std::make_unique<ZipReader>(path);
  } catch (const Error &error) {
    throw Error(format("cannot read '%s': %s", path.c_str(), error.what()));
  }
  for (const ZipReader::Entry &entry : archive->entries())
    if (isArray(entry))
      arrayNames.emplace_back(entry.name, 0, entry.name.size() - suffixLength);
}

bool NpzReader::contains(const std::string &name) const {
  return std::find(arrayNames.begin(), arrayNames.end(), name) !=
         arrayNames.end();
}

static Array readEntry(ZipReader &archive, const std::string &name) {
  auto found = std::find_if(
      archive.entries().begin(), archive.entries().end(),
      [&](const auto &entry) { return entry.name == name + suffix; });
  if (found == archive.entries().end())
    throw Error("there is no such array");
  // Deflate yields at most 1032 bytes from one: a size beyond that is a lie,
  // and nothing is allocated because of it.
  uint64_t size = found->size;
  if (size / 1032 > found->compressedSize)
    throw Error("its size in the directory is wrong");
  archive.open(*found);

  // The fixed part tells how long the header is. Reading no further lets the
  // elements go straight to where they belong.
  std::string prefix(std::min<uint64_t>(size, 12), '\0');
  archive.read(prefix.data(), prefix.size());
  if (prefix.size() == 12) {
    auto byte = [&](size_t i) { return size_t(uint8_t(prefix[i])); };
    size_t length = 10 + (byte(8) | byte(9) << 8);
    if (byte(6) >= 2)
      length = 12 + (byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24);
    length = std::min<uint64_t>({length, maxNpyHeaderBytes, size});
    if (length > prefix.size()) {
      prefix.resize(length);
      archive.read(prefix.data() + 12, length - 12);
    }
  }
  NpyHeader header = parseNpyHeader(prefix, size);

  Array array;
  array.name = name;
  array.dtype = header.dtype;
  array.rank = header.rank;
  std::copy(header.shape, header.shape + FERRITE_MAX_RANK, array.shape);
  array.bytes = header.dataBytes;
  array.allocate();
  // A header of version 1 and less than 12 bytes does not exist: '{}' and its
  // keys are longer, so the prefix never reaches into the elements.
  archive.read(array.data.get(), array.bytes);
  archive.finish();
  normalizeElements(array, header);
  return array;
}

Array NpzReader::read(const std::string &name) {
  if (std::count(arrayNames.begin(), arrayNames.end(), name) > 1)
    throw Error(
        format("'%s' has two arrays named '%s'", path.c_str(), name.c_str()));
  try {
    return readEntry(*archive, name);
  } catch (const Error &error) {
    throw Error(format("cannot read array '%s' of '%s': %s", name.c_str(),
                       path.c_str(), error.what()),
                error.exitCode);
  }
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

void writeNpz(const std::string &path,
              const std::vector<FerriteTensor> &tensors) {
  std::vector<std::string> headers;
  for (const FerriteTensor &tensor : tensors)
    headers.push_back(makeNpyHeader(tensor.dtype, tensor.rank, tensor.shape));
  try {
    ZipWriter archive(path);
    for (size_t i = 0; i < tensors.size(); ++i)
      archive.add(std::string(tensors[i].name) + suffix,
                  {{headers[i].data(), headers[i].size()},
                   {tensors[i].data, tensors[i].bytes}});
    archive.close();
  } catch (const Error &error) {
    throw Error(format("cannot write '%s': %s", path.c_str(), error.what()));
  }
}

} // namespace ferrite::cli
