//===- Probes.cpp - What this machine can do at most ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "machine/Probes.h"

#include "ferrite/runtime.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace ferrite::machine {

static double secondsOf(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return double(time.tv_sec) + double(time.tv_nsec) * 1e-9;
}
double wallSeconds() { return secondsOf(CLOCK_MONOTONIC); }
double threadSeconds() { return secondsOf(CLOCK_THREAD_CPUTIME_ID); }

//===----------------------------------------------------------------------===//
// Instructions
//===----------------------------------------------------------------------===//

// Twelve independent chains keep two pipes of latency 4 to 5 busy, and a
// hundred instructions in the loop make its jump vanish. Operands are zeros:
// no denormals, no overflow.
#if defined(__x86_64__)
#define TWELVE(I, R)                                                           \
  I(R, 0)                                                                      \
  I(R, 1)                                                                      \
  I(R, 2)                                                                      \
  I(R, 3) I(R, 4) I(R, 5) I(R, 6) I(R, 7) I(R, 8) I(R, 9) I(R, 10) I(R, 11)
#define HUNDRED_TWENTY(I, R)                                                   \
  TWELVE(I, R)                                                                 \
  TWELVE(I, R)                                                                 \
  TWELVE(I, R)                                                                 \
  TWELVE(I, R)                                                                 \
  TWELVE(I, R) TWELVE(I, R) TWELVE(I, R) TWELVE(I, R) TWELVE(I, R) TWELVE(I, R)
#define CLEAR(R, i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"
#define LOOP(NAME, FEATURES, R, INSTRUCTION)                                   \
  __attribute__((target(FEATURES), noinline)) static void NAME(                \
      long times, const void *zeros) {                                         \
    long rounds = times * (Instruction::kPerRun / 120);                        \
    asm volatile(                                                              \
        TWELVE(CLEAR, R) "vmovups (%1), %%" R "14\n"                           \
                         "vmovups (%1), %%" R "15\n"                           \
                         "1:\n" HUNDRED_TWENTY(                                \
                             INSTRUCTION, R) "dec %0\n jnz 1b\n vzeroupper\n"  \
        : "+r"(rounds)                                                         \
        : "r"(zeros)                                                           \
        : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",      \
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"); \
  }
#define FMA(R, i) "vfmadd231ps %%" R "14, %%" R "15, %%" R #i "\n"
#define FMA16(R, i) "vfmadd231ph %%" R "14, %%" R "15, %%" R #i "\n"
#define DOT16(R, i) "vdpbf16ps %%" R "14, %%" R "15, %%" R #i "\n"
#define DOT8(R, i) "vpdpbusd %%" R "14, %%" R "15, %%" R #i "\n"
#define DOT8VEX(R, i) "%{vex%} vpdpbusd %%" R "14, %%" R "15, %%" R #i "\n"
LOOP(fmaYmm, "avx2,fma", "ymm", FMA)
LOOP(fmaZmm, "avx512f", "zmm", FMA)
LOOP(fma16Zmm, "avx512fp16", "zmm", FMA16)
LOOP(dot16Zmm, "avx512bf16", "zmm", DOT16)
LOOP(dot8Ymm, "avx2,avxvnni", "ymm", DOT8VEX)
LOOP(dot8Zmm, "avx512vnni", "zmm", DOT8)

// What a product does that skips blocks of zeros of its weight: for each block
// its place in the rows, a strip of columns, and row by row a broadcast and its
// products. The loop of LinearSparse.cpp's tiles, all in the first level; so a
// rate is that of the loads as well. As there, tiles are 12 rows by
// 2 registers, 16 by 1 and, of registers of 256 bits, 6 by 2.
constexpr int kStripRow = 1040; ///< bytes between rows, no power of two
alignas(64) static const char stripRows[16 * kStripRow] = {};
alignas(64) static const char stripColumns[100 * 128] = {};
alignas(64) static const uint16_t stripPlaces[100] = {};
#define ROW2(I, R, r, a, b)                                                    \
  BROADCAST(I)                                                                 \
  " " #r "*1040(%3,%%rax,4), %%" R "2\n" I " %%" R "0, %%" R "2, %%" R #a      \
  "\n" I " %%" R "1, %%" R "2, %%" R #b "\n"
