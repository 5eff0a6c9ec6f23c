//===- FmaPeak.h - What a core can do at most -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
#define FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H

#include <algorithm>
#include <ctime>

/// Seconds this thread has run: a neighbour that takes the core is not counted
/// (one that takes the cache is).
static double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

// Twelve or more independent chains keep two pipes of latency 4 busy.
__attribute__((target("avx512f"), noinline)) static void fmaWide(long times) {
  asm volatile("1:\n"
#define F(r) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #r "\n"
               F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
                   F(12) F(13) F(14) F(15) F(16) F(17) F(18) F(19) F(20) F(21)
                       F(22) F(23)
#undef F
                           "dec %0\n jnz 1b\n vzeroupper\n"
               : "+r"(times)::"cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
                 "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17",
                 "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23");
}

__attribute__((target("avx2,fma"), noinline)) static void
fmaNarrow(long times) {
  asm volatile("1:\n"
#define F(r) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #r "\n"
               F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
                   F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#undef F
                       "dec %0\n jnz 1b\n vzeroupper\n"
               : "+r"(times)::"cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
                 "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11");
}

/// FLOP/s of one core with registers of so many lanes.
static double peak(unsigned lanes) {
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    constexpr long times = 40000;
    double start = now();
    lanes == 16 ? fmaWide(times) : fmaNarrow(times);
    best = std::max(best, times * 24.0 * 2 * lanes / (now() - start));
  }
  return best;
}

#endif // FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
