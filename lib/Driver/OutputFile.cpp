//===- OutputFile.cpp - Files that appear whole or not at all -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/OutputFile.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <mutex>
#include <set>

using namespace mlir;
using namespace ferrite;

namespace {
/// Folders in use. Where an exception of a library's passes our frames, which
/// are compiled without, destructors do not run; those of the process still do.
struct Open {
  ~Open() {
    for (const std::string &path : paths)
      llvm::sys::fs::remove_directories(path);
  }
  std::mutex mutex;
  std::set<std::string> paths;
};
} // namespace

static Open &openFolders() {
  static Open open;
  return open;
}

WorkFolder::WorkFolder(std::string path) : path(std::move(path)) {
  std::lock_guard<std::mutex> lock(openFolders().mutex);
  openFolders().paths.insert(this->path);
}

FailureOr<WorkFolder> WorkFolder::create(StringRef output, Location loc) {
  // In the output's own folder: a rename within a file system is atomic.
  SmallString<256> prefix(llvm::sys::path::parent_path(output));
  llvm::sys::path::append(prefix, "." + llvm::sys::path::filename(output));
  if (llvm::sys::fs::is_directory(output))
    return emitError(loc) << "cannot write '" << output << "': it is a folder";
  SmallString<256> path;
  // A relative prefix would mean the system's folder for temporary files.
  std::error_code error = llvm::sys::fs::make_absolute(prefix);
  if (!error)
    error = llvm::sys::fs::createUniqueDirectory(prefix, path);
  if (error)
    return emitError(loc) << "cannot write '" << output
                          << "': " << error.message();
  return WorkFolder(path.str().str());
}

WorkFolder::~WorkFolder() {
  if (path.empty())
    return;
  llvm::sys::fs::remove_directories(path);
  std::lock_guard<std::mutex> lock(openFolders().mutex);
  openFolders().paths.erase(path);
}

std::string WorkFolder::file(StringRef name) const {
  SmallString<256> full(path);
  llvm::sys::path::append(full, name);
  return full.str().str();
}

LogicalResult WorkFolder::write(StringRef name, StringRef bytes,
                                Location loc) const {
  std::error_code error;
  llvm::raw_fd_ostream stream(file(name), error);
  if (!error) {
    stream << bytes;
    stream.close();
    error = stream.error();
    stream.clear_error();
  }
  if (error)
    return emitError(loc) << "cannot write '" << file(name)
                          << "': " << error.message();
  return success();
}

LogicalResult WorkFolder::keep(StringRef name, StringRef to,
                               Location loc) const {
  if (std::error_code error = llvm::sys::fs::rename(file(name), to))
    return emitError(loc) << "cannot write '" << to << "': " << error.message();
  return success();
}
