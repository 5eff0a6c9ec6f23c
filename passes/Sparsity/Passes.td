//===- Passes.td - Less of attention -----------------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_PASSES_TD
#define FERRITE_PASSES_SPARSITY_PASSES_TD

include "mlir/Pass/PassBase.td"

def SparsifyAttention : Pass<"ferrite-sparsify-attention", "::mlir::ModuleOp"> {
  let summary = "Give attention the windows and block lists that an option asks for";
  let description = [{
    Each attention of the layers and heads that an item of the option names sees
    less: a window by `left` and `right`, all else by lists of blocks. One that
    cannot take it stays, and a remark says why; nothing that takes it is an
    error.

    **Needs** fuse: attention by name.
    **Leaves** attention over pages as it is, but for windows.

    **Before**
    ```mlir
    %o = ferrite.attention %q, %k, %v scale = 0.125 right = 0 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
    ```
    **After** with `spec=longformer:window=128,tokens=256`
    ```mlir
    %r = arith.constant dense<[[[0, 1, 3, 6, 9]]]> : tensor<1x1x5xi32>
    %c = arith.constant dense<[[[0, 0, 1, 0, 1, 2, 1, 2, 3]]]> : tensor<1x1x9xi32>
    %o = ferrite.attention %q, %k, %v blocks(%r, %c : tensor<1x1x5xi32>, tensor<1x1x9xi32>) scale = 0.125 right = 0 block = 64 : ..
    ```
  }];
  let options = [Option<"spec", "spec", "std::string", "\"\"",
                        "patterns, as --sparsify of ferrite compile takes them">];
  let dependentDialects = ["::ferrite::FerriteDialect",
                           "::mlir::arith::ArithDialect"];
}

def MergeTokens : Pass<"ferrite-merge-tokens", "::mlir::ModuleOp"> {
  let summary = "Let tokens of an encoder that are alike become one";
  let description = [{
    Behind each attention that a `merge` item of the option names, tokens merge by
    the likeness of their keys (ToMe), in the one value that carries them on.
    Later attention adds the logarithm of how many tokens each stands for; ops that
    do not compute each token by itself, the results of the graph among them, get
    tokens as what they became part of. An attention that goes by position, or has
    a mask, stays, and a remark says why; nothing that takes an item is an error.

    **Needs** fuse: attention by name, elementwise work as `fused`.
    **Leaves** elementwise ops that `--ferrite-fuse-elementwise` takes.

    **Before**
    ```mlir
    %o = ferrite.attention %q, %k, %v scale = 0.125 : (tensor<?x9x2x64xf32>, tensor<?x9x2x64xf32>, tensor<?x9x2x64xf32>) -> tensor<?x9x2x64xf32>
    %x = ferrite.linear %o2, %w sides(%r : tensor<?x9x128xf32>) : ..
    %n = ferrite.norm layer %x, %g epsilon = 1.0e-05 : tensor<?x9x128xf32>, tensor<128xf32>
    ```
    **After** with `spec=merge:2`
    ```mlir
    %m = ferrite.token_metric %k : tensor<?x9x2x64xf32> -> tensor<?x9x64xf32>
    %t = ferrite.match_tokens %m removed = 2 fixed = 1 : tensor<?x9x64xf32> -> tensor<?x9xi32>
    %y = ferrite.merge_tokens %x, %t removed = 2 : tensor<?x9x128xf32>, tensor<?x9xi32> -> tensor<?x7x128xf32>
    %n = ferrite.norm layer %y, %g epsilon = 1.0e-05 : tensor<?x7x128xf32>, tensor<128xf32>
    ```
  }];
  let options = [Option<"spec", "spec", "std::string", "\"\"",
                        "patterns, as --sparsify of ferrite compile takes them">];
  let dependentDialects = ["::ferrite::FerriteDialect",
                           "::mlir::arith::ArithDialect"];
}

#endif // FERRITE_PASSES_SPARSITY_PASSES_TD
