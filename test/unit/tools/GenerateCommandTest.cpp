//===- GenerateCommandTest.cpp - ferrite generate, and steps timed --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// On test/tools/ferrite/decoder.c, whose texts are known.
//
//===----------------------------------------------------------------------===//
#include "Program.h"
#include "npz/Npz.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

using namespace ferrite::cli;
using namespace ferrite::test;

using Json = nlohmann::json;
using Tokens = std::vector<int64_t>;

static Outcome program(const std::vector<std::string> &arguments) {
  return runProgram(PROGRAM, arguments);
}

/// What the decoder says behind `prompt`.
static Tokens expected(Tokens prompt, size_t count) {
  Tokens result;
  for (; count; --count) {
    int64_t sum = 0;
    for (size_t j = 0; j < prompt.size(); ++j)
      sum += prompt[j] * int64_t(j + 1);
    prompt.push_back(sum % 23);
    result.push_back(sum % 23);
  }
  return result;
}

static std::string joined(const Tokens &tokens) {
  std::string result;
  for (int64_t token : tokens)
    result += (result.empty() ? "" : ",") + std::to_string(token);
  return result;
}

namespace {
class GenerateCommandTest : public FolderTest {
protected:
  /// A package `tokenizers` that spells tokens as letters, for Python to find.
  void SetUp() override {
    FolderTest::SetUp();
    writeFile(path("tokenizers.py"),
              "class Encoding:\n"
              "    def __init__(self, ids): self.ids = ids\n"
              "class Tokenizer:\n"
              "    @staticmethod\n"
              "    def from_file(path):\n"
              "        open(path).read()\n"
              "        return Tokenizer()\n"
              "    def encode(self, text, add_special_tokens=True):\n"
              "        return Encoding([ord(c) - 97 for c in text])\n"
              "    def decode(self, ids, skip_special_tokens=True):\n"
              "        return ''.join(chr(97 + i) for i in ids)\n"
              "    def token_to_id(self, text): return ord(text) - 97\n"
              "    def get_vocab_size(self): return 23\n");
    writeFile(path("tokenizer.json"), "{}");
    setenv("PYTHONPATH", folder.c_str(), 1);
  }
  void TearDown() override {
    unsetenv("PYTHONPATH");
    FolderTest::TearDown();
  }
  static std::string letters(const Tokens &tokens) {
    std::string result;
    for (int64_t token : tokens)
      result += char('a' + token);
    return result;
  }
};
} // namespace

