//===- Features.cpp - What this CPU can run -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// CPUID says what the silicon has, XGETBV which registers the operating system
// saves; code may use what both grant.
//
//===----------------------------------------------------------------------===//
#include "cpu/Features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace ferrite::rt;

namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx))
    return Registers();
  return r;
}

bool has(unsigned value, unsigned bit) { return value >> bit & 1; }

/// "AuthenticAMD", in the order ebx, edx, ecx.
bool isAMD() {
  Registers vendor = cpuid(0, 0);
  return vendor.ebx == 0x68747541 && vendor.edx == 0x69746e65 &&
         vendor.ecx == 0x444d4163;
}

/// XCR0: which register state the operating system saves.
uint64_t enabledState() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | static_cast<uint64_t>(high) << 32;
}

} // namespace

uint64_t ferriteCpuFeatures(void) {
  Registers one = cpuid(1, 0);
  if (!has(one.ecx, 27)) // OSXSAVE: without it there is no XGETBV
    return 0;
  uint64_t state = enabledState();
  Registers seven = cpuid(7, 0), sevenOne = cpuid(7, 1);
  Registers extended = cpuid(0x80000001u, 0);
  uint64_t features = 0;

  // The code is compiled for x86-64-v3, so all of that level is asked for: AVX,
  // FMA, F16C, MOVBE; AVX2, BMI1, BMI2; LZCNT; XMM and YMM state.
  bool avx2 = (state & 0x6) == 0x6 && has(one.ecx, 28) && has(one.ecx, 12) &&
              has(one.ecx, 29) && has(one.ecx, 22) && has(seven.ebx, 5) &&
              has(seven.ebx, 3) && has(seven.ebx, 8) && has(extended.ecx, 5);
  if (!avx2)
    return 0;
  features |= FERRITE_CPU_AVX2;
  if (has(sevenOne.eax, 4))
    features |= FERRITE_CPU_AVX_VNNI;

  // F, BW, DQ, VL, CD with opmask and both halves of the ZMM state.
  bool avx512 = (state & 0xe0) == 0xe0 && has(seven.ebx, 16) &&
                has(seven.ebx, 30) && has(seven.ebx, 17) &&
                has(seven.ebx, 31) && has(seven.ebx, 28);
  if (avx512) {
    features |= FERRITE_CPU_AVX512;
    if (has(seven.ecx, 11))
      features |= FERRITE_CPU_AVX512_VNNI;
    if (has(sevenOne.eax, 5)) {
      features |= FERRITE_CPU_AVX512_BF16;
      // AMD's do twice the f32 rate, Intel's half of it (Emerald Rapids).
      if (isAMD())
        features |= FERRITE_CPU_FAST_BF16_DOT;
    }
    if (has(seven.edx, 23))
      features |= FERRITE_CPU_AVX512_FP16;
  }
  // AMX-TILE with tile configuration and data.
  if (avx512 && (state & 0x60000) == 0x60000 && has(seven.edx, 24)) {
    if (has(seven.edx, 25))
      features |= FERRITE_CPU_AMX_INT8;
    if (has(seven.edx, 22))
      features |= FERRITE_CPU_AMX_BF16;
  }
  return features;
}

bool ferrite::rt::usableFeatures(uint64_t features) {
  if ((features & ferriteCpuFeatures()) != features)
    return false;
  if (!(features & (FERRITE_CPU_AMX_INT8 | FERRITE_CPU_AMX_BF16)))
    return true;
  // ARCH_REQ_XCOMP_PERM for XTILE_DATA: Linux kills a process that touches a
  // tile before it asked. The permission is for the process, and inherited.
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

using namespace ferrite::rt;

// Linux tells in HWCAP what the silicon has and the kernel saves.
uint64_t ferriteCpuFeatures(void) {
  constexpr unsigned long kFp = 1ul << 0, kAsimd = 1ul << 1, kDot = 1ul << 20,
                          kI8mm = 1ul << 13;
  unsigned long has = getauxval(AT_HWCAP);
  if (!(has & kFp) || !(has & kAsimd))
    return 0;
  return FERRITE_CPU_NEON | (has & kDot ? FERRITE_CPU_NEON_DOT : 0) |
         (getauxval(AT_HWCAP2) & kI8mm ? FERRITE_CPU_NEON_I8MM : 0);
}

bool ferrite::rt::usableFeatures(uint64_t features) {
  return (features & ferriteCpuFeatures()) == features;
}

#else

using namespace ferrite::rt;

uint64_t ferriteCpuFeatures(void) { return 0; }

bool ferrite::rt::usableFeatures(uint64_t features) { return features == 0; }

#endif

void ferrite::rt::addFeatures(Text &text, uint64_t features) {
  static const struct {
    uint64_t bit;
    const char *name;
  } names[] = {{FERRITE_CPU_AVX2, "avx2"},
               {FERRITE_CPU_AVX512, "avx512"},
               {FERRITE_CPU_AVX512_VNNI, "avx512-vnni"},
               {FERRITE_CPU_AVX512_BF16, "avx512-bf16"},
               {FERRITE_CPU_AVX512_FP16, "avx512-fp16"},
               {FERRITE_CPU_AMX_INT8, "amx-int8"},
               {FERRITE_CPU_AMX_BF16, "amx-bf16"},
               {FERRITE_CPU_AVX_VNNI, "avx-vnni"},
               {FERRITE_CPU_FAST_BF16_DOT, "fast-bf16-dot"},
               {FERRITE_CPU_NEON, "neon"},
               {FERRITE_CPU_NEON_DOT, "neon-dot"},
               {FERRITE_CPU_NEON_I8MM, "neon-i8mm"}};
  bool any = false;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (!(features >> bit & 1))
      continue;
    text.add("%s", any ? ", " : "");
    const char *known = nullptr;
    for (const auto &row : names)
      if (features & UINT64_C(1) << bit & row.bit)
        known = row.name;
    if (known)
      text.add("%s", known);
    else
      text.add("feature %u", bit);
    any = true;
  }
  if (!any)
    text.add("none");
}
