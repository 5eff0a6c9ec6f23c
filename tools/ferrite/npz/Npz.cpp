//===- Npz.cpp - NumPy's archives of named arrays -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Npz.h"
#include "Error.h"

#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

namespace ferrite::cli {

static constexpr char suffix[] = ".npy";
static constexpr size_t suffixLength = sizeof suffix - 1;

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

NpzReader::NpzReader(const std::string &path) : path(path) {
  // libzip takes a folder, and a missing file is told apart only by errno.
  struct stat status;
  if (stat(path.c_str(), &status))
    throw Error(format("cannot read '%s': %s", path.c_str(), strerror(errno)));
  if (!S_ISREG(status.st_mode))
    throw Error(format("cannot read '%s': not a file", path.c_str()));
  int code = 0;
  archive = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string why = code == ZIP_ER_NOZIP
                          ? "not an .npz file, which is a zip archive"
                          : zip_error_strerror(&error);
    zip_error_fini(&error);
    throw Error(format("cannot read '%s': %s", path.c_str(), why.c_str()));
  }
  zip_int64_t count = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char *entry = zip_get_name(archive, i, ZIP_FL_ENC_GUESS);
    size_t length = entry ? strlen(entry) : 0;
    if (length > suffixLength && !strcmp(entry + length - suffixLength, suffix))
      arrayNames.emplace_back(entry, length - suffixLength);
  }
}

NpzReader::~NpzReader() {
  if (archive)
    zip_discard(archive);
}

bool NpzReader::contains(const std::string &name) const {
  return std::find(arrayNames.begin(), arrayNames.end(), name) !=
         arrayNames.end();
}

namespace {
/// An entry that is being read.
struct Entry {
  zip_file_t *file = nullptr;
  ~Entry() {
    if (file)
      zip_fclose(file);
  }
  /// Reads `bytes` bytes. A truncated file and a wrong checksum end here.
  void read(void *to, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
      zip_int64_t got =
          zip_fread(file, static_cast<char *>(to) + done, bytes - done);
      if (got <= 0)
        throw Error(got < 0 ? zip_file_strerror(file) : "unexpected end");
      done += got;
    }
  }
};
} // namespace

static Array readEntry(struct zip *archive, const std::string &name) {
  zip_stat_t status;
  zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_INDEX;
  if (zip_stat(archive, (name + suffix).c_str(), ZIP_FL_ENC_GUESS, &status) ||
      (status.valid & wanted) != wanted)
    throw Error(zip_strerror(archive));
  // Deflate yields at most 1032 bytes from one: a size beyond that is a lie,
  // and nothing is allocated because of it.
  if (status.size / 1032 > status.comp_size)
    throw Error("its size in the directory is wrong");
  Entry entry;
  entry.file = zip_fopen_index(archive, status.index, 0);
  if (!entry.file)
    throw Error(zip_strerror(archive));

  // The fixed part tells how long the header is. Reading no further lets the
  // elements go straight to where they belong.
  std::string prefix(std::min<uint64_t>(status.size, 12), '\0');
  entry.read(prefix.data(), prefix.size());
  if (prefix.size() == 12) {
    auto byte = [&](size_t i) { return size_t(uint8_t(prefix[i])); };
    size_t length = 10 + (byte(8) | byte(9) << 8);
    if (byte(6) >= 2)
      length = 12 + (byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24);
    length = std::min<uint64_t>({length, maxNpyHeaderBytes, status.size});
    if (length > prefix.size()) {
      prefix.resize(length);
      entry.read(prefix.data() + 12, length - 12);
    }
  }
  NpyHeader header = parseNpyHeader(prefix, status.size);

  Array array;
  array.name = name;
  array.dtype = header.dtype;
  array.rank = header.rank;
  std::copy(header.shape, header.shape + FERRITE_MAX_RANK, array.shape);
  array.bytes = header.dataBytes;
  array.allocate();
  // A header of version 1 and less than 12 bytes does not exist: '{}' and its
  // keys are longer, so the prefix never reaches into the elements.
  entry.read(array.data.get(), array.bytes);
  // The checksum is compared when the end is read.
  char rest;
  if (zip_fread(entry.file, &rest, 1) != 0)
    throw Error(zip_file_strerror(entry.file));
  normalizeElements(array, header);
  return array;
}

Array NpzReader::read(const std::string &name) {
  if (std::count(arrayNames.begin(), arrayNames.end(), name) > 1)
    throw Error(
        format("'%s' has two arrays named '%s'", path.c_str(), name.c_str()));
  try {
    return readEntry(archive, name);
  } catch (const Error &error) {
    throw Error(format("cannot read array '%s' of '%s': %s", name.c_str(),
                       path.c_str(), error.what()),
                error.exitCode);
  }
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

static void addEntry(struct zip *archive, const FerriteTensor &tensor,
                     const std::string &header) {
  // Fragments spare a copy of the elements. Header and data outlive zip_close.
  zip_buffer_fragment_t parts[2] = {
      {reinterpret_cast<zip_uint8_t *>(const_cast<char *>(header.data())),
       header.size()},
      {static_cast<zip_uint8_t *>(tensor.data), tensor.bytes}};
  zip_source_t *source =
      zip_source_buffer_fragment(archive, parts, tensor.bytes ? 2 : 1, 0);
  if (!source)
    throw Error(zip_strerror(archive));
  zip_int64_t index =
      zip_file_add(archive, (std::string(tensor.name) + suffix).c_str(), source,
                   ZIP_FL_ENC_UTF_8);
  if (index < 0) {
    zip_source_free(source);
    throw Error(zip_strerror(archive));
  }
  // No time of day (1980-01-01 is zip's zero): equal results, equal files.
  if (zip_set_file_compression(archive, index, ZIP_CM_STORE, 0) ||
      zip_file_set_dostime(archive, index, 0, 1 << 5 | 1, 0))
    throw Error(zip_strerror(archive));
}

void writeNpz(const std::string &path,
              const std::vector<FerriteTensor> &tensors) {
  std::vector<std::string> headers;
  for (const FerriteTensor &tensor : tensors)
    headers.push_back(makeNpyHeader(tensor.dtype, tensor.rank, tensor.shape));
  int code = 0;
  struct zip *archive =
      zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  std::string why;
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    why = errno ? strerror(errno) : zip_error_strerror(&error);
    zip_error_fini(&error);
  } else {
    try {
      for (size_t i = 0; i < tensors.size(); ++i)
        addEntry(archive, tensors[i], headers[i]);
      // Writes to another name in the same folder and renames.
      if (!zip_close(archive))
        return;
      why = zip_strerror(archive);
    } catch (const Error &error) {
      why = error.what();
    }
    zip_discard(archive);
  }
  throw Error(format("cannot write '%s': %s", path.c_str(), why.c_str()));
}

} // namespace ferrite::cli
