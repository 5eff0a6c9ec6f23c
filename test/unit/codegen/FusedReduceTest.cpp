//===- FusedReduceTest.cpp - Fused kernels that move and reduce ----------===//
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

// The wanted instructions on whole registers, and of f16 those that widen and
// round.
TEST(Fused, Instructions) {
  bool wide = findCpuLevel(hostLevels().back())->isAvx512();
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32):
    %0 = arith.negf %a : f32
    %e = math.exp %0 : f32
    %one = arith.constant 1.0 : f32
    %1 = arith.addf %e, %one : f32
    %2 = arith.divf %a, %1 : f32
    %r = arith.mulf %2, %b : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {0, 1}}, {"f32", {0, 1}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {3, 384};
  c.point = [](const Point &in, const At &) -> Point {
    return {in[0] / (1 + std::exp(-in[0])) * in[1]};
  };
  c.tolerance = 1e-6;
  llvm::StringRef lane = wide ? "%zmm" : "%ymm";
  // Of the coefficients of exp some lie on the stack with 16 registers.
  c.maySpill = true;
  std::string text = check(c);
  if (wide) {
    EXPECT_EQ("", checkAllLoops(text, {"vfmadd", lane}));
  }

  c.maySpill = false;
  c.body = addBody;
  c.point = sum;
  EXPECT_EQ("", checkAllLoops(check(c), {"vaddps", lane}));
  for (CaseOperand &operand : c.inputs)
    operand.type = "f16";
  c.results[0].type = "f16";
  c.body = R"(^bb0(%a: f16, %b: f16):
    %r = arith.addf %a, %b : f16
    "test.yield"(%r) : (f16) -> ())";
  c.tolerance = 1e-3;
  EXPECT_EQ("", checkAllLoops(check(c), {"vcvtph2ps", "vcvtps2ph", lane}));
}

//===----------------------------------------------------------------------===//
// Layouts
//===----------------------------------------------------------------------===//

// Register transposes with every kind of edge, and of both 32-bit types.
TEST(Fused, Transposes) {
  for (const char *type : {"f32", "i32"}) {
    FusedCase c = copyCase(type, {1, 0}, {50, 35});
    for (int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33})
      c.moreSizes.push_back({n, 40 - n});
    c.moreSizes.push_back({128, 64});
    c.moreSizes.push_back({300, 260});
    c.moreSizes.push_back({5, 20000}); // strips of fewer lanes than any level's
    c.moreSizes.push_back({20000, 5});
    c.maySpill = true;
    check(c);
  }
  check(copyCase("f32", {1, 0}, {64, 32}));
}

// [B, S, H, D] to [B, H, S, D] and to [B, H, D, S].
TEST(Fused, HeadPermutations) {
  FusedCase heads = copyCase("f32", {0, 2, 1, 3}, {2, 4, 9, 32});
  heads.moreSizes = {{1, 12, 33, 20}, {2, 12, 128, 64}};
  heads.maySpill = true;
  check(heads);
  FusedCase keys = copyCase("f32", {0, 3, 1, 2}, {2, 4, 32, 21});
  keys.moreSizes = {{1, 12, 32, 64}, {2, 3, 20, 7}};
  keys.maySpill = true;
  check(keys);
}

// Other widths have no register transpose: lane by lane.
TEST(Fused, TransposesOfOtherTypes) {
  for (const char *type : {"f16", "bf16", "i64", "i8", "bool", "f64", "u8"}) {
    FusedCase c = copyCase(type, {1, 0}, {21, 19});
    c.moreSizes = {{16, 16}, {3, 50}};
    check(c);
  }
}

// A transposed operand beside straight, broadcast and per-row ones.
TEST(Fused, TransposedOperandInABody) {
  FusedCase c;
  c.body = R"(^bb0(%a: f32, %b: f32, %c: f32, %d: f32):
    %0 = arith.addf %a, %b : f32
    %1 = arith.addf %0, %c : f32
    %r = arith.mulf %1, %d : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {1, 0}}, {"f32", {0, 1}}, {"f32", {0}}, {"f32", {1}}};
  c.results = {{"f32", {0, 1}}};
  c.sizes = {35, 50};
  c.moreSizes = {{16, 16}, {7, 100}, {100, 7}};
  c.point = [](const Point &in, const At &) -> Point {
    return {(in[0] + in[1] + in[2]) * in[3]};
  };
  c.tolerance = 1e-6;
  check(c);
}

