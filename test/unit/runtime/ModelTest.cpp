//===- ModelTest.cpp - Loading and refusing models -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Loading.h"

#include <thread>
#include <unistd.h>

using namespace ferrite::test;

namespace {

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

// A service that gets a new model under the old name must not be given the old
// one, which other sessions still hold.
TEST_F(Loading, LoadsAReplacedFile) {
  std::string path = write("m.so", readFile(library("model-good")));
  FerriteModel *first = nullptr, *second = nullptr, *again = nullptr;
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), nullptr, &first, nullptr));
  std::string next = write("next.so", readFile(library("model-other")));
  ASSERT_EQ(0, rename(next.c_str(), path.c_str()));
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), nullptr, &second, nullptr));
  ASSERT_EQ(FERRITE_OK,
            ferriteModelLoadFile(path.c_str(), nullptr, &again, nullptr));
  EXPECT_EQ(1.5f, addOne(first, 1));
  EXPECT_EQ(3.0f, addOne(second, 1));
  EXPECT_EQ(3.0f, addOne(again, 1));
  EXPECT_EQ(ferriteModelAbi(second), ferriteModelAbi(again)) << "mapped twice";
  ferriteModelRelease(first);
  ferriteModelRelease(second);
  ferriteModelRelease(again);
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
                         ") reads version " +
                         std::to_string(FERRITE_ABI_VERSION)))
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
  FakeModel moved;
  moved.outputs = {moved.tensor("y", FERRITE_F32, {moved.constant(1)})};
  moved.setup = [](const int64_t *, int64_t *values) { values[0] = 0; };
  moved.valueCount = 1;
  k = moved.kernel(
      "k", [](const FerriteArg *) -> int64_t { return 1; },
      [](const FerriteArg *, int64_t, int64_t, void *) {});
  moved.launch("l", k, {{FERRITE_ARG_OUTPUT_AT, 0, 1}});
  moved.link();
  EXPECT_EQ(FERRITE_INTERNAL,
            ferriteModelOpen(&moved.abi, nullptr, &model, &error));
  EXPECT_STREQ("the linked model is broken (a bug of its compiler): argument 0 "
               "of launch 'l' has value 1 of 1",
               error.message);
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

} // namespace
