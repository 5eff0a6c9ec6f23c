//===- FusedLayout.cpp - Domains of fused kernels -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/FusedLayout.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace ferrite;

/// `view` in the space of `sizes.size()` loops.
static StridedView inLoops(const StridedView &view, AffineMap map,
                           ArrayRef<DimExpr> sizes) {
  StridedView result{view.ref, view.element, Dims(sizes),
                     Dims(sizes.size(), DimExpr(0)), view.offset};
  for (auto [i, expr] : llvm::enumerate(map.getResults()))
    if (auto loop = dyn_cast<AffineDimExpr>(expr)) {
      unsigned d = loop.getPosition();
      // A dim of 1 under a longer loop repeats.
      if (!view.dims[i].isConstant(1))
        result.strides[d] = result.strides[d] + view.strides[i];
    }
  return result;
}

FusedLayout FusedLayout::of(FusedOp op, ArrayRef<StridedView> inputs,
                            const StridedView &result) {
  FusedLayout layout;
  layout.sizes = *parseDims(op.getDomain());
  SmallVector<AffineMap> maps(op.getMaps().getAsValueRange<AffineMapAttr>());
  for (auto [view, map] : llvm::zip(inputs, maps))
    layout.operands.push_back(inLoops(view, map, layout.sizes));
  layout.operands.push_back(inLoops(result, maps.back(), layout.sizes));
  for (size_t d = 0; d < layout.sizes.size(); ++d)
    layout.reduction.push_back(!maps.back().isFunctionOfDim(d) &&
                               !layout.sizes[d].isConstant(1));
  bool positional = !op.getBody().getOps<LoopIndexOp>().empty();
  if (!positional)
    layout.merge();
  return layout;
}

FusedLayout FusedLayout::copy(const StridedView &from, const StridedView &to) {
  FusedLayout layout;
  layout.sizes = to.dims;
  layout.reduction.assign(to.dims.size(), false);
  layout.operands = {from, to};
  for (size_t d = 0; d < from.dims.size(); ++d)
    if (from.dims[d].isConstant(1) && !to.dims[d].isConstant(1))
      layout.operands[0].strides[d] = DimExpr(0);
  layout.operands[0].dims = to.dims;
  layout.merge();
  return layout;
}

void FusedLayout::merge() {
  auto drop = [&](size_t d) {
    sizes.erase(sizes.begin() + d);
    reduction.erase(reduction.begin() + d);
    for (StridedView &operand : operands)
      operand.strides.erase(operand.strides.begin() + d);
  };
  for (size_t d = sizes.size(); d-- > 0;)
    if (sizes[d].isConstant(1) && sizes.size() > 1)
      drop(d);
  for (size_t d = sizes.size(); d-- > 1;) {
    bool endToEnd =
        reduction[d] == reduction[d - 1] &&
        llvm::all_of(operands, [&](const StridedView &operand) {
          return operand.strides[d - 1] == operand.strides[d] * sizes[d];
        });
    if (!endToEnd)
      continue;
    sizes[d - 1] = sizes[d - 1] * sizes[d];
    for (StridedView &operand : operands)
      operand.strides[d - 1] = operand.strides[d];
    drop(d);
  }
  for (StridedView &operand : operands)
    operand.dims = sizes;
}

void FusedLayout::launch(PlanBuilder &plan, Location loc, StringRef stem,
                         FusedOp op) const {
  MLIRContext *context = loc.getContext();
  size_t loops = sizes.size();
  // In the kernel the domain's symbols are anonymous: structure alone counts.
  Dims domain;
  for (auto [d, size] : llvm::enumerate(sizes))
    domain.push_back(
        size.constant() ? size : DimExpr::symbol("d" + std::to_string(d)));
  auto unread = [&](size_t d) {
    return reduction[d] && llvm::none_of(operands, [&](const StridedView &o) {
             return !o.strides[d].isConstant(0);
           });
  };
  std::vector<KernelOperand> kernelOperands;
  SmallVector<AffineMap> maps;
  for (auto [i, operand] : llvm::enumerate(operands)) {
    bool isResult = i + 1 == operands.size();
    SmallVector<AffineExpr> results;
    SmallVector<bool> sized;
    Dims dims;
    for (size_t d = 0; d < loops; ++d) {
      bool moves = isResult ? !reduction[d] : !operand.strides[d].isConstant(0);
      results.push_back(moves ? getAffineDimExpr(d, context)
                              : getAffineConstantExpr(0, context));
      dims.push_back(moves ? domain[d] : DimExpr(1));
      // A static 1 would say that the operand repeats. A reduced size that no
      // input has is the result's to tell: it does not move along it.
      sized.push_back(moves || (isResult && unread(d)));
    }
    maps.push_back(AffineMap::get(loops, 0, results, context));
    KernelOperand &kernelOperand = kernelOperands.emplace_back(
        operand, getTensorType(dims, operand.element));
    kernelOperand.sized = sized;
  }
  RankedTensorType resultType = kernelOperands.back().type;
  ArrayRef<KernelOperand> all(kernelOperands);
  plan.launch(loc, stem, all.drop_back(), all.take_back(), /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto fused = FusedOp::create(
                    b, loc, resultType, args, getDimsAttr(context, domain),
                    b.getAffineMapArrayAttr(maps),
                    op ? op.getCombine() : CombineKind::None);
                if (op) {
                  IRMapping mapping;
                  op.getBody().cloneInto(&fused.getBody(), mapping);
                  op.getFinish().cloneInto(&fused.getFinish(), mapping);
                  return fused;
                }
                for (Region *region : {&fused.getBody(), &fused.getFinish()}) {
                  Block &block = region->emplaceBlock();
                  Value value = block.addArgument(
                      getBodyType(resultType.getElementType()), loc);
                  OpBuilder body = OpBuilder::atBlockEnd(&block);
                  YieldOp::create(body, loc, value);
                }
                return fused;
              });
}
