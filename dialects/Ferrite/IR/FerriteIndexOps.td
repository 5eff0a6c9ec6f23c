//===- FerriteIndexOps.td - Positions: chosen, found, written -*- tablegen -*-//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_INDEX_OPS_TD
#define FERRITE_INDEX_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_GatherElementsOp : Ferrite_Op<"gather_elements"> {
  let summary = "elements chosen by an index each";
  let description = [{
    `result[.., p, ..] = data[.., indices[.., p, ..], ..]` along `axis`, of the
    dims of `indices`; rules for indices as in `gather` (ONNX GatherElements-13).

    **Constraints.** C1: `data` and `indices` have one rank, and `axis` is a dim
    of it.
    **Properties.** `axis` (no default).

    ```mlir
    %g = ferrite.gather_elements %x, %i axis = 1 : (tensor<?x8xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$data, Ferrite_IndexTensor:$indices, I64Prop:$axis);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat =
      "$data `,` $indices `axis` `=` $axis attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Ferrite_ScatterNDOp
    : Ferrite_Op<"scatter_nd", [AllTypesMatch<["data", "result"]>]> {
  let summary = "data with slices replaced or joined at index tuples";
  let description = [{
    ```
    result = data
    for each i.., in order of position:
      at = (indices[i.., 0], .., indices[i.., k-1])
      result[at, n..] = combine(result[at, n..], updates[i.., n..])
    ```

    `combine none` replaces; where two tuples are equal the later one wins. A
    negative index counts from the end; one that is still outside is clamped (ONNX
    ScatterND-18).

    **Numerics.** In the element type, one rounding a step.
    **Constraints.** C1: the innermost dim of `indices` is static and at most the
    rank of `data`. C2: `updates` has the element type of `data` and the rank of
    the outer dims of `indices` and the inner dims of `data`; static sizes agree.
    **Properties.** `combine` (no default).
    **From** ONNX `ScatterND`, `TensorScatter`. **To** a copy of `data` and a
    kernel that writes into it.

    ```mlir
    %s = ferrite.scatter_nd none %x, %i, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$data, Ferrite_IndexTensor:$indices,
                       Ferrite_Tensor:$updates, EnumProp<Ferrite_CombineKind>:$combine);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $combine $data `,` $indices `,` $updates attr-dict `:` type($data) `,`
    type($indices) `,` type($updates)
  }];
  let hasVerifier = 1;
}

def Ferrite_ScatterElementsOp
    : Ferrite_Op<"scatter_elements", [AllTypesMatch<["data", "result"]>]> {
  let summary = "data with elements replaced or joined, an index each";
  let description = [{
    ```
    result = data
    for each p.., in order of position along axis:
      at = p.. with p[axis] = indices[p..]
      result[at] = combine(result[at], updates[p..])
    ```

    Rules for indices and `combine` as in `scatter_nd` (ONNX ScatterElements-18).

    **Constraints.** C1: the three have one rank, and `axis` is a dim of it. C2:
    `updates` has the element type of `data` and the dims of `indices`.
    **Properties.** `combine`, `axis` (no defaults).

    ```mlir
    %s = ferrite.scatter_elements sum %x, %i, %u axis = 1 : tensor<?x8xf32>, tensor<?x2xi64>, tensor<?x2xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$data, Ferrite_IndexTensor:$indices,
                       Ferrite_Tensor:$updates, EnumProp<Ferrite_CombineKind>:$combine,
                       I64Prop:$axis);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $combine $data `,` $indices `,` $updates `axis` `=` $axis attr-dict `:` type($data)
    `,` type($indices) `,` type($updates)
  }];
  let hasVerifier = 1;
}

def Ferrite_ArgReduceOp : Ferrite_Op<"arg_reduce"> {
  let summary = "the position of the extreme element along an axis";
  let description = [{
    The position of the maximum or minimum of each line along `axis`, which becomes
    1 with `keepDims` and vanishes without: the first of equal ones, or the last
    with `selectLast` (ONNX ArgMax-13, ArgMin-13).

    **Numerics.** A NaN is more extreme than any number, as in NumPy.
    **Constraints.** C1: `axis` is a dim of `input`. C2: `kind` is max or min.
    **Properties.** `kind`, `axis` (no defaults); `keepDims`, `selectLast`
    (default absent).

    ```mlir
    %i = ferrite.arg_reduce max %x axis = 1 : tensor<?x64xf32> -> tensor<?xi64>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, EnumProp<Ferrite_CombineKind>:$kind,
                       I64Prop:$axis, UnitProp:$keepDims, UnitProp:$selectLast);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = [{
    $kind $input `axis` `=` $axis (`keep_dims` $keepDims^)? (`select_last` $selectLast^)?
    attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_TopKOp : Ferrite_Op<"topk"> {
  let summary = "positions of the k largest elements along an axis, in order";
  let description = [{
    The positions along `axis` of the `k[0]` largest (`smallest`: smallest) elements
    of each line, from the most extreme on; of equal ones the lower position comes
    first. Their values are a `gather_elements` of these positions. With `k` the
    whole axis it is a stable sort.

    **Numerics.** A NaN is larger than any number.
    **Constraints.** C1: `axis` is a dim of `input`. C2: `k` has one element, parses,
    and gives the result type.
    **Properties.** `axis` (no default), `smallest` (default absent). **From** ONNX
    `TopK`.

    ```mlir
    %i = ferrite.topk %x axis = 1 k = ["2"] : tensor<?x8xf32> -> tensor<?x2xi64>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, I64Prop:$axis, Ferrite_DimsAttr:$k,
                       UnitProp:$smallest);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat = [{
    $input `axis` `=` $axis `k` `=` $k (`smallest` $smallest^)? attr-dict
    `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_CumProdOp : Ferrite_Op<"cumprod", [AllTypesMatch<["input", "result"]>]> {
  let summary = "running product along an axis";
  let description = [{
    As `cumsum`, of products (ONNX CumProd-26).

    **Constraints.** C1: `axis` is a dim of `input`.
    **Properties.** `axis` (no default), `exclusive`, `reverse` (default absent).

    ```mlir
    %c = ferrite.cumprod %m axis = 1 : tensor<?x?xf32>
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

def Ferrite_NonZeroOp : Ferrite_Op<"nonzero"> {
  let summary = "index tuples of the elements that are not zero";
  let description = [{
    Row `j` of the result is the position of the `j`-th element of `input`, in
    row-major order, that is not zero (ONNX NonZero-13, transposed). How many
    there are is known at run time: the size is the fresh symbol `count`, which no
    input has and no other op makes.

    **Constraints.** C1: `count` is a symbol's name, and the result is of one tuple
    of `input`'s rank for each.

    ```mlir
    %n = ferrite.nonzero %m count = "nonzero.0" : tensor<?x8xi1> -> tensor<?x2xi64>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, StrAttr:$count);
  let results = (outs RankedTensorOf<[I64]>:$result);
  let assemblyFormat =
      "$input `count` `=` $count attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

#endif // FERRITE_INDEX_OPS_TD
