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

static const Instruction known[] = {
    {"f32_256", FERRITE_CPU_AVX2, 16, fmaYmm},
    {"f32_512", FERRITE_CPU_AVX512, 32, fmaZmm},
    {"f16_512", FERRITE_CPU_AVX512_FP16, 64, fma16Zmm},
    {"bf16_dot_512", FERRITE_CPU_AVX512_BF16, 64, dot16Zmm},
    {"i8_dot_256", FERRITE_CPU_AVX_VNNI, 64, dot8Ymm},
    {"i8_dot_512", FERRITE_CPU_AVX512_VNNI, 128, dot8Zmm},
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
