//===- FerriteStateOps.td - Keys and values kept in pages --*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Ops of the step entry, whose tokens of many sequences are one axis. A pool has
// pages of 64 tokens; the page table of a sequence says which hold its tokens.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_STATE_OPS_TD
#define FERRITE_STATE_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"
include "dialects/Ferrite/IR/FerriteAttentionOps.td"

// Bytes are records of the numbers of a token's head: see kv_append.
def Ferrite_PoolTensor : RankedTensorOf<[F16, BF16, F32, I8, UI8]>;

def Ferrite_KvAppendOp : Ferrite_Op<"kv_append", [AllTypesMatch<["pool", "result"]>]> {
  let summary = "a pool with the rows of new tokens in their slots";
  let description = [{
    ```
    result = pool, but for each token t, with page = slots[t] / 64, place = slots[t] % 64
      result[page, h, d, place] = rows[0, t, h, d]     keys
      result[page, h, place, d] = rows[0, t, h, d]     else
    ```

    The result is the memory of `pool`: select gives both one place, and an op
    that reads `pool` after it reads the new rows. Pages of keys are transposed,
    so that a page of a head is what a product with queries streams.

    A pool of bytes keeps a record of W bytes where there would be D numbers, byte
    `w` of it where number `d` would be; W stands for D in the pool's type:

    ```
    i8   W = D + 4         codes, then s (f32):  number = code[d] * s
                           s = max |x| / 127     code = round(x / s)
    ui8  W = D / 32 * 20   of each 32 numbers 16 bytes of codes i and i + 16 (upper half),
                           then s and m (bf16):  number = code[d] * s + m
                           m = min x, s = (max x - m) / 15    code = round((x - m) / s)
    ```

    **Numerics.** One rounding, to the element type of the pool. In records `s` and
    `m` are rounded first; codes are those of the rounded ones, to even, cut to
    [-127, 127] or [0, 15]; s = 0 divides as 1. Equal slots are an error of the
    caller that leaves one of the rows, or a mix of them.
    **Constraints.** C1: `rows` is [1, tokens, heads, D], heads and D static, D a
    multiple of 32 for ui8. C2: `slots` is [tokens]. C3: `pool` is
    [pages, heads, D, 64] with `keys`, else [pages, heads, 64, D], and the result
    has its type. Slots lie in [0, pages * 64): who calls checks them.
    **Properties.** `keys` (default absent: values).
    **From** `--ferrite-make-step`. **To** kernels `kv_append`.

    ```mlir
    %p = ferrite.kv_append %k, %slots, %pool keys : tensor<1x?x2x64xf32>, tensor<?xi64>, tensor<?x2x64x64xf32>
    ```
  }];
  let arguments = (ins Ferrite_SmallFloatTensor:$rows, RankedTensorOf<[I64]>:$slots,
                       Ferrite_PoolTensor:$pool, UnitProp:$keys);
  let results = (outs Ferrite_PoolTensor:$result);
  let assemblyFormat = [{
    $rows `,` $slots `,` $pool (`keys` $keys^)? attr-dict
    `:` type($rows) `,` type($slots) `,` type($pool)
  }];
  let extraClassDeclaration = [{
    /// Tokens of a page.
    static constexpr int64_t kPageTokens = 64;
  }];
  let hasVerifier = 1;
}

class Ferrite_PagedOp<string mnemonic, dag optional, dag more = (ins)> : Ferrite_Op<mnemonic, [AttrSizedOperandSegments]> {
  let arguments = !con((ins Ferrite_SmallFloatTensor:$query,
                            Ferrite_PoolTensor:$keys,
                            Ferrite_PoolTensor:$values,
                            RankedTensorOf<[I32]>:$runBegins,
                            RankedTensorOf<[I32]>:$contexts,
                            RankedTensorOf<[I64]>:$visible,
                            RankedTensorOf<[I32]>:$pageTables),
                       optional,
                       (ins Optional<Ferrite_SmallFloatTensor>:$slopes,
                            Optional<Ferrite_SmallFloatTensor>:$bias,
                            Optional<RankedTensorOf<[I32]>>:$selected,
                            F32Attr:$scale,
                            DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                            DefaultValuedProp<I64Prop, "-1">:$left,
                            DefaultValuedProp<I64Prop, "0">:$from,
                            DefaultValuedProp<I64Prop, "0">:$until,
                            DefaultValuedProp<I64Prop, "0">:$gap,
                            UnitProp:$cross),
                       more);
  let hasVerifier = 1;
}

