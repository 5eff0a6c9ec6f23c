//===- Passes.td - The contracts between phases ------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_VERIFY_PASSES_TD
#define FERRITE_PASSES_VERIFY_PASSES_TD

include "mlir/Pass/PassBase.td"

def VerifyNormalize : Pass<"verify-normalize", "::mlir::func::FuncOp"> {
  let summary = "Check what the normalize phase promises";
  let description = [{
    Every size is an expression of the entry's symbols, no view reads a view and
    no transpose a transpose, and no view, broadcast or cast does nothing.

    **Leaves** the function as it was, or an error at the op and a note that names
    the phase.
  }];
}

def VerifyFuse : Pass<"verify-fuse", "::mlir::func::FuncOp"> {
  let summary = "Check what the fuse phase promises";
  let description = [{
    Only ops that have a kernel or are an alias are left: `weight`, `view`, `slice`,
    `transpose`, `broadcast`, `concat`, `linear`, `matmul`, `attention`, `norm`,
    `softmax`, `embedding`, `gather`, `gather_nd`, `cumsum`, `dim_values`, `fused`, and
    `arith.constant`.

    **Leaves** the function as it was, or an error at the op and a note that names
    the phase.
  }];
}

#endif // FERRITE_PASSES_VERIFY_PASSES_TD
