//===- RecordTest.cpp - A past of f32 in states that keep less ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeDecoder.h"

#include "cache/Record.h"
#include "ferrite/cache.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

namespace {

constexpr int64_t kDepth = 32, kTokens = 70;

/// A decoder whose two states hold elements of another type.
struct Kept {
  FakeDecoder decoder;
  FerriteCache *cache = nullptr;
  FerriteSequence *sequence = nullptr;
  FerriteError error = {};
  int64_t width;

  Kept(FerriteDType dtype, int64_t width) : width(width) {
    for (FerriteAbiState &state : decoder.states) {
      state.dtype = dtype;
      state.width = width;
      state.page_bytes = FakeDecoder::heads * width * FERRITE_PAGE_TOKENS *
                         int64_t(ferriteDTypeSize(dtype));
    }
    FerriteCacheOptions options = {};
    options.size = sizeof options;
    options.pages = 4;
    EXPECT_EQ(FERRITE_OK, ferriteCacheCreate(decoder.open(), nullptr, &options,
                                             &cache, &error))
        << error.message;
    EXPECT_EQ(FERRITE_OK, ferriteSequenceCreate(cache, &sequence, &error));
  }
  ~Kept() { ferriteCacheDestroy(cache); }

  /// Rows [heads, tokens, width] of a state, as it keeps them.
  std::vector<uint8_t> rowsOf(size_t state) {
    std::vector<uint8_t> rows(size_t(FakeDecoder::heads * kTokens * width) *
                              ferriteDTypeSize(decoder.states[0].dtype));
    EXPECT_EQ(FERRITE_OK,
              ferriteSequenceExport(sequence, state, 0, kTokens, rows.data(),
                                    rows.size(), &error))
        << error.message;
    return rows;
  }
};

std::vector<float> past() {
  std::vector<float> values;
  for (int64_t i = 0; i < FakeDecoder::heads * kTokens * kDepth; ++i)
    values.push_back(float(std::sin(double(i) * 0.7) * (1 + i % 5)));
  values[0] = 1e-7f; // denormal in f16
  values[1] = 65519; // the last that does not become infinite there
  values[2] = 65520;
  values[3] = -1e30f;
  return values;
}

FerriteTensor tensorOf(std::vector<float> &values, int64_t depth) {
  FerriteTensor tensor = {};
  tensor.data = values.data();
  tensor.dtype = FERRITE_F32;
  tensor.rank = 4;
  tensor.shape[0] = 1;
  tensor.shape[1] = FakeDecoder::heads;
  tensor.shape[2] = kTokens;
  tensor.shape[3] = depth;
  return tensor;
}

TEST(RecordTest, ImportsBytes) {
  std::vector<float> values = past();
  values[1] = values[2] = values[3] = 0.5f;
  for (bool isNibbles : {false, true}) {
    int64_t width = record::widthOf(isNibbles, kDepth);
    Kept kept(isNibbles ? FERRITE_U8 : FERRITE_I8, width);
    FerriteTensor tensor = tensorOf(values, kDepth);
    FerriteTensor tensors[] = {tensor, tensor};
    ASSERT_EQ(FERRITE_OK,
              ferriteSequenceImport(kept.sequence, tensors, 2, 0, &kept.error))
        << kept.error.message;
    std::vector<uint8_t> want(size_t(FakeDecoder::heads * kTokens * width));
    for (int64_t r = 0; r < FakeDecoder::heads * kTokens; ++r) {
      record::pack(isNibbles, &values[size_t(r * kDepth)], kDepth,
                   &want[size_t(r * width)]);
      for (int64_t d = 0; d < kDepth; ++d) {
        float got =
            record::numberOf(isNibbles, &want[size_t(r * width)], 1, kDepth, d);
        // Half a step of a range of at most 10, or of 5 on either side.
        EXPECT_NEAR(values[size_t(r * kDepth + d)], got,
                    isNibbles ? 0.37 : 0.0201);
      }
    }
    EXPECT_EQ(want, kept.rowsOf(0));
    EXPECT_EQ(want, kept.rowsOf(1));
    tensors[1].shape[3] = kDepth - 1;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSequenceImport(kept.sequence, tensors, 2, 0, &kept.error));
    EXPECT_EQ(kTokens, ferriteSequenceLength(kept.sequence));
  }
}

TEST(RecordTest, ImportsShortFloats) {
  std::vector<float> values = past();
  for (FerriteDType dtype : {FERRITE_F16, FERRITE_BF16}) {
    Kept kept(dtype, kDepth);
    FerriteTensor tensor = tensorOf(values, kDepth);
    FerriteTensor tensors[] = {tensor, tensor};
    ASSERT_EQ(FERRITE_OK,
              ferriteSequenceImport(kept.sequence, tensors, 2, 0, &kept.error))
        << kept.error.message;
    std::vector<uint8_t> rows = kept.rowsOf(1);
    EXPECT_EQ(rows, kept.rowsOf(0));
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t bits;
      std::memcpy(&bits, &rows[2 * i], 2);
      if (dtype == FERRITE_BF16) {
        float back = record::fromShort(&rows[2 * i]);
        EXPECT_LE(std::fabs(back - values[i]), std::fabs(values[i]) / 256);
        continue;
      }
      // By the definition of the format, in double.
      int exponent = bits >> 10 & 31;
      double size = std::ldexp(exponent ? 1024 + (bits & 1023) : bits & 1023,
                               std::max(exponent, 1) - 25);
      double want = std::fabs(values[i]);
      if (want >= 65520)
        EXPECT_EQ(0x7c00, bits & 0x7fff) << i;
      else
        EXPECT_LE(std::fabs(size - want),
                  std::max(want / 2048, std::ldexp(1.0, -25)))
            << i;
      EXPECT_EQ(std::signbit(values[i]), bits >> 15) << i;
    }
  }
}

} // namespace
