//===- FerriteFusedOps.cpp - Leftover elementwise work --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/Ferrite.h"

using namespace mlir;
using namespace ferrite;

/// C1: results of the map are loops or the constant 0.
static bool isProjection(AffineMap map, size_t loops, int64_t rank) {
  return map.getNumDims() == loops && map.getNumSymbols() == 0 &&
         map.getNumResults() == static_cast<size_t>(rank) &&
         llvm::all_of(map.getResults(), [](AffineExpr expr) {
           auto constant = dyn_cast<AffineConstantExpr>(expr);
           return isa<AffineDimExpr>(expr) ||
                  (constant && constant.getValue() == 0);
         });
}

/// C2: the static sizes of a type agree with the domain.
static bool fitsDomain(AffineMap map, RankedTensorType type,
                       ArrayRef<DimExpr> domain) {
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    int64_t size = type.getDimSize(i);
    auto loop = dyn_cast<AffineDimExpr>(expr);
    std::optional<int64_t> expected =
        loop ? domain[loop.getPosition()].constant()
             : std::optional<int64_t>(1);
    if (!ShapedType::isDynamic(size) && expected && size != *expected)
      return false;
  }
  return true;
}

LogicalResult FusedOp::verify() {
  std::optional<Dims> domain = parseDims(getDomain());
  auto type = cast<RankedTensorType>(getType());
  SmallVector<AffineMap> maps(getMaps().getAsValueRange<AffineMapAttr>());
  if (!domain || maps.size() != getInputs().size() + 1)
    return emitOpError("expects a map for each input and the result, but got ")
           << maps.size();
  for (auto [i, map] : llvm::enumerate(maps)) {
    auto operand = i < getInputs().size()
                       ? cast<RankedTensorType>(getInputs()[i].getType())
                       : type;
    if (!isProjection(map, domain->size(), operand.getRank())) // C1
      return emitOpError(
                 "expects maps from the domain to loops and zeros, but got ")
             << AffineMapAttr::get(map);
    if (!fitsDomain(map, operand, *domain)) // C2
      return emitOpError("expects sizes that agree with the domain, but got ")
             << operand << " under " << AffineMapAttr::get(map);
  }
  Block &body = getBody().front(), &finish = getFinish().front();
  bool fits = body.getNumArguments() == getInputs().size() &&
              finish.getNumArguments() == 1 && !body.empty() && !finish.empty();
  for (size_t i = 0; fits && i < getInputs().size(); ++i)
    fits = body.getArgument(i).getType() ==
           getBodyType(getElementTypeOrSelf(getInputs()[i].getType()));
  auto point = fits ? dyn_cast<YieldOp>(body.back()) : YieldOp();
  auto value = fits ? dyn_cast<YieldOp>(finish.back()) : YieldOp();
  if (!point || !value ||
      point.getValue().getType() != finish.getArgument(0).getType() ||
      value.getValue().getType() != getBodyType(type.getElementType())) // C3
    return emitOpError(
               "expects a body from its inputs' elements and a finish to ")
           << type.getElementType();
  bool reduces = false;
  for (auto [loop, size] : llvm::enumerate(*domain))
    reduces |= !maps.back().isFunctionOfDim(loop) && !size.isConstant(1);
  if (reduces != (getCombine() != CombineKind::None)) // C4
    return emitOpError(
               "expects combine none exactly when no loop is reduced, but got ")
           << stringifyCombineKind(getCombine());
  return success();
}

LogicalResult FusedOp::inferDims(ArrayRef<Dims>,
                                 SmallVectorImpl<Dims> &results) {
  Dims domain = *parseDims(getDomain()), dims;
  AffineMap map = cast<AffineMapAttr>(getMaps().getValue().back()).getValue();
  for (AffineExpr expr : map.getResults()) {
    auto loop = dyn_cast<AffineDimExpr>(expr);
    dims.push_back(loop ? domain[loop.getPosition()] : DimExpr(1));
  }
  results.push_back(dims);
  return success();
}
