//===- SkinnyBench.cpp - Linear kernels of few rows beside the memory -----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-skinny-bench [--level=NAME] [--type=f32|f16|bf16] [--threads=N]
//                        [KxN ...]
//
// For each K x N, number of threads and M = 1 to 16: the time that the machine
// must take at least, max(operations / peak, bytes of weights / read rate), in
// percent of what the kernel took. The read rate is that of the same bytes by
// as many threads; it and the peak are measured beside each figure, wall clock.
// M = 1 also in GB/s.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/PanelLayout.h"
#include "machine/Probes.h"
#include "passes/Codegen/CPU/EmitLinear.h"
#include "tools/dev/bench/KernelTime.h"

#include "llvm/ADT/StringExtras.h"

#include <cstdio>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static mlir::Type typeOf(mlir::MLIRContext &context, llvm::StringRef name) {
  mlir::Builder builder(&context);
  return name == "f16"    ? mlir::Type(builder.getF16Type())
         : name == "bf16" ? mlir::Type(builder.getBF16Type())
                          : mlir::Type(builder.getF32Type());
}

static void bench(llvm::StringRef level, llvm::StringRef type, int threads,
                  int64_t depth, int64_t columns) {
  constexpr int64_t any = ShapedType::kDynamic;
  KernelJit jit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Type f32 = typeOf(context, "f32"), weight = typeOf(context, type);
        cpu::KernelLayout layout;
        layout.operands = {contiguous(f32, {any, depth}),
                           contiguous(weight, {1}),
                           contiguous(f32, {any, columns})};
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        return emitLinear(
            kb, {depth, columns, typeOf(*kb.getContext(), type), nullptr});
      });
  if (!jit.ok()) {
    std::fprintf(stderr, "%s\n", jit.error().c_str());
    std::exit(1);
  }
  PanelLayout packed{depth, columns};
  size_t bytes = packed.elements() * (type == "f32" ? 4 : 2);
  machine::Buffer weights(bytes);
  if (!weights.data()) {
    std::fprintf(stderr, "no memory for %zu bytes of weights\n", bytes);
    std::exit(1);
  }
  std::vector<float> values = randomFloats(1 << 16, 1);
  for (int64_t i = 0; i < packed.elements(); ++i) {
    float value = values[i & 0xffff];
    uint16_t narrow = type == "f16" ? toF16(value) : toBF16(value);
    if (type == "f32")
      std::memcpy(weights.data() + i * 4, &value, 4);
    else
      std::memcpy(weights.data() + i * 2, &narrow, 2);
  }
  const machine::Instruction *fma = machine::findInstruction(
      cpu::findCpuLevel(level)->lanes == 16 ? "f32_512" : "f32_256");

  std::printf("%-6s %-4s %6ld x %-6ld %7.1f MB %dT", level.str().c_str(),
              type.str().c_str(), long(depth), long(columns), bytes / 1e6,
              threads);
  for (int64_t rows : {1, 2, 3, 4, 6, 8, 12, 16}) {
    std::vector<float> x = randomFloats(rows * depth, 2);
    std::vector<float> y(rows * columns);
    std::vector<FerriteArg> args = jit.arguments({{x.data(), {rows, depth}},
                                                  {weights.data(), {1}},
                                                  {y.data(), {rows, columns}}});
    int64_t units = jit.unitsFunction()(args.data());
    size_t scratchBytes = (jit.scratchBytes() + 4096) / 4096 * 4096;
    auto *scratch = static_cast<char *>(
        std::aligned_alloc(4096, (scratchBytes + 4096) * threads));
    double rate = 0, top = 0, seconds = 1e300;
    // In turn, as the machine changes meanwhile.
    for (int round = 0; round < 3; ++round) {
      rate = std::max(rate,
                      machine::readRate(weights.data(), bytes, threads, 0.04));
      top = std::max(top, machine::peakTogether(*fma, threads, 0.01));
      seconds = std::min(
          seconds, machine::together(threads, 0.04, [&](int thread) {
            int64_t begin = units * thread / threads,
                    end = units * (thread + 1) / threads;
            jit.function()(args.data(), begin, end,
                           scratch + (scratchBytes + 4096) * thread + 64);
          }));
    }
    double least = std::max(2.0 * rows * depth * columns / top, bytes / rate);
    if (rows == 1)
      std::printf(" read %5.1f M=1 %5.1f GB/s", rate / 1e9,
                  bytes / seconds / 1e9);
    std::printf("  %ld:%3.0f%%", long(rows), 100 * least / seconds);
    std::free(scratch);
    std::fflush(stdout);
  }
  std::printf("\n");
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostLevels();
  llvm::StringRef type = "f32";
  std::vector<int> threads = {1, 2};
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    int count;
    if (argument.consume_front("--level="))
      levels = {argument.str()};
    else if (argument.consume_front("--type="))
      type = argument;
    else if (argument.consume_front("--threads=") &&
             !argument.getAsInteger(10, count) && count > 0)
      threads = {count};
    else if (!readShape(argument, shapes)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  // L2 of one core or of two; L3; DRAM.
  if (shapes.empty())
    shapes = {{384, 384},   {768, 384},   {768, 3072},  {3072, 768},
              {1024, 4096}, {576, 49152}, {2048, 32000}};
  for (const std::string &level : levels)
    for (auto [depth, columns] : shapes)
      for (int count : threads)
        bench(level, type, count, depth, columns);
  return 0;
}
