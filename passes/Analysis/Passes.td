//===- Passes.td - Analyses, made visible ------------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_PASSES_TD
#define FERRITE_PASSES_ANALYSIS_PASSES_TD

include "mlir/Pass/PassBase.td"

def PrintDims : Pass<"ferrite-print-dims", "::mlir::func::FuncOp"> {
  let summary = "Report the dims of every tensor as expressions of the entry's symbols";
  let description = [{
    Emits a remark at each op with what `DimAnalysis` knows of its results; an op
    whose dims cannot be known is an error. Changes nothing.

    **Needs** ops with `SymbolicShapeOpInterface`, or static results.
    **Leaves** the function as it was.
  }];
}

def PrintMasks : Pass<"ferrite-print-masks", "::mlir::func::FuncOp"> {
  let summary = "Report what each returned value is as a mask of attention";
  let description = [{
    Emits a remark for each returned tensor of rank 4, read as something that is
    added to scores of its own dims: `none`, `keep` with the expression of the keys
    kept and the fill of the others, or `bias` with the reason why it is neither.
    Changes nothing.

    **Needs** dims that `DimAnalysis` knows.
    **Leaves** the function as it was.
  }];
}

#endif // FERRITE_PASSES_ANALYSIS_PASSES_TD
