//===- AllocationHook.h - How often memory was asked for --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_GENERATE_ALLOCATIONHOOK_H
#define FERRITE_TEST_UNIT_GENERATE_ALLOCATIONHOOK_H

#include <cstddef>

namespace ferrite::test {

/// Calls of malloc, calloc, realloc, aligned_alloc and mmap by the libraries
/// under test, which are linked statically. Not what the C++ library asks for.
size_t allocations();
/// Whether they are counted: not with a sanitizer.
bool countsAllocations();

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_GENERATE_ALLOCATIONHOOK_H
