//===- FerriteMergeOps.td - Tokens that become one ---------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Which tokens of an encoder are alike, and their mean in place of them. Their
// header is FerriteMerge.h.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_MERGE_OPS_TD
#define FERRITE_MERGE_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_TokenMetricOp : Ferrite_Op<"token_metric"> {
  let summary = "the direction of each token's keys";
  let description = [{
    ```
    s[b, i, d]      = sum over heads h of key[b, i, h, d]
    n[b, i]         = sum over d of s[b, i, d]^2
    result[b, i, d] = n[b, i] > 0 ? s[b, i, d] / sqrt(n[b, i]) : 0
    ```

    **Numerics.** f32: heads in order, the squares in an order of `d`.
    **Constraints.** C1: `key` is [batch, tokens, heads, size] with static heads and
    size. C2: the result is [batch, tokens, size].
    **From** `--ferrite-merge-tokens`. **To** kernels `token_metric`.

    ```mlir
    %m = ferrite.token_metric %k : tensor<?x197x12x64xf32> -> tensor<?x197x64xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F16, BF16, F32]>:$key);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat =
      "$key attr-dict `:` type($key) `->` type($result)";
  let hasVerifier = 1;
}

def Ferrite_MatchTokensOp : Ferrite_Op<"match_tokens"> {
  let summary = "where tokens go when the most alike of them become one";
  let description = [{
    The bipartite soft matching of ToMe (Bolya et al., arXiv 2210.09461). Tokens at
    even positions may go, those at odd positions may take them; the first `fixed`
    do neither.

    ```
    best[b, i]   = max over odd j >= fixed of sum over d of metric[b, i, d] * metric[b, j, d]
    to[b, i]     = the first j that has it
    gone[b]      = the `removed` even i >= fixed of the largest best, of equal ones the first
    result[b, i] = i is even and not gone: how many such are before it
                   i is odd: how many even ones are not gone, and (i - 1) / 2
                   i is gone: result[b, to[b, i]]
    ```

    So of `n` tokens `n - removed` numbers are left: those of even positions that
    stay, in order, and behind them those of odd positions.

    **Numerics.** f32, sums in an order of `d`; a sum that is NaN is never the best.
    **Constraints.** C1: `metric` is [batch, tokens, size], with a static size. C2:
    `removed` is 1 or more, `fixed` 0 or more, and a static number of tokens has
    `fixed + 2 * removed` at least; a sequence with fewer has numbers that mean
    nothing, below `n`. C3: the result is [batch, tokens].
    **Properties.** `removed`, `fixed` (no defaults).
    **From** `--ferrite-merge-tokens`. **To** kernels `match_tokens`.

    ```mlir
    %t = ferrite.match_tokens %m removed = 8 fixed = 1 : tensor<?x197x64xf32> -> tensor<?x197xi32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$metric, I64Prop:$removed,
                       I64Prop:$fixed);
  let results = (outs RankedTensorOf<[I32]>:$result);
  let assemblyFormat = [{
    $metric `removed` `=` $removed `fixed` `=` $fixed attr-dict
    `:` type($metric) `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// The fewest tokens of which so many can go.
    static int64_t leastTokens(int64_t removed, int64_t fixed) {
      return fixed + 2 * removed;
    }
  }];
  let hasVerifier = 1;
}

def Ferrite_MergeTokensOp : Ferrite_Op<"merge_tokens"> {
  let summary = "tokens that go to one place as one";
  let description = [{
    ```
    total[b, o, c]  = sum over i with to[b, i] = o of sizes[b, i] * input[b, i, c]
    size[b, o]      = sum over i with to[b, i] = o of sizes[b, i]
    result[b, o, c] = sum ? total[b, o, c] : total[b, o, c] / size[b, o]
    ```

    Sizes are 1 where they are absent. What has no token is NaN, with `sum` 0.

    **Numerics.** f32, in order of `i`, by FMA; one rounding to the result type.
    **Constraints.** C1: `input` is [batch, tokens, c], c static, `to` [batch,
    tokens], `sizes` [batch, tokens]. C2: `removed` is 1 or more, and the result
    [batch, tokens - removed, c] of the input's type.
    **Properties.** `removed` (no default); `sum` (default absent).
    **From** `--ferrite-merge-tokens`. **To** kernels `merge_tokens`.

    ```mlir
    %y = ferrite.merge_tokens %x, %t sizes(%s : tensor<?x197xf32>) removed = 8 : tensor<?x197x768xf32>, tensor<?x197xi32> -> tensor<?x189x768xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F16, BF16, F32]>:$input,
                       RankedTensorOf<[I32]>:$to,
                       Optional<RankedTensorOf<[F32]>>:$sizes,
                       I64Prop:$removed, UnitProp:$sum);
  let results = (outs RankedTensorOf<[F16, BF16, F32]>:$result);
  let assemblyFormat = [{
    $input `,` $to (`sizes` `(` $sizes^ `:` type($sizes) `)`)? `removed` `=` $removed
    (`sum` $sum^)? attr-dict `:` type($input) `,` type($to) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_UnmergeTokensOp : Ferrite_Op<"unmerge_tokens"> {
  let summary = "each token as what it became part of";
  let description = [{
    `result[b, i, c] = input[b, to[b, i], c]`. Of numbers in place of the input, it is
    where tokens go by two merges, one after the other. A number outside of the
    input's tokens is the nearest inside.

    **Constraints.** C1: `input` is [batch, n, c], n not 0 and c static, `to` [batch,
    tokens], and the result [batch, tokens, c] of the input's type.
    **From** `--ferrite-merge-tokens`. **To** kernels `unmerge_tokens`.

    ```mlir
    %y = ferrite.unmerge_tokens %x, %t : tensor<?x189x768xf32>, tensor<?x197xi32> -> tensor<?x197x768xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F16, BF16, F32, I32]>:$input,
                       RankedTensorOf<[I32]>:$to);
  let results = (outs RankedTensorOf<[F16, BF16, F32, I32]>:$result);
  let assemblyFormat =
      "$input `,` $to attr-dict `:` type($input) `,` type($to) `->` type($result)";
  let hasVerifier = 1;
}

#endif // FERRITE_MERGE_OPS_TD
