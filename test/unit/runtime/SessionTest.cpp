//===- SessionTest.cpp - Runs, memory and results -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

#include <map>

using namespace ferrite::test;

namespace {

/// Runs the sums model and compares with what it must compute.
void checkSums(FerriteSession *session, int64_t batch, int64_t sequence) {
  SumsInputs inputs(batch, sequence);
  std::vector<FerriteTensor> tensors = inputs.tensors();
  FerriteTensor outputs[2] = {};
  FerriteError error = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionRun(session, tensors.data(), 3, outputs, 2, &error))
      << error.message;
  EXPECT_EQ(inputs.expected(), floats(outputs[0]));
  EXPECT_EQ(batch, outputs[0].shape[0]);
  EXPECT_EQ(4, outputs[0].shape[1]);
  EXPECT_EQ(FERRITE_F32, outputs[0].dtype);
  EXPECT_EQ(sequence, *static_cast<int64_t *>(outputs[1].data));
}

/// Counts what a session allocates, and can fail at the n-th request.
struct CountingAllocator {
  std::map<void *, std::pair<size_t, size_t>> live;
  int requests = 0;
  int failAt = -1;
  size_t largest = 0;

  void set(FerriteSessionOptions &options) {
    options.allocator_data = this;
    options.allocate = [](void *self, size_t bytes, size_t alignment) {
      auto &counting = *static_cast<CountingAllocator *>(self);
      if (counting.requests++ == counting.failAt)
        return static_cast<void *>(nullptr);
      size_t rounded = (bytes + alignment - 1) / alignment * alignment;
      void *memory = aligned_alloc(alignment, rounded);
      memset(memory, 0xcc, rounded); // nothing may rely on zeros
      counting.live[memory] = {bytes, alignment};
      counting.largest = std::max(counting.largest, bytes);
      return memory;
    };
    options.deallocate = [](void *self, void *memory, size_t bytes,
                            size_t alignment) {
      auto &counting = *static_cast<CountingAllocator *>(self);
      auto found = counting.live.find(memory);
      ASSERT_NE(counting.live.end(), found);
      EXPECT_EQ(std::make_pair(bytes, alignment), found->second);
      counting.live.erase(found);
      free(memory);
    };
  }
};

class SessionTest : public ::testing::Test {
protected:
  void SetUp() override { buildSums(model); }
  FakeModel model;
};

// Offsets, sizes and pointers change with the shape: stale ones give a wrong
// sum or read beyond a buffer.
TEST_F(SessionTest, FollowsChangingShapes) {
  Scoped session(model.open(), 2);
  for (auto [batch, sequence] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 2}, {2, 3}, {2, 3}, {1, 2}, {33, 500}, {1, 2}, {3, 17}})
    checkSums(session, batch, sequence);
}

// Arguments are kept while the shape is, but not the pointers of the caller.
TEST_F(SessionTest, ReadsTheInputsOfEachRun) {
  Scoped session(model.open());
  for (int run = 0; run < 3; ++run) {
    SumsInputs inputs(2, 4);
    inputs.ids[0] = run;
    std::vector<FerriteTensor> tensors = inputs.tensors();
    std::vector<float> sums(8, -1.0f);
    FerriteTensor output = view(FERRITE_F32, sums, {});
    ASSERT_EQ(FERRITE_OK, ferriteSessionRun(session, tensors.data(), 3, &output,
                                            1, nullptr));
    EXPECT_EQ(sums.data(), output.data);
    EXPECT_EQ(inputs.expected(), sums);
  }
}

TEST_F(SessionTest, TakesOutputsByName) {
  Scoped session(model.open());
  SumsInputs inputs(1, 2);
  std::vector<FerriteTensor> tensors = inputs.tensors();
  std::vector<int64_t> length(1);
  FerriteTensor output = view(FERRITE_I64, length, {}, "length");
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionRun(session, tensors.data(), 3, &output, 1, nullptr));
  EXPECT_EQ(2, length[0]);
  FerriteTensor sums = {};
  ASSERT_EQ(FERRITE_OK, ferriteSessionOutput(session, 0, &sums, nullptr));
  EXPECT_EQ(inputs.expected(), floats(sums));
  EXPECT_EQ(FERRITE_NOT_FOUND,
            ferriteSessionOutput(session, 2, &sums, nullptr));
}

