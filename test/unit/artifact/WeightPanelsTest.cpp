//===- WeightPanelsTest.cpp - The layout that products read
//----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "WeightRecipeFixture.h"

using namespace ferrite;
using namespace ferrite::test;
using namespace mlir;

namespace {
class WeightPanels : public WeightRecipeFixture {};
} // namespace

// Less than a panel, panels that end at, before and behind a boundary.
TEST_F(WeightPanels, PanelsOfEveryWidth) {
  for (int64_t columns : {1, 15, 16, 17, 64, 65, 100, 128, 200}) {
    SCOPED_TRACE(columns);
    const int64_t depth = 7;
    writeFile("m", elements("f32", depth * columns));
    std::string n = std::to_string(columns),
                bytes =
                    std::to_string(PanelLayout{depth, columns}.elements() * 4);
    ASSERT_TRUE(run("plan.weight @w panels \"w\" [#ferrite.source<\"m\", "
                    "offset = 0, shape = [7, " +
                    n + "], type = f32>] offset = 0 bytes = " + bytes +
                    " : tensor<7x" + n + "xf32>"))
        << errors;
    expectPanels(depth, columns, [&](int64_t k, int64_t c) {
      return valueAt(k * columns + c);
    });
    // As PyTorch stores it: [N, K].
    ASSERT_TRUE(run(
        "plan.weight @w panels \"w\" [#ferrite.source<\"m\", offset = 0, shape "
        "= [" +
        n + ", 7], type = f32, perm = [1, 0]>] offset = 0 bytes = " + bytes +
        " : tensor<7x" + n + "xf32>"))
        << errors;
    expectPanels(depth, columns,
                 [&](int64_t k, int64_t c) { return valueAt(c * depth + k); });
  }
}

// Queries, keys and values side by side: panels within one source, and panels
// across two and three of them.
TEST_F(WeightPanels, PanelsOfConcatenatedSources) {
  writeFile("m", elements("f32", 5 * 300));
  ASSERT_TRUE(run(R"(plan.weight @w panels "q+k+v" [
      #ferrite.source<"m", offset = 0, shape = [5, 70], type = f32>,
      #ferrite.source<"m", offset = 1400, shape = [20, 5], type = f32, perm = [1, 0]>,
      #ferrite.source<"m", offset = 1800, shape = [5, 130], type = f32>]
      axis = 1 offset = 0 bytes = 4480 : tensor<5x220xf32>)"))
      << errors;
  expectPanels(5, 220, [](int64_t k, int64_t n) {
    return n < 70   ? valueAt(k * 70 + n)
           : n < 90 ? valueAt(350 + (n - 70) * 5 + k)
                    : valueAt(450 + k * 130 + n - 90);
  });
}

TEST_F(WeightPanels, PanelsOfSourcesBelowEachOther) {
  writeFile("m", elements("f32", 9 * 70));
  ASSERT_TRUE(run(R"(plan.weight @w panels "w" [
      #ferrite.source<"m", offset = 0, shape = [2, 70], type = f32>,
      #ferrite.source<"m", offset = 560, shape = [7, 70], type = f32>]
      offset = 0 bytes = 2880 : tensor<9x70xf32>)"))
      << errors;
  expectPanels(9, 70, [](int64_t k, int64_t n) { return valueAt(k * 70 + n); });
}

TEST_F(WeightPanels, PanelsConvert) {
  for (const char *type : {"f16", "bf16", "f64"}) {
    SCOPED_TRACE(type);
    writeFile("m", elements(type, 3 * 90));
    ASSERT_TRUE(run(
        (Twine(R"(plan.weight @w panels "w" [#ferrite.source<"m", offset = 0,
      shape = [90, 3], type = )") +
         type + R"(, perm = [1, 0]>]
      offset = 0 bytes = 1152 : tensor<3x90xf32>)")
            .str()))
        << errors;
    expectPanels(3, 90,
                 [](int64_t k, int64_t n) { return valueAt(n * 3 + k); });
  }
}

// Bytes in groups of four along k, with the sums of their columns; unsigned
// ones less 128.
TEST_F(WeightPanels, BytePanels) {
  const int64_t depth = 6, columns = 70;
  std::string bytes;
  for (int64_t i = 0; i < depth * columns; ++i)
    bytes.push_back(static_cast<char>(i * 37 % 251));
  writeFile("m", bytes);
  struct BytePanels panels(depth, columns);
  for (bool isUnsigned : {false, true})
    for (bool isTransposed : {false, true}) {
      std::string type = isUnsigned ? "ui8" : "i8";
      std::string shape = isTransposed
                              ? "[70, 6], type = " + type + ", perm = [1, 0]"
                              : "[6, 70], type = " + type;
      ASSERT_TRUE(run(
          "plan.weight @w byte_panels \"w\" "
          "[#ferrite.source<\"m\", offset = 0, shape = " +
          shape + ">] offset = 0 bytes = " + std::to_string(panels.bytes()) +
          " : tensor<6x70x" + type + ">"))
          << errors;
      for (int64_t n = 0; n < columns; ++n) {
        int32_t sum = 0;
        for (int64_t k = 0; k < depth; ++k) {
          char byte = bytes[isTransposed ? n * depth + k : k * columns + n];
          int value = isUnsigned ? static_cast<uint8_t>(byte) - 128
                                 : static_cast<int8_t>(byte);
          ASSERT_EQ(int(get<int8_t>(panels.layout.offset(k, n))), value);
          sum += value;
        }
        ASSERT_EQ(get<int32_t>(n, panels.sumsOffset()), sum);
      }
    }
}
