// RUN: ferrite-opt %s --ferrite-fuse-linear --split-input-file | FileCheck %s

// MatMulInteger with both zero points: left apart, the centred input would be
// i32 in memory and the excess a matrix.
// CHECK-LABEL: func.func @zero_points_of_both
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x8xui8>
//  CHECK-SAME:   %[[ZX:[^:]+]]: tensor<ui8>
//   CHECK-DAG:   %[[W:.+]] = ferrite.weight "w"
//   CHECK-DAG:   %[[ZW:.+]] = arith.constant dense<[1, 2, 3, 4]> : tensor<4xi32>
//   CHECK-DAG:   %[[Z:.+]] = ferrite.cast %[[ZX]] : (tensor<ui8>) -> tensor<i32>
//       CHECK:   %[[Y:.+]] = ferrite.linear %[[X]], %[[W]] zero(%[[Z]] : tensor<i32>) weight_zero(%[[ZW]] : tensor<4xi32>) : (tensor<?x8xui8>, tensor<8x4xi8>) -> tensor<?x4xi32> {
//  CHECK-NEXT:   ^bb0(%[[ACC:.+]]: i32):
//  CHECK-NEXT:     ferrite.yield %[[ACC]] : i32
//       CHECK:   return %[[Y]]
func.func @zero_points_of_both(%x: tensor<?x8xui8> {ferrite.dims = ["rows", "8"]}, %zx: tensor<ui8>) -> tensor<?x4xi32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = i8>] : tensor<8x4xi8>
  %zw = arith.constant dense<[1, 2, 3, 4]> : tensor<4xi8>
  %x32 = ferrite.cast %x : (tensor<?x8xui8>) -> tensor<?x8xi32>
  %zx32 = ferrite.cast %zx : (tensor<ui8>) -> tensor<i32>
  %zw32 = ferrite.cast %zw : (tensor<4xi8>) -> tensor<4xi32>
  %left = ferrite.sub %x32, %zx32 : (tensor<?x8xi32>, tensor<i32>) -> tensor<?x8xi32>
  %p = ferrite.matmul %left, %w : (tensor<?x8xi32>, tensor<8x4xi8>) -> tensor<?x4xi32>
  %s = ferrite.reduce sum %left axes = [1] keep_dims : tensor<?x8xi32> -> tensor<?x1xi32>
  %e = ferrite.mul %s, %zw32 : (tensor<?x1xi32>, tensor<4xi32>) -> tensor<?x4xi32>
  %y = ferrite.sub %p, %e : (tensor<?x4xi32>, tensor<?x4xi32>) -> tensor<?x4xi32>
  return %y : tensor<?x4xi32>
}

// -----

// Signed activations are quantized as unsigned ones: the instruction has no
// other.
// CHECK-LABEL: func.func @signed_activations
//   CHECK-DAG:   %[[Q:.+]] = arith.constant dense<133> : tensor<ui8>
//   CHECK-DAG:   %[[Z:.+]] = arith.constant dense<133> : tensor<i32>
//       CHECK:   %[[U:.+]] = ferrite.quantize %{{.+}}, %{{.+}} zero(%[[Q]] : tensor<ui8>) precision = f32 : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xui8>
//       CHECK:   ferrite.linear %[[U]], %{{.+}} zero(%[[Z]] : tensor<i32>) : (tensor<?x8xui8>, tensor<8x4xi8>) -> tensor<?x4xi32>
func.func @signed_activations(%x: tensor<?x8xf32> {ferrite.dims = ["rows", "8"]}) -> tensor<?x4xi32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = i8>] : tensor<8x4xi8>
  %scale = arith.constant dense<0.5> : tensor<f32>
  %z = arith.constant dense<5> : tensor<i8>
  %q = ferrite.quantize %x, %scale zero(%z : tensor<i8>) precision = f32 : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xi8>
  %q32 = ferrite.cast %q : (tensor<?x8xi8>) -> tensor<?x8xi32>
  %z32 = arith.constant dense<5> : tensor<i32>
  %left = ferrite.sub %q32, %z32 : (tensor<?x8xi32>, tensor<i32>) -> tensor<?x8xi32>
  %p = ferrite.matmul %left, %w : (tensor<?x8xi32>, tensor<8x4xi8>) -> tensor<?x4xi32>
  return %p : tensor<?x4xi32>
}

// -----

