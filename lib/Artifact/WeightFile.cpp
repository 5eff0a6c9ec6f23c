//===- WeightFile.cpp - The weights as an object file or a file -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/WeightFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"

#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace ferrite;

namespace {
/// A file of a known size, mapped for writing. Sparse until written.
class MappedOutput {
public:
  static FailureOr<MappedOutput> create(StringRef path, int64_t size,
                                        Location loc) {
    int fd =
        open(path.str().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    // Space is reserved first: a full disk is an error here, not a SIGBUS
    // later.
    int error =
        fd < 0 ? errno : posix_fallocate(fd, 0, std::max<int64_t>(size, 1));
    void *data = MAP_FAILED;
    if (error == 0) {
      data = mmap(nullptr, std::max<int64_t>(size, 1), PROT_READ | PROT_WRITE,
                  MAP_SHARED, fd, 0);
      error = data == MAP_FAILED ? errno : 0;
    }
    if (fd >= 0)
      close(fd);
    if (error != 0)
      return emitError(loc)
             << "cannot write '" << path << "': " << std::strerror(error);
    return MappedOutput(static_cast<char *>(data), size);
  }
  MappedOutput(MappedOutput &&other)
      : data(std::exchange(other.data, nullptr)), size(other.size) {}
  ~MappedOutput() {
    if (data)
      munmap(data, std::max<int64_t>(size, 1));
  }
  char *data;
  int64_t size;

private:
  MappedOutput(char *data, int64_t size) : data(data), size(size) {}
};
} // namespace

LogicalResult ferrite::writeWeightObject(ModuleOp plan, ModelFolder &folder,
                                         StringRef path, StringRef symbol,
                                         const cpu::CpuMachine &machine,
                                         unsigned threads) {
  // Sections: null, weights, symbols, strings of both kinds, and the mark
  // without which a linker takes the stack to be executable.
  constexpr int kSections = 5;
  constexpr int64_t kPage = 4096;
  int64_t bytes = weightBytes(plan);
  std::string strings = std::string(1, '\0') + kWeightsSection.str() + '\0' +
                        ".symtab" + '\0' + ".strtab" + '\0' + symbol.str() +
                        '\0' + ".note.GNU-stack" + '\0';
  uint32_t symtabName = 1 + kWeightsSection.size() + 1,
           strtabName = symtabName + 8, symbolName = strtabName + 8,
           stackName = symbolName + symbol.size() + 1;
  int64_t symbolsAt = llvm::alignTo(kPage + bytes, 8);
  int64_t stringsAt = symbolsAt + 2 * sizeof(Elf64_Sym);
  int64_t headersAt = llvm::alignTo(stringsAt + strings.size(), 8);
  int64_t size = headersAt + kSections * sizeof(Elf64_Shdr);

  FailureOr<MappedOutput> file =
      MappedOutput::create(path, size, plan.getLoc());
  if (failed(file))
    return failure();
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_REL;
  header.e_machine = machine.elfMachine;
  header.e_version = EV_CURRENT;
  header.e_shoff = headersAt;
  header.e_ehsize = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = kSections;
  header.e_shstrndx = 3;
  Elf64_Sym symbols[2] = {};
  symbols[1].st_name = symbolName;
  symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
  symbols[1].st_other = STV_HIDDEN;
  symbols[1].st_shndx = 1;
  symbols[1].st_size = bytes;
  Elf64_Shdr sections[kSections] = {};
  // Large: lld keeps it apart from code, so no distance within the code grows
  // with the weights.
  sections[1] = {1,
                 SHT_PROGBITS,
                 SHF_ALLOC | machine.largeSection,
                 0,
                 static_cast<Elf64_Off>(kPage),
                 static_cast<Elf64_Xword>(bytes),
                 0,
                 0,
                 kPage,
                 0};
  sections[2] = {
      symtabName,     SHT_SYMTAB, 0, 0, static_cast<Elf64_Off>(symbolsAt),
      sizeof symbols, 3,          1, 8, sizeof(Elf64_Sym)};
  sections[3] = {
      strtabName,     SHT_STRTAB, 0, 0, static_cast<Elf64_Off>(stringsAt),
      strings.size(), 0,          0, 1, 0};
  sections[4].sh_name = stackName;
  sections[4].sh_type = SHT_PROGBITS;
  sections[4].sh_addralign = 1;
  std::memcpy(file->data, &header, sizeof header);
  std::memcpy(file->data + symbolsAt, symbols, sizeof symbols);
  std::memcpy(file->data + stringsAt, strings.data(), strings.size());
  std::memcpy(file->data + headersAt, sections, sizeof sections);
  return writeWeights(plan, folder, file->data + kPage, threads);
}

FailureOr<std::array<uint8_t, 16>> ferrite::writeWeightFile(ModuleOp plan,
                                                            ModelFolder &folder,
                                                            StringRef path,
                                                            unsigned threads) {
  FailureOr<MappedOutput> file =
      MappedOutput::create(path, weightBytes(plan), plan.getLoc());
  if (failed(file) || failed(writeWeights(plan, folder, file->data, threads)))
    return failure();
  llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
      ArrayRef(reinterpret_cast<const uint8_t *>(file->data), file->size));
  std::array<uint8_t, 16> bytes;
  for (int i = 0; i < 8; ++i) {
    bytes[i] = hash.high64 >> (56 - 8 * i);
    bytes[8 + i] = hash.low64 >> (56 - 8 * i);
  }
  return bytes;
}
