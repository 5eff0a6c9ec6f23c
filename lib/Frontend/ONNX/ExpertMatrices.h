//===- ExpertMatrices.h - Inputs that are matrices of experts ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_EXPERTMATRICES_H
#define FERRITE_LIB_FRONTEND_ONNX_EXPERTMATRICES_H

#include "lib/Frontend/ONNX/KnownOps.h"

namespace ferrite::frontend {

/// Places of the inputs of one matrix; 0: the op has no such input.
struct MatrixInputs {
  unsigned weight = 0, bias = 0, scales = 0, zeroPoints = 0;
  /// The attribute that overrides the bits of this matrix.
  const char *bitsName = nullptr;
};

/// Products with [experts, columns, rows] inputs of com.microsoft MoE and QMoE.
class ExpertMatrices {
public:
  explicit ExpertMatrices(OpBinder &b) : b(b), ops(b) {}

  int64_t groups = 0;
  int64_t bits = 0;      ///< 0: of floats
  int64_t blockSize = 0; ///< 0: a scale for each column

  /// `rows` [T, 1 or K, H] times the matrices of `experts` [T, K], plus bias.
  mlir::FailureOr<KnownTensor> product(const KnownTensor &rows,
                                       const KnownTensor &experts,
                                       const MatrixInputs &inputs,
                                       int64_t columns);

private:
  /// Input `i`, whose bytes are in the model.
  mlir::FailureOr<mlir::Value> stored(unsigned i, llvm::StringRef what);
  mlir::LogicalResult quantized(const MatrixInputs &inputs, int64_t columns,
                                int64_t own, int64_t block, mlir::Value &scales,
                                mlir::Value &zeroPoints);
  mlir::FailureOr<mlir::Value> columnZeroPoints(unsigned i, int64_t columns,
                                                int64_t own);

  OpBinder &b;
  KnownOps ops;
};

} // namespace ferrite::frontend
#endif // FERRITE_LIB_FRONTEND_ONNX_EXPERTMATRICES_H
