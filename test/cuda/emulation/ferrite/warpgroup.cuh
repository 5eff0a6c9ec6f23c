// warpgroup.cuh - Warpgroups and the copy engine, as loops on a CPU
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Takes the place of the skeletons' header of this name, as device.cuh here
// does. Both engines work as late as they may: a box comes after all threads
// had a turn, and a product reads its tiles and writes its sums when it is
// waited for. Who reads a place before its bytes came, or gives it back before
// its product was waited for, gets other results. Tiles and boxes are read and
// written through the swizzle, address by address (PTX ISA, "Shared Memory
// Matrix Layout" of wgmma; CUTLASS's canonical layouts say the same).
#ifndef FERRITE_WARPGROUP_CUH
#define FERRITE_WARPGROUP_CUH

#include "ferrite/scalar.cuh"

namespace ferrite {

//===-- barriers in shared memory ------------------------------------------===//

struct alignas(8) Barrier {
  u16 arrivals, left;
  int bytes : 31; ///< that are to come
  u32 parity : 1;

  void endIfDone() {
    if (left == 0 && bytes == 0) {
      left = arrivals;
      parity ^= 1;
    }
  }
};
static_assert(sizeof(Barrier) == 8, "as large as the real one");

inline void initBarrier(Barrier *barrier, int arrivals) {
  barrier->arrivals = barrier->left = (u16)arrivals;
  barrier->bytes = 0;
  barrier->parity = 0;
}
inline void publishBarriers() {}
inline void arriveExpecting(Barrier *barrier, int bytes) {
  if (barrier->left == 0)
    ferriteMachine->fail(ferriteMachine, "more arrivals than a barrier has");
  barrier->bytes += bytes;
  --barrier->left;
  barrier->endIfDone();
}
inline void arrive(Barrier *barrier) { arriveExpecting(barrier, 0); }
/// Late, as a box is, and the copies with it.
struct CopiesOfThread {
  Barrier *barrier;
  PendingCopies *copies;
  int end;
};
inline void arriveWhenCopied(Barrier *barrier) {
  const CopiesOfThread mine = {barrier, &myCopies(), myCopies().group + 1};
  commitAsync();
  ferriteMachine->later(
      ferriteMachine,
      [](const void *data) {
        CopiesOfThread done;
        memcpy(&done, data, sizeof done);
        done.copies->finishBefore(done.end);
        arrive(done.barrier);
      },
      &mine, sizeof mine);
}
inline void waitFor(Barrier *barrier, u32 parity) {
  while (barrier->parity == (parity & 1))
    ferriteMachine->yield(ferriteMachine);
  ferriteMachine->moved = true;
}

//===-- the copy engine ----------------------------------------------------===//

inline u32 swizzled(u32 address) { return address ^ (address >> 7 & 7) << 4; }
inline u32 sharedAddress(const void *p) {
  return (u32)((const unsigned char *)p - ferriteMachine->shared);
}

/// The fields of FakeDriver.cpp's map.
struct BoxCopy {
  unsigned char *shared; ///< all of it
  u64 base, element, columns, rows, rowBytes, boxColumns, boxRows;
  u32 to;
  i64 row, column;
  Barrier *barrier;
};
inline void runBoxCopy(const void *data) {
  BoxCopy c;
  memcpy(&c, data, sizeof c);
  for (u64 r = 0; r < c.boxRows; ++r)
    for (u64 i = 0; i < c.boxColumns; ++i) {
      const i64 row = c.row + (i64)r, column = c.column + (i64)i;
      unsigned char *to =
          c.shared + swizzled(c.to + (u32)(r * 128 + i * c.element));
      if (row >= 0 && row < (i64)c.rows && column >= 0 &&
          column < (i64)c.columns)
        memcpy(to, (const unsigned char *)c.base + row * c.rowBytes +
                       column * c.element,
               c.element);
      else
        memset(to, 0, c.element);
    }
  c.barrier->bytes -= (int)(c.boxRows * c.boxColumns * c.element);
  c.barrier->endIfDone();
}
inline void copyBox(void *to, const TensorMap &map, int row, int column,
                    Barrier *barrier) {
  BoxCopy c;
  c.shared = ferriteMachine->shared;
  memcpy(&c.base, map.opaque, 7 * sizeof(u64));
  c.to = sharedAddress(to);
  c.row = row;
  c.column = column;
  c.barrier = barrier;
  if (c.boxColumns * c.element != 128 || c.to % 1024 != 0)
    ferriteMachine->fail(ferriteMachine, "a box that is no swizzled tile");
  ferriteMachine->later(ferriteMachine, runBoxCopy, &c, sizeof c);
}
inline void fetchMap(const TensorMap &) {}
inline void publishShared() {}

//===-- threads and registers ----------------------------------------------===//

inline void syncSome(int number, int threads) {
  ferriteMachine->namedBarrier(ferriteMachine, number, threads, true);
}
inline void arriveSome(int number, int threads) {
  ferriteMachine->namedBarrier(ferriteMachine, number, threads, false);
}
template <int COUNT>
inline void takeRegisters() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "registers");
}
template <int COUNT>
inline void giveRegisters() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "registers");
}

