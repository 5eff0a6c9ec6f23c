//===- ThreadsTest.cpp - How many threads a process may use ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cpu/Threads.h"
#include "ferrite/runtime.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sched.h>
#include <stdlib.h>
#include <string>
#include <thread>

namespace fs = std::filesystem;
using namespace ferrite::rt;

namespace {

/// A tree of cgroup files.
class Quota : public ::testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "ferrite-XXXXXX").string();
    ASSERT_NE(nullptr, mkdtemp(name.data()));
    root = name;
  }
  void TearDown() override { fs::remove_all(root); }
  void write(const std::string &path, const std::string &text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  int32_t cpus(const std::string &membership) {
    write("membership", membership);
    return quotaCpus((root / "membership").c_str(), root.c_str());
  }
  fs::path root;
};

TEST_F(Quota, ReadsVersion2) {
  write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(INT32_MAX, cpus("0::/a/b\n"));
  write("a/b/cpu.max", "200000 100000\n");
  EXPECT_EQ(2, cpus("0::/a/b\n"));
  write("a/b/cpu.max", "250000 100000\n");
  EXPECT_EQ(3, cpus("0::/a/b\n")) << "a part of a CPU is worth a thread";
  write("a/b/cpu.max", "1000 100000\n");
  EXPECT_EQ(1, cpus("0::/a/b\n"));
}

// A limit on a group holds for what is inside it.
TEST_F(Quota, TakesTheLeastOfAllAbove) {
  write("a/cpu.max", "100000 100000\n");
  write("a/b/cpu.max", "400000 100000\n");
  EXPECT_EQ(1, cpus("0::/a/b\n"));
}

// In a container the named group is outside of what is mounted.
TEST_F(Quota, FallsBackToTheMount) {
  write("cpu.max", "300000 100000\n");
  EXPECT_EQ(3, cpus("0::/docker/0123456789\n"));
  EXPECT_EQ(3, cpus("0::/\n"));
}

TEST_F(Quota, ReadsVersion1) {
  write("cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  write("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(INT32_MAX, cpus("4:memory:/x\n3:cpu,cpuacct:/a\n"));
  write("cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
  EXPECT_EQ(4, cpus("4:memory:/x\n3:cpu,cpuacct:/a\n0::/a\n"));
}

TEST_F(Quota, IgnoresWhatItCannotRead) {
  EXPECT_EQ(INT32_MAX, cpus(""));
  EXPECT_EQ(INT32_MAX, cpus("nonsense\n:\n::\n"));
  write("a/cpu.max", "garbage\n");
  EXPECT_EQ(INT32_MAX, cpus("0::/a\n"));
  EXPECT_EQ(INT32_MAX, quotaCpus("/nonexistent", root.c_str()));
}

TEST(Affinity, LimitsTheDefault) {
  std::thread([] {
    cpu_set_t before, one;
    ASSERT_EQ(0, sched_getaffinity(0, sizeof before, &before));
    EXPECT_EQ(CPU_COUNT(&before), affinityCpus());
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &before)) {
        CPU_SET(cpu, &one);
        break;
      }
    ASSERT_EQ(0, sched_setaffinity(0, sizeof one, &one));
    EXPECT_EQ(1, affinityCpus());
    EXPECT_EQ(1, ferriteDefaultThreads());
  }).join();
  EXPECT_GE(ferriteDefaultThreads(), 1);
}

} // namespace
