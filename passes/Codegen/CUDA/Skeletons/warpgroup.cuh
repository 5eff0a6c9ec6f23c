// warpgroup.cuh - What kernels ask of a machine with warpgroups (sm_90a)
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Products of 4 warps whose right operand, and mostly the left one too, is read
// from shared memory (wgmma), boxes of a matrix that a copy engine brings there
// (TMA), and the barriers in shared memory that both are waited for with. Like
// device.cuh it has a counterpart in the tests (test/cuda/emulation).
//
// Tiles lie in the 128-byte swizzle: they begin at multiples of 1024 bytes, a
// row has 128 bytes, and bits 4-6 of an address are exchanged with bits 7-9 by
// exclusive or.
#ifndef FERRITE_WARPGROUP_CUH
#define FERRITE_WARPGROUP_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

//===-- barriers in shared memory ------------------------------------------===//

/// Of phases that take turns: one ends when so many arrivals came and so many
/// bytes as they said.
struct alignas(8) Barrier {
  u64 state;
};

/// By one thread; publishBarriers() and a barrier of the block follow.
FERRITE_DEVICE void initBarrier(Barrier *barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(
                   sharedAddress(barrier)),
               "r"(arrivals)
               : "memory");
}
/// Lets the copy engine see them.
FERRITE_DEVICE void publishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
FERRITE_DEVICE void arrive(Barrier *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(
                   sharedAddress(barrier))
               : "memory");
}
/// An arrival that says how many bytes will come.
FERRITE_DEVICE void arriveExpecting(Barrier *barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   sharedAddress(barrier)),
               "r"(bytes)
               : "memory");
}
/// An arrival that comes when what this thread asked copyAsync16() for is there;
/// publishShared() follows the wait for it.
FERRITE_DEVICE void arriveWhenCopied(Barrier *barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(
                   sharedAddress(barrier))
               : "memory");
}
/// Until the phase of this parity has ended: 0 is the first.
FERRITE_DEVICE void waitFor(Barrier *barrier, u32 parity) {
  asm volatile("{\n"
               ".reg .pred ended;\n"
               "again:\n"
               "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
               "@ended bra behind;\n"
               "bra again;\n"
               "behind:\n"
               "}" ::"r"(sharedAddress(barrier)),
               "r"(parity)
               : "memory");
}

//===-- the copy engine ----------------------------------------------------===//

/// The box of the map at (row, column), as bytes that `barrier` counts. What is
/// outside of the matrix is zeros. By one thread.
FERRITE_DEVICE void copyBox(void *to, const TensorMap &map, int row, int column,
                            Barrier *barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::"
               "complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                   sharedAddress(to)),
               "l"(&map), "r"(column), "r"(row), "r"(sharedAddress(barrier))
               : "memory");
}
FERRITE_DEVICE void fetchMap(const TensorMap &map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
/// Between what threads write to shared memory and the engines of this header,
/// which read it: before the barrier that is between them, or behind.
FERRITE_DEVICE void publishShared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

//===-- threads and registers ----------------------------------------------===//

/// A barrier of `threads` threads of the block; number 0 is sync()'s.
FERRITE_DEVICE void syncSome(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
/// Comes to it without waiting.
FERRITE_DEVICE void arriveSome(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/// By all threads of a warpgroup: they have COUNT registers from here on.
template <int COUNT>
FERRITE_DEVICE void takeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT>
FERRITE_DEVICE void giveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

//===-- products -----------------------------------------------------------===//

/// Where a tile begins and how it goes on, for multiplyTiles(): `outer` bytes
/// from 8 rows of it to the next 8, and of a tile by n, `across` bytes from 64
/// n to the next 64.
FERRITE_DEVICE u64 tileAt(const void *tile, int outer, int across) {
  return (u64)((sharedAddress(tile) & 0x3ffff) >> 4) |
         (u64)(across >> 4) << 16 | (u64)(outer >> 4) << 32 | (u64)1 << 62;
}

/// 2^v, to 22 bits.
FERRITE_DEVICE float exp2Fast(float v) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
}

/// Before the first product, and after registers of sums were written to.
FERRITE_DEVICE void beginProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
FERRITE_DEVICE void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most LEFT groups of products are under way.
template <int LEFT>
FERRITE_DEVICE void waitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}
/// What is made of `sums` is made behind this.
template <int COUNT>
FERRITE_DEVICE void settle(float (&sums)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; ++i)
    asm volatile("" : "+f"(sums[i])::"memory");
}

