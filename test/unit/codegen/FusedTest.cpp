//===- FusedTest.cpp - Fused kernels, point by point ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/FusedBodies.h"

#include <cmath>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;
using At = std::vector<int64_t>;

namespace {

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

// Every length of a tail, beside whole steps and whole registers.
TEST(Fused, EveryTail) {
  FusedCase c;
  c.body = addBody;
  c.inputs = {{"f32", {0, 1}}, {"f32", {1}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {3, 100};
  c.point = sum;
  for (int64_t n = 0; n <= 33; ++n)
    c.moreSizes.push_back({2, n});
  c.moreSizes.push_back({0, 16});
  c.moreSizes.push_back({1, 20000});
  c.moreSizes.push_back({700, 129});
  check(c);
}

// Static tails take other paths than dynamic ones.
TEST(Fused, StaticTails) {
  for (int64_t n : {1, 7, 8, 15, 16, 17, 31, 48, 64, 65, 95, 130}) {
    FusedCase c;
    c.body = addBody;
    c.inputs = {{"f32", {0, 1}, 1, 3}, {"f32", {0}}};
    c.results = {{"f32", {0, 1}, 1, 5}};
    c.sizes = {5, n};
    c.point = sum;
    check(c);
  }
}

// A scalar, a vector for each row and one for each column, all at once.
TEST(Fused, Broadcasts) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32, %c: f32, %d: f32):
    %0 = arith.addf %a, %b : f32
    %1 = arith.mulf %0, %c : f32
    %r = arith.subf %1, %d : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {0, 1, 2}}, {"f32", {}}, {"f32", {0}}, {"f32", {1, 2}}};
  c.results = {{"f32", {0, 1, 2}}};
  c.sizes = {3, 5, 37};
  c.moreSizes = {{1, 1, 1}, {2, 40, 384}, {9, 1, 64}};
  c.point = [](const Point &in, const At &) -> Point {
    return {(in[0] + in[1]) * in[2] - in[3]};
  };
  c.tolerance = 1e-6;
  check(c);
}

// No loops at all, and loops of one point.
TEST(Fused, Scalars) {
  FusedCase c;
  c.body = addBody;
  c.inputs = {{"f32", {}}, {"f32", {0}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {1, 1};
  c.point = sum;
  check(c);
}

// The polynomials, the rounding ops and NaN in minima.
TEST(Fused, Functions) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32):
    %half = arith.constant 0.5 : f32
    %one = arith.constant 1.0 : f32
    %two = arith.constant 2.0 : f32
    %root = arith.constant 0.707106781 : f32
    %0 = arith.mulf %a, %root : f32
    %1 = math.erf %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.mulf %a, %half : f32
    %gelu = arith.mulf %2, %3 : f32
    %e = math.exp %b : f32
    %t = math.tanh %e : f32
    %q = math.powf %b, %two : f32
    %s = math.sqrt %q : f32
    %l = math.log %e : f32
    %f = math.floor %a : f32
    %u = math.roundeven %b : f32
    %c = math.cos %a : f32
    %n = math.sin %b : f32
    %4 = arith.addf %gelu, %t : f32
    %5 = arith.addf %4, %s : f32
    %6 = arith.addf %5, %l : f32
    %7 = arith.addf %6, %f : f32
    %8 = arith.addf %7, %u : f32
    %9 = arith.addf %8, %c : f32
    %10 = arith.addf %9, %n : f32
    %11 = math.absf %10 : f32
    %12 = math.powf %11, %half : f32
    "test.yield"(%12) : (f32) -> ())";
  c.inputs = {{"f32", {0, 1}}, {"f32", {0, 1}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {2, 45};
  c.moreSizes = {{3, 200}};
  c.point = [](const Point &in, const At &) -> Point {
    double a = in[0], b = in[1];
    double v = 0.5 * a * (1 + std::erf(a * 0.707106781)) +
               std::tanh(std::exp(b)) + std::abs(b) + b + std::floor(a) +
               std::nearbyint(b) + std::cos(a) + std::sin(b);
    return {std::sqrt(std::abs(v))};
  };
  c.tolerance = 2e-5; // the root of a difference
  c.maySpill = true;
  check(c);
}

TEST(Fused, PowersOfAnyExponent) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32):
    %x = math.absf %a : f32
    %r = math.powf %x, %b : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {0}}, {"f32", {0}}};
  c.results = {{"f32", {0}}};
  c.sizes = {77};
  c.point = [](const Point &in, const At &) -> Point {
    return {std::pow(std::abs(in[0]), in[1])};
  };
  c.tolerance = 2e-6;
  c.maySpill = true;
  check(c);
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

