//===- Parallel.h - Loops over threads and strides --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_PARALLEL_H
#define FERRITE_LIB_REFERENCE_PARALLEL_H

#include "lib/Reference/Tensor.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <atomic>
#include <thread>
#include <vector>

namespace ferrite::reference {

/// Calls work(i) for each i below `count`, on up to `threads` threads.
inline void parallelFor(int64_t count, unsigned threads,
                        llvm::function_ref<void(int64_t)> work) {
  std::atomic<int64_t> next{0};
  auto run = [&] {
    for (int64_t i; (i = next.fetch_add(1)) < count;)
      work(i);
  };
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads && i < count; ++i)
    helpers.emplace_back(run);
  run();
  for (std::thread &helper : helpers)
    helper.join();
}

/// Parts of [0, count), large enough to be worth a thread.
inline void
parallelRanges(int64_t count, unsigned threads,
               llvm::function_ref<void(int64_t begin, int64_t end)> work) {
  constexpr int64_t part = 16384;
  parallelFor((count + part - 1) / part, threads, [&](int64_t i) {
    work(i * part, std::min(count, (i + 1) * part));
  });
}

/// Visits points [begin, end) of `shape` in order, with the offset that each
/// set of strides gives: visit(point, offsets).
template <typename F>
void walkStrided(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<Sizes> strides,
                 int64_t begin, int64_t end, F visit) {
  if (begin >= end)
    return;
  size_t rank = shape.size(), count = strides.size();
  Sizes index(rank, 0), offsets(count, 0);
  int64_t rest = begin;
  for (size_t d = rank; d-- > 0;) {
    index[d] = rest % shape[d];
    rest /= shape[d];
    for (size_t s = 0; s < count; ++s)
      offsets[s] += index[d] * strides[s][d];
  }
  for (int64_t point = begin;;) {
    visit(point, offsets);
    if (++point == end)
      return;
    for (size_t d = rank; d-- > 0;) {
      for (size_t s = 0; s < count; ++s)
        offsets[s] += strides[s][d];
      if (++index[d] < shape[d])
        break;
      for (size_t s = 0; s < count; ++s)
        offsets[s] -= strides[s][d] * shape[d];
      index[d] = 0;
    }
  }
}

} // namespace ferrite::reference

#endif // FERRITE_LIB_REFERENCE_PARALLEL_H
