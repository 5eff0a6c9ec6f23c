//===- Summary.h - The JSON of a compilation --------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Its keys are documented at ferriteCompile in ferrite/compiler.h.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_SUMMARY_H
#define FERRITE_LIB_DRIVER_SUMMARY_H

#include "lib/Driver/Compile.h"
#include "llvm/Support/JSON.h"

namespace ferrite {

enum class SummaryKind {
  Result,     ///< what ferriteCompile returns: the misses alone
  Report,     ///< --report: every record
  Description ///< in the artifact: every record, and the plan; nothing of this
              ///< run
};

llvm::json::Object summarize(mlir::ModuleOp plan, const DriverOptions &options,
                             const CompileRecord &record, SummaryKind kind);

/// What attention sees, and what weights have zeros.
llvm::json::Array describeAttentions(const CompileRecord &record);
llvm::json::Array describeZeros(const CompileRecord &record);
/// The weights that --sparsify=weights:.. pruned.
llvm::json::Array describePruned(const CompileRecord &record);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_SUMMARY_H
