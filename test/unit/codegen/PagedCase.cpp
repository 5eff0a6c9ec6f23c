//===- PagedCase.cpp - Paged attention, its kernels, its reference --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/PagedCase.h"

#include "runtime/cache/Record.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <map>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using namespace ferrite::cpu;
using namespace mlir;

static constexpr int64_t kPage = 64, dyn = ShapedType::kDynamic;

int64_t PagedCase::tokens() const {
  int64_t sum = 0;
  for (const PagedRun &r : runs)
    sum += r.length;
  return sum;
}

/// Element `i` of what (`kind`) a token has.
static float element(uint32_t sequence, int kind, int64_t token, int64_t i) {
  uint64_t x = sequence * 0x9e3779b97f4a7c15u + kind * 0xbf58476d1ce4e5b9u +
               token * 0x94d049bb133111ebu + i * 0xd6e8feb86659fd93u;
  x ^= x >> 31;
  x *= 0x7fb5d329728ea185u;
  x ^= x >> 27;
  x *= 0x81dadef4bc2dd44du;
  x ^= x >> 33;
  return float(int64_t(x >> 40)) / (1 << 23) - 1;
}

static float roundedTo(float value, Storage storage) {
  return storage == Storage::F16    ? fromF16(toF16(value))
         : storage == Storage::BF16 ? fromBF16(toBF16(value))
                                    : value;
}

namespace {
enum Kind { kQuery, kKey, kValue };

/// An operand's bytes, of f32 or of two.
struct Pool {
  std::vector<float> wide;
  std::vector<uint16_t> narrow;
  std::vector<uint8_t> bytes; ///< of records, 0xff where no token is
  Storage storage;

  Pool(size_t count, Storage storage) : storage(storage) {
    if (storage == Storage::F32)
      wide.assign(count, NAN);
    else
      narrow.assign(count, 0x7fff); // a NaN in both
  }
  void set(size_t i, float value) {
    if (storage == Storage::F32)
      wide[i] = value;
    else
      narrow[i] = storage == Storage::F16 ? toF16(value) : toBF16(value);
  }
  const void *data() const {
    if (!bytes.empty())
      return bytes.data();
    return storage == Storage::F32 ? static_cast<const void *>(wide.data())
                                   : narrow.data();
  }
};

struct Operands {
  std::vector<float> q, sinks, slopes, bias;
  std::vector<int32_t> begins, contexts, tables;
  std::vector<int64_t> visible;
  int64_t pages = 0, width = 0;
  Pool keys{0, Storage::F32}, values{0, Storage::F32};
};
} // namespace

/// What a pool keeps of so many numbers.
static int64_t poolWidth(const PagedCase &c, int64_t depth) {
  return c.recordBits ? record::widthOf(c.recordBits == 4, depth) : depth;
}

/// The numbers of a token's head, as a pool of the case gives them back.
static std::vector<float> numbersOf(const PagedCase &c, uint32_t sequence,
                                    Kind kind, int64_t token, int64_t head,
                                    std::vector<uint8_t> *record = nullptr) {
  int64_t depth = kind == kKey ? c.depth : c.valueDepth;
  std::vector<float> numbers(depth);
  for (int64_t d = 0; d < depth; ++d)
    numbers[d] = element(sequence, kind, token, head * depth + d);
  if (!c.recordBits) {
    for (float &number : numbers)
      number = roundedTo(number, c.pool);
    return numbers;
  }
  std::vector<uint8_t> bytes(poolWidth(c, depth));
  record::pack(c.recordBits == 4, numbers.data(), depth, bytes.data());
  for (int64_t d = 0; d < depth; ++d)
    numbers[d] = record::numberOf(c.recordBits == 4, bytes.data(), 1, depth, d);
  if (record)
    *record = bytes;
  return numbers;
}

