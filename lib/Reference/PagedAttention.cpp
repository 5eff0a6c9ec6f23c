//===- PagedAttention.cpp - Keys and values kept in pages -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// As the formulas read, in doubles. Slots, runs and page numbers are data here,
// so each is checked before it is used.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "dialects/Ferrite/IR/KvPool.h"
#include "lib/Reference/Frame.h"

#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

static constexpr int64_t kPage = KvAppendOp::kPageTokens;

/// Whether a pool has bytes, and of these whether numbers have four bits.
static bool isBytes(const Tensor &pool) {
  return pool.kind() == Kind::I8 || pool.kind() == Kind::U8;
}

static void appendRecord(KvAppendOp op, const Tensor &rows, Tensor &out,
                         int64_t row, int64_t slot, int64_t head) {
  int64_t heads = rows.dim(2), size = rows.dim(3);
  std::vector<float> numbers;
  for (int64_t d = 0; d < size; ++d)
    numbers.push_back(rows.number((row * heads + head) * size + d));
  bool isNibbles = out.kind() == Kind::U8;
  std::vector<uint8_t> bytes(record::widthOf(isNibbles, size));
  record::pack(isNibbles, numbers.data(), size, bytes.data());
  int64_t page = slot / kPage * heads + head, place = slot % kPage;
  int64_t width = bytes.size();
  for (int64_t w = 0; w < width; ++w)
    out.mutableData()[op.getKeys() ? (page * width + w) * kPage + place
                                   : (page * kPage + place) * width + w] =
        static_cast<char>(bytes[w]);
}

LogicalResult ferrite::reference::evaluateKvAppend(KvAppendOp op, Frame &frame,
                                                   Tensor &out) {
  const Tensor &rows = frame[op.getRows()], &slots = frame[op.getSlots()];
  const Tensor &pool = frame[op.getPool()];
  int64_t tokens = rows.dim(1), heads = rows.dim(2), size = rows.dim(3);
  if (failed(expectSize(op, "slots", slots.dim(0), tokens)) ||
      failed(expectSize(op, "the result", out.count(), pool.count())))
    return failure();
  std::memcpy(out.mutableData(), pool.data(), pool.bytes());
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t slot = slots.integer(t);
    if (slot < 0 || slot >= pool.dim(0) * kPage)
      return op.emitError("slot ")
             << slot << " is in none of " << pool.dim(0) << " pages";
    for (int64_t h = 0; h < heads && isBytes(pool); ++h)
      appendRecord(op, rows, out, t, slot, h);
    for (int64_t h = 0; h < heads && !isBytes(pool); ++h)
      for (int64_t d = 0; d < size; ++d) {
        int64_t page = slot / kPage * heads + h, place = slot % kPage;
        out.setNumber(op.getKeys() ? (page * size + d) * kPage + place
                                   : (page * kPage + place) * size + d,
                      rows.number((t * heads + h) * size + d));
      }
  }
  return success();
}

namespace {
/// What both ops ask of their operands.
template <typename OpTy>
struct Paged {
  OpTy op;
  const Tensor &query, &keys, &values, &begins, &contexts, &visible, &tables;
  const Tensor *slopes, *bias, *selected;
  int64_t heads, keyHeads, size, width, runs;

  Paged(OpTy op, Frame &frame)
      : op(op), query(frame[op.getQuery()]), keys(frame[op.getKeys()]),
        values(frame[op.getValues()]), begins(frame[op.getRunBegins()]),
        contexts(frame[op.getContexts()]), visible(frame[op.getVisible()]),
        tables(frame[op.getPageTables()]),
        slopes(op.getSlopes() ? &frame[op.getSlopes()] : nullptr),
        bias(op.getBias() ? &frame[op.getBias()] : nullptr),
        selected(op.getSelected() ? &frame[op.getSelected()] : nullptr),
        heads(query.dim(2)), keyHeads(keys.dim(1)), size(query.dim(3)),
        width(kvPoolDepth(
            cast<RankedTensorType>(op.getValues().getType()).getElementType(),
            values.dim(3))),
        runs(contexts.dim(0)) {}

  /// Number `d` of a token: `base` is where its page's head begins.
  static double number(const Tensor &pool, int64_t base, int64_t stride,
                       int64_t depth, int64_t d) {
    if (!isBytes(pool))
      return pool.number(base + d * stride);
    return record::numberOf(pool.kind() == Kind::U8,
                            reinterpret_cast<const uint8_t *>(pool.data()) +
                                base,
                            stride, depth, d);
  }
  double key(int64_t page, int64_t place, int64_t d) const {
    return number(keys, page * keys.dim(2) * kPage + place, kPage, size, d);
  }
  /// `place` counts all tokens of all pages.
  double value(int64_t place, int64_t d) const {
    return number(values, place * values.dim(3), 1, width, d);
  }

