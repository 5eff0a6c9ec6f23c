// products.cu - The product skeletons against cuBLASLt, in one process
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Prints TFLOP/s of bf16 products on random data (zeros run 13 % faster), the
// median of 20 runs after 5, for shapes of transformers, and the geometric mean
// of the ratios: of product_wgmma.cuh where the program is compiled for sm_90a,
// else of product_mma.cuh. The results of both are compared first. run.py
// builds it, with FERRITE_BENCH_WARPGROUPS for sm_90a.
#ifdef FERRITE_BENCH_WARPGROUPS
#include "ferrite/product_wgmma.cuh"
#else
#include "ferrite/product_mma.cuh"
#endif

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cublasLt.h>
#include <cuda.h>
#include <cuda_runtime.h>
#include <vector>

#include "bench.cuh"

// Not all of it: it has functions that are named as C's are.
using ferrite::bf16;
using ferrite::u16;
using ferrite::u32;

/// a[0] x, a[1] panels, a[2] y; sizes m, k, n.
#ifdef FERRITE_BENCH_WARPGROUPS
/// The tiles that EmitProduct.cpp takes for many rows.
typedef ferrite::WarpgroupProduct<bf16, 2, 256, 4> Product;
constexpr int kRows = Product::M_TILE, kColumns = 256, kGroup = 1,
              kThreads = Product::THREADS, kShared = Product::SHARED, kMaps = 2;
FERRITE_KERNEL(product, Product::THREADS, 6, 2) {
  const i64 m = p.a[3].size, k = p.a[4].size, n = p.a[5].size;
  bf16 *const y = (bf16 *)p.a[2].ptr;
  const Product tiles = {p.maps[0],    p.maps[1],
                         (int)(k / 64), (int)(n / 64),
                         m,            (u32)((m + kRows - 1) / kRows),
                         (u32)((n + kColumns - 1) / kColumns)};
  tiles.run(p.units, [&](i64 i, i64 j, float first, float second) {
    ferrite::storePair(y + i * n + j, first, second, true);
  });
}
#else
constexpr int kRows = 128, kColumns = 128, kGroup = 2, kThreads = 256,
              kShared = 4 * (kRows + kColumns) * 64, kMaps = 0;
FERRITE_KERNEL(product, 256, 6, 0) {
  const i64 m = p.a[3].size, k = p.a[4].size, n = p.a[5].size;
  bf16 *const y = (bf16 *)p.a[2].ptr;
  const i64 across = (n + kColumns - 1) / kColumns;
  const ferrite::MmaProduct<bf16, bf16, float, 2, kRows, kColumns, 2, 4> tile =
      {(const bf16 *)p.a[0].ptr,
       m,
       k,
       (const bf16 *)p.a[1].ptr,
       k,
       n,
       ferrite::block() / across * kRows,
       ferrite::block() % across * kColumns,
       true};
  tile.run(
      [&](i64 i, i64 j, float sum) { ferrite::store(y + i * n + j, sum); });
}
#endif

/// Row-major [k, n] into panels of groups of k.
__global__ void packPanels(const bf16 *from, bf16 *to, i64 k, i64 n) {
  for (i64 i = blockIdx.x * 256 + threadIdx.x; i < k * n; i += gridDim.x * 256) {
    const i64 row = i / n, column = i % n, panel = column / 64;
    const i64 width = ferrite::minOf(64, (n - panel * 64 + 15) / 16 * 16);
    to[panel * k * 64 + row / kGroup * kGroup * width + column % 64 * kGroup +
       row % kGroup] = from[i];
  }
}

struct Shape {
  i64 m, k, n;
};

struct Run {
  ferrite::Params<6, kMaps> params;
  unsigned grid;
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  const void *x, *w;
  void *y, *workspace;
};

constexpr size_t kWorkspace = 64 << 20;

static void runOurs(Run &run) {
  product<<<run.grid, kThreads, kShared>>>(run.params);
}
static void runTheirs(Run &run) {
  const float one = 1, zero = 0;
  CHECK(cublasLtMatmul(run.handle, run.operation, &one, run.w, run.a, run.x,
                       run.b, &zero, run.y, run.c, run.y, run.c,
                       &run.algorithm, run.workspace, kWorkspace, 0));
}