static Operands operandsOf(const PagedCase &c) {
  Operands o;
  o.begins = {0};
  for (const PagedRun &r : c.runs) {
    int64_t own = c.spec.cross ? 0 : r.length;
    o.width = std::max(o.width, (r.context + own + kPage - 1) / kPage);
    o.begins.push_back(o.begins.back() + r.length);
    o.contexts.push_back(r.context);
    for (int64_t t = 0; t < r.length; ++t) {
      o.visible.push_back(r.visible.empty() ? 0 : r.visible[t]);
      for (int64_t i = 0; i < c.heads * c.depth; ++i)
        o.q.push_back(element(r.sequence, kQuery, r.idOf(r.context + t), i));
    }
  }
  o.width = std::max<int64_t>(o.width, 1) + c.spareTable;
  o.pages = o.width * c.runs.size() + 3;
  o.tables.assign(o.width * c.runs.size(), -1000000);
  std::vector<int32_t> free(o.pages);
  for (int64_t i = 0; i < o.pages; ++i)
    free[i] = i;
  std::shuffle(free.begin(), free.end(), std::mt19937(o.pages));
  o.keys = Pool(o.pages * c.keyHeads * c.depth * kPage, c.pool);
  o.values = Pool(o.pages * c.keyHeads * kPage * c.valueDepth, c.pool);
  int64_t keyWidth = poolWidth(c, c.depth),
          valueWidth = poolWidth(c, c.valueDepth);
  if (c.recordBits) {
    o.keys.bytes.assign(o.pages * c.keyHeads * keyWidth * kPage, 0xff);
    o.values.bytes.assign(o.pages * c.keyHeads * valueWidth * kPage, 0xff);
  }
  std::map<std::pair<uint32_t, int64_t>, int32_t> common;
  for (auto [n, r] : llvm::enumerate(c.runs)) {
    int64_t end = r.context + (c.spec.cross ? 0 : r.length);
    int64_t first =
        c.spec.left < 0 ? 0 : std::max<int64_t>(r.context - c.spec.left, 0);
    for (int64_t j = first / kPage * kPage; j < end; ++j) {
      int32_t &page = o.tables[n * o.width + j / kPage];
      if (page < 0) {
        int32_t own = free.back();
        if (c.shares && (j / kPage + 1) * kPage <= std::min(r.inherited, end))
          own = common.try_emplace({r.parent, j / kPage}, own).first->second;
        page = own;
        if (page == free.back())
          free.pop_back();
      }
      for (int64_t h = 0; h < c.keyHeads; ++h) {
        int64_t at = page * c.keyHeads + h;
        std::vector<uint8_t> keyRecord, valueRecord;
        std::vector<float> key =
            numbersOf(c, r.ownerOf(j), kKey, r.idOf(j), h, &keyRecord);
        std::vector<float> value =
            numbersOf(c, r.ownerOf(j), kValue, r.idOf(j), h, &valueRecord);
        for (int64_t w = 0; w < int64_t(keyRecord.size()); ++w)
          o.keys.bytes[(at * keyWidth + w) * kPage + j % kPage] = keyRecord[w];
        std::copy(
            valueRecord.begin(), valueRecord.end(),
            o.values.bytes.begin() +
                (c.recordBits ? (at * kPage + j % kPage) * valueWidth : 0));
        for (int64_t d = 0; d < c.depth; ++d)
          o.keys.set((at * c.depth + d) * kPage + j % kPage, key[d]);
        for (int64_t d = 0; d < c.valueDepth; ++d)
          o.values.set((at * kPage + j % kPage) * c.valueDepth + d, value[d]);
      }
    }
  }
  o.sinks = randomFloats(c.heads, 5);
  o.slopes = randomFloats(c.heads, 6);
  for (float &slope : o.slopes)
    slope = (slope + 1) / 8;
  o.bias = randomFloats(c.heads * c.biasWidth, 7);
  return o;
}

