//===- Passes.td - Weights and inputs of few bits ----------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_QUANTIZATION_PASSES_TD
#define FERRITE_PASSES_QUANTIZATION_PASSES_TD

include "mlir/Pass/PassBase.td"

def ChooseFormats : Pass<"ferrite-choose-formats", "::mlir::ModuleOp"> {
  let summary = "Say of each product with a weight how that is to be stored";
  let description = [{
    Each `linear` of a stored weight of numbers gets the format of the option that
    its weight's name or a node's matches last, or stays wide for a reason that a
    remark says.

    **Before**
    ```mlir
    %y = ferrite.linear %x, %w : (tensor<?x384xf32>, tensor<384x1536xf32>) -> tensor<?x1536xf32> {..}
    ```
    **After** with `spec=w4g32`
    ```mlir
    %y = ferrite.linear %x, %w {ferrite.format = "w4g32"} : (tensor<?x384xf32>, tensor<384x1536xf32>) -> tensor<?x1536xf32> {..}
    ```
    **Leaves** ops of experts, convolutions, tables and what is quantized already.
  }];
  let options = [Option<"spec", "spec", "std::string", "\"\"",
                        "formats, as --quantize of ferrite compile takes them">];
  let dependentDialects = ["::ferrite::FerriteDialect"];
}

#endif // FERRITE_PASSES_QUANTIZATION_PASSES_TD
