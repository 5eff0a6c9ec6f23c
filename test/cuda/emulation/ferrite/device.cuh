// device.cuh - The machine that kernels ask, as threads on a CPU
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Takes the place of the skeletons' header of this name when a test compiles
// kernels for the CPU (fake-nvcc). The threads of a block are fibers of one
// thread of the system, run by Emulation.cpp; a barrier or an exchange between
// lanes lets the others run. All of it is plain and slow, and says what the
// instructions of the real header mean.
#ifndef FERRITE_DEVICE_CUH
#define FERRITE_DEVICE_CUH

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef long long i64;
typedef unsigned long long u64;

#define FERRITE_DEVICE inline
#define FERRITE_INFINITY ((float)INFINITY)
#define FERRITE_NAN ((float)NAN)
#define __restrict__
#define FERRITE_TABLE static const

/// What a fiber is told and may ask; Emulation.cpp has one for each block.
struct FerriteMachine {
  int thread, threads;
  i64 block, blocks;
  u64 serial; ///< of the block among all that ever ran
  unsigned char *shared;
  /// Until all threads of the block, or of this one's warp or group of warps
  /// (by number, of so many threads), came.
  void (*barrier)(FerriteMachine *);
  void (*warpBarrier)(FerriteMachine *);
  /// `waits`: else it only comes.
  void (*namedBarrier)(FerriteMachine *, int number, int threads, bool waits);
  /// Lets others run, as long as what it waits for in memory has not come.
  void (*yield)(FerriteMachine *);
  bool moved; ///< set when it has come
  /// Calls `run` with a copy of the data after all threads had a turn.
  void (*later)(FerriteMachine *, void (*run)(const void *), const void *data,
                size_t bytes);
  /// Ends the launch with an error.
  void (*fail)(FerriteMachine *, const char *why);
  unsigned char (*exchange)[64]; ///< a slot for each thread
  const void *parameters;
};
extern "C" {
extern FerriteMachine *ferriteMachine;
}

#define FERRITE_KERNEL(NAME, THREADS, ARGS, MAPS)                              \
  static void NAME##_body(const ferrite::Params<ARGS, MAPS> &p);               \
  extern "C" void NAME() {                                                     \
    NAME##_body(                                                               \
        *(const ferrite::Params<ARGS, MAPS> *)ferriteMachine->parameters);     \
  }                                                                            \
  extern "C" const int NAME##_threads = THREADS;                               \
  extern "C" const int NAME##_parameters =                                     \
      sizeof(ferrite::Params<ARGS, MAPS>);                                     \
  static void NAME##_body(const ferrite::Params<ARGS, MAPS> &p)

