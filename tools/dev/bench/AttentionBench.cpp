//===- AttentionBench.cpp - How near attention is to the peak -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//   ferrite-attention-bench [--level=NAME] [--type=f32|f16|bf16] [--depth=N]
//                           [--masks=TOKENS] [--blocks=TOKENS]
//                           [--select=TOKENS]
//                           [--qk8]
//
// Prints, for several numbers of tokens, the speed of the attention kernel on
// one core in percent of the FMA peak, which is measured right before and after
// each figure: of all keys, of a causal window (its time against that of all
// keys), and of one query, in bytes of keys and values a second. bf16 is
// measured against bf16 dots at a level that uses them. --qk8: scores of bytes,
// in percent of the same peak.
//
// With --masks: the time of each kind of mask against that of a causal one, for
// so many tokens, beside the scores that it keeps against the causal ones.
//
//===----------------------------------------------------------------------===//
#include "tools/dev/bench/AttentionBench.h"
#include "passes/Codegen/CPU/EmitAttention.h"
#include "tools/dev/bench/KernelTime.h"

#include <cstdio>
#include <cstdlib>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t kHeads = 4;
/// Of queries, keys, values and the result.
static llvm::StringRef storage = "f32";
static bool byteScores = false;

static KernelJit makeKernel(llvm::StringRef level, int64_t depth,
                            const cpu::AttentionSpec &spec) {
  constexpr int64_t any = ShapedType::kDynamic;
  return KernelJit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder builder(&context);
        mlir::Type element = storage == "f16" ? mlir::Type(builder.getF16Type())
                             : storage == "bf16"
                                 ? mlir::Type(builder.getBF16Type())
                                 : mlir::Type(builder.getF32Type());
        mlir::Type i1 = mlir::IntegerType::get(&context, 1),
                   i64 = mlir::IntegerType::get(&context, 64);
        cpu::KernelLayout layout;
        auto addRows = [&] {
          layout.operands.push_back(
              strided(element, {any, any, kHeads, depth}, {any, any, any, 1}));
        };
        for (int i = 0; i < 3; ++i)
          addRows();
        if (!spec.addends.empty())
          layout.operands.push_back(contiguous(i1, {any, any}));
        if (spec.hasPrefix)
          layout.operands.push_back(contiguous(i64, {any}));
        for (int i = 0; spec.hasSegments && i < 2; ++i)
          layout.operands.push_back(contiguous(i64, {any, any}));
        addRows();
        return layout;
      },
      [&](cpu::KernelBuilder &kb) { return emitAttention(kb, spec); });
}

static cpu::AttentionSpec makeSpec(int64_t right) {
  cpu::AttentionSpec spec;
  spec.scale = 0.125;
  spec.byteScores = byteScores;
  spec.right = right;
  spec.offset.keys = 1;
  spec.offset.queries = -1;
  return spec;
}

/// The operands that a mask may have: half of the keys are padding or prefix,
/// and segments have 512 tokens.
struct MaskData {
  std::vector<uint8_t> keep;
  std::vector<int64_t> prefix, segments;

  explicit MaskData(int64_t keys) : keep(keys, 1), prefix{keys / 2} {
    for (int64_t j = 0; j < keys; ++j) {
      keep[j] = j >= keys / 2;
      segments.push_back(j / 512);
    }
  }
};

