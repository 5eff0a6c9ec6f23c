//===- FerriteAttentionOps.td - Attention ------------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_ATTENTION_OPS_TD
#define FERRITE_ATTENTION_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_SmallFloatTensor : RankedTensorOf<[F16, BF16, F32]>;

def Ferrite_AttentionOp : Ferrite_Op<"attention", [AttrSizedOperandSegments]> {
  let summary = "scaled dot-product attention over tokens and heads";
  let description = [{
    ```
    x[b, h, i, j]  = scale * sum_d query[b, i, h, d] * key[b, j, h / group, d]
    y[b, h, i, j]  = softcap * tanh(x[b, h, i, j] / softcap)      (softcap > 0)
    z[b, h, i, j]  = y[b, h, i, j] + bias[b, h, i, j] + (mask[b, h, i, j] ? 0 : fill)
    at             = i + offset + offsets[b]
    first          = at - at mod chunk
    inside         = (j < anchors || max(at - left, first) <= j)
                     && (j < prefix[b] || j <= min(at + right, first + chunk - 1))
                     && querySegments[b, i] == keySegments[b, j]
    kept           = the list of row at div block, layout h mod layouts, has
                     column j div block
    score[b, h, i, j] = j < lengths[b] && kept
                        ? z[b, h, i, j] + (inside ? 0 : windowFill) : -inf
    p[b, h, i, j]  = e^score[b, h, i, j]
                     / (sum_j e^score[b, h, i, j] + e^sinks[h])
    result[b, i, h, :] = sum_j p[b, h, i, j] * value[b, j, h / group, :]
    ```

    Every part but the product is optional, and the parts are independent. Tokens
    come before heads in all operands, as projections write them; `group` is query
    heads over key heads (1: MHA, all: MQA; Shazeer, arXiv 1911.02150). Causal
    attention has `right = 0`; with a past the offset is the number of past keys.

    **Numerics.** f32 throughout, online softmax in blocks of 512 keys at absolute
    positions (Dao, arXiv 2307.08691); one rounding to the result type. With a
    finite `fill` a row whose every key is masked is the mean of the values that
    window and length leave, as an additive mask gives; a row of -inf scores
    without a sink is 0 with `guarded`, else NaN. Blocks of keys outside of the
    window, behind the length, or dropped by the mask for all rows of a tile are
    not read where that is -inf or -10000 and less. A finite `windowFill` is how an
    exported mask is causal: a row that sees no key then weighs those outside of
    the window too. Such rows, none of whose scores reach half of `windowFill`,
    are computed a second time. `joined`: mask and window were one condition, and
    a key that both drop gets `fill` once, where two fills may sum to -inf.
    Block lists are sparse matrices in CSR form, one for each layout (and batch,
    or one for all): the columns of row r are blockColumns[blockRows[r] ..
    blockRows[r + 1]), in any order. A row keeps all blocks if it is not in the
    list, if its ends are not in order within the columns, or if none of its
    columns is a block of keys. Constant lists have no such row but of shorter
    keys (C12). Softmax is then online over 512 kept keys at a time, by position.
    **Constraints.** C1: query, key, value and result have rank 4, and static sizes
    agree. C2: the heads of `key` divide those of `query`. C3: `mask` has the
    dims [batch, keys], or rank 4 and broadcasts to [batch, heads, queries, keys].
    C4: `bias` has rank 4 and broadcasts to [batch, heads, queries, keys]. C5:
    `offsets`, `lengths` and `prefix` are [batch], or [1] for all; `sinks` is
    [heads]. C6: `offset` is a dim expression. C7: `left` and `right` are -1 or
    more, `chunk` and `anchors` 0 or more, and `softcap` is finite and not
    negative. C8: `windowFill` is at most -10000, and finite only with a window;
    `joined` needs a mask and `fill` = `windowFill`. C9: both segments or none,
    [batch, queries] and [batch, keys], of one type. C10: `anchors` need `left`
    or `chunk`, and `prefix` needs `right` or `chunk`. C11: both block lists and
    `block` or none; `block` is a multiple of 16 up to 512; lists are i32 of
    [batch, layouts, rows + 1] and [batch, layouts, entries] or [1, ..], layouts
    divide the heads, and query, key and value have one element type. C12:
    constant lists begin at 0, have a column in each row, and their columns ascend
    from 0 or more. C13: `panels`, which only kernels have, need block lists.
    **Properties.** `scale` (no default), `fill` (default -inf), `softcap`
    (default 0: none), `left` and `right` (default -1: unbounded), `chunk`
    (default 0: unbounded), `anchors` (default 0), `offset` (default absent: 0),
    `windowFill` (default -inf), `joined` (default absent). `guarded` (default
    absent): fully masked rows are 0. `block` (default 0: no lists).
    **From** `--ferrite-fuse-attention`; ONNX `Attention` and its kin of
    com.microsoft. **To** kernels `attention`.

    ```mlir
    %o = ferrite.attention %q, %k, %v mask(%m : tensor<?x?xi1>) scale = 0.176776692 fill = -3.40282347E+38 right = 0 offset = "past" guarded : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_SmallFloatTensor:$query, Ferrite_SmallFloatTensor:$key,
                       Ferrite_SmallFloatTensor:$value, Optional<Ferrite_BoolTensor>:$mask,
                       Optional<Ferrite_SmallFloatTensor>:$bias,
                       Optional<Ferrite_IndexTensor>:$offsets,
                       Optional<Ferrite_IndexTensor>:$lengths,
                       Optional<Ferrite_SmallFloatTensor>:$sinks,
                       Optional<Ferrite_IndexTensor>:$prefix,
                       Optional<Ferrite_IndexTensor>:$querySegments,
                       Optional<Ferrite_IndexTensor>:$keySegments,
                       Optional<Ferrite_IndexTensor>:$blockRows,
                       Optional<Ferrite_IndexTensor>:$blockColumns,
                       Optional<RankedTensorOf<[F32]>>:$panels,
                       F32Attr:$scale,
                       DefaultValuedAttr<F32Attr, "-std::numeric_limits<float>::infinity()">:$fill,
                       DefaultValuedAttr<F32Attr, "0.0f">:$softcap,
                       DefaultValuedProp<I64Prop, "-1">:$left,
                       DefaultValuedProp<I64Prop, "-1">:$right,
                       DefaultValuedProp<I64Prop, "0">:$chunk,
                       DefaultValuedProp<I64Prop, "0">:$anchors,
                       OptionalAttr<StrAttr>:$offset,
                       DefaultValuedAttr<F32Attr, "-std::numeric_limits<float>::infinity()">:$windowFill,
                       DefaultValuedProp<I64Prop, "0">:$block,
                       UnitProp:$joined, UnitProp:$guarded);
  let results = (outs Ferrite_SmallFloatTensor:$result);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`mask` `(` $mask^ `:` type($mask) `)`)?
    (`bias` `(` $bias^ `:` type($bias) `)`)?
    (`offsets` `(` $offsets^ `:` type($offsets) `)`)?
    (`lengths` `(` $lengths^ `:` type($lengths) `)`)?
    (`sinks` `(` $sinks^ `:` type($sinks) `)`)?
    (`prefix` `(` $prefix^ `:` type($prefix) `)`)?
    (`segments` `(` $querySegments^ `,` $keySegments `:` type($querySegments)
      `,` type($keySegments) `)`)?
    (`blocks` `(` $blockRows^ `,` $blockColumns `:` type($blockRows)
      `,` type($blockColumns) `)`)?
    (`panels` `(` $panels^ `:` type($panels) `)`)?
    `scale` `=` $scale (`fill` `=` $fill^)? (`softcap` `=` $softcap^)?
    (`left` `=` $left^)? (`right` `=` $right^)? (`chunk` `=` $chunk^)?
    (`anchors` `=` $anchors^)? (`block` `=` $block^)? (`offset` `=` $offset^)?
    (`window_fill` `=` $windowFill^)? (`joined` $joined^)? (`guarded` $guarded^)? attr-dict
    `:` `(` type($query) `,` type($key) `,` type($value) `)` `->` type($result)
  }];
  let builders = [
    /// Without any of the optional parts, to be set one by one.
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$query,
                   "::mlir::Value":$key, "::mlir::Value":$value, "float":$scale)>
  ];
  let extraClassDeclaration = [{
    /// What window positions are relative to besides `offsets`.
    ::ferrite::DimExpr getOffsetExpr();
    bool hasWindow() {
      return getLeft() >= 0 || getRight() >= 0 || getChunk() > 0 ||
             getQuerySegments();
    }
    bool hasBlocks() { return getBlock() > 0; }
    /// Whether a row that sees no key weighs those outside of the window.
    bool hasSoftWindow() { return hasWindow() && getWindowFill().isFinite(); }
  }];
  let hasVerifier = 1;
}

def Ferrite_PackKeysOp : Ferrite_Op<"pack_keys", []> {
  let summary = "keys and values as attention over block lists reads them";
  let description = [{
    Each head's keys and values, [batch, tokens, heads, size], in one place:
    [batch, heads, tokens + 64, width] holds the keys as panels and behind those
    the values as rows. What is where is between this kernel and that of
    `ferrite.attention` with `panels`: it depends on the level. Dense attention
    packs a block for hundreds of queries at a time and needs no memory for it; a
    list of blocks visits each for as few as 64.

    **Numerics.** Copies: f32 of any type, or bf16 for dot instructions of it.
    **Constraints.** C1: key and value have rank 4, the same batch, tokens and
    heads, static sizes and one element type. C2: the result is [batch, heads,
    tokens + 64, width], width the sum of both sizes, each rounded up to 16.
    **From** `--ferrite-select-kernels`. **To** kernels `pack_keys`.

    ```mlir
    %p = ferrite.pack_keys %k, %v : (tensor<?x?x12x64xf32>, tensor<?x?x12x64xf32>) -> tensor<?x12x?x128xf32>
    ```
  }];
  let arguments = (ins Ferrite_SmallFloatTensor:$key, Ferrite_SmallFloatTensor:$value);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $key `,` $value attr-dict `:` `(` type($key) `,` type($value) `)` `->` type($result)
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t kSpareRows = 64;
    /// The innermost size of the result for heads of these sizes.
    static int64_t widthOf(int64_t keySize, int64_t valueSize) {
      return (keySize + 15) / 16 * 16 + (valueSize + 15) / 16 * 16;
    }
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_ATTENTION_OPS_TD
