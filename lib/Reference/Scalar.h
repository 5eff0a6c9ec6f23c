//===- Scalar.h - Bodies of linear and fused, point by point ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_SCALAR_H
#define FERRITE_LIB_REFERENCE_SCALAR_H

#include "lib/Reference/Tensor.h"

#include "mlir/IR/Region.h"
#include <vector>

namespace ferrite::reference {

/// A value of a body.
using Scalar = Element;

/// A block of scalar ops as a list of functions of registers. Each op rounds to
/// its type. Threads share a program and have registers of their own.
class Program {
public:
  /// `loops`: how many ferrite.loop_index there can be.
  static llvm::FailureOr<Program> compile(mlir::Region &body,
                                          unsigned loops = 0);

  unsigned registers() const { return count; }
  /// The kinds of the arguments, in registers 0, 1, ... ; loops come after.
  llvm::ArrayRef<Kind> arguments() const { return argumentKinds; }
  unsigned loopRegister(unsigned loop) const {
    return argumentKinds.size() + loop;
  }
  Kind resultKind() const { return yielded; }
  /// Runs on registers that hold the arguments.
  Scalar run(Scalar *registers) const;

  struct Step {
    Scalar (*apply)(const Step &step, const Scalar *registers) = nullptr;
    unsigned to = 0, operand[3] = {0, 0, 0};
    Kind kind = Kind::F32,
         from = Kind::F32; ///< of the result, the first operand
    Scalar constant;
    int64_t predicate = 0;
  };

private:
  std::vector<Step> steps;
  llvm::SmallVector<Kind> argumentKinds;
  unsigned count = 0, result = 0;
  Kind yielded = Kind::F32;
};

/// The function of an op: one that gives a float of floats (or tests one), or
/// any other. Null: none is known.
using Apply = Scalar (*)(const Program::Step &, const Scalar *);
Apply floatStep(mlir::Operation *op);
Apply integerStep(mlir::Operation *op);

Scalar readScalar(const Tensor &tensor, int64_t i);
void writeScalar(Tensor &tensor, int64_t i, const Scalar &scalar);

} // namespace ferrite::reference

#endif // FERRITE_LIB_REFERENCE_SCALAR_H
