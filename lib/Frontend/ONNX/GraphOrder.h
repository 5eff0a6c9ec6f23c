//===- GraphOrder.h - Nodes in the order of their values --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_GRAPHORDER_H
#define FERRITE_LIB_FRONTEND_ONNX_GRAPHORDER_H

#include "lib/Frontend/ONNX/OnnxLibrary.h"

namespace ferrite::frontend {

/// Orders the nodes of `graph` so that each follows what it reads, keeping
/// their order where it is free. Reports values defined twice or never, and
/// cycles; returns whether there were none. Values that a subgraph reads from
/// outside count as read by its node.
bool orderGraph(onnx::GraphProto &graph, NodeError emit);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_GRAPHORDER_H
