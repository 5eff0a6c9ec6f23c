//===- FerriteRecurrentOps.td - Recurrences over tokens ----*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RECURRENT_OPS_TD
#define FERRITE_RECURRENT_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_LinearAttentionOp : Ferrite_Op<"linear_attention", [AttrSizedOperandSegments]> {
  let summary = "attention through a state that each token updates";
  let description = [{
    Each key head has a state `S` of [Dk, Dv], which token after token changes:

    ```
    D = diag(decay[b, t, h]) * S                              (S without decay)
    w = beta[b, t, h] * (value[b, t, h] - transpose(D) * key[b, t, h])
    w = value[b, t, h]                                        without beta
    S = D + key[b, t, h] * transpose(w)
    result[b, h, t * G + g] = scale * transpose(S) * query[b, t, h * G + g]
    result[b, h, T * G + i] = S[i]                            the last state
    ```

    with `G` query heads for each key head. Without `beta` it is (gated) linear
    attention, with it the (gated) delta rule (Yang et al., arXiv 2412.06464). The
    states lie behind the rows of the tokens, so that one tensor holds all.

    **Numerics.** f32 throughout, sums in order of the key's elements; a column of
    the state does not depend on the others.
    **Constraints.** C1: `query` [B, T, G * H, Dk], `key` [B, T, H, Dk], `value`
    [B, T, H, Dv], all but B and T static. C2: `decay` [B, T, H, Dk or 1], `beta`
    [B, T, H or 1], `state` [B, H, Dk, Dv]. C3: the result is [B, H, T * G + Dk, Dv]
    of f32.
    **Attributes.** `scale`. Without `state` it begins with zeros.
    **From** ONNX `LinearAttention`. **To** kernels `linear_attention`.

    ```mlir
    %r = ferrite.linear_attention %q, %k, %v decay(%d : tensor<1x?x2x1xf32>) scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x32xf32>) -> tensor<1x2x?x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$query, Ferrite_FloatTensor:$key,
                       Ferrite_FloatTensor:$value,
                       Optional<Ferrite_FloatTensor>:$decay,
                       Optional<Ferrite_FloatTensor>:$beta,
                       Optional<Ferrite_FloatTensor>:$state, F32Attr:$scale);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`decay` `(` $decay^ `:` type($decay) `)`)?
    (`beta` `(` $beta^ `:` type($beta) `)`)?
    (`state` `(` $state^ `:` type($state) `)`)? `scale` `=` $scale attr-dict
    `:` `(` type($query) `,` type($key) `,` type($value) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_RECURRENT_OPS_TD
