//===- EmitScatter.h - Kernels that write where indices say -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Operands data, indices, updates; the result is the same memory as data, which
// was copied there before. Indices are i32 or i64, and are made good as those
// of a gather: none can leave the result. Where two indices are equal the
// updates are taken in order, whatever the number of threads: a unit never
// shares an element of the result with another.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITSCATTER_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITSCATTER_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

enum class ScatterKind {
  /// ONNX ScatterND. Result [D0, .., Dk-1, s..], indices [n, k], updates
  /// [n, s..].
  Tuples,
  /// ONNX ScatterElements along `axis`; all of one rank.
  Elements
};
enum class ScatterCombine {
  Replace,
  Sum,
  Prod,
  Max,
  Min,
  MaxUnsigned,
  MinUnsigned
};

struct ScatterSpec {
  ScatterKind kind = ScatterKind::Tuples;
  ScatterCombine combine = ScatterCombine::Replace;
  /// Of Elements alone.
  unsigned axis = 0;
};

/// Defines both functions of `kb`. Fails with an error at kb's location.
mlir::LogicalResult emitScatter(KernelBuilder &kb, const ScatterSpec &spec);

/// Element `offset` of operand `indices` as a position below `size`, as
/// KernelBuilder::checkedIndex makes it.
mlir::Value positionAt(KernelBuilder &kb, unsigned indices, mlir::Value offset,
                       mlir::Value size);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITSCATTER_H
