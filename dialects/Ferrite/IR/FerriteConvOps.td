//===- FerriteConvOps.td - Windows and borders -------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Convolutions and pools are a product or a reduction over windows, and windows
// are no data: they are strides. So there is no convolution among the ops.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_CONV_OPS_TD
#define FERRITE_CONV_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_WindowsOp : Ferrite_Op<"windows"> {
  let summary = "overlapping windows along a dim";
  let description = [{
    ```
    result[.., o, k, ..] = input[.., o * step + k * dilation, ..]
    ```

    The dim `axis` of `input` becomes two of the result: `axis` counts the
    windows, `axis + 1` the `size` points of a window. `count` is the number of
    windows, an expression of the entry's symbols.

    **Constraints.** C1: `axis` is a dim of `input`; `size`, `step` and `dilation`
    are 1 or more; `count` parses, and the result is `input` with that dim
    replaced by `count` and `size`. C2: what is static lies inside `input`.
    **Properties.** `axis`, `size` (no default); `step`, `dilation` (default 1).
    **From** ONNX `Conv`, `ConvTranspose`, `MaxPool`, `AveragePool`, `LpPool`,
    `LRN`. **To** an alias with strides.

    ```mlir
    %w = ferrite.windows %x axis = 1 size = 3 step = 2 count = "1500" : tensor<?x3002x384xf32> -> tensor<?x1500x3x384xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, I64Prop:$axis, I64Prop:$size,
                       DefaultValuedProp<I64Prop, "1">:$step,
                       DefaultValuedProp<I64Prop, "1">:$dilation, StrAttr:$count);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $input `axis` `=` $axis `size` `=` $size (`step` `=` $step^)?
    (`dilation` `=` $dilation^)? `count` `=` $count attr-dict
    `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Ferrite_PadOp : Ferrite_Op<"pad"> {
  let summary = "a tensor inside a larger one of a constant";
  let description = [{
    ```
    result[i..] = input[i - low..] where that is inside of input, else value
    ```

    **Constraints.** C1: `low` and `dims` have an element per dimension, parse,
    and `dims` give the result type. C2: `value` has rank 0. C3: what is static of
    `low` is 0 or more, and `input` fits behind it.
    **From** ONNX `Pad`, and the pads of `Conv` and of pools. **To** copies into a
    buffer.

    ```mlir
    %p = ferrite.pad %x, %zero low = ["0", "1", "0"] dims = ["batch", "3002", "384"] : (tensor<?x3000x384xf32>, tensor<f32>) -> tensor<?x3002x384xf32>
    ```
  }];
  let arguments = (ins Ferrite_Tensor:$input, Ferrite_Tensor:$value,
                       Ferrite_DimsAttr:$low, Ferrite_DimsAttr:$dims);
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = [{
    $input `,` $value `low` `=` $low `dims` `=` $dims attr-dict
    `:` functional-type(operands, $result)
  }];
  let hasVerifier = 1;
}

#endif // FERRITE_CONV_OPS_TD
