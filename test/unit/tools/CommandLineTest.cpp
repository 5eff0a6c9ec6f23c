//===- CommandLineTest.cpp - Values of options, and misspelt names --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"
#include "Error.h"
#include "Program.h"

using namespace ferrite::cli;
using namespace ferrite::test;

static Outcome program(const std::vector<std::string> &arguments) {
  return runProgram(PROGRAM, arguments);
}

TEST(CommandLineTest, shapes) {
  NamedShape shape = parseNamedShape("a=b=2x128");
  EXPECT_EQ(shape.name, "a=b");
  EXPECT_EQ(shape.sizes, (std::vector<int64_t>{2, 128}));
  EXPECT_TRUE(parseNamedShape("x=scalar").sizes.empty());
  EXPECT_EQ(parseNamedShape("x=0").sizes, std::vector<int64_t>{0});
  for (const char *wrong : {"", "x", "=1", "x=", "x=1x", "x=x1", "x=1xx2",
                            "x=-1", "x=1.5", "x=99999999999999999999"})
    EXPECT_THROW(parseNamedShape(wrong), Error) << wrong;
}

TEST(CommandLineTest, dims) {
  std::vector<std::string> names;
  auto dims = parseDims({"batch=1..8", "seq=16", "n=2..", "m=3:4"}, names);
  ASSERT_EQ(dims.size(), 4u);
  EXPECT_STREQ(dims[0].name, "batch");
  EXPECT_EQ(dims[0].min, 1);
  EXPECT_EQ(dims[0].max, 8);
  EXPECT_EQ(dims[1].min, 16);
  EXPECT_EQ(dims[1].max, 16);
  EXPECT_EQ(dims[2].max, INT64_MAX);
  EXPECT_EQ(dims[3].max, 4);
  for (const char *wrong :
       {"", "batch", "=1", "b=", "b=..", "b=8..1", "b=0..4", "b=-1", "b=1...3"})
    EXPECT_THROW(parseDims({wrong}, names), Error) << wrong;
}

TEST(CommandLineTest, suggestions) {
  std::vector<std::string> known = {"compile", "run", "bench", "inspect"};
  EXPECT_NE(suggestion("complie", known).find("'compile'"), std::string::npos);
  EXPECT_NE(suggestion("bnech", known).find("'bench'"), std::string::npos);
  EXPECT_EQ(suggestion("transmogrify", known), "");
  EXPECT_EQ(suggestion(std::string(100000, 'x'), known), "");
}

TEST(CommandLineTest, words) {
  EXPECT_EQ(quotedList({}), "nothing");
  EXPECT_EQ(quotedList({"a"}), "'a'");
  EXPECT_EQ(quotedList({"a", "b", "c"}), "'a', 'b' and 'c'");
  std::string many = quotedList(std::vector<std::string>(50, "x"));
  EXPECT_EQ(many.substr(many.size() - 12), " and 30 more");
  EXPECT_EQ(bytesString(1023), "1023 B");
  EXPECT_EQ(bytesString(1536), "1.5 KiB");
  EXPECT_EQ(splitList("a,,b,", ','), (std::vector<std::string>{"a", "b"}));
}

TEST(CommandLineTest, misspelt_names) {
  expectError(program({}), 1, "which command");
  expectError(program({"--json"}), 1, "which command");
  expectError(program({"complie", "x"}), 1, "did you mean 'compile'?");
  expectError(program({"--versoin"}), 1, "did you mean '--version'?");
  expectError(program({"run", "--ouptuts=x", "y"}), 1,
              "'--ouptuts' of run; did you mean '--outputs'?");
  expectError(program({"compile", "m", "-x", "y"}), 1, "'-x' of compile");
  // The typo is the message, not what follows from it.
  expectError(program({"compile", "m.onnx", "--ouput", "y"}), 1, "'--ouput'");
}

TEST(CommandLineTest, wrong_values) {
  expectError(program({"run"}), 1, "ARTIFACT");
  expectError(program({"compile", "m.onnx"}), 1, "--output");
  expectError(program({"compile", "m.onnx", "-o", "o", "--emit=elf"}), 1,
              "--emit");
  expectError(program({"run", "x", "--threads", "0"}), 1, "--threads");
  expectError(program({"run", "x", "--threads", "two"}), 1, "--threads");
  expectError(program({"bench", "x", "--runs", "1", "--seconds", "1"}), 1,
              "--runs");
  expectError(program({"bench", "x", "--inputs", "a", "--shape", "b=1"}), 1,
              "--shape");
  expectError(program({"run", "x", "y"}), 1, "y");
}

TEST(CommandLineTest, version) {
  Outcome text = program({"--version"});
  EXPECT_EQ(text.exitCode, 0);
  EXPECT_EQ(text.out.rfind("ferrite ", 0), 0u);
  Outcome json = program({"--version", "--json"});
  EXPECT_EQ(json.exitCode, 0);
  EXPECT_NE(json.out.find("\"build\":\""), std::string::npos) << json.out;
  EXPECT_EQ(json.out, program({"--version", "--json"}).out);
}

TEST(CommandLineTest, each_command_has_help_with_an_example) {
  EXPECT_NE(program({"--help"}).out.find("ferrite compile model.onnx"),
            std::string::npos);
  for (const char *command :
       {"compile", "run", "bench", "inspect", "check", "verify"}) {
    Outcome help = program({command, "--help"});
    EXPECT_EQ(help.exitCode, 0);
    EXPECT_NE(help.out.find(std::string("  ferrite ") + command),
              std::string::npos)
        << help.out;
  }
}

// A full disk must not look like an answer.
TEST(CommandLineTest, unwritable_answer) {
  Outcome outcome =
      runProgram("/bin/sh", {"-c", "\"$0\" --version > /dev/full", PROGRAM});
  expectError(outcome, 1, "cannot write");
}
