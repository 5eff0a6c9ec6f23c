//===- AttentionTest.cpp - Attention against a reference in double --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Shapes around every edge of the tiling (registers, tiles, groups, chunks and
// blocks of keys), masks in every form, operands as slices of one packed
// buffer, and the promise on bits: batch, chunk, split and masked padding do
// not change a query's result. Longer than most files because all cases share
// one reference and one way to describe a mask.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitAttention.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;
constexpr float kFill = -3.4028234663852886e38f;
constexpr float inf = std::numeric_limits<float>::infinity();

enum class Form { None, KeyBias, KeyMask, FullBias, Both };

struct Case {
  int64_t batch = 1, queries = 1, keys = 1, heads = 1, keyHeads = 1, depth = 64,
          valueDepth = 64;
  Form form = Form::None;
  double scale = 0.125;
};

/// Storage of q, k, v and the result.
enum class Storage { F32, F16, BF16 };

/// Kernels by what they are specialised to; compiling is most of the time.
const KernelJit &kernelFor(const std::string &level, const Case &c,
                           bool zeroFullyMasked = false,
                           Storage storage = Storage::F32, float fill = kFill) {
  static std::map<std::string, std::unique_ptr<KernelJit>> kernels;
  std::string key =
      level + "/" + std::to_string(c.depth) + "/" +
      std::to_string(c.valueDepth) + "/" + std::to_string(int(c.form)) + "/" +
      std::to_string(c.scale) + "/" + std::to_string(zeroFullyMasked) +
      std::to_string(int(storage)) + "/" + std::to_string(fill);
  std::unique_ptr<KernelJit> &jit = kernels[key];
  if (jit)
    return *jit;
  AttentionSpec spec;
  spec.scale = c.scale;
  spec.zeroFullyMasked = zeroFullyMasked;
  AttentionAddend bias, mask;
  mask.kind = AttentionAddend::Kind::Keep;
  mask.fill = fill;
  if (c.form == Form::FullBias || c.form == Form::KeyBias)
    spec.addends = {bias};
  if (c.form == Form::KeyMask)
    spec.addends = {mask};
  if (c.form == Form::Both)
    spec.addends = {bias, mask};
  jit = std::make_unique<KernelJit>(
      level,
      [&](MLIRContext &context) {
        Type f32 = Float32Type::get(&context);
        Type type = storage == Storage::F32 ? f32
                    : storage == Storage::F16
                        ? Type(Float16Type::get(&context))
                        : Type(BFloat16Type::get(&context));
        auto rows = [&](int64_t d) {
          return strided(type, {dyn, dyn, dyn, d}, {dyn, dyn, dyn, 1});
        };
        auto full = strided(f32, {1, dyn, dyn, dyn}, {0, dyn, dyn, 1});
        auto keyBias = strided(f32, {dyn, 1, 1, dyn}, {dyn, 0, 0, 1});
        auto keep = contiguous(IntegerType::get(&context, 1), {dyn, dyn});
        KernelLayout layout{{rows(c.depth), rows(c.depth), rows(c.valueDepth)}};
        if (c.form == Form::FullBias || c.form == Form::Both)
          layout.operands.push_back(full);
        if (c.form == Form::KeyBias)
          layout.operands.push_back(keyBias);
        if (c.form == Form::KeyMask || c.form == Form::Both)
          layout.operands.push_back(keep);
        layout.operands.push_back(rows(c.valueDepth));
        return layout;
      },
      [&](KernelBuilder &kb) { return emitAttention(kb, spec); },
      /*keepAssembly=*/true);
  EXPECT_TRUE(jit->ok()) << jit->error();
  return *jit;
}

struct Data {
  std::vector<float> q, k, v, keyBias, fullBias;
  std::vector<uint8_t> keep;

