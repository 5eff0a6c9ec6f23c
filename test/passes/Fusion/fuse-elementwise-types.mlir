// RUN: ferrite-opt %s --ferrite-fuse-elementwise | FileCheck %s

// Bodies have no signs and no tiny types: the ops bring the one, code the other.
// CHECK-LABEL: func.func @unsigned_ops
//       CHECK:   ^bb0(%{{.*}}: i8, %{{.*}}: i8):
//       CHECK:   arith.maxui
//       CHECK:   arith.divui
func.func @unsigned_ops(%x: tensor<8xui8>, %y: tensor<8xui8>) -> tensor<8xui8> {
  %a = ferrite.max %x, %y : (tensor<8xui8>, tensor<8xui8>) -> tensor<8xui8>
  %b = ferrite.div %a, %y : (tensor<8xui8>, tensor<8xui8>) -> tensor<8xui8>
  return %b : tensor<8xui8>
}

// CHECK-LABEL: func.func @to_eight_bits
//       CHECK:   ^bb0(%{{.*}}: f32):
//       CHECK:   ferrite.yield %{{.*}} : i8
func.func @to_eight_bits(%x: tensor<8xf32>) -> tensor<8xf8E5M2> {
  %a = ferrite.cast %x : (tensor<8xf32>) -> tensor<8xf8E5M2>
  return %a : tensor<8xf8E5M2>
}

// CHECK-LABEL: func.func @from_four_bits
//       CHECK:   arith.shli
//       CHECK:   arith.shrsi
//       CHECK:   arith.sitofp
func.func @from_four_bits(%x: tensor<8xi4>) -> tensor<8xf32> {
  %a = ferrite.cast %x : (tensor<8xi4>) -> tensor<8xf32>
  return %a : tensor<8xf32>
}
