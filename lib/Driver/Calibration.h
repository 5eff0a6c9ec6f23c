//===- Calibration.h - What flows into the products of a model --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_CALIBRATION_H
#define FERRITE_LIB_DRIVER_CALIBRATION_H

#include "lib/Driver/Batches.h"
#include "lib/Driver/Compile.h"
#include "lib/Driver/OutputFile.h"

namespace ferrite {

/// A model of float code, compiled beside the output and gone with this.
class FloatArtifact {
public:
  /// Compiles `module` (a copy of one function, after fuse) for this machine.
  static mlir::FailureOr<std::unique_ptr<FloatArtifact>>
  make(mlir::ModuleOp module, const DriverOptions &options, mlir::Location loc);
  ~FloatArtifact();

  /// Runs one batch; the outputs are the session's until the next run.
  mlir::LogicalResult run(const Batch &batch);
  mlir::FailureOr<FerriteTensor> output(size_t index);
  /// Runs one batch of code with one output, and gives that.
  mlir::FailureOr<FerriteTensor> outputOf(const Batch &batch) {
    if (failed(run(batch)))
      return mlir::failure();
    return output(0);
  }
  /// What it was compiled to, in a context of its own.
  mlir::ModuleOp getPlan() { return *plan; }
  /// Puts other bytes into the file of weights, which runs read.
  mlir::LogicalResult overwriteWeights(int64_t offset,
                                       llvm::ArrayRef<char> bytes);

private:
  explicit FloatArtifact(WorkFolder &&work, mlir::Location loc)
      : work(std::move(work)), loc(loc) {}
  WorkFolder work;
  CompileRecord record; ///< outlives the context, which leaves remarks in it
  std::unique_ptr<mlir::MLIRContext> context;
  mlir::OwningOpRef<mlir::ModuleOp> plan;
  mlir::Location loc;
  FerriteModel *model = nullptr;
  FerriteSession *session = nullptr;
};

/// The output `logits` of an entry, [.., vocabulary] of f32, or the first one
/// that is like that.
std::optional<mlir::Value> findLogits(mlir::func::FuncOp func);

/// Told of `count` rows of the input of a product, as f32.
using RowsFn = llvm::function_ref<void(size_t tap, const float *rows,
                                       int64_t count, int64_t depth)>;

/// Runs all `batches` through `func` and hands on the values `taps`, tensors of
/// f32, in the order of the batches; as many taps at once as bounded memory
/// allows, so the code is compiled once for each such group.
mlir::LogicalResult runWithTaps(mlir::func::FuncOp func,
                                llvm::ArrayRef<mlir::Value> taps,
                                llvm::ArrayRef<Batch> batches,
                                const DriverOptions &options,
                                mlir::Location loc, RowsFn rows);

/// A module with a copy of `func` alone, whose results are `results`, and which
/// takes what `batches` leave out.
mlir::OwningOpRef<mlir::ModuleOp>
copyWithResults(mlir::func::FuncOp func, llvm::ArrayRef<mlir::Value> results,
                llvm::ArrayRef<Batch> batches);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_CALIBRATION_H
