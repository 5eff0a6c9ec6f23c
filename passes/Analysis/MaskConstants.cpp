//===- MaskConstants.cpp - Elements of constants --------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskAnalysis.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite;

/// Numbers at equal distances along the only dim there is, as an index: what is
/// left of a range whose size is known.
static std::optional<DimExpr> asRange(DenseElementsAttr elements,
                                      ArrayRef<DimExpr> coords) {
  ArrayRef<int64_t> shape = elements.getType().getShape();
  // The sequences of any model are shorter; each of these is looked at.
  constexpr int64_t kMost = 1 << 16;
  const int64_t *dim = llvm::find_if(shape, [](int64_t n) { return n != 1; });
  if (dim == shape.end() || elements.getNumElements() != *dim || *dim < 2 ||
      *dim > kMost || !elements.getElementType().isSignlessInteger() ||
      elements.getElementType().isInteger(1))
    return std::nullopt;
  auto values = elements.getValues<APInt>();
  int64_t first = values[0].getSExtValue();
  int64_t step;
  if (llvm::SubOverflow(values[1].getSExtValue(), first, step) ||
      first < -INT32_MAX || first > INT32_MAX || step < -INT32_MAX ||
      step > INT32_MAX)
    return std::nullopt;
  for (int64_t i = 2; i < *dim; ++i)
    if (values[i].getSExtValue() != first + step * i)
      return std::nullopt;
  return DimExpr(first) + coords[dim - shape.begin()] * DimExpr(step);
}

const MaskNode *MaskAnalysis::walkConstant(Value value,
                                           ArrayRef<DimExpr> coords) {
  DenseElementsAttr elements;
  if (!matchPattern(value, m_Constant(&elements)))
    return nullptr;
  Attribute element;
  if (elements.isSplat()) {
    element = elements.getSplatValue<Attribute>();
  } else {
    int64_t linear = 0;
    for (auto [coord, size] :
         llvm::zip_equal(coords, elements.getType().getShape())) {
      std::optional<int64_t> at = coord.constant();
      if (!at)
        if (std::optional<DimExpr> index = asRange(elements, coords))
          return exprs.getInt(elements.getElementType(), *index);
      if (!at || *at < 0 || *at >= size)
        return nullptr;
      linear = linear * size + *at;
    }
    element = elements.getValues<Attribute>()[linear];
  }
  Type type = elements.getElementType();
  if (auto real = dyn_cast<FloatAttr>(element))
    return exprs.getNumber(type, real.getValueAsDouble());
  auto integer = dyn_cast<IntegerAttr>(element);
  if (!integer || !type.isSignlessInteger())
    return nullptr;
  return exprs.getInt(type, type.isInteger(1)
                                ? integer.getValue().getZExtValue()
                                : integer.getValue().getSExtValue());
}