// A mask of integers into the scores that it adds: three types in one body.
TEST(Fused, MixedTypes) {
  FusedCase c;
  c.body = R"(^bb0(%m: i64, %b: i1, %x: f32):
    %z = arith.constant 0 : i64
    %big = arith.constant -1.0e+30 : f32
    %none = arith.constant 0.0 : f32
    %on = arith.cmpi sgt, %m, %z : i64
    %both = arith.andi %on, %b : i1
    %add = arith.select %both, %none, %big : f32
    %r = arith.addf %x, %add : f32
    "test.yield"(%r, %both) : (f32, i1) -> ())";
  c.inputs = {{"i64", {0, 2}}, {"bool", {1, 2}}, {"f32", {0, 1, 2}}};
  c.results = {{"f32", {0, 1, 2}}, {"bool", {0, 1, 2}}};
  c.sizes = {2, 3, 41};
  c.moreSizes = {{2, 2, 1}, {1, 3, 16}, {2, 64, 64}};
  c.point = [](const Point &in, const At &) -> Point {
    bool on = in[0] > 0 && in[1] != 0;
    return {on ? in[2] : double(float(in[2] + -1e30f)), double(on)};
  };
  check(c);
}

TEST(Fused, ShortFloatsRoundWhereTheGraphRounds) {
  for (std::string type : {"f16", "bf16"}) {
    FusedCase c;
    c.body = "^bb0(%a: " + type + ", %b: " + type +
             "):\n%0 = arith.mulf %a, %b : " + type +
             "\n%r = arith.addf %0, %b : " + type + "\n\"test.yield\"(%r) : (" +
             type + ") -> ()";
    c.inputs = {{type, {0, 1}}, {type, {1}}};
    c.results = {{type, {0, 1}}};
    c.sizes = {3, 53};
    c.moreSizes = {{2, 5}, {4, 128}};
    bool half = type == "f16";
    c.point = [half](const Point &in, const At &) -> Point {
      auto round = [&](double v) -> double {
        return half ? fromF16(toF16(v)) : fromBF16(toBF16(v));
      };
      return {round(float(round(float(in[0] * in[1])) + in[1]))};
    };
    check(c);
  }
}

// Stored short, computed in f32: one rounding, at the end.
TEST(Fused, ShortFloatsReadAsF32) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32):
    %0 = arith.mulf %a, %b : f32
    %r = arith.addf %0, %b : f32
    "test.yield"(%r, %r) : (f32, f32) -> ())";
  c.inputs = {{"f16", {0, 1}}, {"bf16", {1}}};
  c.results = {{"f16", {0, 1}}, {"bf16", {0, 1}}};
  c.sizes = {3, 53};
  c.point = [](const Point &in, const At &) -> Point {
    double v = float(float(in[0] * in[1]) + in[1]);
    return {v, v};
  };
  check(c);
}

// Every cast between the types that a model has.
TEST(Fused, Casts) {
  struct Cast {
    std::string from, in, ops, out, to;
  };
  std::vector<Cast> casts = {
      {"i64", "i64", "%r = arith.sitofp %a : i64 to f32", "f32", "f32"},
      {"f32", "f32", "%r = arith.fptosi %a : f32 to i64", "i64", "i64"},
      {"i32", "i32", "%r = arith.extsi %a : i32 to i64", "i64", "i64"},
      {"i64", "i64", "%r = arith.trunci %a : i64 to i32", "i32", "i32"},
      {"u8", "i8", "%r = arith.uitofp %a : i8 to f32", "f32", "f32"},
      {"i8", "i8", "%r = arith.sitofp %a : i8 to f32", "f32", "f32"},
      {"bool", "i1", "%r = arith.uitofp %a : i1 to f32", "f32", "f32"},
      {"bool", "i1", "%r = arith.extui %a : i1 to i64", "i64", "i64"},
      {"f64", "f64", "%r = arith.truncf %a : f64 to f32", "f32", "f32"},
      {"f32", "f32", "%r = arith.extf %a : f32 to f64", "f64", "f64"},
      {"i64", "i64", "%r = arith.sitofp %a : i64 to f16", "f16", "f16"},
      {"f16", "f16", "%r = arith.extf %a : f16 to f32", "f32", "f32"},
      {"f32", "f32", "%r = arith.fptosi %a : f32 to i8", "i8", "i8"},
      {"i32", "i32", "%r = arith.sitofp %a : i32 to f64", "f64", "f64"},
  };
  for (const Cast &cast : casts) {
    SCOPED_TRACE(cast.ops);
    FusedCase c;
    c.body = unary(cast.in, cast.ops, cast.out);
    c.inputs = {{cast.from, {0}}};
    c.results = {{cast.to, {0}}};
    c.sizes = {75};
    c.moreSizes = {{1}, {16}, {19}};
    bool toInteger = cast.to[0] == 'i';
    c.point = [toInteger](const Point &in, const At &) -> Point {
      return {toInteger ? std::trunc(in[0]) : in[0]};
    };
    check(c);
  }
}

