//===- Loading.h - A fixture for tests that load files ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_RUNTIME_LOADING_H
#define FERRITE_TEST_UNIT_RUNTIME_LOADING_H

#include "FakeModel.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdlib.h>

namespace ferrite::test {

/// The libraries that CMakeLists.txt builds from TestModel.c.
inline std::string library(const char *name) {
  return std::string(FERRITE_TEST_MODELS) + "/" + name + ".so";
}

inline std::string readFile(const std::string &path) {
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
inline float addOne(FerriteModel *model, float value) {
  Scoped session(model, 1);
  std::vector<float> x = {value}, y = {-1};
  FerriteTensor input = view(FERRITE_F32, x, {1});
  FerriteTensor output = view(FERRITE_F32, y, {});
  EXPECT_EQ(FERRITE_OK,
            ferriteSessionRun(session, &input, 1, &output, 1, nullptr));
  return y[0];
}

/// Sets a variable of the environment for a scope.
struct Environment {
  const char *name;
  Environment(const char *variable, const char *value) : name(variable) {
    setenv(name, value, 1);
  }
  ~Environment() { unsetenv(name); }
};

} // namespace ferrite::test

#endif // FERRITE_TEST_UNIT_RUNTIME_LOADING_H
