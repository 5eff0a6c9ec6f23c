//===- RunCommandsTest.cpp - ferrite run, bench and inspect ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// On test/tools/ferrite/artifact.c, whose answers are known.
//
//===----------------------------------------------------------------------===//
#include "Program.h"
#include "npz/Npz.h"

#include <cstring>
#include <nlohmann/json.hpp>

using namespace ferrite::cli;
using namespace ferrite::test;

using Json = nlohmann::json;

static Outcome program(const std::vector<std::string> &arguments) {
  return runProgram(PROGRAM, arguments);
}

namespace {
class RunTest : public FolderTest {
protected:
  void SetUp() override {
    FolderTest::SetUp();
    writeNpz(path("in.npz"), lookupInputs());
  }
  std::vector<FerriteTensor> lookupInputs() {
    return {
        {mask, sizeof mask, "mask", FERRITE_F32, 2, {2, 3}, FERRITE_ON_HOST, 0},
        {ids, sizeof ids, "ids", FERRITE_I64, 2, {2, 3}, FERRITE_ON_HOST, 0}};
  }
  void expectScore(const std::string &file) {
    NpzReader reader(file);
    EXPECT_EQ(reader.names(), std::vector<std::string>{"score"});
    Array score = reader.read("score");
    const float expected[] = {0.5f, 3.0f, 7.5f, -14.0f, 12.5f, -21.0f};
    ASSERT_EQ(score.bytes, sizeof expected);
    EXPECT_EQ(score.dtype, FERRITE_F32);
    EXPECT_EQ(score.shape[0], 2);
    EXPECT_EQ(score.shape[1], 3);
    EXPECT_EQ(memcmp(score.data.get(), expected, sizeof expected), 0);
  }

  int64_t ids[6] = {0, 1, 2, 3, -2, -1};
  float mask[6] = {1, 2, 3, 4, 5, 6};
};
} // namespace

