//===- BodyNames.cpp - What ops of a body are called in C++ ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/BodyNames.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

/// Functions of one argument that have one name at every width.
const char *cuda::functionName(Operation *op) {
  return llvm::TypeSwitch<Operation *, const char *>(op)
      .Case([](math::ExpOp) { return "exp"; })
      .Case([](math::ExpM1Op) { return "expm1"; })
      .Case([](math::LogOp) { return "log"; })
      .Case([](math::Log1pOp) { return "log1p"; })
      .Case([](math::ErfOp) { return "erf"; })
      .Case([](math::SinOp) { return "sin"; })
      .Case([](math::CosOp) { return "cos"; })
      .Case([](math::TanOp) { return "tan"; })
      .Case([](math::AsinOp) { return "asin"; })
      .Case([](math::AcosOp) { return "acos"; })
      .Case([](math::AtanOp) { return "atan"; })
      .Case([](math::SinhOp) { return "sinh"; })
      .Case([](math::CoshOp) { return "cosh"; })
      .Case([](math::TanhOp) { return "tanh"; })
      .Case([](math::AsinhOp) { return "asinh"; })
      .Case([](math::AcoshOp) { return "acosh"; })
      .Case([](math::AtanhOp) { return "atanh"; })
      .Case([](math::SqrtOp) { return "sqrt"; })
      .Case([](math::RsqrtOp) { return "rsqrt"; })
      .Case([](math::FloorOp) { return "floor"; })
      .Case([](math::CeilOp) { return "ceil"; })
      .Case([](math::RoundEvenOp) { return "roundEven"; })
      .Case([](math::RoundOp) { return "round"; })
      .Case([](math::TruncOp) { return "trunc"; })
      .Case([](math::AbsFOp) { return "abs"; })
      .Case([](math::AbsIOp) { return "absInteger"; })
      .Case([](math::IsNaNOp) { return "isNaN"; })
      .Case([](math::IsInfOp) { return "isInf"; })
      .Case([](math::IsFiniteOp) { return "isFinite"; })
      .Default([](Operation *) { return nullptr; });
}

/// Functions of two arguments; integer division guards its divisor, as on the
/// CPU, and is as the CPU's.
const char *cuda::pairFunctionName(Operation *op) {
  return llvm::TypeSwitch<Operation *, const char *>(op)
      .Case([](arith::MaximumFOp) { return "maximum"; })
      .Case([](arith::MinimumFOp) { return "minimum"; })
      .Case([](arith::MaxNumFOp) { return "maxNumber"; })
      .Case([](arith::MinNumFOp) { return "minNumber"; })
      .Case([](arith::RemFOp) { return "remainder"; })
      .Case([](arith::MaxSIOp) { return "maxInteger"; })
      .Case([](arith::MinSIOp) { return "minInteger"; })
      .Case([](arith::DivSIOp) { return "divide"; })
      .Case([](arith::RemSIOp) { return "rest"; })
      .Case([](arith::FloorDivSIOp) { return "floorDivide"; })
      .Case([](arith::CeilDivSIOp) { return "ceilDivide"; })
      .Case([](math::CopySignOp) { return "copySign"; })
      .Default([](Operation *) { return nullptr; });
}

const char *cuda::unsignedFunctionName(Operation *op) {
  return llvm::TypeSwitch<Operation *, const char *>(op)
      .Case([](arith::MaxUIOp) { return "maxInteger"; })
      .Case([](arith::MinUIOp) { return "minInteger"; })
      .Case([](arith::DivUIOp) { return "divide"; })
      .Case([](arith::RemUIOp) { return "rest"; })
      .Default([](Operation *) { return nullptr; });
}

const char *cuda::signOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, const char *>(op)
      .Case([](arith::AddFOp) { return "+"; })
      .Case([](arith::SubFOp) { return "-"; })
      .Case([](arith::MulFOp) { return "*"; })
      .Case([](arith::DivFOp) { return "/"; })
      .Case([](arith::AndIOp) { return "&"; })
      .Case([](arith::OrIOp) { return "|"; })
      .Case([](arith::XOrIOp) { return "^"; })
      .Default([](Operation *) { return nullptr; });
}

/// Integer arithmetic wraps: in C++ that is the unsigned's.
const char *cuda::wrappingSign(Operation *op) {
  return llvm::TypeSwitch<Operation *, const char *>(op)
      .Case([](arith::AddIOp) { return "+"; })
      .Case([](arith::SubIOp) { return "-"; })
      .Case([](arith::MulIOp) { return "*"; })
      .Case([](arith::ShLIOp) { return "<<"; })
      .Case([](arith::ShRUIOp) { return ">>"; })
      .Default([](Operation *) { return nullptr; });
}
