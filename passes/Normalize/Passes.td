//===- Passes.td - One canonical form ----------------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_NORMALIZE_PASSES_TD
#define FERRITE_PASSES_NORMALIZE_PASSES_TD

include "mlir/Pass/PassBase.td"

def Normalize : Pass<"ferrite-normalize", "::mlir::func::FuncOp"> {
  let summary = "Bring what exporters write to one form";
  let description = [{
    Folds constants whose results have at most 128 KiB; drops what changes nothing
    (identity views, casts and broadcasts, `x * 1`, `and(x, true)`); composes views
    and transposes, also through the reshape to three dims and back with which
    exporters transpose a matrix; turns transposes that move only dims of size 1
    into views; brings constant factors behind the products whose sides they scale; makes a weight
    of each weight that is dequantized.

    A factor moves behind a product of f32 alone: in f16 the unscaled product could
    overflow.

    **Needs** import.
    **Leaves** no view of a view, no transpose of a transpose, no op whose operands
    are all small constants.

    ```mlir
    %a = ferrite.view %k dims = ["batch*12", "sequence", "32"]
    %b = ferrite.transpose %a perm = [0, 2, 1]
    %c = ferrite.view %b dims = ["batch", "12", "32", "sequence"]
    %d = ferrite.mul %c, %half            %s = ferrite.matmul %q, %d
    // becomes
    %c = ferrite.transpose %k perm = [0, 1, 3, 2]
    %d = ferrite.matmul %q, %c            %s = ferrite.mul %d, %half
    ```
  }];
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

def ExpandQuantize : Pass<"ferrite-expand-quantize", "::mlir::func::FuncOp"> {
  let summary = "Write quantize and dequantize as arithmetic";
  let description = [{
    What no fusion took becomes elementwise ops, which join the epilogue of a
    linear or a `ferrite.fused`. A scale for each block is repeated over its block.

    **Needs** normalize, which has made weights of dequantized weights.
    **Leaves** no `quantize` and no `dequantize`.

    ```mlir
    %y = ferrite.dequantize %q, %s zero(%z : tensor<ui8>) : (tensor<?xui8>, tensor<f32>) -> tensor<?xf32>
    // becomes
    %f = ferrite.cast %q : (tensor<?xui8>) -> tensor<?xf32>
    %g = ferrite.cast %z : (tensor<ui8>) -> tensor<f32>
    %d = ferrite.sub %f, %g : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
    %y = ferrite.mul %d, %s : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
    ```
  }];
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

#endif // FERRITE_PASSES_NORMALIZE_PASSES_TD
