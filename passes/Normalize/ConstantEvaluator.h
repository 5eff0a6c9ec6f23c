//===- ConstantEvaluator.h - Ops on small constants -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Evaluates one op whose operands are constants, exactly as its element types
// say. Floats are computed in double and rounded to their type after each op:
// for the four operations and the square root of f32, f16 and bf16 that is the
// correctly rounded result, because double has more than twice their digits.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_NORMALIZE_CONSTANTEVALUATOR_H
#define FERRITE_PASSES_NORMALIZE_CONSTANTEVALUATOR_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include <optional>
#include <vector>

namespace ferrite {

/// Results above this stay ops: no pass holds a weight in memory. What is read
/// as a constant has at most 64 KiB, and twice that when f16 becomes f32.
inline constexpr int64_t kMostFoldedBytes = 128 << 10;

/// The elements of a tensor, row-major: in `floats` or in `integers`.
struct ConstantTensor {
  mlir::RankedTensorType type;
  std::vector<double> floats;
  std::vector<int64_t> integers; // i1 as 0 and 1

  bool isFloat() const {
    return mlir::isa<mlir::FloatType>(type.getElementType());
  }
  static std::optional<ConstantTensor> read(mlir::Value value);
  mlir::DenseElementsAttr attr() const;
  /// Adds the element at `offset` of a tensor of the same kind of elements.
  void append(const ConstantTensor &from, int64_t offset);
};

/// Where `index` lies in a tensor of `shape`: dims of size 1 repeat, and
/// leading dims of the index that the tensor has not are ignored.
int64_t offsetOf(llvm::ArrayRef<int64_t> index, llvm::ArrayRef<int64_t> shape);

/// The result of `op`, or a reason why it cannot be evaluated.
std::optional<ConstantTensor> evaluate(mlir::Operation *op,
                                       const char *&reason);

} // namespace ferrite

#endif // FERRITE_PASSES_NORMALIZE_CONSTANTEVALUATOR_H
