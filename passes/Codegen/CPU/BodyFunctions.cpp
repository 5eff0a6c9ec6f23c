//===- BodyFunctions.cpp - The elementary functions of bodies -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/BodyFunctions.h"

#include "passes/Codegen/CPU/VectorMath.h"
#include "passes/Codegen/CPU/VectorMath64.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite::cpu;

template <Value (*emit)(OpBuilder &, Location, Value, bool)>
static Value call(KernelBuilder &kb, Value x) {
  return emit(kb, kb.getLoc(), x, kb.level().isAvx512());
}

template <Value (*emit)(OpBuilder &, Location, Value)>
static Value call(KernelBuilder &kb, Value x) {
  return emit(kb, kb.getLoc(), x);
}

BodyFunction ferrite::cpu::narrowFunctionOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, BodyFunction>(op)
      .Case([](math::ExpOp) { return call<emitExp>; })
      .Case([](math::ErfOp) { return call<emitErf>; })
      .Case([](math::TanhOp) { return call<emitTanh>; })
      .Case([](math::LogOp) { return call<emitLog>; })
      .Case([](math::SinOp) { return call<emitSin>; })
      .Case([](math::CosOp) { return call<emitCos>; })
      .Default([](Operation *) { return BodyFunction(nullptr); });
}

BodyFunction ferrite::cpu::wideFunctionOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, BodyFunction>(op)
      .Case([](math::ExpOp) { return call<wide::emitExp>; })
      .Case([](math::ExpM1Op) { return call<wide::emitExpm1>; })
      .Case([](math::LogOp) { return call<wide::emitLog>; })
      .Case([](math::Log1pOp) { return call<wide::emitLog1p>; })
      .Case([](math::ErfOp) { return call<wide::emitErf>; })
      .Case([](math::SinOp) { return call<wide::emitSin>; })
      .Case([](math::CosOp) { return call<wide::emitCos>; })
      .Case([](math::TanOp) { return call<wide::emitTan>; })
      .Case([](math::AsinOp) { return call<wide::emitAsin>; })
      .Case([](math::AcosOp) { return call<wide::emitAcos>; })
      .Case([](math::AtanOp) { return call<wide::emitAtan>; })
      .Case([](math::SinhOp) { return call<wide::emitSinh>; })
      .Case([](math::CoshOp) { return call<wide::emitCosh>; })
      .Case([](math::TanhOp) { return call<wide::emitTanh>; })
      .Case([](math::AsinhOp) { return call<wide::emitAsinh>; })
      .Case([](math::AcoshOp) { return call<wide::emitAcosh>; })
      .Case([](math::AtanhOp) { return call<wide::emitAtanh>; })
      .Default([](Operation *) { return BodyFunction(nullptr); });
}
