//===- NbitsBench.cpp - Products with weights of few bits -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-nbits-bench [--level=L] [--bits=2|3|4|8] [--group=G] [--a8]
//                       [KxN ..]
//
// One core. M = 1: GB/s of packed weights, and percent of the rate at which the
// same bytes can be read from where they lie. More rows: percent of the
// arithmetic peak measured beside them, of bytes (--a8) or of f32.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/PackedCase.h"
#include "tools/dev/bench/KernelTime.h"
#include "tools/ferrite/machine/Probes.h"

#include "llvm/ADT/StringExtras.h"

#include <cstdio>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;

static void bench(const PackedCase &c) {
  PackedCase small = c;
  small.columns = std::min<int64_t>(c.columns, 64);
  // The first panel again and again: codes do not change the time.
  PackedMatrix matrix(small);
  PackedPanels panels = c.panels();
  std::unique_ptr<KernelJit> jit = makePackedKernel(c, matrix);
  if (!jit->ok()) {
    std::fprintf(stderr, "%s\n", jit->error().c_str());
    std::exit(1);
  }
  machine::Buffer weights(panels.bytes());
  if (!weights.data()) {
    std::fprintf(stderr, "no memory for the weights\n");
    std::exit(1);
  }
  for (int64_t panel = 0; panel < panels.panels(); ++panel)
    std::memcpy(weights.data() + panel * panels.panelBytes(), matrix.data(),
                panels.panelBytes());
  const cpu::CpuLevel &row = *cpu::findCpuLevel(c.level);
  bool fours = row.mixedDot() == cpu::ByteDot::Fours;
  auto measurePeak = [&] {
    return c.inputBlock ? bytePeak(row.lanes, fours) : peak(row.lanes, false);
  };
  std::printf("%-11s w%ld%s g%-4ld %5ld x %-6ld %6.1f MB", c.level.c_str(),
              long(c.bits), c.inputBlock ? "a8" : "  ", long(c.block),
              long(c.depth), long(c.columns), panels.bytes() / 1e6);
  for (int64_t rows : {1, 2, 4, 8, 16, 128, 512}) {
    std::vector<float> x = randomFloats(rows * c.depth, 2);
    std::vector<char> rounded;
    if (c.inputBlock)
      rounded = roundRows(x, rows, c.rows());
    std::vector<float> y(rows * c.columns);
    int64_t width = c.inputBlock ? c.rows().bytes() : c.depth;
    const void *input =
        c.inputBlock ? static_cast<const void *>(rounded.data()) : x.data();
    std::vector<FerriteArg> args =
        jit->arguments({{input, {rows, width}},
                        {weights.data(), {1}},
                        {y.data(), {rows, c.columns}}});
    int64_t units = jit->unitsFunction()(args.data());
    auto *scratch = static_cast<char *>(
        std::aligned_alloc(4096, (jit->scratchBytes() + 8191) / 4096 * 4096));
    double rate = 0, top = 0, seconds = 1e300;
    for (int round = 0; round < 3; ++round) {
      rate = std::max(
          rate, machine::readRate(weights.data(), panels.bytes(), 1, 0.03));
      top = std::max(top, measurePeak());
      seconds = std::min(seconds, machine::together(1, 0.04, [&](int) {
                           jit->function()(args.data(), 0, units, scratch + 64);
                         }));
    }
    double bytes = panels.bytes() / seconds;
    double share = 100 * 2.0 * rows * c.depth * c.columns / seconds / top;
    if (rows == 1)
      std::printf("  read %5.1f M=1 %5.1f GB/s %3.0f%%", rate / 1e9,
                  bytes / 1e9, 100 * bytes / rate);
    else
      std::printf("  %ld:%3.0f%%", long(rows), share);
    if (rows == 2 || rows == 4)
      std::printf("(%3.0f%%)", 100 * bytes / rate);
    std::fflush(stdout);
    std::free(scratch);
  }
  std::printf("  (%zu KB code, %.0f ms to compile)\n",
              jit->objectBytes() / 1024, jit->compileSeconds() * 1e3);
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostDotLevels();
  std::vector<int64_t> widths = {4}, groups = {32, 128};
  std::vector<bool> rounded = {false, true};
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    int64_t value;
    if (argument.consume_front("--level="))
      levels = {argument.str()};
    else if (argument.consume_front("--bits=") &&
             !argument.getAsInteger(10, value))
      widths = {value};
    else if (argument.consume_front("--group=") &&
             !argument.getAsInteger(10, value))
      groups = {value};
    else if (argument == "--a8")
      rounded = {true};
    else if (argument == "--exact")
      rounded = {false};
    else if (!readShape(argument, shapes)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  // The second level of caches; the third; DRAM.
  if (shapes.empty())
    shapes = {{1024, 1024}, {2048, 5632}, {2048, 65536}};
  for (const std::string &level : levels)
    for (int64_t bits : widths)
      for (int64_t group : groups)
        for (bool a8 : rounded)
          for (auto [depth, columns] : shapes)
            bench({level, bits, depth, columns, group, a8 ? group : 0});
  return 0;
}
