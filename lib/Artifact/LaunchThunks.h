//===- LaunchThunks.h - A function around each launch -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Equal layers share a kernel, so a backtrace cannot tell which of them it is
// in. With --debug each launch calls its kernel through a function of its own,
// named after its ONNX nodes, whose line is the launch's in the listing of the
// plan:
//
//   #0 linear_384x1536.avx512 () at model.plan.mlir:31
//   #1 encoder.layer.3.MatMul.avx512 () at model.plan.mlir:207
//   #2 runTask (...)
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_LAUNCHTHUNKS_H
#define FERRITE_LIB_ARTIFACT_LAUNCHTHUNKS_H

#include "lib/Artifact/AbiTables.h"
#include "lib/Artifact/HostProgram.h"

#include "llvm/IR/DIBuilder.h"

namespace ferrite {

class LaunchThunks {
public:
  LaunchThunks(AbiTables &tables, const PlanListing &listing);

  /// The thunk of a launch at one level.
  llvm::Function *make(plan::LaunchOp launch, const cpu::CpuLevel &level,
                       llvm::Function *kernel);
  void nextLaunch() { ++index; }
  /// After the last thunk.
  void finish() { debug.finalize(); }

private:
  AbiTables &tables;
  const PlanListing &listing;
  llvm::DIBuilder debug;
  llvm::DIFile *file;
  size_t index = 0;
};

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_LAUNCHTHUNKS_H
