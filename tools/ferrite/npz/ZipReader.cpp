//===- ZipReader.cpp - Reading zip archives -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Offsets in records are those of PKWARE's APPNOTE, which names each field.
//
//===----------------------------------------------------------------------===//
#include "Error.h"
#include "npz/Zip.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace ferrite::cli {

namespace {
constexpr uint32_t localMagic = 0x04034b50, entryMagic = 0x02014b50,
                   endMagic = 0x06054b50, endMagic64 = 0x06064b50,
                   locatorMagic = 0x07064b50;
constexpr uint64_t localBytes = 30, entryBytes = 46, endBytes = 22,
                   endBytes64 = 56, locatorBytes = 20;
constexpr uint16_t methodStored = 0, methodDeflated = 8, flagEncrypted = 1;

uint64_t little(const unsigned char *at, int bytes) {
  uint64_t value = 0;
  for (int i = bytes; i-- > 0;)
    value = value << 8 | at[i];
  return value;
}

[[noreturn]] void damaged(const char *what) {
  throw Error(format("a damaged zip archive: %s", what));
}
} // namespace

ZipReader::ZipReader(const std::string &path) {
  file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file < 0 || fstat(file, &status)) {
    int error = errno;
    if (file >= 0)
      ::close(file);
    throw Error(strerror(error));
  }
  // The destructor does not run for what the constructor throws.
  try {
    if (!S_ISREG(status.st_mode))
      throw Error("not a file");
    fileBytes = uint64_t(status.st_size);
    readDirectory();
  } catch (...) {
    ::close(file);
    throw;
  }
}

ZipReader::~ZipReader() { ::close(file); }