/// The shortest of some runs.
static double secondsOf(const KernelJit &jit, int64_t queries, int64_t keys,
                        int64_t depth, const cpu::AttentionSpec &spec) {
  auto values = [&](int64_t count, uint32_t seed) {
    std::vector<float> wide = randomFloats(count, seed);
    auto *narrow = reinterpret_cast<uint16_t *>(wide.data());
    for (int64_t i = 0; storage != "f32" && i < count; ++i)
      narrow[i] = storage == "f16" ? toF16(wide[i]) : toBF16(wide[i]);
    return wide;
  };
  std::vector<float> q = values(queries * kHeads * depth, 1),
                     k = values(keys * kHeads * depth, 2),
                     v = values(keys * kHeads * depth, 3), y(q.size());
  MaskData masks(keys);
  using Sizes = std::vector<int64_t>;
  std::vector<JitTensor> tensors = {{q.data(), {1, queries, kHeads, depth}},
                                    {k.data(), {1, keys, kHeads, depth}},
                                    {v.data(), {1, keys, kHeads, depth}}};
  if (!spec.addends.empty())
    tensors.emplace_back(masks.keep.data(), Sizes{1, keys});
  if (spec.hasPrefix)
    tensors.emplace_back(masks.prefix.data(), Sizes{1});
  if (spec.hasSegments) {
    tensors.emplace_back(masks.segments.data() + keys - queries,
                         Sizes{1, queries});
    tensors.emplace_back(masks.segments.data(), Sizes{1, keys});
  }
  tensors.emplace_back(y.data(), Sizes{1, queries, kHeads, depth});
  std::vector<FerriteArg> args = jit.arguments(tensors);
  return timeKernel(jit, args, 0.1);
}

static void bench(llvm::StringRef level, int64_t depth) {
  const cpu::CpuLevel &row = *cpu::findCpuLevel(level);
  unsigned lanes = row.lanes;
  bool dots = storage == "bf16" && row.has(cpu::Instruction::DotBF16);
  cpu::AttentionSpec free = makeSpec(-1), limited = makeSpec(0);
  KernelJit all = makeKernel(level, depth, free),
            causal = makeKernel(level, depth, limited);
  for (const KernelJit *jit : {&all, &causal})
    if (!jit->ok()) {
      std::fprintf(stderr, "%s\n", jit->error().c_str());
      std::exit(1);
    }
  std::printf("%s %s%s, %ld heads of %ld\n", level.str().c_str(),
              storage.str().c_str(), byteScores ? " qk8" : "", long(kHeads),
              long(depth));
  for (int64_t tokens : {128, 384, 512, 1024, 1920, 2048}) {
    double top = peak(lanes, dots);
    double whole = secondsOf(all, tokens, tokens, depth, free);
    double half = secondsOf(causal, tokens, tokens, depth, limited);
    double one = secondsOf(all, 1, tokens, depth, free);
    top = std::max(top, peak(lanes, dots));
    double flops = 4.0 * kHeads * tokens * tokens * depth;
    double bytes = (storage == "f32" ? 8.0 : 4.0) * kHeads * tokens * depth;
    std::printf("  S=%-5ld %5.1f%% %7.0f us   causal in %3.0f%% of the time   "
                "one query "
                "%5.1f GB/s\n",
                long(tokens), 100 * flops / whole / top, whole * 1e6,
                100 * half / whole, bytes / one / 1e9);
    std::fflush(stdout);
  }
}

/// The scores that a causal mask of this kind keeps, of `tokens` in a row.
static int64_t keptScores(const cpu::AttentionSpec &spec, int64_t tokens) {
  MaskData masks(tokens);
  int64_t kept = 0;
  for (int64_t i = 0; i < tokens; ++i) {
    int64_t begin = spec.left < 0 ? 0 : std::max<int64_t>(0, i - spec.left);
    if (spec.chunk > 0)
      begin = std::max(begin, i / spec.chunk * spec.chunk);
    if (spec.hasSegments)
      begin = std::max(begin, i / 512 * 512);
    if (!spec.addends.empty())
      begin = std::min(i + 1, std::max(begin, tokens / 2));
    int64_t end = i + 1;
    if (spec.hasPrefix)
      end = std::max(end, masks.prefix[0]);
    kept += end - begin + std::min(begin, spec.anchors);
  }
  return kept;
}

