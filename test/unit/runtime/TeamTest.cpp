//===- TeamTest.cpp - Stages on many threads ------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <numeric>
#include <sched.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace ferrite::test;

namespace {

constexpr int stageCount = 25;

std::vector<int64_t> startOf(int64_t n) {
  std::vector<int64_t> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 1);
  return values;
}

void checkStages(FerriteSession *session, int64_t n, int count = stageCount) {
  std::vector<int64_t> start = startOf(n);
  std::vector<int64_t> result(start.size(), -1);
  FerriteTensor input = view(FERRITE_I64, start, {n});
  FerriteTensor output = view(FERRITE_I64, result, {});
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionRun(session, &input, 1, &output, 1, &error))
      << error.message;
  ASSERT_EQ(expectedStages(start, count), result) << "n = " << n;
}

class Team : public ::testing::Test {
protected:
  void SetUp() override { buildStages(model, stageCount); }
  FakeModel model;
};

// Sizes below, at and above the number of threads; more threads than CPUs; a
// team that grows and one larger than the job.
TEST_F(Team, ComputesEveryUnitOnce) {
  for (int32_t threads : {1, 2, 3, 8, 5, 2}) {
    Scoped session(model.open(), threads);
    for (int64_t n : {1, 2, 3, 7, 8, 9, 64, 1000})
      for (int run = 0; run < 20; ++run)
        checkStages(session, n);
  }
}

// Far more threads than a share of work each: slots beyond reach must be taken
// by the caller.
TEST_F(Team, CopesWithManyThreads) {
  Scoped session(model.open(), 40);
  for (int run = 0; run < 10; ++run)
    checkStages(session, 400);
}

// Runs with pauses between them find sleeping members, others spinning ones.
TEST_F(Team, WakesSleepingMembers) {
  Scoped session(model.open(), 2);
  for (int run = 0; run < 60; ++run) {
    checkStages(session, 500);
    std::this_thread::sleep_for(std::chrono::microseconds(run * 5));
  }
}

// The members do take part: a stage whose units wait for one another ends only
// when two threads are in it.
TEST(TeamParallel, RunsUnitsAtTheSameTime) {
  if (ferriteDefaultThreads() < 2)
    GTEST_SKIP() << "one CPU";
  static std::atomic<int> inside;
  static std::atomic<bool> alone;
  for (uint32_t flags : {0u, FERRITE_LAUNCH_CLAIMED}) {
    inside = 0;
    alone = false;
    FakeModel m;
    uint32_t meet = m.kernel(
        "meet", [](const FerriteArg *) -> int64_t { return 2; },
        [](const FerriteArg *, int64_t begin, int64_t end, void *) {
          inside += static_cast<int>(end - begin);
          // Someone without company waits in vain, but not for ever.
          auto limit =
              std::chrono::steady_clock::now() + std::chrono::seconds(20);
          while (inside < 2 && !alone) {
            sched_yield();
            if (std::chrono::steady_clock::now() > limit)
              alone = true;
          }
        });
    m.launch("meet", meet, {}, flags);
    Scoped session(m.open(), 2);
    ASSERT_EQ(FERRITE_OK,
              ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr));
    EXPECT_EQ(2, inside);
    EXPECT_FALSE(alone);
  }
}

// One model, many sessions, many threads: one has the team, others go alone.
TEST_F(Team, ServesManySessions) {
  model.open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      Scoped session(model.open(), 1 + t % 4);
      for (int run = 0; run < 40; ++run)
        checkStages(session, 50 + 13 * t + run);
    });
  for (std::thread &thread : threads)
    thread.join();
}

// A run that finds the team taken must not wait for it. The first run's kernel
// holds the team until the second run is over.
TEST(TeamBusy, GoesOnAlone) {
  static std::atomic<bool> started, finished;
  started = finished = false;
  FakeModel holder, other;
  uint32_t hold = holder.kernel(
      "hold", [](const FerriteArg *) -> int64_t { return 2; },
      [](const FerriteArg *, int64_t, int64_t, void *) {
        started = true;
        while (!finished)
          sched_yield();
      });
  holder.launch("hold", hold, {});
  holder.open();
  buildStages(other, 6);
  std::thread first([&] {
    Scoped session(holder.open(), 2);
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr));
  });
  while (!started)
    sched_yield();
  std::string logged;
  {
    Scoped session(other.open(), 2, [&](FerriteSessionOptions &options) {
      options.log_data = &logged;
      options.log = [](void *data, FerriteLogLevel, const char *message) {
        *static_cast<std::string *>(data) += message;
      };
    });
    checkStages(session, 300, 6);
  }
  EXPECT_NE(std::string::npos, logged.find("another run has the team"))
      << logged;
  finished = true;
  first.join();
}