// Lanes that are masked off hold zeros, which an integer division traps on.
TEST(Fused, IntegerDivision) {
  FusedCase c;
  c.body = R"(^bb0(%a: i64, %b: i64):
    %seven = arith.constant 7 : i64
    %0 = arith.divsi %a, %b : i64
    %1 = arith.remsi %a, %seven : i64
    %2 = arith.floordivsi %a, %seven : i64
    %3 = arith.addi %0, %1 : i64
    %r = arith.addi %3, %2 : i64
    "test.yield"(%r) : (i64) -> ())";
  c.inputs = {{"i64", {0}}, {"i64", {0}}};
  c.results = {{"i64", {0}}};
  c.sizes = {61};
  c.moreSizes = {{3}, {17}};
  c.point = [](const Point &in, const At &) -> Point {
    double b = in[1] == 0 ? 1 : in[1]; // our guard: x / 0 = x
    return {std::trunc(in[0] / b) + std::fmod(in[0], 7) +
            std::floor(in[0] / 7)};
  };
  c.maySpill = true;
  check(c);
}

// The index of a loop: along the lanes, across them, and of a size 1.
TEST(Fused, LoopIndices) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32):
    %i = ferrite.loop_index 0
    %j = ferrite.loop_index 1
    %n = arith.constant 39 : i64
    %one = ferrite.loop_index 2
    %0 = arith.muli %i, %n : i64
    %1 = arith.addi %0, %j : i64
    %2 = arith.addi %1, %one : i64
    %f = arith.sitofp %2 : i64 to f32
    %later = arith.cmpi sgt, %j, %i : i64
    %r = arith.select %later, %a, %f : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {0, 1}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {9, 39, 1};
  c.moreSizes = {{40, 16, 1}, {200, 200, 1}};
  c.point = [](const Point &in, const At &at) -> Point {
    return {at[1] > at[0] ? in[0] : double(at[0] * 39 + at[1])};
  };
  check(c);
}

// Indices within register transposes.
TEST(Fused, LoopIndicesInSquares) {
  FusedCase c;
  c.body = R"(^bb0(%a: i32):
    %i = ferrite.loop_index 0
    %j = ferrite.loop_index 1
    %x = arith.extsi %a : i32 to i64
    %0 = arith.muli %i, %x : i64
    %r = arith.addi %0, %j : i64
    "test.yield"(%r) : (i64) -> ())";
  c.inputs = {{"i32", {1, 0}}};
  c.results = {{"i64", {0, 1}}};
  c.sizes = {37, 50};
  c.moreSizes = {{16, 16}, {5, 100}};
  c.point = [](const Point &in, const At &at) -> Point {
    return {at[0] * in[0] + at[1]};
  };
  c.maySpill = true;
  check(c);
}

// Indices of a reduction: sum of x * position, lanes beyond the end left out.
TEST(Fused, LoopIndicesInReductions) {
  for (bool inner : {false, true}) {
    FusedCase c;
    c.body = R"(^bb0(%a: i64):
      %i = ferrite.loop_index 0
      %j = ferrite.loop_index 1
      %0 = arith.muli %i, %a : i64
      %r = arith.addi %0, %j : i64
      "test.yield"(%r) : (i64) -> ())";
    c.inputs = {{"i64", {0, 1}}};
    c.results = {{"i64", {inner ? 0u : 1u}}};
    c.sizes = {27, 43};
    c.moreSizes = {{3, 3}, {64, 64}};
    c.reduction = {!inner, inner};
    c.combines = {Combine::Sum};
    c.point = [](const Point &in, const At &at) -> Point {
      return {at[0] * in[0] + at[1]};
    };
    c.maySpill = true;
    check(c);
  }
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

std::string errorOf(const std::string &body) {
  KernelJit jit(
      hostLevels().front(),
      [](mlir::MLIRContext &context) {
        auto operand = contiguous(mlir::Float32Type::get(&context), {8});
        return KernelLayout{{operand, operand}};
      },
      [&](KernelBuilder &kb) -> llvm::LogicalResult {
        ParsedBlock block = parseBlock(*kb.getContext(), body);
        if (!block.block)
          return llvm::failure();
        FusedSpec spec;
        spec.loops = inferFusedLoops(kb.layout(), {false});
        spec.numInputs = 1;
        spec.body = block.block;
        return emitFused(kb, spec);
      });
  EXPECT_FALSE(jit.ok());
  return jit.error();
}

TEST(Fused, UnknownOpsAreNamed) {
  EXPECT_NE(
      errorOf(unary("f32", "%r = \"test.unknown\"(%a) : (f32) -> f32", "f32"))
          .find("test.unknown"),
      std::string::npos);
  EXPECT_NE(
      errorOf(unary("f32", "%r = math.cbrt %a : f32", "f32")).find("math.cbrt"),
      std::string::npos);
}

TEST(Fused, WrongTypesAreErrors) {
  EXPECT_NE(errorOf(identity("i32")).find("another type"), std::string::npos);
  EXPECT_NE(errorOf("^bb0(%a: f32, %b: f32):\n\"test.yield\"(%a) : (f32) -> ()")
                .find("argument per input"),
            std::string::npos);
}

} // namespace
