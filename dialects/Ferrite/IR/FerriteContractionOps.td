//===- FerriteContractionOps.td - Products and attention ---*- tablegen -*-===//
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

    **Numerics.** f32 accumulation in order of k, one rounding to the result type.
    **Constraints.** C1: both operands have rank 2 or more (a vector operand of
    ONNX is viewed as a matrix at import). C2: static sizes of k agree, and so do
    leading dims by NumPy's rule. C3: one element type.
    **From** ONNX `MatMul`, `Gemm`. **To** `linear` where `rhs` is a weight.

    ```mlir
    %c = ferrite.matmul %a, %b : (tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32>) -> tensor<?x12x?x?xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$lhs, Ferrite_FloatTensor:$rhs);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Ferrite_YieldOp : Op<Ferrite_Dialect, "yield",
    [Pure, Terminator, ParentOneOf<["LinearOp", "FusedOp"]>]> {
  let summary = "the value of a body";
  let description = "Ends the body of a `linear` or `fused` with its one scalar result.";
  let arguments = (ins AnyType:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def Ferrite_LinearOp : Ferrite_Op<"linear", [SingleBlock, IsolatedFromAbove]> {
  let summary = "matrix product with a weight, and what is done to each result";
  let description = [{
    ```
    acc[.., n]    = sum_k input[.., k] * weight[k, n]
    result[.., n] = epilogue(acc[.., n], sides[0] at [.., n], ..)
    ```

    Each side broadcasts to the result by NumPy's rule: a bias is `[n]`, a residual
    has the result's shape. The epilogue is a block of scalar `arith` and `math` ops
    on f32 `acc` and the sides' elements; it runs on the accumulators.

    **Numerics.** f32 accumulation in order of k, whatever the element types; the
    epilogue as written; one rounding to the result type.
    **Constraints.** C1: `weight` has rank 2 and its rows are the innermost dim of
    `input`. C2: each side broadcasts to the result. C3: the epilogue takes an f32
    and a scalar of each side's element type, and yields the result's element type.
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
  let arguments = (ins Ferrite_FloatTensor:$input, Ferrite_FloatTensor:$weight,
                       Variadic<Ferrite_Tensor>:$sides);
  let results = (outs Ferrite_FloatTensor:$result);
  let regions = (region SizedRegion<1>:$epilogue);
  let assemblyFormat = [{
    $input `,` $weight (`sides` `(` $sides^ `:` type($sides) `)`)? attr-dict
    `:` `(` type($input) `,` type($weight) `)` `->` type($result) $epilogue
  }];
  let builders = [
    /// A linear without sides whose epilogue rounds to the result type.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input, "::mlir::Value":$weight)>
  ];
  let hasVerifier = 1;
}

def Ferrite_AttentionOp : Ferrite_Op<"attention"> {
  let summary = "scaled dot-product attention over tokens and heads";
  let description = [{
    ```
    score[b, h, i, j] = scale * sum_d query[b, i, h, d] * key[b, j, h / group, d] + m
    m                 = mask == keep ? (mask[b, j] ? 0 : fill)
                      : mask == bias ? mask[b, h, i, j] : 0
    p[b, h, i, :]     = softmax(score[b, h, i, :])
    result[b, i, h, :] = sum_j p[b, h, i, j] * value[b, j, h / group, :]
    ```

    Tokens come before heads in all operands, as projections write them; `group`
    is query heads over key heads (1: MHA, all: MQA; Shazeer, arXiv 1911.02150).

    **Numerics.** f32 throughout, online softmax in blocks of 512 keys at absolute
    positions (Dao, arXiv 2307.08691); one rounding to the result type. With a
    finite `fill` a row whose every key is dropped is the mean of all values, as
    the additive mask gives; a row of -inf scores is 0 with `guarded`, else NaN.
    **Constraints.** C1: query, key, value and result have rank 4, and static sizes
    agree. C2: the heads of `key` divide those of `query`. C3: `mask` is present
    exactly when its kind is not none; `keep` takes `i1` of [batch, keys], `bias` a
    float of rank 4 that broadcasts to [batch, heads, queries, keys].
    **Properties.** `maskKind` (no default): none, keep, bias. `guarded` (default
    absent): fully masked rows are 0.
    **From** `--ferrite-fuse-attention`. **To** kernels `attention`.

    ```mlir
    %o = ferrite.attention keep %q, %k, %v mask(%m : tensor<?x?xi1>) scale = 0.176776692 fill = -3.40282347E+38 guarded : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$query, Ferrite_FloatTensor:$key,
                       Ferrite_FloatTensor:$value, Optional<Ferrite_Tensor>:$mask,
                       EnumProp<Ferrite_MaskKind>:$maskKind, F32Attr:$scale, F32Attr:$fill,
                       UnitProp:$guarded);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $maskKind $query `,` $key `,` $value (`mask` `(` $mask^ `:` type($mask) `)`)?
    `scale` `=` $scale `fill` `=` $fill (`guarded` $guarded^)? attr-dict
    `:` `(` type($query) `,` type($key) `,` type($value) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_CONTRACTION_OPS_TD
