//===- Artifact.cpp - Checks of a file before any of it runs --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// dlopen of a truncated file succeeds, and the process dies with SIGBUS when a
// missing page is read. So the headers are read here first: every segment and
// section must lie in the file, and the exported model must be of our version.
// The file is only ever read through `File`, which checks the bounds.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"

#include <elf.h>
#include <string.h>

using namespace ferrite::rt;

namespace {

/// A file in memory.
struct File {
  const uint8_t *bytes;
  size_t size;

  bool holds(uint64_t offset, uint64_t length) const {
    return offset <= size && length <= size - offset;
  }
  /// A copy of the T at `offset`; false when it is not wholly in the file. A
  /// copy, because nothing says that it is aligned.
  template <typename T>
  bool read(uint64_t offset, T &value) const {
    if (!holds(offset, sizeof(T)))
      return false;
    memcpy(&value, bytes + offset, sizeof(T));
    return true;
  }
};

#if defined(__x86_64__)
constexpr unsigned ourMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr unsigned ourMachine = EM_AARCH64;
#else
constexpr unsigned ourMachine = EM_NONE;
#endif

const char *machineName(unsigned machine) {
  return machine == EM_X86_64    ? "x86-64"
         : machine == EM_AARCH64 ? "AArch64"
                                 : "another machine";
}

FerriteStatus truncated(const char *what, const File &file, uint64_t needed,
                        FerriteError *error) {
  return fail(error, FERRITE_INCOMPATIBLE,
              "%s is truncated: it has %zu bytes and its headers speak of %llu",
              what, file.size, static_cast<unsigned long long>(needed));
}

uint64_t endOf(uint64_t offset, uint64_t length) {
  uint64_t end;
  return __builtin_add_overflow(offset, length, &end) ? UINT64_MAX : end;
}

/// Sets `offset` to where the loader finds the bytes of an address.
bool fileOffset(const File &file, const Elf64_Ehdr &header, uint64_t address,
                uint64_t &offset) {
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!file.read(header.e_phoff + uint64_t(i) * sizeof segment, segment))
      return false;
    if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
        address - segment.p_vaddr < segment.p_filesz) {
      offset = segment.p_offset + (address - segment.p_vaddr);
      return true;
    }
  }
  return false;
}

/// The address of a symbol that the section `table` of dynamic symbols exports.
bool findSymbol(const File &file, const Elf64_Shdr &table,
                const Elf64_Shdr &strings, const char *name,
                uint64_t &address) {
  size_t length = strlen(name) + 1;
  for (uint64_t i = 0, n = table.sh_size / sizeof(Elf64_Sym); i < n; ++i) {
    Elf64_Sym symbol;
    if (!file.read(table.sh_offset + i * sizeof symbol, symbol))
      return false;
    uint64_t at = endOf(strings.sh_offset, symbol.st_name);
    if (symbol.st_shndx == SHN_UNDEF || !file.holds(at, length) ||
        memcmp(file.bytes + at, name, length) != 0)
      continue;
    address = symbol.st_value;
    return true;
  }
  return false;
}

} // namespace

FerriteStatus ferrite::rt::checkHeader(uint64_t magic, uint32_t version,
                                       uint32_t size, const char *what,
                                       FerriteError *error) {
  if (magic != FERRITE_ABI_MAGIC)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: its table begins with 0x%016llx, "
                "not 0x%016llx",
                what, static_cast<unsigned long long>(magic),
                static_cast<unsigned long long>(FERRITE_ABI_MAGIC));
  if (version != FERRITE_ABI_VERSION)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s has ABI version %u and this runtime (%s) reads version %u: "
                "compile the model again, or use the runtime of its compiler",
                what, version, ferriteRuntimeVersion(), FERRITE_ABI_VERSION);
  if (size != sizeof(FerriteAbiModel))
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s has a table of %u bytes and this runtime (%s) reads %zu",
                what, size, ferriteRuntimeVersion(), sizeof(FerriteAbiModel));
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::checkArtifact(const uint8_t *bytes, size_t size,
                                         const char *what,
                                         FerriteError *error) {
  File file{bytes, size};
  Elf64_Ehdr header;
  if (size < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: not an ELF file", what);
  if (!file.read(0, header))
    return truncated(what, file, sizeof header, error);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != ourMachine)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is for %s (ELF machine %u) and this runtime is for %s",
                what, machineName(header.e_machine), header.e_machine,
                machineName(ourMachine));
  if (header.e_type != ET_DYN)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a shared library (ELF type %u): compile the model "
                "with --emit=so",
                what, header.e_type);
  if (header.e_phentsize != sizeof(Elf64_Phdr) ||
      header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shoff == 0)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: no ELF section table", what);

  uint64_t segmentsEnd =
      endOf(header.e_phoff, uint64_t(header.e_phnum) * sizeof(Elf64_Phdr));
  uint64_t sectionsEnd =
      endOf(header.e_shoff, uint64_t(header.e_shnum) * sizeof(Elf64_Shdr));
  if (segmentsEnd > size || sectionsEnd > size)
    return truncated(what, file,
                     segmentsEnd > sectionsEnd ? segmentsEnd : sectionsEnd,
                     error);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    file.read(header.e_phoff + uint64_t(i) * sizeof segment, segment);
    if (!file.holds(segment.p_offset, segment.p_filesz))
      return truncated(what, file, endOf(segment.p_offset, segment.p_filesz),
                       error);
  }
  uint64_t address = 0, offset = 0;
  bool found = false;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section, strings;
    file.read(header.e_shoff + uint64_t(i) * sizeof section, section);
    if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
        !file.holds(section.sh_offset, section.sh_size))
      return truncated(what, file, endOf(section.sh_offset, section.sh_size),
                       error);
    if (section.sh_type == SHT_DYNSYM && section.sh_link < header.e_shnum &&
        file.read(header.e_shoff + uint64_t(section.sh_link) * sizeof strings,
                  strings))
      found |=
          findSymbol(file, section, strings, FERRITE_MODEL_SYMBOL, address);
  }
  if (!found)
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: a library without the symbol %s",
                what, FERRITE_MODEL_SYMBOL);

  // The integers at the head of the table need no relocation, so they can be
  // read from the file.
  struct {
    uint64_t magic;
    uint32_t version, size;
  } head;
  if (!fileOffset(file, header, address, offset) || !file.read(offset, head))
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is not a Ferrite model: %s has no data", what,
                FERRITE_MODEL_SYMBOL);
  return checkHeader(head.magic, head.version, head.size, what, error);
}
