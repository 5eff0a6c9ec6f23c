//===- ModelTest.cpp - Loading, refusing and describing models ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdlib.h>
#include <thread>
#include <unistd.h>

using namespace ferrite::test;

namespace {

/// The libraries that CMakeLists.txt builds from TestModel.c.
std::string library(const char *name) {
  return std::string(FERRITE_TEST_MODELS) + "/" + name + ".so";
}

std::string readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// A folder of its own for each test, removed after it.
class Loading : public ::testing::Test {
protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() / "ferrite-XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(folder.data()));
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string write(const char *name, const std::string &bytes) {
    std::string path = folder + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  /// The message of a load that must fail.
  std::string refused(const std::string &path, FerriteStatus status,
                      const FerriteModelOptions *options = nullptr) {
    FerriteError error = {};
    FerriteModel *model = reinterpret_cast<FerriteModel *>(this);
    EXPECT_EQ(status,
              ferriteModelLoadFile(path.c_str(), options, &model, &error))
        << path << ": " << error.message;
    EXPECT_EQ(nullptr, model);
    EXPECT_EQ(nullptr, strchr(error.message, '\n'));
    // The path makes messages differ from machine to machine.
    std::string message = error.message;
    for (size_t at; (at = message.find(folder + "/")) != std::string::npos;)
      message.erase(at, folder.size() + 1);
    return message;
  }
  std::string folder;
};

/// Runs x + weight.
float addOne(FerriteModel *model, float value) {
  Scoped session(model, 1);
  std::vector<float> x = {value}, y = {-1};
  FerriteTensor input = view(FERRITE_F32, x, {1});
  FerriteTensor output = view(FERRITE_F32, y, {});
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(session, &input, 1, &output, 1, nullptr));
  return y[0];
}

TEST_F(Loading, LoadsAFile) {
  FerriteModel *model = nullptr;
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK, ferriteModelLoadFile(library("model-good").c_str(),
                                             nullptr, &model, &error))
      << error.message;
  EXPECT_EQ(1.5f, addOne(model, 1));
  EXPECT_STREQ("test", ferriteModelName(model));
  EXPECT_STREQ("test 1.0", ferriteModelCompiler(model));
  EXPECT_EQ(8u, ferriteModelWeightsBytes(model));
  EXPECT_EQ(nullptr, ferriteModelWeightsPath(model));
  EXPECT_EQ(nullptr, ferriteModelDescription(model, nullptr));
  ferriteModelRelease(model);
}

// A name without a slash is a file here, not a library of the system.
TEST_F(Loading, LoadsFromTheWorkingDirectory) {
  write("m.so", readFile(library("model-good")));
  char before[4096];
  ASSERT_NE(nullptr, getcwd(before, sizeof before));
  ASSERT_EQ(0, chdir(folder.c_str()));
  FerriteModel *model = nullptr;
  EXPECT_EQ(FERRITE_OK, ferriteModelLoadFile("m.so", nullptr, &model, nullptr));
  ASSERT_EQ(0, chdir(before));
  ferriteModelRelease(model);
}

// The loader of the system knows libraries by name: models in memory must not
// be taken for one another, at the same time or one after the other.
TEST_F(Loading, LoadsFromMemory) {
  std::string good = readFile(library("model-good"));
  std::string other = readFile(library("model-other"));
  FerriteModel *a = nullptr, *b = nullptr;
  FerriteError error = {};
  auto load = [&](const std::string &bytes, FerriteModel **model) {
    ASSERT_EQ(FERRITE_OK, ferriteModelLoadMemory(bytes.data(), bytes.size(),
                                                 nullptr, model, &error))
        << error.message;
  };
  load(good, &a);
  load(other, &b);
  EXPECT_EQ(1.5f, addOne(a, 1));
  EXPECT_EQ(3.0f, addOne(b, 1));
  ferriteModelRelease(a);
  ferriteModelRelease(b);
  for (int i = 0; i < 4; ++i) {
    load(i % 2 ? good : other, &a);
    EXPECT_EQ(i % 2 ? 1.5f : 3.0f, addOne(a, 1));
    ferriteModelRelease(a);
  }
}

TEST_F(Loading, RefusesNull) {
  FerriteModel *model = nullptr;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelLoadFile(nullptr, nullptr, &model, nullptr));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelLoadFile("x.so", nullptr, nullptr, nullptr));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelLoadMemory(nullptr, 8, nullptr, &model, nullptr));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelOpen(nullptr, nullptr, &model, nullptr));
  ferriteModelRelease(nullptr);
  EXPECT_EQ(nullptr, ferriteModelRetain(nullptr));
}

