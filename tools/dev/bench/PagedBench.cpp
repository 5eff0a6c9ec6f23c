//===- PagedBench.cpp - Attention to pages beside memory and FMAs ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-paged-bench [--level=NAME] [--type=f32|f16|bf16|i8|i4] [--depth=N]
//                       [--heads=N] [--key-heads=N] [--threads=N] [--decode]
//                       [--prefill] [--shared=N] [--context=N] [--window=N]
//                       [--select=PERCENT]
//
// Decode: sequences of a context, a token each, both kernels together; bytes of
// keys and values a second, and the time that the machine must take at least,
// max(operations / peak, bytes / read rate), in percent of theirs (of records,
// i8 and i4, too: what unpacks them is no operation). The read
// rate is that of the same bytes by as many threads, a stream each. Prefill:
// causal operations of one sequence in percent of the FMA peak. --shared: the
// first N tokens of all sequences are the same pages, which are counted once
// among the bytes; --context: decodes of such a context alone. --window: each
// token sees the last N. --select: each token of a decode reads the parts of
// pages that it selects, so many percent of what it sees; summaries and
// selection are in the time, and bytes are those of what is read (keys, values
// and summaries). Rate and peak are measured beside each figure, wall clock;
// pages lie in no order.
//
//===----------------------------------------------------------------------===//
#include "machine/Probes.h"
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/EmitPages.h"
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
  int64_t heads = 32, keyHeads = 8, depth = 64, shared = 0, window = 0,
          select = 0;
  bool isRecord() const { return type == "i8" || type == "i4"; }
  /// Elements of a pool for a token's head, and the bytes of one.
  int64_t row() const {
    return isRecord() ? record::widthOf(type == "i4", depth) : depth;
  }
  size_t width() const { return isRecord() ? 1 : type == "f32" ? 4 : 2; }
};

struct Kernels {
  KernelJit partials, attention;
  std::unique_ptr<KernelJit> summarize, choose; ///< with select
};
} // namespace

static mlir::Type poolType(mlir::Builder &b, const Shape &s) {
  return s.type == "f16"    ? mlir::Type(b.getF16Type())
         : s.type == "bf16" ? mlir::Type(b.getBF16Type())
         : s.type == "i8"   ? mlir::Type(b.getI8Type())
         : s.type == "i4"   ? b.getIntegerType(8, false)
                            : mlir::Type(b.getF32Type());
}

static cpu::OperandLayout listsLayout(mlir::Builder &b, const Shape &s) {
  return contiguous(b.getI32Type(), {any, s.keyHeads, any});
}
static cpu::OperandLayout summaryLayout(mlir::Builder &b, const Shape &s) {
  return contiguous(b.getF32Type(),
                    {any, s.keyHeads, kPage, (s.depth + 7) / 8});
}

static KernelJit makeKernel(const Shape &s, bool partials) {
  return KernelJit(
      s.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type f32 = b.getF32Type(), i32 = b.getI32Type();
        mlir::Type pool = poolType(b, s);
        auto rows = contiguous(f32, {1, any, s.heads, s.depth});
        auto parts = contiguous(f32, {any, s.heads, any});
        cpu::KernelLayout layout{
            {rows, contiguous(pool, {any, s.keyHeads, s.row(), kPage}),
             contiguous(pool, {any, s.keyHeads, kPage, s.row()}),
             contiguous(i32, {any}), contiguous(i32, {any}),
             contiguous(b.getI64Type(), {any}), contiguous(i32, {any, any})}};
        if (!partials)
          layout.operands.push_back(parts);
        if (s.select)
          layout.operands.push_back(listsLayout(b, s));
        layout.operands.push_back(partials ? parts : rows);
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        cpu::PagedSpec spec;
        spec.scale = 0.125;
        spec.isPartials = partials;
        spec.hasPartials = !partials;
        spec.left = s.window - 1;
        spec.hasSelected = s.select > 0;
        return emitPagedAttention(kb, spec);
      });
}

static KernelJit makeSummarize(const Shape &s) {
  return KernelJit(
      s.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type i32 = b.getI32Type();
        auto pool = summaryLayout(b, s);
        pool.mayAlias = true;
        return cpu::KernelLayout{
            {contiguous(poolType(b, s), {any, s.keyHeads, s.row(), kPage}),
             contiguous(i32, {any}), contiguous(i32, {any}),
             contiguous(i32, {any, any}), pool, pool}};
      },
      [&](cpu::KernelBuilder &kb) { return emitSummarizePages(kb); });
}

