//===- PagedBench.cpp - Attention to pages beside memory and FMAs ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-paged-bench [--level=NAME] [--type=f32|f16|bf16|i8|i4] [--depth=N]
//                       [--heads=N] [--key-heads=N] [--threads=N] [--decode]
//                       [--prefill] [--shared=N] [--context=N]
//
// Decode: sequences of a context, a token each, both kernels together; bytes of
// keys and values a second, and the time that the machine must take at least,
// max(operations / peak, bytes / read rate), in percent of theirs (of records,
// i8 and i4, too: what unpacks them is no operation). The read
// rate is that of the same bytes by as many threads, a stream each. Prefill:
// causal operations of one sequence in percent of the FMA peak. --shared: the
// first N tokens of all sequences are the same pages, which are counted once
// among the bytes; --context: decodes of such a context alone. Rate and peak
// are measured beside each figure, wall clock; pages lie in no order.
//
//===----------------------------------------------------------------------===//
#include "machine/Probes.h"
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "runtime/cache/Record.h"
#include "test/unit/codegen/KernelJit.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t kPage = 64, any = ShapedType::kDynamic;

namespace {
struct Shape {
  std::string level, type = "f32";
  int64_t heads = 32, keyHeads = 8, depth = 64, shared = 0;
  bool isRecord() const { return type == "i8" || type == "i4"; }
  /// Elements of a pool for a token's head, and the bytes of one.
  int64_t row() const {
    return isRecord() ? record::widthOf(type == "i4", depth) : depth;
  }
  size_t width() const { return isRecord() ? 1 : type == "f32" ? 4 : 2; }
};

struct Kernels {
  KernelJit partials, attention;
};
} // namespace

static KernelJit makeKernel(const Shape &s, bool partials) {
  return KernelJit(
      s.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type f32 = b.getF32Type(), i32 = b.getI32Type();
        mlir::Type pool = s.type == "f16"    ? mlir::Type(b.getF16Type())
                          : s.type == "bf16" ? mlir::Type(b.getBF16Type())
                          : s.type == "i8"   ? mlir::Type(b.getI8Type())
                          : s.type == "i4"   ? b.getIntegerType(8, false)
                                             : f32;
        auto rows = contiguous(f32, {1, any, s.heads, s.depth});
        auto parts = contiguous(f32, {any, s.heads, any});
        cpu::KernelLayout layout{
            {rows, contiguous(pool, {any, s.keyHeads, s.row(), kPage}),
             contiguous(pool, {any, s.keyHeads, kPage, s.row()}),
             contiguous(i32, {any}), contiguous(i32, {any}),
             contiguous(b.getI64Type(), {any}), contiguous(i32, {any, any}),
             parts}};
        if (!partials)
          layout.operands.push_back(rows);
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        cpu::PagedSpec spec;
        spec.scale = 0.125;
        spec.isPartials = partials;
        spec.hasPartials = !partials;
        return emitPagedAttention(kb, spec);
      });
}