#define ROW1(I, R, r, a)                                                       \
  BROADCAST(I)                                                                 \
  " " #r "*1040(%3,%%rax,4), %%" R "2\n" I " %%" R "0, %%" R "2, %%" R #a "\n"
#define BROADCAST(I) "vbroadcastss"
#define STEP(R, BYTES)                                                         \
  "movzwl (%1), %%eax\n vmovups (%2), %%" R "0\n vmovups " #BYTES "(%2), %%" R \
  "1\n add $2, %1\n"
#define STRIP(NAME, FEATURES, STEPS, WIDTH, TILE)                              \
  __attribute__((target(FEATURES), noinline)) static void NAME(long times,     \
                                                               const void *) { \
    for (; times > 0; --times) {                                               \
      long steps = STEPS;                                                      \
      const uint16_t *places = stripPlaces;                                    \
      const char *columns = stripColumns;                                      \
      asm volatile("1:\n" TILE "add $" #WIDTH ", %2\n dec %0\n jnz 1b\n"       \
                   : "+r"(steps), "+r"(places), "+r"(columns)                  \
                   : "r"(stripRows)                                            \
                   : "cc", "memory", "rax", STRIP_CLOBBERS);                   \
    }                                                                          \
    asm volatile("vzeroupper");                                                \
  }
#define STRIP_CLOBBERS                                                         \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",      \
      "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define TILE12(I)                                                              \
  STEP("zmm", 64)                                                              \
  ROW2(I, "zmm", 0, 8, 9)                                                      \
  ROW2(I, "zmm", 1, 10, 11)                                                    \
  ROW2(I, "zmm", 2, 12, 13)                                                    \
  ROW2(I, "zmm", 3, 14, 15)                                                    \
  ROW2(I, "zmm", 4, 16, 17)                                                    \
  ROW2(I, "zmm", 5, 18, 19)                                                    \
  ROW2(I, "zmm", 6, 20, 21)                                                    \
  ROW2(I, "zmm", 7, 22, 23)                                                    \
  ROW2(I, "zmm", 8, 24, 25)                                                    \
  ROW2(I, "zmm", 9, 26, 27)                                                    \
  ROW2(I, "zmm", 10, 28, 29) ROW2(I, "zmm", 11, 30, 31)
#define TILE16(I)                                                              \
  "movzwl (%1), %%eax\n vmovups (%2), %%zmm0\n add $2, %1\n" ROW1(             \
      I, "zmm", 0, 16) ROW1(I, "zmm", 1, 17) ROW1(I, "zmm", 2, 18)             \
      ROW1(I, "zmm", 3, 19) ROW1(I, "zmm", 4, 20) ROW1(I, "zmm", 5, 21)        \
          ROW1(I, "zmm", 6, 22) ROW1(I, "zmm", 7, 23) ROW1(I, "zmm", 8, 24)    \
              ROW1(I, "zmm", 9, 25) ROW1(I, "zmm", 10, 26)                     \
                  ROW1(I, "zmm", 11, 27) ROW1(I, "zmm", 12, 28)                \
                      ROW1(I, "zmm", 13, 29) ROW1(I, "zmm", 14, 30)            \
                          ROW1(I, "zmm", 15, 31)
#define TILE6(I)                                                               \
  STEP("ymm", 32)                                                              \
  ROW2(I, "ymm", 0, 4, 5)                                                      \
  ROW2(I, "ymm", 1, 6, 7)                                                      \
  ROW2(I, "ymm", 2, 8, 9)                                                      \
  ROW2(I, "ymm", 3, 10, 11) ROW2(I, "ymm", 4, 12, 13) ROW2(I, "ymm", 5, 14, 15)
