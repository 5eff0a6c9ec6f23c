//===- ZipWriter.cpp - Writing zip archives -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Error.h"
#include "npz/Zip.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace ferrite::cli {

namespace {
constexpr uint64_t most16 = 0xffff, most32 = 0xffffffff;
constexpr uint64_t flagUtf8 = 1 << 11;
/// 1980-01-01: zip's zero.
constexpr uint64_t noDate = 1 << 5 | 1;

/// Fields of a record, least byte first.
class Record {
public:
  Record &add(int bytes, uint64_t value) {
    for (int i = 0; i < bytes; ++i)
      text += char(value >> (8 * i));
    return *this;
  }
  std::string text;
};

/// What both headers of an entry have in common, from the version needed on.
void addCommon(Record &record, bool large, uint32_t checksum, uint64_t bytes,
               size_t nameBytes, size_t extraBytes) {
  record.add(2, large ? 45 : 20).add(2, flagUtf8).add(2, 0);
  record.add(2, 0).add(2, noDate).add(4, checksum);
  record.add(4, large ? most32 : bytes).add(4, large ? most32 : bytes);
  record.add(2, nameBytes).add(2, extraBytes);
}
} // namespace

ZipWriter::ZipWriter(const std::string &path) : path(path) {
  temporary = path + ".XXXXXX";
  file = mkstemp(temporary.data());
  if (file < 0) {
    int error = errno;
    temporary.clear();
    throw Error(strerror(error));
  }
  // mkstemp's file is its owner's alone; this one is like any other.
  mode_t mask = umask(0);
  umask(mask);
  fchmod(file, 0666 & ~mask);
}

ZipWriter::~ZipWriter() {
  if (file >= 0)
    ::close(file);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

void ZipWriter::write(const void *data, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    ssize_t wrote =
        ::write(file, static_cast<const char *>(data) + done,
                size_t(std::min<uint64_t>(bytes - done, uint64_t(1) << 30)));
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote <= 0)
      throw Error(strerror(wrote < 0 ? errno : ENOSPC));
    done += uint64_t(wrote);
  }
  position += bytes;
}

void ZipWriter::add(const std::string &name, const std::vector<Part> &parts) {
  if (name.size() > most16)
    throw Error("a name is longer than 65535 bytes");
  uint64_t bytes = 0;
  uLong checksum = crc32(0, nullptr, 0);
  for (const Part &part : parts) {
    bytes += part.bytes;
    auto *at = static_cast<const unsigned char *>(part.data);
    for (uint64_t done = 0; done < part.bytes;) {
      uint64_t some = std::min<uint64_t>(part.bytes - done, 1 << 30);
      checksum = crc32(checksum, at + done, uInt(some));
      done += some;
    }
  }
  uint64_t offset = position;
  bool large = bytes >= most32;
  Record local, entry, sizes, extra;
  if (large)
    sizes.add(8, bytes).add(8, bytes);
  Record localExtra;
  if (large)
    localExtra.add(2, 1).add(2, 16).text += sizes.text;
  local.add(4, 0x04034b50);
  addCommon(local, large, uint32_t(checksum), bytes, name.size(),
            localExtra.text.size());
  write(local.text.data(), local.text.size());
  write(name.data(), name.size());
  write(localExtra.text.data(), localExtra.text.size());
  for (const Part &part : parts)
    write(part.data, part.bytes);

  bool far = offset >= most32;
  if (far)
    sizes.add(8, offset);
  if (large || far)
    extra.add(2, 1).add(2, sizes.text.size()).text += sizes.text;
  entry.add(4, 0x02014b50).add(2, 3 << 8 | 45); // made by a Unix program
  addCommon(entry, large, uint32_t(checksum), bytes, name.size(),
            extra.text.size());
  entry.add(2, 0).add(2, 0).add(2, 0);
  entry.add(4, uint64_t(0100644) << 16).add(4, far ? most32 : offset);
  directory += entry.text + name + extra.text;
  ++count;
}

void ZipWriter::close() {
  uint64_t offset = position, size = directory.size();
  write(directory.data(), size);
  Record end;
  if (count >= most16 || size >= most32 || offset >= most32) {
    uint64_t at = position;
    end.add(4, 0x06064b50).add(8, 44).add(2, 3 << 8 | 45).add(2, 45);
    end.add(4, 0).add(4, 0).add(8, count).add(8, count);
    end.add(8, size).add(8, offset);
    end.add(4, 0x07064b50).add(4, 0).add(8, at).add(4, 1);
  }
  uint64_t count16 = std::min(count, most16);
  end.add(4, 0x06054b50).add(2, 0).add(2, 0).add(2, count16).add(2, count16);
  end.add(4, std::min(size, most32)).add(4, std::min(offset, most32));
  end.add(2, 0);
  write(end.text.data(), end.text.size());
  int closed = ::close(file);
  file = -1;
  // A disk may fill up as late as here.
  if (closed || rename(temporary.c_str(), path.c_str()))
    throw Error(strerror(errno));
  temporary.clear();
}

} // namespace ferrite::cli
