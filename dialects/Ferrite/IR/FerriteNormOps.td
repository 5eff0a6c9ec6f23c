//===- FerriteNormOps.td - Norms, softmax, embedding -------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_NORM_OPS_TD
#define FERRITE_NORM_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_NormOp : Ferrite_Op<"norm",
    [AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>]> {
  let summary = "normalization of the innermost dimension";
  let description = [{
    Brings each row of `input` (plus `residual`) to unit scale, then applies
    `weight` and `bias`, and adds `after`, the residual of a norm that ends a
    block:

    ```
    x[.., d]   = input[.., d] + residual[.., d]
    c[.., d]   = x[.., d] - (kind == layer ? mean_d(x[.., d]) : 0)
    out[.., d] = c[.., d] * rsqrt(mean_d(c[.., d]^2) + epsilon) * weight[d] + bias[d]
                 + after[.., d]
    ```

    **Numerics.** Everything is f32 (f64 for f64), means in two passes; one rounding,
    to the element type of `input`. A NaN makes its row NaN, an inf its own element
    (`rms`; the others are 0) or its row (`layer`); no row sees another.

    **Constraints.** C1: `input` has rank 1 or more. C2: `weight` and `bias`
    have rank 1 and the size of the innermost dimension. C3: `epsilon` >= 0.
    C4: `residual` and `after` have the type of `input`.

    **Properties.** `kind` (no default): `layer` or `rms`.
    **From** ONNX `LayerNormalization`, `RMSNormalization` (axis = -1) and
    `--ferrite-fuse-layer-norm`. **To** kernels `norm`.

    ```mlir
    %y = ferrite.norm layer %x, %w bias(%b : tensor<64xf16>) epsilon = 1.0e-05 : tensor<?x64xf16>, tensor<64xf16>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input, Ferrite_FloatTensor:$weight,
                       Optional<Ferrite_FloatTensor>:$bias,
                       Optional<Ferrite_FloatTensor>:$residual,
                       Optional<Ferrite_FloatTensor>:$after,
                       EnumProp<Ferrite_NormKind>:$kind, F32Attr:$epsilon);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $kind $input `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`residual` `(` $residual^ `:` type($residual) `)`)?
    (`after` `(` $after^ `:` type($after) `)`)?
    `epsilon` `=` $epsilon attr-dict `:` type($input) `,` type($weight)
  }];
  let builders = [
    /// Nothing is added after it.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$input,
                   "::mlir::Value":$weight, "::mlir::Value":$bias,
                   "::mlir::Value":$residual, "::ferrite::NormKind":$kind,
                   "::mlir::FloatAttr":$epsilon), [{
      build($_builder, $_state, result, input, weight, bias, residual,
            ::mlir::Value(), kind, epsilon);
    }]>
  ];
  let hasVerifier = 1;
}

def Ferrite_SoftmaxOp : Ferrite_Op<"softmax", [AllTypesMatch<["input", "result"]>]> {
  let summary = "softmax of the innermost dimension";
  let description = [{
    ```
    result[.., d] = exp(input[.., d] - max_d) / sum_d exp(input[.., d] - max_d)
    ```

    **Numerics.** f32 (f64 for f64), one rounding. A row of -inf is NaN (ONNX
    Softmax-13).
    **Constraints.** C1: `input` has rank 1 or more. Another axis is transposed
    to the innermost at import.

    ```mlir
    %p = ferrite.softmax %s : tensor<?x12x?x?xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
  let hasVerifier = 1;
}

def Ferrite_EmbeddingOp : Ferrite_Op<"embedding", [AttrSizedOperandSegments]> {
  let summary = "sum of table rows per token, normalized or not";
  let description = [{
    ```
    x[b, s, :]      = sum_t tables[t][row_t(b, s), :]
    row_t(b, s)     = index[t] >= 0 ? ids[index[t]][b, s] : s + positions[t]
    result[b, s, :] = weight ? layer norm of x[b, s, :] : x[b, s, :]
    ```

    The sum runs in order of t, in f32; the norm as `norm layer`. Ids as in
    `gather`; ids of a batch of 1 broadcast.

    **Constraints.** C1: `index` and `positions` have an element per table, and
    `index` refers to `ids`. C2: tables have rank 2, one width and one element
    type. C3: `ids` have rank 2. C4: `weight` and `bias` are both there or not,
    of shape [width].
    **Properties.** none. `epsilon` counts only with `weight`.
    **From** `--ferrite-fuse-embedding`. **To** kernels `embedding`.

    ```mlir
    %e = ferrite.embedding ids(%i, %t : tensor<?x?xi64>, tensor<?x?xi64>) tables(%w, %u, %p : tensor<99x64xf32>, tensor<2x64xf32>, tensor<512x64xf32>) index = [0, 1, -1] positions = [0, 0, 0] norm(%g, %b : tensor<64xf32>, tensor<64xf32>) epsilon = 1.0e-12 -> tensor<?x?x64xf32>
    ```
  }];
  let arguments = (ins Variadic<Ferrite_IndexTensor>:$ids,
                       Variadic<Ferrite_FloatTensor>:$tables,
                       Optional<Ferrite_FloatTensor>:$weight,
                       Optional<Ferrite_FloatTensor>:$bias,
                       DenseI64ArrayAttr:$index, DenseI64ArrayAttr:$positions,
                       F32Attr:$epsilon);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    `ids` `(` $ids `:` type($ids) `)` `tables` `(` $tables `:` type($tables) `)`
    `index` `=` $index `positions` `=` $positions
    (`norm` `(` $weight^ `,` $bias `:` type($weight) `,` type($bias) `)`)?
    `epsilon` `=` $epsilon attr-dict `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_ReduceOp : Ferrite_Op<"reduce"> {
  let summary = "reduction over some dims";
  let description = [{
    `sum`, `mean`, `max`, `min`, `prod`, or `l2` (square root of the sum of
    squares) over `axes`, which become 1 with `keepDims` and vanish without.

    **Numerics.** Float sums and means in f32 (f64 for f64), in order of position. NaN wins in
    max and min. An empty reduction is the neutral element.
    **Constraints.** C1: `axes` are distinct, ascending dims of `input`.
    **Properties.** `kind` (no default); `keepDims` (default absent).
    **From** ONNX `ReduceSum`, `ReduceMean`, `ReduceMax`, `ReduceMin`,
    `ReduceProd`, `ReduceL2`. **To** `fused` with a reduction.

    ```mlir
    %m = ferrite.reduce mean %x axes = [1] keep_dims : tensor<?x64xf32> -> tensor<?x1xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, EnumProp<Ferrite_ReduceKind>:$kind,
                       DenseI64ArrayAttr:$axes, UnitProp:$keepDims);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $kind $input `axes` `=` $axes (`keep_dims` $keepDims^)? attr-dict
    `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_NORM_OPS_TD
