// RUN: ferrite-opt %s --verify-roundtrip | FileCheck %s
// RUN: ferrite-opt %s --emit-bytecode | ferrite-opt | FileCheck %s

// The example of each op's documentation, letter for letter: a plan is dumped,
// looked at by `ferrite inspect`, and compiled from again.

// CHECK-LABEL: plan.weight @weight_0 panels "fc.weight" [#ferrite.source<"m.bin", offset = 0, shape = [64, 64], type = f32, perm = [1, 0]>] offset = 0 bytes = 16384 : tensor<64x64xf32>
plan.weight @weight_0 panels "fc.weight" [#ferrite.source<"m.bin", offset = 0, shape = [64, 64], type = f32, perm = [1, 0]>] offset = 0 bytes = 16384 : tensor<64x64xf32>

// A constant, and a concatenation along another axis than the first.
// CHECK-NEXT: plan.weight @weight_1 rows "constant" value = dense<1.000000e+00> : tensor<64xf32> offset = 16384 bytes = 256 : tensor<64xf32>
plan.weight @weight_1 rows "constant" value = dense<1.0> : tensor<64xf32> offset = 16384 bytes = 256 : tensor<64xf32>
// CHECK-NEXT: plan.weight @weight_2 panels "q+k" [{{.*}}] axis = 1 offset = 16640 bytes = 64 : tensor<4x4xf32>
plan.weight @weight_2 panels "q+k" [#ferrite.source<"m.bin", offset = 0, shape = [4, 2], type = f16>, #ferrite.source<"m.bin", offset = 16, shape = [4, 2], type = f16>] axis = 1 offset = 16640 bytes = 64 : tensor<4x4xf32>

// CHECK-LABEL: plan.kernel @softmax_0 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
// CHECK-NEXT:  ^bb0(%[[X:.+]]: tensor<?x64xf32>):
// CHECK-NEXT:    %[[Y:.+]] = ferrite.softmax %[[X]] : tensor<?x64xf32>
// CHECK-NEXT:    plan.return %[[Y]] : tensor<?x64xf32>
plan.kernel @softmax_0 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %y : tensor<?x64xf32>
}

// Units of uneven cost, a result that may be the operand's memory, a stride
// known only at run time, and a scalar without dims.
// CHECK-LABEL: plan.kernel @uneven claimed layouts = [#plan.layout<f16 [?, 64] strides [?, 1]>, #plan.layout<f16 [?, 64] strides [64, 1] alias>, #plan.layout<i1 [] strides []>] {
plan.kernel @uneven claimed layouts = [#plan.layout<f16 [?, 64] strides [?, 1]>, #plan.layout<f16 [?, 64] strides [64, 1] alias>, #plan.layout<i1 [] strides []>] {
^bb0(%x: tensor<?x64xf16>, %unused: tensor<i1>):
  %y = ferrite.softmax %x : tensor<?x64xf16>
  plan.return %y : tensor<?x64xf16>
}

// CHECK-LABEL: plan.entry @main symbols = [#ferrite.symbol<"batch", min = 1, max = 8>] {
// CHECK-NEXT:    %[[X:.+]] = plan.input "x" dims = ["batch", "64"] : tensor<?x64xf32>
// CHECK-NEXT:    %[[Y:.+]] = plan.output "y" dims = ["batch", "64"] : tensor<?x64xf32>
// CHECK-NEXT:    plan.launch @softmax_0(%[[X]], %[[Y]]) offsets = ["0", "0"] values = ["batch", "batch"]
plan.entry @main symbols = [#ferrite.symbol<"batch", min = 1, max = 8>] {
  %0 = plan.input "x" dims = ["batch", "64"] : tensor<?x64xf32>
  %1 = plan.output "y" dims = ["batch", "64"] : tensor<?x64xf32>
  plan.launch @softmax_0(%0, %1) offsets = ["0", "0"] values = ["batch", "batch"]
}

// Planned: an arena, buffers placed and not, a weight, ids that index a table.
// CHECK-LABEL: plan.entry @planned symbols = [] arena = "batch*256 + 64" {
// CHECK-NEXT:    %[[W:.+]] = plan.use @weight_1
// CHECK-NEXT:    %[[IDS:.+]] = plan.input "ids" dims = ["batch"] ids below 30522 : tensor<?xi64>
// CHECK-NEXT:    %[[A:.+]] = plan.buffer "batch*256" at "64"
// CHECK-NEXT:    %[[B:.+]] = plan.buffer "64"{{$}}
// CHECK-NEXT:    plan.launch @softmax_0(%[[A]], %[[B]]) offsets = ["batch*4 - 8", "0"] values = ["1", "1"]
plan.entry @planned symbols = [] arena = "batch*256 + 64" {
  %w = plan.use @weight_1
  %ids = plan.input "ids" dims = ["batch"] ids below 30522 : tensor<?xi64>
  %a = plan.buffer "batch*256" at "64"
  %b = plan.buffer "64"
  plan.launch @softmax_0(%a, %b) offsets = ["batch*4 - 8", "0"] values = ["1", "1"]
}

// CHECK-LABEL: plan.entry @step step symbols = [] {
// CHECK-NEXT:    plan.state "past_key_values.0.key" <keys, layer = 0, window = -1> : tensor<?x2x16x64xf32>
// CHECK-NEXT:    plan.state "past_key_values.1.value" <values, layer = 1, window = 6> : tensor<?x2x64x16xf16>
plan.entry @step step symbols = [] {
  %0 = plan.state "past_key_values.0.key" <keys, layer = 0, window = -1> : tensor<?x2x16x64xf32>
  %1 = plan.state "past_key_values.1.value" <values, layer = 1, window = 6> : tensor<?x2x64x16xf16>
}