static void benchMasks(llvm::StringRef level, int64_t depth, int64_t tokens) {
  cpu::AttentionSpec causal = makeSpec(0), window = causal, sinks, chunks,
                     segments, prefix, padding;
  window.left = 511;
  sinks = window;
  sinks.anchors = 4;
  chunks = segments = prefix = padding = causal;
  chunks.chunk = 512;
  segments.hasSegments = true;
  prefix.hasPrefix = true;
  padding.zeroFullyMasked = true;
  padding.addends.push_back({cpu::AttentionAddend::Kind::Keep,
                             -std::numeric_limits<float>::infinity()});
  std::printf("%s, %ld heads of %ld, %ld tokens: against causal\n",
              level.str().c_str(), long(kHeads), long(depth), long(tokens));
  KernelJit dense = makeKernel(level, depth, causal);
  for (auto [name, spec] : {std::pair("window of 512", &window),
                            {"... and 4 sinks", &sinks},
                            {"chunks of 512", &chunks},
                            {"documents of 512", &segments},
                            {"half is prefix", &prefix},
                            {"half is left padding", &padding}}) {
    KernelJit jit = makeKernel(level, depth, *spec);
    if (!jit.ok() || !dense.ok()) {
      std::fprintf(stderr, "%s%s\n", jit.error().c_str(),
                   dense.error().c_str());
      std::exit(1);
    }
    // Before and after, since the clock of a shared machine changes.
    double before = secondsOf(dense, tokens, tokens, depth, causal);
    double taken = secondsOf(jit, tokens, tokens, depth, *spec);
    before = std::min(before, secondsOf(dense, tokens, tokens, depth, causal));
    double kept = keptScores(*spec, tokens);
    std::printf("  %-22s %5.1f%% of the time, %5.1f%% of the scores: %.1f "
                "times as fast\n",
                name, 100 * taken / before,
                100 * kept / keptScores(causal, tokens), before / taken);
    std::fflush(stdout);
  }
}

/// The shortest of some runs of both, one after the other.
static double secondsListed(const KernelJit &packer, const KernelJit &jit,
                            const std::vector<JitTensor> &tensors) {
  size_t panels = tensors.size() - 2;
  std::vector<FerriteArg> args = jit.arguments(tensors),
                          packed = packer.arguments(
                              {tensors[1], tensors[2], tensors[panels]});
  int64_t bytes = std::max(jit.scratchBytes(), packer.scratchBytes());
  auto *scratch =
      static_cast<char *>(std::aligned_alloc(64, (bytes + 191) / 64 * 64));
  double seconds = 1e9, spent = 0;
  while (spent < 0.2) {
    double start = now();
    packer.function()(packed.data(), 0, packer.unitsFunction()(packed.data()),
                      scratch + 64);
    jit.function()(args.data(), 0, jit.unitsFunction()(args.data()),
                   scratch + 64);
    double taken = now() - start;
    seconds = std::min(seconds, taken);
    spent += taken;
  }
  std::free(scratch);
  return seconds;
}