static KernelLayout layoutOf(MLIRContext &context, const PagedCase &c,
                             bool partials, bool split) {
  Type f32 = Float32Type::get(&context), i32 = IntegerType::get(&context, 32),
       i64 = IntegerType::get(&context, 64);
  Type pool = c.pool == Storage::F32   ? f32
              : c.pool == Storage::F16 ? Type(Float16Type::get(&context))
                                       : Type(BFloat16Type::get(&context));
  if (c.recordBits)
    pool = IntegerType::get(&context, 8,
                            c.recordBits == 4 ? IntegerType::Unsigned
                                              : IntegerType::Signless);
  KernelLayout layout{
      {strided(f32, {1, dyn, c.heads, c.depth}, {dyn, dyn, c.depth, 1}),
       contiguous(pool, {dyn, c.keyHeads, poolWidth(c, c.depth), kPage}),
       contiguous(pool, {dyn, c.keyHeads, kPage, poolWidth(c, c.valueDepth)}),
       contiguous(i32, {dyn}), contiguous(i32, {dyn}), contiguous(i64, {dyn}),
       contiguous(i32, {dyn, dyn})}};
  auto add = [&](bool present, OperandLayout operand) {
    if (present)
      layout.operands.push_back(operand);
  };
  add(c.spec.hasSinks && !partials, contiguous(f32, {c.heads}));
  add(split && !partials, contiguous(f32, {dyn, c.heads, dyn}));
  add(c.spec.hasSlopes, contiguous(f32, {c.heads}));
  add(c.spec.hasBias, contiguous(f32, {c.heads, c.biasWidth}));
  add(partials, contiguous(f32, {dyn, c.heads, dyn}));
  add(!partials,
      strided(f32, {1, dyn, c.heads, c.width()}, {dyn, dyn, c.width(), 1}));
  return layout;
}

const KernelJit &ferrite::test::pagedKernel(const std::string &level,
                                            const PagedCase &c, bool partials,
                                            bool split) {
  static std::map<std::string, std::unique_ptr<KernelJit>> kernels;
  PagedSpec spec = c.spec;
  spec.isPartials = partials;
  spec.hasPartials = split && !partials;
  spec.hasSinks &= !partials;
  std::string key = level;
  for (double part : {double(c.heads),
                      double(c.keyHeads),
                      double(c.depth),
                      double(c.valueDepth),
                      double(c.pool),
                      double(c.recordBits),
                      spec.scale,
                      spec.softcap,
                      double(spec.left),
                      double(spec.from),
                      double(spec.until),
                      double(spec.gap),
                      double(spec.cross),
                      double(spec.hasSinks),
                      double(spec.hasPartials),
                      double(spec.hasSlopes),
                      double(spec.hasBias),
                      double(partials),
                      double(c.biasWidth),
                      double(c.spec.hasLse)})
    key += "/" + std::to_string(part);
  std::unique_ptr<KernelJit> &jit = kernels[key];
  if (!jit)
    jit = std::make_unique<KernelJit>(
        level,
        [&](MLIRContext &context) {
          return layoutOf(context, c, partials, split);
        },
        [&](KernelBuilder &kb) { return emitPagedAttention(kb, spec); },
        /*keepAssembly=*/true);
  EXPECT_TRUE(jit->ok()) << jit->error();
  return *jit;
}

std::vector<float> ferrite::test::run(const std::string &level,
                                      const PagedCase &c, bool split,
                                      int64_t pieces) {
  Operands o = operandsOf(c);
  int64_t runs = c.runs.size(), tokens = c.tokens();
  int64_t row = llvm::alignTo(c.valueDepth + 2, 16);
  int64_t partialRow = row / 8 * o.width + row;
  std::vector<float> partials(runs * c.heads * partialRow, NAN);
  std::vector<float> result(tokens * c.heads * c.width(), -77.f);
  std::vector<JitTensor> first = {
      {o.q.data(), {1, tokens, c.heads, c.depth}},
      {o.keys.data(), {o.pages, c.keyHeads, poolWidth(c, c.depth), kPage}},
      {o.values.data(),
       {o.pages, c.keyHeads, kPage, poolWidth(c, c.valueDepth)}},
      {o.begins.data(), {runs + 1}},
      {o.contexts.data(), {runs}},
      {o.visible.data(), {tokens}},
      {o.tables.data(), {runs, o.width}}};
  std::vector<JitTensor> second = first;
  JitTensor parts(partials.data(), {runs, c.heads, partialRow});
  if (c.spec.hasSinks)
    second.emplace_back(o.sinks.data(), std::vector<int64_t>{c.heads});
  if (split)
    second.push_back(parts);
  for (std::vector<JitTensor> *each : {&first, &second}) {
    if (c.spec.hasSlopes)
      each->emplace_back(o.slopes.data(), std::vector<int64_t>{c.heads});
    if (c.spec.hasBias)
      each->emplace_back(o.bias.data(),
                         std::vector<int64_t>{c.heads, c.biasWidth});
  }
  first.push_back(parts);
  second.emplace_back(result.data(),
                      std::vector<int64_t>{1, tokens, c.heads, c.width()});
  auto launch = [&](const KernelJit &jit,
                    const std::vector<JitTensor> &tensors) {
    if (jit.ok())
      jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
  };
  if (split)
    launch(pagedKernel(level, c, true, true), first);
  launch(pagedKernel(level, c, false, split), second);
  return result;
}

