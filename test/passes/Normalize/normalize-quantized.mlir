// RUN: ferrite-opt %s --ferrite-normalize --split-input-file | FileCheck %s

// (q - z) * s with a scale for each block of 2: -8 and 7 are the ends of i4.
// CHECK-LABEL: func.func @constant
//       CHECK:   dense<{{\[}}[-4.000000e+00, 3.500000e+00, 0.000000e+00], [1.000000e+00, 2.000000e+00, -1.200000e+01]]> : tensor<2x3xf32>
//   CHECK-NOT:   ferrite.
func.func @constant() -> tensor<2x3xf32> {
  %q = arith.constant dense<[[-8, 7, 3], [1, 2, -1]]> : tensor<2x3xi4>
  %s = arith.constant dense<[[0.5, 2.0], [1.0, 4.0]]> : tensor<2x2xf32>
  %z = arith.constant dense<[[0, 3], [0, 2]]> : tensor<2x2xi4>
  %y = ferrite.dequantize %q, %s zero(%z : tensor<2x2xi4>) axis = 1 block = 2 : (tensor<2x3xi4>, tensor<2x2xf32>) -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}

// -----

// The recipe has scale and zero point, and the transpose goes into it: the axis
// is one of the bytes' own dims.
// CHECK-LABEL: func.func @weight
//  CHECK-NEXT:   %[[W:.+]] = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 512], type = ui8, perm = [1, 0] dequant <scale = dense<5.000000e-01> : tensor<64xf32> zero = dense<128> : tensor<64xui8>, axis = 0, block = 0>>] : tensor<512x64xf32>
//  CHECK-NEXT:   return %[[W]]
func.func @weight() -> tensor<512x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 512], type = ui8>] : tensor<64x512xui8>
  %s = arith.constant dense<0.5> : tensor<64xf32>
  %z = arith.constant dense<128> : tensor<64xui8>
  %y = ferrite.dequantize %w, %s zero(%z : tensor<64xui8>) axis = 0 : (tensor<64x512xui8>, tensor<64xf32>) -> tensor<64x512xf32>
  %t = ferrite.transpose %y perm = [1, 0] : tensor<64x512xf32> -> tensor<512x64xf32>
  return %t : tensor<512x64xf32>
}

// -----

// A transposed weight: axis 1 of the result is dim 0 of the bytes. Scales may be
// a weight too.
// CHECK-LABEL: func.func @transposed
//       CHECK:   perm = [1, 0] dequant <scale = #ferrite.source<"m.bin", offset = 65536, shape = [64], type = f16>, axis = 0, block = 0>
func.func @transposed() -> tensor<512x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 512], type = i8, perm = [1, 0]>] : tensor<512x64xi8>
  %s = ferrite.weight "s" [#ferrite.source<"m.bin", offset = 65536, shape = [64], type = f16>] : tensor<64xf16>
  %y = ferrite.dequantize %w, %s axis = 1 : (tensor<512x64xi8>, tensor<64xf16>) -> tensor<512x64xf32>
  return %y : tensor<512x64xf32>
}

// -----

// Blocks as rows, then as a matrix, then transposed, as exporters have it: the
// scales of 32 elements in a row stay theirs.
// CHECK-LABEL: func.func @rows_of_blocks
//  CHECK-NEXT:   ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 128], type = i4, perm = [1, 0] dequant <scale = dense<5.000000e-01> : tensor<64x4xf32>, axis = 1, block = 32>>] : tensor<128x64xf32>
//  CHECK-NEXT:   ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 128], type = i4 dequant <scale = dense<5.000000e-01> : tensor<64x4xf32>, axis = 1, block = 32>>] : tensor<64x128xf32>
//  CHECK-NEXT:   return
func.func @rows_of_blocks() -> (tensor<128x64xf32>, tensor<64x128xf32>) {
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [256, 32], type = i4>] : tensor<256x32xi4>
  %s = arith.constant dense<0.5> : tensor<256xf32>
  %y = ferrite.dequantize %w, %s axis = 0 : (tensor<256x32xi4>, tensor<256xf32>) -> tensor<256x32xf32>
  %m = ferrite.view %y dims = ["64", "128"] : tensor<256x32xf32> -> tensor<64x128xf32>
  %t = ferrite.transpose %m perm = [1, 0] : tensor<64x128xf32> -> tensor<128x64xf32>
  %v = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 4, 32], type = i4>] : tensor<64x4x32xi4>
  %b = arith.constant dense<0.5> : tensor<64x4x1xf32>
  %z = ferrite.dequantize %v, %b axis = 2 block = 32 : (tensor<64x4x32xi4>, tensor<64x4x1xf32>) -> tensor<64x4x32xf32>
  %n = ferrite.view %z dims = ["64", "128"] : tensor<64x4x32xf32> -> tensor<64x128xf32>
  return %t, %n : tensor<128x64xf32>, tensor<64x128xf32>
}