STRIP(stripF32Zmm32, "avx512f", 50, 128, TILE12("vfmadd231ps"))
STRIP(stripF32Zmm16, "avx512f", 75, 64, TILE16("vfmadd231ps"))
STRIP(stripF32Ymm, "avx2,fma", 100, 64, TILE6("vfmadd231ps"))
STRIP(stripI8Zmm32, "avx512vnni", 50, 128, TILE12("vpdpbusd"))
STRIP(stripI8Zmm16, "avx512vnni", 75, 64, TILE16("vpdpbusd"))
STRIP(stripI8Ymm, "avx2,avxvnni", 100, 64, TILE6("%{vex%} vpdpbusd"))

static const Instruction known[] = {
    {"f32_256", FERRITE_CPU_AVX2, 16, fmaYmm},
    {"f32_512", FERRITE_CPU_AVX512, 32, fmaZmm},
    {"f16_512", FERRITE_CPU_AVX512_FP16, 64, fma16Zmm},
    {"bf16_dot_512", FERRITE_CPU_AVX512_BF16, 64, dot16Zmm},
    {"i8_dot_256", FERRITE_CPU_AVX_VNNI, 64, dot8Ymm},
    {"i8_dot_512", FERRITE_CPU_AVX512_VNNI, 128, dot8Zmm},
    {"f32_strip32_256", FERRITE_CPU_AVX2, 16, stripF32Ymm},
    {"f32_strip16_256", FERRITE_CPU_AVX2, 16, stripF32Ymm},
    {"f32_strip32_512", FERRITE_CPU_AVX512, 32, stripF32Zmm32},
    {"f32_strip16_512", FERRITE_CPU_AVX512, 32, stripF32Zmm16},
    {"i8_strip32_256", FERRITE_CPU_AVX_VNNI, 64, stripI8Ymm},
    {"i8_strip16_256", FERRITE_CPU_AVX_VNNI, 64, stripI8Ymm},
    {"i8_strip32_512", FERRITE_CPU_AVX512_VNNI, 128, stripI8Zmm32},
    {"i8_strip16_512", FERRITE_CPU_AVX512_VNNI, 128, stripI8Zmm16},
};
InstructionList instructions() { return {known, sizeof known / sizeof *known}; }
#else
InstructionList instructions() { return {nullptr, 0}; }
#endif

const Instruction *findInstruction(const char *name) {
  uint64_t have = ferriteCpuFeatures();
  for (const Instruction &instruction : instructions())
    if (!strcmp(instruction.name, name) && (instruction.features & ~have) == 0)
      return &instruction;
  return nullptr;
}

alignas(64) static const char zeros[64] = {};

/// How often `run` fits into so much time.
static long timesIn(const Instruction &instruction, double seconds) {
  constexpr long some = 20;
  instruction.run(some, zeros); // wakes the wide units
  double start = threadSeconds();
  instruction.run(some, zeros);
  double one = std::max((threadSeconds() - start) / some, 1e-9);
  return std::max<long>(1, long(seconds / one));
}

double peak(const Instruction &instruction, double seconds) {
  constexpr int trials = 5;
  long times = timesIn(instruction, seconds / trials);
  double best = 1e300;
  for (int i = 0; i < trials; ++i) {
    double start = threadSeconds();
    instruction.run(times, zeros);
    best = std::min(best, threadSeconds() - start);
  }
  return double(times) * Instruction::kPerRun * instruction.operations / best;
}

double peakTogether(const Instruction &instruction, int threads,
                    double seconds) {
  // Windows of a millisecond: between busy neighbours some are whole.
  long times = timesIn(instruction, std::min(seconds / 20, 1e-3));
  double best =
      together(threads, seconds, [&](int) { instruction.run(times, zeros); });
  return double(threads) * double(times) * Instruction::kPerRun *
         instruction.operations / best;
}

//===----------------------------------------------------------------------===//
// Threads
//===----------------------------------------------------------------------===//

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

