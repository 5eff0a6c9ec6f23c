//===- InputFacts.cpp - What calibration finds of inputs ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/InputFacts.h"

#include "lib/Driver/Calibration.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Second moments that are kept at once.
static constexpr int64_t kMomentBytes = int64_t(512) << 20;

void InputFacts::add(const float *data, int64_t count, int64_t depth,
                     bool wantsMoments, unsigned threads) {
  rows += count;
  largest.resize(depth, 0.0f);
  sums.resize(depth, 0.0);
  squares.resize(depth, 0.0);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t k = 0; k < depth; ++k) {
      float size = std::fabs(data[r * depth + k]);
      isFinite &= std::isfinite(size);
      largest[k] = std::max(largest[k], size);
      sums[k] += size;
      squares[k] += double(size) * size;
      most = std::max<double>(most, size);
    }
  if (!wantsMoments)
    return;
  if (!moments)
    moments.emplace(depth);
  moments->add(data, count, threads);
}

LogicalResult ferrite::findInputFacts(
    func::FuncOp entry, ArrayRef<Batch> batches, const DriverOptions &options,
    Location loc, ArrayRef<SharedInput *> inputs,
    llvm::function_ref<const float *(SharedInput &, const float *, int64_t)>
        change,
    llvm::function_ref<LogicalResult(SharedInput &)> use) {
  for (size_t begin = 0, end = 0; begin < inputs.size(); begin = end) {
    SmallVector<Value> taps;
    SmallVector<SharedInput *> ofTap;
    for (int64_t bytes = 0; end < inputs.size(); ++end) {
      SharedInput &next = *inputs[end];
      bytes += next.wantsMoments ? next.depth * next.depth * 8 : 0;
      if (bytes > kMomentBytes && end > begin)
        break;
      if (!next.input)
        continue;
      taps.push_back(next.input);
      ofTap.push_back(&next);
    }
    auto rows = [&](size_t tap, const float *data, int64_t count,
                    int64_t depth) {
      SharedInput &shared = *ofTap[tap];
      shared.facts.add(change ? change(shared, data, count) : data, count,
                       depth, shared.wantsMoments, options.threads);
    };
    if (!taps.empty() &&
        failed(runWithTaps(entry, taps, batches, options, loc, rows)))
      return failure();
    for (SharedInput *shared : ofTap)
      if (!shared->facts.isFinite)
        return emitError(shared->input.getLoc())
               << "with the data of --calib this value is not finite";
    for (SharedInput *shared : inputs.slice(begin, end - begin))
      if (failed(use(*shared)))
        return failure();
  }
  return success();
}
