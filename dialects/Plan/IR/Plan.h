//===- Plan.h - The one header of the plan dialect --------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_PLAN_IR_PLAN_H
#define FERRITE_DIALECTS_PLAN_IR_PLAN_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"

#include "dialects/Plan/IR/PlanDialect.h.inc"
#include "dialects/Plan/IR/PlanEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Plan/IR/PlanTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Plan/IR/PlanAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Plan/IR/PlanOps.h.inc"

namespace ferrite {
/// Bytes of an element in memory; a bool takes one.
int64_t elementBytes(mlir::Type type);
} // namespace ferrite

namespace ferrite::plan {

/// The values of k that a format of panels has side by side; 0: no panels.
inline int64_t groupOf(WeightFormat format) {
  switch (format) {
  case WeightFormat::Rows:
  case WeightFormat::Packed: // says how in its layout
  case WeightFormat::Sparse: // and this in its blocks
    return 0;
  case WeightFormat::Panels:
    return 1;
  case WeightFormat::Pairs:
    return 2;
  case WeightFormat::BytePanels:
    return 4;
  }
  llvm_unreachable("all formats are covered");
}

/// How the right operand of a float product lies: pairs of bf16, which dot
/// instructions read and others widen with a shift and a mask.
inline WeightFormat productFormat(mlir::Type element) {
  return element.isBF16() ? WeightFormat::Pairs : WeightFormat::Panels;
}

/// One operand or result of a kernel as a launch passes it.
struct PassedShape {
  Dims sizes, strides; ///< strides in elements
};

/// What `launch` passes for each of the kernel's layouts: what is open there is
/// filled in from the launch's values. Fails, silently, where these are too
/// few.
mlir::FailureOr<std::vector<PassedShape>> getPassedShapes(LaunchOp launch,
                                                          KernelOp kernel);

} // namespace ferrite::plan

#endif // FERRITE_DIALECTS_PLAN_IR_PLAN_H
