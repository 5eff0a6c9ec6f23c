// RUN: ferrite-opt %s --ferrite-normalize --split-input-file | FileCheck %s

// Each value is what the op's documentation says; a wrong fold would be a wrong
// model with no kernel to blame.
// CHECK-LABEL: func.func @floats
//   CHECK-DAG:   dense<[-1.500000e+00, 2.500000e+00]>
//   CHECK-DAG:   dense<[2.000000e+00, 3.000000e+00]>
//   CHECK-DAG:   dense<[-2.000000e+00, 2.000000e+00]>
//   CHECK-DAG:   dense<[-1, 2]> : tensor<2xi64>
//   CHECK-DAG:   dense<[true, false]>
//   CHECK-NOT:   ferrite.
//       CHECK:   return
func.func @floats() -> (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi1>) {
  %x = arith.constant dense<[-1.5, 2.5]> : tensor<2xf32>
  %n = arith.constant dense<0.0> : tensor<f32>
  %c = arith.constant dense<[4.0, 9.0]> : tensor<2xf32>
  %a = ferrite.add %x, %n : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %s = ferrite.sqrt %c : (tensor<2xf32>) -> tensor<2xf32>
  %r = ferrite.round %x : (tensor<2xf32>) -> tensor<2xf32>
  %i = ferrite.cast %x : (tensor<2xf32>) -> tensor<2xi64>
  %l = ferrite.compare lt %x, %n : (tensor<2xf32>, tensor<f32>) -> tensor<2xi1>
  return %a, %s, %r, %i, %l : tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xi64>, tensor<2xi1>
}

// -----

// Arithmetic in the element type: 2049 is no f16, 2^31 no i32, and 2^53 + 1 an
// i64 but no double.
// CHECK-LABEL: func.func @element_types
//   CHECK-DAG:   dense<2.048000e+03> : tensor<f16>
//   CHECK-DAG:   dense<-2147483648> : tensor<i32>
//   CHECK-DAG:   dense<9007199254740994> : tensor<i64>
//       CHECK:   return
func.func @element_types() -> (tensor<f16>, tensor<i32>, tensor<i64>) {
  %h = arith.constant dense<2048.0> : tensor<f16>
  %one = arith.constant dense<1.0> : tensor<f16>
  %m = arith.constant dense<2147483647> : tensor<i32>
  %i = arith.constant dense<1> : tensor<i32>
  %b = arith.constant dense<9007199254740993> : tensor<i64>
  %j = arith.constant dense<1> : tensor<i64>
  %x = ferrite.add %h, %one : (tensor<f16>, tensor<f16>) -> tensor<f16>
  %y = ferrite.add %m, %i : (tensor<i32>, tensor<i32>) -> tensor<i32>
  %z = ferrite.add %b, %j : (tensor<i64>, tensor<i64>) -> tensor<i64>
  return %x, %y, %z : tensor<f16>, tensor<i32>, tensor<i64>
}

// -----

// CHECK-LABEL: func.func @movement
//   CHECK-DAG:   dense<{{\[}}[1, 4], [2, 5], [3, 6]]>
//   CHECK-DAG:   dense<{{\[}}[3, 1], [6, 4]]>
//   CHECK-DAG:   dense<{{\[}}[1, 2, 3, 1, 2, 3], [4, 5, 6, 4, 5, 6]]>
//   CHECK-DAG:   dense<{{\[}}[4, 5, 6], [1, 2, 3]]>
//   CHECK-DAG:   dense<[5, 3, 1]> : tensor<3xi64>
//   CHECK-NOT:   ferrite.
//       CHECK:   return
func.func @movement() -> (tensor<3x2xi64>, tensor<2x2xi64>, tensor<2x6xi64>, tensor<2x3xi64>, tensor<3xi64>) {
  %x = arith.constant dense<[[1, 2, 3], [4, 5, 6]]> : tensor<2x3xi64>
  %rows = arith.constant dense<[-1, 0]> : tensor<2xi64>
  %t = ferrite.transpose %x perm = [1, 0] : tensor<2x3xi64> -> tensor<3x2xi64>
  %s = ferrite.slice %x offsets = ["0", "2"] steps = [1, -2] dims = ["2", "2"] : tensor<2x3xi64> -> tensor<2x2xi64>
  %c = ferrite.concat %x, %x axis = 1 : (tensor<2x3xi64>, tensor<2x3xi64>) -> tensor<2x6xi64>
  %g = ferrite.gather %x, %rows axis = 0 : (tensor<2x3xi64>, tensor<2xi64>) -> tensor<2x3xi64>
  %i = ferrite.iota start = 5 step = -2 dims = ["3"] : tensor<3xi64>
  return %t, %s, %c, %g, %i : tensor<3x2xi64>, tensor<2x2xi64>, tensor<2x6xi64>, tensor<2x3xi64>, tensor<3xi64>
}

// -----

// No pass holds a weight: a result above 128 KiB stays an op. An index outside
// has no value to fold to; a float outside of its integer type has its end.
// CHECK-LABEL: func.func @what_stays
//   CHECK-DAG:   ferrite.broadcast
//   CHECK-DAG:   arith.constant dense<2147483647> : tensor<1xi32>
//   CHECK-DAG:   ferrite.gather
func.func @what_stays() -> (tensor<182x182xf32>, tensor<1xf32>, tensor<1xi32>) {
  %x = arith.constant dense<1.0> : tensor<1x1xf32>
  %y = arith.constant dense<3.0e+10> : tensor<1xf32>
  %i = arith.constant dense<7> : tensor<1xi64>
  %b = ferrite.broadcast %x dims = ["182", "182"] : tensor<1x1xf32> -> tensor<182x182xf32>
  %g = ferrite.gather %y, %i axis = 0 : (tensor<1xf32>, tensor<1xi64>) -> tensor<1xf32>
  %c = ferrite.cast %y : (tensor<1xf32>) -> tensor<1xi32>
  return %b, %g, %c : tensor<182x182xf32>, tensor<1xf32>, tensor<1xi32>
}