// Slices with steps, backwards too, and results with gaps (a concatenation).
TEST(Fused, Strides) {
  for (int64_t step : {2, 3, -1, -2}) {
    FusedCase c = copyCase("f32", {0, 1}, {3, 37});
    c.inputs[0].step = step;
    c.results[0].gap = 11;
    c.moreSizes = {{4, 16}, {2, 5}};
    check(c);
    std::swap(c.inputs, c.results); // scattered writes
    check(c);
  }
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

// Sums in registers, along the lanes and across them.
TEST(Fused, ReduceInstructions) {
  for (bool inner : {false, true}) {
    FusedCase c = sumCase({64, 512}, {!inner, inner});
    EXPECT_EQ("", checkAllLoops(check(c), {"vaddps"}));
    c.combines = {Combine::Max};
    EXPECT_EQ("", checkAllLoops(check(c), {"vmaxps"}));
  }
}

TEST(Fused, ReduceInner) {
  FusedCase c = sumCase({5, 100}, {false, true});
  for (int64_t n = 0; n <= 33; ++n)
    c.moreSizes.push_back({2, n});
  c.moreSizes.push_back({1000, 70});
  c.moreSizes.push_back({3, 5000});
  check(c);
  for (int64_t n : {1, 15, 16, 17, 48, 64, 71, 80, 384})
    check(sumCase({3, n}, {false, true}));
}

TEST(Fused, ReduceOuterMiddleAndSeveral) {
  FusedCase outer = sumCase({20, 75}, {true, false});
  outer.moreSizes = {{0, 5}, {7, 1}, {300, 2000}};
  check(outer);
  FusedCase middle = sumCase({3, 21, 75}, {false, true, false});
  middle.moreSizes = {{2, 1, 16}, {1, 128, 384}, {2, 5, 7}};
  check(middle);
  FusedCase ends = sumCase({9, 4, 35}, {true, false, true});
  ends.moreSizes = {{2, 3, 130}};
  check(ends);
  FusedCase all = sumCase({9, 4, 35}, {true, true, true});
  all.moreSizes = {{1, 1, 1}, {0, 3, 3}};
  check(all);
  FusedCase across = sumCase({3, 5, 4, 40}, {false, true, true, false});
  check(across);
}

TEST(Fused, ReduceKindsAndTypes) {
  struct Kind {
    std::string type, scalar;
    Combine combine;
  };
  std::vector<Kind> kinds = {
      {"f32", "f32", Combine::Max},       {"f32", "f32", Combine::Min},
      {"f32", "f32", Combine::Prod},      {"i64", "i64", Combine::Sum},
      {"i64", "i64", Combine::Max},       {"i32", "i32", Combine::Min},
      {"i32", "i32", Combine::Sum},       {"bool", "i1", Combine::Max},
      {"bool", "i1", Combine::Min},       {"f64", "f64", Combine::Sum},
      {"u8", "i8", Combine::MaxUnsigned}, {"u8", "i8", Combine::MinUnsigned},
      {"i8", "i8", Combine::Max},
  };
  for (const Kind &kind : kinds)
    for (bool inner : {false, true}) {
      SCOPED_TRACE(kind.type + " kind " + std::to_string(int(kind.combine)));
      FusedCase c = sumCase({23, 23}, {!inner, inner});
      c.body = identity(kind.scalar);
      c.inputs[0].type = c.results[0].type = kind.type;
      c.combines = {kind.combine};
      c.tolerance = kind.combine == Combine::Prod ? 1e-4 : 1e-12;
      c.maySpill = true;
      check(c);
    }
}

// f16 sums are kept in f32: 2048 ones and more are lost in f16.
TEST(Fused, ShortFloatSums) {
  for (bool inner : {false, true}) {
    FusedCase c =
        sumCase({inner ? 3 : 3000, inner ? 3000 : 3}, {!inner, inner});
    c.body = unary("f16", "%r = arith.constant 1.0 : f16", "f16");
    c.inputs[0].type = c.results[0].type = "f16";
    c.point = [](const Point &, const At &) -> Point { return {1}; };
    c.tolerance = 0;
    check(c);
  }
}

// Mean pooling as sentence encoders do it: sum(x * m) / max(sum(m), 1e-9).
TEST(Fused, MaskedMean) {
  FusedCase c;
  c.body = R"(^bb0(%x: f32, %m: i1):
    %w = arith.uitofp %m : i1 to f32
    %p = arith.mulf %x, %w : f32
    "test.yield"(%p, %w) : (f32, f32) -> ())";
  c.finish = R"(^bb0(%s: f32, %n: f32):
    %least = arith.constant 1.0e-9 : f32
    %d = arith.maximumf %n, %least : f32
    %r = arith.divf %s, %d : f32
    "test.yield"(%r) : (f32) -> ())";
  c.inputs = {{"f32", {0, 1, 2}}, {"bool", {0, 1}}};
  c.results = {{"f32", {0, 2}}};
  c.sizes = {3, 20, 75};
  c.moreSizes = {{1, 1, 384}, {2, 128, 384}};
  c.reduction = {false, true, false};
  c.combines = {Combine::Sum, Combine::Sum};
  c.point = [](const Point &in, const At &) -> Point {
    return {in[0] * in[1], in[1]};
  };
  c.end = [](const Point &s, const Point &) -> Point {
    return {s[0] / std::max(s[1], 1e-9)};
  };
  c.tolerance = 1e-5;
  check(c);
}

