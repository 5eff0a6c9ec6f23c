//===- WeightFile.h - The weights as an object file or a file ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_ARTIFACT_WEIGHTFILE_H
#define FERRITE_LIB_ARTIFACT_WEIGHTFILE_H

#include "passes/Codegen/CPU/CpuLevel.h"

#include "lib/Artifact/WeightRecipe.h"
#include <array>

namespace ferrite {

/// The section of the weights in an artifact.
inline constexpr llvm::StringLiteral kWeightsSection = ".ferrite.weights";

/// Writes a relocatable object whose only section, kWeightsSection, holds the
/// weights under the hidden symbol `symbol`. By hand, because an assembler
/// would hold the bytes in memory.
mlir::LogicalResult writeWeightObject(mlir::ModuleOp plan, ModelFolder &folder,
                                      llvm::StringRef path,
                                      llvm::StringRef symbol,
                                      const cpu::CpuMachine &machine,
                                      unsigned threads);

/// Writes the weights alone, and gives the XXH3-128 of the file, most
/// significant byte first.
mlir::FailureOr<std::array<uint8_t, 16>> writeWeightFile(mlir::ModuleOp plan,
                                                         ModelFolder &folder,
                                                         llvm::StringRef path,
                                                         unsigned threads);

} // namespace ferrite
#endif // FERRITE_LIB_ARTIFACT_WEIGHTFILE_H