/// The fragment of a thread: sums[4 * j + e] is at row warp % 4 * 16 + lane / 4
/// + e / 2 * 8 and column j * 8 + lane % 4 * 2 + e % 2.
///
/// multiplyTiles<T, B_BY_N>(sums, a, b, add): 64 x N sums (+)= a[64 x 16] *
/// b[16 x N]. A row of a is along k; one of b too where B_BY_N is 0, and else
/// all n of one k. The other one has its left operand in registers, as
/// mmaStep() has.
template <class T, int B_BY_N, int N>
struct WarpgroupStep;

template <class T, int B_BY_N, int COUNT>
FERRITE_DEVICE void multiplyTiles(float (&sums)[COUNT], u64 a, u64 b,
                                  bool add) {
  WarpgroupStep<T, B_BY_N, 2 * COUNT>::run(sums, a, b, add);
}
template <class T, int B_BY_N, int COUNT>
FERRITE_DEVICE void multiplyTiles(float (&sums)[COUNT], const u32 (&a)[4],
                                  u64 b, bool add) {
  WarpgroupStep<T, B_BY_N, 2 * COUNT>::run(sums, a, b, add);
}

#define FERRITE_SUMS8(I)                                                       \
  "+f"(sums[I]), "+f"(sums[I + 1]), "+f"(sums[I + 2]), "+f"(sums[I + 3]),      \
      "+f"(sums[I + 4]), "+f"(sums[I + 5]), "+f"(sums[I + 6]),                 \
      "+f"(sums[I + 7])
#define FERRITE_SUMS32(I)                                                      \
  FERRITE_SUMS8(I), FERRITE_SUMS8(I + 8), FERRITE_SUMS8(I + 16),               \
      FERRITE_SUMS8(I + 24)
#define FERRITE_NAMES32_0 \
  "%0, %1, %2, %3, %4, %5, %6, %7, " \
  "%8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define FERRITE_NAMES32_1 \
  "%32, %33, %34, %35, %36, %37, %38, %39, " \
  "%40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, " \
  "%56, %57, %58, %59, %60, %61, %62, %63"
#define FERRITE_NAMES32_2 \
  "%64, %65, %66, %67, %68, %69, %70, %71, " \
  "%72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, " \
  "%88, %89, %90, %91, %92, %93, %94, %95"
#define FERRITE_NAMES32_3 \
  "%96, %97, %98, %99, %100, %101, %102, %103, " \
  "%104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"
#define FERRITE_NAMES64 FERRITE_NAMES32_0 ", " FERRITE_NAMES32_1
#define FERRITE_NAMES128                                                       \
  FERRITE_NAMES64 ", " FERRITE_NAMES32_2 ", " FERRITE_NAMES32_3

/// The operands behind the sums are numbered: P0 is the first of them.
#define FERRITE_STEP(T, N, NAMES, P0, P1, P2, P3, P4, P5, P6, ...)             \
  template <int B_BY_N>                                                        \
  struct WarpgroupStep<T, B_BY_N, N> {                                         \
    FERRITE_DEVICE static void run(float (&sums)[N / 2], u64 a, u64 b,         \
                                   bool add) {                                 \
      asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, %" #P2 ", 0;\n"       \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T \
                   " {" NAMES "}, %" #P0 ", %" #P1 ", more, 1, 1, 0, %" #P3     \
                   ";\n}"                                                      \
                   : __VA_ARGS__                                               \
                   : "l"(a), "l"(b), "r"((int)add), "n"(B_BY_N));              \
    }                                                                          \
    FERRITE_DEVICE static void run(float (&sums)[N / 2], const u32 (&a)[4],    \
                                   u64 b, bool add) {                          \
      asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, %" #P5 ", 0;\n"       \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T \
                   " {" NAMES "}, {%" #P0 ", %" #P1 ", %" #P2 ", %" #P3        \
                   "}, %" #P4 ", more, 1, 1, %" #P6 ";\n}"                      \
                   : __VA_ARGS__                                               \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),       \
                     "r"((int)add), "n"(B_BY_N));                              \
    }                                                                          \
  };
#define FERRITE_STEPS(T)                                                       \
  FERRITE_STEP(T, 64, FERRITE_NAMES32_0, 32, 33, 34, 35, 36, 37, 38,           \
               FERRITE_SUMS32(0))                                              \
  FERRITE_STEP(T, 128, FERRITE_NAMES64, 64, 65, 66, 67, 68, 69, 70,            \
               FERRITE_SUMS32(0), FERRITE_SUMS32(32))                          \
  FERRITE_STEP(T, 256, FERRITE_NAMES128, 128, 129, 130, 131, 132, 133, 134,    \
               FERRITE_SUMS32(0), FERRITE_SUMS32(32), FERRITE_SUMS32(64),      \
               FERRITE_SUMS32(96))
FERRITE_STEPS(f16)
FERRITE_STEPS(bf16)
#undef FERRITE_STEPS
#undef FERRITE_STEP

} // namespace ferrite
#endif // FERRITE_WARPGROUP_CUH
