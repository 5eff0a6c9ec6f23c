//===- CompilerCommandsTest.cpp - ferrite compile, check and verify -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the program makes of its flags and of the library's answers; the library
// is test/tools/ferrite/compiler.c, which lies where the program looks for one.
//
//===----------------------------------------------------------------------===//
#include "Program.h"
#include "npz/Npz.h"

#include <nlohmann/json.hpp>

using namespace ferrite::cli;
using namespace ferrite::test;

namespace fs = std::filesystem;

namespace {
class CompilerTest : public FolderTest {
protected:
  void SetUp() override {
    FolderTest::SetUp();
    fs::create_directories(folder / "bin");
    fs::create_directories(folder / "lib");
    // A copy: the program finds its library from where it lies itself.
    fs::copy_file(PROGRAM, folder / "bin/ferrite");
    install(COMPILER);
  }
  void install(const char *library) {
    fs::copy_file(library, folder / "lib/libferrite_compiler.so",
                  fs::copy_options::overwrite_existing);
  }
  Outcome program(const std::vector<std::string> &arguments) {
    return runProgram(path("bin/ferrite"), arguments);
  }
  Outcome compile(const std::string &model,
                  std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"compile", model, "-o", path("o.so")});
    return program(more);
  }
};
} // namespace

TEST_F(CompilerTest, defaults) {
  Outcome outcome = compile("m.onnx");
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(readFile(path("o.so")),
            "model m.onnx\nname -\nemit 0\nweights 0 -\nreport -\nto -\n"
            "from -\ndump -\ndebug 0\nthreads 0\n");
  EXPECT_EQ(outcome.err, "");
}

