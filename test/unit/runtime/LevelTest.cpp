//===- LevelTest.cpp - The code for this CPU, and the weights ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Loading.h"

using namespace ferrite::test;

namespace {

// The best usable level is the default: the first, "future", is not usable.
TEST_F(Loading, ChoosesALevel) {
  unsetenv("FERRITE_CPU");
  std::string path = library("model-good");
  auto levelOf = [&](const FerriteModelOptions *options) -> std::string {
    FerriteModel *model = nullptr;
    FerriteError error = {};
    if (ferriteModelLoadFile(path.c_str(), options, &model, &error))
      return error.message;
    std::string level = ferriteModelLevel(model);
    EXPECT_EQ(3u, ferriteModelLevelCount(model));
    EXPECT_STREQ("future", ferriteModelLevelName(model, 0));
    EXPECT_EQ(nullptr, ferriteModelLevelName(model, 3));
    EXPECT_EQ(0, ferriteModelLevelUsable(model, 0));
    EXPECT_EQ(1, ferriteModelLevelUsable(model, 1));
    EXPECT_NE(nullptr, ferriteModelKernel(model, 0));
    EXPECT_EQ(nullptr, ferriteModelKernel(model, 1));
    ferriteModelRelease(model);
    return level;
  };
  EXPECT_EQ("generic", levelOf(nullptr));
  FerriteModelOptions options = {};
  options.size = sizeof options;
  options.level = "generic";
  {
    Environment forced("FERRITE_CPU", "slow");
    EXPECT_EQ("slow", levelOf(nullptr));
    EXPECT_EQ("generic", levelOf(&options)) << "options go first";
  }
  {
    Environment forced("FERRITE_CPU", "");
    EXPECT_EQ("generic", levelOf(nullptr));
  }
  {
    Environment forced("FERRITE_CPU", "future");
    EXPECT_EQ("FERRITE_CPU is 'future', but this CPU or operating system "
              "lacks: feature 63",
              levelOf(nullptr));
  }
  Environment forced("FERRITE_CPU", "avx1024");
  EXPECT_EQ("FERRITE_CPU is 'avx1024', but '" + path +
                "' has code for: future, generic, slow",
            levelOf(nullptr));
  options.level = "quick";
  EXPECT_EQ("the option level is 'quick', but '" + path +
                "' has code for: future, generic, slow",
            levelOf(&options));
}

TEST_F(Loading, SaysWhenNoLevelIsUsable) {
  unsetenv("FERRITE_CPU");
  FakeModel m;
  m.levels = {{"future", UINT64_C(1) << 63, nullptr}};
  FerriteModel *model = nullptr;
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INCOMPATIBLE,
            ferriteModelOpen(&m.link(), nullptr, &model, &error));
  EXPECT_EQ(0u, std::string(error.message)
                    .find("the linked model has code for future, and this CPU "
                          "has features: "));
}

// What CPUID says and what the compiler's own detection says must agree.
TEST_F(Loading, DetectsFeatures) {
#if defined(__x86_64__)
  uint64_t features = ferriteCpuFeatures();
  __builtin_cpu_init();
  EXPECT_EQ(bool(features & FERRITE_CPU_AVX2),
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2"));
  EXPECT_EQ(bool(features & FERRITE_CPU_AVX512),
            __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512cd"));
  EXPECT_EQ(bool(features & FERRITE_CPU_AVX512_VNNI),
            bool(__builtin_cpu_supports("avx512vnni")));
  EXPECT_EQ(bool(features & FERRITE_CPU_AVX512_BF16),
            bool(__builtin_cpu_supports("avx512bf16")));
#else
  EXPECT_EQ(0u, ferriteCpuFeatures());
#endif
}

class Weights : public Loading {
protected:
  static std::string floats(float a, float b) {
    float values[] = {a, b};
    return std::string(reinterpret_cast<const char *>(values), sizeof values);
  }
};

TEST_F(Weights, MapsTheFileBesideTheArtifact) {
  std::string path = write("m.so", readFile(library("model-weights")));
  EXPECT_EQ("cannot open the weights 'test.weights' of 'm.so': No such file or "
            "directory",
            refused(path, FERRITE_NOT_FOUND));
  std::string file = write("test.weights", floats(100, 0.5f));
  FerriteModel *model = nullptr;
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), nullptr, &model, &error))
      << error.message;
  EXPECT_EQ(1.5f, addOne(model, 1));
  EXPECT_EQ(file, ferriteModelWeightsPath(model));
  ferriteModelRelease(model);
  write("test.weights", "1234567");
  EXPECT_EQ("the weights 'test.weights' of 'm.so' have 7 bytes, expected 8: "
            "they are truncated or of another compile",
            refused(path, FERRITE_INCOMPATIBLE));
}

TEST_F(Weights, TakesAPathFromTheOptions) {
  std::string artifact = readFile(library("model-weights"));
  std::string file = write("elsewhere", floats(7, 0.25f));
  FerriteModelOptions options = {};
  options.size = sizeof options;
  options.weights_path = file.c_str();
  FerriteModel *model = nullptr;
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK, ferriteModelLoadMemory(artifact.data(), artifact.size(),
                                               &options, &model, &error))
      << error.message;
  EXPECT_EQ(1.25f, addOne(model, 1));
  ferriteModelRelease(model);
}

// Weights of the right size from another compile give plausible nonsense.
TEST_F(Weights, VerifiesTheHashOnRequest) {
  std::string path = write("m.so", readFile(library("model-weights")));
  write("test.weights", floats(100, 0.5f));
  FerriteModelOptions options = {};
  options.size = sizeof options;
  options.verify_weights = 1;
  FerriteModel *model = nullptr;
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), &options, &model, &error))
      << error.message;
  ferriteModelRelease(model);

  write("test.weights", floats(100, 0.75f));
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), nullptr, &model, nullptr));
  ferriteModelRelease(model);
  EXPECT_EQ(0u, refused(path, FERRITE_INCOMPATIBLE, &options)
                    .find("the weights 'test.weights' have the hash "));
  Environment forced("FERRITE_VERIFY_WEIGHTS", "1");
  EXPECT_EQ(0u, refused(path, FERRITE_INCOMPATIBLE)
                    .find("the weights 'test.weights' have the hash "));
}

} // namespace
