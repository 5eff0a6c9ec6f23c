//===- FerriteInterfaces.td - Interfaces of the dialect ----*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_INTERFACES_TD
#define FERRITE_INTERFACES_TD

include "mlir/IR/OpBase.td"

def SymbolicShapeOpInterface : OpInterface<"SymbolicShapeOpInterface"> {
  let cppNamespace = "::ferrite";
  let description = [{
    Result dims as expressions of the entry's symbols.

    Upstream's `ReifyRankedShapedTypeOpInterface` answers with new IR (`tensor.dim`,
    `affine.apply`), which would have to be folded again to learn that two dims
    are equal; a `DimExpr` is canonical, so equal dims compare equal, and the
    plan evaluates it directly.
  }];
  let methods = [InterfaceMethod<
    "Computes the dims of each result, or emits an error at the op.",
    "::llvm::LogicalResult", "inferDims",
    (ins "::llvm::ArrayRef<::ferrite::Dims>":$operands,
         "::llvm::SmallVectorImpl<::ferrite::Dims> &":$results)>];
}

#endif // FERRITE_INTERFACES_TD