namespace ferrite {

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef unsigned int u32;
using ::u64;

inline int thread() { return ferriteMachine->thread; }
inline int lane() { return ferriteMachine->thread & 31; }
inline int warp() { return ferriteMachine->thread >> 5; }
inline i64 block() { return ferriteMachine->block; }
inline i64 blocks() { return ferriteMachine->blocks; }
inline int threads() { return ferriteMachine->threads; }

inline void sync() { ferriteMachine->barrier(ferriteMachine); }
inline void syncWarp() { ferriteMachine->warpBarrier(ferriteMachine); }

template <class T>
inline T *shared(int offset) {
  return (T *)(ferriteMachine->shared + offset);
}

/// What thread `from` of the block gave, after all of its warp did.
template <class T>
inline T exchanged(T v, int from) {
  static_assert(sizeof(T) <= 64, "a lane gives at most 64 bytes");
  memcpy(ferriteMachine->exchange[thread()], &v, sizeof v);
  syncWarp();
  T other;
  memcpy(&other, ferriteMachine->exchange[from], sizeof other);
  syncWarp();
  return other;
}
template <class T>
inline T shuffleXor(T v, int mask) {
  return exchanged(v, thread() ^ mask);
}
template <class T>
inline T shuffle(T v, int from) {
  return exchanged(v, thread() - lane() + from);
}
inline bool anyOfWarp(bool is) {
  bool any = false;
  memcpy(ferriteMachine->exchange[thread()], &is, 1);
  syncWarp();
  for (int i = 0; i < 32; ++i)
    any |= ferriteMachine->exchange[thread() - lane() + i][0] != 0;
  syncWarp();
  return any;
}
inline bool syncAny(bool is) {
  bool any = false;
  memcpy(ferriteMachine->exchange[thread()], &is, 1);
  sync();
  for (int i = 0; i < threads(); ++i)
    any |= ferriteMachine->exchange[i][0] != 0;
  sync();
  return any;
}

template <class To, class From>
inline To bitsAs(From v) {
  static_assert(sizeof(To) == sizeof(From), "bits of another width");
  To to;
  memcpy(&to, &v, sizeof to);
  return to;
}

inline float floatOfF16(u16 bits) {
  _Float16 v;
  memcpy(&v, &bits, 2);
  return (float)v;
}
inline u16 f16OfFloat(float v) {
  _Float16 h = (_Float16)v;
  u16 bits;
  memcpy(&bits, &h, 2);
  return bits;
}
inline float floatOfBF16(u16 bits) { return bitsAs<float>((u32)bits << 16); }
inline u16 bf16OfFloat(float v) {
  u32 bits = bitsAs<u32>(v);
  if (v != v)
    return 0x7fff;
  return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline int countBits(u64 v) { return __builtin_popcountll(v); }

inline int dotBytes(u32 a, u32 b, int c) {
  for (int i = 0; i < 32; i += 8)
    c += (int)(u8)(a >> i) * (int)(i8)(b >> i);
  return c;
}
inline void setBit(u32 *words, i64 i) { words[i / 32] |= 1u << i % 32; }

inline void setFault(i64 *fault, i64 launch, i64 index) {
  if (fault[0] == 0) {
    fault[0] = launch;
    fault[1] = index;
  }
}

struct alignas(16) Vec16 {
  u32 w[4];
};

inline Vec16 loadOnce16(const void *p) { return *(const Vec16 *)p; }

/// Copies come as late as they may: when their thread waits for their group.
struct PendingCopy {
  void *to;
  const void *from;
  int bytes, group;
};
struct PendingCopies {
  static constexpr int LIMIT = 1024;
  u64 serial;
  int first, count, group;
  PendingCopy all[LIMIT];

  void finishBefore(int end) {
    for (; count && all[first].group < end; --count) {
      const PendingCopy &copy = all[first];
      if (copy.bytes)
        memcpy(copy.to, copy.from, 16);
      else
        memset(copy.to, 0, 16);
      first = (first + 1) % LIMIT;
    }
  }
};
inline PendingCopies pendingCopies[1024];

inline PendingCopies &myCopies() {
  PendingCopies &mine = pendingCopies[thread()];
  if (mine.serial != ferriteMachine->serial) {
    mine.serial = ferriteMachine->serial; // the last block's are forgotten
    mine.first = mine.count = mine.group = 0;
  }
  return mine;
}
inline void copyAsync16(void *to, const void *from, int bytes) {
  PendingCopies &mine = myCopies();
  if (mine.count == PendingCopies::LIMIT)
    ferriteMachine->fail(ferriteMachine, "copies that nobody waits for");
  mine.all[(mine.first + mine.count++) % PendingCopies::LIMIT] = {
      to, from, bytes, mine.group};
}
inline void commitAsync() { ++myCopies().group; }
template <int N>
inline void waitAsync() {
  PendingCopies &mine = myCopies();
  mine.finishBefore(mine.group - N);
}

//===-- tensor cores -------------------------------------------------------===//

/// Matrix i of four: lane 8 * i + r gives row r. A lane gets two neighbours of
/// a row, or of a column when transposed.
inline void loadMatrices(u32 (&r)[4], const void *row, bool transposed) {
  memcpy(ferriteMachine->exchange[thread()], &row, sizeof row);
  syncWarp();
  const int first = thread() - lane();
  auto at = [&](int matrix, int y, int x) {
    const u16 *from;
    memcpy(&from, ferriteMachine->exchange[first + 8 * matrix + y],
           sizeof from);
    return (u32)from[x];
  };
  const int y = lane() / 4, x = lane() % 4 * 2;
  for (int i = 0; i < 4; ++i)
    r[i] = transposed ? at(i, x, y) | at(i, x + 1, y) << 16
                      : at(i, y, x) | at(i, y, x + 1) << 16;
  syncWarp();
}
inline void loadMatrices(u32 (&r)[4], const void *row) {
  loadMatrices(r, row, false);
}
inline void loadMatricesTransposed(u32 (&r)[4], const void *row) {
  loadMatrices(r, row, true);
}

struct f16;
struct bf16;
template <class T>
inline float floatOf(u16 bits);
template <>
inline float floatOf<f16>(u16 bits) {
  return floatOfF16(bits);
}
template <>
inline float floatOf<bf16>(u16 bits) {
  return floatOfBF16(bits);
}

/// The fragments of m16n8k16, and of m16n8k32 for bytes (PTX ISA, "Matrix
/// Fragments for mma.m16n8k16"): a word has PER neighbours along k.
template <int PER, class C, class Left, class Right>
inline void multiplyFragments(C (&c)[4], const u32 (&a)[4], u32 b0, u32 b1,
                              Left left, Right right) {
  const u32 given[6] = {a[0], a[1], a[2], a[3], b0, b1};
  memcpy(ferriteMachine->exchange[thread()], given, sizeof given);
  syncWarp();
  const int first = thread() - lane();
  auto word = [&](int lane, int i) {
    u32 w;
    memcpy(&w, ferriteMachine->exchange[first + lane] + 4 * i, 4);
    return w;
  };
  const int row = lane() / 4, column = lane() % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    const int m = row + i / 2 * 8, n = column + i % 2;
    C sum = c[i];
    for (int k = 0; k < 8 * PER; ++k) {
      const int part = k / (4 * PER), at = k % (4 * PER) / PER;
      sum += left(word(m % 8 * 4 + at, m / 8 + part * 2), k % PER) *
             right(word(n * 4 + at, 4 + part), k % PER);
    }
    c[i] = sum;
  }
  syncWarp();
}

template <class T>
inline void mmaStep(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  auto half = [](u32 w, int i) { return floatOf<T>((u16)(w >> 16 * i)); };
  multiplyFragments<2>(c, a, b0, b1, half, half);
}
template <class T>
inline void mmaStep(int (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  multiplyFragments<4>(
      c, a, b0, b1, [](u32 w, int i) { return (int)(u8)(w >> 8 * i); },
      [](u32 w, int i) { return (int)(i8)(w >> 8 * i); });
}

template <class T>
inline u16 bitsOf(float v);
template <>
inline u16 bitsOf<f16>(float v) {
  return f16OfFloat(v);
}
template <>
inline u16 bitsOf<bf16>(float v) {
  return bf16OfFloat(v);
}
template <class T>
inline u32 subtractPair(u32 a, u32 b) {
  u32 v = 0;
  for (int i = 0; i < 32; i += 16)
    v |= (u32)bitsOf<T>(floatOf<T>((u16)(a >> i)) - floatOf<T>((u16)(b >> i)))
         << i;
  return v;
}

} // namespace ferrite
#endif // FERRITE_DEVICE_CUH
