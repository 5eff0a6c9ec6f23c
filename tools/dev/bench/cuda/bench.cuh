// bench.cuh - What the programs of this folder share
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// To be included behind a skeleton, whose types it names.
#ifndef FERRITE_BENCH_CUH
#define FERRITE_BENCH_CUH

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <vector>

#define CHECK(CALL)                                                            \
  do {                                                                         \
    int status = (int)(CALL);                                                  \
    if (status) {                                                              \
      fprintf(stderr, "%s: error %d\n", #CALL, status);                        \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

/// Numbers from -1 / 2 up to 1 / 2, times `width`.
__global__ void fillRandom(ferrite::bf16 *to, i64 count, ferrite::u32 seed,
                           float width) {
  for (i64 i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) {
    ferrite::u32 h = (ferrite::u32)i * 2654435761u + seed;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    to[i] = ferrite::bf16(((float)(h & 0xffff) / 65536.0f - 0.5f) * width);
  }
}

/// The number of a bfloat16.
inline double wide(unsigned short bf16) {
  const unsigned bits = (unsigned)bf16 << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// Milliseconds of run(), the median of 20 after 5.
template <class Run>
float median(Run run) {
  std::vector<float> times;
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  for (int i = 0; i < 25; ++i) {
    CHECK(cudaEventRecord(begin));
    run();
    CHECK(cudaEventRecord(end));
    CHECK(cudaEventSynchronize(end));
    float time;
    CHECK(cudaEventElapsedTime(&time, begin, end));
    if (i >= 5)
      times.push_back(time);
  }
  CHECK(cudaEventDestroy(begin));
  CHECK(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return times[10];
}

#endif // FERRITE_BENCH_CUH
