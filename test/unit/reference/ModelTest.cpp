//===- ModelTest.cpp - Whole models against PyTorch -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The outputs of test/e2e, computed by PyTorch, against the evaluator: of the
// module as imported, and after fusion, whose every op it also knows.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Import.h"
#include "lib/Pipelines/Pipelines.h"
#include "lib/Reference/Evaluator.h"
#include "npz/Npz.h"

#include "llvm/Support/Path.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
struct ModelCase {
  const char *model, *npz;
  double limit; ///< relative L2 error
};

class ModelTest : public testing::TestWithParam<ModelCase> {
protected:
  ModelTest() {
    registry.insert<FerriteDialect, func::FuncDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  void check(ModuleOp module, cli::NpzReader &npz) {
    auto func = *module.getOps<func::FuncOp>().begin();
    std::vector<cli::Array> arrays;
    SmallVector<Tensor> inputs, outputs;
    for (unsigned i = 0; i < func.getNumArguments(); ++i) {
      auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
      arrays.push_back(npz.read("in." + name.str()));
      auto type = cast<RankedTensorType>(func.getArgumentTypes()[i]);
      inputs.push_back(
          Tensor::borrow(*kindOf(type.getElementType()),
                         ArrayRef(arrays.back().shape, arrays.back().rank),
                         arrays.back().data.get()));
    }
    ModelFolder folder(FERRITE_TEST_FOLDER "/models");
    auto observe = [](Value, const Tensor &) { return success(); };
    ASSERT_TRUE(succeeded(evaluate(func, inputs, folder, observe, outputs, 2)));
    for (auto [i, output] : llvm::enumerate(outputs)) {
      auto name = func.getResultAttrOfType<StringAttr>(i, kNameAttr);
      if (!npz.contains("out." + name.str()))
        continue;
      cli::Array expected = npz.read("out." + name.str());
      ASSERT_EQ(output.shape(), ArrayRef(expected.shape, expected.rank));
      auto *values = static_cast<const float *>(expected.data.get());
      double error = 0, size = 0;
      for (int64_t j = 0; j < output.count(); ++j) {
        error += std::pow(output.number(j) - values[j], 2);
        size += std::pow(values[j], 2);
      }
      EXPECT_LE(std::sqrt(error / size), GetParam().limit) << name.str();
      RecordProperty(name.str(), std::to_string(std::sqrt(error / size)));
      printf("  %-24s relative L2 %.2e\n", name.str().c_str(),
             std::sqrt(error / size));
      ++compared;
    }
  }

  DialectRegistry registry;
  MLIRContext context;
  int compared = 0;
};
} // namespace

TEST_P(ModelTest, AsImportedAndFused) {
  std::string path =
      FERRITE_TEST_FOLDER "/models/" + std::string(GetParam().model) + ".onnx";
  auto module = importOnnxModel(&context, path);
  ASSERT_TRUE(succeeded(module));
  cli::NpzReader npz(FERRITE_TEST_FOLDER "/e2e/" + std::string(GetParam().npz) +
                     ".npz");
  check(**module, npz);
  PassManager pm(&context);
  buildPipeline(Phase::Normalize, pm);
  buildPipeline(Phase::Fuse, pm);
  ASSERT_TRUE(succeeded(pm.run(**module)));
  check(**module, npz);
  EXPECT_GE(compared, 2);
}

// PyTorch's f32 sums are 1e-7 to 1e-6 off themselves; of f16 and bf16 models
// each value is rounded, where the reference outputs are not.
INSTANTIATE_TEST_SUITE_P(
    Models, ModelTest,
    testing::Values(
        ModelCase{"bert.dynamo-20-sdpa", "bert.b1-s9", 2e-6},
        ModelCase{"bert.dynamo-20-sdpa", "bert.b3-s16-right", 2e-6},
        ModelCase{"bert.torchscript-11-eager", "bert.b4-s37-left", 2e-6},
        ModelCase{"bert.torchscript-17-eager", "bert.b3-s16-right", 2e-6},
        ModelCase{"roberta.dynamo-20-sdpa", "roberta.b3-s16-right", 2e-6},
        ModelCase{"distilbert.torchscript-17-sdpa", "distilbert.b4-s37-left",
                  2e-6},
        ModelCase{"vit.dynamo-20-sdpa", "vit.b2", 2e-6},
        ModelCase{"bert-f16.dynamo-20-sdpa", "bert-f16.b3-s16-right", 2e-3},
        ModelCase{"bert-bf16.dynamo-20-sdpa", "bert-bf16.b3-s16-right", 2e-2}),
    [](const auto &info) {
      std::string name = std::string(info.param.model) + "_" + info.param.npz;
      for (char &c : name)
        c = llvm::isAlnum(c) ? c : '_';
      return name;
    });
