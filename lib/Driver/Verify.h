//===- Verify.h - An artifact against its model -----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Three computations of one run are compared:
//
//   reference  the imported module, before any pass, by the reference evaluator
//   fused      the module after fusion, by the reference evaluator
//   artifact   its machine code
//
// Outputs: the artifact, run by the runtime, with the reference. Every other
// value that the artifact stores, launch by launch, with the fused module's,
// which is the same op on the same values: an error there is a kernel's. Where
// the ONNX node of a fused value computes a value of that shape in the imported
// module, too, the two references are compared ("fusion_l2"): an error there is
// a pass's. What is stored is known by running the passes of the compiler
// again; with an artifact whose launches are others (another version, other
// options) outputs alone are compared, and a warning says so.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFY_H
#define FERRITE_LIB_DRIVER_VERIFY_H

#include "ferrite/compiler.h"
#include "lib/Frontend/ONNX/Import.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

/// The summary of compiler.h. Fails, with diagnostics, when the two could not
/// be compared or an error is above the limit; `passed` tells which.
mlir::LogicalResult verify(mlir::MLIRContext &context,
                           const FerriteVerifyOptions &options,
                           ImportSummary &import, llvm::json::Object &summary);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_VERIFY_H
