//===- BodyNames.h - What ops of a body are called in C++ -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Functions of Skeletons/scalar.cuh and signs of C++; null for other ops.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CUDA_BODYNAMES_H
#define FERRITE_PASSES_CODEGEN_CUDA_BODYNAMES_H

#include "mlir/IR/Operation.h"

namespace ferrite::cuda {

const char *functionName(mlir::Operation *op);
const char *pairFunctionName(mlir::Operation *op);
const char *unsignedFunctionName(mlir::Operation *op);
const char *signOf(mlir::Operation *op);
const char *wrappingSign(mlir::Operation *op);

} // namespace ferrite::cuda
#endif // FERRITE_PASSES_CODEGEN_CUDA_BODYNAMES_H