def Ferrite_PagedAttentionOp
    : Ferrite_PagedOp<"paged_attention",
                      (ins Optional<Ferrite_SmallFloatTensor>:$sinks,
                           Optional<RankedTensorOf<[F32]>>:$partials,
                           Optional<RankedTensorOf<[I32]>>:$kept),
                      (ins DefaultValuedProp<I64Prop, "0">:$keptPages)> {
  let summary = "attention of runs of tokens to the pages of their sequences";
  let description = [{
    Run `r` is the tokens [runBegins[r], runBegins[r + 1]) of `query`. Its token `u`
    (from 0) lies at `contexts[r] + u` in its sequence, whose token `j` is at place
    `j % 64` of page `P(j) = pageTables[r, j / 64]`. A token that names what it sees
    of its run counts that alone: in a tree, the tokens on its way.

    ```
    sees[t, u]  = visible[t] == 0 ? u <= t - runBegins[r] : bit u of visible[t]
    at[t, j]    = j < contexts[r] ? j : contexts[r] + |{u : sees[t, u], u < j - contexts[r]}|
    i           = at[t, contexts[r] + t - runBegins[r]]
    x[t, h, j]  = scale * sum_d query[0, t, h, d] * keys[P(j), h / group, d, j % 64]
    y[t, h, j]  = softcap * tanh(x[t, h, j] / softcap)         (softcap > 0)
    z[t, h, j]  = y[t, h, j] + slopes[h] * (at[t, j] - i) + bias[h, min(max(i - at[t, j], 0), W - 1)]
    seen[t, j]  = i - left <= at[t, j] and from <= at[t, j] and
                  (until == 0 or at[t, j] < until) and (gap == 0 or at[t, j] <= i - gap) and
                  (j < contexts[r] or sees[t, j - contexts[r]], within the run)
    p[t, h, j]  = seen[t, j] ? e^z[t, h, j] / (sum_j e^z[t, h, j] + e^sinks[h]) : 0
    result[0, t, h, :] = sum_j p[t, h, j] * values[P(j), h / group, j % 64, :]
    result[0, t, h, Dv] = log(sum_j e^z[t, h, j] + e^sinks[h])     (a result with Dv + 1)
    ```

    With `cross` the pool holds another sequence of `contexts[r]` tokens (an
    encoder's): each token sees those and no others. Keys of the run itself lie in
    the pages already (`kv_append`). A run whose tokens have bits in `visible` has
    at most 64. Pages of keys that no token of the run sees are not read, and
    their entries of `pageTables` may be anything.

    With `selected` (`select_pages`) each token of a run of at most 16 sees some parts
    of pages alone, of 16 tokens: with `S = selected[16 * r + t - runBegins[r], h / group]`,
    of that token and head token `j` is at place `16 * (S[16 + j / 16] % 4) + j % 16` of
    page `S[16 + j / 16] / 4`, and `contexts[r]` is less by `16 * S[0]`: so many parts are
    left out, the same number for all heads. The first one listed is that which the
    window begins in, and the last ones are those of the run itself.

    `kept`, of `select_run_pages`, leaves keys out. Where the list of the row of 64
    absolute positions that a token lies in has `n > 0` pages, its keys in head `h`
    are those of these pages alone, in this order, and the last of them is the row's
    own. So it is attention to a sequence of `n * 64` tokens at most, and blocks of
    512 are of those.

    **Numerics.** f32; softmax by blocks of 512 keys at absolute positions, each
    with its own maximum and sums, merged in order. So a token's result has the
    same bits whatever runs, and chunks of its own sequence, it is computed with.
    A row that sees nothing is 0.
    **Constraints.** C1: `query` is [1, tokens, H, D] and the result
    [1, tokens, H, Dv], all but tokens static. C2: `keys` is [pages, heads, D, 64],
    `values` [pages, heads, 64, Dv], and heads divide H. C3: `runBegins` is
    [runs + 1], `contexts` [runs], `visible` [tokens], `pageTables` [runs, width].
    Pools of bytes: records for D and Dv (`kv_append`), whose numbers are read.
    C4: `sinks` and `slopes` are [H], `bias` is [H, W] with a static W. C5: `softcap`
    is finite and not negative, `left` is -1 or more, `from` and `until` are 0 or more,
    `gap` is 0 or at least 64, so that what it leaves out holds all of a tree; none of
    the three with `cross`, `selected` or `kept`. C6: `partials` has the dims
    of `paged_partials`. C7: `selected` is [16 * runs, heads, 8 * width + 16], without
    `slopes`, `bias` and `cross`, which go by distances, or know none. C8: `kept` is
    [H, size] and there with `keptPages` of 1 or more alone, without a window,
    `cross`, slopes and bias.
    **Properties.** `scale` (no default), `softcap` (default 0: none), `left`
    (default -1: unbounded), `from`, `until`, `gap` (default 0: what a part of a cache
    of two types holds, see `--kv`), `cross` (default absent), `keptPages` (default 0).
    **From** `--ferrite-make-step`; `kept` from sparsify, `partials` from select. **To** kernels
    `paged_attention`.

    ```mlir
    %o = ferrite.paged_attention %q, %k, %v, %begins, %contexts, %visible, %tables scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
    ```
  }];
  let results = (outs Ferrite_SmallFloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $values `,` $runBegins `,` $contexts `,` $visible `,` $pageTables
    (`sinks` `(` $sinks^ `:` type($sinks) `)`)?
    (`partials` `(` $partials^ `:` type($partials) `)`)?
    (`kept` `(` $kept^ `:` type($kept) `)`)?
    (`slopes` `(` $slopes^ `:` type($slopes) `)`)?
    (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`selected` `(` $selected^ `:` type($selected) `)`)?
    `scale` `=` $scale (`softcap` `=` $softcap^)? (`left` `=` $left^)?
    (`from` `=` $from^)? (`until` `=` $until^)? (`gap` `=` $gap^)? (`cross` $cross^)? (`kept_pages` `=` $keptPages^)? attr-dict
    `:` `(` type($query) `,` type($keys) `,` type($values) `,` type($runBegins) `,`
    type($contexts) `,` type($visible) `,` type($pageTables) `)` `->` type($result)
  }];
  let builders = [
    /// Without any of the optional parts, to be set one by one.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::ValueRange":$operands,
                   "float":$scale)>
  ];
  let extraClassDeclaration = [{
    /// Keys of a block, which begin at multiples of it.
    static constexpr int64_t kBlockKeys = 512;
    /// Most tokens of a run that select pages, and where the pages of a token
    /// begin in `selected`.
    static constexpr int64_t kSelecting = 16, kSelectedBegin = 16;
    /// What a row has in `partials` for each of its blocks: sums, maximum, total.
    static int64_t partialWidth(int64_t valueDepth) {
      return (valueDepth + 2 + 15) / 16 * 16;
    }
  }];
}

