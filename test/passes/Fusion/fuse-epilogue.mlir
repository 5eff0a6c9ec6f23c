// RUN: ferrite-opt %s --ferrite-fuse-epilogue --mlir-print-debuginfo --mlir-print-local-scope --split-input-file | FileCheck %s

// Bias and gelu. An op left would read and write the whole result once more.
// CHECK-LABEL: func.func @bias_and_gelu
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x8xf32>{{.*}} %[[W:[^:]+]]: tensor<8x4xf32>{{.*}} %[[B:[^:]+]]: tensor<4xf32>
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.linear %[[X]], %[[W]] sides(%[[B]] : tensor<4xf32>)
//  CHECK-NEXT:   ^bb0(%[[ACC:.+]]: f32 {{.*}}, %[[SIDE:.+]]: f32
//       CHECK:     %[[S:.+]] = arith.addf %[[ACC]], %[[SIDE]]
//       CHECK:     math.erf
//       CHECK:     ferrite.yield %{{.+}} : f32
//  CHECK-NEXT:   } loc(fused["/fc/MatMul"{{.*}}"/fc/Add"{{.*}}"/act/Gelu"
//  CHECK-NEXT:   return %[[Y]]
func.func @bias_and_gelu(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32> {
  %p = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  } loc("/fc/MatMul")
  %a = ferrite.add %p, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32> loc("/fc/Add")
  %y = ferrite.gelu none %a : tensor<?x4xf32> loc("/act/Gelu")
  return %y : tensor<?x4xf32>
}

// -----

// The residual is computed after the product: the linear must move behind it.
// CHECK-LABEL: func.func @residual_that_comes_later
//       CHECK:   %[[R:.+]] = ferrite.norm
//       CHECK:   ferrite.linear %{{.+}}, %{{.+}} sides(%{{.+}}, %[[R]] : tensor<4xf32>, tensor<?x4xf32>)
//       CHECK:     arith.addf
//       CHECK:     arith.addf
//       CHECK:   return
func.func @residual_that_comes_later(%x: tensor<?x8xf32> {ferrite.dims = ["n", "8"]}, %r: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}, %w: tensor<8x4xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32> {
  %p = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %a = ferrite.add %p, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %n = ferrite.norm rms %r, %b epsilon = 0.0 : tensor<?x4xf32>, tensor<4xf32>
  %y = ferrite.add %a, %n : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// x * sigmoid(x) reads the product twice: both uses come together in the mul.
// CHECK-LABEL: func.func @silu
//       CHECK:   ferrite.linear
//       CHECK:     math.exp
//       CHECK:     arith.mulf
//   CHECK-NOT:   ferrite.sigmoid
//       CHECK:   return
func.func @silu(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) -> tensor<?x4xf32> {
  %p = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %s = ferrite.sigmoid %p : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = ferrite.mul %p, %s : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// In f16 the chain is rounded once, at its end; a constant is no side.
// CHECK-LABEL: func.func @one_rounding
//       CHECK:   ferrite.linear %{{.+}}, %{{.+}} sides(%{{.+}} : tensor<4xf16>)
//       CHECK:     %[[B:.+]] = arith.extf %{{.+}} : f16 to f32
//  CHECK-NEXT:     %[[A:.+]] = arith.addf %{{.+}}, %[[B]] {{.*}}: f32
//       CHECK:     %[[M:.+]] = arith.mulf %[[A]], %{{.+}} : f32
//  CHECK-NEXT:     %[[R:.+]] = arith.truncf %[[M]] : f32 to f16
//  CHECK-NEXT:     ferrite.yield %[[R]] : f16
func.func @one_rounding(%x: tensor<?x8xf16>, %w: tensor<8x4xf16>, %b: tensor<4xf16>) -> tensor<?x4xf16> {
  %two = arith.constant dense<2.0> : tensor<f16>
  %p = ferrite.linear %x, %w : (tensor<?x8xf16>, tensor<8x4xf16>) -> tensor<?x4xf16> {
  ^bb0(%acc: f32):
    %r = arith.truncf %acc : f32 to f16
    ferrite.yield %r : f16
  }
  %a = ferrite.add %p, %b : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  %y = ferrite.mul %a, %two : (tensor<?x4xf16>, tensor<f16>) -> tensor<?x4xf16>
  return %y : tensor<?x4xf16>
}
