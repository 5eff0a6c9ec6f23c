//===- RecordsTest.cpp - Pools of bytes -----------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The records that kernels write and read are those of runtime/cache/Record.h,
// bit by bit, in either order of bytes.
//
//===----------------------------------------------------------------------===//
#include "SkeletonTest.h"

#include "runtime/cache/Record.h"

#include "ferrite/records.cuh"

using namespace ferrite;

template <class T, int DEPTH>
static void checkRecords(bool isNibbles, float scale) {
  constexpr int WIDTH = PoolRow<T, DEPTH, 1>::WIDTH;
  EXPECT_EQ(record::widthOf(isNibbles, DEPTH), WIDTH);
  std::vector<float> numbers = normal<float>(DEPTH, 11);
  for (float &number : numbers)
    number = scale == 0 ? 0 : number * scale; // no -0
  std::vector<u8> want(WIDTH), got(WIDTH), apart(WIDTH * 64);
  record::pack(isNibbles, numbers.data(), DEPTH, want.data());
  std::vector<float> together(DEPTH), strided(DEPTH);
  kernel = [&] {
    auto read = [&](int d) { return numbers[size_t(d)]; };
    auto put = [&](int w, u8 byte) {
      got[size_t(w)] = byte;
      apart[size_t(w) * 64 + 5] = byte;
    };
    if (isNibbles)
      packNibbles<DEPTH>(read, put);
    else
      packBytes<DEPTH>(read, put);
    ferrite::sync();
    const PoolRow<T, DEPTH, 1> row((const T *)got.data());
    const PoolRow<T, DEPTH, 64> column((const T *)apart.data() + 5);
    for (int d = lane(); d < DEPTH; d += 32) {
      together[size_t(d)] = row(d);
      strided[size_t(d)] = column(d);
    }
  };
  launch(1, 32, 0);
  EXPECT_EQ(want, got);
  for (int d = 0; d < DEPTH; ++d) {
    const float number = record::numberOf(isNibbles, want.data(), 1, DEPTH, d);
    EXPECT_EQ(number, together[size_t(d)]);
    EXPECT_EQ(number, strided[size_t(d)]);
  }
}

TEST(Records, bits_of_the_runtime) {
  for (float scale : {1.0f, 1e-20f, 0.0f}) {
    checkRecords<i8, 64>(false, scale);
    checkRecords<i8, 20>(false, scale);
    checkRecords<u8, 32>(true, scale);
    checkRecords<u8, 128>(true, scale);
  }
}
