//===- BodyTest.cpp - Scalar bodies on registers --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A body gives the same bits on a register as on a scalar, and NaN, infinities
// and zeros of both signs go through it as ONNX wants.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/BodyEvaluator.h"
#include "test/unit/codegen/FusedCase.h"

#include <cmath>
#include <cstring>
#include <limits>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;
using mlir::Value;

namespace {

const float inf = std::numeric_limits<float>::infinity();
const float nan = std::numeric_limits<float>::quiet_NaN();

/// result[i] = body(a[i], b[i]), on registers or on scalars.
std::vector<float> evaluate(const std::string &level, const std::string &body,
                            bool registers, std::vector<float> a,
                            std::vector<float> b) {
  KernelJit jit(
      level,
      [](mlir::MLIRContext &context) {
        auto operand = contiguous(mlir::Float32Type::get(&context), {64});
        return KernelLayout{{operand, operand, operand}};
      },
      [&](KernelBuilder &kb) -> llvm::LogicalResult {
        ParsedBlock parsed = parseBlock(*kb.getContext(), body);
        if (!parsed.block)
          return llvm::failure();
        bool failed = false;
        int64_t step = registers ? kb.lanes() : 1;
        mlir::Type type = registers ? mlir::Type(kb.vec()) : kb.f32();
        kb.defineUnits([&] { return kb.c(1); });
        kb.defineBody([&] {
          kb.forUnits([&](Value) {
            kb.forLoop(kb.c(0), kb.c(64), kb.c(step), [&](Value i) {
              auto at = [&](unsigned operand) {
                return kb.gep(kb.ptr(operand), kb.f32(), i);
              };
              auto results =
                  emitBody(kb, *parsed.block,
                           {kb.load(type, at(0)), kb.load(type, at(1))});
              failed = mlir::failed(results);
              if (failed)
                return;
              // Codes of bytes as what they are without a sign.
              Value value = (*results)[0];
              if (mlir::getElementTypeOrSelf(value.getType()).isInteger(8))
                value = mlir::arith::UIToFPOp::create(kb, type, value);
              kb.store(value, at(2));
            });
          });
        });
        return llvm::failure(failed);
      });
  EXPECT_TRUE(jit.ok()) << jit.error();
  std::vector<float> result(64, -77.0f);
  if (!jit.ok())
    return result;
  a.resize(64, 1.0f);
  b.resize(64, 1.0f);
  std::vector<int64_t> shape = {64};
  jit.run({{a.data(), shape}, {b.data(), shape}, {result.data(), shape}});
  return result;
}

std::string binary(const std::string &ops) {
  return "^bb0(%a: f32, %b: f32):\n" + ops +
         "\n\"test.yield\"(%r) : (f32) -> ()";
}

void expectSame(float got, float wanted) {
  if (std::isnan(wanted))
    EXPECT_TRUE(std::isnan(got));
  else
    EXPECT_EQ(std::memcmp(&got, &wanted, 4), 0) << got << " for " << wanted;
}

TEST(Body, SpecialValues) {
  std::vector<float> a = {nan, 1, -0.0f, 0.0f, inf, -inf, 2.5f, -2.5f, 3.5f};
  std::vector<float> b = {1, nan, 0.0f, -0.0f, 1, inf, -1, 4, -0.5f};
  struct Case {
    std::string ops;
    float (*wanted)(float, float);
  };
  std::vector<Case> cases = {
      {"%r = arith.maximumf %a, %b : f32",
       [](float x, float y) {
         return std::isnan(x) || std::isnan(y) ? nan
                : x == y && x == 0             ? 0.0f
                                               : std::max(x, y);
       }},
      {"%r = arith.minimumf %a, %b : f32",
       [](float x, float y) {
         return std::isnan(x) || std::isnan(y) ? nan
                : x == y && x == 0             ? -0.0f
                                               : std::min(x, y);
       }},
      {"%n = math.isnan %a : f32\n%r = arith.select %n, %b, %a : f32",
       [](float x, float y) { return std::isnan(x) ? y : x; }},
      {"%n = math.isinf %a : f32\n%r = arith.uitofp %n : i1 to f32",
       [](float x, float) { return std::isinf(x) ? 1.0f : 0.0f; }},
      {"%r = math.roundeven %a : f32",
       [](float x, float) { return std::nearbyint(x); }},
      {"%r = math.floor %a : f32",
       [](float x, float) { return std::floor(x); }},
      {"%r = math.ceil %a : f32", [](float x, float) { return std::ceil(x); }},
      {"%r = math.trunc %a : f32",
       [](float x, float) { return std::trunc(x); }},
      {"%r = math.round %a : f32",
       [](float x, float) { return std::round(x); }},
      {"%r = math.absf %a : f32", [](float x, float) { return std::fabs(x); }},
      {"%r = math.copysign %a, %b : f32",
       [](float x, float y) { return std::copysign(x, y); }},
      {"%r = arith.negf %a : f32", [](float x, float) { return -x; }},
      {"%r = arith.divf %a, %b : f32", [](float x, float y) { return x / y; }},
      {"%r = math.sqrt %a : f32", [](float x, float) { return std::sqrt(x); }},
      {"%r = math.fma %a, %b, %a : f32",
       [](float x, float y) { return std::fma(x, y, x); }},
      {"%l = arith.cmpf olt, %a, %b : f32\n%r = arith.select %l, %a, %b : f32",
       [](float x, float y) { return x < y ? x : y; }},
  };
  for (const std::string &level : hostLevels())
    for (const Case &c : cases)
      for (bool registers : {false, true}) {
        SCOPED_TRACE(level + c.ops);
        std::vector<float> got =
            evaluate(level, binary(c.ops), registers, a, b);
        for (size_t i = 0; i < a.size(); ++i)
          expectSame(got[i], c.wanted(a[i], b[i]));
      }
}

// One code for scalars and registers: the same bits, special values included.
TEST(Body, ScalarsAgreeWithRegisters) {
  std::vector<float> a = randomFloats(58, 1), b = randomFloats(58, 2);
  for (float &x : a)
    x *= 20;
  for (float v : {inf, -inf, nan, 0.0f, -0.0f, 1e-40f}) {
    a.push_back(v);
    b.push_back(2.0f);
  }
  std::vector<std::string> bodies = {
      "%r = math.exp %a : f32",
      "%r = math.erf %a : f32",
      "%r = math.tanh %a : f32",
      "%r = math.log %a : f32",
      "%r = math.sin %b : f32",
      "%r = math.cos %b : f32",
      "%r = math.powf %a, %b : f32",
      "%r = math.rsqrt %a : f32",
      "%h = arith.truncf %a : f32 to bf16\n%e = math.exp %h : bf16\n"
      "%r = arith.extf %e : bf16 to f32",
      "%h = arith.truncf %a : f32 to f16\n%e = arith.mulf %h, %h : f16\n"
      "%r = arith.extf %e : f16 to f32"};
  for (const std::string &level : hostLevels())
    for (const std::string &body : bodies) {
      SCOPED_TRACE(level + body);
      std::vector<float> scalar = evaluate(level, binary(body), false, a, b);
      std::vector<float> wide = evaluate(level, binary(body), true, a, b);
      for (size_t i = 0; i < scalar.size(); ++i)
        expectSame(wide[i], scalar[i]);
    }
}

/// Rounded to bytes, something, rounded to bytes again.
std::string twiceRounded(int least, const std::string &between) {
  std::string ends = "%least = arith.constant " + std::to_string(least) +
                     ".0 : f32\n%most = arith.constant " +
                     std::to_string(least + 255) +
                     ".0 : f32\n%shift = arith.constant " +
                     std::to_string(least + 128) + ".0 : f32\n";
  return "^bb0(%a: f32, %b: f32):\n" + ends + R"(
      %step = arith.constant 0.03125 : f32
      %q = arith.divf %a, %step : f32
      %round = math.roundeven %q : f32
      %shifted = arith.addf %round, %shift : f32
      %low = arith.maxnumf %shifted, %least : f32
      %code = arith.minnumf %low, %most : f32
      %whole = arith.subf %code, %shift : f32
      %x = arith.mulf %whole, %step : f32
  )" + between +
         R"(
      %q2 = arith.divf %y, %step : f32
      %round2 = math.roundeven %q2 : f32
      %shifted2 = arith.addf %round2, %shift : f32
      %low2 = arith.maxnumf %shifted2, %least : f32
      %code2 = arith.minnumf %low2, %most : f32
      %int = arith.fptosi %code2 : f32 to i32
      %r = arith.trunci %int : i32 to i8
      "test.yield"(%r) : (i8) -> ()
  )";
}