// QDQ: the product of numbers that were bytes is one of bytes, and the weight
// stays at one byte an element. Both scales are known: one factor.
// CHECK-LABEL: func.func @dequantized
//   CHECK-DAG:   %[[W:.+]] = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 8], type = i8, perm = [1, 0]>] : tensor<8x4xi8>
//   CHECK-DAG:   %[[S:.+]] = arith.constant dense<[5.000000e-01, 1.000000e+00, 1.500000e+00, 2.000000e+00]> : tensor<4xf32>
//   CHECK-DAG:   %[[Z:.+]] = arith.constant dense<3> : tensor<i32>
//       CHECK:   %[[P:.+]] = ferrite.linear %{{.+}}, %[[W]] zero(%[[Z]] : tensor<i32>) : (tensor<?x8xui8>, tensor<8x4xi8>) -> tensor<?x4xi32>
//       CHECK:   %[[N:.+]] = ferrite.cast %[[P]] : (tensor<?x4xi32>) -> tensor<?x4xf32>
//       CHECK:   %[[Y:.+]] = ferrite.mul %[[N]], %[[S]]
//       CHECK:   return %[[Y]]
func.func @dequantized(%x: tensor<?x8xui8> {ferrite.dims = ["rows", "8"]}) -> tensor<?x4xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 8], type = i8, perm = [1, 0] dequant<scale = dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>, axis = 0, block = 0>>] : tensor<8x4xf32>
  %scale = arith.constant dense<0.5> : tensor<f32>
  %z = arith.constant dense<3> : tensor<ui8>
  %n = ferrite.dequantize %x, %scale zero(%z : tensor<ui8>) : (tensor<?x8xui8>, tensor<f32>) -> tensor<?x8xf32>
  %y = ferrite.matmul %n, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Scales along k are no factor of a sum.
// CHECK-LABEL: func.func @scales_of_rows
//       CHECK:   ferrite.linear %{{.+}} : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
func.func @scales_of_rows(%x: tensor<?x8xui8> {ferrite.dims = ["rows", "8"]}) -> tensor<?x4xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = i8 dequant<scale = dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<8xf32>, axis = 0, block = 0>>] : tensor<8x4xf32>
  %scale = arith.constant dense<0.5> : tensor<f32>
  %n = ferrite.dequantize %x, %scale : (tensor<?x8xui8>, tensor<f32>) -> tensor<?x8xf32>
  %y = ferrite.matmul %n, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Two activations: a linear whose right side has a matrix for each of the
// left's. Quantization goes before moves, and what is of one number with it.
// CHECK-LABEL: func.func @activations
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<2x8x64xf32>
//       CHECK:   %[[M:.+]] = ferrite.mul %[[X]], %{{.+}} : (tensor<2x8x64xf32>, tensor<f32>) -> tensor<2x8x64xf32>
//       CHECK:   %[[Q:.+]] = ferrite.quantize %[[M]], %{{.+}} zero(%{{.+}} : tensor<ui8>) precision = f32 : (tensor<2x8x64xf32>, tensor<f32>) -> tensor<2x8x64xui8>
//       CHECK:   %[[V:.+]] = ferrite.view %[[Q]]
//       CHECK:   %[[T:.+]] = ferrite.transpose %[[V]]
//       CHECK:   ferrite.linear %[[T]], %{{.+}} zero(%{{.+}} : tensor<i32>) weight_zero(%{{.+}} : tensor<i32>) : (tensor<2x4x8x16xui8>, tensor<2x4x16x8xui8>) -> tensor<2x4x8x8xi32>
func.func @activations(%x: tensor<2x8x64xf32>, %y: tensor<2x4x16x8xui8>) -> tensor<2x4x8x8xf32> {
  %half = arith.constant dense<0.5> : tensor<f32>
  %s = arith.constant dense<0.25> : tensor<f32>
  %z = arith.constant dense<100> : tensor<ui8>
  %v = ferrite.view %x dims = ["2", "8", "4", "16"] : tensor<2x8x64xf32> -> tensor<2x8x4x16xf32>
  %t = ferrite.transpose %v perm = [0, 2, 1, 3] : tensor<2x8x4x16xf32> -> tensor<2x4x8x16xf32>
  %m = ferrite.mul %t, %half : (tensor<2x4x8x16xf32>, tensor<f32>) -> tensor<2x4x8x16xf32>
  %q = ferrite.quantize %m, %s zero(%z : tensor<ui8>) precision = f32 : (tensor<2x4x8x16xf32>, tensor<f32>) -> tensor<2x4x8x16xui8>
  %a = ferrite.dequantize %q, %s zero(%z : tensor<ui8>) : (tensor<2x4x8x16xui8>, tensor<f32>) -> tensor<2x4x8x16xf32>
  %b = ferrite.dequantize %y, %s zero(%z : tensor<ui8>) : (tensor<2x4x16x8xui8>, tensor<f32>) -> tensor<2x4x16x8xf32>
  %p = ferrite.matmul %a, %b : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  return %p : tensor<2x4x8x8xf32>
}

// -----

// One matrix for all of the left's would be a matrix of its own.
// CHECK-LABEL: func.func @shared_right_side
//       CHECK:   ferrite.matmul
func.func @shared_right_side(%x: tensor<2x4x8x16xui8>, %y: tensor<1x1x16x8xui8>) -> tensor<2x4x8x8xf32> {
  %s = arith.constant dense<0.25> : tensor<f32>
  %a = ferrite.dequantize %x, %s : (tensor<2x4x8x16xui8>, tensor<f32>) -> tensor<2x4x8x16xf32>
  %b = ferrite.dequantize %y, %s : (tensor<1x1x16x8xui8>, tensor<f32>) -> tensor<1x1x16x8xf32>
  %p = ferrite.matmul %a, %b : (tensor<2x4x8x16xf32>, tensor<1x1x16x8xf32>) -> tensor<2x4x8x8xf32>
  return %p : tensor<2x4x8x8xf32>
}