std::vector<double> ferrite::test::reference(const PagedCase &c) {
  Operands o = operandsOf(c);
  std::vector<double> result;
  int64_t group = c.heads / c.keyHeads;
  for (const PagedRun &r : c.runs)
    for (int64_t t = 0; t < r.length; ++t)
      for (int64_t h = 0; h < c.heads; ++h) {
        int64_t kh = h / group;
        int64_t bits = r.visible.empty() ? 0 : r.visible[t];
        int64_t end = r.context + (c.spec.cross ? 0 : r.length);
        auto sees = [&](int64_t own) {
          return bits == 0 ? own <= t : (bits >> own & 1) != 0;
        };
        // Tokens that it does not see do not count.
        auto placeOf = [&](int64_t j) {
          int64_t place = std::min(j, r.context);
          for (int64_t own = 0; own < j - r.context; ++own)
            place += sees(own);
          return place;
        };
        int64_t index = placeOf(r.context + t);
        std::vector<double> scores;
        std::vector<int64_t> seen;
        for (int64_t j = 0; j < end; ++j) {
          int64_t place = placeOf(j);
          if ((j >= r.context && !sees(j - r.context)) ||
              (c.spec.left >= 0 && place < index - c.spec.left) ||
              place < c.spec.from ||
              (c.spec.gap > 0 && place > index - c.spec.gap) ||
              (c.spec.until > 0 && place >= c.spec.until))
            continue;
          double score = 0;
          std::vector<float> key =
              numbersOf(c, r.ownerOf(j), kKey, r.idOf(j), kh);
          for (int64_t d = 0; d < c.depth; ++d)
            score += double(element(r.sequence, kQuery, r.idOf(r.context + t),
                                    h * c.depth + d)) *
                     key[d];
          score *= c.spec.scale;
          if (c.spec.softcap != 0)
            score = c.spec.softcap * std::tanh(score / c.spec.softcap);
          if (c.spec.hasSlopes)
            score += o.slopes[h] * double(place - index);
          if (c.spec.hasBias)
            score +=
                o.bias[h * c.biasWidth +
                       std::clamp<int64_t>(index - place, 0, c.biasWidth - 1)];
          scores.push_back(score);
          seen.push_back(j);
        }
        double top = c.spec.hasSinks ? double(o.sinks[h]) : -INFINITY;
        for (double score : scores)
          top = std::max(top, score);
        double total = c.spec.hasSinks ? std::exp(o.sinks[h] - top) : 0;
        std::vector<double> sums(c.valueDepth);
        for (auto [score, j] : llvm::zip(scores, seen)) {
          double weight = std::exp(score - top);
          total += weight;
          std::vector<float> value =
              numbersOf(c, r.ownerOf(j), kValue, r.idOf(j), kh);
          for (int64_t d = 0; d < c.valueDepth; ++d)
            sums[d] += weight * value[d];
        }
        for (double sum : sums)
          result.push_back(total == 0 ? 0 : sum / total);
        if (c.spec.hasLse)
          result.push_back(top + std::log(total));
      }
  return result;
}
