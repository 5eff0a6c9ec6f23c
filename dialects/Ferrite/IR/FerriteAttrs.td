//===- FerriteAttrs.td - Attributes and enums --------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_ATTRS_TD
#define FERRITE_ATTRS_TD

include "dialects/Ferrite/IR/FerriteDialect.td"

class Ferrite_Enum<string name, string summary, list<I32EnumCase> cases>
    : I32Enum<name, summary, cases> {
  let cppNamespace = "::ferrite";
}

def Ferrite_NormKind : Ferrite_Enum<"NormKind", "what a norm subtracts and divides by", [
    I32EnumCase<"Layer", 0, "layer">, I32EnumCase<"RMS", 1, "rms">]>;
def Ferrite_Approximate : Ferrite_Enum<"Approximate", "how a gelu is computed", [
    I32EnumCase<"None", 0, "none">, I32EnumCase<"Tanh", 1, "tanh">]>;
def Ferrite_Predicate : Ferrite_Enum<"Predicate", "a comparison", [
    I32EnumCase<"Eq", 0, "eq">, I32EnumCase<"Ne", 1, "ne">,
    I32EnumCase<"Lt", 2, "lt">, I32EnumCase<"Le", 3, "le">,
    I32EnumCase<"Gt", 4, "gt">, I32EnumCase<"Ge", 5, "ge">]>;
def Ferrite_ReduceKind : Ferrite_Enum<"ReduceKind", "a reduction", [
    I32EnumCase<"Sum", 0, "sum">, I32EnumCase<"Mean", 1, "mean">,
    I32EnumCase<"Max", 2, "max">, I32EnumCase<"Min", 3, "min">,
    I32EnumCase<"Prod", 4, "prod">, I32EnumCase<"L2", 5, "l2">]>;
def Ferrite_CombineKind : Ferrite_Enum<"CombineKind", "what joins the points of a reduction", [
    I32EnumCase<"None", 0, "none">, I32EnumCase<"Sum", 1, "sum">,
    I32EnumCase<"Prod", 2, "prod">, I32EnumCase<"Max", 3, "max">,
    I32EnumCase<"Min", 4, "min">]>;
def Ferrite_MaskKind : Ferrite_Enum<"MaskKind", "which scores an attention keeps", [
    I32EnumCase<"None", 0, "none">, I32EnumCase<"Keep", 1, "keep">,
    I32EnumCase<"Bias", 2, "bias">]>;

def Ferrite_Rounding : Ferrite_Enum<"Rounding", "how a power of two is chosen", [
    I32EnumCase<"Up", 0, "up">, I32EnumCase<"Down", 1, "down">,
    I32EnumCase<"Nearest", 2, "nearest">]>;

def Ferrite_StateKind : Ferrite_Enum<"StateKind", "what of a cache a state is", [
    I32EnumCase<"Keys", 0, "keys">, I32EnumCase<"Values", 1, "values">,
    I32EnumCase<"Summary", 2, "summary">]>;

class Ferrite_Attr<string name, string mnemonic_> : AttrDef<Ferrite_Dialect, name> {
  let mnemonic = mnemonic_;
}

def Ferrite_SymbolAttr : Ferrite_Attr<"Symbol", "symbol"> {
  let summary = "a symbolic dimension of an entry and the sizes it may have";
  let description = [{
    `min` and `max` are inclusive; a call outside them is refused at run time.

    ```mlir
    #ferrite.symbol<"sequence", min = 1, max = 512>
    ```
  }];
  let parameters = (ins StringRefParameter<>:$name, "int64_t":$min, "int64_t":$max);
  let assemblyFormat = "`<` $name `,` `min` `=` $min `,` `max` `=` $max `>`";
}

