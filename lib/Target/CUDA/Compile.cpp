//===- Compile.cpp - CUDA C++ to cubins -----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Target/CUDA/Compile.h"

#include "lib/Target/CUDA/Nvrtc.h"
#include "passes/Codegen/CUDA/EmitCuda.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/xxhash.h"

#include <cstdlib>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

//===--- what was compiled before -----------------------------------------===//

namespace {
/// A file for each source, named by a hash of all that decides about its code.
class Cache {
public:
  Cache(StringRef source, const std::string &tool,
        ArrayRef<std::string> options) {
    SmallString<128> folder;
    const char *given = getenv("FERRITE_CACHE");
    if (given && StringRef(given) == "off")
      return;
    if (given && *given)
      folder = given;
    else if (const char *xdg = getenv("XDG_CACHE_HOME"); xdg && *xdg)
      llvm::sys::path::append(folder, xdg, "ferrite");
    else if (llvm::sys::path::home_directory(folder))
      llvm::sys::path::append(folder, ".cache", "ferrite");
    else
      return;
    std::string all =
        tool + "\n" + llvm::join(options, "\n") + "\n" + source.str();
    for (const auto &[name, text] : skeletonHeaders())
      all += text;
    llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
        {reinterpret_cast<const uint8_t *>(all.data()), all.size()});
    llvm::sys::path::append(folder, llvm::utohexstr(hash.high64, true, 16) +
                                        llvm::utohexstr(hash.low64, true, 16));
    path = folder.str().str();
  }

  bool read(CompiledCuda &compiled) const {
    if (path.empty())
      return false;
    auto cubin = llvm::MemoryBuffer::getFile(path + ".cubin");
    auto log = llvm::MemoryBuffer::getFile(path + ".log");
    // A cubin is an ELF file, PTX begins with a comment; anything else is not
    // one of ours.
    if (!cubin || !log ||
        !((*cubin)->getBuffer().starts_with("\x7f"
                                            "ELF") ||
          (*cubin)->getBuffer().starts_with("//")))
      return false;
    compiled.cubin = (*cubin)->getBuffer().str();
    compiled.log = (*log)->getBuffer().str();
    return true;
  }

  /// A cache that cannot be written is none.
  void write(const CompiledCuda &compiled) const {
    if (path.empty() ||
        llvm::sys::fs::create_directories(llvm::sys::path::parent_path(path)))
      return;
    auto one = [&](StringRef extension, StringRef bytes) {
      SmallString<128> made;
      int fd;
      if (llvm::sys::fs::createUniqueFile(path + ".%%%%%%", fd, made))
        return false;
      {
        llvm::raw_fd_ostream stream(fd, /*shouldClose=*/true);
        stream << bytes;
        if (stream.has_error()) {
          stream.clear_error();
          llvm::sys::fs::remove(made);
          return false;
        }
      }
      if (!llvm::sys::fs::rename(made, path + extension))
        return true;
      llvm::sys::fs::remove(made);
      return false;
    };
    // Read back only when both are there: the cubin comes last.
    if (one(".log", compiled.log))
      one(".cubin", compiled.cubin);
  }

private:
  std::string path; ///< empty: nothing is kept
};
} // namespace

//===--- nvcc -------------------------------------------------------------===//

static std::string findNvcc() {
  if (auto found = llvm::sys::findProgramByName("nvcc"))
    return *found;
  for (const std::string &folder : toolkitFolders())
    if (llvm::sys::fs::can_execute(folder + "/bin/nvcc"))
      return folder + "/bin/nvcc";
  return "";
}

static std::string readFile(const Twine &path) {
  auto file = llvm::MemoryBuffer::getFile(path);
  return file ? (*file)->getBuffer().str() : std::string();
}

/// Compiles with a program, through files of a folder that is removed.
static bool runNvcc(const std::string &program, StringRef source, bool isPtx,
                    ArrayRef<std::string> options, CompiledCuda &compiled) {
  SmallString<128> folder;
  if (std::error_code error =
          llvm::sys::fs::createUniqueDirectory("ferrite-cuda", folder)) {
    compiled.log = error.message();
    return false;
  }
  auto write = [&](const Twine &name, StringRef text) {
    std::error_code error;
    llvm::raw_fd_ostream stream((folder + "/" + name).str(), error);
    if (!error)
      stream << text;
  };
  llvm::sys::fs::create_directory(folder + "/ferrite");
  for (const auto &[name, text] : skeletonHeaders())
    write(name, text);
  write("kernels.cu", source);
  std::string out = (folder + "/kernels.cubin").str(),
              log = (folder + "/log").str();
  std::vector<std::string> arguments = {program, isPtx ? "-ptx" : "-cubin"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), {"-I" + folder.str().str(), "-o", out,
                                     (folder + "/kernels.cu").str()});
  std::vector<StringRef> references(arguments.begin(), arguments.end());
  std::string problem;
  int status = llvm::sys::ExecuteAndWait(
      program, references, std::nullopt,
      {std::nullopt, StringRef(log), StringRef(log)}, 0, 0, &problem);
  compiled.log = readFile(log);
  compiled.cubin = readFile(out);
  llvm::sys::fs::remove_directories(folder);
  if (status != 0 && compiled.log.empty())
    compiled.log = problem.empty() ? "it failed" : problem;
  return status == 0 && !compiled.cubin.empty();
}

//===--- either -----------------------------------------------------------===//

static std::string namedCompiler() {
  const char *named = getenv("FERRITE_NVCC");
  return named ? named : "";
}

bool cuda::hasCompiler() {
  return !namedCompiler().empty() || Nvrtc::find() || !findNvcc().empty();
}

FailureOr<CompiledCuda> cuda::compileCuda(StringRef source, const Arch &arch,
                                          bool lineTables, Location loc) {
  // What a body writes is what is computed: products and sums are joined where
  // a skeleton says so.
  std::vector<std::string> options = {"--gpu-architecture=" + arch.name,
                                      "-std=c++17", "--fmad=false"};
  if (!arch.isPtx)
    options.push_back("--ptxas-options=-v");
  if (lineTables)
    options.push_back("-lineinfo");
  CompiledCuda compiled;
  std::string program = namedCompiler();
  const Nvrtc *nvrtc = program.empty() ? Nvrtc::find() : nullptr;
  if (!nvrtc && program.empty())
    program = findNvcc();
  if (!nvrtc && program.empty())
    return emitError(loc)
           << "code for " << arch.name
           << " needs NVIDIA's compiler, and there is none: install the CUDA "
              "toolkit 12.8 or later (CUDA_HOME says where it is), or the "
              "package nvidia-cuda-nvrtc of PyPI with its folder in "
              "LD_LIBRARY_PATH";
  compiled.tool = nvrtc ? "nvrtc " + std::to_string(nvrtc->major) + "." +
                              std::to_string(nvrtc->minor)
                        : program;
  Cache cache(source, compiled.tool, options);
  if (cache.read(compiled))
    return compiled;
  bool ok = nvrtc ? nvrtc->compile(source, arch.isPtx, options, compiled.cubin,
                                   compiled.log)
                  : runNvcc(program, source, arch.isPtx, options, compiled);
  if (!ok)
    return emitError(loc) << "bug: " << compiled.tool
                          << " does not compile the kernels for " << arch.name
                          << ":\n"
                          << StringRef(compiled.log).take_front(4000);
  cache.write(compiled);
  return compiled;
}
