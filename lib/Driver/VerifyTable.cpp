//===- VerifyTable.cpp - The errors that verify found ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/VerifyTable.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;

static llvm::json::Value jsonNumber(double value) {
  return std::isfinite(value) ? llvm::json::Value(value)
                              : llvm::json::Value(nullptr);
}

Difference ferrite::compareTensors(const reference::Tensor &expected,
                                   const reference::Tensor &got) {
  Difference result;
  for (int64_t i = 0; i < expected.count(); ++i)
    result.add(expected.asDouble(i), got.asDouble(i));
  result.finish();
  return result;
}

static std::string text(double value) {
  return llvm::formatv("{0:e2}", value).str();
}

void VerifyTable::add(const Name &name, const reference::Tensor &expected,
                      const Difference &difference, const Difference *fusion) {
  double error =
      std::isnan(difference.relativeL2) ? INFINITY : difference.relativeL2;
  llvm::json::Object row{{"name", name.value},
                         {"node", name.node},
                         {"output", name.isOutput},
                         {"shape", llvm::json::Array(expected.shape())},
                         {"relative_l2", jsonNumber(difference.relativeL2)},
                         {"max_abs", jsonNumber(difference.maxAbs)}};
  if (fusion)
    row["fusion_l2"] = jsonNumber(fusion->relativeL2);
  rows.push_back(std::move(row));
  if (error > worstError) {
    worstError = error;
    worst = name.value;
  }
  std::string which = "value '" + name.value + "' (node '" + name.node + "')";
  if (maxError > 0 && !(error <= maxError) && firstBad.empty())
    firstBad = which + " has a relative L2 error of " + text(error) +
               ", more than " + text(maxError);
  if (fusion && maxError > 0 && !(fusion->relativeL2 <= maxError) &&
      firstBadFusion.empty())
    firstBadFusion = "fusion changed " + which + " by a relative L2 error of " +
                     text(fusion->relativeL2);
}

LogicalResult VerifyTable::finish(llvm::json::Object &summary, Location loc) {
  summary["values"] = std::move(rows);
  summary["worst"] = worst;
  summary["worst_relative_l2"] = jsonNumber(worstError);
  summary["passed"] = firstBad.empty();
  if (firstBad.empty())
    return success();
  InFlightDiagnostic error = emitError(loc) << firstBad;
  if (!firstBadFusion.empty())
    error.attachNote(loc) << firstBadFusion;
  if (!note.empty())
    error.attachNote(loc) << note;
  return error;
}
