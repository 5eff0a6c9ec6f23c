//===- PlanEnums.td - Enums of the plan dialect ------------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Apart from PlanOps.td, which includes the ferrite dialect's enums: the enum
// generator has no filter by dialect and would define those again.
//
//===----------------------------------------------------------------------===//
#ifndef PLAN_ENUMS_TD
#define PLAN_ENUMS_TD

include "mlir/IR/EnumAttr.td"

def Plan_WeightFormat : I32Enum<"WeightFormat", "how a weight lies in the artifact", [
    I32EnumCase<"Rows", 0, "rows">, I32EnumCase<"Panels", 1, "panels">,
    I32EnumCase<"BytePanels", 2, "byte_panels">,
    I32EnumCase<"Pairs", 3, "pairs">,
    I32EnumCase<"Packed", 4, "packed">,
    I32EnumCase<"Sparse", 5, "sparse">]> {
  let cppNamespace = "::ferrite::plan";
}

#endif // PLAN_ENUMS_TD