// The arrays of the file are in another order than the inputs: names decide.
TEST_F(RunTest, file_in_file_out) {
  Outcome outcome = program({"run", ARTIFACT, "--inputs", path("in.npz"),
                             "--outputs", path("out.npz"), "--threads", "2"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(outcome.out + outcome.err, "");
  expectScore(path("out.npz"));
}

TEST_F(RunTest, summary_without_an_output_file) {
  Outcome outcome = program({"run", ARTIFACT, "--inputs", path("in.npz")});
  EXPECT_EQ(outcome.exitCode, 0);
  EXPECT_NE(outcome.out.find("score: f32 2x3, from -21 to 12.5"),
            std::string::npos)
      << outcome.out;
}

TEST_F(RunTest, json) {
  Outcome outcome = program({"run", ARTIFACT, "--inputs", path("in.npz"),
                             "--json", "--profile", "--threads=1"});
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out;
  EXPECT_GT(json["seconds"], 0.0);
  EXPECT_EQ(json["threads"], 1);
  EXPECT_EQ(json["level"], "plain");
  EXPECT_EQ(json["outputs"][0]["shape"], Json({2, 3}));
  EXPECT_EQ(json["profile"][0]["nodes"], "/embed/Gather, /embed/Mul");
  EXPECT_EQ(json["profile"][0]["units"], 6);
}

// Every element type through the file and back; bfloat16 also as its bits.
TEST_F(RunTest, every_type) {
  unsigned char bytes[24];
  for (size_t i = 0; i < sizeof bytes; ++i)
    bytes[i] = static_cast<unsigned char>(17 * i + 1);
  unsigned char flags[3] = {1, 0, 1};
  std::vector<FerriteTensor> tensors;
  for (int32_t dtype = FERRITE_F32; dtype <= FERRITE_BOOL; ++dtype)
    tensors.push_back({dtype == FERRITE_BOOL ? flags : bytes,
                       3 * ferriteDTypeSize(dtype),
                       ferriteDTypeName(dtype),
                       dtype,
                       1,
                       {3},
                       FERRITE_ON_HOST,
                       0});
  for (int32_t written : {FERRITE_BF16, FERRITE_U16}) {
    tensors[FERRITE_BF16].dtype = written;
    writeNpz(path("types.npz"), tensors);
    Outcome outcome =
        program({"run", ARTIFACT, "--entry=copy", "--inputs", path("types.npz"),
                 "--outputs", path("out.npz")});
    ASSERT_EQ(outcome.exitCode, 0) << outcome.err;
    NpzReader reader(path("out.npz"));
    for (int32_t dtype = FERRITE_F32; dtype <= FERRITE_BOOL; ++dtype) {
      Array array = reader.read(ferriteDTypeName(dtype));
      EXPECT_EQ(array.dtype, dtype);
      EXPECT_EQ(memcmp(array.data.get(), tensors[dtype].data, array.bytes), 0);
    }
  }
}

TEST_F(RunTest, made_up_inputs) {
  auto run = [&](const char *seed) {
    Outcome outcome = program({"run", ARTIFACT, "--shape", "ids=2x5", "--seed",
                               seed, "--outputs", path("out.npz")});
    EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
    return readFile(path("out.npz"));
  };
  std::string first = run("1");
  EXPECT_EQ(run("1"), first);
  EXPECT_NE(run("2"), first);
  // No shape is needed where all are constant.
  EXPECT_EQ(program({"run", ARTIFACT, "--entry=copy"}).exitCode, 0);
  Outcome zeros =
      program({"run", ARTIFACT, "--shape=mask=1x4", "--fill=zeros"});
  EXPECT_NE(zeros.out.find("from 0 to 0"), std::string::npos) << zeros.out;
}

TEST_F(RunTest, wrong_inputs) {
  auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", ARTIFACT});
    return program(more);
  };
  expectError(run({}), 1, "how large is 'batch' of input 'ids'");
  expectError(run({"--shape", "idz=1x2"}), 1, "did you mean 'ids'?");
  expectError(run({"--shape", "ids=2"}), 1, "has 2 dimensions, not 1");
  expectError(run({"--shape=ids=2x3", "--shape=mask=2x4"}), 1,
              "dimension 1 ('sequence') of 'mask' is 3, not 4");
  expectError(run({"--shape=ids=2x65"}), 1, "sequence");
  expectError(run({"--shape=ids=4000000000x4000000000"}), 1, "memory");
  expectError(run({"--entry=lokup"}), 1, "'lookup', 'copy'");
  expectError(run({"--cpu=avx9000", "--shape=ids=1x1"}), 1, "avx9000");
  expectError(run({"--inputs", path("none.npz")}), 1, "none.npz");
  expectError(run({"--inputs", path("in.npz"), "--outputs", path("no/o.npz")}),
              1, "no/o.npz");

  ids[3] = 4;
  writeNpz(path("range.npz"), lookupInputs());
  expectError(run({"--inputs", path("range.npz")}), 1, "ids");
  std::vector<FerriteTensor> tensors = lookupInputs();
  tensors[0].name = "maks";
  writeNpz(path("name.npz"), tensors);
  expectError(run({"--inputs", path("name.npz")}), 1,
              "no array for the input 'mask'; it has 'maks' and 'ids'");
  tensors = lookupInputs();
  tensors[1].dtype = FERRITE_F64;
  writeNpz(path("type.npz"), tensors);
  expectError(run({"--inputs", path("type.npz")}), 1, "f64");
}

TEST_F(RunTest, array_that_no_input_takes_is_told) {
  std::vector<FerriteTensor> tensors = lookupInputs();
  tensors.push_back(
      {ids, 8, "token_type_ids", FERRITE_I64, 1, {1}, FERRITE_ON_HOST, 0});
  writeNpz(path("more.npz"), tensors);
  Outcome outcome = program({"run", ARTIFACT, "--inputs", path("more.npz"),
                             "--outputs", path("out.npz")});
  EXPECT_EQ(outcome.exitCode, 0);
  EXPECT_NE(outcome.err.find("no input 'token_type_ids'"), std::string::npos);
  expectScore(path("out.npz"));
}

TEST_F(RunTest, files_that_are_no_artifact) {
  writeFile(path("text.so"), "hello");
  writeFile(path("cut.so"), readFile(ARTIFACT).substr(0, 3000));
  for (const char *command : {"run", "bench", "inspect"}) {
    expectError(program({command, path("text.so")}), 1, "text.so");
    expectError(program({command, path("cut.so")}), 1, "cut.so");
    expectError(program({command, path("none.so")}), 1, "none.so");
  }
}

TEST_F(RunTest, bench_json) {
  Outcome outcome = program({"bench", ARTIFACT, "--json", "--threads", "1",
                             "--inputs", path("in.npz"), "--warmup", "0",
                             "--runs", "4", "--outputs", path("out.npz")});
  ASSERT_EQ(outcome.exitCode, 0) << outcome.err;
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out;
  ASSERT_EQ(json["samples_s"].size(), 4u);
  for (double sample : json["samples_s"])
    EXPECT_GT(sample, 0);
  EXPECT_GT(json["peak_rss_bytes"], 1 << 20);
  EXPECT_LT(json["peak_rss_bytes"], 64 << 20);
  expectScore(path("out.npz"));
}

// The memory is the program's, not that of the one that started it.
TEST_F(RunTest, bench_memory_is_its_own) {
  std::string large(256 << 20, 'x');
  Outcome outcome = program(
      {"bench", ARTIFACT, "--json", "--shape=ids=1x8", "--seconds=0.01"});
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out;
  EXPECT_LT(json["peak_rss_bytes"], 64 << 20);
  EXPECT_GE(json["samples_s"].size(), 1u);
  EXPECT_EQ(json["warmup"], 3);
  EXPECT_EQ(large[large.size() / 2], 'x');
}

TEST_F(RunTest, bench_table) {
  Outcome outcome =
      program({"bench", ARTIFACT, "--shape=ids=1x8", "--runs=10", "--profile"});
  for (const char *word : {"median", "p99", "10 runs", "runs/s", "k0_lookup",
                           "level plain", "ids=1x8"})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << outcome.out;
}

TEST_F(RunTest, bench_of_a_decoder) {
  for (const char *mode : {"--prefill", "--decode"})
    expectError(program({"bench", ARTIFACT, "--json", "--inputs",
                         path("in.npz"), mode}),
                2, "not a decoder");
}

TEST_F(RunTest, inspect_json) {
  Outcome outcome = program({"inspect", ARTIFACT, "--json", "--shape=ids=4x8"});
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out;
  EXPECT_EQ(json["name"], "handmade");
  EXPECT_EQ(json["weights_bytes"], 16);
  EXPECT_EQ(json["levels"],
            Json::parse(R"([{"name": "avx9000", "usable": false},
                            {"name": "plain", "usable": true}])"));
  const Json &entry = json["entries"][0];
  EXPECT_EQ(entry["inputs"][0]["shape"], Json({"batch", "sequence"}));
  EXPECT_EQ(entry["inputs"][0]["id_limit"], 4);
  EXPECT_EQ(entry["symbols"][0]["max"], Json());
  EXPECT_EQ(entry["symbols"][1]["max"], 64);
  EXPECT_EQ(entry["launches"][0]["nodes"], "/embed/Gather, /embed/Mul");
  EXPECT_EQ(json["entries"][1]["launches"].size(), 13u);
  EXPECT_EQ(json["description"]["fusions"][0]["fused"], 1);
  EXPECT_EQ(json["memory"]["arena_bytes"], 256);
  EXPECT_EQ(json["memory"]["output_bytes"], 128);
}

TEST_F(RunTest, inspect_text) {
  Outcome outcome = program({"inspect", ARTIFACT});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  for (const char *words :
       {"avx9000 (not on this machine) plain (taken)",
        "ids: i64 [batch x sequence], below 4", "/embed/Gather, /embed/Mul",
        "not /1/Softmax and 1 more: the scale is not a constant",
        "batch 1, sequence 16: 2.0 KiB", "0-0       batch*64"})
    EXPECT_NE(outcome.out.find(words), std::string::npos)
        << "no '" << words << "' in: " << outcome.out;
}

TEST_F(RunTest, inspect_assembly) {
  expectError(program({"inspect", ARTIFACT, "--asm", "k9"}), 1,
              "'k0_lookup' and 'k1_copy'");
  Outcome outcome = program({"inspect", ARTIFACT, "--asm", "k0_lookup"});
  if (outcome.err.find("needs a disassembler") != std::string::npos)
    GTEST_SKIP() << outcome.err;
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("<lookup>:"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("<copy>:"), std::string::npos) << outcome.out;
}
