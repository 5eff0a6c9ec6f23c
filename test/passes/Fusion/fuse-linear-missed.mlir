// RUN: ferrite-opt %s --ferrite-fuse-linear --verify-diagnostics --remarks-filter=ferrite-fuse-linear --remark-format=emitRemark | FileCheck %s

// CHECK-LABEL: func.func @batch_of_weights
//       CHECK:   ferrite.matmul
func.func @batch_of_weights(%x: tensor<2x4x8xf32>) -> tensor<2x4x4xf32> {
  %w = arith.constant dense<1.0> : tensor<2x8x4xf32>
  // expected-remark @below {{Reason="the weight is a batch of matrices"}}
  %p = ferrite.matmul %x, %w : (tensor<2x4x8xf32>, tensor<2x8x4xf32>) -> tensor<2x4x4xf32>
  return %p : tensor<2x4x4xf32>
}

// CHECK-LABEL: func.func @weight_on_the_left
//       CHECK:   ferrite.matmul
func.func @weight_on_the_left(%x: tensor<8x4xf32>) -> tensor<4x4xf32> {
  %w = arith.constant dense<1.0> : tensor<4x8xf32>
  // expected-remark @below {{Reason="the weight is on the left side, the right one is computed (an input of the model)"}}
  %p = ferrite.matmul %w, %x : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  return %p : tensor<4x4xf32>
}

// CHECK-LABEL: func.func @double
//       CHECK:   ferrite.matmul
func.func @double(%x: tensor<2x8xf64>) -> tensor<2x4xf64> {
  %w = arith.constant dense<1.0> : tensor<8x4xf64>
  // expected-remark @below {{Reason="linears accumulate in f32, which this product does not"}}
  %p = ferrite.matmul %x, %w : (tensor<2x8xf64>, tensor<8x4xf64>) -> tensor<2x4xf64>
  return %p : tensor<2x4xf64>
}
