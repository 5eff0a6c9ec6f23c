//===- LinearAttentionTest.cpp - Against the recurrence in double ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinearAttention.h"
#include "test/unit/codegen/KernelJit.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;

namespace {

constexpr int64_t dyn = ShapedType::kDynamic;
using Sizes = std::vector<int64_t>;

struct Shape {
  int64_t batch, tokens, heads, group, depth, columns;
  int64_t rows() const { return tokens * group + depth; }
};

/// Without decay (0), a number a head (1), or one an element of the key (2).
struct Rule {
  int decay;
  bool hasBeta, hasState;
};

class LinearAttention : public testing::TestWithParam<std::string> {
protected:
  KernelJit kernel(const Shape &s, const Rule &rule,
                   bool keepAssembly = false) {
    return KernelJit(
        GetParam(),
        [&](MLIRContext &context) {
          Type f32 = Float32Type::get(&context);
          auto tokens = [&](int64_t heads, int64_t size) {
            return contiguous(f32, {dyn, dyn, heads, size});
          };
          KernelLayout layout{{tokens(s.heads * s.group, s.depth),
                               tokens(s.heads, s.depth),
                               tokens(s.heads, s.columns)}};
          if (rule.decay)
            layout.operands.push_back(
                tokens(s.heads, rule.decay == 1 ? 1 : s.depth));
          if (rule.hasBeta)
            layout.operands.push_back(contiguous(f32, {dyn, dyn, s.heads}));
          if (rule.hasState)
            layout.operands.push_back(
                contiguous(f32, {dyn, s.heads, s.depth, s.columns}));
          layout.operands.push_back(
              contiguous(f32, {dyn, s.heads, dyn, s.columns}));
          return layout;
        },
        [&](KernelBuilder &kb) {
          return emitLinearAttention(
              kb, {0.25f, rule.decay != 0, rule.hasBeta, rule.hasState});
        },
        keepAssembly);
  }
};

struct Data {
  std::vector<float> query, key, value, decay, beta, state;
  Data(const Shape &s, const Rule &rule) {
    int64_t heads = s.batch * s.tokens * s.heads;
    query = randomFloats(heads * s.group * s.depth, 1);
    key = randomFloats(heads * s.depth, 2);
    // Else the delta rule would let errors grow.
    for (float &each : key)
      each /= std::sqrt(static_cast<float>(s.depth));
    value = randomFloats(heads * s.columns, 3);
    decay = randomFloats(heads * (rule.decay == 1 ? 1 : s.depth), 4);
    for (float &each : decay)
      each = 0.75f + each / 4;
    beta = randomFloats(heads, 5);
    state = randomFloats(s.batch * s.heads * s.depth * s.columns, 6);
  }
};

std::vector<double> reference(const Shape &s, const Rule &rule, const Data &d) {
  std::vector<double> y(s.batch * s.heads * s.rows() * s.columns);
  for (int64_t head = 0; head < s.batch * s.heads; ++head)
    for (int64_t j = 0; j < s.columns; ++j) {
      int64_t b = head / s.heads, h = head % s.heads;
      std::vector<double> state(s.depth);
      auto at = [&](int64_t row) -> double & {
        return y[(head * s.rows() + row) * s.columns + j];
      };
      for (int64_t i = 0; rule.hasState && i < s.depth; ++i)
        state[i] = d.state[(head * s.depth + i) * s.columns + j];
      for (int64_t t = 0; t < s.tokens; ++t) {
        int64_t k = (b * s.tokens + t) * s.heads + h;
        double write = d.value[k * s.columns + j], retrieved = 0;
        for (int64_t i = 0; i < s.depth; ++i) {
          if (rule.decay)
            state[i] *= d.decay[rule.decay == 1 ? k : k * s.depth + i];
          retrieved += state[i] * d.key[k * s.depth + i];
        }
        if (rule.hasBeta)
          write = d.beta[k] * (write - retrieved);
        for (int64_t i = 0; i < s.depth; ++i)
          state[i] += write * d.key[k * s.depth + i];
        for (int64_t g = 0; g < s.group; ++g) {
          double sum = 0;
          for (int64_t i = 0; i < s.depth; ++i)
            sum += state[i] * d.query[(k * s.group + g) * s.depth + i];
          at(t * s.group + g) = 0.25 * sum;
        }
      }
      for (int64_t i = 0; i < s.depth; ++i)
        at(s.tokens * s.group + i) = state[i];
    }
  return y;
}

std::vector<JitTensor> tensors(const Shape &s, const Rule &rule, const Data &d,
                               std::vector<float> &y) {
  Sizes heads = {s.batch, s.tokens, s.heads};
  std::vector<JitTensor> all = {
      {d.query.data(), {s.batch, s.tokens, s.heads * s.group, s.depth}},
      {d.key.data(), {s.batch, s.tokens, s.heads, s.depth}},
      {d.value.data(), {s.batch, s.tokens, s.heads, s.columns}}};
  if (rule.decay)
    all.push_back(
        {d.decay.data(),
         {s.batch, s.tokens, s.heads, rule.decay == 1 ? 1 : s.depth}});
  if (rule.hasBeta)
    all.push_back({d.beta.data(), heads});
  if (rule.hasState)
    all.push_back({d.state.data(), {s.batch, s.heads, s.depth, s.columns}});
  all.push_back({y.data(), {s.batch, s.heads, s.rows(), s.columns}});
  return all;
}

// Columns around one register and around a unit's four, groups of queries, and
// each combination of gates; units in any order.
TEST_P(LinearAttention, Shapes) {
  for (const Rule &rule :
       {Rule{0, false, false}, Rule{1, false, true}, Rule{0, true, true},
        Rule{2, true, false}, Rule{1, true, true}})
    for (const Shape &s : {Shape{1, 1, 1, 1, 1, 1}, Shape{2, 5, 2, 1, 8, 16},
                           Shape{1, 9, 3, 2, 24, 40}, Shape{2, 3, 1, 4, 16, 64},
                           Shape{1, 4, 2, 1, 32, 150}}) {
      KernelJit jit = kernel(s, rule);
      ASSERT_TRUE(jit.ok()) << jit.error();
      Data d(s, rule);
      auto want = reference(s, rule, d);
      std::vector<float> y(want.size(), -77.f);
      auto all = tensors(s, rule, d, y);
      jit.runSplit(all, std::min<int64_t>(3, jit.units(all)));
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_NEAR(y[i], want[i], 2e-6)
            << rule.decay << rule.hasBeta << rule.hasState << " depth "
            << s.depth << " columns " << s.columns << " at " << i;
    }
}

// No tokens: the state goes through.
TEST_P(LinearAttention, NoTokens) {
  Shape s = {2, 0, 2, 2, 8, 24};
  Rule rule = {1, true, true};
  KernelJit jit = kernel(s, rule);
  ASSERT_TRUE(jit.ok()) << jit.error();
  Data d(s, rule);
  std::vector<float> y(d.state.size(), -77.f);
  jit.run(tensors(s, rule, d, y));
  EXPECT_EQ(y, d.state);
}

TEST_P(LinearAttention, InnerLoopsCallNothing) {
  KernelJit jit = kernel({2, 0, 2, 2, 64, 64}, {2, true, true}, true);
  ASSERT_TRUE(jit.ok()) << jit.error();
  EXPECT_EQ("", checkInnerLoops(jit.assembly()));
  EXPECT_NE(std::string::npos, jit.assembly().find("vfmadd"));
}

INSTANTIATE_TEST_SUITE_P(Levels, LinearAttention,
                         testing::ValuesIn(hostLevels()),
                         [](const auto &info) { return info.param; });

} // namespace