static KernelJit makeSelect(const Shape &s) {
  return KernelJit(
      s.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type i32 = b.getI32Type();
        return cpu::KernelLayout{
            {contiguous(b.getF32Type(), {1, any, s.heads, s.depth}),
             summaryLayout(b, s), contiguous(i32, {any}),
             contiguous(i32, {any}), contiguous(b.getI64Type(), {any}),
             contiguous(i32, {any, any}), listsLayout(b, s)}};
      },
      [&](cpu::KernelBuilder &kb) {
        return emitSelectPages(
            kb, {0.125, double(s.select) / 100, 0, s.window - 1});
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
  std::vector<float> summaries;
  std::vector<int32_t> lists;
  int64_t listRow = 8 * width + 16;
  if (s.select) {
    summaries =
        randomFloats(pages * s.keyHeads * 8 * ((s.depth + 7) / 8) * 8, 2);
    lists.assign(16 * runs * s.keyHeads * listRow, 0);
  }
  JitTensor listTensor(lists.data(), {16 * runs, s.keyHeads, listRow});
  JitTensor summaryTensor(summaries.data(),
                          {pages, s.keyHeads, kPage, (s.depth + 7) / 8});
  std::vector<JitTensor> tensors = {
      {q.data(), {1, tokens, s.heads, s.depth}},
      {pools.data(), {pages, s.keyHeads, s.row(), kPage}},
      {pools.data() + half, {pages, s.keyHeads, kPage, s.row()}},
      {begins.data(), {runs + 1}},
      {contexts.data(), {runs}},
      {visible.data(), {tokens}},
      {tables.data(), {runs, width}}};
  JitTensor parts(partials.data(), {runs, s.heads, partialRow});
  auto argumentsOf = [&](const KernelJit &jit, std::vector<JitTensor> behind) {
    std::vector<JitTensor> all = tensors;
    all.insert(all.end(), behind.begin(), behind.end());
    return jit.arguments(all);
  };
  JitTensor out(result.data(), {1, tokens, s.heads, s.depth});
  std::vector<JitTensor> middle;
  if (s.select)
    middle = {listTensor};
  auto with = [&](std::vector<JitTensor> before, JitTensor after) {
    before.push_back(after);
    return before;
  };
  std::vector<FerriteArg> first =
      argumentsOf(kernels.partials, with(middle, parts));
  std::vector<JitTensor> behind = with(middle, out);
  behind.insert(behind.begin(), parts);
  std::vector<FerriteArg> second = argumentsOf(kernels.attention, behind);
  std::vector<FerriteArg> third, fourth;
  if (s.select) {
    third = kernels.summarize->arguments({tensors[1], tensors[3], tensors[4],
                                          tensors[6], summaryTensor,
                                          summaryTensor});
    fourth = kernels.choose->arguments({tensors[0], summaryTensor, tensors[3],
                                        tensors[4], tensors[5], tensors[6],
                                        listTensor});
  }
  size_t scratchBytes = std::max(kernels.partials.scratchBytes(),
                                 kernels.attention.scratchBytes());
  if (s.select)
    scratchBytes = std::max(scratchBytes,
                            size_t(std::max(kernels.summarize->scratchBytes(),
                                            kernels.choose->scratchBytes())));
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
  double rate = 0, top = 0, seconds = 1e300, merge = 1e300, choose = 1e300;
  if (s.select) // lists, for what is timed next
    time(*kernels.choose, fourth);
  for (int round = 0; round < 3; ++round) {
    if (length == 1)
      rate = std::max(rate,
                      machine::readRate(pools.data(), 2 * half, threads, 0.04));
    top = std::max(top, machine::peakTogether(*fma, threads, 0.02));
    seconds = std::min(seconds, time(kernels.partials, first));
    merge = std::min(merge, time(kernels.attention, second));
    if (s.select)
      choose = std::min(choose, time(*kernels.choose, fourth) +
                                    time(*kernels.summarize, third));
  }
  double all = seconds + merge + (s.select ? choose : 0);
  double tokensRead = double(end * runs - (runs - 1) * common * kPage);
  if (s.window)
    tokensRead = double(std::min(end, s.window) * runs);
  double summaryBytes = 0;
  if (s.select) {
    summaryBytes = tokensRead / 16 * 2 * s.depth * 4 * s.keyHeads;
    tokensRead *= double(s.select) / 100;
  }
  double bytes =
      2.0 * tokensRead * s.keyHeads * s.row() * s.width() + summaryBytes;
  double flops =
      4.0 * s.heads * s.depth * runs * length * (context + (length + 1) / 2.0);
  if (length == 1)
    flops = 4.0 * s.heads * s.depth * tokensRead;
  if (length == 1)
    std::printf(
        "  decode b%-2ld ctx %-5ld %dT %8.1f us %6.1f MB %6.1f GB/s "
        "read %6.1f: %3.0f%%  at least: %3.0f%%  (merge %.1f us, select "
        "%.1f us)\n",
        long(runs), long(context), threads, all * 1e6, bytes / 1e6,
        bytes / all / 1e9, rate / 1e9, 100 * bytes / all / rate,
        100 * std::max(flops / top, bytes / rate) / all, merge * 1e6,
        s.select ? choose * 1e6 : 0);
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
             !number("--key-heads=", shape.keyHeads) &&
             !number("--window=", shape.window) &&
             !number("--select=", shape.select)) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  for (const std::string &level : levels) {
    shape.level = level;
    Kernels kernels{makeKernel(shape, true), makeKernel(shape, false)};
    std::vector<const KernelJit *> jits = {&kernels.partials,
                                           &kernels.attention};
    if (shape.select) {
      kernels.summarize.reset(new KernelJit(makeSummarize(shape)));
      kernels.choose.reset(new KernelJit(makeSelect(shape)));
      jits.insert(jits.end(), {kernels.summarize.get(), kernels.choose.get()});
    }
    for (const KernelJit *jit : jits)
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
