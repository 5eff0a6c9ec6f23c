//===- AttentionShortTest.cpp - Attention of f16 and bf16 -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Against the reference in double on the same short operands, at every level:
// those with bf16 dots have packing and tails of their own.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

namespace {

class AttentionShort : public testing::TestWithParam<std::string> {
protected:
  bool usesDots(const AttentionCase &c) const {
    return c.storage == Storage::BF16 &&
           cpu::findCpuLevel(GetParam())->has(cpu::Instruction::DotBF16);
  }
};

struct Narrow {
  Storage storage;
  uint16_t bits(float x) const {
    return storage == Storage::F16 ? toF16(x) : toBF16(x);
  }
  float value(uint16_t x) const {
    return storage == Storage::F16 ? fromF16(x) : fromBF16(x);
  }
  /// Rounds the values too.
  std::vector<uint16_t> operator()(std::vector<float> &values) const {
    std::vector<uint16_t> all;
    for (float &x : values) {
      all.push_back(bits(x));
      x = value(all.back());
    }
    return all;
  }
};

/// The result in `pieces`; `d` is rounded.
std::vector<float> runShort(const KernelJit &jit, const AttentionCase &c,
                            AttentionData &d, int64_t pieces) {
  Narrow narrow{c.storage};
  auto q = narrow(d.q), k = narrow(d.k), v = narrow(d.v);
  // What is behind a row's last value is no number.
  for (auto *operand : {&q, &k, &v})
    operand->insert(operand->end(), 64, 0x7fff);
  std::vector<uint16_t> bits(c.resultSize());
  std::vector<float> unused;
  std::vector<JitTensor> tensors = d.tensors(c, unused);
  tensors[0].data = q.data();
  tensors[1].data = k.data();
  tensors[2].data = v.data();
  tensors.back().data = bits.data();
  jit.runSplit(tensors, pieces);
  std::vector<float> got;
  for (uint16_t x : bits)
    got.push_back(narrow.value(x));
  return got;
}

TEST_P(AttentionShort, Shapes) {
  for (Storage storage : {Storage::F16, Storage::BF16})
    for (auto [depth, valueDepth] :
         {std::pair<int64_t, int64_t>{64, 64}, {3, 5}, {31, 33}, {63, 96}})
      for (int64_t keys : {1, 2, 65, 530}) {
        AttentionCase c;
        c.storage = storage;
        c.batch = keys > 500 ? 1 : 2;
        c.queries = keys > 500 ? 51 : keys;
        c.keys = keys;
        c.heads = 2;
        c.keyHeads = 1;
        c.depth = depth;
        c.valueDepth = valueDepth;
        c.addends = {AddendForm::KeyBias};
        AttentionData d(c);
        d.maskSome(c);
        const KernelJit &jit = kernelFor(GetParam(), c);
        ASSERT_TRUE(jit.ok()) << jit.error();
        std::vector<float> got = runShort(jit, c, d, 1);
        // Half an ulp of a result below 1, and of weights with dots.
        double ulp = storage == Storage::F16 ? 0x1p-12 : 0x1p-9;
        EXPECT_LT(worst(got, reference(c, d)),
                  ulp * (usesDots(c) ? 2 : 1) + 1e-5)
            << "keys " << keys << " depths " << depth << ", " << valueDepth;
        std::vector<float> split = runShort(jit, c, d, 3);
        EXPECT_EQ(0, std::memcmp(got.data(), split.data(), got.size() * 4));
      }
}

TEST_P(AttentionShort, Windows) {
  for (int64_t tokens : {45, 700}) {
    AttentionCase c;
    c.storage = Storage::BF16;
    c.heads = c.keyHeads = 1;
    c.queries = c.keys = tokens;
    c.spec.left = 99;
    c.spec.right = 0;
    AttentionData d(c);
    const KernelJit &jit = kernelFor(GetParam(), c);
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> got = runShort(jit, c, d, 1);
    EXPECT_LT(worst(got, reference(c, d)), 0x1p-8 + 1e-5);
  }
}

// Padding keys, masked, are exact zeros of every sum.
TEST_P(AttentionShort, MaskedKeysLeaveNoTrace) {
  AttentionCase c;
  c.storage = Storage::BF16;
  c.heads = c.keyHeads = 1;
  c.queries = 9;
  c.keys = 101;
  c.addends = {AddendForm::KeyMask};
  c.fill = -kInf;
  AttentionData d(c);
  const KernelJit &jit = kernelFor(GetParam(), c);
  ASSERT_TRUE(jit.ok()) << jit.error();
  std::vector<float> alone = runShort(jit, c, d, 1);
  AttentionCase longer = c;
  longer.keys = 640;
  AttentionData padded(longer, 77);
  std::copy(d.q.begin(), d.q.end(), padded.q.begin());
  std::copy(d.k.begin(), d.k.end(), padded.k.begin());
  std::copy(d.v.begin(), d.v.end(), padded.v.begin());
  for (int64_t j = c.keys; j < longer.keys; ++j)
    padded.mask(longer, 0, j);
  std::vector<float> with = runShort(jit, longer, padded, 1);
  EXPECT_EQ(0, std::memcmp(alone.data(), with.data(), with.size() * 4));
}

TEST_P(AttentionShort, DotsInRegisters) {
  for (Storage storage : {Storage::F16, Storage::BF16}) {
    AttentionCase c;
    c.storage = storage;
    c.addends = {AddendForm::KeyBias};
    const KernelJit &jit = kernelFor(GetParam(), c);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ(usesDots(c),
              jit.assembly().find("vdpbf16ps\t%zmm") != std::string::npos);
    EXPECT_EQ("", checkInnerLoops(jit.assembly()));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionShort,
                         testing::ValuesIn(hostDotLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
