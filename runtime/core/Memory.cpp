//===- Memory.cpp - Memory of a session -----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Memory.h"

#include <stdlib.h>
#include <sys/mman.h>

using namespace ferrite::rt;

void *ferrite::rt::mapPages(size_t bytes, bool reserve) {
  size_t extra = bytes >= hugeBytes ? hugeBytes : 0;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? MAP_NORESERVE : 0);
  void *mapped =
      mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (mapped == MAP_FAILED)
    return nullptr;
  if (!extra)
    return mapped;
  char *begin = static_cast<char *>(mapped);
  size_t skip = alignUp(reinterpret_cast<uintptr_t>(begin), hugeBytes) -
                reinterpret_cast<uintptr_t>(begin);
  if (skip)
    munmap(begin, skip);
  if (skip < extra)
    munmap(begin + skip + bytes, extra - skip);
  // A refusal costs speed alone.
  (void)madvise(begin + skip, bytes, MADV_HUGEPAGE);
  return begin + skip;
}

/// Pages that hold the block: what mapPages maps, and what `put` unmaps.
static size_t mappedBytes(size_t bytes) { return alignUp(bytes, 4096); }

void *Allocator::get(size_t bytes, size_t alignment) const {
  if (allocate)
    return allocate(data, bytes, alignment);
  if (bytes > SIZE_MAX / 2)
    return nullptr;
  // malloc would give it back to its own lists, and madvise would touch its
  // neighbours.
  if (alignment >= hugeBytes)
    return mapPages(mappedBytes(bytes), /*reserve=*/false);
  return aligned_alloc(alignment, alignUp(bytes, alignment));
}

void Allocator::put(void *memory, size_t bytes, size_t alignment) const {
  if (!memory)
    return;
  if (deallocate)
    deallocate(data, memory, bytes, alignment);
  else if (alignment >= hugeBytes)
    munmap(memory, mappedBytes(bytes));
  else
    free(memory);
}

bool Block::grow(const Allocator &allocator, size_t wanted) {
  if (wanted <= bytes)
    return true;
  release(allocator);
  size_t align = wanted >= hugeBytes ? hugeBytes : lineBytes;
  data = allocator.get(wanted, align);
  if (!data)
    return false;
  bytes = wanted;
  alignment = align;
  return true;
}

void Block::release(const Allocator &allocator) {
  allocator.put(data, bytes, alignment);
  *this = Block();
}
