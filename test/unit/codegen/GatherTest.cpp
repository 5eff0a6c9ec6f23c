//===- GatherTest.cpp - Kernels that move elements by index ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitGather.h"
#include "test/unit/codegen/FusedCase.h"

#include <cstring>
#include <map>

using namespace ferrite;
using namespace ferrite::cpu;
using namespace ferrite::test;
using mlir::ShapedType;
using Shape = std::vector<int64_t>;

namespace {

int64_t countOf(const Shape &shape) {
  int64_t n = 1;
  for (int64_t d : shape)
    n *= d;
  return n;
}

/// Contiguous operands of given types; all sizes dynamic but those set.
KernelLayout layoutOf(mlir::MLIRContext &context,
                      const std::vector<std::string> &types,
                      const std::vector<Shape> &shapes) {
  KernelLayout layout;
  for (size_t i = 0; i < types.size(); ++i)
    layout.operands.push_back(
        contiguous(elementType(context, types[i]), shapes[i]));
  return layout;
}

Shape dynamicBut(Shape shape, std::vector<unsigned> kept) {
  for (unsigned d = 0; d < shape.size(); ++d)
    if (!llvm::is_contained(kept, d))
      shape[d] = ShapedType::kDynamic;
  return shape;
}

/// Any index from 2 below the range to 2 above.
void fillIndices(Elements &indices, int64_t size, uint32_t seed) {
  std::vector<float> values = randomFloats(indices.size(), seed);
  for (size_t i = 0; i < indices.size(); ++i)
    indices.set(i, int64_t(values[i] * (size + 2)));
}

int64_t good(int64_t index, int64_t size) {
  if (index < 0)
    index += size;
  return std::max<int64_t>(0, std::min(index, size - 1));
}

/// Runs whole and in pieces, and compares all of the result and its margin.
void compare(const KernelJit &jit, Elements &data, const Shape &dataShape,
             Elements &indices, const Shape &indexShape,
             const std::string &type, const Shape &shape,
             const std::function<int64_t(int64_t)> &source) {
  size_t count = countOf(shape);
  Elements result(type, count + 70);
  result.fill(99);
  Elements wanted = result;
  for (size_t i = 0; i < count; ++i)
    wanted.set(i, data.get(source(i)));
  std::vector<JitTensor> tensors = {{data.data(), dataShape},
                                    {indices.data(), indexShape},
                                    {result.data(), shape}};
  jit.run(tensors);
  EXPECT_TRUE(result == wanted) << type << " " << count;
  result.fill(99);
  jit.runSplit(tensors, std::max<int64_t>(1, jit.units(tensors)));
  EXPECT_TRUE(result == wanted) << "in pieces, " << type << " " << count;
}

void checkSlices(const std::string &type, const std::string &indexType,
                 const std::vector<Shape> &shapes, bool dynamic) {
  // A shape is O, A, I, n.
  for (const std::string &level : hostLevels()) {
    const Shape &s = shapes[0];
    KernelJit jit(
        level,
        [&](mlir::MLIRContext &context) {
          std::vector<Shape> all = {
              {s[0], s[1], s[2]}, {s[3]}, {s[0], s[3], s[2]}};
          if (dynamic)
            for (Shape &shape : all)
              shape = dynamicBut(shape, {});
          return layoutOf(context, {type, indexType, type}, all);
        },
        [](KernelBuilder &kb) { return emitGather(kb, {}); },
        /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
    // Long rows move in whole registers.
    if (!dynamic && type == "f32" && s[2] >= 384) {
      bool wide = findCpuLevel(level)->isAvx512();
      EXPECT_EQ("", checkAllLoops(jit.assembly(), {wide ? "%zmm" : "%ymm"}));
    }
    for (const Shape &shape : shapes) {
      int64_t o = shape[0], a = shape[1], i = shape[2], n = shape[3];
      Elements data(type, o * a * i), indices(indexType, n);
      data.fill(5);
      fillIndices(indices, a, 7);
      compare(jit, data, {o, a, i}, indices, {n}, type, {o, n, i},
              [&](int64_t at) {
                int64_t index = good(indices.get(at / i % n), a);
                return (at / i / n * a + index) * i + at % i;
              });
      if (!dynamic)
        return;
    }
  }
}

// Rows of every length: whole registers, overlapping ones, single elements.
TEST(Gather, SlicesOfEveryLength) {
  std::vector<Shape> shapes;
  for (int64_t i = 1; i <= 33; ++i)
    shapes.push_back({1, 11, i, 13});
  for (int64_t i : {64, 100, 127, 128, 384, 20000})
    shapes.push_back({2, 9, i, 8});
  shapes.push_back({3, 50, 1, 9000});
  shapes.push_back({1, 10, 7, 0});
  for (const char *type : {"f32", "f16", "i64", "i8", "bool"})
    checkSlices(type, "i64", shapes, true);
  checkSlices("f32", "i32", shapes, true);
}

TEST(Gather, SlicesOfStaticLength) {
  for (int64_t i : {1, 3, 15, 16, 20, 32, 48, 64, 80, 100, 384, 40000})
    for (const char *type : {"f32", "u8", "f64"})
      checkSlices(type, "i64", {{2, 9, i, 5}}, false);
}

TEST(Gather, ElementsAlongEachAxis) {
  for (const std::string &level : hostLevels())
    for (unsigned axis : {0u, 1u, 2u}) {
      GatherSpec spec;
      spec.kind = GatherKind::Elements;
      spec.axis = axis;
      KernelJit jit(
          level,
          [&](mlir::MLIRContext &context) {
            Shape any(3, ShapedType::kDynamic);
            return layoutOf(context, {"f32", "i64", "f32"}, {any, any, any});
          },
          [&](KernelBuilder &kb) { return emitGather(kb, spec); },
          /*keepAssembly=*/true);
      ASSERT_TRUE(jit.ok()) << jit.error();
      EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
      for (const Shape &shape : {Shape{4, 6, 9}, {1, 1, 1}, {3, 70, 40}}) {
        Shape data = {4, 70, 40}; // larger than the indices in all dims
        Elements values("f32", countOf(data));
        Elements indices("i64", countOf(shape));
        values.fill(3);
        fillIndices(indices, data[axis], 21);
        compare(jit, values, data, indices, shape, "f32", shape,
                [&](int64_t i) {
                  Shape at = {i / shape[2] / shape[1], i / shape[2] % shape[1],
                              i % shape[2]};
                  at[axis] = good(indices.get(i), data[axis]);
                  return (at[0] * data[1] + at[1]) * data[2] + at[2];
                });
      }
    }
}

TEST(Gather, Tuples) {
  for (const std::string &level : hostLevels()) {
    GatherSpec spec;
    spec.kind = GatherKind::Tuples;
    KernelJit jit(
        level,
        [&](mlir::MLIRContext &context) {
          Shape any(3, ShapedType::kDynamic), two(2, ShapedType::kDynamic);
          return layoutOf(context, {"f32", "i64", "f32"},
                          {any, {ShapedType::kDynamic, 2}, two});
        },
        [&](KernelBuilder &kb) { return emitGather(kb, spec); },
        /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
    for (int64_t i : {1, 17, 64, 90})
      for (int64_t n : {1, 40, 1000}) {
        Elements data("f32", 5 * 5 * i), indices("i64", n * 2);
        data.fill(4);
        fillIndices(indices, 5, 8);
        compare(jit, data, {5, 5, i}, indices, {n, 2}, "f32", {n, i},
                [&](int64_t at) {
                  int64_t j = at / i;
                  return (good(indices.get(2 * j), 5) * 5 +
                          good(indices.get(2 * j + 1), 5)) *
                             i +
                         at % i;
                });
      }
  }
}

TEST(Gather, WrongLayoutsAreErrors) {
  auto errorOf = [](const std::vector<std::string> &types,
                    const std::vector<Shape> &shapes) {
    KernelJit jit(
        hostLevels().front(),
        [&](mlir::MLIRContext &context) {
          return layoutOf(context, types, shapes);
        },
        [](KernelBuilder &kb) { return emitGather(kb, {}); });
    EXPECT_FALSE(jit.ok());
    return jit.error();
  };
  std::vector<Shape> right = {{2, 3, 4}, {5}, {2, 5, 4}};
  EXPECT_NE(errorOf({"f32", "f32", "f32"}, right).find("indices of 32 or 64"),
            std::string::npos);
  EXPECT_NE(errorOf({"f32", "i64", "i64"}, right).find("one element type"),
            std::string::npos);
  EXPECT_NE(errorOf({"f32", "i64", "f32"}, {{2, 3}, {5}, {2, 5}}).find("ranks"),
            std::string::npos);
}

//===----------------------------------------------------------------------===//
// Running sums
//===----------------------------------------------------------------------===//

void checkScan(const std::string &type, ScanSpec spec, bool dynamicInner,
               const std::vector<Shape> &shapes) {
  std::map<Shape, int64_t> lowestUnits;
  for (const std::string &level : hostLevels()) {
    KernelJit jit(
        level,
        [&](mlir::MLIRContext &context) {
          Shape shape =
              dynamicBut(shapes[0], dynamicInner ? std::vector<unsigned>{}
                                                 : std::vector<unsigned>{2});
          return layoutOf(context, {type, type}, {shape, shape});
        },
        [&](KernelBuilder &kb) { return emitScan(kb, spec); },
        /*keepAssembly=*/true);
    ASSERT_TRUE(jit.ok()) << jit.error();
    EXPECT_EQ("", checkInnerLoops(jit.assembly(), /*all=*/true));
    for (const Shape &shape : shapes) {
      int64_t o = shape[0], a = shape[1], n = shape[2];
      Elements input(type, o * a * n), result(type, o * a * n + 40);
      input.fill(11);
      result.fill(12);
      Elements wanted = result;
      for (int64_t i = 0; i < o; ++i)
        for (int64_t k = 0; k < n; ++k) {
          double sum = 0;
          for (int64_t step = 0; step < a; ++step) {
            int64_t j = spec.reverse ? a - 1 - step : step;
            int64_t at = (i * a + j) * n + k;
            double next = sum + input.get(at);
            if (type == "f32" || type == "f16")
              next = float(next);
            wanted.set(at, spec.exclusive ? sum : next);
            sum = next;
          }
        }
      std::vector<JitTensor> tensors = {{input.data(), shape},
                                        {result.data(), shape}};
      jit.run(tensors);
      EXPECT_TRUE(result == wanted) << type;
      int64_t units = jit.units(tensors);
      jit.runSplit(tensors, std::max<int64_t>(1, units));
      EXPECT_TRUE(result == wanted) << type << " in pieces";
      // The lowest level, which comes first, counts the units of all.
      EXPECT_LE(units, lowestUnits.try_emplace(shape, units).first->second);
    }
  }
}

TEST(Scan, EachDirectionAndType) {
  for (const char *type : {"i64", "i32", "f32", "f16"})
    for (bool exclusive : {false, true})
      for (bool reverse : {false, true}) {
        ScanSpec spec = {exclusive, reverse};
        checkScan(type, spec, false, {{3, 40, 1}, {1, 1, 1}, {100, 128, 1}});
        checkScan(type, spec, true,
                  {{2, 7, 37}, {1, 5, 1}, {2, 0, 4}, {1, 20, 200}});
      }
  checkScan("f32", {}, false, {{2, 5, 32}, {7, 3, 32}});
  checkScan("f32", {}, true, {{200, 50, 8}, {200, 50, 3}});
}

} // namespace
