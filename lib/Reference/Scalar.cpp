//===- Scalar.cpp - Bodies of linear and fused, point by point ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Scalar.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

static std::optional<Kind> scalarKind(Type type) {
  return isa<IndexType>(type) ? std::optional(Kind::I64) : kindOf(type);
}

static Scalar constantOf(Attribute value, Kind kind) {
  if (auto number = dyn_cast<FloatAttr>(value)) {
    APFloat wide = number.getValue();
    bool lossy;
    wide.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
    return {wide.convertToDouble(), 0};
  }
  auto integer = cast<IntegerAttr>(value).getValue();
  return {0, kind == Kind::Bool ? int64_t(integer.getZExtValue())
                                : integer.getSExtValue()};
}

FailureOr<Program> Program::compile(Region &body, unsigned loops) {
  Program program;
  Block &block = body.front();
  llvm::DenseMap<Value, unsigned> registers;
  for (BlockArgument argument : block.getArguments()) {
    std::optional<Kind> kind = scalarKind(argument.getType());
    if (!kind)
      return emitError(argument.getLoc())
             << "a body takes " << argument.getType();
    registers[argument] = program.argumentKinds.size();
    program.argumentKinds.push_back(*kind);
  }
  program.count = program.argumentKinds.size() + loops;
  for (Operation &op : block) {
    if (auto yield = dyn_cast<YieldOp>(op)) {
      program.result = registers[yield.getValue()];
      program.yielded =
          scalarKind(yield.getValue().getType()).value_or(Kind::F32);
      return program;
    }
    if (auto index = dyn_cast<LoopIndexOp>(op)) {
      if (index.getDim() < 0 || index.getDim() >= static_cast<int64_t>(loops))
        return op.emitError("there is no loop ") << index.getDim();
      registers[index] = program.loopRegister(index.getDim());
      continue;
    }
    Step step;
    step.apply = floatStep(&op);
    if (!step.apply)
      step.apply = integerStep(&op);
    std::optional<Kind> kind = op.getNumResults() == 1
                                   ? scalarKind(op.getResult(0).getType())
                                   : std::nullopt;
    if (!step.apply || !kind || op.getNumOperands() > 3)
      return op.emitError("the reference evaluator does not know ")
             << op.getName();
    step.kind = *kind;
    for (auto [i, operand] : llvm::enumerate(op.getOperands()))
      step.operand[i] = registers[operand];
    if (op.getNumOperands() > 0)
      step.from = scalarKind(op.getOperand(0).getType()).value_or(Kind::I64);
    if (auto constant = dyn_cast<arith::ConstantOp>(op))
      step.constant = constantOf(constant.getValue(), *kind);
    if (auto compare = dyn_cast<arith::CmpFOp>(op))
      step.predicate = static_cast<int64_t>(compare.getPredicate());
    if (auto compare = dyn_cast<arith::CmpIOp>(op))
      step.predicate = static_cast<int64_t>(compare.getPredicate());
    step.to = registers[op.getResult(0)] = program.count++;
    program.steps.push_back(step);
  }
  return emitError(body.getLoc()) << "a body yields nothing";
}

Scalar Program::run(Scalar *registers) const {
  for (const Step &step : steps)
    registers[step.to] = step.apply(step, registers);
  return registers[result];
}

/// The kind of getBodyType().
static Kind bodyKind(Kind kind) {
  if (kind == Kind::Bool || (isFloat(kind) && !isTinyFloat(kind)))
    return kind;
  static constexpr Kind signedKinds[] = {Kind::I8, Kind::I16, Kind::I32,
                                         Kind::I64};
  return signedKinds[llvm::Log2_64(bytesOf(kind))];
}

Scalar ferrite::reference::readScalar(const Tensor &tensor, int64_t i) {
  Kind kind = bodyKind(tensor.kind());
  if (isFloat(kind))
    return {tensor.number(i), 0};
  return {0, readInteger(kind, tensor.data(), i)};
}

void ferrite::reference::writeScalar(Tensor &tensor, int64_t i,
                                     const Scalar &scalar) {
  Kind kind = bodyKind(tensor.kind());
  if (isFloat(kind))
    writeFloat(kind, tensor.mutableData(), i, scalar.f);
  else
    writeInteger(kind, tensor.mutableData(), i, scalar.i);
}
