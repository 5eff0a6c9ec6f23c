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
    row's result does not depend on the others. Rules for `experts` as for the
    indices of `gather`: a negative one counts from the end, one that is still
    outside is clamped.

    **Numerics.** In f32, in order of `h`, the bias last.
    **Constraints.** C1: `input` [T, K or 1, H], `experts` [T, K], result [T, K, N].
    C2: `weight` is [E, H, N] of floats without `bits`, else bytes as above, and
    `bias` is [E, N]. C3: `scales` [E, N, H / block] is there with `bits` alone, and
    `block` divides H. C4: `zeroPoints` is there with `scales` alone.
    **Properties.** `bits`, `block` (default 0: not quantised).
    **From** com.microsoft `MoE`, `QMoE` and `--ferrite-fuse-moe`. **To** kernels
    that group rows by expert: `route`, then `grouped_linear`.

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

def Ferrite_RouteOp : Ferrite_Op<"route"> {
  let summary = "slots sorted by the group that each belongs to";
  let description = [{
    With R `experts`, in order of slots, the result has 4 * R elements:

    ```
    result[3 * i ..]  = group, begin, rows     of chunk i; rows is 0 past the last
    result[3 * R + p] = the slot at place p    sorted by group, then by slot
    ```

    A chunk is up to `chunk` places of one group, from `begin` on. Chunks are in
    order of places; there are at most `R / chunk + min(R, groups)`. A group
    without a slot has none. Rules for `experts` as in `expert_linear`.

    **Constraints.** C1: `experts` has rank 1. C2: `groups` and `chunk` are 1 or
    more.
    **Properties.** `groups`, `chunk` (no defaults).
    **From** select, of `expert_linear`. **To** a kernel of one unit.

    ```mlir
    %r = ferrite.route %e groups = 8 chunk = 48 : tensor<?xi64> -> tensor<?xi64>
    ```
  }];
  let arguments = (ins Ferrite_IndexTensor:$experts, I64Prop:$groups, I64Prop:$chunk);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = [{
    $experts `groups` `=` $groups `chunk` `=` $chunk attr-dict `:` type($experts) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_GroupedLinearOp
    : Ferrite_Op<"grouped_linear", [AttrSizedOperandSegments]> {
  let summary = "each row times the matrix of its group, group by group";
  let description = [{
    ```
    result[s, n] = sum over h of input[s / share, h] * W(g)[h, n] + bias[g, n]
    for each slot s of each chunk of group g in route
    ```

    `W`, `bits` and `block` as in `expert_linear`, but `weight`, `scales` and
    `zeroPoints` are [groups, rows, n]: what a product reads, with `h` (or its
    bytes, or blocks) before `n`.

    **Numerics.** In f32, in order of `h`, the bias last.
    **Constraints.** C1: `input` [R / share, H], `route` [4 * R], result [R, N].
    C2: `weight` is [E, H, N] of floats without `bits`, else [E, H * bits / 8, N]
    of bytes, and `bias` is [E, N]. C3: `scales` [E, H / block, N] is there with
    `bits` alone, and `block` divides H. C4: `zeroPoints` is there with `scales`
    alone. C5: `share` and `chunk` are 1 or more.
    **Properties.** `share`, `chunk` (no defaults); `bits`, `block` (default 0).
    **From** select, of `expert_linear`. **To** tiles of a product.

    ```mlir
    %y = ferrite.grouped_linear %x, %w, %r share = 2 chunk = 48 : tensor<?x64xf32>, tensor<8x64x128xf32>, tensor<?xi64> -> tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input, Ferrite_Tensor:$weight,
                       RankedTensorOf<[I64]>:$route, Optional<Ferrite_FloatTensor>:$bias,
                       Optional<Ferrite_FloatTensor>:$scales,
                       Optional<Ferrite_Tensor>:$zeroPoints, I64Prop:$share, I64Prop:$chunk,
                       DefaultValuedProp<I64Prop, "0">:$bits,
                       DefaultValuedProp<I64Prop, "0">:$block);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $weight `,` $route (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`scales` `(` $scales^ `:` type($scales) `)`)?
    (`zero_points` `(` $zeroPoints^ `:` type($zeroPoints) `)`)?
    `share` `=` $share `chunk` `=` $chunk (`bits` `=` $bits^)? (`block` `=` $block^)?
    attr-dict `:` type($input) `,` type($weight) `,` type($route) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_MOE_OPS_TD
