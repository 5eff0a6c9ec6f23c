//===- Passes.td - Planning: memory and order --------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PLANNING_PASSES_TD
#define FERRITE_PLANNING_PASSES_TD

include "mlir/Pass/PassBase.td"

def PlanMemory : Pass<"ferrite-plan-memory", "::mlir::ModuleOp"> {
  let summary = "Place buffers in the arena and weights in their section";
  let description = [{
    Buffers of one size expression up to a factor (all activations of an encoder
    are multiples of `batch*sequence`) share a region of the arena, in which they
    are placed greedily by size at offsets that are constant multiples of that
    expression: right for every shape, with no arithmetic left but a product.
    Regions follow each other. Lifetimes run from the first launch that names a
    buffer to the last; offsets are multiples of 64 bytes, but for buffers of a
    few bytes for each of their class (TFLite's greedy by size, arXiv 2001.03288).

    Before, a launch that is the last to read a buffer writes its result there
    if its kernel reads each element before it writes it and both have one
    layout: the residual of a product's epilogue, elementwise kernels, norms,
    softmax, rotary embeddings. The kernel's layouts are then marked `alias`.

    **Needs** select. **Leaves** an offset on every buffer and weight, `arena` on
    entries, and the remark `memory` with naive (every value its own memory),
    planned and lower bound in bytes at a batch of 1 and 128 of any other symbol (within its limits).

    ```mlir
    %0 = plan.buffer "batch*64"
    // becomes
    %0 = plan.buffer "batch*64" at "0"
    ```
  }];
  let dependentDialects = ["::ferrite::plan::PlanDialect"];
}

#endif // FERRITE_PLANNING_PASSES_TD
