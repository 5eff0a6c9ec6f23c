//===- FerriteContractionOps.td - Products -----------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_CONTRACTION_OPS_TD
#define FERRITE_CONTRACTION_OPS_TD

include "mlir/Interfaces/ControlFlowInterfaces.td"
include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_MatmulOp : Ferrite_Op<"matmul"> {
  let summary = "matrix product with broadcast leading dims";
  let description = [{
    ```
    result[.., m, n] = sum_k lhs[.., m, k] * rhs[.., k, n]
    ```

    **Numerics.** f32 accumulation in order of k (f64 for f64), one rounding to the
    result type. Integers are extended to the result type, whose overflow wraps.
    **Constraints.** C1: both operands have rank 2 or more (a vector operand of
    ONNX is viewed as a matrix at import). C2: static sizes of k agree, and so do
    leading dims by NumPy's rule. C3: one element type; of integers, operands may
    have other types than the result, with as many bits or fewer.
    **From** ONNX `MatMul`, `Gemm`. **To** `linear` where `rhs` is a weight.

    ```mlir
    %c = ferrite.matmul %a, %b : (tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32>) -> tensor<?x12x?x?xf32>
    ```
  }];
  let arguments = (ins Ferrite_NumberTensor:$lhs, Ferrite_NumberTensor:$rhs);
  let results = (outs Ferrite_NumberTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Ferrite_YieldOp : Op<Ferrite_Dialect, "yield",
    [Pure, Terminator, ParentOneOf<["LinearOp", "PackedLinearOp", "FusedOp"]>]> {
  let summary = "the value of a body";
  let description = "Ends the body of a `linear`, `packed_linear` or `fused` with its one scalar result.";
  let arguments = (ins AnyType:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def Ferrite_LinearOp : Ferrite_Op<"linear", [SingleBlock, IsolatedFromAbove,
                                              AttrSizedOperandSegments]> {
  let summary = "matrix product with a weight, and what is done to each result";
  let description = [{
    ```
    acc[.., n]    = sum_k input[.., k] * weight[k, n]
    result[.., n] = epilogue(acc[.., n], sides[0] at [.., n], ..)
    ```

    Of bytes:

    ```
    acc[.., n]    = sum_k (input[.., k] - inputZero) * (weight[k, n] - weightZero[n])
    ```

    With `input_block` G above 0, the input is rounded to 8 bits first, each row in
    groups of G:

    ```
    most       = max |input[.., k]| over the group          NaN if there is one
    q[.., k]   = clamp(round(input[.., k] * (127 / most)), -127, 127); 0 if most is 0
    input[.., k] is replaced by q[.., k] * (most / 127)
    ```

    Where both sides of bytes are computed, `weight` is `[.., k, n]`, one matrix for
    each of `input`'s.

    Each side broadcasts to the result by NumPy's rule: a bias is `[n]`, a residual
    has the result's shape. The epilogue is a block of scalar `arith` and `math` ops
    on `acc`, f32 or i32, and the sides' elements; it runs on the accumulators.

    **Numerics.** f32 accumulation in order of k, whatever the element types; of
    bytes exact in i32, whose overflow wraps; the epilogue as written; one rounding
    to the result type. The quotients and products of a rounded input are f32, to
    even; where the weight is of few bits too, a kernel adds up each group exactly,
    and the groups in order in f32.
    **Constraints.** C1: `weight` has rank 2, or of bytes the rank and the leading
    dims of `input`, and its rows are the innermost dim of `input`. C2: each side broadcasts to the result. C3: the epilogue takes `acc`
    and a scalar of each side's element type, and yields the result's element type.
    C4: `input` and `weight` are of floats, or `input` of unsigned bytes and
    `weight` of bytes. C5: zero points are i32 and of bytes alone, `inputZero` of
    rank 0, `weightZero` of rank 0 or with the columns of `weight`; where they are
    absent they are 0. C6: `input_block` is 0, or above 0 and of floats. C7: with
    `sparse`, `weight` is a static matrix of f32 or i8 whose rows are a multiple of its
    depth, and neither `weight_zero` nor `input_block` is there.
    **Properties.** `inputBlock` (default 0: the input is not rounded); `sparse`
    (default: none), blocks of zeros of `weight` that a kernel skips: with finite
    inputs the result is the same.
    **From** `matmul` by `--ferrite-fuse-linear`; its epilogue grows by
    `--ferrite-fuse-epilogue`. **To** kernels `linear`.

    ```mlir
    %y = ferrite.linear %x, %w sides(%b : tensor<1536xf32>) : (tensor<?x?x384xf32>, tensor<384x1536xf32>) -> tensor<?x?x1536xf32> {
    ^bb0(%acc: f32, %bias: f32):
      %s = arith.addf %acc, %bias : f32
      ferrite.yield %s : f32
    }
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_Tensor:$weight,
                       Optional<RankedTensorOf<[I32]>>:$inputZero,
                       Optional<RankedTensorOf<[I32]>>:$weightZero,
                       Variadic<Ferrite_Tensor>:$sides,
                       DefaultValuedProp<I64Prop, "0">:$inputBlock,
                       OptionalAttr<Ferrite_SparseAttr>:$sparse);
  let results = (outs Ferrite_Tensor:$result);
  let regions = (region SizedRegion<1>:$epilogue);
  let assemblyFormat = [{
    $input `,` $weight (`zero` `(` $inputZero^ `:` type($inputZero) `)`)?
    (`weight_zero` `(` $weightZero^ `:` type($weightZero) `)`)?
    (`sides` `(` $sides^ `:` type($sides) `)`)? (`input_block` `=` $inputBlock^)?
    (`sparse` $sparse^)? attr-dict
    `:` `(` type($input) `,` type($weight) `)` `->` type($result) $epilogue
  }];
  let builders = [
    /// A linear without sides whose epilogue rounds to the result type.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input, "::mlir::Value":$weight)>,
    /// A dense one, without an epilogue yet.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input, "::mlir::Value":$weight,
                   "::mlir::Value":$inputZero, "::mlir::Value":$weightZero,
                   "::mlir::ValueRange":$sides, CArg<"int64_t", "0">:$inputBlock)>,
    /// One with the zero points and the rounding of `like`, without an epilogue yet.
    OpBuilder<(ins "::mlir::Type":$result, "::ferrite::LinearOp":$like, "::mlir::Value":$input,
                   "::mlir::Value":$weight, "::mlir::ValueRange":$sides)>
  ];
  let extraClassDeclaration = [{
    /// Whether it multiplies bytes.
    bool isOfBytes();
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_CONTRACTION_OPS_TD
