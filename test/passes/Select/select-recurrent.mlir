// RUN: ferrite-opt %s --ferrite-select-kernels | FileCheck %s

// Heads are read where the projections wrote them; one beta serves all heads.
//       CHECK: plan.kernel @[[KERNEL:linear_attention]] layouts
//       CHECK:   ferrite.linear_attention %{{.+}}, %{{.+}}, %{{.+}} beta(%{{.+}} : tensor<?x?x2xf32>) scale = 2.500000e-01
//       CHECK: plan.entry @delta
//   CHECK-NOT:   plan.launch @{{copy|fused}}
//       CHECK:   plan.launch @[[KERNEL]](
func.func @delta(%q: tensor<?x?x64xf32> {ferrite.name = "q", ferrite.dims = ["b", "s", "64"]},
                 %k: tensor<?x?x32xf32> {ferrite.name = "k", ferrite.dims = ["b", "s", "32"]},
                 %v: tensor<?x?x16xf32> {ferrite.name = "v", ferrite.dims = ["b", "s", "16"]},
                 %b: tensor<?x?x1xf32> {ferrite.name = "beta", ferrite.dims = ["b", "s", "1"]})
    -> (tensor<?x2x?x8xf32> {ferrite.name = "y"}) {
  %q4 = ferrite.view %q dims = ["b", "s", "4", "16"] : tensor<?x?x64xf32> -> tensor<?x?x4x16xf32>
  %k4 = ferrite.view %k dims = ["b", "s", "2", "16"] : tensor<?x?x32xf32> -> tensor<?x?x2x16xf32>
  %v4 = ferrite.view %v dims = ["b", "s", "2", "8"] : tensor<?x?x16xf32> -> tensor<?x?x2x8xf32>
  %y = ferrite.linear_attention %q4, %k4, %v4 beta(%b : tensor<?x?x1xf32>) scale = 0.25 : (tensor<?x?x4x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}
