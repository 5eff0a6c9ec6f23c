// RUN: ferrite-opt %s --ferrite-fuse-gelu --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-gelu --remark-format=emitRemark | FileCheck %s

// Another slope is another function.
// CHECK-LABEL: func.func @other_slope
//   CHECK-NOT:   ferrite.gelu
//       CHECK:   return
func.func @other_slope(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %slope = arith.constant dense<0.9> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %d = ferrite.mul %x, %slope : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  // expected-remark @below {{Reason="its argument is 0.9 x, that of a gelu is 0.707107 x"}}
  %e = ferrite.erf %d : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = ferrite.add %e, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %h = ferrite.mul %x, %half : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %y = ferrite.mul %h, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Without the half the result is twice a gelu.
// CHECK-LABEL: func.func @no_half
//   CHECK-NOT:   ferrite.gelu
//       CHECK:   return
func.func @no_half(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %root = arith.constant dense<1.41421354> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %d = ferrite.div %x, %root : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  // expected-remark @below {{Reason="what follows is not x/2 + x/2 times it"}}
  %e = ferrite.erf %d : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = ferrite.add %e, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %y = ferrite.mul %x, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// The cube has another factor, and no 1 is added.
// CHECK-LABEL: func.func @other_cube
//   CHECK-NOT:   ferrite.gelu
//       CHECK:   return
func.func @other_cube(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %three = arith.constant dense<3.0> : tensor<f32>
  %cubes = arith.constant dense<0.05> : tensor<f32>
  %root = arith.constant dense<0.8> : tensor<f32>
  %p = ferrite.pow %x, %three : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %c = ferrite.mul %p, %cubes : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %s = ferrite.add %x, %c : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = ferrite.mul %s, %root : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  // expected-remark @below {{Reason="its argument is 0.8 x + 0.04 x^3, that of a gelu is 0.797885 x + 0.0356774 x^3"}}
  %y = ferrite.tanh %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// A tanh on its own is an activation: a remark would be noise.
// CHECK-LABEL: func.func @plain_tanh
//       CHECK:   ferrite.tanh
func.func @plain_tanh(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = ferrite.tanh %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
