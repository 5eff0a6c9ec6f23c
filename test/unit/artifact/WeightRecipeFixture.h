//===- WeightRecipeFixture.h - Recipes run on made-up files ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each case writes a file of plain elements, runs a recipe as the select phase
// prints it, and compares every element of the result, padding included, with
// what the recipe's words say.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_ARTIFACT_WEIGHTRECIPEFIXTURE_H
#define FERRITE_TEST_UNIT_ARTIFACT_WEIGHTRECIPEFIXTURE_H

#include "lib/Artifact/WeightRecipe.h"
#include "lib/Support/PanelLayout.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

#include <cstring>

namespace ferrite::test {
using namespace mlir;

/// Values that f16, bf16 and all wider types hold exactly; no two neighbours
/// equal.
inline double valueAt(int64_t i) { return (i * 37 % 251 - 125) * 0.5; }

class WeightRecipeFixture : public testing::Test {
protected:
  WeightRecipeFixture() {
    context.loadDialect<plan::PlanDialect>();
    EXPECT_FALSE(
        llvm::sys::fs::createUniqueDirectory("ferrite-weights", folder));
  }
  ~WeightRecipeFixture() override { llvm::sys::fs::remove_directories(folder); }

  void writeFile(StringRef name, StringRef bytes) {
    SmallString<128> path(folder);
    llvm::sys::path::append(path, name);
    std::error_code error;
    llvm::raw_fd_ostream stream(path, error);
    ASSERT_FALSE(error);
    stream << bytes;
  }

  /// `count` elements from valueAt(first) on.
  std::string elements(StringRef type, int64_t count, int64_t first = 0) {
    std::string bytes;
    for (int64_t i = first; i < first + count; ++i) {
      double value = valueAt(i);
      if (type == "f64") {
        bytes.append(reinterpret_cast<const char *>(&value), 8);
      } else if (type == "f32") {
        float single = value;
        bytes.append(reinterpret_cast<const char *>(&single), 4);
      } else if (type == "i64") {
        int64_t integer = i;
        bytes.append(reinterpret_cast<const char *>(&integer), 8);
      } else {
        uint16_t bits = halfBits(type, value);
        bytes.append(reinterpret_cast<const char *>(&bits), 2);
      }
    }
    return bytes;
  }

  static uint16_t halfBits(StringRef type, double value) {
    llvm::APFloat number(value);
    bool lossy;
    number.convert(type == "bf16" ? llvm::APFloat::BFloat()
                                  : llvm::APFloat::IEEEhalf(),
                   llvm::APFloat::rmNearestTiesToEven, &lossy);
    return number.bitcastToAPInt().getZExtValue();
  }

  /// Runs the recipes of `text`; what diagnostics said goes to `errors`.
  bool run(StringRef text, unsigned threads = 1) {
    errors.clear();
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      errors += diagnostic.str() + "\n";
      return success();
    });
    module = parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module)
      return false;
    ModelFolder model(folder);
    out.assign(weightBytes(*module), 0);
    return succeeded(writeWeights(*module, model, out.data(), threads));
  }

  template <typename T>
  T get(int64_t element, int64_t offset = 0) {
    T value;
    EXPECT_LE(offset + (element + 1) * sizeof value, out.size());
    std::memcpy(&value, out.data() + offset + element * sizeof value,
                sizeof value);
    return value;
  }

  /// Panels of f32 at the beginning: `value(k, n)` everywhere, zeros as
  /// padding.
  void expectPanels(int64_t depth, int64_t columns,
                    llvm::function_ref<double(int64_t k, int64_t n)> value) {
    PanelLayout layout{depth, columns};
    ASSERT_EQ(out.size(), static_cast<size_t>(layout.elements() * 4));
    std::vector<double> expected(layout.elements(), 0);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t n = 0; n < columns; ++n)
        expected[layout.offset(k, n)] = value(k, n);
    for (int64_t i = 0; i < layout.elements(); ++i)
      ASSERT_EQ(get<float>(i), expected[i]) << "element " << i;
  }

  MLIRContext context;
  SmallString<128> folder;
  OwningOpRef<ModuleOp> module;
  std::vector<char> out;
  std::string errors;
};
} // namespace ferrite::test

#endif // FERRITE_TEST_UNIT_ARTIFACT_WEIGHTRECIPEFIXTURE_H