  LogicalResult check() {
    if (failed(expectSize(op, "pages", values.dim(0), keys.dim(0))) ||
        failed(expectSize(op, "begins", begins.dim(0), runs + 1)) ||
        failed(expectSize(op, "bits", visible.dim(0), query.dim(1))) ||
        failed(expectSize(op, "page tables", tables.dim(0), runs)))
      return failure();
    for (int64_t r = 0; r < runs; ++r) {
      int64_t begin = begins.integer(r), end = begins.integer(r + 1);
      int64_t context = contexts.integer(r);
      int64_t all = context + (op.getCross() ? 0 : end - begin);
      if (begin < 0 || begin > end || end > query.dim(1) || context < 0 ||
          all > tables.dim(1) * kPage)
        return op.emitError("run ")
               << r << " of tokens " << begin << " to " << end << " after "
               << context << " is in no page table";
    }
    return success();
  }

  /// What a token and head have selected: the parts left out, and the list.
  struct Parts {
    int64_t leftOut = 0, first = -1; ///< of `selected`; -1: all is read
  };
  Parts partsOf(int64_t r, int64_t t, int64_t keyHead) const {
    constexpr int64_t most = PagedAttentionOp::kSelecting;
    if (!selected || begins.integer(r + 1) - begins.integer(r) > most)
      return {};
    int64_t row = ((r * most + t) * keyHeads + keyHead) * selected->dim(2);
    return {selected->integer(row), row + PagedAttentionOp::kSelectedBegin};
  }
  /// Where token `j` of what is read lies: page * 64 + place.
  int64_t slotOf(int64_t r, const Parts &parts, int64_t j) const {
    if (parts.first < 0)
      return tables.integer(r * tables.dim(1) + j / kPage) * kPage + j % kPage;
    constexpr int64_t part = kPage / SummarizePagesOp::kParts;
    return selected->integer(parts.first + j / part) * part + j % part;
  }

  /// The first token that the window reaches, of those that are read.
  int64_t windowBegin(int64_t index, int64_t leftOut, const Parts &parts) {
    if (parts.first < 0)
      return index - op.getLeft();
    int64_t whole = std::max<int64_t>(index + leftOut - op.getLeft(), 0);
    return whole % (kPage / SummarizePagesOp::kParts);
  }

  /// Adds token `t` of run `r` to keys [from, to): scores of those it sees, and
  /// which they are. Failure when a page has no number.
  /// `keeps`, if it is there: whether a page of the table counts, by its place.
  LogicalResult score(int64_t r, int64_t t, int64_t h, int64_t from, int64_t to,
                      std::vector<double> &scores, std::vector<int64_t> &places,
                      const std::vector<bool> &keeps = {}) {
    int64_t context = contexts.integer(r), begin = begins.integer(r);
    int64_t length = begins.integer(r + 1) - begin;
    int64_t group = heads / keyHeads, kh = h / group;
    Parts parts = partsOf(r, t, kh);
    int64_t leftOut = parts.leftOut * (kPage / SummarizePagesOp::kParts);
    context -= leftOut;
    auto bits = op.getCross()
                    ? uint64_t(0)
                    : static_cast<uint64_t>(visible.integer(begin + t));
    auto seesOwn = [&](int64_t own) {
      return bits == 0 ? own <= t : own < 64 && ((bits >> own) & 1) != 0;
    };
    // Where a token of the run lies among those that `t` sees.
    auto placeOf = [&](int64_t own) {
      int64_t place = context;
      for (int64_t u = 0; u < own; ++u)
        place += seesOwn(u);
      return place;
    };
    const int64_t index = placeOf(t);
    double softcap = op.getSoftcap().convertToDouble();
    to = std::min(to, context + (op.getCross() ? 0 : length));
    for (int64_t j = from; j < to; ++j) {
      int64_t own = j - context;
      const int64_t at = own < 0 ? j : placeOf(own);
      if ((own >= 0 && !seesOwn(own)) ||
          (op.getLeft() >= 0 && at < windowBegin(index, leftOut, parts)) ||
          at < op.getFrom() || (op.getUntil() > 0 && at >= op.getUntil()) ||
          (op.getGap() > 0 && at > index - op.getGap()))
        continue;
      if (!keeps.empty() && !keeps[j / kPage])
        continue;
      int64_t slot = slotOf(r, parts, j), page = slot < 0 ? -1 : slot / kPage;
      if (page < 0 || page >= keys.dim(0))
        return op.emitError("page ")
               << page << " of run " << r << " is none of " << keys.dim(0);
      double score = 0;
      for (int64_t d = 0; d < size; ++d)
        score += query.number(((begin + t) * heads + h) * size + d) *
                 key(page * keyHeads + kh, slot % kPage, d);
      score *= op.getScale().convertToDouble();
      if (softcap > 0)
        score = softcap * std::tanh(score / softcap);
      if (slopes)
        score += slopes->number(h) * double(at - index);
      if (bias)
        score += bias->number(
            h * bias->dim(1) +
            std::min(std::max<int64_t>(index - at, 0), bias->dim(1) - 1));
      scores.push_back(score);
      places.push_back((page * keyHeads + kh) * kPage + slot % kPage);
    }
    return success();
  }

