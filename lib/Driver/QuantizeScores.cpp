//===- QuantizeScores.cpp - What scores of bytes lose ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The code is run twice, without and with bytes, and the results of attentions
// are compared. Of each the first ones are kept, a bounded number.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeScores.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Artifact/NodeNames.h"
#include "passes/Analysis/AttentionScores.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Numbers of an attention that are compared: 4 MB of them.
static constexpr size_t kMostNumbers = size_t(1) << 20;

LogicalResult ferrite::measureScores(func::FuncOp entry,
                                     ArrayRef<Batch> batches,
                                     const DriverOptions &options, Location loc,
                                     std::vector<LayerRecord> &records) {
  SmallVector<AttentionOp> ops;
  SmallVector<Value> taps;
  for (auto op : entry.getBody().getOps<AttentionOp>())
    if (op->hasAttr(kScoresAttr) &&
        cast<RankedTensorType>(op.getType()).getElementType().isF32()) {
      ops.push_back(op);
      taps.push_back(op.getResult());
    }
  std::vector<std::vector<float>> exact(ops.size());
  std::vector<double> errors(ops.size()), norms(ops.size());
  if (!batches.empty() && !ops.empty()) {
    SmallVector<Attribute> chosen;
    for (AttentionOp op : ops)
      chosen.push_back(op->removeAttr(kScoresAttr));
    LogicalResult ran = runWithTaps(
        entry, taps, batches, options, loc,
        [&](size_t tap, const float *rows, int64_t count, int64_t depth) {
          size_t room = kMostNumbers - exact[tap].size();
          exact[tap].insert(exact[tap].end(), rows,
                            rows + std::min(room, size_t(count * depth)));
        });
    for (auto [op, attr] : llvm::zip_equal(ops, chosen))
      op->setAttr(kScoresAttr, attr);
    std::vector<size_t> seen(ops.size(), 0);
    if (failed(ran) ||
        failed(runWithTaps(
            entry, taps, batches, options, loc,
            [&](size_t tap, const float *rows, int64_t count, int64_t depth) {
              for (int64_t i = 0;
                   i < count * depth && seen[tap] < exact[tap].size(); ++i) {
                double value = exact[tap][seen[tap]++], off = value - rows[i];
                // A row that sees nothing may be no number.
                if (!std::isfinite(value) || !std::isfinite(off))
                  continue;
                errors[tap] += off * off;
                norms[tap] += value * value;
              }
            })))
      return failure();
  }
  for (auto [i, op] : llvm::enumerate(ops)) {
    LayerRecord record;
    record.node = nodeNames(op.getLoc());
    record.weight = "scores of attention";
    record.format = kByteScores.str();
    record.error = norms[i] > 0 ? std::sqrt(errors[i] / norms[i]) : -1;
    if (record.error < 0)
      record.why = "its error is not known without --calib";
    records.push_back(std::move(record));
  }
  return success();
}
