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
    result[..] = codes[input[..]] * scale at the index               with `codes`
    ```

    Indexed as in `quantize`. `bits` says that elements of `input` use the low bits of
    their type alone: 3 bits lie in four, for one. It changes no result.

    **Numerics.** The difference of integers is exact; it, the scale and the product
    are f32, with one more rounding to the result type.
    **Constraints.** C1, C2 as of `quantize`. C3: a zero point has the scale's shape,
    and the input's type or a float type (`MatMulNBits`). C4: `codes` has 2^`bits`
    numbers (of the type's bits if `bits` is 0), 256 at the most, the input is unsigned,
    and there is no zero point. C5: `bits` is 0 or no more than the type's.
    **Properties.** `axis`, `block`, `bits` (default 0); `codes` (default absent).
    **From** ONNX `DequantizeLinear` and the integer ops, and the quantizer. **To** the recipe of a
    weight by `--ferrite-normalize`, and to elementwise ops by
    `--ferrite-expand-quantize` where nothing took it before.

    ```mlir
    %w = ferrite.dequantize %q, %s axis = 1 block = 32 : (tensor<64x128xi4>, tensor<64x4xf32>) -> tensor<64x128xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_Tensor:$scale,
                       Optional<Ferrite_Tensor>:$zeroPoint,
                       DefaultValuedProp<I64Prop, "0">:$axis,
                       DefaultValuedProp<I64Prop, "0">:$block,
                       OptionalAttr<DenseF32ArrayAttr>:$codes,
                       DefaultValuedProp<I64Prop, "0">:$bits);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $scale (`zero` `(` $zeroPoint^ `:` type($zeroPoint) `)`)?
    (`axis` `=` $axis^)? (`block` `=` $block^)? (`codes` `=` $codes^)?
    (`bits` `=` $bits^)? attr-dict
    `:` `(` type($input) `,` type($scale) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_RoundRowsOp : Ferrite_Op<"round_rows"> {
  let summary = "rows rounded to bytes with a scale for each group";
  let description = [{
    Of f32: the input as `linear` with input_block = block replaces it. Of ui8: row r
    of the result is, in bytes, with C columns in groups of `block`:

    ```
    [C rounded up to 64]     q of `linear` with input_block = block, signed; then 0
    [4 * groups]             most / 127 of each group, f32
    [4 * sums]               the sum of q of each `sumBlock` columns, i32
    ```

    and is as long as a multiple of 64 bytes (`RoundedRows` in
    lib/Support/PackedPanels.h).

    **Numerics.** Those of `linear`.
    **Constraints.** C1: `input` has rank 2 and static columns, the result the same
    shape, or of ui8 the row length that these make. C2: `block` is 1 or more, and
    `sumBlock` divides it or is a multiple of it.
    **Properties.** `block` (no default); `sumBlock` (default 0: that of `block`).
    **From** select, of `linear` with `input_block`. **To** a kernel of rows.

    ```mlir
    %q = ferrite.round_rows %x block = 64 : tensor<?x128xf32> -> tensor<?x192xui8>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input, I64Prop:$block,
                       DefaultValuedProp<I64Prop, "0">:$sumBlock);
  let results = (outs RankedTensorOf<[UI8, F32]>:$result);
  let assemblyFormat = [{
    $input `block` `=` $block (`sums` `=` $sumBlock^)? attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_PackedLinearOp : Ferrite_Op<"packed_linear", [SingleBlock, IsolatedFromAbove]> {
  let summary = "linear whose weight lies packed";
  let description = [{
    `linear` of the matrix that `packed` describes and the bytes `weight` hold. The
    input is of floats, or, with `input_block`, what `round_rows` made of it.

    **Numerics.** Of floats: in f32, the products of each block with what its codes
    are before they are scaled, one FMA each in order of k; those sums join in
    order, `acc = fma(sum, scale, acc)`. Of rounded rows: exact sums over the k that
    share both scales, which join in order, each as
    `fma(float(sum) * weight scale, input scale, acc)`.
    **Constraints.** C1: `input` has rank 2, and as many columns as the depth or the
    length of a rounded row. C2: each side broadcasts to the result. C3: the epilogue as in
    `linear`. C4: `weight` has as many bytes as `packed` needs.
    **Properties.** `packed`; `inputBlock` (default 0).
    **From** select, of `linear`. **To** kernels `packed_linear`.

    ```mlir
    %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> : (tensor<?x128xf32>, tensor<4608xui8>) -> tensor<?x64xf32> {
    ^bb0(%acc: f32):
      ferrite.yield %acc : f32
    }
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, RankedTensorOf<[UI8]>:$weight,
                       Variadic<Ferrite_Tensor>:$sides, Ferrite_PackedAttr:$packed,
                       DefaultValuedProp<I64Prop, "0">:$inputBlock);
  let results = (outs Ferrite_FloatTensor:$result);
  let regions = (region SizedRegion<1>:$epilogue);
  let assemblyFormat = [{
    $input `,` $weight `packed` $packed (`sides` `(` $sides^ `:` type($sides) `)`)?
    (`input_block` `=` $inputBlock^)? attr-dict
    `:` `(` type($input) `,` type($weight) `)` `->` type($result) $epilogue
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_QUANT_OPS_TD
