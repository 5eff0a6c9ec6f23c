//===- Concepts.h - What became of each part of a model ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Before fusion, every attention, norm, softmax, activation and product of the
// model is written down with its ONNX node. After it, each is looked for: in a
// named op, which says what was matched and from which nodes, in the epilogue
// of one, or in what was left over, with the first constraint that failed.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_CONCEPTS_H
#define FERRITE_LIB_DRIVER_CONCEPTS_H

#include "lib/Driver/RemarkLog.h"
#include "mlir/IR/BuiltinOps.h"

namespace ferrite {

struct ConceptRecord {
  std::string kind;   ///< "attention", "rms norm", "matmul", "gelu", ..
  std::string into;   ///< what computes it: "linear", "epilogue of linear", ..
  std::string nodes;  ///< the ONNX nodes it was made of, joined
  std::string reason; ///< why it is no part of a named op; empty: it is
};

/// A candidate before fusion: what it is, and the node of it.
struct Candidate {
  std::string kind, node;
};
std::vector<Candidate> findCandidates(mlir::ModuleOp normalized);

std::vector<ConceptRecord> matchCandidates(mlir::ModuleOp fused,
                                           llvm::ArrayRef<Candidate> candidates,
                                           const RemarkLog &remarks);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_CONCEPTS_H
