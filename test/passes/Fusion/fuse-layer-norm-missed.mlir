// RUN: ferrite-opt %s --ferrite-fuse-layer-norm --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-layer-norm --remark-format=emitRemark | FileCheck %s

// A mean over the tokens too is another function: a norm would be wrong.
// CHECK-LABEL: func.func @mean_over_two_axes
//   CHECK-NOT:   ferrite.norm
//       CHECK:   return
func.func @mean_over_two_axes(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = arith.constant dense<1.0e-05> : tensor<f32>
  %p = ferrite.mul %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %m = ferrite.reduce mean %p axes = [0, 1] keep_dims : tensor<4x8xf32> -> tensor<1x1xf32>
  %a = ferrite.add %m, %eps : (tensor<1x1xf32>, tensor<f32>) -> tensor<1x1xf32>
  // expected-remark @below {{Reason="the mean is not over the innermost dim alone"}}
  %s = ferrite.sqrt %a : (tensor<1x1xf32>) -> tensor<1x1xf32>
  %y = ferrite.div %x, %s : (tensor<4x8xf32>, tensor<1x1xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// Centered for the variance, not for the quotient.
// CHECK-LABEL: func.func @divides_another_value
//   CHECK-NOT:   ferrite.norm
//       CHECK:   return
func.func @divides_another_value(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = arith.constant dense<1.0e-05> : tensor<f32>
  %u = ferrite.reduce mean %x axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32>
  %c = ferrite.sub %x, %u : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  %p = ferrite.mul %c, %c : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %m = ferrite.reduce mean %p axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32>
  %a = ferrite.add %m, %eps : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  // expected-remark @below {{Reason="what is divided is not what was squared (an input of the model)"}}
  %s = ferrite.sqrt %a : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %y = ferrite.div %x, %s : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// The length of a row is no mean: CLIP's features are not normalized.
// CHECK-LABEL: func.func @sum_of_squares
//   CHECK-NOT:   ferrite.norm
//       CHECK:   return
func.func @sum_of_squares(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %p = ferrite.mul %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %m = ferrite.reduce sum %p axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32> loc("/ReduceSum")
  // expected-remark @below {{Reason="the squares are summed, not averaged (node '/ReduceSum')"}}
  %s = ferrite.sqrt %m : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %y = ferrite.div %x, %s : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// Rows of zeros would divide by zero, where a norm with an epsilon does not.
// CHECK-LABEL: func.func @no_epsilon
//   CHECK-NOT:   ferrite.norm
//       CHECK:   return
func.func @no_epsilon(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %p = ferrite.mul %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %m = ferrite.reduce mean %p axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32> loc("/ReduceMean")
  // expected-remark @below {{Reason="no epsilon is added under the square root (node '/ReduceMean')"}}
  %s = ferrite.sqrt %m : (tensor<4x1xf32>) -> tensor<4x1xf32>
  %y = ferrite.div %x, %s : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// CHECK-LABEL: func.func @root_as_a_power
//   CHECK-NOT:   ferrite.norm
//       CHECK:   return
func.func @root_as_a_power(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %eps = arith.constant dense<1.0e-05> : tensor<f32>
  %half = arith.constant dense<-0.5> : tensor<f32>
  %p = ferrite.mul %x, %x : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %m = ferrite.reduce mean %p axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32>
  %a = ferrite.add %m, %eps : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  // expected-remark @below {{Reason="its square root is written as a power"}}
  %s = ferrite.pow %a, %half : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  %y = ferrite.mul %x, %s : (tensor<4x8xf32>, tensor<4x1xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
