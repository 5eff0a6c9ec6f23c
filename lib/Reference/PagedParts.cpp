//===- PagedParts.cpp - Summaries and weights of pages, and selections ----===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// As the formulas read, in doubles, but for the number of parts that are kept,
// which is that of f32.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/PagedParts.h"
#include "dialects/Ferrite/IR/KvPool.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

static constexpr int64_t kPage = KvAppendOp::kPageTokens,
                         kParts = SummarizePagesOp::kParts,
                         kPart = kPage / kParts;

/// Number `d` of the token at `place` of a head's page.
static double keyAt(const Tensor &keys, int64_t depth, int64_t page,
                    int64_t place, int64_t d) {
  int64_t base = page * keys.dim(2) * kPage + place;
  if (keys.kind() != Kind::I8 && keys.kind() != Kind::U8)
    return keys.number(base + d * kPage);
  return record::numberOf(keys.kind() == Kind::U8,
                          reinterpret_cast<const uint8_t *>(keys.data()) + base,
                          kPage, depth, d);
}

LogicalResult ferrite::reference::evaluateSummarizePages(SummarizePagesOp op,
                                                         Frame &frame,
                                                         Tensor &out) {
  const Tensor &keys = frame[op.getKeys()], &pool = frame[op.getSummaries()];
  const Tensor &begins = frame[op.getRunBegins()];
  const Tensor &contexts = frame[op.getContexts()];
  const Tensor &tables = frame[op.getPageTables()];
  int64_t depth = kvPoolDepth(
      cast<RankedTensorType>(op.getKeys().getType()).getElementType(),
      keys.dim(2));
  int64_t runs = contexts.dim(0), heads = keys.dim(1);
  if (failed(expectSize(op, "the result", out.count(), pool.count())) ||
      failed(expectSize(op, "pages", pool.dim(0), keys.dim(0))) ||
      failed(expectSize(op, "begins", begins.dim(0), runs + 1)) ||
      failed(expectSize(op, "page tables", tables.dim(0), runs)))
    return failure();
  std::memcpy(out.mutableData(), pool.data(), pool.bytes());
  for (int64_t r = 0; r < runs; ++r) {
    int64_t context = contexts.integer(r);
    int64_t length = begins.integer(r + 1) - begins.integer(r);
    if (length <= 0)
      continue;
    int64_t end = (context + length) / kPage;
    if (context < 0 || end > tables.dim(1))
      return op.emitError("run ") << r << " is in no page table";
    for (int64_t p = std::max<int64_t>(context / kPage - 1, 0); p < end; ++p) {
      int64_t page = tables.integer(r * tables.dim(1) + p);
      if (page < 0 || page >= keys.dim(0))
        return op.emitError("page ")
               << page << " of run " << r << " is none of " << keys.dim(0);
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t part = 0; part < kParts; ++part)
          for (int64_t d = 0; d < depth; ++d) {
            double sum = 0, low = INFINITY, high = -INFINITY;
            for (int64_t j = part * kPart; j < (part + 1) * kPart; ++j) {
              double key = keyAt(keys, depth, page * heads + h, j, d);
              sum += key;
              low = std::min(low, key);
              high = std::max(high, key);
            }
            int64_t at =
                (page * heads + h) * kPage * pool.dim(3) + 2 * part * depth + d;
            out.setNumber(at, sum / kPart);
            out.setNumber(at + depth, (high - low) / 2);
          }
    }
  }
  return success();
}

