//===- WeightZeros.cpp - Which zeros the weights of a model have ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Of each weight of a linear [K, N], before it is quantized: the share of
// zeros; whether they are 2 of each 4 along K; and the share of blocks of
// columns by rows that are zero whole, in the sizes that kernels could skip
// (16 or 32 columns by 4 of K for bytes, by 1 for f32). Most weights have none:
// a look at some columns tells, and the others are not read.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/WeightZeros.h"

#include "lib/Reference/Parallel.h"
#include "passes/Analysis/Matchers.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"

#include <mutex>

using namespace mlir;
using namespace ferrite;

/// Fewer zeros than this are an accident: a thousandth of them skip nothing.
static constexpr double kFewZeros = 1.0 / 64;
static constexpr int64_t kColumns = 32; ///< of the widest block
static constexpr int64_t kDepth = 256;  ///< of a sample
static constexpr int64_t kSampled = 4;  ///< groups of columns, and parts of K

void ZeroCounts::add(const ZeroCounts &other) {
  numbers += other.numbers;
  zeros += other.zeros;
  fours += other.fours;
  fullFours += other.fullFours;
  for (int w : {0, 1})
    for (int k : {0, 1}) {
      blocks[w][k] += other.blocks[w][k];
      zeroBlocks[w][k] += other.zeroBlocks[w][k];
    }
}

/// Of columns [first, first + 32) or as many as there are, and `depth` of K
/// from `begin` on, a multiple of 4.
static ZeroCounts countGroup(const StoredColumns &weight, int64_t first,
                             int64_t begin, int64_t depth) {
  ZeroCounts counts;
  int64_t columns = std::min(kColumns, weight.count() - first);
  std::vector<float> column(depth);
  // For each k, a bit for each column that is zero there.
  std::vector<uint32_t> zeros(depth, 0);
  for (int64_t n = 0; n < columns; ++n) {
    weight.read(first + n, begin, depth, column.data());
    for (int64_t k = 0; k < depth; ++k)
      zeros[k] |= uint32_t(column[k] == 0) << n;
    for (int64_t k = 0; k + 4 <= depth; k += 4) {
      int64_t used = 0;
      for (int64_t i = k; i < k + 4; ++i)
        used += column[i] != 0;
      ++counts.fours;
      counts.fullFours += used > 2;
    }
  }
  counts.numbers = depth * columns;
  for (uint32_t bits : zeros)
    counts.zeros += llvm::popcount(bits);
  for (int w : {0, 1})
    for (int64_t from = 0; from < columns; from += 16 << w) {
      int64_t width = std::min<int64_t>(16 << w, columns - from);
      uint32_t all = uint32_t((uint64_t(1) << width) - 1) << from;
      for (int k : {0, 1})
        for (int64_t row = 0; row < depth; row += k ? 1 : 4) {
          bool isZero = true;
          for (int64_t i = row; i < std::min(depth, row + (k ? 1 : 4)); ++i)
            isZero &= (zeros[i] & all) == all;
          ++counts.blocks[w][k];
          counts.zeroBlocks[w][k] += isZero;
        }
    }
  return counts;
}

ZeroCounts ferrite::countZeros(const StoredColumns &weight, unsigned threads,
                               bool blocksAlone) {
  int64_t groups = llvm::divideCeil(weight.count(), kColumns);
  ZeroCounts sampled;
  // Of those some parts of K: all of a column may be all pages of the file.
  int64_t depth = weight.depth(), parts = llvm::divideCeil(depth, kDepth);
  int64_t some = std::min(groups, kSampled), few = std::min(parts, kSampled);
  for (int64_t i = 0; i < some; ++i)
    for (int64_t j = 0; j < few; ++j) {
      int64_t begin = j * parts / few * kDepth;
      sampled.add(countGroup(weight, i * groups / some * kColumns, begin,
                             std::min(kDepth, depth - begin)));
    }
  ZeroCounts all;
  bool hasFew = double(sampled.zeros) < kFewZeros * double(sampled.numbers);
  bool hasBlocks = false;
  for (int w : {0, 1})
    for (int k : {0, 1})
      hasBlocks |= double(sampled.zeroBlocks[w][k]) >
                   kFewZeros * double(sampled.blocks[w][k]);
  if (hasFew || (blocksAlone && !hasBlocks))
    return all;
  std::mutex mutex;
  reference::parallelFor(groups, threads, [&](int64_t group) {
    ZeroCounts counts = countGroup(weight, group * kColumns, 0, depth);
    std::lock_guard<std::mutex> lock(mutex);
    all.add(counts);
  });
  return all;
}

LogicalResult ferrite::recordZeros(ModuleOp module,
                                   const DriverOptions &options,
                                   CompileRecord &record) {
  ModelFolder folder = openModelFolder(module, options, record.sideFile);
  // Entries share weights: equal sources are one.
  llvm::MapVector<std::pair<Attribute, Type>, LinearOp> linears;
  module.walk([&](LinearOp op) {
    Value weight = op.getWeight();
    RankedTensorType type = typeOf(weight);
    if (type.getRank() != 2 || !type.hasStaticShape() ||
        !isa<FloatType, IntegerType>(type.getElementType()))
      return;
    if (auto stored = weight.getDefiningOp<WeightOp>())
      linears.insert({{stored.getSourcesAttr(), type}, op});
    else if (auto constant = weight.getDefiningOp<arith::ConstantOp>())
      linears.insert({{constant.getValue(), type}, op});
  });
  for (auto &[key, op] : linears) {
    FailureOr<StoredColumns> weight =
        StoredColumns::open(op.getWeight(), folder);
    if (failed(weight))
      return failure();
    WeightRecord row;
    row.node = nodeNames(op.getLoc());
    auto stored = op.getWeight().getDefiningOp<WeightOp>();
    row.weight =
        stored ? stored.getName().str() : nodeNames(op.getWeight().getLoc());
    row.numbers = weight->depth() * weight->count();
    ZeroCounts counts = countZeros(*weight, options.threads);
    if (counts.numbers > 0) {
      row.zeros = double(counts.zeros) / counts.numbers;
      row.isTwoOfFour = counts.isTwoOfFour(weight->depth());
      for (int w : {0, 1})
        for (int k : {0, 1})
          row.zeroBlocks.push_back(
              {std::string(w ? "32x" : "16x") + (k ? "1" : "4"),
               double(counts.zeroBlocks[w][k]) / counts.blocks[w][k]});
    }
    record.weights.push_back(std::move(row));
  }
  return success();
}

LogicalResult ferrite::checkZeros(const DriverOptions &options,
                                  const CompileRecord &record, Location loc) {
  for (const SparsityGate &gate : options.requireSparsity) {
    if (!gate.isOfWeights)
      continue;
    double zeros = 0, numbers = 0;
    for (const WeightRecord &row : record.weights) {
      zeros += row.zeros * double(row.numbers);
      numbers += double(row.numbers);
    }
    double share = numbers > 0 ? zeros / numbers : 0;
    if (share < gate.least)
      return emitError(loc) << llvm::formatv("--require-sparsity={0}: {1:f3} "
                                             "of the weights of linears are "
                                             "zeros",
                                             gate.text, share)
                                   .str();
  }
  return success();
}
