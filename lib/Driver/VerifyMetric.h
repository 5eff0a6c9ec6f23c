//===- VerifyMetric.h - How much worse an artifact predicts -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `ferrite verify --metric`: the artifact and the model's float code, compiled
// beside it, run on the same data, and their predictions are compared.
//
//   kld         the mean over positions of sum_v p(v) log(p(v) / q(v)), p of
//               the float code and q of the artifact, in nats
//   perplexity  exp of the mean of -log q(next token); the next token is that
//   of
//               `labels`, or the one behind in the first input
//
// Positions that an `attention_mask` of the same shape hides do not count, nor
// do negative labels.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFYMETRIC_H
#define FERRITE_LIB_DRIVER_VERIFYMETRIC_H

#include "ferrite/compiler.h"
#include "lib/Driver/Batches.h"
#include "lib/Frontend/ONNX/Import.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

/// Sums over positions. Logits are [positions, vocabulary] of f32.
struct Predictions {
  double loss = 0, floatLoss = 0; ///< negative logs of the next tokens
  double divergence = 0;
  int64_t tokens = 0, positions = 0;
  bool isFinite = true;

  double perplexity() const;
  double floatPerplexity() const;
  double kld() const { return positions ? divergence / double(positions) : 0; }
  /// `next`: of each position, negative for none. `counts`: null for all.
  void add(const float *expected, const float *got, int64_t count,
           int64_t vocabulary, const int64_t *next, const bool *counts,
           unsigned threads);
};

/// Next tokens and what counts in a batch, of `labels` (data null: none) from
/// `row` on.
struct Targets {
  std::vector<int64_t> next;
  std::unique_ptr<bool[]> counts;
};
Targets findTargets(const Batch &batch, const FerriteTensor &labels,
                    int64_t row);

/// Fails, with diagnostics, when nothing could be compared or the metric is
/// above `options.max_metric`.
mlir::LogicalResult verifyMetric(mlir::MLIRContext &context,
                                 const FerriteVerifyOptions &options,
                                 ImportSummary &import,
                                 llvm::json::Object &summary);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_VERIFYMETRIC_H