  explicit Data(const Case &c, uint32_t seed = 1)
      : q(randomFloats(c.batch * c.queries * c.heads * c.depth, seed)),
        k(randomFloats(c.batch * c.keys * c.keyHeads * c.depth, seed + 1)),
        v(randomFloats(c.batch * c.keys * c.keyHeads * c.valueDepth, seed + 2)),
        keyBias(c.batch * c.keys, 0.f),
        fullBias(randomFloats(c.heads * c.queries * c.keys, seed + 3)),
        keep(c.batch * c.keys, 1) {
    for (float &x : q)
      x *= 4; // weights that differ
    // Batch b has its last b * 5 keys and one in between masked.
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t j = 0; j < c.keys; ++j)
        if (c.keys > 1 && (j >= std::max<int64_t>(1, c.keys - 5 * b) ||
                           (b == 1 && j == c.keys / 2)))
          mask(c, b, j);
  }
  void mask(const Case &c, int64_t b, int64_t j) {
    keyBias[b * c.keys + j] = kFill;
    keep[b * c.keys + j] = 0;
  }
};

std::vector<float> run(const KernelJit &jit, const Case &c, const Data &d,
                       int64_t pieces = 1) {
  std::vector<float> result(c.batch * c.queries * c.heads * c.valueDepth,
                            -77.f);
  std::vector<JitTensor> tensors = {
      {d.q.data(), {c.batch, c.queries, c.heads, c.depth}},
      {d.k.data(), {c.batch, c.keys, c.keyHeads, c.depth}},
      {d.v.data(), {c.batch, c.keys, c.keyHeads, c.valueDepth}}};
  if (c.form == Form::FullBias || c.form == Form::Both)
    tensors.emplace_back(
        d.fullBias.data(), std::vector<int64_t>{1, c.heads, c.queries, c.keys},
        std::vector<int64_t>{0, c.queries * c.keys, c.keys, 1});
  if (c.form == Form::KeyBias)
    tensors.emplace_back(d.keyBias.data(),
                         std::vector<int64_t>{c.batch, 1, 1, c.keys},
                         std::vector<int64_t>{c.keys, 0, 0, 1});
  if (c.form == Form::KeyMask || c.form == Form::Both)
    tensors.emplace_back(d.keep.data(), std::vector<int64_t>{c.batch, c.keys});
  tensors.emplace_back(
      result.data(),
      std::vector<int64_t>{c.batch, c.queries, c.heads, c.valueDepth});
  if (jit.ok())
    jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
  return result;
}

std::vector<double> reference(const Case &c, const Data &d) {
  std::vector<double> result(c.batch * c.queries * c.heads * c.valueDepth);
  std::vector<double> s(c.keys);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h) {
      int64_t kh = h / (c.heads / c.keyHeads);
      for (int64_t i = 0; i < c.queries; ++i) {
        double highest = -inf, sum = 0;
        for (int64_t j = 0; j < c.keys; ++j) {
          double dot = 0;
          for (int64_t e = 0; e < c.depth; ++e)
            dot +=
                double(d.q[((b * c.queries + i) * c.heads + h) * c.depth + e]) *
                d.k[((b * c.keys + j) * c.keyHeads + kh) * c.depth + e];
          s[j] = dot * c.scale;
          if (c.form == Form::FullBias || c.form == Form::Both)
            s[j] += d.fullBias[(h * c.queries + i) * c.keys + j];
          // As f32 does: what is masked forgets its score.
          if (c.form == Form::KeyBias || c.form == Form::KeyMask ||
              c.form == Form::Both)
            if (d.keep[b * c.keys + j] == 0)
              s[j] = kFill;
          highest = std::max(highest, s[j]);
        }
        for (double &x : s)
          sum += x = std::exp(x - highest);
        for (int64_t e = 0; e < c.valueDepth; ++e) {
          double o = 0;
          for (int64_t j = 0; j < c.keys; ++j)
            o += s[j] *
                 d.v[((b * c.keys + j) * c.keyHeads + kh) * c.valueDepth + e];
          result[((b * c.queries + i) * c.heads + h) * c.valueDepth + e] =
              o / sum;
        }
      }
    }
  return result;
}

double worst(const std::vector<float> &got, const std::vector<double> &want) {
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    double off = std::fabs(got[i] - want[i]);
    most = std::isnan(off) ? inf : std::max(most, off);
  }
  return most;
}

