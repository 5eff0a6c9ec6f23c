//===- ControlFlow.h - Parts of tensors, taken and joined -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H
#define FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Elements [at, at + size) of dim `axis` of input `i`.
mlir::FailureOr<TensorValue> takeRange(OpBinder &b, unsigned i, int64_t axis,
                                       int64_t at, int64_t size);
/// Element `at` of dim `axis` of input `i`, without that dim.
mlir::FailureOr<TensorValue> takePart(OpBinder &b, unsigned i, int64_t axis,
                                      int64_t at);
/// Tensors of one shape along a new dim `axis`, as result `i`.
mlir::LogicalResult stackParts(OpBinder &b, std::vector<TensorValue> &parts,
                               int64_t axis, unsigned i);
/// Tensors along their dim `axis`, as result `i`.
mlir::LogicalResult joinParts(OpBinder &b, std::vector<TensorValue> &parts,
                              int64_t axis, unsigned i);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H
