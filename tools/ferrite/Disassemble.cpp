//===- Disassemble.cpp - The machine code of one kernel -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Kernels are not exported: the table of the artifact has their addresses, and
// .symtab says how long they are. The file was checked when it was loaded, but
// its section headers were not, so they are read with bounds.
//
//===----------------------------------------------------------------------===//
#include "Disassemble.h"
#include "Error.h"

#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace ferrite::cli {

namespace {
struct File {
  FILE *file;
  explicit File(const std::string &path) : file(fopen(path.c_str(), "re")) {
    if (!file)
      throw Error(
          format("cannot read '%s': %s", path.c_str(), strerror(errno)));
  }
  ~File() { fclose(file); }
  File(const File &) = delete;
  template <typename T>
  bool read(uint64_t offset, T &value) {
    return fseeko(file, off_t(offset), SEEK_SET) == 0 &&
           fread(&value, sizeof value, 1, file) == 1;
  }
};
} // namespace

/// The size of the function at `address`, 0 when no symbol tells.
static uint64_t functionSize(const std::string &path, uint64_t address) {
  File file(path);
  Elf64_Ehdr header;
  if (!file.read(0, header))
    return 0;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    if (!file.read(header.e_shoff + uint64_t(i) * sizeof section, section))
      return 0;
    if (section.sh_type != SHT_SYMTAB)
      continue;
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size;
         at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!file.read(section.sh_offset + at, symbol))
        return 0;
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
          symbol.st_value == address && symbol.st_size)
        return symbol.st_size;
    }
  }
  return 0;
}

void disassemble(const std::string &path, FerriteKernelFn function) {
  Dl_info info;
  auto *code = reinterpret_cast<char *>(function);
  if (!code || !dladdr(code, &info))
    throw Error("the kernel's code is not in a loaded library",
                FERRITE_COMPILE_BUG);
  uint64_t address = uint64_t(code - static_cast<char *>(info.dli_fbase));
  uint64_t size = functionSize(path, address);
  if (!size)
    throw Error(format("'%s' was stripped of its symbols, which --asm needs",
                       path.c_str()));
  std::string from = format("--start-address=0x%llx",
                            static_cast<unsigned long long>(address));
  std::string to = format("--stop-address=0x%llx",
                          static_cast<unsigned long long>(address + size));
  fflush(stdout); // the child writes to the same place
  for (const char *program : {"llvm-objdump", "llvm-objdump-22", "objdump"}) {
    const char *arguments[] = {program,      "-d",       "--no-show-raw-insn",
                               from.c_str(), to.c_str(), path.c_str(),
                               nullptr};
    pid_t child;
    if (posix_spawnp(&child, program, nullptr, nullptr,
                     const_cast<char **>(arguments), environ))
      continue;
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status))
      throw Error(format("%s failed on '%s'", program, path.c_str()));
    return;
  }
  throw Error("--asm needs a disassembler: install llvm-22 (llvm-objdump) or "
              "binutils (objdump)");
}

} // namespace ferrite::cli
