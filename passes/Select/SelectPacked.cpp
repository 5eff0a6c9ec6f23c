//===- SelectPacked.cpp - How products with few bits become launches ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Rows that a linear rounds are rounded once for all linears that read them so.
// Where a weight cannot lie in few bits it is f32 in the artifact, and a remark
// says why.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/PackedWeight.h"
#include "passes/Select/Selector.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Remarks.h"

#define DEBUG_TYPE "ferrite-select-kernels"

using namespace mlir;
using namespace ferrite;

StridedView Selector::roundedRows(const StridedView &matrix, int64_t block,
                                  int64_t sums, Type element, LinearOp op) {
  std::string key;
  llvm::raw_string_ostream(key) << block << " " << sums << " " << element;
  std::pair<void *, std::string> which(op.getInput().getAsOpaquePointer(), key);
  auto known = roundedOf.find(which);
  if (known != roundedOf.end())
    return known->second;
  Location loc = op.getLoc();
  int64_t columns = *matrix.dims[1].constant(), length = columns;
  if (!element.isF32())
    length = RoundedRows{columns, block, sums}.bytes();
  StridedView result =
      plan.makeBuffer(loc, element, {matrix.dims[0], DimExpr(length)});
  plan.launch(loc, "round_rows_" + std::to_string(columns),
              KernelOperand(matrix), KernelOperand(result), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return RoundRowsOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    block, sums);
              });
  return roundedOf[which] = result;
}

/// Groups of all k or more, as a multiple of what they are summed by.
static int64_t groupOf(int64_t inputBlock, int64_t depth, int64_t sums) {
  return inputBlock < depth ? inputBlock
                            : llvm::alignTo(depth, std::min(sums, depth));
}

bool Selector::selectPackedLinear(LinearOp op) {
  auto weightOp = op.getWeight().getDefiningOp<WeightOp>();
  if (!weightOp || !isScaledWeight(weightOp))
    return false;
  Location loc = op.getLoc();
  std::string reason;
  PackedAttr packed = packedLayoutOf(weightOp, reason);
  if (!packed) {
    remark::missed(loc,
                   remark::RemarkOpts::name("low-bit").category(DEBUG_TYPE))
        << remark::reason("the weight lies in the artifact as {0}: {1}",
                          getElementTypeOrSelf(weightOp.getType()), reason);
    return false;
  }
  StridedView input = rows(op.getInput(), loc);
  int64_t block = op.getInputBlock(), depth = packed.getDepth();
  bool asBytes = multipliesBytes(packed, block);
  if (block > 0) {
    int64_t sums = std::min(block, packed.getBlock());
    block = groupOf(block, depth, sums);
    Type byte = IntegerType::get(op.getContext(), 8, IntegerType::Unsigned);
    if (!asBytes)
      remark::missed(loc,
                     remark::RemarkOpts::name("low-bit").category(DEBUG_TYPE))
          << remark::reason("rounded rows are multiplied as f32: {0}",
                            packed.getCodes()
                                ? "the weight has a table of codes"
                                : "their groups do not fit the weight's");
    input = roundedRows(
        input, block, asBytes ? sums : 0,
        asBytes ? byte : Type(Float32Type::get(op.getContext())), op);
  }
  remark::passed(loc, remark::RemarkOpts::name("low-bit").category(DEBUG_TYPE))
      << remark::reason("weights of {0} bits, activations {1}",
                        packed.getBits(),
                        block ? "rounded to 8 bits" : "exact");
  std::vector<KernelOperand> operands = {input,
                                         plan.usePacked(weightOp, packed)};
  for (Value side : op.getSides())
    operands.push_back(sideOf(op, side));
  StridedView result = *makeResult(op).asRows();
  std::string name = "packed" + std::to_string(packed.getBits()) + "_linear_" +
                     std::to_string(depth) + "x" +
                     std::to_string(packed.getColumns());
  plan.launch(loc, name, operands, KernelOperand(result), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto linear = PackedLinearOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args.drop_front(2), packed, asBytes ? block : 0);
                IRMapping mapping;
                op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
                return linear;
              });
  return true;
}