// A child has no members: it must make its own, not wait for the parent's.
TEST_F(Team, RunsAfterFork) {
#ifdef FERRITE_TEST_TSAN
  GTEST_SKIP() << "ThreadSanitizer allows no threads after fork";
#endif
  Scoped session(model.open(), 3);
  checkStages(session, 200);
  // A run in another thread holds the team when the process forks.
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    Scoped own(model.open(), 3);
    while (!stop)
      checkStages(own, 100);
  });
  for (int child = 0; child < 10; ++child) {
    pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      alarm(60); // a lost wake-up would hang
      checkStages(session, 200 + child);
      checkStages(session, 300);
      _exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(pid, waitpid(pid, &status, 0));
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    checkStages(session, 250);
  }
  stop = true;
  busy.join();
}

// Counts calls of a stage, and cancels the run in the tenth.
struct CancelModel {
  static std::atomic<int> calls;
  static FerriteSession *victim;
  FakeModel m;
  explicit CancelModel(uint32_t flags) {
    uint32_t kernel = m.kernel(
        "count", [](const FerriteArg *) -> int64_t { return 4; },
        [](const FerriteArg *, int64_t, int64_t, void *) {
          if (++calls == 10 && victim)
            ferriteSessionCancel(victim);
        });
    for (int i = 0; i < 1000; ++i)
      m.launch("count", kernel, {}, flags);
  }
};
std::atomic<int> CancelModel::calls;
FerriteSession *CancelModel::victim;

// The run stops soon, says so, and the next one is not affected.
TEST(TeamCancel, StopsARun) {
  for (uint32_t flags : {0u, FERRITE_LAUNCH_CLAIMED})
    for (int32_t threads : {1, 2, 4}) {
      CancelModel cancel(flags);
      Scoped session(cancel.m.open(), threads);
      for (int repeat = 0; repeat < 20; ++repeat) {
        CancelModel::calls = 0;
        CancelModel::victim = session;
        FerriteError error = {};
        EXPECT_EQ(FERRITE_CANCELLED,
                  ferriteSessionRun(session, nullptr, 0, nullptr, 0, &error));
        EXPECT_STREQ("the run was cancelled", error.message);
        EXPECT_LT(CancelModel::calls, 10 + 4 * threads);
        CancelModel::victim = nullptr;
        CancelModel::calls = 0;
        EXPECT_EQ(FERRITE_OK,
                  ferriteSessionRun(session, nullptr, 0, nullptr, 0, &error));
        EXPECT_GE(CancelModel::calls, 1000);
      }
    }
}

TEST(TeamCancel, HoldsForTheNextRunUntilCleared) {
  CancelModel cancel(0);
  CancelModel::victim = nullptr;
  Scoped session(cancel.m.open(), 2);
  auto run = [&] {
    return ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr);
  };
  ferriteSessionCancel(session);
  EXPECT_EQ(FERRITE_CANCELLED, run());
  EXPECT_EQ(FERRITE_OK, run());
  ferriteSessionCancel(session);
  ferriteSessionClearCancel(session);
  EXPECT_EQ(FERRITE_OK, run());
}

// Requests that come and go at any moment: workers that disagree about them
// would wait for one another for ever.
TEST_F(Team, SurvivesCancelAndClearAtAnyTime) {
  for (int32_t threads : {2, 3}) {
    Scoped session(model.open(), threads);
    std::atomic<bool> stop{false};
    std::thread nuisance([&] {
      for (unsigned i = 0; !stop; ++i) {
        ferriteSessionCancel(session);
        if (i % 2)
          sched_yield();
        ferriteSessionClearCancel(session);
        std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
      }
    });
    std::vector<int64_t> start = startOf(300), result(300);
    std::vector<int64_t> expected = expectedStages(start, stageCount);
    for (int run = 0; run < 2000; ++run) {
      FerriteTensor input = view(FERRITE_I64, start, {300});
      FerriteTensor output = view(FERRITE_I64, result, {});
      FerriteStatus status =
          ferriteSessionRun(session, &input, 1, &output, 1, nullptr);
      if (status == FERRITE_OK)
        ASSERT_EQ(expected, result);
      else
        ASSERT_EQ(FERRITE_CANCELLED, status);
    }
    stop = true;
    nuisance.join();
  }
}

