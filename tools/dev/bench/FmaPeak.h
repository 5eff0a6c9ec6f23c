//===- FmaPeak.h - The f32 peak of a core -----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
#define FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H

#include "machine/Probes.h"

/// Seconds this thread has run: a neighbour that takes the core is not counted
/// (one that takes the cache is).
inline double now() { return ferrite::machine::threadSeconds(); }

// vpmaddwd and the addition that it lacks: half the products of a vpdpbusd.
#define PAIR(v, r)                                                             \
  "vpmaddwd %%" v "14, %%" v "15, %%" v "13\n"                                 \
  "vpaddd %%" v "13, %%" v #r ", %%" v #r "\n"
__attribute__((target("avx512f,avx512bw"),
               noinline)) inline void pairsWide(long times) {
  asm volatile("1:\n"
#define F(r) PAIR("zmm", r)
               F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
                   F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#undef F
                       "dec %0\n jnz 1b\n vzeroupper\n"
               : "+r"(times)::"cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
                 "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11", "xmm13");
}

__attribute__((target("avx2"), noinline)) inline void pairsNarrow(long times) {
  asm volatile("1:\n"
#define F(r) PAIR("ymm", r)
               F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
                   F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#undef F
                       "dec %0\n jnz 1b\n vzeroupper\n"
               : "+r"(times)::"cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
                 "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                 "xmm11", "xmm13");
}
#undef PAIR

/// Operations a second of one core on bytes: two for each product.
inline double bytePeak(unsigned lanes, bool fours) {
  if (fours)
    return ferrite::machine::peak(*ferrite::machine::findInstruction(
        lanes == 16 ? "i8_dot_512" : "i8_dot_256"));
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    constexpr long times = 40000;
    double start = now();
    lanes == 16 ? pairsWide(times) : pairsNarrow(times);
    double products = times * 24.0 * lanes * 2;
    best = std::max(best, 2 * products / (now() - start));
  }
  return best;
}

/// FLOP/s of one core with registers of so many lanes; of bf16 dots if `dots`.
inline double peak(unsigned lanes, bool dots = false) {
  return ferrite::machine::peak(
      *ferrite::machine::findInstruction(dots          ? "bf16_dot_512"
                                         : lanes == 16 ? "f32_512"
                                                       : "f32_256"));
}

#endif // FERRITE_TOOLS_DEV_BENCH_FMAPEAK_H