static void benchBlocks(llvm::StringRef level, int64_t depth, int64_t tokens) {
  constexpr int64_t any = ShapedType::kDynamic, block = 64;
  int64_t rows = (tokens + block - 1) / block, width = 2 * ((depth + 15) & ~15);
  cpu::AttentionSpec dense = makeSpec(-1), listed = dense;
  listed.block = block;
  KernelJit all = makeKernel(level, depth, dense);
  auto layoutOf = [&](mlir::MLIRContext &context) {
    mlir::Type f32 = mlir::Float32Type::get(&context),
               i32 = mlir::IntegerType::get(&context, 32);
    auto heads = strided(f32, {any, any, kHeads, depth}, {any, any, any, 1});
    cpu::OperandLayout list = contiguous(i32, {1, kHeads, any});
    return cpu::KernelLayout{{heads, heads, heads, list, list,
                              contiguous(f32, {any, kHeads, any, width}),
                              heads}};
  };
  KernelJit jit(level, layoutOf, [&](cpu::KernelBuilder &kb) {
    return emitAttention(kb, listed);
  });
  KernelJit packer(
      level,
      [&](mlir::MLIRContext &context) {
        cpu::KernelLayout layout = layoutOf(context);
        return cpu::KernelLayout{
            {layout.operands[1], layout.operands[2], layout.operands[5]}};
      },
      cpu::emitPackKeysKernel);
  for (const KernelJit *each : {&all, &jit, &packer})
    if (!each->ok()) {
      std::fprintf(stderr, "%s\n", each->error().c_str());
      std::exit(1);
    }
  int64_t count = tokens * kHeads * depth;
  std::vector<float> q = randomFloats(count, 1), k = randomFloats(count, 2),
                     v = randomFloats(count, 3), y(count),
                     panels(kHeads * (tokens + 64) * width);
  std::printf("%s, %ld heads of %ld, %ld tokens, blocks of %ld\n",
              level.str().c_str(), long(kHeads), long(depth), long(tokens),
              long(block));
  for (int64_t percent : {10, 25, 50, 100}) {
    std::vector<int32_t> ends, columns;
    uint32_t state = 1;
    for (int64_t head = 0; head < kHeads; ++head) {
      size_t begin = columns.size();
      ends.push_back(0);
      for (int64_t r = 0; r < rows; ++r) {
        // So many of them, each choice equally likely.
        int64_t needed = (rows * percent + 50) / 100;
        for (int64_t c = 0; c < rows; ++c) {
          state = state * 1664525 + 1013904223;
          if ((state >> 8) % (rows - c) < needed) {
            columns.push_back(c);
            --needed;
          }
        }
        ends.push_back(columns.size() - begin);
      }
    }
    double kept = double(columns.size()) / (kHeads * rows * rows);
    using Sizes = std::vector<int64_t>;
    Sizes shape = {1, tokens, kHeads, depth};
    std::vector<JitTensor> tensors = {
        {q.data(), shape},
        {k.data(), shape},
        {v.data(), shape},
        {ends.data(), Sizes{1, kHeads, rows + 1}},
        {columns.data(), Sizes{1, kHeads, int64_t(columns.size()) / kHeads}},
        {panels.data(), Sizes{1, kHeads, tokens + 64, width}},
        {y.data(), shape}};
    double before = secondsOf(all, tokens, tokens, depth, dense);
    double taken = secondsListed(packer, jit, tensors);
    before = std::min(before, secondsOf(all, tokens, tokens, depth, dense));
    std::printf("  %5.1f%% kept: %7.0f us against %7.0f, %5.2f times as fast, "
                "%5.1f%% of what is in it\n",
                100 * kept, taken * 1e6, before * 1e6, before / taken,
                100 * kept * before / taken);
    std::fflush(stdout);
  }
}

int main(int argc, char **argv) {
  std::vector<std::string> levels = hostDotLevels();
  int64_t depth = 64, masks = 0, blocks = 0, select = 0;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    if (argument == "--qk8") {
      byteScores = true;
    } else if (argument.consume_front("--type=")) {
      storage = argument;
    } else if (argument.consume_front("--level=")) {
      levels = {argument.str()};
    } else if (argument.starts_with("--masks=") ||
               argument.starts_with("--blocks=") ||
               argument.starts_with("--select=")) {
      int64_t &tokens = argument.starts_with("--masks=")    ? masks
                        : argument.starts_with("--blocks=") ? blocks
                                                            : select;
      if (argument.split('=').second.getAsInteger(10, tokens) || tokens < 1) {
        std::fprintf(stderr, "expects a number of tokens\n");
        return 2;
      }
    } else if (!argument.consume_front("--depth=") ||
               argument.getAsInteger(10, depth) || depth < 1) {
      std::fprintf(stderr, "unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  for (const std::string &level : levels)
    if (masks > 0)
      benchMasks(level, depth, masks);
    else if (blocks > 0)
      benchBlocks(level, depth, blocks);
    else if (select > 0)
      benchSelection(level, depth, select);
    else
      bench(level, depth);
  return 0;
}
