//===- Passes.td - Raise and merge -------------------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The order of these passes, and why it is that one, is in lib/Pipelines.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_FUSION_PASSES_TD
#define FERRITE_PASSES_FUSION_PASSES_TD

include "mlir/Pass/PassBase.td"

class Ferrite_FusionPass<string flag> : Pass<flag, "::mlir::func::FuncOp"> {
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

def FuseGelu : Ferrite_FusionPass<"ferrite-fuse-gelu"> {
  let summary = "Raise the Gaussian error linear unit from its arithmetic";
  let description = [{
    Below opset 20 a gelu is written with erf or tanh, in as many orders of its
    factors as there are exporters. An expression is read as a polynomial of the
    input and of the one erf or tanh in it; when its coefficients are those of a
    gelu, to 1 part in 1000 (in f16 and bf16: 250), it becomes the op.

    **Needs** normalize: constants folded.
    **Leaves** no erf, and no tanh that 1 is added to or that is of x + x^3, without a
    remark.

    ```mlir
    %a = ferrite.div %x, %sqrt2      %e = ferrite.erf %a
    %b = ferrite.add %e, %one        %c = ferrite.mul %x, %b
    %y = ferrite.mul %c, %half
    // becomes
    %y = ferrite.gelu none %x
    ```
  }];
}

def FuseLayerNorm : Ferrite_FusionPass<"ferrite-fuse-layer-norm"> {
  let summary = "Raise decomposed layer and rms normalization to ferrite.norm";
  let description = [{
    Below opset 17 (layer) and 23 (rms) a norm is a chain of some nine ops, in f16
    models with casts to f32 around it. It becomes one op, which reads its rows
    once. A chain that rounds to f16 before the weight fuses too: the norm rounds
    once, after it.

    **Needs** normalize: one op for one value (twin subtractions are merged).
    **Leaves** no square root of a mean, or of a sum of squares, without a remark.

    ```mlir
    %m = ferrite.reduce mean %x axes = [2] keep_dims   %c = ferrite.sub %x, %m
    %p = ferrite.mul %c, %c                            %v = ferrite.reduce mean %p axes = [2] keep_dims
    %a = ferrite.add %v, %eps                          %s = ferrite.sqrt %a
    %d = ferrite.div %c, %s                            %w = ferrite.mul %d, %gamma
    %y = ferrite.add %w, %beta
    // becomes
    %y = ferrite.norm layer %x, %gamma bias(%beta) epsilon = 1.0e-05
    ```
  }];
}

def FuseLinear : Ferrite_FusionPass<"ferrite-fuse-linear"> {
  let summary = "Turn products with a weight into ferrite.linear";
  let description = [{
    A product whose right side is a weight (or a constant) of rank 2 has its
    weight packed at link, and an epilogue. Views that only regroup leading
    dims (a Gemm between two reshapes) move from the result to the input, where
    they compose away.

    **Needs** canonicalize: transposes and views folded into weights.
    **Leaves** no product with a weight without a remark.

    ```mlir
    %y = ferrite.matmul %x, %w
    // becomes
    %y = ferrite.linear %x, %w { ^bb0(%acc: f32): ferrite.yield %acc : f32 }
    ```
  }];
}

def FuseEmbedding : Ferrite_FusionPass<"ferrite-fuse-embedding"> {
  let summary = "Sum and normalize table rows in one op";
  let description = [{
    The word, position and type embeddings of an encoder are rows of tables,
    summed and normalized; those of a decoder are summed alone, as their sum is
    its first residual too. Positions are found when their ids count up from a
    constant along the tokens.

    **Needs** `fuse-layer-norm`.
    **Leaves** no sum with gathered rows without a remark.

    ```mlir
    %a = ferrite.gather %words, %ids axis = 0     %b = ferrite.gather %types, %t axis = 0
    %c = ferrite.add %a, %b                       %p = ferrite.gather %positions, %iota axis = 0
    %d = ferrite.add %c, %p                       %y = ferrite.norm layer %d, %g bias(%h)
    // becomes
    %y = ferrite.embedding ids(%ids, %t) tables(%words, %types, %positions) index = [0, 1, -1] ..
    ```
  }];
}

def FuseGate : Ferrite_FusionPass<"ferrite-fuse-gate"> {
  let summary = "Split a packed projection whose halves are multiplied";
  let description = [{
    Phi-3 and ModernBERT keep the gate and the up projection of a gated
    activation (SwiGLU, GeGLU; Shazeer, arXiv 2002.05202) in one weight. Each
    half becomes a linear of its own columns of the same bytes, a bias with
    them: the activation is then the epilogue of one, and the product of both
    that of the other, as in models that keep two weights.

    **Needs** `fuse-linear` before it and `fuse-epilogue` behind.
    **Leaves** no linear whose halves are multiplied without a remark.

    ```mlir
    %y = ferrite.linear %x, %w : (tensor<?x64xf32>, tensor<64x192xf32>) -> tensor<?x192xf32> {..}
    %g = ferrite.slice %y offsets = ["0", "0"] ..   %u = ferrite.slice %y offsets = ["0", "96"] ..
    // becomes
    %g = ferrite.linear %x, %w0 : (tensor<?x64xf32>, tensor<64x96xf32>) -> tensor<?x96xf32> {..}
    %u = ferrite.linear %x, %w1 : (tensor<?x64xf32>, tensor<64x96xf32>) -> tensor<?x96xf32> {..}
    ```
  }];
}

def FuseEpilogue : Ferrite_FusionPass<"ferrite-fuse-epilogue"> {
  let summary = "Do elementwise work on the accumulators of a linear";
  let description = [{
    Elementwise ops through which all uses of a linear pass (bias, activation,
    residual, scale) move into its epilogue, one after the other. What they read
    besides becomes a side.

    In f16 and bf16 models the epilogue is computed in f32 and rounded once, at
    its end: the graph's intermediate roundings are not repeated.

    **Needs** `fuse-linear`, `fuse-gelu`, and `fuse-attention` before it: that
    looks for scales that this pass would take away.
    **Leaves** no elementwise user of a linear, and no activation, without a remark.

    ```mlir
    %y = ferrite.linear %x, %w { ... }      %z = ferrite.add %y, %bias
    %g = ferrite.gelu none %z
    // becomes
    %g = ferrite.linear %x, %w sides(%bias) { ^bb0(%acc: f32, %b: f32): .. addf, erf .. }
    ```
  }];
}

def FuseNormResidual : Ferrite_FusionPass<"ferrite-fuse-norm-residual"> {
  let summary = "Add a residual while its norm reads it";
  let description = [{
    An addition whose only use is a norm becomes the norm's `residual`, and one
    of a norm that nothing else reads becomes what the norm adds `after` it: the
    blocks of Gemma and OLMo 2 end in norms.

    **Needs** `fuse-epilogue`, which takes the addition where it can.
    **Leaves** no norm of a sum without a remark.

    ```mlir
    %a = ferrite.add %x, %r      %y = ferrite.norm layer %a, %w bias(%b)
    // becomes
    %y = ferrite.norm layer %x, %w bias(%b) residual(%r)
    ```
  }];
}

def SinkSlices : Ferrite_FusionPass<"ferrite-sink-slices"> {
  let summary = "Compute only the token that is used";
  let description = [{
    Where all uses of a result take one and the same position of it, its operands
    are cut instead: through products with weights, norms, elementwise ops and
    views. Logits of which the last token is used cost one row of the product with
    the vocabulary, and of the last layer behind its attention.

    **Needs** `fuse-linear`.
    **Leaves** no such position behind an op that works on each by itself.

    ```mlir
    %y = ferrite.linear %x, %w                  %z = ferrite.slice %y ..
    // becomes
    %s = ferrite.slice %x ..                    %z = ferrite.linear %s, %w
    ```
  }];
}

def FuseQKV : Ferrite_FusionPass<"ferrite-fuse-qkv"> {
  let summary = "Make one linear of those that read one input";
  let description = [{
    Linears of one input with equal epilogues (the three projections of an
    attention) become one over the concatenated weights, and slices of it: the
    input is read once, and the product is wide enough for all cores.

    **Needs** `fuse-epilogue`: sides are biases then.
    **Leaves** no two linears of one input without a remark.

    ```mlir
    %q = ferrite.linear %x, %wq sides(%bq)    %k = ferrite.linear %x, %wk sides(%bk)
    // becomes
    %qk = ferrite.linear %x, %wqk sides(%bqk)
    %q = ferrite.slice %qk ..                 %k = ferrite.slice %qk ..
    ```
  }];
}

def FuseAttention : Ferrite_FusionPass<"ferrite-fuse-attention"> {
  let summary = "Raise scaled dot-product attention to ferrite.attention";
  let description = [{
    Finds `softmax(q k^T * scale + mask) v` through the spellings of the
    exporters: the scale whole or split over both factors, the transposition of
    k, masks built by index arithmetic, and the guard of rows without a key.

    **Needs** normalize.
    **Leaves** no softmax between two products without a remark.

    ```mlir
    %s = ferrite.matmul %q, %kt      %t = ferrite.mul %s, %scale
    %u = ferrite.add %t, %mask       %p = ferrite.softmax %u
    %o = ferrite.matmul %p, %v
    // becomes
    %o = ferrite.attention keep %q, %k, %v mask(%m) scale = 0.125 ..
    ```
  }];
}

def FuseRope : Ferrite_FusionPass<"ferrite-fuse-rope"> {
  let summary = "Raise rotary position embeddings to ferrite.rope";
  let description = [{
    Reads two elements of a sum or concatenation as expressions of the elements
    of one of its factors. Where they are a rotation, of halves or of adjacent
    elements, whatever the slices, negations and concatenations between, it
    becomes the op; so does a rotation of a part of each head with the rest. The
    angles become tables over batch and tokens of half the width.

    **Needs** normalize.
    **Leaves** no product with a partly negated concatenation without a remark.

    ```mlir
    %a = ferrite.mul %x, %cos                      %h = ferrite.slice %x ..
    %n = ferrite.neg %h                            %l = ferrite.slice %x ..
    %r = ferrite.concat %n, %l axis = 3            %b = ferrite.mul %r, %sin
    %y = ferrite.add %a, %b
    // becomes
    %y = ferrite.rope %x, %cos_half, %sin_half
    ```
  }];
}

def FuseMoE : Ferrite_FusionPass<"ferrite-fuse-moe"> {
  let summary = "Raise the products of experts to ferrite.expert_linear";
  let description = [{
    Three forms. Gathered: a product of one row with a matrix that was gathered for
    it, from a weight, by the row's expert, is an `expert_linear`, and a gathered row
    that is added to it its bias. Rows that were repeated for the experts of a token
    are read once. Dense: a sum over all experts, weighted with a scatter of what
    was chosen, is a sum over the chosen. Loops: turn e of an unrolled loop finds
    the tokens of expert e with `nonzero`, computes rows for them and adds those to
    the tokens; all turns together are a sum over the choices of each token, with
    the matrices of the turns stacked, and no `nonzero` is left.

    **Needs** normalize.
    **Leaves** no product with gathered matrices, no sum weighted with a scatter, and
    no rows added where a `nonzero` points without a remark.

    ```mlir
    %m = ferrite.gather_nd %weights, %experts       %c = ferrite.view %x ..
    %p = ferrite.matmul %m, %c
    // becomes
    %p = ferrite.expert_linear %x, %weights_transposed, %experts
    ```
  }];
}

def MakeStep : Pass<"ferrite-make-step", "::mlir::ModuleOp"> {
  let summary = "Make a second entry of a decoder, over tokens of many sequences";
  let description = [{
    A function whose attentions read arguments with new rows behind them (a past
    and its present), or buffers of a fixed size that new rows are written into, or
    in a causal graph without a past the rows of all its tokens, is copied to
    `@step`: of token ids, positions, slots of the new rows, runs of tokens with
    their page tables, and one pool of pages for each cache. It gives the logits of
    the tokens of `logit_rows`. Positions and masks are found as expressions of one
    sequence without padding, in whatever way the graph computes them; a bias by
    distance (ALiBi, T5) becomes a slope or a table.

    Attentions whose keys do not depend on the tokens read a source, an encoder's
    tokens: their pools have page tables of their own (states of group 1). Where
    the function computes them a second copy, `@encode`, does so and nothing else.
    Of several functions (a merged decoder) one is taken: one that computes its
    source, else one with a past.

    **Needs** `fuse-attention`, `fuse-moe`.
    **Leaves** the function as it was, and a decoder without a step with a remark
    that names the op which mixes tokens.

    ```mlir
    func.func @main(%ids {"input_ids"}, %mask {"attention_mask"}, %past {"past_key_values.0.key"}, ..)
      %all = ferrite.concat %past, %k axis = 2     %o = ferrite.attention %q, %all, ..
    // gets beside it
    func.func @step(%ids {"token_ids"}, %positions, %slots, .., %pool {ferrite.state = #ferrite.state<keys, ..>})
      %p = ferrite.kv_append %k, %slots, %pool     %o = ferrite.paged_attention %q, %p, ..
    ```
  }];
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

def FuseElementwise : Ferrite_FusionPass<"ferrite-fuse-elementwise"> {
  let summary = "Gather what is left into ferrite.fused";
  let description = [{
    Every elementwise op, reduction and sequence that is left becomes a `fused`,
    and a producer with one use joins its consumer: elementwise into elementwise
    and into the body of a reduction, elementwise on the result of a reduction
    into its `finish`. Views that add or remove dims of size 1, transposes and
    broadcasts are looked through: they are maps. A cheap producer (a cast, a
    comparison, a sequence) is repeated in each of its consumers; no expensive one
    is computed twice.

    A mean divides by its count in `finish`, or, when the count is symbolic, in a
    `fused` of its own. Bodies of f16 and bf16 compute in f32 and round once, at the
    end of the body.

    What has no kernel in f64 and in wide integers is said here with what has: a
    product sums in a `fused`, norms and softmax become their definitions.

    **Needs** all other fusions.
    **Leaves** no elementwise op; a remark where producer and consumer stay apart.

    ```mlir
    %c = ferrite.cast %m           %p = ferrite.mul %x, %c
    %s = ferrite.reduce sum %p axes = [1]
    // becomes
    %s = ferrite.fused (%m, %x) domain = .. combine sum { .. sitofp, mulf .. } finish { .. }
    ```
  }];
}

#endif // FERRITE_PASSES_FUSION_PASSES_TD
