//===- Link.cpp - Object files to an artifact -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/Link.h"

#include "lld/Common/Driver.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/Object/ArchiveWriter.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <dlfcn.h>
#include <link.h>
#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace mlir;
using namespace ferrite;

static LogicalResult runLinker(ArrayRef<const char *> options,
                               ArrayRef<std::string> objects, StringRef output,
                               Location loc) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  std::string path = output.str(), messages;
  SmallVector<const char *> args = {"ld.lld"};
  args.append(options.begin(), options.end());
  args.append({"-o", path.c_str()});
  for (const std::string &object : objects)
    args.push_back(object.c_str());
  llvm::raw_string_ostream stream(messages);
  lld::Result result =
      lld::lldMain(args, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode == 0)
    return success();
  return emitError(loc) << "bug: linking failed: "
                        << StringRef(messages).trim().split('\n').first;
}

LogicalResult ferrite::linkShared(ArrayRef<std::string> objects,
                                  StringRef output, Location loc) {
  // memcpy and memset are the process's: kernels may use them, as any C code.
  return runLinker({"-shared", "--eh-frame-hdr", "--build-id",
                    "--hash-style=gnu", "-z", "noexecstack", "-z", "relro",
                    "-z", "now", "--threads=2"},
                   objects, output, loc);
}

/// Where a library of this process was loaded from; empty when it was not.
static std::string loadedFrom(const char *name) {
  void *handle = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
  if (!handle)
    handle = dlopen(name, RTLD_LAZY);
  link_map *map = nullptr;
  std::string path;
  if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0)
    path = map->l_name;
  if (handle)
    dlclose(handle);
  return path;
}

std::string ferrite::runnerPath() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&runnerPath), &info))
    return "";
  SmallString<256> path(llvm::sys::path::parent_path(info.dli_fname));
  llvm::sys::path::append(path, "ferrite", "runner.o");
  return path.str().str();
}

LogicalResult ferrite::linkExecutable(ArrayRef<std::string> objects,
                                      StringRef output,
                                      const cpu::CpuMachine &machine,
                                      Location loc) {
  std::vector<std::string> files(objects);
  files.push_back(runnerPath());
  if (!llvm::sys::fs::exists(files.back()))
    return emitError(loc)
           << "--emit=exe needs the file '" << files.back()
           << "', which is not installed; link the model of --emit=static "
              "instead";
  for (const char *name : {"libc.so.6", "libm.so.6"}) {
    files.push_back(loadedFrom(name));
    if (files.back().empty())
      return emitError(loc) << "--emit=exe needs the C library of this "
                               "machine, but there is no "
                            << name;
  }
  std::string loader = ("--dynamic-linker=" + machine.loader).str();
  return runLinker({"-pie", loader.c_str(), "--eh-frame-hdr", "--build-id",
                    "--hash-style=gnu", "--gc-sections", "--as-needed",
                    "--allow-shlib-undefined", "-z", "noexecstack", "-z",
                    "relro", "-z", "now", "--threads=2"},
                   files, output, loc);
}

LogicalResult ferrite::linkRelocatable(ArrayRef<std::string> objects,
                                       StringRef output, Location loc) {
  return runLinker({"-r"}, objects, output, loc);
}

LogicalResult ferrite::writeLibrary(ArrayRef<std::string> objects,
                                    StringRef output, Location loc) {
  std::vector<llvm::NewArchiveMember> members;
  for (const std::string &object : objects) {
    auto member =
        llvm::NewArchiveMember::getFile(object, /*Deterministic=*/true);
    if (!member)
      return emitError(loc) << "cannot read '" << object
                            << "': " << llvm::toString(member.takeError());
    // The name alone: paths would tell where it was made, and differ each time.
    member->MemberName = llvm::sys::path::filename(object);
    members.push_back(std::move(*member));
  }
  if (llvm::Error error = llvm::writeArchive(
          output, members, llvm::SymtabWritingMode::NormalSymtab,
          llvm::object::Archive::K_GNU, /*Deterministic=*/true,
          /*Thin=*/false))
    return emitError(loc) << "cannot write '" << output
                          << "': " << llvm::toString(std::move(error));
  return success();
}
