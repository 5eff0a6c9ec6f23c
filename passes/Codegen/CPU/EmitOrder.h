//===- EmitOrder.h - Kernels that find positions by order -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Lines along the middle dim of an input [O, A, I]; results are of i64. A NaN
// comes after every number.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITORDER_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITORDER_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// ONNX ArgMax and ArgMin: input [O, A, I], result [O, 1, I]. A NaN is more
/// extreme than any number, for both.
struct ArgReduceSpec {
  bool minimum = false;
  bool selectLast = false;
  bool isUnsigned = false; ///< of integers
};
mlir::LogicalResult emitArgReduce(KernelBuilder &kb, const ArgReduceSpec &spec);

/// ONNX TopK: input [O, A, I], result [O, k, I], the most extreme first; of
/// equal ones the lower position first. k is at most A.
struct TopKSpec {
  bool smallest = false;
  bool isUnsigned = false; ///< of integers
};
mlir::LogicalResult emitTopK(KernelBuilder &kb, const TopKSpec &spec);

/// a < b, false where both are NaN, true where b alone is.
mlir::Value lessThan(KernelBuilder &kb, mlir::Value a, mlir::Value b,
                     bool isUnsigned);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITORDER_H
