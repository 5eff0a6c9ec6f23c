//===- FerriteSparsityOps.td - Blocks chosen at run time ---*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Which keys attention keeps, by an estimate of what they get. Their header is
// FerriteSparsity.h.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_SPARSITY_OPS_TD
#define FERRITE_SPARSITY_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_SelectBlocksOp
    : Ferrite_Op<"select_blocks", [AttrSizedOperandSegments]> {
  let summary = "lists of the blocks of keys that matter most to rows of queries";
  let description = [{
    Tokens are looked at in groups of `stride`, by absolute position; a query or
    key that is not there counts as zeros, `n` is 1 with `pooled`, else `stride`:

    ```
    Q[b, h, a] = pooled ? mean of the queries of group a : those queries, last first
    K[b, h, c] = pooled ? mean of the keys of group c    : those keys, in order
    x[a, c]    = scale / n * sum over elements of Q[b, h, a] * K[b, h / group, c]
    y[a, c]    = softcap * tanh(x[a, c] / softcap)                     (softcap > 0)
    seen[a, c] = some query of group a is at or behind some key of group c, by at
                 most `left`; and c has a key before lengths[b] that mask[b] keeps
    p[a, c]    = seen[a, c] ? e^y[a, c] / sum over seen c of e^y[a, c] : 0
    e[r, j]    = sum of p over the groups of row r that have a query, of `block`
                 positions, and those of block j of keys
    ```

    Of groups in order and one in reverse, `x` is the sum of an antidiagonal of
    their square of scores (XAttention, arXiv 2503.16428); `pooled` is MInference's
    estimate. Row `r` of head `h` keeps block 0, the block that its last query is
    in, and of the others, by falling `e` (of equal ones the lower first), those
    before which all that are kept have less than `thresholds[h]` of the sum of
    `e[r]`. With a threshold of 1 and above it keeps all. `right` absent: queries
    see keys on both sides.

    The result is what `ferrite.attention` takes as lists. Of each batch and head
    `blocks + 1` begins of rows, row `r` at `r * W`, and from there on the `W`
    entries of each row: kept blocks, ascending, then numbers that are no blocks. `W`
    is the blocks of all keys, `blocks` at most. Rows behind `blocks` have no list
    and keep all, as rows do whose keys are more than `blocks` blocks.

    **Numerics.** f32, exponentials and sums in an order of positions: the bits of a
    row depend on its queries and the keys that it sees.
    **Constraints.** C1: query and key have rank 4, static heads and sizes that
    agree, and heads of key divide those of query. C2: `thresholds` is f32 [heads].
    C3: `block` is a multiple of 16 up to 512, `stride` a power of two from 2 that
    divides it, `blocks` is 1 to 32768. C4: `left` is -1 or more, softcap finite and
    not negative. C5: `mask` is [batch, keys], `offsets` and `lengths` [batch] or
    [1]. C6: `offset` is a dim expression. C7: the result is [batch, heads, size].
    **Properties.** `scale`, `block`, `stride`, `blocks` (no defaults), `softcap`
    (default 0: none), `left` (default -1: unbounded), `causal`, `pooled` (default
    absent), `offset` (default absent: 0).
    **From** `--ferrite-sparsify-attention`. **To** kernels `select_blocks`.

    ```mlir
    %l = ferrite.select_blocks %q, %k, %t scale = 1.250000e-01 block = 64 stride = 8 blocks = 128 causal : tensor<?x?x4x64xf32>, tensor<?x?x2x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$query, Ferrite_FloatTensor:$key,
                       RankedTensorOf<[F32]>:$thresholds,
                       Optional<Ferrite_BoolTensor>:$mask,
                       Optional<Ferrite_IndexTensor>:$offsets,
                       Optional<Ferrite_IndexTensor>:$lengths,
                       F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       I64Prop:$block, I64Prop:$stride, I64Prop:$blocks,
                       DefaultValuedProp<I64Prop, "-1">:$left,
                       OptionalAttr<StrAttr>:$offset,
                       UnitProp:$causal, UnitProp:$pooled);
  let results = (outs RankedTensorOf<[I32]>:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $thresholds (`mask` `(` $mask^ `:` type($mask) `)`)?
    (`offsets` `(` $offsets^ `:` type($offsets) `)`)?
    (`lengths` `(` $lengths^ `:` type($lengths) `)`)?
    `scale` `=` $scale (`softcap` `=` $softcap^)? `block` `=` $block
    `stride` `=` $stride `blocks` `=` $blocks (`left` `=` $left^)?
    (`offset` `=` $offset^)? (`causal` $causal^)? (`pooled` $pooled^)? attr-dict
    `:` type($query) `,` type($key) `,` type($thresholds) `->` type($result)
  }];
  let extraClassDeclaration = [{
    ::ferrite::DimExpr getOffsetExpr();
    /// The elements of the result that are entries, for so many keys.
    static ::ferrite::DimExpr entriesOf(const ::ferrite::DimExpr &keys,
                                        int64_t block, int64_t blocks);
  }];
  let hasVerifier = 1;
}

def Ferrite_SelectRunPagesOp : Ferrite_Op<"select_run_pages"> {
  let summary = "lists of the pages that matter most to rows of runs";
  let description = [{
    `select_blocks` of the runs of `paged_attention`, causal, for blocks of 64: of
    the rows of 64 absolute positions that a run of more than 64 tokens has queries
    in. Row `b` of run `r` has list `runBegins[r] / 64 + 2 * r + b` of each head,
    `pages + 1` numbers: how many pages it keeps, then those, as the page table says
    them, in order of positions. A row of more than `pages` pages keeps all: 0.

    Shorter runs have no list and keep all: decoding, trees, the ends of prompts.

    **Numerics.** As `select_blocks`. A row that two calls have parts of has a list
    of the queries of each.
    **Constraints.** C1: `query` is [1, tokens, H, D], all but tokens static, `keys`
    [pages, heads, D, 64] of floats, and heads divide H. C2: `runBegins` is [runs +
    1], `contexts` [runs], `pageTables` [runs, width]. C3: `thresholds` is f32 [H].
    C4: `stride` is a power of two from 2 to 64, `pages` 1 to 32768, softcap finite
    and not negative. C5: the result is [H, size].
    **Properties.** `scale`, `stride`, `pages` (no defaults), `softcap` (default 0:
    none), `pooled` (default absent).
    **From** `--ferrite-sparsify-attention`. **To** kernels `select_run_pages`.

    ```mlir
    %l = ferrite.select_run_pages %q, %k, %begins, %contexts, %tables, %t scale = 1.250000e-01 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<4x?xi32>
    ```
  }];
  let arguments = (ins Ferrite_FloatTensor:$query, Ferrite_FloatTensor:$keys,
                       RankedTensorOf<[I32]>:$runBegins,
                       RankedTensorOf<[I32]>:$contexts,
                       RankedTensorOf<[I32]>:$pageTables,
                       RankedTensorOf<[F32]>:$thresholds,
                       F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       I64Prop:$stride, I64Prop:$pages, UnitProp:$pooled);
  let results = (outs RankedTensorOf<[I32]>:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $runBegins `,` $contexts `,` $pageTables `,` $thresholds
    `scale` `=` $scale (`softcap` `=` $softcap^)? `stride` `=` $stride
    `pages` `=` $pages (`pooled` $pooled^)? attr-dict
    `:` type($query) `,` type($keys) `,` type($runBegins) `,` type($contexts) `,`
    type($pageTables) `,` type($thresholds) `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// Runs of fewer tokens keep all.
    static constexpr int64_t kLeastTokens = 65;
  }];
  let hasVerifier = 1;
}