TEST_F(Loading, RefusesOtherFiles) {
  EXPECT_EQ("cannot open 'missing.so': No such file or directory",
            refused(folder + "/missing.so", FERRITE_NOT_FOUND));
  EXPECT_EQ("'text.so' is not a Ferrite model: not an ELF file",
            refused(write("text.so", "hello\n"), FERRITE_INCOMPATIBLE));
  EXPECT_EQ("'empty.so' is not a Ferrite model: the file is empty",
            refused(write("empty.so", ""), FERRITE_INCOMPATIBLE));
  EXPECT_NE(
      std::string::npos,
      refused(folder, FERRITE_INCOMPATIBLE).find("is not a Ferrite model"));
  EXPECT_NE(std::string::npos,
            refused("/proc/self/exe", FERRITE_INCOMPATIBLE).find("model"));
  EXPECT_NE(std::string::npos,
            refused(library("model-none"), FERRITE_INCOMPATIBLE)
                .find("is not a Ferrite model: a library without the symbol "
                      "ferrite_model"));
}

// dlopen of such files succeeds or kills the process, when a page is missing.
TEST_F(Loading, RefusesEveryTruncation) {
  std::string whole = readFile(library("model-good"));
  int refusals = 0;
  for (size_t size = 4; size < whole.size();
       size += size < 1024 ? 7 : whole.size() / 61) {
    std::string message =
        refused(write("cut.so", whole.substr(0, size)), FERRITE_INCOMPATIBLE);
    EXPECT_EQ(0u, message.find("'cut.so' is truncated: it has " +
                               std::to_string(size) + " bytes"))
        << message;
    FerriteModel *model = nullptr;
    EXPECT_EQ(
        FERRITE_INCOMPATIBLE,
        ferriteModelLoadMemory(whole.data(), size, nullptr, &model, nullptr));
    ++refusals;
  }
  EXPECT_GT(refusals, 50);
}

// Headers with any byte broken: an error or a model, never a crash. Bytes that
// dlopen alone reads are its own to judge, so only the headers' check runs.
TEST_F(Loading, SurvivesBrokenHeaders) {
  std::string whole = readFile(library("model-good"));
  for (size_t at = 0; at < 64; ++at)
    for (unsigned char value : {0x00, 0x7f, 0xff}) {
      if (at >= 24 && at < 32)
        continue; // the entry point, which nobody reads
      std::string broken = whole;
      if (broken[at] == static_cast<char>(value))
        continue;
      broken[at] = static_cast<char>(value);
      // Cut, so that a header that passes is still refused before dlopen.
      broken.resize(whole.size() - 1);
      FerriteModel *model = nullptr;
      FerriteStatus status = ferriteModelLoadMemory(
          broken.data(), broken.size(), nullptr, &model, nullptr);
      EXPECT_EQ(FERRITE_INCOMPATIBLE, status) << at << " " << int(value);
    }
}

TEST_F(Loading, NamesBothVersions) {
  std::string message = refused(library("model-version"), FERRITE_INCOMPATIBLE);
  EXPECT_NE(std::string::npos,
            message.find("has ABI version 77 and this runtime (" +
                         std::string(ferriteRuntimeVersion()) +
                         ") reads version 1"))
      << message;
  EXPECT_EQ(uint32_t(FERRITE_ABI_VERSION), ferriteRuntimeAbiVersion());
}

TEST_F(Loading, ChecksTheTableOfALinkedModel) {
  FakeModel m;
  m.link();
  FerriteModel *model = nullptr;
  FerriteError error = {};
  auto open = [&] { return ferriteModelOpen(&m.abi, nullptr, &model, &error); };
  m.abi.magic = 1;
  EXPECT_EQ(FERRITE_INCOMPATIBLE, open());
  m.link();
  m.abi.size = 8;
  EXPECT_EQ(FERRITE_INCOMPATIBLE, open());
  EXPECT_EQ("the linked model has a table of 8 bytes and this runtime "
            "(" FERRITE_TEST_VERSION ") reads " +
                std::to_string(sizeof(FerriteAbiModel)),
            error.message);
  // Indices that a run would follow out of bounds.
  FakeModel bad;
  uint32_t k = bad.kernel(
      "k", [](const FerriteArg *) -> int64_t { return 1; },
      [](const FerriteArg *, int64_t, int64_t, void *) {});
  bad.launch("l", k, {{FERRITE_ARG_INPUT, 3, 0}});
  bad.link();
  EXPECT_EQ(FERRITE_INTERNAL,
            ferriteModelOpen(&bad.abi, nullptr, &model, &error));
  EXPECT_STREQ("the linked model is broken (a bug of its compiler): argument 0 "
               "of launch 'l' has index 3 of 0",
               error.message);
}

