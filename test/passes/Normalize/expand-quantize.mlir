// RUN: ferrite-opt %s --ferrite-expand-quantize --split-input-file | FileCheck %s

// Rounded, then moved: the zero point is no part of what rounds to even. A cast to
// bytes goes to the nearest end of them, and of a NaN to 0.
// CHECK-LABEL: func.func @quantize
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<2x4xf32>, %[[S:[^:]+]]: tensor<f32>, %[[Z:[^:]+]]: tensor<i8>
//       CHECK:   %[[Q:.+]] = ferrite.div %[[X]], %[[S]]
//       CHECK:   %[[R:.+]] = ferrite.round %[[Q]]
//       CHECK:   %[[P:.+]] = ferrite.cast %[[Z]] : (tensor<i8>) -> tensor<f32>
//       CHECK:   %[[A:.+]] = ferrite.add %[[R]], %[[P]]
//       CHECK:   %[[Y:.+]] = ferrite.cast %[[A]] : (tensor<2x4xf32>) -> tensor<2x4xi8>
//       CHECK:   return %[[Y]]
func.func @quantize(%x: tensor<2x4xf32>, %s: tensor<f32>, %z: tensor<i8>) -> tensor<2x4xi8> {
  %y = ferrite.quantize %x, %s zero(%z : tensor<i8>) precision = f32 : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xi8>
  return %y : tensor<2x4xi8>
}

// -----

// f16 divides as f16 does, but adds no zero point to it: 2049 is none.
// CHECK-LABEL: func.func @precision
//       CHECK:   ferrite.div %{{.+}}, %{{.+}} : (tensor<4xf16>, tensor<f16>) -> tensor<4xf16>
//       CHECK:   ferrite.round %{{.+}} : (tensor<4xf16>) -> tensor<4xf16>
//       CHECK:   ferrite.cast %{{.+}} : (tensor<4xf16>) -> tensor<4xf32>
//       CHECK:   ferrite.add %{{.+}} -> tensor<4xf32>
func.func @precision(%x: tensor<4xf32>, %s: tensor<f32>, %z: tensor<ui16>) -> tensor<4xui16> {
  %y = ferrite.quantize %x, %s zero(%z : tensor<ui16>) precision = f16 : (tensor<4xf32>, tensor<f32>) -> tensor<4xui16>
  return %y : tensor<4xui16>
}

// -----

// Floats are not rounded to whole numbers, and say what does not fit.
// CHECK-LABEL: func.func @floats
//   CHECK-NOT:   ferrite.round
//       CHECK:   ferrite.cast %{{.+}} overflows : (tensor<4xf32>) -> tensor<4xf8E5M2>
func.func @floats(%x: tensor<4xf32>, %s: tensor<f32>) -> tensor<4xf8E5M2> {
  %y = ferrite.quantize %x, %s overflows precision = f32 : (tensor<4xf32>, tensor<f32>) -> tensor<4xf8E5M2>
  return %y : tensor<4xf8E5M2>
}

// -----

// A zero point of 0 costs nothing; the scale stands at its axis.
// CHECK-LABEL: func.func @axis
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<2x3x4xui8>, %[[S:[^:]+]]: tensor<3xf32>
//   CHECK-NOT:   ferrite.sub
//   CHECK-DAG:   %[[F:.+]] = ferrite.cast %[[Q]]
//   CHECK-DAG:   %[[V:.+]] = ferrite.view %[[S]] dims = ["3", "1"]
//       CHECK:   ferrite.mul %[[F]], %[[V]]
func.func @axis(%q: tensor<2x3x4xui8>, %s: tensor<3xf32>) -> tensor<2x3x4xf32> {
  %z = arith.constant dense<0> : tensor<3xui8>
  %y = ferrite.dequantize %q, %s zero(%z : tensor<3xui8>) axis = 1 : (tensor<2x3x4xui8>, tensor<3xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// -----

// The last block is not whole: what it has too much is cut.
// CHECK-LABEL: func.func @blocks
//       CHECK:   ferrite.view %{{.+}} dims = ["2", "3", "1"]
//       CHECK:   ferrite.broadcast %{{.+}} dims = ["2", "3", "4"]
//       CHECK:   ferrite.view %{{.+}} dims = ["2", "12"]
//       CHECK:   ferrite.slice %{{.+}} -> tensor<2x10xf32>
//       CHECK:   ferrite.mul
func.func @blocks(%q: tensor<2x10xi4>, %s: tensor<2x3xf32>) -> tensor<2x10xf32> {
  %y = ferrite.dequantize %q, %s axis = 1 block = 4 : (tensor<2x10xi4>, tensor<2x3xf32>) -> tensor<2x10xf32>
  return %y : tensor<2x10xf32>
}

// -----

// The difference of two i32 needs 33 bits.
// CHECK-LABEL: func.func @wide
//       CHECK:   ferrite.sub %{{.+}} -> tensor<4xi64>
//       CHECK:   ferrite.cast %{{.+}} : (tensor<4xi64>) -> tensor<4xf32>
func.func @wide(%q: tensor<4xi32>, %s: tensor<f32>, %z: tensor<i32>) -> tensor<4xf32> {
  %y = ferrite.dequantize %q, %s zero(%z : tensor<i32>) : (tensor<4xi32>, tensor<f32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}
