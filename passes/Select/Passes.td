//===- Passes.td - Select: from ferrite to plan ------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_SELECT_PASSES_TD
#define FERRITE_SELECT_PASSES_TD

include "mlir/Pass/PassBase.td"

def SelectKernels : Pass<"ferrite-select-kernels", "::mlir::ModuleOp"> {
  let summary = "Choose a kernel for each op and write the plan";
  let description = [{
    Each computing op of an entry becomes a launch of a kernel on memory; views,
    slices, transposes and broadcasts become strides. An operand that its kernel
    cannot read with those strides is copied first, with a remark.

    **Needs** fuse: only ops that have kernels are left.
    **Leaves** plan.weight, plan.kernel and plan.entry alone; buffers unplaced.

    ```mlir
    func.func @main(%x: tensor<?x64xf32> {ferrite.name = "x", ferrite.dims = ["n", "64"]})
        -> (tensor<?x64xf32> {ferrite.name = "y"}) {
      %y = ferrite.softmax %x : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    // becomes
    plan.kernel @softmax_64 layouts = [..] { .. }
    plan.entry @main symbols = [] {
      %0 = plan.input "x" dims = ["n", "64"] : tensor<?x64xf32>
      %1 = plan.output "y" dims = ["n", "64"] : tensor<?x64xf32>
      plan.launch @softmax_64(%0, %1) offsets = ["0", "0"] values = ["n", "n"]
    }
    ```
  }];
  let dependentDialects = ["::ferrite::plan::PlanDialect"];
  let options = [
    Option<"forCpu", "for-cpu", "bool", "true",
           "weights of bf16 lie in pairs, as dot instructions of CPUs read "
           "them; GPUs alone read them by rows">
  ];
}

#endif // FERRITE_SELECT_PASSES_TD
