//===- PlanOps.td - How an artifact runs a model -----------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The execution program: kernels, weights, and entries that launch kernels on
// buffers. It prints as what `ferrite inspect` shows.
//
//===----------------------------------------------------------------------===//
#ifndef PLAN_OPS_TD
#define PLAN_OPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/Properties.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "dialects/Ferrite/IR/FerriteAttrs.td"
include "dialects/Plan/IR/PlanEnums.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::ferrite::plan";
  let summary = "how an artifact runs a model: kernels chosen, buffers placed, launches ordered";
  let description = [{
    A module holds `plan.weight`s, `plan.kernel`s and `plan.entry`s. Sizes and
    byte offsets are `DimExpr`s of the entry's symbols, printed as strings.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

def Plan_RefType : TypeDef<Plan_Dialect, "Ref"> {
  let mnemonic = "ref";
  let summary = "memory of an entry: an input, an output, a state, a weight or a buffer";
  let builderCall = "$_builder.getType<::ferrite::plan::RefType>()";
}

def Plan_LayoutAttr : AttrDef<Plan_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "how an operand of a kernel lies in memory";
  let description = [{
    Sizes and strides, in elements, as the kernel sees its operand; `?` is passed
    at run time. `alias`: a result may be the same memory.

    ```mlir
    #plan.layout<f32 [?, 384] strides [1152, 1] alias>
    ```
  }];
  let parameters = (ins "::mlir::Type":$type, OptionalArrayRefParameter<"int64_t">:$shape,
                        OptionalArrayRefParameter<"int64_t">:$strides, "bool":$alias);
  let hasCustomAssemblyFormat = 1;
}

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;

def Plan_WeightOp : Plan_Op<"weight", [Symbol]> {
  let summary = "a recipe for bytes of the artifact";
  let description = [{
    The concatenation along `axis` of the `sources` (or the constant `value`),
    as a tensor of `type`, stored `rows` (dense, row-major) or as the `panels` of
    a product's right operand (`lib/Support/PanelLayout.h`), `bytes` long at
    `offset` of the weights section. The link phase streams it there.
    `pairs` are panels with two k side by side, for bf16. `byte_panels` are those
    of a product of bytes, with the sums of their columns;
    unsigned bytes are stored less 128. `packed` are codes of few bits as `layout`
    says, of sources that are scaled. `sparse` are the blocks of a matrix that are not
    of zeros alone (`lib/Support/SparsePanels.h`), as `blocks` says.

    **Constraints.** C1: exactly one of `sources` and `value` is there. C2: `layout`
    and `sources` are there with the format `packed`, `layout` with no other. C3:
    `blocks`, with a count, and `sources` are there with the format `sparse`, `blocks`
    with no other.

    ```mlir
    plan.weight @weight_0 panels "fc.weight" [#ferrite.source<"m.bin", offset = 0, shape = [64, 64], type = f32, perm = [1, 0]>] offset = 0 bytes = 16384 : tensor<64x64xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, EnumProp<Plan_WeightFormat>:$format,
                       StrAttr:$name, OptionalAttr<Ferrite_SourcesAttr>:$sources,
                       OptionalAttr<ElementsAttr>:$value,
                       OptionalAttr<Ferrite_PackedAttr>:$layout,
                       OptionalAttr<Ferrite_SparseAttr>:$blocks,
                       DefaultValuedProp<I64Prop, "0">:$axis,
                       I64Prop:$offset, I64Prop:$bytes, TypeAttr:$type);
  let assemblyFormat = [{
    $sym_name $format $name (`layout` `=` $layout^)? (`blocks` `=` $blocks^)? ($sources^)? (`value` `=` $value^)? (`axis` `=` $axis^)?
    `offset` `=` $offset `bytes` `=` $bytes attr-dict `:` $type
  }];
  let hasVerifier = 1;
}

def Plan_KernelOp : Plan_Op<"kernel", [Symbol, IsolatedFromAbove, SingleBlock]> {
  let summary = "one piece of code, for every launch of its structure";
  let description = [{
    The body is the one `ferrite` op that the kernel computes, from the block's
    arguments; the layouts of operands and results (in that order) complete the
    structure. Launches whose bodies and layouts are equal share a kernel, so
    neither code nor compile time grows with equal layers.

    **Constraints.** C1: the body is one op and a `plan.return` of its results,
    with a layout for each operand and result. **Properties.** `claimed` (default
    absent): units are uneven, workers claim them one by one.

    ```mlir
    plan.kernel @softmax_0 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
    ^bb0(%x: tensor<?x64xf32>):
      %y = ferrite.softmax %x : tensor<?x64xf32>
      plan.return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypedArrayAttrBase<Plan_LayoutAttr, "layouts">:$layouts,
                       UnitProp:$claimed);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name (`claimed` $claimed^)? `layouts` `=` $layouts attr-dict-with-keyword $body
  }];
  let extraClassDeclaration = [{
    /// The op that the kernel computes.
    ::mlir::Operation *getComputation() { return &getBody().front().front(); }
  }];
  let hasVerifier = 1;
}