LogicalResult ferrite::reference::evaluateSelectPages(SelectPagesOp op,
                                                      Frame &frame,
                                                      Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &pool = frame[op.getSummaries()];
  const Tensor &begins = frame[op.getRunBegins()];
  const Tensor &contexts = frame[op.getContexts()];
  const Tensor &visible = frame[op.getVisible()];
  const Tensor &tables = frame[op.getPageTables()];
  int64_t runs = contexts.dim(0), heads = query.dim(2), depth = query.dim(3);
  int64_t keyHeads = pool.dim(1), group = heads / keyHeads;
  constexpr int64_t most = PagedAttentionOp::kSelecting;
  if (failed(expectSize(op, "lists", out.dim(0), runs * most)) ||
      failed(expectSize(op, "a list", out.dim(2),
                        2 * kParts * tables.dim(1) +
                            PagedAttentionOp::kSelectedBegin)))
    return failure();
  for (int64_t r = 0; r < runs; ++r) {
    int64_t begin = begins.integer(r), length = begins.integer(r + 1) - begin;
    int64_t context = contexts.integer(r);
    if (length <= 0 || length > most)
      continue;
    if (context < 0 || context + length > tables.dim(1) * kPage)
      return op.emitError("run ") << r << " is in no page table";
    auto partOf = [&](int64_t index) {
      return tables.integer(r * tables.dim(1) + index / kParts) * kParts +
             index % kParts;
    };
    for (int64_t t = 0; t < length; ++t) {
      auto bits = static_cast<uint64_t>(visible.integer(begin + t)) &
                  (~uint64_t(0) >> (64 - length));
      int64_t index = context;
      for (int64_t u = 0; u < t; ++u)
        index += bits == 0 ? 1 : int64_t(bits >> u & 1);
      int64_t first = op.getLeft() < 0
                          ? 0
                          : std::max<int64_t>(index - op.getLeft(), 0) / kPart;
      int64_t own = kParts * ((bits == 0 ? index : context) / kPage);
      int64_t count = std::max<int64_t>(own - first, 0);
      int64_t seen = index / kPart + 1 - first;
      float share = op.getShare().convertToFloat();
      int64_t kept = share > 0 ? int64_t(std::ceil(share * float(seen)))
                               : (op.getTokens() + kPart - 1) / kPart;
      kept = std::max<int64_t>(kept, 12) - (seen - count);
      kept = std::min(count, std::max<int64_t>(kept, 4));
      int64_t end = (context + length + kPage - 1) / kPage * kParts;
      for (int64_t k = 0; k < keyHeads; ++k) {
        std::vector<double> scores(count);
        for (int64_t g = 0; g < group; ++g) {
          std::vector<double> guesses(count);
          double top = -INFINITY, total = 0;
          for (int64_t c = 0; c < count; ++c) {
            int64_t part = partOf(first + c);
            int64_t at = (part / kParts * keyHeads + k) * kPage * pool.dim(3) +
                         part % kParts * 2 * depth;
            if (part < 0 || part / kParts >= pool.dim(0))
              return op.emitError("page ") << part / kParts << " of run " << r
                                           << " is none of " << pool.dim(0);
            for (int64_t d = 0; d < depth; ++d) {
              double q = query.number(
                  ((begin + t) * heads + k * group + g) * depth + d);
              guesses[c] += q * pool.number(at + d) +
                            std::abs(q) * pool.number(at + depth + d) / 2;
            }
            guesses[c] *= op.getScale().convertToDouble();
            top = std::max(top, guesses[c]);
          }
          for (double &guess : guesses)
            total += guess = std::exp(guess - top);
          for (int64_t c = 0; c < count; ++c)
            scores[c] += guesses[c] / total;
        }
        for (int64_t c = 0; c < std::min<int64_t>(count, 4); ++c)
          scores[c] = INFINITY;
        std::vector<int64_t> order(count);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          return scores[a] > scores[b];
        });
        order.resize(kept);
        std::sort(order.begin(), order.end());
        int64_t at = ((r * most + t) * keyHeads + k) * out.dim(2);
        out.setInteger(at, first + count - kept);
        at += PagedAttentionOp::kSelectedBegin;
        for (int64_t c : order)
          out.setInteger(at++, partOf(first + c));
        for (int64_t c = std::max(own, first); c < end; ++c)
          out.setInteger(at++, partOf(c));
        for (int64_t i = 1; i < kParts; ++i)
          out.setInteger(at++, partOf(end - 1));
      }
    }
  }
  return success();
}

LogicalResult ferrite::reference::evaluateWeighPages(WeighPagesOp op,
                                                     Frame &frame,
                                                     Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &keys = frame[op.getKeys()];
  const Tensor &begins = frame[op.getRunBegins()];
  const Tensor &contexts = frame[op.getContexts()];
  const Tensor &tables = frame[op.getPageTables()];
  const Tensor &runs = frame[op.getRuns()], &tokens = frame[op.getTokens()];
  int64_t heads = query.dim(2), depth = query.dim(3), keyHeads = keys.dim(1);
  int64_t group = heads / keyHeads, width = tables.dim(1);
  double scale = op.getScale().convertToDouble(),
         softcap = op.getSoftcap().convertToDouble();
  if (failed(expectSize(op, "tokens", tokens.dim(0), runs.dim(0))) ||
      failed(expectSize(op, "begins", begins.dim(0), contexts.dim(0) + 1)) ||
      failed(expectSize(op, "page tables", tables.dim(0), contexts.dim(0))) ||
      failed(expectSize(op, "a row", out.dim(2), width * kPage)))
    return failure();
  for (int64_t i = 0; i < out.count(); ++i)
    out.setInteger(i, 0);
  for (int64_t w = 0; w < runs.dim(0); ++w) {
    int64_t r = runs.integer(w);
    if (r < 0 || r >= contexts.dim(0))
      return op.emitError("run ") << r << " is none of " << contexts.dim(0);
    int64_t begin = begins.integer(r), length = begins.integer(r + 1) - begin;
    int64_t context = contexts.integer(r);
    if (length < 0 || context < 0 || context + length > width * kPage ||
        begin + length > query.dim(1))
      return op.emitError("run ") << r << " is in no page table";
    int64_t count = std::clamp<int64_t>(tokens.integer(w), 0, length);
    for (int64_t t = length - count; t < length; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        std::vector<double> weights(context + t + 1);
        double top = -INFINITY, total = 0;
        for (auto [j, score] : llvm::enumerate(weights)) {
          int64_t page = tables.integer(r * width + int64_t(j) / kPage);
          if (page < 0 || page >= keys.dim(0))
            return op.emitError("page ")
                   << page << " of run " << r << " is none of " << keys.dim(0);
          for (int64_t d = 0; d < depth; ++d)
            score +=
                query.number(((begin + t) * heads + h) * depth + d) *
                keyAt(keys, depth, page * keyHeads + h / group, j % kPage, d);
          score *= scale;
          if (softcap > 0)
            score = softcap * std::tanh(score / softcap);
          top = std::max(top, score);
        }
        for (double &weight : weights)
          total += weight = std::exp(weight - top);
        for (auto [j, weight] : llvm::enumerate(weights)) {
          int64_t at = (w * keyHeads + h / group) * width * kPage + int64_t(j);
          out.setInteger(at, out.integer(at) +
                                 std::llround(std::ldexp(weight / total, 32)));
        }
      }
  }
  return success();
}
