//===- RemarkLog.h - What passes said about their decisions -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Collects MLIR remarks for the report: for each candidate of each fusion
// whether it fused, and if not, why.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_REMARKLOG_H
#define FERRITE_LIB_DRIVER_REMARKLOG_H

#include "lib/Artifact/NodeNames.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/MapVector.h"

#include <string>
#include <vector>

namespace ferrite {

struct RemarkRecord {
  std::string pass; ///< the debug type: "ferrite-fuse-attention"
  std::string name;
  std::string node; ///< names of the ONNX nodes, joined
  bool passed = false;
  bool missed = false;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> facts; ///< other arguments
};

/// The kind of fusion that a pass does: "attention" of
/// "ferrite-fuse-attention", "step" of "ferrite-make-step". Empty: none.
inline llvm::StringRef fusionKind(llvm::StringRef pass) {
  if (pass.consume_front("ferrite-fuse-"))
    return pass;
  return pass == "ferrite-make-step" ? "step" : "";
}

class RemarkLog {
public:
  /// Every later remark of `context` is collected. The log must outlive it.
  mlir::LogicalResult attach(mlir::MLIRContext &context);
  const std::vector<RemarkRecord> &records() const { return entries; }
  std::vector<RemarkRecord> entries;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_REMARKLOG_H