double together(int threads, double seconds,
                const std::function<void(int)> &work) {
  // Round r begins when `begun` is r; -1 ends it all.
  std::atomic<long> begun{0}, ended{0};
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t)
    others.emplace_back([&, t] {
      for (long round = 1;; ++round) {
        long now;
        while ((now = begun.load(std::memory_order_acquire)) != round &&
               now >= 0)
          relax();
        if (now < 0)
          return;
        work(t);
        ended.fetch_add(1, std::memory_order_acq_rel);
      }
    });
  double best = 1e300, spent = 0;
  for (long round = 1; spent < seconds || round <= 3; ++round) {
    double start = wallSeconds();
    begun.store(round, std::memory_order_release);
    work(0);
    while (ended.load(std::memory_order_acquire) != round * (threads - 1))
      relax();
    double taken = wallSeconds() - start;
    spent += taken;
    if (round > 1) // the first one starts the threads and fills the caches
      best = std::min(best, taken);
  }
  begun.store(-1, std::memory_order_release);
  for (std::thread &other : others)
    other.join();
  return best;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

#if defined(__x86_64__)
// 512 bytes a round, through registers that nothing waits for. Loads alone:
// what a loop does with them is not the memory's.
#define READ(R, i, at) "vmovaps " #at "(%0), %%" R #i "\n"
__attribute__((target("avx512f"), noinline)) static void
readWide(const char *data, const char *end) {
  asm volatile(
      "1:\n" READ("zmm", 0, 0) READ("zmm", 1, 64) READ("zmm", 2, 128)
          READ("zmm", 3, 192) READ("zmm", 4, 256) READ("zmm", 5, 320)
              READ("zmm", 6, 384)
                  READ("zmm", 7,
                       448) "add $512, %0\n cmp %1, %0\n jb 1b\n vzeroupper\n"
      : "+r"(data)
      : "r"(end)
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7");
}
__attribute__((target("avx2"), noinline)) static void
readNarrow(const char *data, const char *end) {
  asm volatile(
      "1:\n" READ("ymm", 0, 0) READ("ymm", 1, 32) READ("ymm", 2, 64)
          READ("ymm", 3, 96) READ("ymm", 4, 128) READ("ymm", 5, 160)
              READ("ymm", 6, 192)
                  READ("ymm", 7,
                       224) "add $256, %0\n cmp %1, %0\n jb 1b\n vzeroupper\n"
      : "+r"(data)
      : "r"(end)
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
        "xmm7");
}
static void readAll(const char *data, const char *end) {
  static const bool wide = ferriteCpuFeatures() & FERRITE_CPU_AVX512;
  wide ? readWide(data, end) : readNarrow(data, end);
}
#else
static void readAll(const char *data, const char *end) {
  uint64_t sum = 0;
  for (; data < end; data += 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    sum |= word;
  }
  asm volatile("" ::"r"(sum));
}
#endif

double readRate(const void *data, size_t bytes, int threads, double seconds) {
  size_t part = bytes / size_t(threads) / 512 * 512;
  if (part == 0)
    return 0;
  // Small parts are read some times, so that starting costs nothing.
  long times = std::max<long>(1, long((size_t(4) << 20) / part));
  double best = together(threads, seconds, [&](int thread) {
    const char *from = static_cast<const char *>(data) + size_t(thread) * part;
    for (long i = 0; i < times; ++i)
      readAll(from, from + part);
  });
  return double(part) * double(threads) * double(times) / best;
}

Buffer::Buffer(size_t size) : bytes(size) {
  constexpr size_t huge = size_t(2) << 20;
  bytes = (bytes + huge - 1) / huge * huge;
  void *found = mmap(nullptr, bytes + huge, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED)
    return;
  // Aligned to huge pages: what is before and behind goes back.
  auto address = reinterpret_cast<uintptr_t>(found);
  uintptr_t aligned = (address + huge - 1) / huge * huge;
  if (aligned != address)
    munmap(found, aligned - address);
  if (size_t rest = address + huge - aligned)
    munmap(reinterpret_cast<char *>(aligned) + bytes, rest);
  memory = reinterpret_cast<char *>(aligned);
  madvise(memory, bytes, MADV_HUGEPAGE);
  memset(memory, 1, bytes);
}

Buffer::~Buffer() {
  if (memory)
    munmap(memory, bytes);
}

} // namespace ferrite::machine
