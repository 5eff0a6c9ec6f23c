//===- Program.h - Runs the program under test ------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_TOOLS_PROGRAM_H
#define FERRITE_TEST_UNIT_TOOLS_PROGRAM_H

#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace ferrite::test {

/// What one run of the program did.
struct Outcome {
  int exitCode = -1; /* 128 + the signal when one ended it */
  std::string out, err;
};

Outcome runProgram(const std::string &program,
                   const std::vector<std::string> &arguments);

std::string readFile(const std::filesystem::path &path);
void writeFile(const std::filesystem::path &path, const std::string &text);

/// A folder of the test's own, removed after it.
class FolderTest : public testing::Test {
protected:
  void SetUp() override;
  void TearDown() override;
  std::string path(const std::string &name) const {
    return (folder / name).string();
  }
  std::filesystem::path folder;
};

/// Expects an error of one line that has `text` in it, and nothing on stdout.
void expectError(const Outcome &outcome, int exitCode, const std::string &text);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_TOOLS_PROGRAM_H