def Ferrite_WeighPagesOp : Ferrite_Op<"weigh_pages"> {
  let summary = "how much of the attention of some tokens each key gets";
  let description = [{
    With the runs of `paged_attention`, causal, `n = clamp(tokens[w], 0, its length)` and the
    last `n` tokens of run `r = runs[w]`, for each key head `k` and key `j` of its sequence:

    ```
    y[t, h, j]      = as of paged_attention
    weight[t, h, j] = j is at or before t ? e^y[t, h, j] / sum of e^y[t, h, :] up to t : 0
    result[w, k, j] = sum of round(weight[t, h, j] * 2^32) over these n tokens t and the
                      heads h of k
    ```

    and 0 for what is behind the run's last token. Who keeps keys by what they got
    adds results up, over calls as well: sums of integers have no order.

    **Numerics.** f32 up to the weight; the rest is exact.
    **Constraints.** C1: `query` is [1, tokens, H, D], all but tokens static; `keys` as of
    `paged_attention`, whose heads divide H. C2: `runBegins` is [R + 1], `contexts` [R],
    `pageTables` [R, width]. C3: `runs` and `tokens` are [W]. C4: `softcap` is finite and
    not negative. C5: the result is [W, key heads, 64 * width]. Numbers of runs lie in
    [0, R): who calls checks them.
    **Properties.** `scale` (no default), `softcap` (default 0: none).
    **From** `--ferrite-sparsify-attention`. **To** kernels `weigh_pages`.

    ```mlir
    %w = ferrite.weigh_pages %q, %k, %begins, %contexts, %tables, %runs, %tokens scale = 1.250000e-01 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F16, BF16, F32]>:$query,
                       RankedTensorOf<[F16, BF16, F32, I8, UI8]>:$keys,
                       RankedTensorOf<[I32]>:$runBegins,
                       RankedTensorOf<[I32]>:$contexts,
                       RankedTensorOf<[I32]>:$pageTables,
                       RankedTensorOf<[I64]>:$runs,
                       RankedTensorOf<[I32]>:$tokens,
                       F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "0.0f">:$softcap);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $runBegins `,` $contexts `,` $pageTables `,` $runs `,` $tokens
    `scale` `=` $scale (`softcap` `=` $softcap^)? attr-dict
    `:` type($query) `,` type($keys) `,` type($runBegins) `,` type($contexts) `,`
    type($pageTables) `,` type($runs) `,` type($tokens) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_SPARSITY_OPS_TD
