//===- FerriteRopeOps.td - Rotary position embedding -------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_ROPE_OPS_TD
#define FERRITE_ROPE_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_RopeOp : Ferrite_Op<"rope", [AllTypesMatch<["input", "result"]>]> {
  let summary = "rotation of pairs of a head's elements by their position";
  let description = [{
    With `R` twice the innermost size of `cos`, and pair `i` being the elements
    `(i, i + R/2)` of a head, or `(2i, 2i + 1)` when `interleaved`:

    ```
    result[b, s, h, first(i)]  = x1 * cos[b, s, i] - x2 * sin[b, s, i]
    result[b, s, h, second(i)] = x2 * cos[b, s, i] + x1 * sin[b, s, i]
    result[b, s, h, d]         = input[b, s, h, d]                    for d >= R
    ```

    where `x1`, `x2` are `input` at the same two places. `cos` and `sin` broadcast
    over batch and tokens, and are the same for all heads (Su et al., arXiv
    2104.09864; a part of the head: GPT-J, GPT-NeoX).

    **Numerics.** f32; each sum is one product and one fused multiply-add, rounded
    once to the element type of `input`.
    **Constraints.** C1: `input` has rank 4, [batch, tokens, heads, size]; `cos` and
    `sin` rank 3, equal shapes but for dims of 1, and [batch or 1, tokens or 1, R/2].
    C2: `R` is static, 2 or more, and at most the size of a head.
    **Properties.** `interleaved` (default absent).
    **From** ONNX `RotaryEmbedding` and `--ferrite-fuse-rope`. **To** kernels `rope`.

    ```mlir
    %y = ferrite.rope %x, %cos, %sin interleaved : tensor<?x?x8x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$input, Ferrite_FloatTensor:$cos,
                       Ferrite_FloatTensor:$sin, UnitProp:$interleaved);
  let results = (outs Ferrite_FloatTensor:$result);
  let assemblyFormat = [{
    $input `,` $cos `,` $sin (`interleaved` $interleaved^)? attr-dict
    `:` type($input) `,` type($cos) `,` type($sin)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_ROPE_OPS_TD