/// Sets a variable of the environment for a scope.
struct Environment {
  const char *name;
  Environment(const char *variable, const char *value) : name(variable) {
    setenv(name, value, 1);
  }
  ~Environment() { unsetenv(name); }
};

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

// Threads that load and release the same file share a library of the system.
TEST_F(Loading, LoadsFromManyThreads) {
  std::string path = library("model-good");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        FerriteModel *model = nullptr;
        ASSERT_EQ(FERRITE_OK,
                  ferriteModelLoadFile(path.c_str(), nullptr, &model, nullptr));
        EXPECT_EQ(1.5f, addOne(model, 1));
        ferriteModelRelease(model);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(Describing, TellsTheSignature) {
  FakeModel m;
  buildSums(m);
  FerriteModel *model = m.open();
  ASSERT_EQ(1u, ferriteModelEntryCount(model));
  FerriteEntryInfo entry;
  ASSERT_EQ(FERRITE_OK, ferriteModelEntry(model, 0, &entry, nullptr));
  EXPECT_STREQ("main", entry.name);
  EXPECT_EQ(2u, entry.symbol_count);
  EXPECT_EQ(3u, entry.input_count);
  EXPECT_EQ(2u, entry.output_count);
  EXPECT_EQ(3u, entry.launch_count);

  FerriteSymbolInfo symbol;
  ASSERT_EQ(FERRITE_OK, ferriteModelSymbol(model, 0, 1, &symbol, nullptr));
  EXPECT_STREQ("sequence", symbol.name);
  EXPECT_EQ(2, symbol.min);
  EXPECT_EQ(512, symbol.max);

  FerriteTensorInfo ids, sums;
  ASSERT_EQ(FERRITE_OK, ferriteModelInput(model, 0, 0, &ids, nullptr));
  EXPECT_STREQ("ids", ids.name);
  EXPECT_EQ(FERRITE_I64, ids.dtype);
  EXPECT_EQ(2, ids.rank);
  EXPECT_STREQ("batch", ids.dims[0].symbol);
  EXPECT_EQ(-1, ids.dims[0].size);
  EXPECT_EQ(100, ids.id_limit);
  ASSERT_EQ(FERRITE_OK, ferriteModelOutput(model, 0, 0, &sums, nullptr));
  EXPECT_EQ(-1, sums.dims[0].size);
  EXPECT_EQ(nullptr, sums.dims[0].symbol);
  EXPECT_EQ(4, sums.dims[1].size);

  size_t size = 0;
  const char *description = ferriteModelDescription(model, &size);
  EXPECT_EQ("{\"plan\": []}", std::string(description, size));
  EXPECT_EQ(&m.abi, ferriteModelAbi(model));

  FerriteError error = {};
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelEntry(model, 1, &entry, &error));
  EXPECT_STREQ("no entry 1: the model has 1", error.message);
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelInput(model, 0, 3, &ids, &error));
  EXPECT_STREQ("no input 3: the entry 'main' has 3", error.message);
  EXPECT_EQ(FERRITE_NOT_FOUND, ferriteModelOutput(model, 0, 2, &ids, &error));
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteModelSymbol(model, 0, 2, &symbol, &error));
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteModelInput(model, 0, 0, nullptr, &error));
}

TEST(Describing, NamesStatusAndTypes) {
  EXPECT_STREQ("ok", ferriteStatusName(FERRITE_OK));
  EXPECT_STREQ("internal error", ferriteStatusName(FERRITE_INTERNAL));
  EXPECT_STREQ("bf16", ferriteDTypeName(FERRITE_BF16));
  EXPECT_STREQ("unknown", ferriteDTypeName(-1));
  EXPECT_EQ(2u, ferriteDTypeSize(FERRITE_BF16));
  EXPECT_EQ(8u, ferriteDTypeSize(FERRITE_U64));
  EXPECT_EQ(0u, ferriteDTypeSize(13));
}

} // namespace
