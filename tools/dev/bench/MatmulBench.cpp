//===- MatmulBench.cpp - Small products of two activations ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-matmul-bench [--level=NAME] [--transposed] [BxMxKxN]...
//
// Prints the speed of batches of small products, on one core, in percent of the
// FMA peak measured right before and after each figure. Sizes are known at run
// time alone, as sequences are. --transposed: b is [N, K] in memory, as keys
// are.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitMatmul.h"
#include "tools/dev/bench/KernelTime.h"

#include <array>
#include <cstdio>
#include <cstdlib>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static KernelJit makeKernel(llvm::StringRef level, bool transposed) {
  constexpr int64_t any = ShapedType::kDynamic;
  return KernelJit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Type f32 = mlir::Float32Type::get(&context);
        cpu::KernelLayout layout;
        layout.operands = {contiguous(f32, {any, any, any}),
                           strided(f32, {any, any, any},
                                   transposed
                                       ? llvm::ArrayRef<int64_t>{any, 1, any}
                                       : llvm::ArrayRef<int64_t>{any, any, 1}),
                           contiguous(f32, {any, any, any})};
        return layout;
      },
      [&](cpu::KernelBuilder &kb) { return emitMatmul(kb, {}); });
}

static void bench(const KernelJit &jit, unsigned lanes, bool transposed,
                  int64_t batch, int64_t m, int64_t k, int64_t n) {
  std::vector<float> a = randomFloats(batch * m * k, 1),
                     b = randomFloats(batch * k * n, 2), y(batch * m * n);
  std::vector<int64_t> strides = transposed ? std::vector<int64_t>{k * n, 1, k}
                                            : std::vector<int64_t>{k * n, n, 1};
  std::vector<JitTensor> tensors = {{a.data(), {batch, m, k}},
                                    {b.data(), {batch, k, n}, strides},
                                    {y.data(), {batch, m, n}}};
  std::vector<FerriteArg> args = jit.arguments(tensors);
  double top = peak(lanes), seconds = timeKernel(jit, args, 0.1);
  top = std::max(top, peak(lanes));
  std::printf("  %ld x [%ld x %ld x %ld] %5.1f%% %7.1f us\n", long(batch),
              long(m), long(k), long(n),
              100 * 2.0 * batch * m * k * n / seconds / top, seconds * 1e6);
  std::fflush(stdout);
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostLevels();
  std::vector<std::array<int64_t, 4>> shapes;
  bool transposed = false;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    llvm::SmallVector<llvm::StringRef> parts;
    argument.split(parts, 'x');
    std::array<int64_t, 4> shape;
    bool isShape = parts.size() == shape.size();
    for (size_t p = 0; isShape && p < parts.size(); ++p)
      isShape = !parts[p].getAsInteger(10, shape[p]) && shape[p] > 0;
    if (argument.consume_front("--level=")) {
      levels = {argument.str()};
    } else if (argument == "--transposed") {
      transposed = true;
    } else if (isShape) {
      shapes.push_back(shape);
    } else {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  if (shapes.empty())
    shapes = {{96, 16, 16, 16},  {96, 16, 32, 16}, {96, 16, 64, 32},
              {96, 32, 32, 32},  {96, 64, 32, 64}, {96, 64, 64, 48},
              {96, 128, 32, 128}};
  for (const std::string &level : levels) {
    KernelJit jit = makeKernel(level, transposed);
    if (!jit.ok()) {
      std::fprintf(stderr, "%s\n", jit.error().c_str());
      return 1;
    }
    std::printf("%s%s\n", level.c_str(), transposed ? ", b transposed" : "");
    for (auto [batch, m, k, n] : shapes)
      bench(jit, cpu::findCpuLevel(level)->lanes, transposed, batch, m, k, n);
  }
  return 0;
}
