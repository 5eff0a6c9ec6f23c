//===- QuantizeBudget.h - What the rounding of each weight costs -*- C++
//-*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// `--accuracy-budget=kld:X`: float code is compiled once with its weights in a
// file. Weights in it are overwritten with what their codes stand for, one
// layer or several, and the predictions are compared with those before: so a
// layer costs a run, not a compile.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZEBUDGET_H
#define FERRITE_LIB_DRIVER_QUANTIZEBUDGET_H

#include "lib/Driver/Calibration.h"
#include "lib/Driver/QuantizeLayers.h"

namespace ferrite {

/// `kld:0.02` or `rel:0.1`.
struct AccuracyBudget {
  bool isKld = true; ///< else of each layer's relative error
  double limit = 0;
  static llvm::Expected<AccuracyBudget> parse(llvm::StringRef text);
};

class BudgetMeter {
public:
  /// `modelFolder` and `sidePath` are where sources lie.
  static mlir::FailureOr<std::unique_ptr<BudgetMeter>>
  make(mlir::func::FuncOp entry, llvm::ArrayRef<Batch> batches,
       const DriverOptions &options, mlir::StringRef modelFolder,
       mlir::StringRef fileName, const std::string &sidePath,
       const WorkFolder &work, mlir::Location loc);

  /// The divergence from the float model with the codes of these layers, whose
  /// weights are those of the model otherwise.
  mlir::FailureOr<double> measure(llvm::ArrayRef<const QuantLayer *> layers);

private:
  BudgetMeter(const DriverOptions &options, mlir::Location loc)
      : options(options), loc(loc) {}
  mlir::LogicalResult keepExpected(const WorkFolder &work);
  mlir::LogicalResult overwrite(const QuantLayer &layer, bool withCodes);

  const DriverOptions &options;
  mlir::Location loc;
  std::string modelFolder, fileName, sidePath;
  std::string meaningPath; ///< of what changed weights are without the change
  std::vector<Batch> batches; ///< some of the data
  std::unique_ptr<FloatArtifact> artifact;
  /// Predictions of the float code, in a mapped file: they are large.
  std::unique_ptr<llvm::MemoryBuffer> expected;
};

/// Widens layers until the budget holds: to eight bits, those first that cost
/// most for their bytes, and then to what the model has. `meter`: null for
/// relative errors. `store` rounds a layer to the nearest in its format, or
/// stores a wide one.
mlir::LogicalResult
spendBudget(const AccuracyBudget &budget,
            llvm::MutableArrayRef<QuantLayer> layers, BudgetMeter *meter,
            llvm::function_ref<mlir::LogicalResult(QuantLayer &)> store,
            llvm::function_ref<mlir::LogicalResult(uint64_t, uint64_t)> report);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZEBUDGET_H
