//===- EmitBody.h - A scalar body as C++ ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What BodyEvaluator.h does on registers, as text: an op of a body is a line.
// Values of short floats are floats that every op on them rounds.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CUDA_EMITBODY_H
#define FERRITE_PASSES_CODEGEN_CUDA_EMITBODY_H

#include "passes/Codegen/CUDA/CudaKernel.h"

namespace ferrite::cuda {

/// `body` as lines, with `args` for its arguments; what its terminator yields
/// goes to `results`. `loopIndex` gives the index of a loop. `prefix` keeps
/// names of two bodies apart. Fails, with an error at the op, on one it does
/// not know.
mlir::FailureOr<std::string>
emitBody(mlir::Block &body, llvm::ArrayRef<std::string> args,
         llvm::SmallVectorImpl<std::string> &results, llvm::StringRef prefix,
         llvm::function_ref<std::string(int64_t)> loopIndex = nullptr);

/// `value` of type `from` as one of type `to`, both floats.
std::string convertFloat(const std::string &value, mlir::Type from,
                         mlir::Type to);

/// A lambda `name(<value> acc, sides...) -> <value>` of a body.
mlir::FailureOr<std::string> emitBodyLambda(mlir::Block &body,
                                            llvm::StringRef name);

} // namespace ferrite::cuda
#endif // FERRITE_PASSES_CODEGEN_CUDA_EMITBODY_H
