//===- AttentionCase.cpp - An attention, its kernel, its reference --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/AttentionCase.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "gtest/gtest.h"

#include <cmath>
#include <map>

using namespace mlir;
using namespace ferrite::cpu;

namespace ferrite::test {

static constexpr int64_t dyn = ShapedType::kDynamic;

static bool isMask(AddendForm form) {
  return form == AddendForm::KeyMask || form == AddendForm::FullMask;
}

AttentionSpec AttentionCase::fullSpec() const {
  AttentionSpec full = spec;
  full.scale = scale;
  for (AddendForm form : addends) {
    AttentionAddend addend;
    if (isMask(form)) {
      addend.kind = AttentionAddend::Kind::Keep;
      addend.fill = fill;
    }
    full.addends.push_back(addend);
  }
  return full;
}

AttentionCase AttentionCase::sized(int64_t tokens) const {
  AttentionCase other = *this;
  other.queries = other.keys = tokens;
  return other;
}

AttentionData::AttentionData(const AttentionCase &c, uint32_t seed)
    : q(randomFloats(c.batch * c.queries * c.heads * c.depth, seed)),
      k(randomFloats(c.batch * c.keys * c.keyHeads * c.depth, seed + 1)),
      v(randomFloats(c.batch * c.keys * c.keyHeads * c.valueDepth, seed + 2)),
      keyBias(c.batch * c.keys, 0.f),
      fullBias(randomFloats(c.heads * c.queries * c.keys, seed + 3)),
      sinks(randomFloats(c.heads, seed + 4)), keep(c.batch * c.keys, 1),
      fullKeep(c.batch * c.queries * c.keys, 1), offsets(c.batch, 0),
      lengths(c.batch, c.keys), prefix(c.batch, 0),
      querySegments(c.batch * c.queries, 0), keySegments(c.batch * c.keys, 0) {
  for (float &x : q)
    x *= 4; // weights that differ
}

void AttentionData::mask(const AttentionCase &c, int64_t b, int64_t j) {
  keyBias[b * c.keys + j] = kLowest;
  keep[b * c.keys + j] = 0;
  for (int64_t i = 0; i < c.queries; ++i)
    maskFor(c, b, i, j);
}

void AttentionData::maskSome(const AttentionCase &c) {
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t j = 0; j < c.keys; ++j)
      if (c.keys > 1 && (j >= std::max<int64_t>(1, c.keys - 5 * b) ||
                         (b == 1 && j == c.keys / 2)))
        mask(c, b, j);
}

std::vector<JitTensor>
AttentionData::tensors(const AttentionCase &c,
                       std::vector<float> &result) const {
  using Sizes = std::vector<int64_t>;
  std::vector<JitTensor> all = {
      {q.data(), {c.batch, c.queries, c.heads, c.depth}},
      {k.data(), {c.batch, c.keys, c.keyHeads, c.depth}},
      {v.data(), {c.batch, c.keys, c.keyHeads, c.valueDepth}}};
  for (AddendForm form : c.addends)
    switch (form) {
    case AddendForm::KeyBias:
      all.emplace_back(keyBias.data(), Sizes{c.batch, 1, 1, c.keys},
                       Sizes{c.keys, 0, 0, 1});
      break;
    case AddendForm::FullBias:
      all.emplace_back(fullBias.data(), Sizes{1, c.heads, c.queries, c.keys},
                       Sizes{0, c.queries * c.keys, c.keys, 1});
      break;
    case AddendForm::KeyMask:
      all.emplace_back(keep.data(), Sizes{c.batch, c.keys});
      break;
    case AddendForm::FullMask:
      all.emplace_back(fullKeep.data(), Sizes{c.batch, 1, c.queries, c.keys},
                       Sizes{c.queries * c.keys, 0, c.keys, 1});
      break;
    }
  if (c.spec.hasOffsets)
    all.emplace_back(offsets.data(), Sizes{c.batch});
  if (c.spec.hasLengths)
    all.emplace_back(lengths.data(), Sizes{c.batch});
  if (c.spec.hasSinks)
    all.emplace_back(sinks.data(), Sizes{c.heads});
  if (c.spec.hasPrefix)
    all.emplace_back(prefix.data(), Sizes{c.batch});
  if (c.spec.hasSegments) {
    all.emplace_back(querySegments.data(), Sizes{c.batch, c.queries});
    all.emplace_back(keySegments.data(), Sizes{c.batch, c.keys});
  }
  if (c.spec.block > 0) {
    int64_t rows = blockRows.size(), columns = blockColumns.size();
    all.emplace_back(blockRows.data(), Sizes{1, layouts, rows / layouts});
    all.emplace_back(blockColumns.data(), Sizes{1, layouts, columns / layouts});
    int64_t width = PackKeysOp::widthOf(c.depth, c.valueDepth);
    panels.resize(c.batch * c.keyHeads * (c.keys + 64) * width);
    all.emplace_back(panels.data(),
                     Sizes{c.batch, c.keyHeads, c.keys + 64, width});
  }
  all.emplace_back(result.data(),
                   Sizes{c.batch, c.queries, c.heads, c.valueDepth});
  return all;
}

