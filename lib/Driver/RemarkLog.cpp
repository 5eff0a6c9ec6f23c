//===- RemarkLog.cpp - What passes said about their decisions -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/RemarkLog.h"

#include "lib/Artifact/NodeNames.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ferrite;

namespace {
class Streamer final : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit Streamer(RemarkLog &log) : log(log) {}
  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    RemarkRecord &record = log.entries.emplace_back();
    record.pass = remark.getCombinedCategoryName().str();
    record.name = remark.getRemarkName().str();
    record.node = nodeNames(remark.getLocation());
    record.passed = remark.getRemarkType() == llvm::remarks::Type::Passed;
    record.missed = remark.getRemarkType() == llvm::remarks::Type::Missed;
    for (const auto &arg : remark.getArgs())
      if (arg.key == "Reason")
        record.reason = arg.val;
      else
        record.facts.push_back({arg.key, arg.val});
  }

private:
  RemarkLog &log;
};
} // namespace

LogicalResult RemarkLog::attach(MLIRContext &context) {
  remark::RemarkCategories categories;
  // Each on its own: a kind without a filter is off, whatever `all` says.
  categories.passed = categories.missed = categories.analysis =
      categories.failed = ".*";
  return remark::enableOptimizationRemarks(
      context, std::make_unique<Streamer>(*this),
      std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
}
