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
    `softmax`, `embedding`, `rope`, `gather`, `gather_nd`, `gather_elements`,
    `scatter_nd`, `scatter_elements`, `windows`, `pad`, `cumsum`, `cumprod`,
    `arg_reduce`, `topk`, `linear_attention`, `expert_linear`, `dim_values`, `fused`,
    and `arith.constant`.

    **Leaves** the function as it was, or an error at the op and a note that names
    the phase.
  }];
}

def VerifyQuantize : Pass<"verify-quantize", "::mlir::func::FuncOp"> {
  let summary = "Check what the quantize phase promises";
  let description = [{
    Every size is still an expression of the entry's symbols; every product that was
    given a format by `--ferrite-choose-formats` has been rewritten; and what a
    weight is dequantized from is stored.

    **Leaves** the function as it was, or an error at the op and a note that names
    the phase.
  }];
}

def VerifySelect : Pass<"verify-select", "::mlir::ModuleOp"> {
  let summary = "Check what the select phase promises";
  let description = [{
    No function is left. Every launch names a kernel that exists, gives memory for
    each of its layouts, and a value for each size and stride that they leave open,
    in symbols that inputs or the entry's limits name; every weight that is used
    exists.

    **Leaves** the module as it was, or an error at the op and a note that names
    the phase.
  }];
}

def VerifyPlan : Pass<"verify-plan", "::mlir::ModuleOp"> {
  let summary = "Check what the plan phase promises";
  let description = [{
    Every buffer lies in the arena, and none overlaps another that lives at the
    same launch: checked at several sizes of the symbols, since offsets are
    expressions. Weights do not overlap. All offsets are multiples of 64.

    **Leaves** the module as it was, or an error at the op and a note that names
    the phase.
  }];
}

#endif // FERRITE_PASSES_VERIFY_PASSES_TD