static KernelLayout layoutOf(MLIRContext &context, const AttentionCase &c,
                             bool knowsHeads, int64_t layouts) {
  Type f32 = Float32Type::get(&context), i1 = IntegerType::get(&context, 1),
       i64 = IntegerType::get(&context, 64);
  Type type = c.storage == Storage::F32   ? f32
              : c.storage == Storage::F16 ? Type(Float16Type::get(&context))
                                          : Type(BFloat16Type::get(&context));
  auto rows = [&](int64_t heads, int64_t d) {
    return strided(type, {dyn, dyn, knowsHeads ? heads : dyn, d},
                   {dyn, dyn, dyn, 1});
  };
  KernelLayout layout{{rows(c.heads, c.depth), rows(c.keyHeads, c.depth),
                       rows(c.keyHeads, c.valueDepth)}};
  for (AddendForm form : c.addends)
    switch (form) {
    case AddendForm::KeyBias:
      layout.operands.push_back(strided(f32, {dyn, 1, 1, dyn}, {dyn, 0, 0, 1}));
      break;
    case AddendForm::FullBias:
      layout.operands.push_back(
          strided(f32, {1, dyn, dyn, dyn}, {0, dyn, dyn, 1}));
      break;
    case AddendForm::KeyMask:
      layout.operands.push_back(contiguous(i1, {dyn, dyn}));
      break;
    case AddendForm::FullMask:
      layout.operands.push_back(
          strided(i1, {dyn, 1, dyn, dyn}, {dyn, 0, dyn, 1}));
      break;
    }
  for (bool present : {c.spec.hasOffsets, c.spec.hasLengths})
    if (present)
      layout.operands.push_back(contiguous(i64, {dyn}));
  if (c.spec.hasSinks)
    layout.operands.push_back(contiguous(f32, {dyn}));
  if (c.spec.hasPrefix)
    layout.operands.push_back(contiguous(i64, {dyn}));
  for (int i = 0; c.spec.hasSegments && i < 2; ++i)
    layout.operands.push_back(contiguous(i64, {dyn, dyn}));
  if (c.spec.block > 0) {
    Type i32 = IntegerType::get(&context, 32);
    for (int i = 0; i < 2; ++i)
      layout.operands.push_back(contiguous(i32, {1, layouts, dyn}));
    layout.operands.push_back(contiguous(
        f32, {dyn, dyn, dyn, PackKeysOp::widthOf(c.depth, c.valueDepth)}));
  }
  layout.operands.push_back(rows(c.heads, c.valueDepth));
  return layout;
}

