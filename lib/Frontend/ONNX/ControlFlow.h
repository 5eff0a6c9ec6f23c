//===- ControlFlow.h - What bodies and sequences share ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H
#define FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

void registerScanOps(OpTable &table);

/// The graph of attribute `name`; the checker has seen to it for the standard's
/// own nodes.
const onnx::GraphProto *getGraph(OpBinder &b, llvm::StringRef name);
/// Before `added` more trips make it `trips`.
mlir::LogicalResult checkTrips(OpBinder &b, const onnx::GraphProto &body,
                               int64_t trips, int64_t added);

/// Elements [at, at + size) of dim `axis`.
mlir::FailureOr<TensorValue> takeRange(OpBinder &b, TensorValue &from,
                                       int64_t axis, int64_t at, int64_t size);
/// Element `at` of dim `axis`, without that dim.
mlir::FailureOr<TensorValue> takePart(OpBinder &b, TensorValue &from,
                                      int64_t axis, int64_t at);
/// Tensors of one shape along a new dim `axis`, as result `i`.
mlir::LogicalResult stackParts(OpBinder &b, std::vector<TensorValue> &parts,
                               int64_t axis, unsigned i);
/// No tensor like `part` along a new first dim, as result `i`.
mlir::LogicalResult stackNone(OpBinder &b, const TensorValue &part, unsigned i);
/// Tensors along their dim `axis`, as result `i`.
mlir::LogicalResult joinParts(OpBinder &b, std::vector<TensorValue> &parts,
                              int64_t axis, unsigned i);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_CONTROLFLOW_H
