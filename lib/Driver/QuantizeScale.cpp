//===- QuantizeScale.cpp - Factors between inputs and weights -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeScale.h"

#include "lib/Reference/Parallel.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Factors are between these: beyond, what they would save is rounded away.
static float clampFactor(double factor) {
  return std::isfinite(factor) ? float(std::clamp(factor, 1e-4, 1e4)) : 1.0f;
}

/// The sum over columns of (w - rounded)T H (w - rounded), some columns of the
/// layer alone.
static FailureOr<double> productError(const QuantLayer &layer,
                                      const StoredColumns &columns,
                                      const std::vector<float> &factors,
                                      const SecondMoments &moments,
                                      int64_t sample, unsigned threads) {
  int64_t depth = columns.depth(), count = columns.count();
  int64_t step = std::max<int64_t>(1, count / sample);
  int64_t used = (count + step - 1) / step;
  std::vector<double> errors(used, 0.0);
  std::atomic<bool> isFinite{true};
  WeightChange change;
  change.rowScale = factors;
  reference::parallelFor(used, threads, [&](int64_t i) {
    std::vector<float> column(depth), number(depth);
    if (failed(
            readColumns(layer, columns, change, i * step, 1, column.data()))) {
      isFinite = false;
      return;
    }
    RoundedColumns rounded;
    rounded.resize(1, depth, layer.format);
    roundToNearest(column.data(), 1, depth, layer.format, nullptr,
                   /*search=*/true, rounded, 0);
    decodeColumn(rounded, 0, depth, layer.format, number.data());
    std::vector<double> off(depth);
    for (int64_t k = 0; k < depth; ++k)
      off[k] = (double(column[k]) - number[k]) / factors[k];
    for (int64_t k = 0; k < depth; ++k) {
      const double *row = moments.sums.data() + k * depth;
      double sum = 0.5 * row[k] * off[k];
      for (int64_t j = k + 1; j < depth; ++j)
        sum += row[j] * off[j];
      errors[i] += 2 * off[k] * sum;
    }
  });
  if (!isFinite)
    return emitError(LinearOp(layer.ops.front()).getLoc())
           << "weight '" << layer.name << "' has an element that is not finite";
  double total = 0;
  for (double error : errors)
    total += error;
  return total * double(count) / double(used);
}

FailureOr<std::vector<float>>
ferrite::findAwqFactors(ArrayRef<QuantLayer *> layers, InputFacts &facts,
                        ModelFolder &folder, unsigned threads) {
  int64_t depth = layers.front()->depth();
  // About as much work for each size: 2^27 products for a power that is tried.
  int64_t sample =
      std::clamp<int64_t>((int64_t(1) << 27) / (depth * depth), 8, 128);
  std::vector<StoredColumns> stored;
  for (QuantLayer *layer : layers) {
    FailureOr<StoredColumns> columns =
        StoredColumns::open(layer->weight(), folder);
    if (failed(columns))
      return failure();
    stored.push_back(std::move(*columns));
  }
  std::vector<float> best;
  double least = 0;
  for (int i = 0; i <= 10; ++i) {
    std::vector<float> factors(depth);
    double logs = 0;
    for (int64_t k = 0; k < depth; ++k) {
      double mean = facts.sums[k] / double(std::max<int64_t>(facts.rows, 1));
      factors[k] = clampFactor(std::pow(std::max(mean, 1e-8), i / 10.0));
      logs += std::log(factors[k]);
    }
    auto middle = float(std::exp(logs / double(depth)));
    for (float &factor : factors)
      factor /= middle;
    double total = 0;
    for (size_t l = 0; l < layers.size(); ++l) {
      FailureOr<double> error = productError(*layers[l], stored[l], factors,
                                             *facts.moments, sample, threads);
      if (failed(error))
        return failure();
      total += *error;
    }
    if (best.empty() || total < least) {
      least = total;
      best = factors;
    }
  }
  return best;
}

FailureOr<std::vector<float>>
ferrite::findSmoothFactors(ArrayRef<QuantLayer *> layers,
                           const InputFacts &facts, ModelFolder &folder,
                           unsigned threads) {
  int64_t depth = layers.front()->depth();
  std::vector<float> largest(depth, 0.0f);
  for (QuantLayer *layer : layers) {
    FailureOr<StoredColumns> columns =
        StoredColumns::open(layer->weight(), folder);
    if (failed(columns))
      return failure();
    std::vector<float> column(depth);
    for (int64_t n = 0; n < columns->count(); ++n) {
      columns->read(n, column.data());
      for (int64_t k = 0; k < depth; ++k)
        largest[k] = std::max(largest[k], std::fabs(column[k]));
    }
  }
  std::vector<float> factors(depth);
  for (int64_t k = 0; k < depth; ++k)
    factors[k] = facts.largest[k] > 0 && largest[k] > 0
                     ? clampFactor(std::sqrt(double(facts.largest[k])) /
                                   std::sqrt(double(largest[k])))
                     : 1.0f;
  return factors;
}