/// Seconds of both kernels one after the other, the rate of reading and the
/// peak beside them.
static void measure(const Shape &s, const Kernels &kernels, int threads,
                    int64_t runs, int64_t context, int64_t length) {
  int64_t tokens = runs * length, end = context + length;
  int64_t width = (end + kPage - 1) / kPage, pages = width * runs;
  size_t half = pages * s.keyHeads * kPage * s.row() * s.width();
  half = (half + 511) / 512 * 512;
  machine::Buffer pools(2 * half);
  if (!pools.data()) {
    std::fprintf(stderr, "no memory for %zu bytes\n", 2 * half);
    std::exit(1);
  }
  std::memset(pools.data(), 0, 2 * half);
  std::vector<int32_t> begins, contexts(runs, context), tables(pages);
  for (int64_t r = 0; r <= runs; ++r)
    begins.push_back(r * length);
  std::iota(tables.begin(), tables.end(), 0);
  std::shuffle(tables.begin(), tables.end(), std::mt19937(1));
  int64_t common = std::min(s.shared / kPage, width);
  for (int64_t r = 1; r < runs; ++r)
    std::copy_n(tables.begin(), common, tables.begin() + r * width);
  std::vector<int64_t> visible(tokens);
  std::vector<float> q = randomFloats(tokens * s.heads * s.depth, 1);
  std::vector<float> result(q.size());
  int64_t row = (s.depth + 2 + 15) / 16 * 16,
          partialRow = row / 8 * width + row;
  std::vector<float> partials(runs * s.heads * partialRow);
  std::vector<JitTensor> tensors = {
      {q.data(), {1, tokens, s.heads, s.depth}},
      {pools.data(), {pages, s.keyHeads, s.row(), kPage}},
      {pools.data() + half, {pages, s.keyHeads, kPage, s.row()}},
      {begins.data(), {runs + 1}},
      {contexts.data(), {runs}},
      {visible.data(), {tokens}},
      {tables.data(), {runs, width}},
      {partials.data(), {runs, s.heads, partialRow}}};
  std::vector<FerriteArg> first = kernels.partials.arguments(tensors);
  tensors.emplace_back(result.data(),
                       std::vector<int64_t>{1, tokens, s.heads, s.depth});
  std::vector<FerriteArg> second = kernels.attention.arguments(tensors);
  size_t scratchBytes = std::max(kernels.partials.scratchBytes(),
                                 kernels.attention.scratchBytes());
  scratchBytes = (scratchBytes + 8191) / 4096 * 4096;
  auto *scratch =
      static_cast<char *>(std::aligned_alloc(4096, scratchBytes * threads));
  std::memset(scratch, 0, scratchBytes * threads);
  auto time = [&](const KernelJit &jit, const std::vector<FerriteArg> &args) {
    int64_t units = jit.unitsFunction()(args.data());
    return machine::together(
        threads, length == 1 ? 0.04 : 0.1, [&](int thread) {
          // Units are claimed in a run; here they are dealt out like cards.
          for (int64_t u = thread; u < units; u += threads)
            jit.function()(args.data(), u, u + 1,
                           scratch + scratchBytes * thread + 64);
        });
  };
  const machine::Instruction *fma = machine::findInstruction(
      cpu::findCpuLevel(s.level)->lanes == 16 ? "f32_512" : "f32_256");
  double rate = 0, top = 0, seconds = 1e300, merge = 1e300;
  for (int round = 0; round < 3; ++round) {
    if (length == 1)
      rate = std::max(rate,
                      machine::readRate(pools.data(), 2 * half, threads, 0.04));
    top = std::max(top, machine::peakTogether(*fma, threads, 0.02));
    seconds = std::min(seconds, time(kernels.partials, first));
    merge = std::min(merge, time(kernels.attention, second));
  }
  double all = seconds + merge;
  double tokensRead = double(end * runs - (runs - 1) * common * kPage);
  double bytes = 2.0 * tokensRead * s.keyHeads * s.row() * s.width();
  double flops =
      4.0 * s.heads * s.depth * runs * length * (context + (length + 1) / 2.0);
  if (length == 1)
    std::printf("  decode b%-2ld ctx %-5ld %dT %8.1f us %6.1f MB %6.1f GB/s "
                "read %6.1f: %3.0f%%  at least: %3.0f%%  (merge %.1f us)\n",
                long(runs), long(context), threads, all * 1e6, bytes / 1e6,
                bytes / all / 1e9, rate / 1e9, 100 * bytes / all / rate,
                100 * std::max(flops / top, bytes / rate) / all, merge * 1e6);
  else
    std::printf("  prefill %-5ld after %-5ld %dT %9.1f us %6.1f GFLOP/s of "
                "%6.1f: %3.0f%%\n",
                long(length), long(context), threads, all * 1e6,
                flops / all / 1e9, top / 1e9, 100 * flops / all / top);
  std::fflush(stdout);
  std::free(scratch);
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostLevels();
  std::vector<int64_t> threads = {1, 2};
  Shape shape;
  bool decode = true, prefill = true;
  int64_t only = 0;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    auto number = [&](llvm::StringRef name, int64_t &to) {
      llvm::StringRef rest = argument;
      return rest.consume_front(name) && !rest.getAsInteger(10, to) && to > 0;
    };
    int64_t count = 0;
    if (argument.consume_front("--level="))
      levels = {argument.str()};
    else if (argument.consume_front("--type="))
      shape.type = argument.str();
    else if (number("--threads=", count))
      threads = {count};
    else if (number("--context=", only))
      prefill = false;
    else if (argument == "--decode")
      prefill = false;
    else if (argument == "--prefill")
      decode = false;
    else if (!number("--depth=", shape.depth) &&
             !number("--heads=", shape.heads) &&
             !number("--shared=", shape.shared) &&
             !number("--key-heads=", shape.keyHeads)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  for (const std::string &level : levels) {
    shape.level = level;
    Kernels kernels{makeKernel(shape, true), makeKernel(shape, false)};
    for (const KernelJit *jit : {&kernels.partials, &kernels.attention})
      if (!jit->ok()) {
        std::fprintf(stderr, "%s\n", jit->error().c_str());
        return 1;
      }
    std::printf("%s, %s, %ld heads of %ld, %ld of keys\n", level.c_str(),
                shape.type.c_str(), long(shape.heads), long(shape.depth),
                long(shape.keyHeads));
    for (int64_t count : threads) {
      if (decode)
        for (int64_t runs : {1, 8})
          for (int64_t context : only ? std::vector<int64_t>{only}
                                      : std::vector<int64_t>{128, 2048, 8192})
            measure(shape, kernels, count, runs, context - 1, 1);
      if (prefill)
        for (auto [context, length] :
             {std::pair<int64_t, int64_t>{0, 512}, {0, 2048}, {2048, 512}})
          measure(shape, kernels, count, 1, context, length);
    }
  }
  return 0;
}
