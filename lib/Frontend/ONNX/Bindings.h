//===- Bindings.h - Inputs that become constants ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_BINDINGS_H
#define FERRITE_LIB_FRONTEND_ONNX_BINDINGS_H

#include "lib/Frontend/ONNX/Import.h"
#include "onnx/onnx_pb.h"
#include "llvm/Support/Error.h"

namespace ferrite::frontend {

/// Makes each bound input an initializer with its value. The error names the
/// input: it does not exist, or cannot have this value.
llvm::Error bindInputs(onnx::ModelProto &model,
                       llvm::ArrayRef<InputBinding> bindings);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_BINDINGS_H
