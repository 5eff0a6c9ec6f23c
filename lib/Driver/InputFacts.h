//===- InputFacts.h - What calibration finds of inputs ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_INPUTFACTS_H
#define FERRITE_LIB_DRIVER_INPUTFACTS_H

#include "lib/Driver/Batches.h"
#include "lib/Driver/Compile.h"
#include "lib/Quantization/Gptq.h"

namespace ferrite {

/// What calibration has found out about the input of some products.
struct InputFacts {
  double most = 0; ///< magnitude
  int64_t rows = 0;
  std::vector<float> largest;  ///< magnitude, of each k
  std::vector<double> sums;    ///< of magnitudes, of each k
  std::vector<double> squares; ///< the sums of them, of each k
  std::optional<SecondMoments> moments;
  bool isFinite = true;

  void add(const float *data, int64_t count, int64_t depth, bool wantsMoments,
           unsigned threads);
};

/// The input that some products share.
struct SharedInput {
  mlir::Value input;         ///< null: the entry that is run does not have it
  int64_t depth = 0;         ///< K of the products
  bool wantsMoments = false; ///< those take K * K doubles
  InputFacts facts;
};

/// Runs `entry` on the data for the facts of `inputs`, as many at once as their
/// moments fit into 512 MB, and calls `use` on each in turn once its own are
/// known. `change`: null, or gives the rows of an input as they count. An input
/// that is not finite is an error at it.
mlir::LogicalResult findInputFacts(
    mlir::func::FuncOp entry, llvm::ArrayRef<Batch> batches,
    const DriverOptions &options, mlir::Location loc,
    llvm::ArrayRef<SharedInput *> inputs,
    llvm::function_ref<const float *(SharedInput &, const float *rows,
                                     int64_t count)>
        change,
    llvm::function_ref<mlir::LogicalResult(SharedInput &)> use);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_INPUTFACTS_H