def Plan_ReturnOp : Plan_Op<"return", [Pure, Terminator, HasParent<"KernelOp">]> {
  let summary = "the results of a kernel";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Plan_EntryOp : Plan_Op<"entry", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator]> {
  let summary = "a function of the model that can be called";
  let description = [{
    Memory and launches, in order; `arena` is the size of the arena in bytes once
    memory is planned. **Properties.** `step` (default absent): it takes tokens of
    several sequences, which live in its states. `encode` (default absent): it makes
    the states of group 1 of a step, in their order.

    ```mlir
    plan.entry @main symbols = [#ferrite.symbol<"batch", min = 1, max = 8>] {
      %0 = plan.input "x" dims = ["batch", "64"] : tensor<?x64xf32>
      %1 = plan.output "y" dims = ["batch", "64"] : tensor<?x64xf32>
      plan.launch @softmax_0(%0, %1) offsets = ["0", "0"] values = ["batch", "batch"]
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
                       TypedArrayAttrBase<Ferrite_SymbolAttr, "symbols">:$symbols,
                       OptionalAttr<StrAttr>:$arena, UnitProp:$step,
                       UnitProp:$encode);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name (`step` $step^)? (`encode` $encode^)? `symbols` `=` $symbols (`arena` `=` $arena^)? attr-dict-with-keyword $body
  }];
}

class Plan_MemoryOp<string mnemonic> : Plan_Op<mnemonic, [HasParent<"EntryOp">]> {
  let results = (outs Plan_RefType:$ref);
}

def Plan_InputOp : Plan_MemoryOp<"input"> {
  let summary = "a tensor that the caller gives";
  let description = [{
    Inputs are in order of the entry's arguments. **Properties.** `idLimit`
    (default 0: no ids): elements lie in [-idLimit, idLimit).
  }];
  let arguments = (ins StrAttr:$name, Ferrite_DimsAttr:$dims,
                       DefaultValuedProp<I64Prop, "0">:$idLimit, TypeAttr:$type);
  let assemblyFormat =
      "$name `dims` `=` $dims (`ids` `below` $idLimit^)? attr-dict `:` $type";
}

def Plan_OutputOp : Plan_MemoryOp<"output"> {
  let summary = "a tensor that the caller receives";
  let description = "Outputs are in order of the entry's results.";
  let arguments = (ins StrAttr:$name, Ferrite_DimsAttr:$dims, TypeAttr:$type);
  let assemblyFormat = "$name `dims` `=` $dims attr-dict `:` $type";
}

def Plan_StateOp : Plan_MemoryOp<"state"> {
  let summary = "memory that lives between calls";
  let description = [{
    Pages that the caller binds once for many calls; `type` has their number first.
    States are in order of the entry's arguments.

    **Constraints.** C1: `type` is [pages, heads, size, 64] of keys, or
    [pages, heads, 64, size] of values, all but pages static.

    ```mlir
    %0 = plan.state "past_key_values.0.key" <keys, layer = 0, window = -1> : tensor<?x2x16x64xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, Ferrite_StateAttr:$state, TypeAttr:$type);
  let assemblyFormat = "$name $state attr-dict `:` $type";
  let hasVerifier = 1;
}

def Plan_BufferOp : Plan_MemoryOp<"buffer"> {
  let summary = "a part of the arena";
  let description = [{
    `bytes` long, at `offset` of the arena once memory is planned; live from the
    first launch that names it to the last.
  }];
  let arguments = (ins StrAttr:$bytes, OptionalAttr<StrAttr>:$offset);
  let assemblyFormat = "$bytes (`at` $offset^)? attr-dict";
}

def Plan_UseOp : Plan_MemoryOp<"use"> {
  let summary = "a weight";
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let assemblyFormat = "$weight attr-dict";
}

def Plan_LaunchOp : Plan_Op<"launch", [HasParent<"EntryOp">]> {
  let summary = "runs a kernel on memory";
  let description = [{
    `memory` has the kernel's operands, then its results, each displaced by a
    byte offset; `values` are the sizes and strides that the kernel's layouts leave
    open, in the order of `KernelArgs`.

    **Constraints.** C1: `offsets` has an element per memory operand, and both
    parse.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Plan_RefType>:$memory,
                       Ferrite_DimsAttr:$offsets, Ferrite_DimsAttr:$values);
  let assemblyFormat = [{
    $kernel `(` $memory `)` `offsets` `=` $offsets `values` `=` $values attr-dict
  }];
  let hasVerifier = 1;
}

#endif // PLAN_OPS_TD
