// RUN: ferrite-opt %s --ferrite-plan-memory --split-input-file | FileCheck %s

// The sum is written over the buffer that nobody reads again, %1, and not over %0.
// CHECK-LABEL: plan.kernel @add layouts = [#plan.layout<f32 [?, 16] strides [16, 1]>, #plan.layout<f32 [?, 16] strides [16, 1] alias>, #plan.layout<f32 [?, 16] strides [16, 1] alias>]
// CHECK-LABEL: plan.entry @main
// CHECK:         %[[A:.*]] = plan.buffer "n*64" at "0"
// CHECK-NEXT:    %[[B:.*]] = plan.buffer "n*64" at "n*64"
// CHECK-NEXT:    plan.launch @softmax(%{{.*}}, %[[A]])
// CHECK-NEXT:    plan.launch @softmax(%{{.*}}, %[[B]])
// CHECK-NEXT:    plan.launch @add(%[[A]], %[[B]], %[[B]])
// CHECK-NEXT:    plan.launch @add(%[[B]], %[[A]], %{{.*}})
plan.kernel @softmax layouts = [#plan.layout<f32 [?, 16] strides [16, 1]>, #plan.layout<f32 [?, 16] strides [16, 1]>] {
^bb0(%x: tensor<?x16xf32>):
  %y = ferrite.softmax %x : tensor<?x16xf32>
  plan.return %y : tensor<?x16xf32>
}
plan.kernel @add layouts = [#plan.layout<f32 [?, 16] strides [16, 1]>, #plan.layout<f32 [?, 16] strides [16, 1]>, #plan.layout<f32 [?, 16] strides [16, 1]>] {
^bb0(%x: tensor<?x16xf32>, %z: tensor<?x16xf32>):
  %y = ferrite.fused (%x, %z : tensor<?x16xf32>, tensor<?x16xf32>) domain = ["n", "16"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<?x16xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    ferrite.yield %s : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  plan.return %y : tensor<?x16xf32>
}
plan.entry @main symbols = [] {
  %x = plan.input "x" dims = ["n", "16"] : tensor<?x16xf32>
  %y = plan.output "y" dims = ["n", "16"] : tensor<?x16xf32>
  %0 = plan.buffer "n*64"
  %1 = plan.buffer "n*64"
  %2 = plan.buffer "n*64"
  plan.launch @softmax(%x, %0) offsets = ["0", "0"] values = ["n", "n"]
  plan.launch @softmax(%x, %1) offsets = ["0", "0"] values = ["n", "n"]
  plan.launch @add(%0, %1, %2) offsets = ["0", "0", "0"] values = ["n", "n", "n"]
  plan.launch @add(%2, %0, %y) offsets = ["0", "0", "0"] values = ["n", "n", "n"]
}

// -----

// Kept apart: an operand twice, other strides, an offset, a bias that is shorter, a sum
// over rows, and x of a product, which other units read.
// CHECK-LABEL: plan.entry @main
// CHECK:         plan.launch @add(%[[A:.*]], %[[A]], %[[B:[^,]*]])
// CHECK-NEXT:    plan.launch @turned(%[[B]], %[[C:[^,)]*]])
// CHECK-NOT:     plan.launch @turned(%[[B]], %[[B]])
// CHECK-NEXT:    plan.launch @total(%[[C]], %[[D:[^,)]*]])
// CHECK-NOT:     plan.launch @total(%[[C]], %[[C]])
// CHECK-NEXT:    plan.launch @linear(%[[D]], %{{.*}}, %[[E:[^,)]*]])
// CHECK-NOT:     plan.launch @linear(%[[D]], %{{.*}}, %[[D]])
#id = affine_map<(d0, d1) -> (d0, d1)>
plan.weight @w panels "w" value = dense<1.0> : tensor<16x16xf32> offset = 0 bytes = 4096 : tensor<16x16xf32>
plan.kernel @add layouts = [#plan.layout<f32 [16, 16] strides [16, 1]>, #plan.layout<f32 [16, 16] strides [16, 1]>, #plan.layout<f32 [16, 16] strides [16, 1]>] {
^bb0(%x: tensor<16x16xf32>, %z: tensor<16x16xf32>):
  %y = ferrite.fused (%x, %z : tensor<16x16xf32>, tensor<16x16xf32>) domain = ["16", "16"] maps = [#id, #id, #id] combine none -> tensor<16x16xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    ferrite.yield %s : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  plan.return %y : tensor<16x16xf32>
}
plan.kernel @turned layouts = [#plan.layout<f32 [16, 16] strides [1, 16]>, #plan.layout<f32 [16, 16] strides [16, 1]>] {
^bb0(%x: tensor<16x16xf32>):
  %y = ferrite.fused (%x : tensor<16x16xf32>) domain = ["16", "16"] maps = [#id, #id] combine none -> tensor<16x16xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  plan.return %y : tensor<16x16xf32>
}
plan.kernel @total layouts = [#plan.layout<f32 [16, 16, 1] strides [16, 1, 1]>, #plan.layout<f32 [16, 16, 1] strides [16, 1, 1]>] {
^bb0(%x: tensor<16x16x1xf32>):
  %y = ferrite.fused (%x : tensor<16x16x1xf32>) domain = ["16", "16", "1"] maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, 0, d2)>] combine sum -> tensor<16x1x1xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  plan.return %y : tensor<16x1x1xf32>
}
plan.kernel @linear layouts = [#plan.layout<f32 [16, 16] strides [16, 1]>, #plan.layout<f32 [16, 16] strides [16, 1]>, #plan.layout<f32 [16, 16] strides [16, 1]>] {
^bb0(%x: tensor<16x16xf32>, %w: tensor<16x16xf32>):
  %y = ferrite.linear %x, %w : (tensor<16x16xf32>, tensor<16x16xf32>) -> tensor<16x16xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  plan.return %y : tensor<16x16xf32>
}
plan.entry @main symbols = [] {
  %y = plan.output "y" dims = ["16", "16"] : tensor<16x16xf32>
  %w = plan.use @w
  %0 = plan.buffer "1024"
  %1 = plan.buffer "1024"
  %2 = plan.buffer "1024"
  %3 = plan.buffer "1024"
  %4 = plan.buffer "1024"
  plan.launch @add(%0, %0, %1) offsets = ["0", "0", "0"] values = []
  plan.launch @turned(%1, %2) offsets = ["0", "0"] values = []
  plan.launch @total(%2, %3) offsets = ["0", "0"] values = []
  plan.launch @linear(%3, %w, %4) offsets = ["0", "0", "0"] values = []
  plan.launch @add(%4, %4, %y) offsets = ["0", "0", "0"] values = []
}
