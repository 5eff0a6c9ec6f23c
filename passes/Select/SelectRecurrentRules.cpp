//===- SelectRecurrentRules.cpp - Launches of recurrences -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/Selector.h"

using namespace mlir;
using namespace ferrite;

void Selector::selectLinearAttention(LinearAttentionOp op) {
  Location loc = op.getLoc();
  // Queries, keys, decays and rates are read number by number; what lies along
  // the columns of the state, by the register.
  std::vector<KernelOperand> operands = {get(op.getQuery()), get(op.getKey()),
                                         unitInner(get(op.getValue()), loc)};
  if (op.getDecay())
    operands.push_back(get(op.getDecay()));
  if (op.getBeta()) {
    StridedView beta = get(op.getBeta());
    operands.push_back(
        beta.broadcast({beta.dims[0], beta.dims[1], operands[1].view.dims[2]}));
  }
  if (op.getState())
    operands.push_back(unitInner(get(op.getState()), loc));
  StridedView result = makeResult(op);
  plan.launch(loc, "linear_attention", operands, KernelOperand(result),
              /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                unsigned next = 3;
                auto optional = [&](Value given) {
                  return given ? args[next++] : Value();
                };
                Value decay = optional(op.getDecay());
                Value beta = optional(op.getBeta());
                Value state = optional(op.getState());
                return LinearAttentionOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args[2], decay, beta, state, op.getScaleAttr());
              });
}