TEST_F(SessionTest, TellsShapesAndMemoryBeforeARun) {
  Scoped session(model.open(), 3);
  SumsInputs inputs(5, 7);
  std::vector<FerriteTensor> tensors = inputs.tensors();
  for (FerriteTensor &tensor : tensors)
    tensor.data = nullptr; // shapes alone are looked at
  FerriteTensor outputs[2] = {};
  ASSERT_EQ(FERRITE_OK, ferriteSessionOutputShapes(session, tensors.data(), 3,
                                                   outputs, 2, nullptr));
  EXPECT_STREQ("sums", outputs[0].name);
  EXPECT_EQ(5, outputs[0].shape[0]);
  EXPECT_EQ(80u, outputs[0].bytes);
  EXPECT_EQ(1, outputs[1].rank);

  FerriteMemory memory = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionMemory(session, tensors.data(), 3, &memory, nullptr));
  EXPECT_EQ(64u + 192u, memory.arena_bytes); // 5 * 7 * 4, 64-aligned, after 64
  EXPECT_EQ(88u, memory.output_bytes);
  EXPECT_EQ(8u, memory.weights_bytes);
  EXPECT_EQ(3u * 128, memory.scratch_bytes);
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionMemory(session, nullptr, 0, &memory, nullptr));
  EXPECT_EQ(0u, memory.arena_bytes);

  checkSums(session, 5, 7);
  checkSums(session, 1, 2);
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionMemory(session, nullptr, 0, &memory, nullptr));
  EXPECT_EQ(256u, memory.arena_bytes); // kept from the larger run
  EXPECT_EQ(FERRITE_OK, ferriteSessionTrim(session, nullptr));
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionMemory(session, nullptr, 0, &memory, nullptr));
  EXPECT_EQ(0u, memory.arena_bytes);
  EXPECT_EQ(0u, memory.output_bytes);
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionOutput(session, 0, outputs, nullptr));
  checkSums(session, 5, 7);
}

// Asking for another shape must not disturb what the next run relies on.
TEST_F(SessionTest, AQueryLeavesTheRunAlone) {
  Scoped session(model.open());
  checkSums(session, 2, 3);
  SumsInputs other(9, 300);
  std::vector<FerriteTensor> tensors = other.tensors();
  FerriteMemory memory = {};
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionMemory(session, tensors.data(), 3, &memory, nullptr));
  checkSums(session, 2, 3);
}

TEST_F(SessionTest, RefusesMoreThanThereCanBe) {
  Scoped session(model.open());
  SumsInputs inputs(1, 512);
  std::vector<FerriteTensor> tensors = inputs.tensors();
  for (int i = 0; i < 2; ++i) {
    tensors[i].shape[0] = INT64_C(1) << 30;
    tensors[i].bytes = 0;
  }
  FerriteTensor outputs[2] = {};
  FerriteError error = {};
  // 2^30 * 512 * 4 bytes are a possible tensor; the session must still live.
  EXPECT_EQ(FERRITE_OK, ferriteSessionOutputShapes(session, tensors.data(), 3,
                                                   outputs, 2, &error));
  tensors[0].shape[0] = tensors[1].shape[0] = INT64_C(1) << 40;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
            ferriteSessionOutputShapes(session, tensors.data(), 3, outputs, 2,
                                       &error));
  checkSums(session, 2, 3);
}

// All memory comes from the callbacks, and all of it goes back.
TEST_F(SessionTest, UsesTheCallersAllocator) {
  CountingAllocator counting;
  {
    Scoped session(model.open(), 2,
                   [&](FerriteSessionOptions &o) { counting.set(o); });
    checkSums(session, 2, 3);
    int before = counting.requests;
    checkSums(session, 2, 3);
    EXPECT_EQ(before, counting.requests) << "a run that repeats allocates";
    checkSums(session, 2000, 512);
    EXPECT_GT(counting.largest, size_t(2) << 20);
  }
  EXPECT_TRUE(counting.live.empty());
}

// Each allocation may fail: an error, no leak, and the session goes on.
TEST_F(SessionTest, SurvivesFailingAllocations) {
  model.open();
  for (int failAt = 0; failAt < 40; ++failAt) {
    CountingAllocator counting;
    counting.failAt = failAt;
    FerriteSessionOptions options = {};
    options.size = sizeof options;
    options.threads = 2;
    counting.set(options);
    FerriteSession *session = nullptr;
    FerriteError error = {};
    FerriteStatus status =
        ferriteSessionCreate(model.open(), nullptr, &options, &session, &error);
    if (status) {
      EXPECT_EQ(FERRITE_OUT_OF_MEMORY, status) << error.message;
      EXPECT_EQ(nullptr, session);
      EXPECT_TRUE(counting.live.empty()) << failAt;
      continue;
    }
    SumsInputs inputs(2, 3);
    std::vector<FerriteTensor> tensors = inputs.tensors();
    status = ferriteSessionRun(session, tensors.data(), 3, nullptr, 0, &error);
    bool failed = counting.requests > failAt;
    EXPECT_EQ(failed ? FERRITE_OUT_OF_MEMORY : FERRITE_OK, status)
        << error.message;
    if (!failed)
      failAt = 40; // every allocation had its turn
    checkSums(session, 2, 3);
    ferriteSessionDestroy(session);
    EXPECT_TRUE(counting.live.empty());
  }
}

