//===- Matchers.cpp - What passes ask of values ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SetVector.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

RankedTensorType ferrite::typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

Type ferrite::elementTypeOf(Value value) {
  return typeOf(value).getElementType();
}

bool ferrite::isShortFloat(Type type) { return type.isF16() || type.isBF16(); }

std::optional<double> ferrite::getSplat(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (isa<ViewOp, BroadcastOp, TransposeOp>(op) ||
        (isa<CastOp>(op) && isa<FloatType>(elementTypeOf(value)) &&
         isa<FloatType>(elementTypeOf(op->getOperand(0)))))
      value = op->getOperand(0);
    else
      break;
  }
  DenseElementsAttr attr;
  if (!matchPattern(value, m_Constant(&attr)) || !attr.isSplat())
    return std::nullopt;
  if (isa<FloatType>(attr.getElementType())) {
    APFloat splat = attr.getSplatValue<APFloat>();
    bool inexact;
    splat.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                  &inexact);
    return splat.convertToDouble();
  }
  APInt splat = attr.getSplatValue<APInt>();
  bool isUnsigned = attr.getElementType().isUnsignedInteger() ||
                    attr.getElementType().isInteger(1);
  return isUnsigned ? static_cast<double>(splat.getZExtValue())
                    : static_cast<double>(splat.getSExtValue());
}

bool ferrite::isNear(double value, double expected, double tolerance) {
  return std::abs(value - expected) <= tolerance * std::abs(expected);
}

bool ferrite::isSplatNear(Value value, double expected) {
  std::optional<double> splat = getSplat(value);
  return splat && isNear(*splat, expected);
}

bool ferrite::isWeightOrConstant(Value value) {
  return value.getDefiningOp<WeightOp>() || matchPattern(value, m_Constant());
}

Value ferrite::otherOperand(Operation *op, Value one) {
  return op->getOperand(0) == one ? op->getOperand(1) : op->getOperand(0);
}

Location ferrite::locOf(Operation *root, ValueRange leaves) {
  SetVector<Operation *> ops;
  ops.insert(root);
  for (size_t i = 0; i < ops.size(); ++i)
    for (Value operand : ops[i]->getOperands()) {
      Operation *op = operand.getDefiningOp();
      if (op && !llvm::is_contained(leaves, operand) &&
          !isWeightOrConstant(operand))
        ops.insert(op);
    }
  // From the first op of the graph to the last, as a reader expects them.
  SmallVector<Operation *> ordered = ops.takeVector();
  llvm::sort(ordered, [](Operation *a, Operation *b) {
    return a->getBlock() == b->getBlock() && a->isBeforeInBlock(b);
  });
  SmallVector<Location> locs;
  for (Operation *op : ordered)
    locs.push_back(op->getLoc());
  return FusedLoc::get(root->getContext(), locs);
}

void ferrite::reportMissed(Operation *op, StringRef pass, const Twine &reason) {
  StringRef name = pass.drop_front(StringRef("ferrite-fuse-").size());
  remark::missed(op->getLoc(), remark::RemarkOpts::name(name).category(pass))
      << remark::reason("{0}", reason.str());
}

void ferrite::reportPassed(Location loc, StringRef pass, StringRef what) {
  StringRef name = pass.drop_front(StringRef("ferrite-fuse-").size());
  remark::passed(loc, remark::RemarkOpts::name(name).category(pass)) << what;
}
