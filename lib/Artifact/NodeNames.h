//===- NodeNames.h - The ONNX nodes in a location -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_NODENAMES_H
#define FERRITE_LIB_ARTIFACT_NODENAMES_H

#include "mlir/IR/Location.h"

#include <string>

namespace ferrite {

/// The ONNX nodes in a location, each once, joined by ", ".
std::string nodeNames(mlir::Location loc);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_NODENAMES_H
