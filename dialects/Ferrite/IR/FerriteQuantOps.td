//===- FerriteQuantOps.td - Between numbers and few bits ---*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_QUANT_OPS_TD
#define FERRITE_QUANT_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_QuantizeOp : Ferrite_Op<"quantize"> {
  let summary = "numbers as few bits";
  let description = [{
    ```
    s, z           = scale, zeroPoint at the index of input[..]
    integers:        result[..] = clamp(round(input[..] / s) + z) to the type's ends
    floats:          result[..] = cast(input[..] / s + z)
    ```

    What is at an index: with `block` 0, a scale of rank 0 is for all elements and
    one of rank 1 is indexed by dim `axis`; else it has the rank of the input and
    `axis` is indexed by `index / block`.

    **Numerics.** The quotient has the type `precision`, to which both operands are
    converted, and is rounded to it; rounding is to even. A NaN becomes what `cast`
    makes of it, 0 for integers. `overflows` as in `cast`.
    **Constraints.** C1: `axis` is a dim of the input. C2: the scale has rank 0, or
    rank 1 with `block` 0 and the size of the axis, or the input's rank with a
    `block` above 0. C3: a zero point has the scale's shape and the result's type.
    C4: `precision` is f16, bf16, f32 or f64.
    **Properties.** `axis`, `block` (default 0); `overflows` (default absent).
    **From** ONNX `QuantizeLinear` and the integer ops. **To** elementwise ops by
    `--ferrite-expand-quantize` where nothing took it before.

    ```mlir
    %q = ferrite.quantize %x, %s zero(%z : tensor<64xui8>) axis = 1 precision = f32 : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xui8>
    ```
  }];
  let arguments = (ins Ferrite_NumberTensor:$input, Ferrite_Tensor:$scale,
                       Optional<Ferrite_Tensor>:$zeroPoint,
                       DefaultValuedProp<I64Prop, "0">:$axis,
                       DefaultValuedProp<I64Prop, "0">:$block,
                       UnitProp:$overflows, TypeAttr:$precision);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $scale (`zero` `(` $zeroPoint^ `:` type($zeroPoint) `)`)?
    (`axis` `=` $axis^)? (`block` `=` $block^)? (`overflows` $overflows^)?
    `precision` `=` $precision attr-dict
    `:` `(` type($input) `,` type($scale) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_DequantizeOp : Ferrite_Op<"dequantize"> {
  let summary = "few bits as numbers";
  let description = [{
    ```
    result[..] = (input[..] - zeroPoint at the index) * scale at the index
    ```

    Indexed as in `quantize`.

    **Numerics.** The difference of integers is exact; it, the scale and the product
    are f32, with one more rounding to the result type.
    **Constraints.** C1, C2 as of `quantize`. C3: a zero point has the scale's shape,
    and the input's type or a float type (`MatMulNBits`).
    **Properties.** `axis`, `block` (default 0).
    **From** ONNX `DequantizeLinear` and the integer ops. **To** the recipe of a
    weight by `--ferrite-normalize`, and to elementwise ops by
    `--ferrite-expand-quantize` where nothing took it before.

    ```mlir
    %w = ferrite.dequantize %q, %s axis = 1 block = 32 : (tensor<64x128xi4>, tensor<64x4xf32>) -> tensor<64x128xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_Tensor:$scale,
                       Optional<Ferrite_Tensor>:$zeroPoint,
                       DefaultValuedProp<I64Prop, "0">:$axis,
                       DefaultValuedProp<I64Prop, "0">:$block);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $scale (`zero` `(` $zeroPoint^ `:` type($zeroPoint) `)`)?
    (`axis` `=` $axis^)? (`block` `=` $block^)? attr-dict
    `:` `(` type($input) `,` type($scale) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_QUANT_OPS_TD
