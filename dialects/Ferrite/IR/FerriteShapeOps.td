//===- FerriteShapeOps.td - Views, movement and constants --*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Upstream's tensor ops are not used for these: tensor.expand_shape and
// collapse_shape carry their sizes as index values, where ours are DimExprs.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_SHAPE_OPS_TD
#define FERRITE_SHAPE_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_WeightOp : Ferrite_Op<"weight"> {
  let summary = "a tensor of the model, by reference to its bytes";
  let description = [{
    The concatenation along `axis` of `sources`, each read from its file,
    transposed by its `perm` and converted to the element type of the result. No
    pass holds the bytes: the link phase reads them once, into the artifact.
    Constants of at most 64 KiB are `arith.constant` and may be folded.

    **Constraints.** C1: there is a source, and `axis` is one of the result's.
    C2: the sources' shapes after `perm` agree with the result but on `axis`,
    where they sum to it; a single source of another rank has as many elements, and
    is viewed under the result's dims. C3: the result type is static.
    **Properties.** `axis` (default 0).
    **From** ONNX initializers. **To** `plan.weight`.

    ```mlir
    %w = ferrite.weight "fc.weight" [#ferrite.source<"model.safetensors", offset = 64, shape = [1536, 384], type = f32, perm = [1, 0]>] : tensor<384x1536xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, Ferrite_SourcesAttr:$sources,
                       DefaultValuedProp<I64Prop, "0">:$axis);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = "$name $sources (`axis` `=` $axis^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Ferrite_ViewOp : Ferrite_Op<"view"> {
  let summary = "the same elements under other dims";
  let description = [{
    Row-major reshape: `dims` are the dims of the result, expressions of the
    entry's symbols.

    **Constraints.** C1: `dims` parse and give the result type. C2: the static
    element counts agree.
    **From** ONNX `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`. **To** an alias.

    ```mlir
    %v = ferrite.view %x dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_DimsAttr:$dims);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$input `dims` `=` $dims attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  let hasFolder = 1;
}

