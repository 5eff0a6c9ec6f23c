// RUN: ferrite-opt %s --ferrite-fuse-elementwise | FileCheck %s

// CHECK-DAG: #[[$ROW:.+]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
// CHECK-DAG: #[[$COLUMN:.+]] = affine_map<(d0, d1, d2, d3) -> (d3, d2)>
// CHECK-DAG: #[[$POINT:.+]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>

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

// The functions of f64 are fused as those of f32 are, in f64.
// CHECK-LABEL: func.func @double_functions
//       CHECK: ferrite.fused
//       CHECK:   math.exp {{.*}} : f64
//       CHECK:   math.atan {{.*}} : f64
//       CHECK: return
func.func @double_functions(%x: tensor<8xf64>) -> tensor<8xf64> {
  %a = ferrite.exp %x : (tensor<8xf64>) -> tensor<8xf64>
  %b = ferrite.atan %a : (tensor<8xf64>) -> tensor<8xf64>
  return %b : tensor<8xf64>
}

// A product of f64 or of wide integers sums what a fused body multiplies: the
// operands are read by row and by column, and repeated over leading dims.
// CHECK-LABEL: func.func @integer_product
//       CHECK: ferrite.fused
//  CHECK-SAME: domain = ["2", "4", "3", "8"] maps = [#[[$ROW]], #[[$COLUMN]], #[[$POINT]]] combine sum
//       CHECK:   arith.muli {{.*}} : i64
func.func @integer_product(%x: tensor<2x4x8xi64>, %y: tensor<8x3xi64>) -> tensor<2x4x3xi64> {
  %p = ferrite.matmul %x, %y : (tensor<2x4x8xi64>, tensor<8x3xi64>) -> tensor<2x4x3xi64>
  return %p : tensor<2x4x3xi64>
}

// Norms and softmax of f64 have no kernels; nothing of them may be left.
// CHECK-LABEL: func.func @double_rows
//   CHECK-NOT: ferrite.softmax
//   CHECK-NOT: ferrite.norm
//       CHECK: math.sqrt {{.*}} : f64
//       CHECK: math.exp {{.*}} : f64
//       CHECK: return
func.func @double_rows(%x: tensor<4x8xf64>, %w: tensor<8xf64>) -> tensor<4x8xf64> {
  %n = ferrite.norm layer %x, %w epsilon = 1.0e-05 : tensor<4x8xf64>, tensor<8xf64>
  %s = ferrite.softmax %n : tensor<4x8xf64>
  return %s : tensor<4x8xf64>
}
