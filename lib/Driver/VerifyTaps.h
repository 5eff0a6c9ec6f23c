//===- VerifyTaps.h - The first value that differs --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `ferrite verify --taps=all`. An artifact stores what fusion left: of a value
// inside a fused op nothing is known but the op. So the model is compiled once
// more with every value of the graph as an output, run on the same inputs, and
// compared with the reference in the order of the graph. The first value above
// the limit is where the error comes from. When there is none, each op is right
// by itself, and what differs is made by a fusion (or the artifact is of
// another compile).
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFYTAPS_H
#define FERRITE_LIB_DRIVER_VERIFYTAPS_H

#include "ferrite/compiler.h"
#include "lib/Frontend/ONNX/Import.h"
#include "lib/Reference/Tensor.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

struct TapsRequest {
  const FerriteVerifyOptions &options;
  ImportOptions import;                        ///< as the artifact's was
  std::string entry, level;                    ///< those that were run
  llvm::ArrayRef<FerriteTensor> inputs;        ///< in the entry's order
  llvm::ArrayRef<reference::Tensor> reference; ///< the same for the evaluator
  double limit; ///< a relative L2 error above this differs
};

/// What was found, as a sentence, and in `summary` for JSON. `differs`: whether
/// some value does. Fails, with diagnostics, when nothing could be compared.
mlir::FailureOr<std::string> findFirstDifference(mlir::MLIRContext &context,
                                                 const TapsRequest &request,
                                                 llvm::json::Object &summary,
                                                 bool &differs);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_VERIFYTAPS_H
