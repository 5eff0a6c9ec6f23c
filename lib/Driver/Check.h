//===- Check.h - Everything that keeps a model from compiling ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_CHECK_H
#define FERRITE_LIB_DRIVER_CHECK_H

#include "lib/Frontend/ONNX/Import.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

/// Runs all phases before codegen; every problem is a diagnostic.
mlir::LogicalResult check(mlir::MLIRContext &context, const std::string &model,
                          ImportOptions options, ImportSummary &summary);

llvm::json::Object summarizeCheck(llvm::StringRef model,
                                  const ImportSummary &summary,
                                  llvm::json::Array problems);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_CHECK_H
