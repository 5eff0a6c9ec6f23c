//===- AttentionBench.cpp - How near attention is to the peak -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-attention-bench [--level=NAME] [--depth=N]
//
// Prints, for several numbers of tokens, the speed of the attention kernel on
// one core in percent of the FMA peak, which is measured right before and after
// each figure: of all keys, of a causal window (its time against that of all
// keys), and of one query, in bytes of keys and values a second.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitAttention.h"
#include "test/unit/codegen/KernelJit.h"
#include "tools/dev/bench/FmaPeak.h"

#include <cstdio>
#include <cstdlib>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t kHeads = 4;

static KernelJit makeKernel(llvm::StringRef level, int64_t depth,
                            int64_t right) {
  constexpr int64_t any = ShapedType::kDynamic;
  return KernelJit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Type f32 = mlir::Float32Type::get(&context);
        cpu::KernelLayout layout;
        for (int i = 0; i < 4; ++i)
          layout.operands.push_back(
              strided(f32, {any, any, kHeads, depth}, {any, any, any, 1}));
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        cpu::AttentionSpec spec;
        spec.scale = 0.125;
        spec.right = right;
        spec.offset.keys = 1;
        spec.offset.queries = -1;
        return emitAttention(kb, spec);
      });
}

/// The shortest of some runs.
static double secondsOf(const KernelJit &jit, int64_t queries, int64_t keys,
                        int64_t depth) {
  std::vector<float> q = randomFloats(queries * kHeads * depth, 1),
                     k = randomFloats(keys * kHeads * depth, 2),
                     v = randomFloats(keys * kHeads * depth, 3), y(q.size());
  std::vector<FerriteArg> args =
      jit.arguments({{q.data(), {1, queries, kHeads, depth}},
                     {k.data(), {1, keys, kHeads, depth}},
                     {v.data(), {1, keys, kHeads, depth}},
                     {y.data(), {1, queries, kHeads, depth}}});
  int64_t units = jit.unitsFunction()(args.data());
  auto *scratch = static_cast<char *>(
      std::aligned_alloc(64, (jit.scratchBytes() + 191) / 64 * 64));
  double seconds = 1e9, spent = 0;
  while (spent < 0.1) {
    double start = now();
    jit.function()(args.data(), 0, units, scratch + 64);
    double taken = now() - start;
    seconds = std::min(seconds, taken);
    spent += taken;
  }
  std::free(scratch);
  return seconds;
}

static void bench(llvm::StringRef level, int64_t depth) {
  unsigned lanes = cpu::findCpuLevel(level)->lanes;
  KernelJit all = makeKernel(level, depth, -1),
            causal = makeKernel(level, depth, 0);
  for (const KernelJit *jit : {&all, &causal})
    if (!jit->ok()) {
      std::fprintf(stderr, "%s\n", jit->error().c_str());
      std::exit(1);
    }
  std::printf("%s, %ld heads of %ld\n", level.str().c_str(), long(kHeads),
              long(depth));
  for (int64_t tokens : {128, 384, 512, 1024, 1920, 2048}) {
    double top = peak(lanes);
    double whole = secondsOf(all, tokens, tokens, depth);
    double half = secondsOf(causal, tokens, tokens, depth);
    double one = secondsOf(all, 1, tokens, depth);
    top = std::max(top, peak(lanes));
    double flops = 4.0 * kHeads * tokens * tokens * depth;
    double bytes = 8.0 * kHeads * tokens * depth;
    std::printf("  S=%-5ld %5.1f%%   causal in %3.0f%% of the time   one query "
                "%5.1f GB/s\n",
                long(tokens), 100 * flops / whole / top, 100 * half / whole,
                bytes / one / 1e9);
    std::fflush(stdout);
  }
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostLevels();
  int64_t depth = 64;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    if (argument.consume_front("--level=")) {
      levels = {argument.str()};
    } else if (!argument.consume_front("--depth=") ||
               argument.getAsInteger(10, depth) || depth < 1) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  for (const std::string &level : levels)
    bench(level, depth);
  return 0;
}