// Two threads in one session would write the same arena.
TEST(TeamUse, RefusesASecondThread) {
  static std::atomic<bool> started, finished;
  started = finished = false;
  FakeModel m;
  uint32_t hold = m.kernel(
      "hold", [](const FerriteArg *) -> int64_t { return 1; },
      [](const FerriteArg *, int64_t, int64_t, void *) {
        started = true;
        while (!finished)
          sched_yield();
      });
  m.launch("hold", hold, {});
  Scoped session(m.open());
  std::thread first([&] {
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionRun(session, nullptr, 0, nullptr, 0, nullptr));
  });
  while (!started)
    sched_yield();
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(session, nullptr, 0, nullptr, 0, &error));
  EXPECT_STREQ("the session is at work in another thread: make a session for "
               "each",
               error.message);
  finished = true;
  first.join();
}

/// parallel_for on threads of its own, or one after the other, or backwards.
struct CallersThreads {
  int calls = 0;
  int32_t most = 0;
  bool threaded = false;
  bool forgetful = false;

  void set(FerriteSessionOptions &options) {
    options.parallel_for_data = this;
    options.parallel_for = [](void *data, int32_t count,
                              void (*task)(void *, int32_t), void *context) {
      auto &self = *static_cast<CallersThreads *>(data);
      ++self.calls;
      self.most = std::max(self.most, count);
      if (self.threaded) {
        std::vector<std::thread> threads;
        for (int32_t i = 0; i < count; ++i)
          threads.emplace_back(task, context, i);
        for (std::thread &thread : threads)
          thread.join();
        return;
      }
      for (int32_t i = count - 1; i >= (self.forgetful ? 1 : 0); --i)
        task(context, i);
    };
  }
};

TEST_F(Team, UsesTheCallersThreads) {
  for (bool threaded : {false, true}) {
    CallersThreads callers;
    callers.threaded = threaded;
    Scoped session(model.open(), 3,
                   [&](FerriteSessionOptions &o) { callers.set(o); });
    for (int64_t n : {1, 2, 100})
      checkStages(session, n);
    EXPECT_GT(callers.calls, 0);
    EXPECT_EQ(3, callers.most);
  }
}

// A parallel_for that skips tasks leaves holes in the result: say so.
TEST_F(Team, NoticesAForgetfulParallelFor) {
  CallersThreads callers;
  callers.forgetful = true;
  Scoped session(model.open(), 3,
                 [&](FerriteSessionOptions &o) { callers.set(o); });
  std::vector<int64_t> start = startOf(100);
  FerriteTensor input = view(FERRITE_I64, start, {100});
  FerriteError error = {};
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionRun(session, &input, 1, nullptr, 0, &error));
  EXPECT_STREQ("parallel_for returned before each of its tasks had run once",
               error.message);
}

// Signals are for the program's threads: a handler that runs on a member would
// surprise programs that block signals in theirs.
TEST_F(Team, BlocksSignalsInMembers) {
  auto blocked = [](const std::string &task) {
    std::ifstream status(task + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.rfind("SigBlk:", 0) == 0)
        return std::stoull(line.substr(7), nullptr, 16);
    return 0ull;
  };
  unsigned long long before = blocked("/proc/thread-self");
  Scoped session(model.open(), 12);
  checkStages(session, 100);
  EXPECT_EQ(before, blocked("/proc/thread-self")) << "mask not restored";
  int members = 0;
  for (const auto &task :
       std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm") >> std::ws, name);
    if (name.rfind("ferrite-", 0) != 0 || name.find("run") != name.npos)
      continue;
    ++members;
    // SIGINT, SIGTERM, SIGPROF
    for (int signal : {2, 15, 27})
      EXPECT_TRUE(blocked(task.path()) >> (signal - 1) & 1) << name;
  }
  EXPECT_GE(members, 11);
}

} // namespace
