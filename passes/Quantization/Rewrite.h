//===- Rewrite.h - Products of weights of few bits --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_REWRITE_H
#define FERRITE_PASSES_QUANTIZATION_REWRITE_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Quantization/Spec.h"

namespace ferrite {

/// Where the quantizer has put a weight [K, N]: codes [N, K], scales and zero
/// points [N, K / group], or [N] with one for each column.
struct StoredCodes {
  QuantFormat format;
  SourceAttr codes, scales, zeros;
  /// With zero points of inputs: what a column's codes sum to, times its scale.
  SourceAttr sums;
};

/// The element type of a format's codes, of as many bits as are stored.
mlir::Type getCodeType(mlir::MLIRContext *context, const QuantFormat &format);
mlir::Type getScaleType(mlir::MLIRContext *context, const QuantFormat &format);

/// The recipe of the numbers that the codes stand for, as [K, N].
mlir::ArrayAttr dequantizedSources(mlir::MLIRContext *context,
                                   const StoredCodes &codes);

/// Rewrites the linears of one function. Inputs that several of them round are
/// rounded once.
class LinearRewriter {
public:
  explicit LinearRewriter(DimAnalysis &dims) : dims(dims) {}

  /// `op` over the stored codes; its input rounded as the format says. `most`:
  /// the largest input of calibration where the format is static.
  void rewrite(LinearOp op, const StoredCodes &codes, double most = 0);
  /// `op` without a format; over `codes.codes`, numbers of the weight's type as
  /// columns, if they are there.
  void keepWide(LinearOp op, const StoredCodes &codes);

  /// `op`, whose table is of bytes with a scale for each row, as a gather of
  /// both and their product.
  void readBytes(GatherOp op, const StoredCodes &codes);
  /// The input rounded to few bits in groups, as numbers again.
  mlir::Value roundGroups(mlir::Value input, int bits, int64_t group);

private:
  mlir::Value makeWeight(LinearOp op, const StoredCodes &codes);
  void multiplyBytes(LinearOp op, const StoredCodes &codes, double most);
  /// Bytes, and for each row [.., 1] their scale and, where the zero point is
  /// not 128, what is left of 128. Null: one scale for all; 128.
  struct Bytes {
    mlir::Value bytes, scale, shift;
  };
  Bytes roundRows(mlir::Value input, double most);
  Bytes roundShifted(mlir::Value input);

  DimAnalysis &dims;
  /// An input has one largest magnitude: there is one entry for each.
  llvm::DenseMap<mlir::Value, Bytes> bytesOf, fixedBytesOf, shiftedBytesOf;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, mlir::Value> groupsOf;
};

} // namespace ferrite
#endif // FERRITE_PASSES_QUANTIZATION_REWRITE_H