const KernelJit &kernelFor(const std::string &level, const AttentionCase &c,
                           bool knowsHeads, int64_t layouts) {
  static std::map<std::string, std::unique_ptr<KernelJit>> kernels;
  AttentionSpec spec = c.fullSpec();
  std::string key = level;
  for (double part : {double(c.depth),
                      double(c.valueDepth),
                      c.scale,
                      double(c.fill),
                      spec.softcap,
                      double(spec.left),
                      double(spec.right),
                      double(spec.offset.constant),
                      double(spec.offset.queries),
                      double(spec.offset.keys),
                      double(spec.windowFill),
                      double(spec.joined),
                      double(spec.hasOffsets),
                      double(spec.hasLengths),
                      double(spec.hasSinks),
                      double(spec.zeroFullyMasked),
                      double(c.storage),
                      double(spec.chunk),
                      double(spec.anchors),
                      double(spec.hasPrefix),
                      double(spec.hasSegments),
                      double(spec.byteScores),
                      double(spec.block),
                      double(layouts),
                      double(knowsHeads ? c.heads : 0),
                      double(knowsHeads ? c.keyHeads : 0)})
    key += "/" + std::to_string(part);
  for (AddendForm form : c.addends)
    key += "+" + std::to_string(static_cast<int>(form));
  std::unique_ptr<KernelJit> &jit = kernels[key];
  if (!jit)
    jit = std::make_unique<KernelJit>(
        level,
        [&](MLIRContext &context) {
          return layoutOf(context, c, knowsHeads, layouts);
        },
        [&](KernelBuilder &kb) { return emitAttention(kb, spec); },
        /*keepAssembly=*/true);
  EXPECT_TRUE(jit->ok()) << jit->error();
  return *jit;
}

std::vector<float> run(const KernelJit &jit, const AttentionCase &c,
                       const AttentionData &d, int64_t pieces) {
  std::vector<float> result(c.resultSize(), -77.f);
  std::vector<JitTensor> tensors = d.tensors(c, result);
  if (jit.ok())
    jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
  return result;
}

const KernelJit &packerFor(const std::string &level, const AttentionCase &c) {
  static std::map<std::string, std::unique_ptr<KernelJit>> kernels;
  std::unique_ptr<KernelJit> &jit =
      kernels[level + "/" + std::to_string(c.depth) + "/" +
              std::to_string(c.valueDepth) + "/" +
              std::to_string(int(c.storage))];
  if (!jit)
    jit = std::make_unique<KernelJit>(
        level,
        [&](MLIRContext &context) {
          KernelLayout all = layoutOf(context, c, /*knowsHeads=*/false, 1);
          size_t panels = all.operands.size() - 2;
          return KernelLayout{
              {all.operands[1], all.operands[2], all.operands[panels]}};
        },
        emitPackKeysKernel);
  EXPECT_TRUE(jit->ok()) << jit->error();
  return *jit;
}

/// Whether a block list keeps a key for a query at that position.
static bool isListed(const AttentionCase &c, const AttentionData &d, int64_t h,
                     int64_t at, int64_t j) {
  int64_t rows = d.blockRows.size() / d.layouts - 1, row = at / c.spec.block;
  if (at < 0 || row >= rows)
    return true;
  const int32_t *ends = &d.blockRows[h % d.layouts * (rows + 1) + row];
  int64_t size = d.blockColumns.size() / d.layouts;
  bool found = false, any = false;
  if (ends[0] < 0 || ends[1] > size)
    return true;
  for (int64_t e = ends[0]; e < ends[1]; ++e) {
    int64_t column = d.blockColumns[h % d.layouts * size + e];
    found |= column == j / c.spec.block;
    any |= column >= 0 && column * c.spec.block < c.keys;
  }
  return found || !any;
}

/// The score of a product, as f32 has it. Addends and window in their order.
static double scoreOf(const AttentionCase &c, const AttentionData &d,
                      double score, int64_t b, int64_t h, int64_t i, int64_t j,
                      bool inside) {
  if (c.spec.softcap > 0)
    score = c.spec.softcap * std::tanh(score / c.spec.softcap);
  bool soft = std::isfinite(c.spec.windowFill);
  auto add = [&](double x) { // doubles keep the digits of small sums
    bool low = std::fabs(x) > 1e3 || std::fabs(score) > 1e3;
    score = low ? static_cast<float>(static_cast<float>(score) + x) : score + x;
  };
  for (AddendForm form : c.addends)
    switch (form) {
    case AddendForm::KeyBias:
      add(d.keyBias[b * c.keys + j]);
      break;
    case AddendForm::FullBias:
      add(d.fullBias[(h * c.queries + i) * c.keys + j]);
      break;
    case AddendForm::KeyMask:
    case AddendForm::FullMask: {
      bool kept = form == AddendForm::KeyMask
                      ? d.keep[b * c.keys + j]
                      : d.fullKeep[(b * c.queries + i) * c.keys + j];
      if (!kept || (c.spec.joined && !inside))
        add(c.fill);
      break;
    }
    }
  if (!inside && !soft)
    return -kInf;
  if (!inside && !c.spec.joined)
    add(c.spec.windowFill);
  return score;
}

