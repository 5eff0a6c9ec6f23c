// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// Slots are sorted once for both products of a mixture; the first reads a row
// for both its slots (share 2), the second a row each. Weights of all experts
// are one recipe of panels: 4 * 32 * 48 and 4 * 48 * 32 floats.
//       CHECK: plan.weight @{{.+}} panels "up" {{.*}} bytes = 24576 : tensor<4x32x48xf32>
//       CHECK: plan.kernel @[[ROUTE:route_4]] layouts
//       CHECK:   ferrite.route %{{.+}} groups = 4 chunk = 48
//       CHECK: plan.kernel @[[FIRST:experts_4x32x48]] claimed
//       CHECK:   ferrite.grouped_linear %{{.+}}, %{{.+}}, %{{.+}} share = 2 chunk = 48
//       CHECK: plan.weight @{{.+}} panels "down" {{.*}} bytes = 24576 : tensor<4x48x32xf32>
//       CHECK: plan.kernel @[[SECOND:experts_4x48x32]] claimed
//       CHECK:   ferrite.grouped_linear %{{.+}}, %{{.+}}, %{{.+}} share = 1 chunk = 48
//       CHECK: plan.entry @two_products
//       CHECK:   %[[SLOTS:.+]] = plan.buffer "tokens*64"
//  CHECK-NEXT:   plan.launch @[[ROUTE]](%{{.+}}, %[[SLOTS]])
//   CHECK-NOT:   plan.launch @[[ROUTE]]
//       CHECK:   plan.launch @[[FIRST]](%{{.+}}, %{{.+}}, %[[SLOTS]], %{{.+}})
//       CHECK:   plan.launch @[[SECOND]](%{{.+}}, %{{.+}}, %[[SLOTS]], %{{.+}})
func.func @two_products(%x: tensor<?x1x32xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "1", "32"]},
                        %e: tensor<?x2xi64> {ferrite.name = "e", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x2x32xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %up = ferrite.weight "up" [#ferrite.source<"m.bin", offset = 0, shape = [4, 48, 32], type = f32, perm = [0, 2, 1]>] : tensor<4x32x48xf32>
  %down = ferrite.weight "down" [#ferrite.source<"m.bin", offset = 24576, shape = [4, 32, 48], type = f32, perm = [0, 2, 1]>] : tensor<4x48x32xf32>
  %u = ferrite.expert_linear %x, %up, %e : tensor<?x1x32xf32>, tensor<4x32x48xf32>, tensor<?x2xi64> -> tensor<?x2x48xf32>
  %d = ferrite.expert_linear %u, %down, %e : tensor<?x2x48xf32>, tensor<4x48x32xf32>, tensor<?x2xi64> -> tensor<?x2x32xf32>
  return %d : tensor<?x2x32xf32>
}

// -----

// What is quantized lies by columns in the model; the kernel reads rows of
// them, so bytes, scales and zero points are recipes of the transposed.
//       CHECK: plan.weight @{{.+}} panels "q" [{{.*}}perm = [0, 2, 1]>] {{.*}} : tensor<4x16x48xui8>
//       CHECK: plan.weight @{{.+}} panels "s" [{{.*}}perm = [0, 2, 1]>] {{.*}} : tensor<4x2x48xf32>
//       CHECK: plan.weight @{{.+}} panels "z" [{{.*}}perm = [0, 2, 1]>] {{.*}} : tensor<4x1x48xui8>
//       CHECK: ferrite.grouped_linear %{{.+}}, %{{.+}}, %{{.+}} scales(%{{.+}} : tensor<4x2x48xf32>) zero_points(%{{.+}} : tensor<4x1x48xui8>) share = 2 chunk = 48 bits = 4 block = 16
func.func @low_bits(%x: tensor<?x1x32xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "1", "32"]},
                    %e: tensor<?x2xi64> {ferrite.name = "e", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x2x48xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %q = ferrite.weight "q" [#ferrite.source<"m.bin", offset = 0, shape = [4, 48, 16], type = ui8>] : tensor<4x48x16xui8>
  %s = ferrite.weight "s" [#ferrite.source<"m.bin", offset = 3072, shape = [4, 48, 2], type = f32>] : tensor<4x48x2xf32>
  %z = ferrite.weight "z" [#ferrite.source<"m.bin", offset = 6144, shape = [4, 48, 1], type = ui8>] : tensor<4x48x1xui8>
  %y = ferrite.expert_linear %x, %q, %e scales(%s : tensor<4x48x2xf32>) zero_points(%z : tensor<4x48x1xui8>) bits = 4 block = 16 : tensor<?x1x32xf32>, tensor<4x48x16xui8>, tensor<?x2xi64> -> tensor<?x2x48xf32>
  return %y : tensor<?x2x48xf32>
}