def Ferrite_TransposeOp : Ferrite_Op<"transpose"> {
  let summary = "permutation of the dims";
  let description = [{
    Dimension `i` of the result is dimension `perm[i]` of `input` (ONNX Transpose).

    **Constraints.** C1: `perm` is a permutation of the dims of `input`, and the
    result type is `input`'s permuted.

    ```mlir
    %t = ferrite.transpose %x perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, DenseI64ArrayAttr:$perm);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$input `perm` `=` $perm attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def Ferrite_BroadcastOp : Ferrite_Op<"broadcast"> {
  let summary = "repetition along dims of size 1";
  let description = [{
    NumPy broadcasting of `input` to `dims`.

    **Constraints.** C1: `dims` parse and give the result type. C2: `input`
    broadcasts to it.
    **From** ONNX `Expand`. **To** a stride of 0, wherever it is read.

    ```mlir
    %b = ferrite.broadcast %x dims = ["batch", "4"] : tensor<1x4xf32> -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_DimsAttr:$dims);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$input `dims` `=` $dims attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Ferrite_SliceOp : Ferrite_Op<"slice"> {
  let summary = "a strided part of a tensor";
  let description = [{
    `result[i0, ..] = input[offsets[0] + steps[0] * i0, ..]`; `offsets` and `dims`
    are expressions of the entry's symbols, one per dimension; `steps` may be
    negative.

    **Constraints.** C1: `offsets`, `steps` and `dims` have an element per
    dimension, parse, and give the result type. C2: no step is 0. C3: what is
    static lies inside `input`.
    **From** ONNX `Slice`, `Split`, `Gather` of one constant index. **To** an
    alias with strides.

    ```mlir
    %s = ferrite.slice %x offsets = ["0", "0", "384"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"] : tensor<?x?x1152xf32> -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_DimsAttr:$offsets,
                       DenseI64ArrayAttr:$steps, Ferrite_DimsAttr:$dims);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $input `offsets` `=` $offsets `steps` `=` $steps `dims` `=` $dims attr-dict
    `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Ferrite_ConcatOp : Ferrite_Op<"concat"> {
  let summary = "concatenation along an axis";
  let description = [{
    **Constraints.** C1: there is an input, all have the result's rank and element
    type, and `axis` is one of its dims. C2: static sizes agree but on `axis`,
    where they sum to the result's.
    **Properties.** `axis` (no default). **From** ONNX `Concat`.

    ```mlir
    %c = ferrite.concat %a, %b axis = 1 : (tensor<?x1x64xf32>, tensor<?x16x64xf32>) -> tensor<?x17x64xf32>
    ```
  }];
  let arguments = (ins Variadic<Ferrite_Tensor>:$inputs, I64Prop:$axis);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$inputs `axis` `=` $axis attr-dict `:` functional-type($inputs, $result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Ferrite_IotaOp : Ferrite_Op<"iota"> {
  let summary = "an arithmetic sequence";
  let description = [{
    `result[i] = start + step * i`, `i` below the one dim of `dims`.

    **Constraints.** C1: `dims` has one element, parses, and gives the result type.
    **Properties.** `start` (default 0) and `step` (default 1).
    **From** ONNX `Range` of integers. **To** a body of `ferrite.fused`.

    ```mlir
    %p = ferrite.iota dims = ["sequence"] : tensor<?xi64>
    ```
  }];
  let arguments = (ins DefaultValuedProp<I64Prop, "0">:$start,
                       DefaultValuedProp<I64Prop, "1">:$step, Ferrite_DimsAttr:$dims);
  let results = (outs Ferrite_IndexTensor:$result);
  let assemblyFormat = [{
    (`start` `=` $start^)? (`step` `=` $step^)? `dims` `=` $dims attr-dict
    `:` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_DimValuesOp : Ferrite_Op<"dim_values"> {
  let summary = "symbolic sizes as data";
  let description = [{
    The values of `values`, expressions of the entry's symbols, as a tensor of
    rank 0 (one value) or 1. Only where a size is computed with as data: shapes
    themselves are never operands.

    **Constraints.** C1: `values` parse, and the result has as many elements.
    **From** ONNX `Shape` whose value reaches arithmetic on data.

    ```mlir
    %n = ferrite.dim_values ["sequence"] : tensor<i64>
    ```
  }];
  let arguments = (ins Ferrite_DimsAttr:$values);
  let results = (outs Ferrite_IndexTensor:$result);
  let assemblyFormat = "$values attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Ferrite_GatherOp : Ferrite_Op<"gather"> {
  let summary = "slices chosen by index along an axis";
  let description = [{
    `result[o.., i.., n..] = data[o.., indices[i..], n..]`, where `o` are the dims
    before `axis`. A negative index counts from the end. An index outside is the
    caller's error: checked at run time when `indices` is an input of the entry,
    clamped otherwise.

    **Constraints.** C1: `axis` is a dim of `data`.
    **Properties.** `axis` (no default). **From** ONNX `Gather`.

    ```mlir
    %g = ferrite.gather %table, %ids axis = 0 : (tensor<30522x384xf32>, tensor<?x?xi64>) -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$data, Ferrite_IndexTensor:$indices, I64Prop:$axis);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$data `,` $indices `axis` `=` $axis attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Ferrite_GatherNDOp : Ferrite_Op<"gather_nd"> {
  let summary = "elements or slices chosen by index tuples";
  let description = [{
    `result[i.., n..] = data[indices[i.., 0], .., indices[i.., k-1], n..]`; rules
    for indices as in `gather` (ONNX GatherND-13 with batch_dims = 0).

    **Constraints.** C1: the innermost dim of `indices` is static and at most the
    rank of `data`.

    ```mlir
    %g = ferrite.gather_nd %m, %i : (tensor<?x?xi1>, tensor<?x1x?x?x2xi64>) -> tensor<?x1x?x?xi1>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$data, Ferrite_IndexTensor:$indices);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$data `,` $indices attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Ferrite_CumSumOp : Ferrite_Op<"cumsum", [AllTypesMatch<["input", "result"]>]> {
  let summary = "running sum along an axis";
  let description = [{
    `result[.., i, ..] = sum of input[.., j, ..] over j <= i`; `exclusive` leaves
    `j = i` out; `reverse` runs from the end (ONNX CumSum-14).

    **Constraints.** C1: `axis` is a dim of `input`.
    **Properties.** `axis` (no default), `exclusive`, `reverse` (default absent).

    ```mlir
    %c = ferrite.cumsum %m axis = 1 : tensor<?x?xi32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, I64Prop:$axis, UnitProp:$exclusive,
                       UnitProp:$reverse);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $input `axis` `=` $axis (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict
    `:` type($input)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_SHAPE_OPS_TD
