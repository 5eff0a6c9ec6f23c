//===- Quantize.h - The quantize phase --------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What --quantize asks for: a format for each product (a pass), data where the
// method needs some (float code, run on the user's batches), weights rounded
// tensor by tensor into a side file, and the products rewritten to read that.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZE_H
#define FERRITE_LIB_DRIVER_QUANTIZE_H

#include "lib/Driver/Compile.h"
#include "lib/Driver/OutputFile.h"
#include "lib/Quantization/SideFile.h"

namespace ferrite {

/// Of a module that is quantized or pruned: the name of the file with codes,
/// scales and pruned weights. A dump has that file beside it.
inline constexpr llvm::StringLiteral kSideFileAttr = "ferrite.side_file";
/// The file in the work folder.
inline constexpr llvm::StringLiteral kSideFile = "quantized";

/// What sources and dumps call that file.
std::string sideFileName(const DriverOptions &options);

/// Quantizes `module`, which phase fuse has left. Codes and scales go to
/// `file`, in the folder `work`.
mlir::LogicalResult quantize(mlir::ModuleOp module,
                             const DriverOptions &options,
                             CompileRecord &record, const WorkFolder &work,
                             SideFile &file, mlir::Location loc);

/// The bytes that `count` codes of `width` bits take.
int64_t packedBytes(int64_t count, unsigned width);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZE_H