class Attention : public testing::TestWithParam<std::string> {};

// Every shape around the tiles. 3e-6: 64 products of size 4 in f32, times 1/8.
TEST_P(Attention, Shapes) {
  for (int64_t depth : {32, 64, 40})
    for (int64_t s : {1, 7, 16, 17, 64, 128, 130, 513, 1100}) {
      Case c;
      c.queries = c.keys = s;
      c.heads = c.keyHeads = s > 500 ? 1 : 2;
      c.batch = s > 500 ? 1 : 2;
      c.depth = c.valueDepth = depth;
      c.form = Form::KeyBias;
      Data d(c);
      EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
                3e-6)
          << "S " << s << " D " << depth;
    }
}

TEST_P(Attention, OtherDepths) {
  for (auto [depth, valueDepth] : {std::pair<int64_t, int64_t>{80, 80},
                                   {96, 96},
                                   {128, 128},
                                   {3, 5},
                                   {64, 32},
                                   {18, 48},
                                   {256, 144}}) {
    Case c;
    c.batch = 2;
    c.queries = 53;
    c.keys = 70;
    c.heads = 4;
    c.keyHeads = 2;
    c.depth = depth;
    c.valueDepth = valueDepth;
    Data d(c);
    EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)), 5e-6)
        << depth << ", " << valueDepth;
  }
}

TEST_P(Attention, Addends) {
  for (Form form :
       {Form::None, Form::KeyBias, Form::KeyMask, Form::FullBias, Form::Both})
    for (int64_t keys : {5, 64, 77, 600}) {
      Case c;
      c.batch = 3;
      c.queries = 19;
      c.keys = keys;
      c.heads = c.keyHeads = 2;
      c.depth = c.valueDepth = 32;
      c.form = form;
      Data d(c);
      EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
                3e-6)
          << int(form) << ", keys " << keys;
    }
}

// With the finite fill that exporters write, all keys weigh alike, as in
// PyTorch; with -inf there is no weight: NaN in ONNX, 0 where it is asked for.
TEST_P(Attention, FullyMasked) {
  Case c;
  c.batch = 2;
  c.queries = 5;
  c.form = Form::KeyMask;
  for (int64_t keys : {40, 600}) {
    c.keys = keys;
    Data d(c);
    for (int64_t j = 0; j < keys; ++j)
      d.mask(c, 1, j);
    size_t half = c.queries * c.valueDepth;
    EXPECT_LT(worst(run(kernelFor(GetParam(), c), c, d), reference(c, d)),
              3e-6);
    auto nans = run(kernelFor(GetParam(), c, false, Storage::F32, -inf), c, d);
    auto zeros = run(kernelFor(GetParam(), c, true, Storage::F32, -inf), c, d);
    for (size_t i = 0; i < half; ++i) {
      EXPECT_EQ(nans[i], zeros[i]); // the other batch
      EXPECT_TRUE(std::isnan(nans[half + i]));
      EXPECT_EQ(zeros[half + i], 0);
    }
  }
  // A first block without weights must not spoil the second.
  c.keys = 700;
  Data d(c);
  for (int64_t j = 0; j < 530; ++j)
    d.mask(c, 0, j);
  for (float &x : d.k)
    x *= 30; // maxima far from 0
  for (float fill : {kFill, -inf})
    EXPECT_LT(
        worst(run(kernelFor(GetParam(), c, false, Storage::F32, fill), c, d),
              reference(c, d)),
        1e-4);
}

