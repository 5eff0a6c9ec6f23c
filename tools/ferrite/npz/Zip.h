//===- Zip.h - Zip archives, as far as arrays need them ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Stored and deflated entries, with sizes beyond 4 GB. Of our own, because it
// is linked into every program of --emit=exe, and libzip comes with a crypto
// library. Archives are untrusted: every offset and size is compared with the
// file before it is believed, and every checksum when an entry's end is read.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_NPZ_ZIP_H
#define FERRITE_TOOLS_FERRITE_NPZ_ZIP_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ferrite::cli {

/// Functions of all three classes throw Error, without the name of the file.
class ZipReader {
public:
  struct Entry {
    std::string name;
    uint64_t size, compressedSize, headerOffset;
    uint32_t checksum;
    uint16_t method, flags;
  };

  explicit ZipReader(const std::string &path);
  ~ZipReader();
  ZipReader(const ZipReader &) = delete;
  ZipReader &operator=(const ZipReader &) = delete;

  /// In the order of the directory.
  const std::vector<Entry> &entries() const { return all; }

private:
  friend class ZipStream;
  void read(uint64_t offset, void *to, uint64_t bytes) const;
  void readDirectory();
  Entry parseEntry(const unsigned char *record, uint64_t bytes,
                   uint64_t &length) const;

  int file = -1;
  uint64_t fileBytes = 0;
  std::vector<Entry> all;
};

/// The bytes of an entry, from first to last.
class ZipStream {
public:
  ZipStream(const ZipReader &reader, const ZipReader::Entry &entry);
  ~ZipStream();

  void read(void *to, uint64_t bytes);
  /// After the last byte: that there is no more, and the checksum.
  void finish();

private:
  uint64_t inflateSome(unsigned char *to, uint64_t bytes);

  struct Inflater;
  const ZipReader &reader;
  const ZipReader::Entry &entry;
  std::unique_ptr<Inflater> inflater; ///< null: stored
  uint64_t next, left;                ///< of the compressed bytes
  uint64_t done = 0;                  ///< bytes given out
  uint32_t checksum = 0;
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
  void write(const void *data, uint64_t bytes);

  std::string path, temporary; ///< the latter empty once it is renamed
  int file = -1;
  uint64_t position = 0, count = 0;
  std::string directory;
};

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_NPZ_ZIP_H
