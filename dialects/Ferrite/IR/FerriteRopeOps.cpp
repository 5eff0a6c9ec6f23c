//===- FerriteRopeOps.cpp - Rotary position embedding ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

/// Whether a table's dim is the input's, or 1, as far as types know.
static bool agreesOrIsOne(int64_t table, int64_t size) {
  return table == 1 || ShapedType::isDynamic(table) ||
         ShapedType::isDynamic(size) || table == size;
}

LogicalResult RopeOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType());
  if (input.getRank() != 4) // C1
    return emitOpError("expects an input of rank 4, but got ") << input;
  for (Value value : {getCos(), getSin()}) {
    auto table = cast<RankedTensorType>(value.getType());
    if (table.getRank() != 3 ||
        !agreesOrIsOne(table.getDimSize(0), input.getDimSize(0)) ||
        !agreesOrIsOne(table.getDimSize(1), input.getDimSize(1)))
      return emitOpError("expects cos and sin of [batch or 1, tokens or 1, "
                         "half of the rotated size] for ")
             << input << ", but got " << table;
  }
  int64_t half = cast<RankedTensorType>(getCos().getType()).getDimSize(2);
  int64_t other = cast<RankedTensorType>(getSin().getType()).getDimSize(2);
  int64_t size = input.getDimSize(3);
  if (ShapedType::isDynamic(half) || half != other || half < 1 || // C2
      (!ShapedType::isDynamic(size) && half > size / 2))
    return emitOpError("expects cos and sin of one static innermost size, at "
                       "most half of the ")
           << size << " of a head, but got " << half << " and " << other;
  return success();
}

LogicalResult RopeOp::inferDims(ArrayRef<Dims> operands,
                                SmallVectorImpl<Dims> &results) {
  for (const Dims &table : operands.drop_front())
    for (size_t i : {0, 1})
      if (!table[i].isConstant(1) && table[i] != operands[0][i])
        return emitError("dims of the rotation, ")
               << table[i].str() << ", and of what is rotated, "
               << operands[0][i].str() << ", differ";
  results.push_back(operands[0]);
  return success();
}
