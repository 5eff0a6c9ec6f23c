// RUN: ferrite-opt %s --ferrite-fuse-epilogue --verify-diagnostics --remarks-filter=ferrite-fuse-epilogue --remark-format=emitRemark | FileCheck %s

// The product is a result of the entry itself.
// CHECK-LABEL: func.func @product_is_returned
//       CHECK:   ferrite.tanh
func.func @product_is_returned(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %p = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  // expected-remark @below {{Reason="the product is needed in memory"}}
  %y = ferrite.tanh %p : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %p, %y : tensor<?x4xf32>, tensor<?x4xf32>
}

// The epilogue has one result.
// CHECK-LABEL: func.func @two_results
//       CHECK:   ferrite.tanh
//       CHECK:   ferrite.relu
func.func @two_results(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %p = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  // expected-remark @below {{Reason="the uses of the product do not come together in one op"}}
  %y = ferrite.tanh %p : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // expected-remark @below {{Reason="the uses of the product do not come together in one op"}}
  %z = ferrite.relu %p : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// A sum of more dims would compute the product once for each of them.
// CHECK-LABEL: func.func @result_is_larger
//       CHECK:   ferrite.add
func.func @result_is_larger(%x: tensor<1x8xf32>, %w: tensor<8x4xf32>, %r: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %p = ferrite.linear %x, %w : (tensor<1x8xf32>, tensor<8x4xf32>) -> tensor<1x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  // expected-remark @below {{Reason="the result of the op has other dims than the product"}}
  %y = ferrite.add %p, %r : (tensor<1x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}

// The gate of a packed pair reads a part of the product.
// CHECK-LABEL: func.func @part_of_the_product
//       CHECK:   ferrite.sigmoid
func.func @part_of_the_product(%x: tensor<3x8xf32>, %w: tensor<8x4xf32>) -> tensor<3x2xf32> {
  %p = ferrite.linear %x, %w : (tensor<3x8xf32>, tensor<8x4xf32>) -> tensor<3x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %s = ferrite.slice %p offsets = ["0", "0"] steps = [1, 1] dims = ["3", "2"] : tensor<3x4xf32> -> tensor<3x2xf32> loc("/Split")
  // expected-remark @below {{Reason="it follows the slice (node '/Split'), not a linear"}}
  %y = ferrite.sigmoid %s : (tensor<3x2xf32>) -> tensor<3x2xf32>
  return %y : tensor<3x2xf32>
}
