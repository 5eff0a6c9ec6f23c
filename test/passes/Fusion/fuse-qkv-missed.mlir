// RUN: ferrite-opt %s --ferrite-fuse-qkv --verify-diagnostics --remarks-filter=ferrite-fuse-qkv --remark-format=emitRemark | FileCheck %s

// A gate: one of the two is activated. One epilogue cannot do both.
// CHECK-LABEL: func.func @epilogues_differ
// CHECK-COUNT-2: ferrite.linear
func.func @epilogues_differ(%x: tensor<?x2xf32>, %r: tensor<?x2xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %w = arith.constant dense<1.0> : tensor<2x2xf32>
  // expected-remark @below {{Reason="the epilogues differ"}}
  %q = ferrite.linear %x, %w : (tensor<?x2xf32>, tensor<2x2xf32>) -> tensor<?x2xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %k = ferrite.linear %x, %w : (tensor<?x2xf32>, tensor<2x2xf32>) -> tensor<?x2xf32> {
  ^bb0(%acc: f32):
    %t = math.tanh %acc : f32
    ferrite.yield %t : f32
  }
  return %q, %k : tensor<?x2xf32>, tensor<?x2xf32>
}

// A residual has no columns to put beside another's.
// CHECK-LABEL: func.func @side_is_a_residual
// CHECK-COUNT-2: ferrite.linear
func.func @side_is_a_residual(%x: tensor<3x2xf32>, %r: tensor<3x2xf32>) -> (tensor<3x2xf32>, tensor<3x2xf32>) {
  %w = arith.constant dense<1.0> : tensor<2x2xf32>
  // expected-remark @below {{Reason="a side is no bias"}}
  %q = ferrite.linear %x, %w sides(%r : tensor<3x2xf32>) : (tensor<3x2xf32>, tensor<2x2xf32>) -> tensor<3x2xf32> {
  ^bb0(%acc: f32, %b: f32):
    %s = arith.addf %acc, %b : f32
    ferrite.yield %s : f32
  }
  %k = ferrite.linear %x, %w sides(%r : tensor<3x2xf32>) : (tensor<3x2xf32>, tensor<2x2xf32>) -> tensor<3x2xf32> {
  ^bb0(%acc: f32, %b: f32):
    %s = arith.addf %acc, %b : f32
    ferrite.yield %s : f32
  }
  return %q, %k : tensor<3x2xf32>, tensor<3x2xf32>
}