// What one rounded number is made of is looked up where there is a register for
// it, and computed elsewhere; NaN is the least code.
TEST(Body, TablesOfBytes) {
  const std::string gelu = R"(
      %half = arith.constant 0.5 : f32
      %one = arith.constant 1.0 : f32
      %root = arith.constant 0.70710678 : f32
      %t = arith.mulf %x, %root : f32
      %e = math.erf %t : f32
      %h = arith.mulf %x, %half : f32
      %s = arith.addf %e, %one : f32
      %y = arith.mulf %h, %s : f32)";
  const std::string same = "%one = arith.constant 1.0 : f32\n"
                           "%y = arith.mulf %x, %one : f32";
  // Of the other argument, too: no table.
  const std::string sum = "%y = arith.addf %x, %b : f32";
  auto wanted = [&](float a, int least, const std::string &between) {
    double top = least + 255, shift = least + 128;
    auto code = [&](double x) {
      return std::fmin(std::fmax(std::nearbyint(x * 32) + shift, least), top);
    };
    double x = (code(a) - shift) / 32;
    double y = between == gelu  ? x * 0.5 * (1 + std::erf(x * M_SQRT1_2))
               : between == sum ? x + 1
                                : x;
    return float(uint8_t(int(code(y))));
  };
  for (const std::string &level : hostLevels())
    for (int least : {0, -128})
      for (const std::string &between : {gelu, same, sum})
        for (float from : {-5.0f, -3.0f, -1.0f, 1.0f, 3.0f}) {
          std::vector<float> a;
          for (int i = 0; i < 61; ++i)
            a.push_back(from + i * 0.0321f);
          llvm::append_range(a, std::vector<float>{inf, -inf, nan});
          auto got = evaluate(level, twiceRounded(least, between), true, a, {});
          for (int i = 0; i < 64; ++i)
            EXPECT_EQ(got[i], wanted(a[i], least, between))
                << level << ", from " << least << ", " << a[i];
        }
}

TEST(Body, CostCountsPolynomials) {
  mlir::MLIRContext context;
  KernelBuilder::loadDialects(context);
  ParsedBlock cheap =
      parseBlock(context, binary("%r = arith.addf %a, %b : f32"));
  ParsedBlock dear = parseBlock(context, binary("%r = math.exp %a : f32"));
  ASSERT_TRUE(cheap.block && dear.block);
  EXPECT_EQ(bodyCost(*cheap.block), 1u);
  EXPECT_EQ(bodyCost(*dear.block), 10u);
  EXPECT_FALSE(usesLoopIndex(*cheap.block, 0));
}

} // namespace
