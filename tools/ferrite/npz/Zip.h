//===- Zip.h - Zip archives, as far as arrays need them ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Stored and deflated entries, with sizes beyond 4 GB, by minizip: programs of
// --emit=exe contain it, and Debian has it as a static library that needs zlib
// alone. What minizip leaves to its caller with untrusted archives is here.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_NPZ_ZIP_H
#define FERRITE_TOOLS_FERRITE_NPZ_ZIP_H

#include <cstdint>
#include <string>
#include <vector>

namespace ferrite::cli {

/// Functions of both classes throw Error, without the name of the file.
class ZipReader {
public:
  struct Entry {
    std::string name;
    uint64_t size, compressedSize;
    uint64_t record, index; ///< place in the directory
    bool encrypted;
  };

  explicit ZipReader(const std::string &path);
  ~ZipReader();
  ZipReader(const ZipReader &) = delete;
  ZipReader &operator=(const ZipReader &) = delete;

  /// In the order of the directory.
  const std::vector<Entry> &entries() const { return all; }

  /// Begins to read an entry; one at a time.
  void open(const Entry &entry);
  void read(void *to, uint64_t bytes);
  /// After the last byte: that there is no more, and the checksum.
  void finish();

private:
  void readDirectory();

  void *archive = nullptr; ///< unzFile
  std::vector<Entry> all;
};

/// Writes stored entries to a file that appears whole, under its name, when it
/// is closed. Nothing of the clock is in it: equal entries, equal files.
class ZipWriter {
public:
  explicit ZipWriter(const std::string &path);
  ~ZipWriter();
  ZipWriter(const ZipWriter &) = delete;
  ZipWriter &operator=(const ZipWriter &) = delete;

  struct Part {
    const void *data;
    uint64_t bytes;
  };
  /// An entry of these parts, one after the other.
  void add(const std::string &name, const std::vector<Part> &parts);
  void close();

private:
  std::string path, temporary; ///< the latter empty once it is renamed
  void *archive = nullptr;     ///< zipFile
};

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_NPZ_ZIP_H