// -----

// A computed scale stays an op, and so does a view that would move the axis: of
// scales for columns, or of blocks that are cut.
// CHECK-LABEL: func.func @kept
//       CHECK:   ferrite.dequantize
//   CHECK-DAG:   %[[A:.+]] = ferrite.weight {{.*}}scale = dense<[1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00]>
//   CHECK-DAG:   %[[B:.+]] = ferrite.weight {{.*}}scale = dense<2.000000e+00> : tensor<4x2xf32>
//   CHECK-DAG:   ferrite.view %[[A]] dims = ["8", "256"]
//   CHECK-DAG:   ferrite.view %[[B]] dims = ["8", "256"]
func.func @kept(%s: tensor<f32>) -> (tensor<4x512xf32>, tensor<8x256xf32>, tensor<8x256xf32>) {
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [4, 512], type = i8>] : tensor<4x512xi8>
  %y = ferrite.dequantize %w, %s : (tensor<4x512xi8>, tensor<f32>) -> tensor<4x512xf32>
  %u = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [512, 4], type = i8>] : tensor<512x4xi8>
  %c = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %v = ferrite.dequantize %u, %c axis = 1 : (tensor<512x4xi8>, tensor<4xf32>) -> tensor<512x4xf32>
  %x = ferrite.view %v dims = ["8", "256"] : tensor<512x4xf32> -> tensor<8x256xf32>
  %d = arith.constant dense<2.0> : tensor<4x2xf32>
  %f = ferrite.dequantize %w, %d axis = 1 block = 384 : (tensor<4x512xi8>, tensor<4x2xf32>) -> tensor<4x512xf32>
  %g = ferrite.view %f dims = ["8", "256"] : tensor<4x512xf32> -> tensor<8x256xf32>
  return %y, %x, %g : tensor<4x512xf32>, tensor<8x256xf32>, tensor<8x256xf32>
}

// -----

// The half of a gelu stays before a product with a weight that is still to be
// dequantized and turned: behind it there would be no gelu.
// CHECK-LABEL: func.func @half_stays
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<4x64xf32>
//       CHECK:   %[[H:.+]] = ferrite.mul %[[X]]
//       CHECK:   %[[Y:.+]] = ferrite.matmul %[[H]]
//  CHECK-NEXT:   return %[[Y]]
func.func @half_stays(%x: tensor<4x64xf32>) -> tensor<4x512xf32> {
  %half = arith.constant dense<0.5> : tensor<f32>
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [512, 64], type = i4>] : tensor<512x64xi4>
  %s = ferrite.weight "s" [#ferrite.source<"m.bin", offset = 16384, shape = [512, 2], type = f32>] : tensor<512x2xf32>
  %h = ferrite.mul %x, %half : (tensor<4x64xf32>, tensor<f32>) -> tensor<4x64xf32>
  %d = ferrite.dequantize %w, %s axis = 1 block = 32 : (tensor<512x64xi4>, tensor<512x2xf32>) -> tensor<512x64xf32>
  %t = ferrite.transpose %d perm = [1, 0] : tensor<512x64xf32> -> tensor<64x512xf32>
  %y = ferrite.matmul %h, %t : (tensor<4x64xf32>, tensor<64x512xf32>) -> tensor<4x512xf32>
  return %y : tensor<4x512xf32>
}