TEST_F(CompilerTest, every_option_arrives) {
  Outcome outcome = compile(
      "m.onnx",
      {"--emit=static", "--name=net", "--cpu=avx512,avx2", "--cpu", "amx",
       "--dim=batch=1..8", "--dim", "sequence=2..", "--weights=w.bin",
       "--report=r.json", "--debug", "--threads=2",
       "--require-fusion=attention:all", "--require-fusion", "gelu:2",
       "--compile-to=fuse", "--compile-from=import", "--dump-phases-to=d"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_EQ(readFile(path("o.so")),
            "model m.onnx\nname net\nemit 1\nweights 2 w.bin\nlevel avx512\n"
            "level avx2\nlevel amx\ndim batch 1 8\ndim sequence 2 -1\n"
            "gate attention:all\ngate gelu:2\nreport r.json\nto fuse\n"
            "from import\ndump d\ndebug 1\nthreads 2\n");
  compile("m.onnx", {"--emit=mlir", "--weights=embed"});
  EXPECT_NE(readFile(path("o.so")).find("emit 5\nweights 1 -"),
            std::string::npos);
}

// An option with many values must not swallow the model that follows.
TEST_F(CompilerTest, options_before_the_model) {
  Outcome outcome = program({"compile", "--cpu", "avx2", "--dim", "b=1..2",
                             "m.onnx", "-o", path("o.so")});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
}

TEST_F(CompilerTest, report) {
  Outcome outcome = compile("m.onnx");
  for (const char *words :
       {"o.so: 2.0 MiB, weights 1.0 MiB, for avx512, avx2",
        "364 ONNX nodes became 55 launches", "5 of 6",
        "not /5/Softmax: two masks", "/6/Transpose: copied",
        "12 x linear f32 8x64",
        "batch 1, sequence 128: 1.5 MiB (lower bound 1.0 MiB, without sharing "
        "9.0 MiB)",
        "3.50 s: import 0.25"})
    EXPECT_NE(outcome.out.find(words), std::string::npos)
        << "no '" << words << "' in: " << outcome.out;
  EXPECT_EQ(compile("m.onnx", {"--quiet"}).out, "");
  auto json =
      nlohmann::json::parse(compile("m.onnx", {"--json"}).out, nullptr, false);
  EXPECT_EQ(json["launches"], 55);
}

TEST_F(CompilerTest, progress) {
  Outcome outcome = compile("m.onnx", {"--progress", "--quiet"});
  EXPECT_NE(outcome.err.find("import\n"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("codegen\n"), std::string::npos) << outcome.err;
}

// The library hears of it and takes its files away; nothing is left half
// written.
TEST_F(CompilerTest, interrupted) {
  Outcome outcome =
      runProgram("/bin/sh", {"-c",
                             "\"$0\" compile slow.onnx -o \"$1\" & "
                             "sleep 0.5; kill -TERM $!; wait $!",
                             path("bin/ferrite"), path("o.so")});
  expectError(outcome, 1, "interrupted");
  EXPECT_FALSE(fs::exists(path("o.so")));
}

TEST_F(CompilerTest, exit_codes_and_messages) {
  Outcome bad = compile("bad.onnx");
  EXPECT_EQ(bad.exitCode, 1);
  EXPECT_EQ(bad.out, "");
  // A newline in a name does not make two lines.
  EXPECT_EQ(bad.err, "ferrite: error: node '/a b' (Add): expects two operands\n"
                     "ferrite: note: seen here\n");
  expectError(compile("later.onnx"), 2, "node 'n' (Foo)");
  expectError(compile("silent.onnx"), 3, "did not say why");
  expectError(compile("nojson.onnx"), 3, "no JSON");
  EXPECT_EQ(compile("warn.onnx").err, "ferrite: warning: old opset\n");
}

TEST_F(CompilerTest, output_that_is_the_model) {
  writeFile(path("m.onnx"), "model");
  fs::create_symlink(path("m.onnx"), path("link.onnx"));
  for (const char *output : {"m.onnx", "link.onnx", "bin/../m.onnx"})
    expectError(program({"compile", path("m.onnx"), "-o", path(output)}), 1,
                "is the model itself");
  expectError(program({"compile", path("m.onnx"), "-o", folder.string()}), 1,
              "is a folder");
  EXPECT_EQ(readFile(path("m.onnx")), "model");
}

TEST_F(CompilerTest, library_missing_or_of_another_version) {
  install(OTHER_COMPILER);
  expectError(compile("m.onnx"), 1, "needs version");
  install(ARTIFACT);
  expectError(compile("m.onnx"), 1, "ferriteCompilerApiVersion");
  writeFile(path("lib/libferrite_compiler.so"), "text");
  expectError(compile("m.onnx"), 1, "cannot load the compiler");
  fs::remove(path("lib/libferrite_compiler.so"));
  expectError(compile("m.onnx"), 1, "not installed");
  // What needs no compiler works without.
  EXPECT_EQ(program({"run", ARTIFACT, "--shape=ids=1x1"}).exitCode, 0);
}

TEST_F(CompilerTest, build_changes_with_the_library) {
  std::string build = program({"--version"}).out;
  EXPECT_EQ(program({"--version"}).out, build);
  install(OTHER_COMPILER);
  EXPECT_NE(program({"--version"}).out, build);
}

TEST_F(CompilerTest, check) {
  Outcome good = program({"check", "m.onnx"});
  EXPECT_EQ(good.exitCode, 0);
  EXPECT_EQ(good.out, "m.onnx: no problems in 7 nodes\n");
  Outcome bad = program({"check", "bad.onnx"});
  EXPECT_EQ(bad.exitCode, 2);
  EXPECT_EQ(bad.out, "bad.onnx: 2 problems\n");
  EXPECT_EQ(bad.err, "ferrite: error: node 'a': one\n"
                     "ferrite: error: node 'b': two\n");
}

TEST_F(CompilerTest, verify) {
  int64_t ids[] = {1};
  float mask[] = {0.5f};
  writeNpz(path("in.npz"),
           {{ids, 8, "ids", FERRITE_I64, 2, {1, 1}, FERRITE_ON_HOST, 0},
            {mask, 4, "mask", FERRITE_F32, 2, {1, 1}, FERRITE_ON_HOST, 0}});
  std::vector<std::string> arguments = {"verify", "m.onnx", ARTIFACT,
                                        "--inputs", path("in.npz")};
  Outcome outcome = program(arguments);
  EXPECT_EQ(outcome.exitCode, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("5.00e-01   not finite  /e/out"),
            std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find("mask (output)"), std::string::npos);
  arguments.push_back("--max-error=0.6");
  EXPECT_EQ(program(arguments).exitCode, 0);
  arguments.back() = "--max-error=0.4";
  Outcome failed = program(arguments);
  EXPECT_EQ(failed.exitCode, 1);
  EXPECT_NE(failed.err.find("value '/e/out'"), std::string::npos);
  arguments.back() = "--max-error=-1";
  expectError(program(arguments), 1, "--max-error");
}
