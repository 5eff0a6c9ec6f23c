// device.cuh - What kernels ask of the machine
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The one header that knows the GPU: how a kernel is declared, where a thread
// is, barriers, shuffles, and the instructions that C++ has no name for. The
// tests have another one of this name, with threads of a block as fibers, under
// which the same kernels run on a CPU (test/cuda/emulation).
#ifndef FERRITE_DEVICE_CUH
#define FERRITE_DEVICE_CUH

typedef long long i64;

#define FERRITE_DEVICE __device__ __forceinline__
#define FERRITE_INFINITY __int_as_float(0x7f800000)
#define FERRITE_NAN __int_as_float(0x7fffffff)

/// Constants of a kernel that are indexed.
#define FERRITE_TABLE static __device__ const

/// A kernel for blocks of THREADS threads, with ARGS arguments and MAPS tensor
/// maps.
#define FERRITE_KERNEL(NAME, THREADS, ARGS, MAPS)                              \
  extern "C" __global__ void __launch_bounds__(THREADS, 1)                        \
      NAME(const __grid_constant__ ferrite::Params<ARGS, MAPS> p)

extern __shared__ __align__(1024) unsigned char ferriteSharedMemory[];

namespace ferrite {

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

FERRITE_DEVICE int thread() { return threadIdx.x; }
FERRITE_DEVICE int lane() { return threadIdx.x & 31; }
FERRITE_DEVICE int warp() { return threadIdx.x >> 5; }
FERRITE_DEVICE i64 block() { return blockIdx.x; }
FERRITE_DEVICE i64 blocks() { return gridDim.x; }
FERRITE_DEVICE int threads() { return blockDim.x; }

FERRITE_DEVICE void sync() { __syncthreads(); }
FERRITE_DEVICE void syncWarp() { __syncwarp(); }
/// Whether any thread of the block says so.
FERRITE_DEVICE bool syncAny(bool is) { return __syncthreads_or(is); }
template <class T>
FERRITE_DEVICE T shuffleXor(T v, int mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}

template <class T>
FERRITE_DEVICE T shuffle(T v, int from) {
  return __shfl_sync(0xffffffffu, v, from);
}
FERRITE_DEVICE bool anyOfWarp(bool is) {
  return __any_sync(0xffffffffu, is) != 0;
}

template <class T>
FERRITE_DEVICE T *shared(int offset) {
  return (T *)(ferriteSharedMemory + offset);
}

template <class To, class From>
FERRITE_DEVICE To bitsAs(From v) {
  static_assert(sizeof(To) == sizeof(From), "bits of another width");
  union {
    From from;
    To to;
  } both;
  both.from = v;
  return both.to;
}

FERRITE_DEVICE float floatOfF16(u16 bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
  return v;
}
FERRITE_DEVICE u16 f16OfFloat(float v) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
FERRITE_DEVICE float floatOfBF16(u16 bits) {
  return __uint_as_float((u32)bits << 16);
}
FERRITE_DEVICE u16 bf16OfFloat(float v) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}

FERRITE_DEVICE int countBits(u64 v) { return __popcll(v); }

/// c + the products of four unsigned bytes with four signed ones.
FERRITE_DEVICE int dotBytes(u32 unsignedBytes, u32 signedBytes, int c) {
  int sum;
  asm("dp4a.u32.s32 %0, %1, %2, %3;"
      : "=r"(sum)
      : "r"(unsignedBytes), "r"(signedBytes), "r"(c));
  return sum;
}

/// Sets bit `i` of shared memory, which others set bits of too.
FERRITE_DEVICE void setBit(u32 *words, i64 i) {
  atomicOr(words + i / 32, 1u << i % 32);
}

/// The first of several threads sets the fault; the others are lost.
FERRITE_DEVICE void setFault(i64 *fault, i64 launch, i64 index) {
  if (atomicCAS((u64 *)fault, 0ull, (u64)launch) == 0)
    fault[1] = index;
}

//===-- 16 bytes at a time, and copies that do not wait --------------------===//

struct __align__(16) Vec16 {
  u32 w[4];
};

/// 16 bytes of what no kernel writes and nobody reads again soon.
FERRITE_DEVICE Vec16 loadOnce16(const void *p) {
  Vec16 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
      : "l"(p));
  return v;
}

FERRITE_DEVICE u32 sharedAddress(const void *p) {
  return (u32)__cvta_generic_to_shared(p);
}
/// 16 bytes of global memory to shared; zeros where `bytes` is 0.
FERRITE_DEVICE void copyAsync16(void *to, const void *from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   sharedAddress(to)),
               "l"(from), "r"(bytes)
               : "memory");
}
FERRITE_DEVICE void commitAsync() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until at most `N` groups of this thread are under way.
template <int N>
FERRITE_DEVICE void waitAsync() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

//===-- tensor cores: mma.sync ---------------------------------------------===//

/// Four 8 x 8 matrices of 16 bits; a lane gives the address of one row.
FERRITE_DEVICE void loadMatrices(u32 (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row)));
}
FERRITE_DEVICE void loadMatricesTransposed(u32 (&r)[4], const void *row) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
      : "r"(sharedAddress(row)));
}

struct f16;
struct bf16;

/// c[16 x 8] += a[16 x 16] * b[16 x 8] of a warp, 32 k of bytes.
template <class T, class C>
FERRITE_DEVICE void mmaStep(C (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <>
FERRITE_DEVICE void mmaStep<f16>(float (&c)[4], const u32 (&a)[4], u32 b0,
                                  u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
FERRITE_DEVICE void mmaStep<bf16>(float (&c)[4], const u32 (&a)[4], u32 b0,
                                   u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Unsigned bytes times signed ones.
template <>
FERRITE_DEVICE void mmaStep<u8>(int (&c)[4], const u32 (&a)[4], u32 b0,
                                u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// a * 1 - b of two halves each, rounded.
template <class T>
FERRITE_DEVICE u32 subtractPair(u32 a, u32 b);
template <>
FERRITE_DEVICE u32 subtractPair<f16>(u32 a, u32 b) {
  u32 v;
  asm("fma.rn.f16x2 %0, %1, %2, %3;"
      : "=r"(v)
      : "r"(a), "r"(0x3c003c00u), "r"(b ^ 0x80008000u));
  return v;
}
template <>
FERRITE_DEVICE u32 subtractPair<bf16>(u32 a, u32 b) {
  u32 v;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;"
      : "=r"(v)
      : "r"(a), "r"(0x3f803f80u), "r"(b ^ 0x80008000u));
  return v;
}

} // namespace ferrite
#endif // FERRITE_DEVICE_CUH