#ifdef FERRITE_BENCH_WARPGROUPS
/// As makeTensorMap() of runtime/cuda/DeviceRun.cpp.
static void makeMap(ferrite::TensorMap &map, void *data, i64 rows, i64 columns,
                    u32 boxRows) {
  cuuint64_t sizes[2] = {(cuuint64_t)columns, (cuuint64_t)rows},
             stride = (cuuint64_t)columns * 2;
  cuuint32_t box[2] = {64, boxRows}, steps[2] = {1, 1};
  CHECK(cuTensorMapEncodeTiled(
      (CUtensorMap *)&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, data, sizes,
      &stride, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
}
#endif

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIP: there is no NVIDIA GPU on this machine\n");
    return 77;
  }
  std::vector<Shape> shapes = {{8192, 8192, 8192}, {4096, 4096, 4096}};
  // Hidden and inner sizes of BERT-base to Llama-70B, a prefill and batches.
  const i64 widths[][2] = {{768, 3072}, {1024, 4096}, {2048, 5632},
                           {4096, 14336}, {8192, 28672}};
  for (auto [h, i] : widths)
    for (i64 m : {128, 2048, 8192}) {
      shapes.push_back({m, h, i});
      shapes.push_back({m, i, h});
    }
  CHECK(cudaFuncSetAttribute(product,
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kShared));
  int multiprocessors = 0;
  CHECK(cudaDeviceGetAttribute(&multiprocessors,
                               cudaDevAttrMultiProcessorCount, 0));
  Run run = {};
  CHECK(cublasLtCreate(&run.handle));
  CHECK(cudaMalloc(&run.workspace, kWorkspace));
  double logs = 0;
  printf("%6s %6s %6s %10s %10s %6s\n", "m", "k", "n", "ferrite", "cuBLASLt",
         "%");
  for (const Shape &s : shapes) {
    bf16 *x, *w, *panels, *y, *z;
    CHECK(cudaMalloc(&x, s.m * s.k * 2));
    CHECK(cudaMalloc(&w, s.k * s.n * 2));
    CHECK(cudaMalloc(&panels, s.k * s.n * 2));
    CHECK(cudaMalloc(&y, s.m * s.n * 2));
    CHECK(cudaMalloc(&z, s.m * s.n * 2));
    fillRandom<<<1024, 256>>>(x, s.m * s.k, 1, 1.0f);
    fillRandom<<<1024, 256>>>(w, s.k * s.n, 2, 1.0f);
    packPanels<<<1024, 256>>>(w, panels, s.k, s.n);
    run.params.a[0].ptr = x;
    run.params.a[1].ptr = panels;
    run.params.a[2].ptr = y;
    run.params.a[3].size = s.m;
    run.params.a[4].size = s.k;
    run.params.a[5].size = s.n;
    run.params.units =
        (s.m + kRows - 1) / kRows * ((s.n + kColumns - 1) / kColumns);
    run.grid = unsigned(run.params.units);
#ifdef FERRITE_BENCH_WARPGROUPS
    run.grid = unsigned(std::min<i64>(run.params.units, multiprocessors));
    makeMap(run.params.maps[0], x, s.m, s.k, kRows);
    makeMap(run.params.maps[1], panels, s.n / 64 * s.k, 64, 64);
#endif
    run.x = x, run.w = w, run.y = z;
    // Column-major: y^T = w^T x^T.
    CHECK(cublasLtMatmulDescCreate(&run.operation, CUBLAS_COMPUTE_32F,
                                   CUDA_R_32F));
    CHECK(cublasLtMatrixLayoutCreate(&run.a, CUDA_R_16BF, s.n, s.k, s.n));
    CHECK(cublasLtMatrixLayoutCreate(&run.b, CUDA_R_16BF, s.k, s.m, s.k));
    CHECK(cublasLtMatrixLayoutCreate(&run.c, CUDA_R_16BF, s.n, s.m, s.n));
    cublasLtMatmulPreference_t preference;
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CHECK(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace,
        sizeof kWorkspace));
    cublasLtMatmulHeuristicResult_t found;
    int results = 0;
    CHECK(cublasLtMatmulAlgoGetHeuristic(run.handle, run.operation, run.a,
                                         run.b, run.c, run.c, preference, 1,
                                         &found, &results));
    run.algorithm = found.algo;
    runOurs(run);
    runTheirs(run);
    CHECK(cudaDeviceSynchronize());
    std::vector<u16> ours(size_t(s.n)), theirs(size_t(s.n));
    double error = 0, norm = 0;
    for (i64 row : {i64(0), s.m / 2, s.m - 1}) {
      CHECK(cudaMemcpy(ours.data(), y + row * s.n, s.n * 2,
                       cudaMemcpyDeviceToHost));
      CHECK(cudaMemcpy(theirs.data(), z + row * s.n, s.n * 2,
                       cudaMemcpyDeviceToHost));
      for (i64 i = 0; i < s.n; ++i) {
        double a = wide(ours[i]), b = wide(theirs[i]);
        error += (a - b) * (a - b);
        norm += b * b;
      }
    }
    if (!(::sqrt(error / norm) < 1e-2)) {
      printf("%lld x %lld x %lld: the results differ by %.2e\n", s.m, s.k, s.n,
             ::sqrt(error / norm));
      return 1;
    }
    const double work = 2.0 * s.m * s.k * s.n * 1e-9;
    const double mine = work / median([&] { runOurs(run); }),
                 other = work / median([&] { runTheirs(run); });
    logs += ::log(mine / other);
    printf("%6lld %6lld %6lld %10.1f %10.1f %6.1f\n", s.m, s.k, s.n, mine,
           other, 100 * mine / other);
    for (void *memory : {(void *)x, (void *)w, (void *)panels, (void *)y,
                         (void *)z})
      CHECK(cudaFree(memory));
  }
  printf("geometric mean of %zu shapes: %.1f %% of cuBLASLt\n", shapes.size(),
         100 * ::exp(logs / shapes.size()));
  return 0;
}