// A finish that reads an input and has two results.
TEST(Fused, FinishWithInputs) {
  for (bool inner : {false, true}) {
    FusedCase c;
    c.body = R"(^bb0(%x: f32, %b: f32):
      %r = arith.mulf %x, %x : f32
      "test.yield"(%r) : (f32) -> ())";
    c.finish = R"(^bb0(%s: f32, %x: f32, %b: f32):
      %f = arith.constant 29.0 : f32
      %m = arith.divf %s, %f : f32
      %q = math.sqrt %m : f32
      %r = arith.addf %q, %b : f32
      "test.yield"(%r, %m) : (f32, f32) -> ())";
    unsigned kept = inner ? 0 : 1;
    c.inputs = {{"f32", {0, 1}}, {"f32", {kept}}};
    c.results = {{"f32", {kept}}, {"f16", {kept}}};
    c.sizes = {29, 29};
    c.reduction = {!inner, inner};
    c.combines = {Combine::Sum};
    c.point = [](const Point &in, const At &) -> Point {
      return {in[0] * in[0]};
    };
    c.end = [](const Point &s, const Point &in) -> Point {
      return {std::sqrt(s[0] / 29) + in[1], s[0] / 29};
    };
    c.tolerance = 2e-3; // one f16
    check(c);
  }
}

// NaN is the maximum of anything with a NaN.
TEST(Fused, MaximumKeepsNaN) {
  for (bool inner : {false, true}) {
    FusedCase c = sumCase({19, 19}, {!inner, inner});
    c.combines = {Combine::Max};
    c.body = unary("f32", R"(%z = arith.constant 1.9 : f32
      %nan = arith.constant 0x7FC00000 : f32
      %big = arith.cmpf ogt, %a, %z : f32
      %r = arith.select %big, %nan, %a : f32)",
                   "f32");
    c.point = [](const Point &in, const At &) -> Point {
      return {in[0] > 1.9f ? NAN : in[0]};
    };
    check(c);
  }
}

// Rows of a batch do not see each other, nor how long the batch is.
TEST(Fused, BitsDoNotDependOnCompany) {
  for (const std::string &level : hostLevels()) {
    KernelJit jit(
        level,
        [](mlir::MLIRContext &context) {
          auto f32 = mlir::Float32Type::get(&context);
          int64_t any = mlir::ShapedType::kDynamic;
          return KernelLayout{{strided(f32, {any, any}, {any, 1}),
                               strided(f32, {any, 1}, {1, 0})}};
        },
        [](KernelBuilder &kb) {
          ParsedBlock body = parseBlock(*kb.getContext(), identity("f32"));
          FusedSpec spec;
          spec.loops = inferFusedLoops(kb.layout(), {false, true});
          spec.numInputs = 1;
          spec.body = body.block;
          spec.combines = {Combine::Sum};
          return emitFused(kb, spec);
        });
    ASSERT_TRUE(jit.ok()) << jit.error();
    std::vector<float> x = randomFloats(300 * 777, 3), many(300), one(1);
    jit.run({{x.data(), {300, 777}}, {many.data(), {300, 1}, {1, 0}}});
    for (int64_t r : {0, 1, 150, 299}) {
      jit.run({{&x[r * 777], {1, 777}}, {one.data(), {1, 1}, {1, 0}}});
      EXPECT_EQ(one[0], many[r]);
    }
    // Zeros behind a row change nothing.
    std::vector<float> padded(1000, 0.0f);
    std::copy_n(x.begin(), 777, padded.begin());
    jit.run({{padded.data(), {1, 1000}}, {one.data(), {1, 1}, {1, 0}}});
    EXPECT_EQ(one[0], many[0]);
  }
}

} // namespace
