//===- EmitFused.h - Kernels of elementwise and reducing bodies -*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A fused op is scalar code at every point of a domain of loops:
//
//   point(d..)  = body(input_i at d..)                  one value or several
//   result(p..) = finish(combine of point over the reduction loops)
//
// The layouts of the kernel's operands are given in the space of the loops, not
// of the tensors: `shape[d]` is the size of loop d or 1, and `strides[d]` is
// the distance in elements between neighbours along loop d, 0 where the operand
// does not move (broadcasts; results along reduction loops). So a transposed
// input is the same strides in another order, a slice is a stride and a moved
// pointer, and a concatenation is one kernel per part that writes with the
// strides of the whole.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITFUSED_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITFUSED_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// How points of a reduction meet. Max and Min of floats give NaN when a point
/// is NaN; of bool they are "any" and "all". Integers are signed but in the
/// last two.
enum class Combine { Sum, Prod, Max, Min, MaxUnsigned, MinUnsigned };

struct FusedLoop {
  /// The size, or kDynamic: then it is the size of dim `dim` of `operand`.
  int64_t size = mlir::ShapedType::kDynamic;
  unsigned operand = 0;
  unsigned dim = 0;
  /// Summed over (or whatever `combine` says), in order of position: the result
  /// depends on the values alone, not on how the work is split.
  bool reduction = false;
};

struct FusedSpec {
  llvm::SmallVector<FusedLoop> loops;
  /// The first operands of the layout are inputs, the others results.
  unsigned numInputs = 0;
  /// One argument per input, of the input's element type in a body (i1 for
  /// bool, signless integers) or, for floats, of any float type. Ends in any
  /// terminator. See BodyEvaluator.h for what it may hold.
  mlir::Block *body = nullptr;
  /// One for each value that `body` yields, or none: no loop (of a size other
  /// than 1) is a reduction.
  llvm::SmallVector<Combine> combines;
  /// What becomes of the combined values, or null: they are the results. Its
  /// arguments are the combined values and then, if it has more, all inputs
  /// (read at position 0 of the reduction loops).
  mlir::Block *finish = nullptr;
};

/// The loops of a domain of `reduction.size()` dims: the size of each is that
/// of the first operand that is not 1 there, a static one where there is one.
llvm::SmallVector<FusedLoop> inferFusedLoops(const KernelLayout &layout,
                                             llvm::ArrayRef<bool> reduction);

/// Defines both functions of `kb`, whose layout is as said above. Fails with an
/// error at kb's location.
mlir::LogicalResult emitFused(KernelBuilder &kb, const FusedSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITFUSED_H
