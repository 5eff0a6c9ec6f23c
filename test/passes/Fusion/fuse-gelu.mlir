// RUN: ferrite-opt %s --ferrite-fuse-gelu --mlir-print-debuginfo --mlir-print-local-scope | FileCheck %s

// Dynamo at opset 18 and TorchScript. An erf left would cost a polynomial of its
// own and five passes over memory; a name lost could not be shown by profiles.
// CHECK-LABEL: func.func @erf_divided
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf32>
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.gelu none %[[X]] : tensor<?x64xf32> loc(fused["/act/Div"{{.*}}"/act/Erf"{{.*}}"/act/Mul_1"
//  CHECK-NEXT:   return %[[Y]]
func.func @erf_divided(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %root = arith.constant dense<1.41421354> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %d = ferrite.div %x, %root : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32> loc("/act/Div")
  %e = ferrite.erf %d : (tensor<?x64xf32>) -> tensor<?x64xf32> loc("/act/Erf")
  %a = ferrite.add %e, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32> loc("/act/Add")
  %m = ferrite.mul %x, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32> loc("/act/Mul")
  %y = ferrite.mul %m, %half : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32> loc("/act/Mul_1")
  return %y : tensor<?x64xf32>
}

// The half may come first, the sum the other way round, the input as a sum that
// looks like part of the formula. Constants of f16 are off by 1 in 2000.
// CHECK-LABEL: func.func @erf_other_order
//       CHECK:   %[[X:.+]] = ferrite.add
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.gelu none %[[X]]
//  CHECK-NEXT:   return %[[Y]]
func.func @erf_other_order(%l: tensor<?x64xf16>, %b: tensor<64xf16>) -> tensor<?x64xf16> {
  %root = arith.constant dense<7.070310e-01> : tensor<f16>
  %one = arith.constant dense<1.0> : tensor<1xf16>
  %half = arith.constant dense<0.5> : tensor<f16>
  %x = ferrite.add %l, %b : (tensor<?x64xf16>, tensor<64xf16>) -> tensor<?x64xf16>
  %d = ferrite.mul %root, %x : (tensor<f16>, tensor<?x64xf16>) -> tensor<?x64xf16>
  %e = ferrite.erf %d : (tensor<?x64xf16>) -> tensor<?x64xf16>
  %a = ferrite.add %one, %e : (tensor<1xf16>, tensor<?x64xf16>) -> tensor<?x64xf16>
  %h = ferrite.mul %half, %x : (tensor<f16>, tensor<?x64xf16>) -> tensor<?x64xf16>
  %y = ferrite.mul %a, %h : (tensor<?x64xf16>, tensor<?x64xf16>) -> tensor<?x64xf16>
  return %y : tensor<?x64xf16>
}

// GPT-2's form, with a power of three.
// CHECK-LABEL: func.func @tanh_with_pow
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf32>
//  CHECK-NEXT:   ferrite.gelu tanh %[[X]]
//  CHECK-NEXT:   return
func.func @tanh_with_pow(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %three = arith.constant dense<3.0> : tensor<f32>
  %c = arith.constant dense<4.471500e-02> : tensor<f32>
  %k = arith.constant dense<0.797884583> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %p = ferrite.pow %x, %three : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %q = ferrite.mul %p, %c : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %s = ferrite.add %x, %q : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %u = ferrite.mul %s, %k : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %t = ferrite.tanh %u : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = ferrite.add %t, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %h = ferrite.mul %x, %half : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %y = ferrite.mul %h, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// BLOOM's form: x * 0.79788 * (1 + 0.044715 * x * x), no power at all.
// CHECK-LABEL: func.func @tanh_with_products
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf32>
//  CHECK-NEXT:   ferrite.gelu tanh %[[X]]
//  CHECK-NEXT:   return
func.func @tanh_with_products(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %c = arith.constant dense<4.471500e-02> : tensor<f32>
  %k = arith.constant dense<0.797884583> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<f32>
  %half = arith.constant dense<0.5> : tensor<f32>
  %cx = ferrite.mul %x, %c : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %cxx = ferrite.mul %cx, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %i = ferrite.add %cxx, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %kx = ferrite.mul %x, %k : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %u = ferrite.mul %kx, %i : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %t = ferrite.tanh %u : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = ferrite.add %t, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %h = ferrite.mul %x, %half : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf32>
  %y = ferrite.mul %h, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// bf16 keeps eight bits of a constant: 0.797884 is read as 0.796875.
// CHECK-LABEL: func.func @tanh_of_bf16
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xbf16>
//  CHECK-NEXT:   ferrite.gelu tanh %[[X]]
//  CHECK-NEXT:   return
func.func @tanh_of_bf16(%x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %three = arith.constant dense<3.0> : tensor<bf16>
  %c = arith.constant dense<4.467770e-02> : tensor<bf16>
  %k = arith.constant dense<7.968750e-01> : tensor<bf16>
  %one = arith.constant dense<1.0> : tensor<bf16>
  %half = arith.constant dense<0.5> : tensor<bf16>
  %p = ferrite.pow %x, %three : (tensor<?x64xbf16>, tensor<bf16>) -> tensor<?x64xbf16>
  %q = ferrite.mul %p, %c : (tensor<?x64xbf16>, tensor<bf16>) -> tensor<?x64xbf16>
  %s = ferrite.add %x, %q : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %u = ferrite.mul %s, %k : (tensor<?x64xbf16>, tensor<bf16>) -> tensor<?x64xbf16>
  %t = ferrite.tanh %u : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %a = ferrite.add %t, %one : (tensor<?x64xbf16>, tensor<bf16>) -> tensor<?x64xbf16>
  %h = ferrite.mul %x, %half : (tensor<?x64xbf16>, tensor<bf16>) -> tensor<?x64xbf16>
  %y = ferrite.mul %h, %a : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}