def Ferrite_StateAttr : Ferrite_Attr<"State", "state"> {
  let summary = "memory of a step that lives between calls";
  let description = [{
    On an argument of a step: pages of 64 tokens of one layer's `keys`
    ([pages, heads, size, 64]), `values` ([pages, heads, 64, size]) or a `summary` of
    the keys, f32 and of the form of values (`summarize_pages`). `layer` counts
    attentions from 0. A token reads itself and the `window` - 1 before it; -1: all.
    Beside a window it reads the first `sinks` tokens of its sequence, too.
    States of a `group` share page tables: 0 are the sequence's own, 1 those of the
    source that it reads (an encoder's), which the function of `ferrite.encode` makes.

    ```mlir
    #ferrite.state<keys, layer = 0, window = -1>
    ```
  }];
  let parameters = (ins EnumParameter<Ferrite_StateKind>:$kind, "int64_t":$layer,
                        "int64_t":$window,
                        DefaultValuedParameter<"int64_t", "0">:$group,
                        DefaultValuedParameter<"int64_t", "0">:$sinks);
  let assemblyFormat = [{
    `<` $kind `,` `layer` `=` $layer `,` `window` `=` $window (`,` `group` `=` $group^)?
    (`,` `sinks` `=` $sinks^)? `>`
  }];
}

def Ferrite_DequantAttr : Ferrite_Attr<"Dequant", "dequant"> {
  let summary = "what makes numbers of the few bits of a source";
  let description = [{
    An element is `(bits - zero) * scale`, in f32 and as `ferrite.dequantize` has
    it. `scale` and `zero` (0 where there is none) are each a source without
    `perm`, or a dense constant. Of one element, it is for all; with `block` 0 it is
    indexed by dim `axis` of the source's `shape`; else it has the rank of that, and
    `axis` is indexed by `index / block`. `codes` and `bits` (0: all of the type's)
    as of `ferrite.dequantize`.

    ```mlir
    #ferrite.dequant<scale = dense<0.5> : tensor<f32>, axis = 0, block = 0>
    ```
  }];
  let parameters = (ins "::mlir::Attribute":$scale,
      OptionalParameter<"::mlir::Attribute">:$zero, "int64_t":$axis, "int64_t":$block,
      OptionalParameter<"::mlir::DenseF32ArrayAttr">:$codes,
      DefaultValuedParameter<"int64_t", "0">:$bits);
  let assemblyFormat = [{
    `<` `scale` `=` $scale (`zero` `=` $zero^)? `,` `axis` `=` $axis `,` `block` `=` $block
    (`codes` `=` $codes^)? (`bits` `=` $bits^)? `>`
  }];
}

def Ferrite_SourceAttr : Ferrite_Attr<"Source", "source"> {
  let summary = "where the bytes of a weight lie";
  let description = [{
    `file` is a path relative to the model's folder (the model file itself or one
    of its external data files); `offset` is in bytes; the elements lie densely,
    row-major and little-endian, those of fewer than 8 bits packed with the first
    in the low bits, as a tensor of `shape` with `type`; `dequant` (absent: none)
    says what number each stands for; `pitch` (0: dense) is how many elements lie
    between the beginnings of two rows of a matrix, of which the source is some
    columns; `perm` (empty: none) is a transposition
    applied on reading, as in ONNX Transpose: dimension `i` of the result is
    dimension `perm[i]` of `shape`.

    ```mlir
    #ferrite.source<"model.safetensors", offset = 1024, shape = [384, 1536], type = f32, perm = [1, 0]>
    ```
  }];
  let parameters = (ins StringRefParameter<>:$file, "int64_t":$offset,
      OptionalArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$type,
      OptionalArrayRefParameter<"int64_t">:$perm,
      OptionalParameter<"::ferrite::DequantAttr">:$dequant,
      DefaultValuedParameter<"int64_t", "0">:$pitch);
  let builders = [
    AttrBuilder<(ins "::llvm::StringRef":$file, "int64_t":$offset,
                     "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$type,
                     "::llvm::ArrayRef<int64_t>":$perm), [{
      return $_get($_ctxt, file, offset, shape, type, perm, ::ferrite::DequantAttr(), 0);
    }]>,
    AttrBuilder<(ins "::llvm::StringRef":$file, "int64_t":$offset,
                     "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$type,
                     "::llvm::ArrayRef<int64_t>":$perm,
                     "::ferrite::DequantAttr":$dequant), [{
      return $_get($_ctxt, file, offset, shape, type, perm, dequant, 0);
    }]>
  ];
  let assemblyFormat = [{
    `<` $file `,` `offset` `=` $offset `,` `shape` `=` `[` (`]`) : ($shape^ `]`)? `,`
    `type` `=` $type (`,` `perm` `=` `[` $perm^ `]`)? (`pitch` `=` $pitch^)?
    (`dequant` $dequant^)? `>`
  }];
  let genVerifyDecl = 1;
}

def Ferrite_PackedAttr : Ferrite_Attr<"Packed", "packed"> {
  let summary = "how a matrix of few bits lies in memory";
  let description = [{
    A `depth` x `columns` matrix as the panels of lib/Support/PackedPanels.h: codes of
    `bits` 2, 3, 4 or 8 with a `scale` of that type for each column and `block` of k.
    An element is

    ```
    (code - zero) * scale      zero: ui8, of code's range, for each column and block
    (code - shift - zero) * scale                 zero: f32, likewise; absent: 0
    codes[code] * scale                           with `codes`
    ```

    ```mlir
    #ferrite.packed<bits = 4, depth = 256, columns = 64, block = 32, scale = f16 shift = 8>
    ```
  }];
  let parameters = (ins "int64_t":$bits, "int64_t":$depth, "int64_t":$columns,
      "int64_t":$block, "::mlir::Type":$scale,
      OptionalParameter<"::mlir::Type">:$zero,
      DefaultValuedParameter<"int64_t", "0">:$shift,
      OptionalParameter<"::mlir::DenseF32ArrayAttr">:$codes);
  let assemblyFormat = [{
    `<` `bits` `=` $bits `,` `depth` `=` $depth `,` `columns` `=` $columns `,`
    `block` `=` $block `,` `scale` `=` $scale (`zero` `=` $zero^)?
    (`shift` `=` $shift^)? (`codes` `=` $codes^)? `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// What lib/Support/PackedPanels.h computes with.
    ::ferrite::PackedPanels getPanels() const;
    /// How rows rounded in groups of `inputBlock` lie for a product with it.
    ::ferrite::RoundedRows getRows(int64_t inputBlock) const;
  }];
}

def Ferrite_SparseAttr : Ferrite_Attr<"Sparse", "sparse"> {
  let summary = "which blocks of a weight a product leaves out";
  let description = [{
    Of a weight [K, N], cut into blocks of `depth` k by `columns` columns from element
    (0, 0) on, the last ones narrower: a product skips those of zeros alone. `kept`
    of them have another number, -1 where that is not known.

    ```mlir
    #ferrite.sparse<columns = 32, depth = 4, kept = 2304>
    ```
  }];
  let parameters = (ins "int64_t":$columns, "int64_t":$depth,
      DefaultValuedParameter<"int64_t", "-1">:$kept);
  let assemblyFormat =
      "`<` `columns` `=` $columns `,` `depth` `=` $depth (`,` `kept` `=` $kept^)? `>`";
  let genVerifyDecl = 1;
}

/// lhs and rhs have one element type (the result may have another).
def SameTypeOperandElements : PredOpTrait<"operands have one element type",
    TCopVTEtIsSameAs<0, 1>>;

/// Dims as printed expressions of the entry's symbols: `["batch", "sequence*2", "64"]`.
def Ferrite_DimsAttr : TypedArrayAttrBase<StrAttr, "dim expressions">;
def Ferrite_SourcesAttr : TypedArrayAttrBase<Ferrite_SourceAttr, "weight sources">;

#endif // FERRITE_ATTRS_TD
