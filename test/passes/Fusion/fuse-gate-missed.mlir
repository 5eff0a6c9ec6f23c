// RUN: ferrite-opt %s --ferrite-fuse-gate --verify-diagnostics --remarks-filter=ferrite-fuse-gate --remark-format=emitRemark | FileCheck %s

// CHECK-LABEL: func.func @read_whole
//       CHECK:   tensor<4x6xf32>) -> tensor<?x6xf32>
func.func @read_whole(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> (tensor<?x3xf32>, tensor<?x6xf32>) {
  %w = arith.constant dense<1.0> : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  // expected-remark @below {{Reason="the projection is read whole as well"}}
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p, %y : tensor<?x3xf32>, tensor<?x6xf32>
}

// CHECK-LABEL: func.func @overlapping
//       CHECK:   tensor<4x6xf32>) -> tensor<?x6xf32>
func.func @overlapping(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = arith.constant dense<1.0> : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "2"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  // expected-remark @below {{Reason="a slice is no half of the columns"}}
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @interleaved
//       CHECK:   tensor<4x6xf32>) -> tensor<?x6xf32>
func.func @interleaved(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = arith.constant dense<1.0> : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 2] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "1"] steps = [1, 2] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  // expected-remark @below {{Reason="a slice is no half of the columns"}}
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @scaled_weight
//       CHECK:   tensor<4x6xf32>) -> tensor<?x6xf32>
func.func @scaled_weight(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 6], type = i8 dequant <scale = dense<2.0> : tensor<f32>, axis = 0, block = 0>>] : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  // expected-remark @below {{Reason="columns of the weight or the bias cannot be read alone"}}
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// Halves that do not come together are nobody's gate.
// CHECK-LABEL: func.func @apart
//       CHECK:   tensor<4x6xf32>) -> tensor<?x6xf32>
func.func @apart(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> (tensor<?x3xf32>, tensor<?x3xf32>) {
  %w = arith.constant dense<1.0> : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  return %s, %u : tensor<?x3xf32>, tensor<?x3xf32>
}
