//===- Zip.cpp - Zip archives, as far as arrays need them -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "npz/Zip.h"
#include "Error.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <minizip/unzip.h>
#include <minizip/zip.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ferrite::cli {

/// minizip counts in int.
static constexpr uint64_t mostAtOnce = uint64_t(1) << 30;

[[noreturn]] static void damaged(const char *what) {
  throw Error(format("a damaged zip archive: %s", what));
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

ZipReader::ZipReader(const std::string &path) {
  struct stat status;
  if (stat(path.c_str(), &status) || access(path.c_str(), R_OK))
    throw Error(strerror(errno));
  if (!S_ISREG(status.st_mode))
    throw Error("not a file");
  archive = unzOpen64(path.c_str());
  if (!archive)
    throw Error("not an .npz file, which is a zip archive");
  // The destructor does not run for what the constructor throws.
  try {
    readDirectory();
  } catch (...) {
    unzClose(archive);
    throw;
  }
}

ZipReader::~ZipReader() {
  unzCloseCurrentFile(archive);
  unzClose(archive);
}

void ZipReader::readDirectory() {
  unz_global_info64 global;
  if (unzGetGlobalInfo64(archive, &global) != UNZ_OK)
    damaged("it has no directory");
  if (global.number_entry == 0)
    return;
  int status = unzGoToFirstFile(archive);
  for (; status == UNZ_OK; status = unzGoToNextFile(archive)) {
    unz_file_info64 info;
    unz64_file_pos place;
    // A name has at most 65535 bytes.
    char name[(1 << 16) + 1];
    if (unzGetCurrentFileInfo64(archive, &info, name, sizeof name, nullptr, 0,
                                nullptr, 0) != UNZ_OK ||
        unzGetFilePos64(archive, &place) != UNZ_OK)
      damaged("a record of its directory is none");
    all.push_back({name, info.uncompressed_size, info.compressed_size,
                   place.pos_in_zip_directory, place.num_of_file,
                   (info.flag & 1) != 0});
  }
  if (status != UNZ_END_OF_LIST_OF_FILE)
    damaged("a record of its directory is none");
}

void ZipReader::open(const Entry &entry) {
  if (entry.encrypted)
    throw Error("it is encrypted");
  unz64_file_pos place = {entry.record, entry.index};
  int method = 0;
  if (unzGoToFilePos64(archive, &place) != UNZ_OK)
    damaged("a record of its directory is none");
  int status = unzOpenCurrentFile2(archive, &method, nullptr, 0);
  if (status != UNZ_OK && method != 0 && method != Z_DEFLATED)
    throw Error(format("it is compressed with method %d, which is not "
                       "supported; save it with numpy.savez",
                       method));
  if (status != UNZ_OK)
    damaged("an entry does not begin where its directory says");
}

void ZipReader::read(void *to, uint64_t bytes) {
  auto *out = static_cast<unsigned char *>(to);
  while (bytes > 0) {
    int got =
        unzReadCurrentFile(archive, out, unsigned(std::min(bytes, mostAtOnce)));
    if (got < 0)
      damaged("an entry does not inflate");
    if (got == 0)
      throw Error("unexpected end");
    out += got;
    bytes -= uint64_t(got);
  }
}

void ZipReader::finish() {
  char more;
  if (unzReadCurrentFile(archive, &more, 1) != 0)
    damaged("an entry has another size than its directory says");
  if (unzCloseCurrentFile(archive) != UNZ_OK)
    damaged("the checksum of an entry is wrong");
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

ZipWriter::ZipWriter(const std::string &path) : path(path) {
  temporary = path + ".XXXXXX";
  int file = mkstemp(temporary.data());
  if (file < 0) {
    int error = errno;
    temporary.clear();
    throw Error(strerror(error));
  }
  // mkstemp's file is its owner's alone; this one is like any other.
  mode_t mask = umask(0);
  umask(mask);
  fchmod(file, 0666 & ~mask);
  ::close(file);
  archive = zipOpen64(temporary.c_str(), APPEND_STATUS_CREATE);
  if (!archive) {
    unlink(temporary.c_str());
    throw Error(strerror(errno));
  }
}

ZipWriter::~ZipWriter() {
  if (archive)
    zipClose(archive, nullptr);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

void ZipWriter::add(const std::string &name, const std::vector<Part> &parts) {
  uint64_t bytes = 0;
  for (const Part &part : parts)
    bytes += part.bytes;
  zip_fileinfo info = {};
  info.dosDate = 1 << 21 | 1 << 16; // 1980-01-01, zip's zero
  errno = 0;
  auto check = [](int status) {
    if (status != ZIP_OK)
      throw Error(errno ? strerror(errno) : "the archive cannot be written");
  };
  check(zipOpenNewFileInZip64(archive, name.c_str(), &info, nullptr, 0, nullptr,
                              0, nullptr, /*method=*/0, /*level=*/0,
                              /*zip64=*/bytes >= UINT32_MAX));
  for (const Part &part : parts)
    for (uint64_t done = 0; done < part.bytes;) {
      uint64_t some = std::min(part.bytes - done, mostAtOnce);
      check(zipWriteInFileInZip(archive,
                                static_cast<const char *>(part.data) + done,
                                unsigned(some)));
      done += some;
    }
  check(zipCloseFileInZip(archive));
}

void ZipWriter::close() {
  errno = 0;
  int status = zipClose(archive, nullptr);
  archive = nullptr;
  // A disk may fill up as late as here.
  if (status != ZIP_OK || rename(temporary.c_str(), path.c_str()))
    throw Error(errno ? strerror(errno) : "the archive cannot be written");
  temporary.clear();
}

} // namespace ferrite::cli