  /// Sums of values with weights relative to `highest`; the weights' sum.
  double sum(ArrayRef<double> scores, ArrayRef<int64_t> places, double highest,
             std::vector<double> &sums) {
    double total = 0;
    sums.assign(width, 0);
    for (auto [score, place] : llvm::zip(scores, places)) {
      double weight = std::exp(score - highest);
      total += weight;
      for (int64_t d = 0; d < width; ++d)
        sums[d] += weight * value(place, d);
    }
    return total;
  }
};
} // namespace

static double highestOf(ArrayRef<double> scores, double least) {
  for (double score : scores)
    least = std::isnan(score) ? score : std::max(least, score);
  return least;
}

/// Which pages of the table the list of the row of token `t` keeps; empty: all.
static LogicalResult keptPages(PagedAttentionOp op, Frame &frame,
                               Paged<PagedAttentionOp> &paged, int64_t r,
                               int64_t t, int64_t h, std::vector<bool> &keeps) {
  int64_t begin = paged.begins.integer(r),
          length = paged.begins.integer(r + 1) - begin,
          context = paged.contexts.integer(r);
  if (length < SelectRunPagesOp::kLeastTokens)
    return success();
  const Tensor &kept = frame[op.getKept()];
  int64_t row = (context + t) / kPage - context / kPage;
  int64_t list = (begin / kPage + 2 * r + row) * (op.getKeptPages() + 1);
  if (list + op.getKeptPages() >= kept.dim(1))
    return op.emitError("lists of pages are too short for run ") << r;
  list += h * kept.dim(1);
  int64_t count = kept.integer(list), width = paged.tables.dim(1);
  if (count == 0)
    return success();
  keeps.assign(width, false);
  // Lists have pages in the order of the table.
  for (int64_t i = 0, at = 0; i < count; ++i, ++at) {
    while (at < width &&
           paged.tables.integer(r * width + at) != kept.integer(list + 1 + i))
      ++at;
    if (at == width)
      return op.emitError("a list of run ") << r << " has pages not its own";
    keeps[at] = true;
  }
  return success();
}

LogicalResult ferrite::reference::evaluatePagedAttention(PagedAttentionOp op,
                                                         Frame &frame,
                                                         Tensor &out) {
  Paged<PagedAttentionOp> paged(op, frame);
  if (failed(paged.check()))
    return failure();
  const Tensor *sinks = op.getSinks() ? &frame[op.getSinks()] : nullptr;
  const int64_t row = out.dim(3);
  const bool hasSums = row > paged.width;
  std::vector<double> scores, sums;
  std::vector<int64_t> places;
  for (int64_t r = 0; r < paged.runs; ++r) {
    int64_t begin = paged.begins.integer(r), end = paged.begins.integer(r + 1);
    for (int64_t t = 0; t < end - begin; ++t)
      for (int64_t h = 0; h < paged.heads; ++h) {
        scores.clear();
        places.clear();
        std::vector<bool> keeps;
        if (op.getKept() && failed(keptPages(op, frame, paged, r, t, h, keeps)))
          return failure();
        if (failed(paged.score(r, t, h, 0, INT64_MAX, scores, places, keeps)))
          return failure();
        double sink = sinks ? sinks->number(h) : -INFINITY;
        double highest = highestOf(scores, sink);
        double total = paged.sum(scores, places, highest, sums);
        if (sinks)
          total += std::exp(sink - highest);
        int64_t at = ((begin + t) * paged.heads + h) * row;
        for (int64_t d = 0; d < paged.width; ++d)
          out.setNumber(at + d, total == 0 ? 0 : sums[d] / total);
        if (hasSums)
          out.setNumber(at + paged.width,
                        total == 0 ? -INFINITY : highest + std::log(total));
      }
  }
  return success();
}

LogicalResult ferrite::reference::evaluatePagedPartials(PagedPartialsOp op,
                                                        Frame &frame,
                                                        Tensor &out) {
  Paged<PagedPartialsOp> paged(op, frame);
  if (failed(paged.check()))
    return failure();
  int64_t row = PagedAttentionOp::partialWidth(paged.width);
  constexpr int64_t block = PagedAttentionOp::kBlockKeys;
  if (out.dim(2) / row * block < paged.tables.dim(1) * kPage)
    return op.emitError("a row of ") << out.dim(2) << " is too short";
  std::vector<double> scores, sums;
  std::vector<int64_t> places;
  for (int64_t r = 0; r < paged.runs; ++r) {
    int64_t tokens = paged.begins.integer(r + 1) - paged.begins.integer(r);
    for (int64_t h = 0; tokens == 1 && h < paged.heads; ++h)
      for (int64_t b = 0; b * block < paged.tables.dim(1) * kPage; ++b) {
        scores.clear();
        places.clear();
        if (failed(paged.score(r, 0, h, b * block, (b + 1) * block, scores,
                               places)))
          return failure();
        if (scores.empty())
          continue;
        double highest = highestOf(scores, -INFINITY);
        double total = paged.sum(scores, places, highest, sums);
        int64_t at = (r * paged.heads + h) * out.dim(2) + b * row;
        for (int64_t d = 0; d < paged.width; ++d)
          out.setNumber(at + d, sums[d]);
        out.setNumber(at + paged.width, highest);
        out.setNumber(at + paged.width + 1, total);
      }
  }
  return success();
}
