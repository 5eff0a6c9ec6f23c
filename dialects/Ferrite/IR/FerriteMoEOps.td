//===- FerriteMoEOps.td - Mixtures of experts --------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A mixture of experts is routing (softmax, topk), expert_linear, an activation,
// expert_linear, and a weighted sum: all but the products are ordinary ops, so
// every activation, gate and normalisation of the weights is one form.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_MOE_OPS_TD
#define FERRITE_MOE_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_ExpertLinearOp : Ferrite_Op<"expert_linear", [AttrSizedOperandSegments]> {
  let summary = "each row times the matrix of the expert that it was given";
  let description = [{
    ```
    result[t, k, n] = sum over h of input[t, k or 0, h] * W(experts[t, k])[h, n]
                      + bias[experts[t, k], n]
    W(e)[h, n] = weight[e, h, n]                                         bits = 0
    W(e)[h, n] = (q(e, n, h) - zero(e, n, h / block)) * scales[e, n, h / block]
    ```

    With `bits` 4 or 8, `q` is unsigned and packed along `h` into the bytes of
    `weight` [experts, n, h * bits / 8], low bits first; `zero` is `2^(bits-1)`, or
    packed in `zeroPoints` as `q` is. Rows of one expert are computed together; a
    row's result does not depend on the others. An expert outside is clamped.

    **Numerics.** In f32, in order of `h`, the bias last.
    **Constraints.** C1: `input` [T, K or 1, H], `experts` [T, K], result [T, K, N].
    C2: `weight` is [E, H, N] of floats without `bits`, else bytes as above, and
    `bias` is [E, N]. C3: `scales` [E, N, H / block] is there with `bits` alone, and
    `block` divides H. C4: `zeroPoints` is there with `scales` alone.
    **Properties.** `bits`, `block` (default 0: not quantised).
    **From** com.microsoft `MoE`, `QMoE` and `--ferrite-fuse-moe`. **To** kernels
    that group rows by expert.

    ```mlir
    %y = ferrite.expert_linear %x, %w, %e : tensor<?x1x64xf32>, tensor<8x64x128xf32>, tensor<?x2xi64> -> tensor<?x2x128xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input, Ferrite_Tensor:$weight,
                       Ferrite_IndexTensor:$experts, Optional<Ferrite_FloatTensor>:$bias,
                       Optional<Ferrite_FloatTensor>:$scales,
                       Optional<Ferrite_Tensor>:$zeroPoints,
                       DefaultValuedProp<I64Prop, "0">:$bits,
                       DefaultValuedProp<I64Prop, "0">:$block);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight `,` $experts (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`scales` `(` $scales^ `:` type($scales) `)`)?
    (`zero_points` `(` $zeroPoints^ `:` type($zeroPoints) `)`)?
    (`bits` `=` $bits^)? (`block` `=` $block^)? attr-dict
    `:` type($input) `,` type($weight) `,` type($experts) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_MOE_OPS_TD