TEST_F(GenerateCommandTest, ids_need_no_tokenizer) {
  Outcome outcome = program({"generate", DECODER, "--prompt-ids", "5,7,1",
                             "--max-tokens", "100", "--threads", "1"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(outcome.out, joined(expected({5, 7, 1}, 100)) + "\n");
}

TEST_F(GenerateCommandTest, many_prompts_at_once) {
  Outcome outcome = program({"generate", DECODER, "--prompt-ids", "5,7,1",
                             "--prompt-ids", "2", "--max-tokens", "9"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(outcome.out, joined(expected({5, 7, 1}, 9)) + "\n" +
                             joined(expected({2}, 9)) + "\n");
}

TEST_F(GenerateCommandTest, guesses_change_nothing) {
  for (const std::vector<std::string> &guess :
       {std::vector<std::string>{"--lookup"},
        std::vector<std::string>{"--draft", DECODER}}) {
    std::vector<std::string> arguments = {
        "generate",     DECODER, "--prompt-ids", "3,4",
        "--max-tokens", "200",   "--json"};
    arguments.insert(arguments.end(), guess.begin(), guess.end());
    Outcome outcome = program(arguments);
    Json json = Json::parse(outcome.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << outcome.out << outcome.err;
    EXPECT_EQ(json["texts"][0]["samples"][0]["tokens"],
              Json(expected({3, 4}, 200)));
    EXPECT_EQ(json["texts"][0]["samples"][0]["finish"], "length");
    EXPECT_EQ(json["stats"]["text_tokens"], 200);
    EXPECT_LE(json["stats"]["steps"], 200);
    if (guess.size() == 2) {
      EXPECT_EQ(json["stats"]["drafted_tokens"],
                json["stats"]["accepted_tokens"]);
      EXPECT_GT(json["stats"]["drafted_tokens"], 100);
    }
  }
}

TEST_F(GenerateCommandTest, samples_and_beams) {
  Outcome outcome =
      program({"generate", DECODER, "--prompt-ids", "3,4", "--max-tokens", "20",
               "--samples", "3", "--temperature", "1.5", "--seed", "7",
               "--logprobs", "1", "--json"});
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out << outcome.err;
  Json samples = json["texts"][0]["samples"];
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_NE(samples[0]["tokens"], samples[1]["tokens"]);
  EXPECT_EQ(samples[2]["logprobs"].size(), 20u);
  EXPECT_LT(samples[2]["logprobs"][0], 0.0);
  outcome = program({"generate", DECODER, "--prompt-ids", "3,4", "--max-tokens",
                     "4", "--beams", "2", "--samples", "2", "--json"});
  json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out << outcome.err;
  samples = json["texts"][0]["samples"];
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0]["tokens"], Json(expected({3, 4}, 4)));
  EXPECT_GE(samples[0]["score"], samples[1]["score"]);
}

TEST_F(GenerateCommandTest, text_in_text_out) {
  std::string tokenizer = path("tokenizer.json");
  Outcome outcome = program({"generate", DECODER, "--tokenizer", tokenizer,
                             "--prompt", "fhb", "--max-tokens", "30"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(outcome.out, letters(expected({5, 7, 1}, 30)) + "\n");
  // The end of texts, by the model's files; and not.
  Tokens all = expected({5, 7, 1}, 30);
  size_t end = size_t(std::find(all.begin(), all.end(), all[6]) - all.begin());
  writeFile(path("generation_config.json"),
            "{\"eos_token_id\": [" + std::to_string(all[6]) + "]}");
  std::vector<std::string> arguments = {
      "generate", DECODER, "--tokenizer",  tokenizer,
      "--prompt", "fhb",   "--max-tokens", "30"};
  outcome = program(arguments);
  EXPECT_EQ(outcome.out,
            letters(Tokens(all.begin(), all.begin() + long(end) + 1)) + "\n");
  arguments.push_back("--ignore-end");
  EXPECT_EQ(program(arguments).out, letters(all) + "\n");
  // A string to stop at, across tokens.
  std::string stop = letters(Tokens(all.begin() + 10, all.begin() + 13));
  size_t place = letters(all).find(stop);
  arguments.insert(arguments.end(), {"--stop", stop});
  EXPECT_EQ(program(arguments).out, letters(all).substr(0, place + 3) + "\n");
}

TEST_F(GenerateCommandTest, prompts_of_files) {
  writeFile(path("prompt.txt"), "dd");
  Outcome outcome =
      program({"generate", DECODER, "--tokenizer", path("tokenizer.json"),
               "--prompt-file", path("prompt.txt"), "--max-tokens", "5"});
  EXPECT_EQ(outcome.out, letters(expected({3, 3}, 5)) + "\n") << outcome.err;
}

TEST_F(GenerateCommandTest, mistakes) {
  expectError(program({"generate", ARTIFACT, "--prompt-ids", "1"}), 2,
              "has no step entry");
  expectError(program({"generate", DECODER}), 1, "which prompt?");
  expectError(program({"generate", DECODER, "--prompt", "x"}), 1,
              "needs --tokenizer FILE");
  expectError(program({"generate", DECODER, "--prompt-ids", "1,x"}), 1,
              "'x' is no token id");
  expectError(program({"generate", DECODER, "--prompt-ids", "1,23"}), 1,
              "token 23 at [1] of the prompt: the model has 23");
  expectError(
      program({"generate", DECODER, "--prompt-ids", "1", "--top-p", "2"}), 1,
      "top_p is 2");
  expectError(program({"generate", DECODER, "--prompt", "x", "--tokenizer",
                       path("none.json")}),
              1, "cannot read the tokenizer");
  expectError(program({"generate", DECODER, "--prompt", "x", "--tokenizer",
                       path("tokenizer.json"), "--python", "no-such-python"}),
              1, "does not start");
  writeFile(path("tokenizers.py"), "raise ModuleNotFoundError(name='rust')");
  expectError(program({"generate", DECODER, "--prompt", "x", "--tokenizer",
                       path("tokenizer.json")}),
              1, "has no module rust: pip install rust");
}

TEST_F(GenerateCommandTest, bench_prints_speeds) {
  Outcome outcome = program({"generate", DECODER, "--prompt-ids", "3,4",
                             "--max-tokens", "20", "--bench", "--lookup"});
  EXPECT_EQ(outcome.exitCode, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("2 tokens of prompts"), std::string::npos)
      << outcome.err;
  // A number of its own, or it would go on to the last place.
  outcome = program(
      {"generate", DECODER, "--prompt-ids", "3,4", "--bench", "--json"});
  EXPECT_EQ(Json::parse(outcome.out)["stats"]["text_tokens"], 128)
      << outcome.err;
}

TEST_F(GenerateCommandTest, eviction_takes_numbers_of_tokens) {
  for (const char *text :
       {"streaming:64", "streaming:+64", "streaming:64+", "streaming:64+0",
        "streaming:-1+64", "streaming:", "streaming:1+99999999999999999999",
        "streaming: 1+64", "h2o:64", "h2o:0+64", "snapkv:", "snapkv:64+",
        "64+64"})
    expectError(
        program({"generate", DECODER, "--prompt-ids", "1", "--kv-evict", text}),
        1, "kv_evict takes streaming:SINKS+WINDOW");
  expectError(program({"generate", DECODER, "--prompt-ids", "1", "--kv-evict",
                       "snapkv:64"}),
              2, "compile the model with --sparsify=weigh");
}

// `bench --prefill` and `--decode`, on two sequences.
TEST_F(GenerateCommandTest, steps_are_timed) {
  int64_t ids[6] = {1, 2, 3, 4, 5, 6};
  writeNpz(path("prefill.npz"), {{ids,
                                  sizeof ids,
                                  "input_ids",
                                  FERRITE_I64,
                                  2,
                                  {2, 3},
                                  FERRITE_ON_HOST,
                                  0}});
  Outcome outcome =
      program({"bench", DECODER, "--inputs", path("prefill.npz"), "--prefill",
               "--json", "--runs", "5", "--outputs", path("out.npz")});
  Json json = Json::parse(outcome.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << outcome.out << outcome.err;
  EXPECT_EQ(json["samples_s"].size(), 5u);
  auto best = [&](int64_t sequence) {
    Array logits = NpzReader(path("out.npz")).read("logits");
    EXPECT_EQ(logits.rank, 3);
    EXPECT_EQ(logits.shape[1], 1);
    const auto *row = static_cast<float *>(logits.data.get()) + sequence * 23;
    return int64_t(std::max_element(row, row + 23) - row);
  };
  EXPECT_EQ(best(0), expected({1, 2, 3}, 1)[0]);
  EXPECT_EQ(best(1), expected({4, 5, 6}, 1)[0]);

  // A past of 70 tokens: keys are tokens, values their negatives.
  float keys[140], values[140];
  Tokens first, second;
  for (int i = 0; i < 140; ++i) {
    keys[i] = float(i * 5 % 23);
    values[i] = -keys[i];
    (i < 70 ? first : second).push_back(i * 5 % 23);
  }
  int64_t next[2] = {9, 8}, mask[142];
  std::fill(mask, mask + 142, 1);
  first.push_back(9);
  second.push_back(8);
  std::vector<FerriteTensor> tensors = {{next,
                                         sizeof next,
                                         "input_ids",
                                         FERRITE_I64,
                                         2,
                                         {2, 1},
                                         FERRITE_ON_HOST,
                                         0},
                                        {mask,
                                         sizeof mask,
                                         "attention_mask",
                                         FERRITE_I64,
                                         2,
                                         {2, 71},
                                         FERRITE_ON_HOST,
                                         0},
                                        {keys,
                                         sizeof keys,
                                         "past_key_values.0.key",
                                         FERRITE_F32,
                                         4,
                                         {2, 1, 70, 1},
                                         FERRITE_ON_HOST,
                                         0},
                                        {values,
                                         sizeof values,
                                         "past_key_values.0.value",
                                         FERRITE_F32,
                                         4,
                                         {2, 1, 70, 1},
                                         FERRITE_ON_HOST,
                                         0}};
  writeNpz(path("decode.npz"), tensors);
  outcome =
      program({"bench", DECODER, "--inputs", path("decode.npz"), "--decode",
               "--runs", "3", "--outputs", path("out.npz"), "--profile"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(best(0), expected(first, 1)[0]);
  EXPECT_EQ(best(1), expected(second, 1)[0]);

  mask[0] = 0;
  writeNpz(path("padded.npz"), tensors);
  expectError(
      program({"bench", DECODER, "--inputs", path("padded.npz"), "--decode"}),
      2, "has padding");
  expectError(
      program({"bench", DECODER, "--inputs", path("prefill.npz"), "--decode"}),
      1, "expected [batch, 1]");
  expectError(
      program({"bench", ARTIFACT, "--inputs", path("prefill.npz"), "--decode"}),
      2, "is not a decoder");
}