def Ferrite_PagedPartialsOp : Ferrite_PagedOp<"paged_partials", (ins)> {
  let summary = "what the keys of each block give a run of one token";
  let description = [{
    For each run of one token, each head and each block of 512 keys, with `z` and
    `seen` of `paged_attention`, row `b` of `P = align(Dv + 2, 16)` elements:

    ```
    highest = max over seen j of block b of z[t, h, j]
    result[r, h, b * P + d]      = sum_j e^(z[t, h, j] - highest) * values[P(j), h / group, j % 64, d]
    result[r, h, b * P + Dv]     = highest
    result[r, h, b * P + Dv + 1] = sum_j e^(z[t, h, j] - highest)
    ```

    Other runs, and blocks of which no key is seen, are left unwritten. So one long
    sequence is work for all threads; `paged_attention` adds blocks up in order.

    **Numerics.** As `paged_attention`, which computes the same without it.
    **Constraints.** Those of `paged_attention`. C6: the result is f32
    [runs, H, P / 8 * width + P], which is enough for `width` pages.
    **Properties.** Those of `paged_attention`.
    **From** select, of `paged_attention`. **To** kernels `paged_partials`.

    ```mlir
    %o = ferrite.paged_partials %q, %k, %v, %begins, %contexts, %visible, %tables scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x4x?xf32>
    ```
  }];
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $query `,` $keys `,` $values `,` $runBegins `,` $contexts `,` $visible `,` $pageTables
    (`slopes` `(` $slopes^ `:` type($slopes) `)`)?
    (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`selected` `(` $selected^ `:` type($selected) `)`)?
    `scale` `=` $scale (`softcap` `=` $softcap^)? (`left` `=` $left^)?
    (`from` `=` $from^)? (`until` `=` $until^)? (`gap` `=` $gap^)? (`cross` $cross^)? attr-dict
    `:` `(` type($query) `,` type($keys) `,` type($values) `,` type($runBegins) `,`
    type($contexts) `,` type($visible) `,` type($pageTables) `)` `->` type($result)
  }];
}

#endif // FERRITE_STATE_OPS_TD
