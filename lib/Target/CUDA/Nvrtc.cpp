//===- Nvrtc.cpp - NVIDIA's run-time compiler, if it is there -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Target/CUDA/Nvrtc.h"

#include "passes/Codegen/CUDA/EmitCuda.h"

#include <cstdlib>
#include <dlfcn.h>

using namespace ferrite;
using namespace ferrite::cuda;

std::vector<std::string> cuda::toolkitFolders() {
  std::vector<std::string> folders;
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *folder = getenv(name); folder && *folder)
      folders.push_back(folder);
  folders.push_back("/usr/local/cuda"); // where NVIDIA's packages put it
  return folders;
}

bool Nvrtc::load() {
  std::vector<std::string> paths;
  for (const std::string &folder : toolkitFolders())
    for (const char *part : {"/lib64/libnvrtc.so", "/lib/libnvrtc.so"})
      for (const char *version : {"", ".13", ".12"}) // PyPI's has no link
        paths.push_back(folder + part + version);
  for (const char *name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"})
    paths.push_back(name);
  void *library = nullptr;
  for (const std::string &candidate : paths)
    if ((library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL))) {
      path = candidate;
      break;
    }
  if (!library)
    return false;
  bool ok = true;
  auto find = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(
        dlsym(library, name));
    ok &= function != nullptr;
  };
  find(version, "nvrtcVersion");
  find(createProgram, "nvrtcCreateProgram");
  find(destroyProgram, "nvrtcDestroyProgram");
  find(compileProgram, "nvrtcCompileProgram");
  find(getCubinSize, "nvrtcGetCUBINSize");
  find(getCubin, "nvrtcGetCUBIN");
  find(getPtxSize, "nvrtcGetPTXSize");
  find(getPtx, "nvrtcGetPTX");
  find(getLogSize, "nvrtcGetProgramLogSize");
  find(getLog, "nvrtcGetProgramLog");
  find(errorString, "nvrtcGetErrorString");
  return ok && version(&major, &minor) == 0;
}

const Nvrtc *Nvrtc::find() {
  static const Nvrtc *found = [] {
    static Nvrtc library;
    return library.load() ? &library : nullptr;
  }();
  return found;
}

bool Nvrtc::compile(llvm::StringRef source, bool toPtx,
                    llvm::ArrayRef<std::string> options, std::string &cubin,
                    std::string &log) const {
  std::vector<std::string> names, texts;
  for (const auto &[name, text] : skeletonHeaders()) {
    names.push_back(name.str());
    texts.push_back(text.str());
  }
  std::vector<const char *> namePointers, textPointers, optionPointers;
  for (size_t i = 0; i < names.size(); ++i) {
    namePointers.push_back(names[i].c_str());
    textPointers.push_back(texts[i].c_str());
  }
  for (const std::string &option : options)
    optionPointers.push_back(option.c_str());
  // Or generic lambdas of kernels, which nvcc takes, were functions of the
  // host.
  optionPointers.push_back("--device-as-default-execution-space");
  Program program = nullptr;
  std::string text = source.str();
  int status = createProgram(&program, text.c_str(), "kernels.cu", names.size(),
                             textPointers.data(), namePointers.data());
  if (status == 0)
    status =
        compileProgram(program, optionPointers.size(), optionPointers.data());
  size_t size = 0;
  if (program && getLogSize(program, &size) == 0 && size > 1) {
    log.resize(size);
    getLog(program, log.data());
    log.resize(size - 1); // its terminator
  }
  if (status == 0)
    status = (toPtx ? getPtxSize : getCubinSize)(program, &size);
  if (status == 0) {
    cubin.resize(size);
    status = (toPtx ? getPtx : getCubin)(program, cubin.data());
    if (toPtx && size)
      cubin.resize(size - 1); // its terminator
  }
  if (status != 0 && log.empty())
    log = errorString(status);
  if (program)
    destroyProgram(&program);
  return status == 0;
}