// As the three slices of one projection [B, S, 3, H, D].
TEST_P(Attention, SlicesOfOneBuffer) {
  Case c;
  c.batch = 2;
  c.queries = c.keys = 37;
  c.heads = c.keyHeads = 3;
  Data d(c);
  int64_t row = 3 * c.heads * c.depth, third = c.heads * c.depth;
  std::vector<float> packed(c.batch * c.keys * row);
  for (int64_t t = 0; t < c.batch * c.keys; ++t)
    for (int64_t i = 0; i < third; ++i) {
      packed[t * row + i] = d.q[t * third + i];
      packed[t * row + third + i] = d.k[t * third + i];
      packed[t * row + 2 * third + i] = d.v[t * third + i];
    }
  const KernelJit &jit = kernelFor(GetParam(), c);
  std::vector<float> plain = run(jit, c, d), result(plain.size());
  std::vector<int64_t> shape = {c.batch, c.keys, c.heads, c.depth};
  std::vector<int64_t> strides = {c.keys * row, row, c.depth, 1};
  jit.run({{packed.data(), shape, strides},
           {packed.data() + third, shape, strides},
           {packed.data() + 2 * third, shape, strides},
           {result.data(), shape}});
  EXPECT_EQ(plain, result);
  EXPECT_LT(worst(result, reference(c, d)), 3e-6);
}

// The same bits alone or in a batch, unpadded or padded behind with masked
// keys and queries, in one piece or many.
TEST_P(Attention, Bits) {
  for (Form form : {Form::KeyBias, Form::KeyMask})
    for (auto [real, padded] : {std::pair<int64_t, int64_t>{1, 2},
                                {7, 16},
                                {20, 131},
                                {130, 200},
                                {300, 800},
                                {512, 513},
                                {513, 1100}}) {
      Case one;
      one.queries = one.keys = real;
      one.depth = one.valueDepth = 32;
      one.form = form;
      Case many = one;
      many.batch = 2;
      many.queries = many.keys = padded;
      Data small(one), big(many, 9);
      for (int64_t j = 0; j < padded; ++j)
        if (j < real)
          big.keyBias[padded + j] = 0, big.keep[padded + j] = 1;
        else
          big.mask(many, 1, j);
      size_t at = padded * one.depth, count = real * one.depth;
      std::copy_n(small.q.begin(), count, big.q.begin() + at);
      std::copy_n(small.k.begin(), count, big.k.begin() + at);
      std::copy_n(small.v.begin(), count, big.v.begin() + at);
      const KernelJit &jit = kernelFor(GetParam(), one);
      auto alone = run(jit, one, small), batched = run(jit, many, big, 3);
      EXPECT_EQ(0, std::memcmp(alone.data(), batched.data() + at, count * 4))
          << real << " in " << padded;
    }
}

TEST_P(Attention, HalfPrecisionStorage) {
  Case c;
  c.batch = 2;
  c.queries = 21;
  c.keys = 530;
  c.heads = c.keyHeads = 2;
  c.depth = c.valueDepth = 40;
  for (Storage storage : {Storage::F16, Storage::BF16}) {
    bool f16 = storage == Storage::F16;
    Data d(c);
    auto narrow = [&](std::vector<float> &values) {
      std::vector<uint16_t> bits;
      for (float &x : values) {
        bits.push_back(f16 ? toF16(x) : toBF16(x));
        x = f16 ? fromF16(bits.back()) : fromBF16(bits.back());
      }
      return bits;
    };
    auto q = narrow(d.q), k = narrow(d.k), v = narrow(d.v);
    std::vector<uint16_t> bits(q.size());
    std::vector<int64_t> queries = {c.batch, c.queries, c.heads, c.depth},
                         keys = {c.batch, c.keys, c.heads, c.depth};
    const KernelJit &jit = kernelFor(GetParam(), c, false, storage);
    ASSERT_TRUE(jit.ok()) << jit.error();
    jit.run({{q.data(), queries},
             {k.data(), keys},
             {v.data(), keys},
             {bits.data(), queries}});
    std::vector<float> got;
    for (uint16_t x : bits)
      got.push_back(f16 ? fromF16(x) : fromBF16(x));
    // Half an ulp of results below 1/4 in size, and f32's own error.
    EXPECT_LT(worst(got, reference(c, d)), f16 ? 1.3e-4 : 1e-3);
  }
}

// The products run from registers.
TEST_P(Attention, InnerLoops) {
  for (int64_t depth : {32, 64}) {
    Case c;
    c.depth = c.valueDepth = depth;
    c.form = Form::KeyBias;
    const KernelJit &jit = kernelFor(GetParam(), c);
    EXPECT_EQ(checkInnerLoops(jit.assembly()), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Attention, testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
