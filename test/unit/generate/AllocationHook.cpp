//===- AllocationHook.cpp - How often memory was asked for ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The linker sends the libraries' calls here (--wrap, CMakeLists.txt).
//
//===----------------------------------------------------------------------===//
#include "AllocationHook.h"

#include <atomic>
#include <sys/types.h>

static std::atomic<size_t> count{0};

size_t ferrite::test::allocations() { return count.load(); }

#ifdef FERRITE_COUNT_ALLOCATIONS
bool ferrite::test::countsAllocations() { return true; }

extern "C" {
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
void *__real_mmap(void *, size_t, int, int, int, off_t);

void *__wrap_malloc(size_t bytes) {
  ++count;
  return __real_malloc(bytes);
}
void *__wrap_calloc(size_t items, size_t bytes) {
  ++count;
  return __real_calloc(items, bytes);
}
void *__wrap_realloc(void *memory, size_t bytes) {
  ++count;
  return __real_realloc(memory, bytes);
}
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  ++count;
  return __real_aligned_alloc(alignment, bytes);
}
void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int file,
                  off_t offset) {
  ++count;
  return __real_mmap(at, bytes, access, flags, file, offset);
}
}
#else
bool ferrite::test::countsAllocations() { return false; }
#endif
