//===- MergeTokens.cpp - Tokens that become one ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// In doubles: of two tokens that are alike but for a float's rounding another
// one may go here than in a kernel.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

LogicalResult ferrite::reference::evaluateTokenMetric(TokenMetricOp op,
                                                      Frame &frame,
                                                      Tensor &out) {
  const Tensor &key = frame[op.getKey()];
  int64_t heads = key.dim(2), size = key.dim(3);
  parallelFor(key.dim(0) * key.dim(1), frame.threads, [&](int64_t token) {
    std::vector<double> row(heads * size), sum(size);
    key.readAll(token * heads * size, heads * size, row.data());
    double squares = 0;
    for (int64_t d = 0; d < size; ++d) {
      for (int64_t h = 0; h < heads; ++h)
        sum[d] += row[h * size + d];
      squares += sum[d] * sum[d];
    }
    double length = squares > 0 ? std::sqrt(squares) : 1;
    for (int64_t d = 0; d < size; ++d)
      out.setNumber(token * size + d, sum[d] / length);
  });
  return success();
}

LogicalResult ferrite::reference::evaluateMatchTokens(MatchTokensOp op,
                                                      Frame &frame,
                                                      Tensor &out) {
  const Tensor &metric = frame[op.getMetric()];
  int64_t tokens = metric.dim(1), size = metric.dim(2);
  int64_t removed = op.getRemoved(), fixed = op.getFixed();
  if (tokens < MatchTokensOp::leastTokens(removed, fixed))
    return op.emitError("expects at least ")
           << MatchTokensOp::leastTokens(removed, fixed) << " tokens, but got "
           << tokens;
  parallelFor(metric.dim(0), frame.threads, [&](int64_t b) {
    std::vector<double> rows(tokens * size);
    metric.readAll(b * tokens * size, tokens * size, rows.data());
    struct Match {
      double score;
      int64_t from, to;
    };
    std::vector<Match> matches;
    for (int64_t i = 0; i < tokens; i += 2) {
      if (i < fixed)
        continue;
      Match match{-std::numeric_limits<double>::infinity(), i, fixed | 1};
      for (int64_t j = fixed | 1; j < tokens; j += 2) {
        double score = 0;
        for (int64_t d = 0; d < size; ++d)
          score += rows[i * size + d] * rows[j * size + d];
        if (score > match.score)
          match = {score, i, j};
      }
      matches.push_back(match);
    }
    llvm::sort(matches, [](const Match &a, const Match &b) {
      return a.score != b.score ? a.score > b.score : a.from < b.from;
    });
    std::vector<int64_t> to(tokens, -1);
    for (const Match &match : ArrayRef(matches).take_front(removed))
      to[match.from] = match.to;
    int64_t stay = (tokens + 1) / 2 - removed, next = 0;
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t number = i % 2 == 1   ? stay + i / 2
                       : to[i] >= 0 ? stay + to[i] / 2
                                    : next++;
      out.setInteger(b * tokens + i, number);
    }
  });
  return success();
}

LogicalResult ferrite::reference::evaluateMergeTokens(MergeTokensOp op,
                                                      Frame &frame,
                                                      Tensor &out) {
  const Tensor &input = frame[op.getInput()], &to = frame[op.getTo()];
  int64_t tokens = input.dim(1), size = input.dim(2), left = out.dim(1);
  if (failed(expectSize(op, "the numbers of tokens", to.count(),
                        input.dim(0) * tokens)) ||
      (op.getSizes() &&
       failed(expectSize(op, "the sizes of tokens",
                         frame[op.getSizes()].count(), to.count()))))
    return failure();
  parallelFor(input.dim(0), frame.threads, [&](int64_t b) {
    std::vector<double> sums(left * size), sizes(left), row(size);
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t at = b * tokens + i, o = to.integer(at);
      if (o < 0 || o >= left)
        continue;
      double weight = op.getSizes() ? frame[op.getSizes()].number(at) : 1;
      input.readAll(at * size, size, row.data());
      for (int64_t c = 0; c < size; ++c)
        sums[o * size + c] += weight * row[c];
      sizes[o] += weight;
    }
    for (int64_t o = 0; o < left; ++o)
      for (int64_t c = 0; c < size; ++c)
        out.setNumber((b * left + o) * size + c,
                      op.getSum() ? sums[o * size + c]
                                  : sums[o * size + c] / sizes[o]);
  });
  return success();
}

LogicalResult ferrite::reference::evaluateUnmergeTokens(UnmergeTokensOp op,
                                                        Frame &frame,
                                                        Tensor &out) {
  const Tensor &input = frame[op.getInput()], &to = frame[op.getTo()];
  int64_t rows = input.dim(1), size = input.dim(2), tokens = out.dim(1);
  if (failed(expectSize(op, "the numbers of tokens", to.count(),
                        input.dim(0) * tokens)))
    return failure();
  for (int64_t at = 0; rows > 0 && at < to.count(); ++at) {
    int64_t from =
        at / tokens * rows + std::clamp<int64_t>(to.integer(at), 0, rows - 1);
    for (int64_t c = 0; c < size; ++c)
      out.setElement(at * size + c, input.element(from * size + c));
  }
  return success();
}
