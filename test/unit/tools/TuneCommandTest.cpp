//===- TuneCommandTest.cpp - tune, and profiles of launches ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Program.h"

#include <nlohmann/json.hpp>

#include <map>

using namespace ferrite::test;
using Json = nlohmann::json;

namespace {

using Tune = FolderTest;

TEST_F(Tune, WritesAProfile) {
  Outcome outcome =
      runProgram(PROGRAM, {"tune", "--seconds=0.01", "--threads=2", "--output",
                           path("here.json"), "--json"});
  if (outcome.exitCode == 2)
    GTEST_SKIP() << outcome.err;
  ASSERT_EQ(0, outcome.exitCode) << outcome.err;
  Json printed = Json::parse(outcome.out),
       written = Json::parse(readFile(path("here.json")));
  EXPECT_EQ(printed, written);
  EXPECT_EQ(1, written["ferrite_machine_profile"]);
  EXPECT_EQ(2, written["threads"]);
  EXPECT_GT(written["caches"]["l2"], 0);
  ASSERT_FALSE(written["operations_per_second"].empty());
  // A core does more than one operation a nanosecond, and less than 100000.
  for (const Json &rate : written["operations_per_second"]) {
    EXPECT_GT(rate["one"], 1e9);
    EXPECT_LT(rate["all"], 1e14);
  }
  for (const char *level : {"l2", "memory"})
    EXPECT_GT(written["bytes_per_second"][level]["one"], 1e8) << level;
}

TEST_F(Tune, SaysWhereItCannotWrite) {
  expectError(runProgram(PROGRAM, {"tune", "--seconds=0.01", "--output",
                                   path("no/folder.json")}),
              1, "cannot write");
}

TEST_F(Tune, BenchTraces) {
  Outcome outcome =
      runProgram(PROGRAM, {"bench", ARTIFACT, "--shape=ids=1x8", "--runs=2",
                           "--trace", path("trace.json"), "--json"});
  ASSERT_EQ(0, outcome.exitCode) << outcome.err;
  Json profile = Json::parse(outcome.out)["profile"];
  Json events = Json::parse(readFile(path("trace.json")))["traceEvents"];
  // Process 1 has the launches, process 2 a track for each thread.
  std::vector<std::string> names;
  std::map<std::pair<int, int>, double> ends;
  int64_t units = 0;
  for (const Json &event : events) {
    if (event["ph"] != "X")
      continue;
    if (event["pid"] == 1)
      names.push_back(event["name"]);
    else
      units += event["args"]["units"].get<int64_t>();
    double &end = ends[{event["pid"], event["tid"]}];
    EXPECT_GE(event["ts"], end); // one after another
    end = event["ts"].get<double>() + event["dur"].get<double>() * 0.999;
  }
  ASSERT_EQ(profile.size(), names.size());
  ASSERT_FALSE(names.empty());
  EXPECT_GE(units, int64_t(names.size()));
  EXPECT_GE(ends.size(), 2u);
  for (size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(profile[i]["nodes"], names[i]);
}

} // namespace