// The default allocator must take sizes that malloc and huge pages each serve.
TEST_F(SessionTest, GrowsLargeArenas) {
  Scoped session(model.open(), 2);
  checkSums(session, 3000, 512);
  checkSums(session, 6000, 512);
  checkSums(session, 1, 2);
}

TEST_F(SessionTest, ChecksOptions) {
  FerriteSession *session = nullptr;
  FerriteError error = {};
  FerriteSessionOptions options = {};
  auto create = [&](const char *entry = nullptr) {
    FerriteStatus status =
        ferriteSessionCreate(model.open(), entry, &options, &session, &error);
    if (!status)
      ferriteSessionDestroy(session);
    return status;
  };
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, create()); // size is 0
  options.size = sizeof options;
  EXPECT_EQ(FERRITE_OK, create("main"));
  EXPECT_EQ(FERRITE_NOT_FOUND, create("prefill"));
  EXPECT_STREQ("no entry 'prefill': the model has main", error.message);
  EXPECT_EQ(nullptr, session);
  options.threads = -1;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, create());
  options.threads = 1025;
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, create());
  EXPECT_STREQ("threads is 1025, outside of 0 to 1024", error.message);
  options.threads = 0;
  options.allocate = [](void *, size_t, size_t) -> void * { return nullptr; };
  EXPECT_EQ(FERRITE_INVALID_ARGUMENT, create());
  EXPECT_STREQ("allocate is set without deallocate: give both or neither",
               error.message);
  ferriteSessionDestroy(nullptr);
}

// An older caller has a smaller struct: what it lacks has its default.
TEST_F(SessionTest, ReadsOlderOptions) {
  FerriteSessionOptions options = {};
  options.size = offsetof(FerriteSessionOptions, parallel_for);
  options.threads = 2;
  memset(&options.parallel_for, 0xff, sizeof options - options.size);
  FerriteSession *session = nullptr;
  ASSERT_EQ(FERRITE_OK, ferriteSessionCreate(model.open(), nullptr, &options,
                                             &session, nullptr));
  EXPECT_EQ(2, ferriteSessionThreads(session));
  checkSums(session, 2, 3);
  ferriteSessionDestroy(session);
}

TEST_F(SessionTest, KeepsItsModelAlive) {
  FakeModel other;
  buildSums(other);
  FerriteModel *handle = nullptr;
  ASSERT_EQ(FERRITE_OK,
            ferriteModelOpen(&other.link(), nullptr, &handle, nullptr));
  FerriteSession *session = nullptr;
  ASSERT_EQ(FERRITE_OK,
            ferriteSessionCreate(handle, nullptr, nullptr, &session, nullptr));
  ferriteModelRelease(handle);
  EXPECT_EQ(handle, ferriteSessionModel(session));
  checkSums(session, 2, 3);
  ferriteSessionDestroy(session);
}

TEST_F(SessionTest, ProfilesLaunches) {
  for (int32_t threads : {1, 2}) {
    Scoped session(model.open(), threads);
    const FerriteLaunchProfile *rows = nullptr;
    size_t count = 0;
    checkSums(session, 2, 3);
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSessionProfile(session, &rows, &count, nullptr));
    const FerriteWorkerSpan *spans = nullptr;
    size_t workers = 0;
    EXPECT_EQ(FERRITE_INVALID_ARGUMENT,
              ferriteSessionWorkers(session, &spans, &workers, nullptr));
    ASSERT_EQ(FERRITE_OK, ferriteSessionSetProfiling(session, 1, nullptr));
    checkSums(session, 200, 300);
    ASSERT_EQ(FERRITE_OK,
              ferriteSessionProfile(session, &rows, &count, nullptr));
    ASSERT_EQ(3u, count);
    EXPECT_STREQ("/weight/Mul", rows[0].launch);
    EXPECT_STREQ("weight", rows[0].kernel);
    EXPECT_EQ(60000, rows[0].units);
    EXPECT_EQ(200, rows[1].units);
    EXPECT_GT(rows[0].nanoseconds + rows[1].nanoseconds, 0);
    EXPECT_LT(rows[0].nanoseconds, INT64_C(10000000000));
    ASSERT_EQ(FERRITE_OK,
              ferriteSessionWorkers(session, &spans, &workers, nullptr));
    ASSERT_EQ(size_t(threads), workers);
    for (size_t i = 0; i < count; ++i) {
      int64_t units = 0;
      for (size_t w = 0; w < workers; ++w) {
        const FerriteWorkerSpan &span = spans[i * workers + w];
        units += span.units;
        EXPECT_GE(span.begin, 0);
        EXPECT_GE(span.busy, 0);
        EXPECT_LE(span.begin + span.busy, span.end);
      }
      EXPECT_EQ(rows[i].units, units);
    }
  }
}

} // namespace