void ZipReader::read(uint64_t offset, void *to, uint64_t bytes) const {
  if (offset > fileBytes || bytes > fileBytes - offset)
    damaged("it is truncated");
  for (uint64_t done = 0; done < bytes;) {
    ssize_t got = pread(file, static_cast<char *>(to) + done, bytes - done,
                        off_t(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      throw Error(got < 0 ? strerror(errno) : "unexpected end");
    done += uint64_t(got);
  }
}

void ZipReader::readDirectory() {
  // The end record is last, but for a comment of up to 64 KiB.
  uint64_t tailBytes = std::min<uint64_t>(fileBytes, endBytes + 0xffff);
  std::vector<unsigned char> tail(tailBytes);
  read(fileBytes - tailBytes, tail.data(), tailBytes);
  uint64_t end = tailBytes;
  for (uint64_t at = tailBytes >= endBytes ? tailBytes - endBytes + 1 : 0;
       at-- > 0;)
    if (little(&tail[at], 4) == endMagic &&
        at + endBytes + little(&tail[at + 20], 2) == tailBytes) {
      end = at;
      break;
    }
  if (end == tailBytes)
    throw Error("not an .npz file, which is a zip archive");
  uint64_t count = little(&tail[end + 10], 2),
           size = little(&tail[end + 12], 4),
           offset = little(&tail[end + 16], 4);
  uint64_t endAt = fileBytes - tailBytes + end;
  if (count == 0xffff || size == 0xffffffff || offset == 0xffffffff) {
    unsigned char record[endBytes64];
    if (endAt < locatorBytes)
      damaged("it has no locator");
    read(endAt - locatorBytes, record, locatorBytes);
    if (little(record, 4) == locatorMagic) {
      endAt = little(record + 8, 8);
      read(endAt, record, endBytes64);
      if (little(record, 4) != endMagic64)
        damaged("its locator leads nowhere");
      count = little(record + 32, 8);
      size = little(record + 40, 8);
      offset = little(record + 48, 8);
    }
  }
  // The directory ends where the end record begins, and lies in the file.
  if (offset > endAt || size != endAt - offset)
    damaged("its directory does not end at the end record");
  if (count > size / entryBytes)
    damaged("its directory is too small for its entries");
  std::vector<unsigned char> records(size);
  read(offset, records.data(), size);
  uint64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    all.push_back(parseEntry(records.data() + at, size - at, length));
    at += length;
  }
}

ZipReader::Entry ZipReader::parseEntry(const unsigned char *record,
                                       uint64_t bytes, uint64_t &length) const {
  if (bytes < entryBytes || little(record, 4) != entryMagic)
    damaged("a record of its directory is none");
  uint64_t nameBytes = little(record + 28, 2),
           extraBytes = little(record + 30, 2);
  length = entryBytes + nameBytes + extraBytes + little(record + 32, 2);
  if (length > bytes)
    damaged("a record of its directory is cut");
  Entry entry;
  entry.name.assign(reinterpret_cast<const char *>(record + entryBytes),
                    nameBytes);
  entry.flags = uint16_t(little(record + 8, 2));
  entry.method = uint16_t(little(record + 10, 2));
  entry.checksum = uint32_t(little(record + 16, 4));
  entry.compressedSize = little(record + 20, 4);
  entry.size = little(record + 24, 4);
  entry.headerOffset = little(record + 42, 4);
  // Numbers that do not fit lie, in this order, in extra field 1.
  const unsigned char *extra = record + entryBytes + nameBytes;
  for (uint64_t at = 0; at + 4 <= extraBytes;) {
    uint64_t id = little(extra + at, 2), size = little(extra + at + 2, 2);
    at += 4;
    if (size > extraBytes - at)
      damaged("an extra field is cut");
    uint64_t used = 0;
    for (uint64_t *field :
         {&entry.size, &entry.compressedSize, &entry.headerOffset})
      if (id == 1 && *field == 0xffffffff && used + 8 <= size) {
        *field = little(extra + at + used, 8);
        used += 8;
      }
    at += size;
  }
  return entry;
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

struct ZipStream::Inflater {
  z_stream state = {};
  unsigned char buffer[1 << 16];
  bool ended = false;

  Inflater() {
    // Raw deflate: zip has headers of its own.
    if (inflateInit2(&state, -MAX_WBITS) != Z_OK)
      throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&state); }
};

ZipStream::ZipStream(const ZipReader &reader, const ZipReader::Entry &entry)
    : reader(reader), entry(entry), left(entry.compressedSize) {
  unsigned char header[localBytes];
  reader.read(entry.headerOffset, header, localBytes);
  if (little(header, 4) != localMagic)
    damaged("an entry does not begin where its directory says");
  next = entry.headerOffset + localBytes + little(header + 26, 2) +
         little(header + 28, 2);
  if (next > reader.fileBytes || left > reader.fileBytes - next)
    damaged("it is truncated");
  if (entry.flags & flagEncrypted)
    throw Error("it is encrypted");
  if (entry.method == methodDeflated)
    inflater = std::make_unique<Inflater>();
  else if (entry.method != methodStored)
    throw Error(format("it is compressed with method %u, which is not "
                       "supported; save it with numpy.savez",
                       entry.method));
  else if (entry.size != entry.compressedSize)
    damaged("a stored entry has two sizes");
}

ZipStream::~ZipStream() = default;

/// How many bytes it gave: 0 at the end.
uint64_t ZipStream::inflateSome(unsigned char *to, uint64_t bytes) {
  z_stream &state = inflater->state;
  state.next_out = to;
  state.avail_out = uInt(std::min<uint64_t>(bytes, 1 << 30));
  uint64_t room = state.avail_out;
  while (state.avail_out == room && !inflater->ended) {
    if (state.avail_in == 0 && left > 0) {
      uint64_t some = std::min<uint64_t>(left, sizeof inflater->buffer);
      reader.read(next, inflater->buffer, some);
      state.next_in = inflater->buffer;
      state.avail_in = uInt(some);
      next += some;
      left -= some;
    }
    int status = inflate(&state, Z_NO_FLUSH);
    if (status == Z_STREAM_END)
      inflater->ended = true;
    else if (status != Z_OK)
      damaged("an entry does not inflate");
  }
  return room - state.avail_out;
}

void ZipStream::read(void *to, uint64_t bytes) {
  auto *out = static_cast<unsigned char *>(to);
  while (bytes > 0) {
    // Pieces that stay in the cache until they are summed up.
    uint64_t some = std::min<uint64_t>(bytes, 1 << 18);
    if (inflater) {
      some = inflateSome(out, some);
    } else {
      some = std::min(some, left);
      reader.read(next, out, some);
      next += some;
      left -= some;
    }
    if (some == 0)
      throw Error("unexpected end");
    checksum = uint32_t(crc32(checksum, out, uInt(some)));
    out += some;
    bytes -= some;
    done += some;
  }
}

void ZipStream::finish() {
  unsigned char more;
  bool ended = inflater ? inflateSome(&more, 1) == 0 : left == 0;
  if (!ended || done != entry.size)
    damaged("an entry has another size than its directory says");
  if (checksum != entry.checksum)
    damaged("the checksum of an entry is wrong");
}

} // namespace ferrite::cli
