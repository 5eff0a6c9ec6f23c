// attention.cu - The attention skeleton of sm_90a, in TFLOP/s
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// bf16 on random data, 16 k tokens and fewer, dense and causal, heads of 64 and
// 128: the median of 20 runs after 5. Work is 4 * heads * tokens^2 * size, half
// of it where causal. A few rows are compared with sums in double first. run.py
// builds it.
#include "ferrite/attention_wgmma.cuh"
#include "ferrite/blocks.cuh"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cuda_runtime.h>
#include <vector>

#include "bench.cuh"

using ferrite::bf16;
using ferrite::u32;

/// a[0..2] q, k, v of [tokens, heads, size], a[3] y; tokens, heads, causal.
template <int SIZE>
FERRITE_DEVICE void attend(const ferrite::Params<7, 0> &p) {
  const bf16 *const q = (const bf16 *)p.a[0].ptr,
                   *const k = (const bf16 *)p.a[1].ptr,
                   *const v = (const bf16 *)p.a[2].ptr;
  bf16 *const y = (bf16 *)p.a[3].ptr;
  const i64 tokens = p.a[4].size, heads = p.a[5].size, tiles = tokens / 128;
  const bool causal = p.a[6].size != 0;
  const float scale = 1.0f / sqrtf((float)SIZE);
  typedef ferrite::WarpgroupAttention<bf16, SIZE, SIZE> Tiles;
  Tiles::begin();
  Tiles::run([&](auto &attention) {
    for (i64 unit = ferrite::block(); unit < p.units;
         unit += ferrite::blocks()) {
      const i64 head = ferrite::quotient(unit, tiles),
                firstRow = (unit - head * tiles) * 128;
      attention(
          128, 0, causal ? firstRow + 128 : tokens, 0.0f, -FERRITE_INFINITY,
          true,
          [&](int row) { return q + ((firstRow + row) * heads + head) * SIZE; },
          [&](i64 key) { return k + (key * heads + head) * SIZE; },
          [&](i64 key) { return v + (key * heads + head) * SIZE; },
          [&](i64 row, i64 key, float product) {
            return !causal || key <= firstRow + row ? product * scale
                                                    : -FERRITE_INFINITY;
          },
          [](int) { return -FERRITE_INFINITY; },
          [&](int row, int d, float value) {
            ferrite::store(y + ((firstRow + row) * heads + head) * SIZE + d,
                           value);
          },
          ferrite::EveryTile());
    }
  });
}
FERRITE_KERNEL(attend64, 384, 7, 0) { attend<64>(p); }
FERRITE_KERNEL(attend128, 384, 7, 0) { attend<128>(p); }

int main() {
  int count = 0, multiprocessors = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIP: there is no NVIDIA GPU on this machine\n");
    return 77;
  }
  CHECK(cudaDeviceGetAttribute(&multiprocessors,
                               cudaDevAttrMultiProcessorCount, 0));
  printf("%5s %7s %7s %10s\n", "size", "tokens", "causal", "TFLOP/s");
  for (int size : {64, 128}) {
    void (*const kernel)(const ferrite::Params<7, 0>) =
        size == 64 ? attend64 : attend128;
    const int shared =
        size == 64 ? ferrite::WarpgroupAttention<bf16, 64, 64>::SHARED
                   : ferrite::WarpgroupAttention<bf16, 128, 128>::SHARED;
    CHECK(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    const i64 heads = 2048 / size;
    for (i64 tokens : {1024, 4096, 16384})
      for (bool causal : {false, true}) {
        const size_t elements = size_t(tokens * heads * size);
        bf16 *all[4];
        for (bf16 *&one : all)
          CHECK(cudaMalloc(&one, elements * 2));
        for (int i = 0; i < 3; ++i)
          fillRandom<<<1024, 256>>>(all[i], i64(elements), u32(i), 4.0f);
        ferrite::Params<7, 0> params = {};
        for (int i = 0; i < 4; ++i)
          params.a[i].ptr = all[i];
        params.a[4].size = tokens;
        params.a[5].size = heads;
        params.a[6].size = causal;
        params.units = tokens / 128 * heads;
        const unsigned grid =
            unsigned(std::min<i64>(params.units, multiprocessors));
        const float time =
            median([&] { kernel<<<grid, 384, shared>>>(params); });
        std::vector<unsigned short> host[4];
        for (int i = 0; i < 4; ++i) {
          host[i].resize(elements);
          CHECK(cudaMemcpy(host[i].data(), all[i], elements * 2,
                           cudaMemcpyDeviceToHost));
        }
        double error = 0, norm = 0;
        for (i64 row : {i64(0), tokens / 2 + 77, tokens - 1}) {
          const i64 head = row % heads, keys = causal ? row + 1 : tokens;
          std::vector<double> weights(static_cast<size_t>(keys));
          double most = -INFINITY, total = 0;
          auto at = [&](i64 token) { return size_t((token * heads + head) * size); };
          for (i64 key = 0; key < keys; ++key) {
            double product = 0;
            for (int d = 0; d < size; ++d)
              product += wide(host[0][at(row) + d]) * wide(host[1][at(key) + d]);
            weights[key] = product / std::sqrt(double(size));
            most = std::max(most, weights[key]);
          }
          for (double &weight : weights)
            total += weight = std::exp(weight - most);
          for (int d = 0; d < size; ++d) {
            double want = 0;
            for (i64 key = 0; key < keys; ++key)
              want += weights[key] / total * wide(host[2][at(key) + d]);
            const double got = wide(host[3][at(row) + d]);
            error += (got - want) * (got - want);
            norm += want * want;
          }
        }
        if (!(std::sqrt(error / norm) < 2e-2)) {
          printf("%d %lld: the results differ by %.2e\n", size, tokens,
                 std::sqrt(error / norm));
          return 1;
        }
        const double work = 4.0 * heads * tokens * tokens * size /
                            (causal ? 2 : 1) * 1e-9;
        printf("%5d %7lld %7s %10.1f\n", size, tokens, causal ? "yes" : "no",
               work / time);
        for (bf16 *one : all)
          CHECK(cudaFree(one));
      }
  }
  return 0;
}
