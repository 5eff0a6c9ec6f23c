//===- SelectBlocks.cpp - Blocks of keys chosen at run time ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// In doubles: a block whose share decides by less than a float's rounding may
// be kept here and not by a kernel.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "lib/Reference/BlockEstimate.h"
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

static constexpr int64_t kFar = int64_t(1) << 60, kPage = 64;

template <typename OpTy>
static BlockEstimate estimateOf(OpTy op, int64_t size) {
  BlockEstimate estimate;
  estimate.scale = op.getScale().convertToDouble();
  estimate.softcap = op.getSoftcap().convertToDouble();
  estimate.stride = op.getStride();
  estimate.pooled = op.getPooled();
  estimate.size = size;
  return estimate;
}

LogicalResult ferrite::reference::evaluateSelectBlocks(SelectBlocksOp op,
                                                       Frame &frame,
                                                       Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &key = frame[op.getKey()];
  const Tensor &thresholds = frame[op.getThresholds()];
  int64_t batch = query.dim(0), queries = query.dim(1), heads = query.dim(2),
          size = query.dim(3), keys = key.dim(1), keyHeads = key.dim(2);
  auto number = [&](Value value, int64_t b, int64_t none) {
    if (!value)
      return none;
    const Tensor &tensor = frame[value];
    return std::clamp(tensor.integer(tensor.count() == 1 ? 0 : b), -kFar, kFar);
  };
  for (Value value : {op.getOffsets(), op.getLengths()})
    if (value && frame[value].count() != 1 &&
        failed(expectSize(op, "a row of batches", frame[value].count(), batch)))
      return failure();
  if (failed(expectSize(op, "the batch of keys", key.dim(0), batch)) ||
      (op.getMask() &&
       failed(expectSize(op, "the mask", frame[op.getMask()].count(),
                         batch * keys))))
    return failure();
  FailureOr<Sizes> offset = frame.sizes(op, {op.getOffsetExpr()});
  if (failed(offset))
    return failure();
  BlockEstimate estimate = estimateOf(op, size);
  estimate.block = op.getBlock();
  estimate.left = op.getLeft();
  estimate.causal = op.getCausal();
  int64_t most = op.getBlocks(), block = op.getBlock();
  int64_t allBlocks = (keys + block - 1) / block,
          blocks = std::min(allBlocks, most);
  parallelFor(batch * heads, frame.threads, [&](int64_t task) {
    int64_t b = task / heads, h = task % heads, kh = h / (heads / keyHeads);
    int64_t origin =
        std::clamp((*offset)[0], -kFar, kFar) + number(op.getOffsets(), b, 0);
    int64_t length = number(op.getLengths(), b, keys);
    int64_t begin = std::max<int64_t>(origin, 0), end = origin + queries;
    if (begin >= end || keys == 0)
      return;
    std::vector<double> q((end - begin) * size), k(keys * size);
    for (int64_t p = begin; p < end; ++p)
      query.readAll(((b * queries + p - origin) * heads + h) * size, size,
                    &q[(p - begin) * size]);
    std::vector<bool> counts(keys);
    for (int64_t j = 0; j < keys; ++j) {
      key.readAll(((b * keys + j) * keyHeads + kh) * size, size, &k[j * size]);
      counts[j] = j < length &&
                  (!op.getMask() || frame[op.getMask()].integer(b * keys + j));
    }
    double threshold = thresholds.number(h);
    std::vector<double> shares = estimate.shares(q, begin, k, counts);
    int64_t base = task * out.dim(2), entries = base + most + 1;
    for (int64_t row = begin / block; row * block < end && row < most; ++row) {
      if (!estimate.causal && most < allBlocks)
        continue; // keeps all: a list without blocks
      int64_t count = estimate.causal ? std::min(row + 1, blocks) : blocks;
      ArrayRef<double> mine =
          ArrayRef(shares).slice((row - begin / block) * allBlocks, count);
      std::vector<bool> kept =
          keepBlocks(mine, std::min(row, count - 1), threshold);
      out.setInteger(base + row, row * blocks);
      out.setInteger(base + row + 1, (row + 1) * blocks);
      int64_t at = 0;
      for (int64_t j = 0; j < count; ++j)
        if (kept[j])
          out.setInteger(entries + row * blocks + at++, j);
      for (; at < blocks; ++at)
        out.setInteger(entries + row * blocks + at, allBlocks + at);
    }
  });
  return success();
}

LogicalResult ferrite::reference::evaluateSelectRunPages(SelectRunPagesOp op,
                                                         Frame &frame,
                                                         Tensor &out) {
  const Tensor &query = frame[op.getQuery()], &pool = frame[op.getKeys()];
  const Tensor &begins = frame[op.getRunBegins()],
               &contexts = frame[op.getContexts()],
               &tables = frame[op.getPageTables()],
               &thresholds = frame[op.getThresholds()];
  int64_t tokens = query.dim(1), heads = query.dim(2), size = query.dim(3);
  int64_t keyHeads = pool.dim(1), runs = contexts.count();
  if (failed(expectSize(op, "the begins of runs", begins.count(), runs + 1)) ||
      failed(expectSize(op, "the rows of the page table", tables.dim(0), runs)))
    return failure();
  BlockEstimate estimate = estimateOf(op, size);
  estimate.block = kPage;
  estimate.causal = true;
  int64_t most = op.getPages();
  for (int64_t r = 0; r < runs; ++r) {
    int64_t first = begins.integer(r), length = begins.integer(r + 1) - first;
    int64_t context = contexts.integer(r), end = context + length;
    if (first < 0 || length < 0 || first + length > tokens || context < 0 ||
        (end + kPage - 1) / kPage > tables.dim(1))
      return op.emitError("run ")
             << r << " lies outside of its tokens or pages";
    if (length < SelectRunPagesOp::kLeastTokens)
      continue;
    auto pageOf = [&](int64_t j) {
      return tables.integer(r * tables.dim(1) + j / kPage);
    };
    for (int64_t j = 0; j < end; j += kPage)
      if (pageOf(j) < 0 || pageOf(j) >= pool.dim(0))
        return op.emitError("run ") << r << " has page " << pageOf(j);
    parallelFor(heads, frame.threads, [&](int64_t h) {
      int64_t kh = h / (heads / keyHeads);
      std::vector<double> q(length * size), k(end * size);
      for (int64_t i = 0; i < length; ++i)
        query.readAll(((first + i) * heads + h) * size, size, &q[i * size]);
      for (int64_t j = 0; j < end; ++j)
        for (int64_t d = 0; d < size; ++d)
          k[j * size + d] = pool.number(
              ((pageOf(j) * keyHeads + kh) * size + d) * kPage + j % kPage);
      std::vector<double> shares =
          estimate.shares(q, context, k, std::vector<bool>(end, true));
      int64_t blocks = (end + kPage - 1) / kPage;
      for (int64_t row = context / kPage; row < blocks; ++row) {
        int64_t index = first / kPage + 2 * r + row - context / kPage;
        int64_t list = h * out.dim(1) + index * (most + 1), at = 0;
        if (row >= most)
          continue; // 0: keeps all
        std::vector<bool> kept = keepBlocks(
            ArrayRef(shares).slice((row - context / kPage) * blocks, row + 1),
            row, thresholds.number(h));
        for (int64_t j = 0; j <= row; ++j)
          if (kept[j])
            out.setInteger(list + ++at, pageOf(j * kPage));
        out.setInteger(list, at);
      }
    });
  }
  return success();
}
