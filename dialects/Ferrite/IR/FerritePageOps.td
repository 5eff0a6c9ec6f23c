//===- FerritePageOps.td - Which pages of a cache matter ---*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Attention of a step to a part of its pages: what their keys are like, and which
// a token reads.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PAGE_OPS_TD
#define FERRITE_PAGE_OPS_TD

include "dialects/Ferrite/IR/FerriteStateOps.td"

def Ferrite_SummarizePagesOp
    : Ferrite_Op<"summarize_pages", [AllTypesMatch<["summaries", "result"]>]> {
  let summary = "means and ranges of the keys of pages that are full";
  let description = [{
    For each run `r` of the op `paged_attention`, whose keys lie in the pages already,
    and each page `p` from `max(contexts[r] / 64 - 1, 0)` on that is full with the
    run: a page has `kParts` parts of 16 tokens, of each of which

    ```
    mean[h, s, d]  = sum of keys[P(64 p), h, d, j] / 16                j in [16 s, 16 s + 16)
    range[h, s, d] = (max of the same - min of the same) / 2
    result[P(64 p), h] = summaries with, in this order, mean[h, 0, :], range[h, 0, :], mean[h, 1, :] ..
    ```

    All else stays. The page before the run's is computed anew, for tokens of a
    tree may have been moved into it. The result is the memory of `summaries`.

    **Numerics.** f32, added up in order; of pools of bytes, the numbers that are read.
    **Constraints.** C1: `keys` as of `paged_attention`, f32 or of other types.
    C2: `summaries` is [pages, heads, 64, W], with W = align(D, 8) / 8. C3: begins
    [runs + 1], contexts [runs], page tables [runs, width].
    **From** `--ferrite-sparsify-attention`. **To** kernels `summarize_pages`.

    ```mlir
    %s = ferrite.summarize_pages %k, %begins, %contexts, %tables, %pool : tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x2x64x8xf32>
    ```
  }];
  let arguments = (ins Ferrite_PoolTensor:$keys,
                       RankedTensorOf<[I32]>:$runBegins,
                       RankedTensorOf<[I32]>:$contexts,
                       RankedTensorOf<[I32]>:$pageTables,
                       RankedTensorOf<[F32]>:$summaries);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $keys `,` $runBegins `,` $contexts `,` $pageTables `,` $summaries attr-dict
    `:` type($keys) `,` type($runBegins) `,` type($contexts) `,` type($pageTables) `,`
    type($summaries)
  }];
  let extraClassDeclaration = [{
    /// Parts of a page, and what W is for keys of so many numbers.
    static constexpr int64_t kParts = 4;
    static int64_t widthFor(int64_t depth) { return (depth + 7) / 8; }
  }];
  let hasVerifier = 1;
}

def Ferrite_SelectPagesOp : Ferrite_Op<"select_pages"> {
  let summary = "the parts of pages that each token of a short run reads";
  let description = [{
    For each token of a run of at most 16 (`kSelecting` of `paged_attention`), with `i`
    and `sees` of that op, the lists that its `selected` takes. Part `c` of a sequence
    are its tokens [16 c, 16 c + 16):

    ```
    first    = left < 0 ? 0 : max(i - left, 0) / 16
    own      = 4 * ((visible[t] == 0 ? i : contexts[r]) / 64)     from this part on all is kept
    count    = max(own - first, 0)
    seen     = i / 16 + 1 - first
    most     = max(12, share > 0 ? ceil(share * seen) : ceil(tokens / 16))
    keep     = min(count, max(most - (seen - count), 4))
    guess[h, c] = scale * sum_d (query[0, t, h, d] * mean + |query[0, t, h, d]| * range / 2)
    score[k, c] = sum of heads h of key head k: e^guess[h, c] / sum of first <= c < own: e^guess[h, c]
    ```

    Of the parts `first` to `own` - 1 the first four are kept, and of the rest those of
    the highest scores, the first of equal ones, `keep` in all; then come those from
    `own` to the end of the run's last page. With `row = 16 r + t - runBegins[r]`,
    result[row, k, 0] is how many parts are left out, those before `first` included,
    and result[row, k, 16 ..] are the parts kept, ascending in the sequence, as four
    times their page and the part of it; the last one three times more. Rows of other
    tokens are not written; what is behind a list is scratch.

    **Numerics.** f32. A score that is no number counts as none or as the highest.
    **Constraints.** C1: `query` is [1, tokens, H, D]. C2: `summaries` as of
    `summarize_pages`, whose heads divide H. C3: runs, bits and page tables as of
    `paged_attention`. C4: one of `share` in (0, 1] and `tokens` > 0, the other is 0;
    `left` is -1 or more. C5: the result is [16 * runs, heads, 8 * width + 16].
    **Properties.** `share`, `tokens` (default 0), `left` (default -1: all), `scale`
    (no default).
    **From** `--ferrite-sparsify-attention`. **To** kernels `select_pages`.

    ```mlir
    %l = ferrite.select_pages %q, %s, %begins, %contexts, %visible, %tables scale = 1.250000e-01 share = 2.500000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x8xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x2x?xi32>
    ```
  }];
  let arguments = (ins Ferrite_SmallFloatTensor:$query,
                       RankedTensorOf<[F32]>:$summaries,
                       RankedTensorOf<[I32]>:$runBegins,
                       RankedTensorOf<[I32]>:$contexts,
                       RankedTensorOf<[I64]>:$visible,
                       RankedTensorOf<[I32]>:$pageTables,
                       F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "0.0f">:$share,
                       DefaultValuedProp<I64Prop, "0">:$tokens,
                       DefaultValuedProp<I64Prop, "-1">:$left);
  let results = (outs RankedTensorOf<[I32]>:$result);
  let assemblyFormat = [{
    $query `,` $summaries `,` $runBegins `,` $contexts `,` $visible `,` $pageTables
    `scale` `=` $scale (`share` `=` $share^)? (`tokens` `=` $tokens^)? (`left` `=` $left^)?
    attr-dict `:` `(` type($query) `,` type($summaries) `,` type($runBegins) `,`
    type($contexts) `,` type($visible) `,` type($pageTables) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_PAGE_OPS_TD
