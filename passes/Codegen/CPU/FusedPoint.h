//===- FusedPoint.h - One register of points of a fused kernel --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What happens at a place of the domain, once EmitFused has decided which:
// reading the inputs, the body, the combination, the finish, writing the
// results. Nothing here makes a loop.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_FUSEDPOINT_H
#define FERRITE_PASSES_CODEGEN_CPU_FUSEDPOINT_H

#include "passes/Codegen/CPU/FusedLoops.h"

namespace ferrite::cpu {

/// Where along the vector loop a register lies: at [index, index + lanes), less
/// what is outside of the mask, which is null for a full register. `limit` is
/// the end of the loop.
struct FusedSpan {
  mlir::Value index, mask, limit;
};

/// The place in all other loops: an index for each loop (null: not walked yet,
/// position 0) and the offset of each operand that they give, in elements.
struct FusedPlace {
  llvm::SmallVector<mlir::Value> indices, offsets;
};

/// Inputs that are in registers already, in memory form.
using GivenInputs = llvm::DenseMap<unsigned, mlir::Value>;

class FusedPoint {
public:
  FusedPoint(KernelBuilder &kb, const FusedSpec &spec, const FusedLoops &loops)
      : kb(kb), spec(spec), loops(loops) {}

  unsigned numInputs() const { return spec.numInputs; }
  unsigned numOperands() const { return kb.layout().operands.size(); }
  mlir::Value dimSize(unsigned d);
  mlir::Value size(unsigned loop);
  mlir::Value stride(unsigned operand, unsigned loop);

  FusedPlace start();
  /// `place`, moved to `index` of a loop.
  FusedPlace at(const FusedPlace &place, unsigned loop, mlir::Value index);

  /// Reads inputs that move neither along the lanes nor from row to row of a
  /// square, once for all spans.
  void hoist(const FusedPlace &place);
  void dropHoisted() { hoisted.clear(); }
  /// The body at a register of points.
  mlir::FailureOr<llvm::SmallVector<mlir::Value>>
  evaluate(const FusedPlace &place, const FusedSpan &span,
           const GivenInputs &given = GivenInputs());
  /// Ends: `combined` are registers along `span`, or scalars when `span` has no
  /// index (the lanes were reduced).
  mlir::LogicalResult finish(const FusedPlace &place, const FusedSpan &span,
                             llvm::SmallVector<mlir::Value> combined);

  /// Registers that change nothing when combined, one for each body value.
  llvm::SmallVector<mlir::Value> identities();
  mlir::Value combine(unsigned i, mlir::Value a, mlir::Value b);
  /// The lanes of one register, halving: lane i meets lane i + n/2 first.
  mlir::Value combineLanes(unsigned i, mlir::Value v);
  /// Body values as they are accumulated: short floats in f32.
  mlir::Value widen(mlir::Value v);

private:
  mlir::Value load(unsigned operand, const FusedPlace &place,
                   const FusedSpan &span, mlir::Type type, unsigned lanes);
  void store(unsigned operand, const FusedPlace &place, const FusedSpan &span,
             mlir::Value value);
  mlir::FailureOr<llvm::SmallVector<mlir::Value>>
  run(mlir::Block &block, llvm::ArrayRef<mlir::Value> args,
      const FusedPlace &place, const FusedSpan &span, unsigned lanes);

  KernelBuilder &kb;
  const FusedSpec &spec;
  const FusedLoops &loops;
  GivenInputs hoisted; // as values of the body
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_FUSEDPOINT_H
