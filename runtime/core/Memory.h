//===- Memory.h - Memory of a session ---------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// All memory of a session comes from the caller's callbacks, or from the
// system. A Block remembers how it was allocated and only ever grows.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_MEMORY_H
#define FERRITE_RUNTIME_CORE_MEMORY_H

#include "ferrite/runtime.h"

#include <new>
#include <string.h>

namespace ferrite::rt {

/// A cache line: no two workers write to the same one.
constexpr size_t lineBytes = 64;
/// Blocks of at least this size are aligned to it and ask for huge pages.
constexpr size_t hugeBytes = size_t(2) << 20;

struct Allocator {
  FerriteAllocate allocate = nullptr;
  FerriteDeallocate deallocate = nullptr;
  void *data = nullptr;

  /// Memory from the callbacks, or from the system; null on failure.
  void *get(size_t bytes, size_t alignment) const;
  void put(void *memory, size_t bytes, size_t alignment) const;
};

/// Zeroed memory straight from the system, a whole number of its pages. From
/// `hugeBytes` on it is aligned to huge pages and asks for them. `reserve`:
/// address space, which becomes memory where it is touched, whatever there is
/// of it. Null on failure; munmap gives it back.
void *mapPages(size_t bytes, bool reserve);

struct Block {
  void *data = nullptr;
  size_t bytes = 0;
  size_t alignment = 0;

  /// Makes room for `wanted` bytes; what was there is lost. On failure the
  /// block is empty.
  bool grow(const Allocator &allocator, size_t wanted);
  void release(const Allocator &allocator);
};

/// A fixed number of zero-initialised trivial elements.
template <typename T>
struct Array {
  Block block;
  size_t count = 0;

  bool make(const Allocator &allocator, size_t size) {
    count = size;
    if (size == 0)
      return true;
    if (size > SIZE_MAX / sizeof(T) || !block.grow(allocator, size * sizeof(T)))
      return false;
    for (size_t i = 0; i < size; ++i)
      new (static_cast<void *>(&(*this)[i])) T();
    return true;
  }
  T *data() const { return static_cast<T *>(block.data); }
  T &operator[](size_t i) const { return data()[i]; }
};

/// Rounds up to a multiple of a power of two.
constexpr size_t alignUp(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) & ~(alignment - 1);
}

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_MEMORY_H