std::vector<double> reference(const AttentionCase &c, const AttentionData &d,
                              const ProductFn &product) {
  std::vector<double> result(c.resultSize()), s(c.keys);
  const AttentionSpec &spec = c.spec;
  for (int64_t row = 0; row < c.batch * c.queries * c.heads; ++row) {
    int64_t h = row % c.heads, i = row / c.heads % c.queries,
            b = row / c.heads / c.queries;
    int64_t kh = h / (c.heads / c.keyHeads);
    int64_t at = i + spec.offset.constant + spec.offset.queries * c.queries +
                 spec.offset.keys * c.keys +
                 (spec.hasOffsets ? d.offsets[b] : 0);
    double highest = spec.hasSinks ? d.sinks[h] : -kInf, sum = 0;
    for (int64_t j = 0; j < c.keys; ++j) {
      double dot = product ? product(b, h, i, j) : 0;
      for (int64_t e = 0; !product && e < c.depth; ++e)
        dot += double(d.q[row * c.depth + e]) *
               d.k[((b * c.keys + j) * c.keyHeads + kh) * c.depth + e];
      bool before = (spec.left < 0 || j >= at - spec.left) || j < spec.anchors,
           after = spec.right < 0 || j <= at + spec.right;
      if (spec.chunk > 0) { // quotients that are rounded down
        int64_t first = (at - (at < 0 ? spec.chunk - 1 : 0)) / spec.chunk;
        before &= j / spec.chunk >= first || j < spec.anchors;
        after &= j / spec.chunk <= first;
      }
      after |= spec.hasPrefix && j < d.prefix[b];
      bool inside = before && after &&
                    (!spec.hasSegments || d.querySegments[b * c.queries + i] ==
                                              d.keySegments[b * c.keys + j]);
      s[j] = scoreOf(c, d, dot * c.scale, b, h, i, j, inside);
      if ((spec.hasLengths && j >= d.lengths[b]) ||
          (spec.block > 0 && !isListed(c, d, h, at, j)))
        s[j] = -kInf;
      highest = std::max(highest, s[j]);
    }
    if (spec.hasSinks)
      sum = std::exp(d.sinks[h] - highest);
    for (double &x : s)
      sum += x = std::exp(x - highest);
    bool isEmpty = highest == -kInf;
    for (int64_t e = 0; e < c.valueDepth; ++e) {
      double o = 0;
      for (int64_t j = 0; j < c.keys; ++j)
        o +=
            s[j] * d.v[((b * c.keys + j) * c.keyHeads + kh) * c.valueDepth + e];
      result[row * c.valueDepth + e] =
          isEmpty ? (spec.zeroFullyMasked ? 0 : NAN) : o / sum;
    }
  }
  return result;
}

double worst(const std::vector<float> &got, const std::vector<double> &want) {
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(want[i]))
      continue;
    double off = std::fabs(got[i] - want[i]);
    most = std::isnan(off) ? kInf : std::max(most, off);
  }
  return most;
}

double worstOfThree(const std::string &level, const AttentionCase &c,
                    const AttentionData &d, bool knowsHeads) {
  return worst(run(kernelFor(level, c, knowsHeads), c, d, 3), reference(c, d));
}

AttentionCase groupedCase(int64_t queries, int64_t keys) {
  AttentionCase c;
  c.batch = 2;
  c.queries = queries;
  c.keys = keys;
  c.heads = 4;
  c.keyHeads = 2;
  c.depth = c.valueDepth = 32;
  return c;
}

} // namespace ferrite::test
