//===- OnnxLibrary.h - ONNX's own library, without exceptions ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// ONNX's C++ library throws and prints over many lines. Everything that calls
// it is in OnnxLibrary.cpp, the one file compiled with exceptions; here errors
// are values of one line.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_ONNXLIBRARY_H
#define FERRITE_LIB_FRONTEND_ONNX_ONNXLIBRARY_H

#include "lib/Frontend/ONNX/ModelFile.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace ferrite::frontend {

/// Scan changed with opset 9. In older models it gets this domain before they
/// are converted, which would not do it justice.
inline constexpr const char *kBatchScanDomain = "ai.onnx.8";

/// Receives an error about a node, or about the model when `node` is null.
using NodeError = llvm::function_ref<void(const onnx::NodeProto *node,
                                          llvm::StringRef message)>;

/// The name of a node as errors and locations give it.
std::string getNodeName(const onnx::NodeProto &node);

/// Runs ONNX's checker on each node of the graph. `skip` says which nodes are
/// none of its business (unknown ops are reported elsewhere). Returns whether
/// nothing was found.
bool checkModel(ModelFile &file,
                llvm::function_ref<bool(const onnx::NodeProto &)> skip,
                NodeError emit);

/// Replaces calls of the model's own functions by their bodies. Refuses a model
/// whose calls would multiply beyond bounds.
llvm::Error inlineFunctions(onnx::ModelProto &model);

/// The body that the standard gives the op of `node` for inputs of these types
/// (an empty type for an input that is missing or of unknown type). Its nodes
/// read and write the node's inputs and outputs; names of other values begin
/// with `prefix`. Null where the standard has no body for these types.
llvm::Expected<std::unique_ptr<onnx::FunctionProto>>
buildFunctionBody(const onnx::NodeProto &node, int opset, int irVersion,
                  llvm::ArrayRef<onnx::TypeProto> types,
                  llvm::StringRef prefix);

/// Whether the standard defines the node's op by a function body.
bool hasFunctionBody(const onnx::NodeProto &node, int opset);
/// Whether the standard lets input `input` have this element type; true where
/// the op has no schema.
bool takesType(const onnx::NodeProto &node, int opset, unsigned input,
               int32_t type);

/// Whether the standard, or one of its extensions, knows the node's op.
bool isKnownOp(const onnx::NodeProto &node, int opset);

/// Rewrites the model to opset `target` of ai.onnx.
llvm::Error convertVersion(onnx::ModelProto &model, int target);

/// Reads a model in ONNX's textual syntax, in which tests are written.
llvm::Error parseText(llvm::StringRef text, onnx::ModelProto &model);

/// The newest opset of ai.onnx that the library knows, and the newest IR.
int getNewestOpset();
int getNewestIRVersion();

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_ONNXLIBRARY_H
