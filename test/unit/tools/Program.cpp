//===- Program.cpp - Runs the program under test --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Program.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace ferrite::test {

namespace fs = std::filesystem;

std::string readFile(const fs::path &path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

void writeFile(const fs::path &path, const std::string &text) {
  std::ofstream(path, std::ios::binary) << text;
}

static fs::path makeFolder() {
  std::string pattern = (fs::temp_directory_path() / "ferrite-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    ADD_FAILURE() << "no temporary folder";
  return pattern;
}

Outcome runProgram(const std::string &program,
                   const std::vector<std::string> &arguments) {
  // Files, not pipes: a full pipe would stop the program.
  fs::path folder = makeFolder();
  fs::path out = folder / "out", err = folder / "err";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), flags, 0600);
  std::vector<char *> pointers = {const_cast<char *>(program.c_str())};
  for (const std::string &argument : arguments)
    pointers.push_back(const_cast<char *>(argument.c_str()));
  pointers.push_back(nullptr);
  Outcome outcome;
  pid_t child;
  int failed = posix_spawn(&child, program.c_str(), &actions, nullptr,
                           pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(failed, 0) << program;
  if (!failed) {
    int status = 0;
    waitpid(child, &status, 0);
    outcome.exitCode =
        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.out = readFile(out);
    outcome.err = readFile(err);
  }
  fs::remove_all(folder);
  return outcome;
}

void FolderTest::SetUp() { folder = makeFolder(); }

void FolderTest::TearDown() { fs::remove_all(folder); }

void expectError(const Outcome &outcome, int exitCode,
                 const std::string &text) {
  EXPECT_EQ(outcome.exitCode, exitCode);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err.rfind("ferrite: error: ", 0), 0u) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
      << outcome.err;
  EXPECT_NE(outcome.err.find(text), std::string::npos)
      << "no '" << text << "' in: " << outcome.err;
}

} // namespace ferrite::test