//===-- products -----------------------------------------------------------===//

inline u64 tileAt(const void *tile, int outer, int across) {
  return (u64)((sharedAddress(tile) & 0x3ffff) >> 4) |
         (u64)(across >> 4) << 16 | (u64)(outer >> 4) << 32 | (u64)1 << 62;
}

inline float exp2Fast(float v) { return ::exp2f(v); }

/// A thread's part of a product that was asked for.
struct PendingProduct {
  void (*run)(const PendingProduct &);
  float *sums;
  u64 a, b;
  u16 left[2][16]; ///< rows of a that is in registers
  bool add;
  int group;
};
struct PendingProducts {
  static constexpr int LIMIT = 128;
  PendingProduct all[LIMIT];
  u64 serial;
  int first, count, group;
};
inline PendingProducts pendingProducts[1024];

inline PendingProducts &myProducts() {
  PendingProducts &mine = pendingProducts[thread()];
  if (mine.serial != ferriteMachine->serial) {
    mine.serial = ferriteMachine->serial;
    mine.first = mine.count = mine.group = 0;
  }
  return mine;
}

/// Element (i, k) of a tile whose rows are along k, or along i.
template <class T, bool BY_I>
inline float elementOf(u64 tile, int i, int k) {
  const u32 begin = (u32)(tile & 0x3fff) << 4,
            across = (u32)(tile >> 16 & 0x3fff) << 4,
            outer = (u32)(tile >> 32 & 0x3fff) << 4;
  const u32 at = BY_I ? i % 64 * 2 + i / 64 * across + k % 8 * 128 +
                            k / 8 * outer
                      : i / 8 * outer + i % 8 * 128 + k * 2;
  u16 bits;
  memcpy(&bits, ferriteMachine->shared + swizzled(begin + at), 2);
  return floatOf<T>(bits);
}

template <class T, int B_BY_N, int COUNT, bool IN_REGISTERS>
inline void runProduct(const PendingProduct &p) {
  const int row = warp() % 4 * 16 + lane() / 4;
  float left[2][16];
  for (int h = 0; h < 2; ++h)
    for (int k = 0; k < 16; ++k)
      left[h][k] = IN_REGISTERS ? floatOf<T>(p.left[h][k])
                                : elementOf<T, false>(p.a, row + 8 * h, k);
  for (int j = 0; j < COUNT / 4; ++j)
    for (int e = 0; e < 2; ++e) {
      const int n = j * 8 + lane() % 4 * 2 + e;
      float right[16];
      for (int k = 0; k < 16; ++k)
        right[k] = elementOf<T, B_BY_N>(p.b, n, k);
      for (int h = 0; h < 2; ++h) {
        float &sum = p.sums[4 * j + 2 * h + e];
        float now = p.add ? sum : 0.0f;
        for (int k = 0; k < 16; ++k)
          now += left[h][k] * right[k];
        sum = now;
      }
    }
}

inline PendingProduct &askForProduct() {
  PendingProducts &mine = myProducts();
  if (mine.count == PendingProducts::LIMIT)
    ferriteMachine->fail(ferriteMachine, "products that nobody waits for");
  PendingProduct &made =
      mine.all[(mine.first + mine.count++) % PendingProducts::LIMIT];
  made.group = mine.group;
  return made;
}
inline void beginProducts() {}
inline void commitProducts() { ++myProducts().group; }
template <int LEFT>
inline void waitProducts() {
  PendingProducts &mine = myProducts();
  while (mine.count && mine.all[mine.first].group < mine.group - LEFT) {
    mine.all[mine.first].run(mine.all[mine.first]);
    mine.first = (mine.first + 1) % PendingProducts::LIMIT;
    --mine.count;
  }
  syncWarp(); // the instruction is one of the warp
}
template <int COUNT>
inline void settle(float (&)[COUNT]) {}

template <class T, int B_BY_N, int COUNT>
inline void multiplyTiles(float (&sums)[COUNT], u64 a, u64 b, bool add) {
  PendingProduct &made = askForProduct();
  made.run = runProduct<T, B_BY_N, COUNT, false>;
  made.sums = sums;
  made.a = a;
  made.b = b;
  made.add = add;
}
template <class T, int B_BY_N, int COUNT>
inline void multiplyTiles(float (&sums)[COUNT], const u32 (&a)[4], u64 b,
                          bool add) {
  // The rows of a lie in the four lanes of each.
  PendingProduct &made = askForProduct();
  memcpy(ferriteMachine->exchange[thread()], a, sizeof a);
  syncWarp();
  for (int t = 0; t < 4; ++t) {
    u32 words[4];
    memcpy(words, ferriteMachine->exchange[thread() - lane() % 4 + t],
           sizeof words);
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < 2; ++e)
        made.left[i % 2][i / 2 * 8 + t * 2 + e] = (u16)(words[i] >> 16 * e);
  }
  syncWarp();
  made.run = runProduct<T, B_BY_N, COUNT, true>;
  made.sums = sums;
  made.b = b;
  made.add = add;
}

} // namespace ferrite
#endif // FERRITE_WARPGROUP_CUH
