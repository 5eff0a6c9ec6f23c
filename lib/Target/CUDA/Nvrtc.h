//===- Nvrtc.h - NVIDIA's run-time compiler, if it is there -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_TARGET_CUDA_NVRTC_H
#define FERRITE_LIB_TARGET_CUDA_NVRTC_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace ferrite::cuda {

/// The functions of libnvrtc that are used, as nvrtc.h declares them.
struct Nvrtc {
  int major = 0, minor = 0;
  std::string path;

  /// Opens the library once for the process; null when there is none.
  static const Nvrtc *find();

  /// False: it does not compile, and `log` says why.
  bool compile(llvm::StringRef source, bool toPtx,
               llvm::ArrayRef<std::string> options, std::string &cubin,
               std::string &log) const;

private:
  using Program = void *;
  int (*version)(int *, int *) = nullptr;
  int (*createProgram)(Program *, const char *, const char *, int,
                       const char *const *, const char *const *) = nullptr;
  int (*destroyProgram)(Program *) = nullptr;
  int (*compileProgram)(Program, int, const char *const *) = nullptr;
  int (*getCubinSize)(Program, size_t *) = nullptr;
  int (*getCubin)(Program, char *) = nullptr;
  int (*getPtxSize)(Program, size_t *) = nullptr;
  int (*getPtx)(Program, char *) = nullptr;
  int (*getLogSize)(Program, size_t *) = nullptr;
  int (*getLog)(Program, char *) = nullptr;
  const char *(*errorString)(int) = nullptr;
  bool load();
};

/// Folders of a CUDA toolkit that may be there, best first.
std::vector<std::string> toolkitFolders();

} // namespace ferrite::cuda
#endif // FERRITE_LIB_TARGET_CUDA_NVRTC_H
