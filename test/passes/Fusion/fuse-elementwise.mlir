// RUN: ferrite-opt %s --ferrite-fuse-elementwise --cse --mlir-print-local-scope --split-input-file | FileCheck %s

// The masked sum of a pooling: the cast and the product run inside the
// reduction; the clip of the count at its end. A tensor of the size of the input
// written between them would triple the time.
// CHECK-LABEL: func.func @masked_mean
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x8xf32>{{.*}} %[[M:[^:]+]]: tensor<?x?xi64>
//       CHECK:   %[[S:.+]] = ferrite.fused{{ ?}}(%[[X]], %[[M]] : {{.*}}) domain = ["b", "s", "8"] maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>, affine_map<(d0, d1, d2) -> (d0, d2)>] combine sum -> tensor<?x8xf32>
//       CHECK:     arith.sitofp
//       CHECK:     arith.mulf
//       CHECK:   %[[N:.+]] = ferrite.fused{{ ?}}(%[[M]] : tensor<?x?xi64>) {{.*}} combine sum -> tensor<?x1xf32>
//       CHECK:     arith.sitofp
//       CHECK:   finish
//       CHECK:     arith.maximumf
//       CHECK:   %[[Y:.+]] = ferrite.fused{{ ?}}(%[[S]], %[[N]]
//       CHECK:     arith.divf
//       CHECK:   return %[[Y]]
func.func @masked_mean(%x: tensor<?x?x8xf32> {ferrite.dims = ["b", "s", "8"]}, %m: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}) -> tensor<?x8xf32> {
  %least = arith.constant dense<1.0e-09> : tensor<f32>
  %v = ferrite.view %m dims = ["b", "s", "1"] : tensor<?x?xi64> -> tensor<?x?x1xi64>
  %e = ferrite.broadcast %v dims = ["b", "s", "8"] : tensor<?x?x1xi64> -> tensor<?x?x8xi64>
  %f = ferrite.cast %e : (tensor<?x?x8xi64>) -> tensor<?x?x8xf32>
  %p = ferrite.mul %x, %f : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %s = ferrite.reduce sum %p axes = [1] : tensor<?x?x8xf32> -> tensor<?x8xf32>
  %g = ferrite.cast %v : (tensor<?x?x1xi64>) -> tensor<?x?x1xf32>
  %n = ferrite.reduce sum %g axes = [1] : tensor<?x?x1xf32> -> tensor<?x1xf32>
  %c = ferrite.max %n, %least : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %y = ferrite.div %s, %c : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// A chain of f16 is one op with one rounding; its constants are in the body.
// CHECK-LABEL: func.func @chain_rounds_once
//       CHECK:   ferrite.fused{{ ?}}(%{{.+}}, %{{.+}} : tensor<4x8xf16>, tensor<8xf16>)
//   CHECK-NOT:   ferrite.fused
//       CHECK:     arith.addf %{{.+}}, %{{.+}} : f32
//   CHECK-NOT:     arith.truncf
//       CHECK:     math.exp %{{.+}} : f32
//       CHECK:     arith.truncf %{{.+}} : f32 to f16
//       CHECK:   return
func.func @chain_rounds_once(%x: tensor<4x8xf16>, %b: tensor<8xf16>) -> tensor<4x8xf16> {
  %two = arith.constant dense<2.0> : tensor<f16>
  %a = ferrite.add %x, %b : (tensor<4x8xf16>, tensor<8xf16>) -> tensor<4x8xf16>
  %c = ferrite.mul %a, %two : (tensor<4x8xf16>, tensor<f16>) -> tensor<4x8xf16>
  %y = ferrite.exp %c : (tensor<4x8xf16>) -> tensor<4x8xf16>
  return %y : tensor<4x8xf16>
}

// -----

// A sequence is cheap: each comparison computes its own, and a transpose and a
// broadcast of it are maps.
// CHECK-LABEL: func.func @causal_mask
//       CHECK:   %[[Y:.+]] = ferrite.fused domain = ["s", "s"] maps = [affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<?x?xi1>
//   CHECK-DAG:     ferrite.loop_index 0
//   CHECK-DAG:     ferrite.loop_index 1
//       CHECK:     arith.cmpi sle
//       CHECK:   return %[[Y]]
func.func @causal_mask(%x: tensor<?xf32> {ferrite.dims = ["s"]}) -> tensor<?x?xi1> {
  %i = ferrite.iota dims = ["s"] : tensor<?xi64>
  %k = ferrite.view %i dims = ["1", "s"] : tensor<?xi64> -> tensor<1x?xi64>
  %q = ferrite.transpose %k perm = [1, 0] : tensor<1x?xi64> -> tensor<?x1xi64>
  %y = ferrite.compare le %k, %q : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  return %y : tensor<?x?xi1>
}

// -----

// A mean of static count divides in finish, one of symbolic count after it.
// CHECK-LABEL: func.func @means
//       CHECK:   combine sum -> tensor<?xf32>
//       CHECK:   finish
//       CHECK:     %[[EIGHT:.+]] = arith.constant 8.0
//       CHECK:     arith.divf %{{.+}}, %[[EIGHT]]
//       CHECK:   %[[S:.+]] = ferrite.fused{{.*}} combine sum -> tensor<8xf32>
//       CHECK:   %[[N:.+]] = ferrite.dim_values ["n"] : tensor<i64>
//       CHECK:   ferrite.fused{{ ?}}(%[[S]], %[[N]] : tensor<8xf32>, tensor<i64>) domain = ["8"] maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> ()>, affine_map<(d0) -> (d0)>] combine none
func.func @means(%x: tensor<?x8xf32> {ferrite.dims = ["n", "8"]}) -> (tensor<?xf32>, tensor<8xf32>) {
  %a = ferrite.reduce mean %x axes = [1] : tensor<?x8xf32> -> tensor<?xf32>
  %b = ferrite.reduce mean %x axes = [0] : tensor<?x8xf32> -> tensor<8xf32>
  return %a, %b : tensor<?xf32>, tensor<8xf32>
}

// -----

// The norm of a row, as a reduction with a square root at its end.
// CHECK-LABEL: func.func @l2
//       CHECK:   maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>] combine sum -> tensor<4x1xf32>
//       CHECK:     arith.mulf %[[A:.+]], %[[A]]
//       CHECK:   finish
//       CHECK:     math.sqrt
//       CHECK:     arith.maximumf
func.func @l2(%x: tensor<4x8xf32>) -> tensor<4x1xf32> {
  %least = arith.constant dense<1.0e-12> : tensor<f32>
  %n = ferrite.reduce l2 %x axes = [1] keep_dims : tensor<4x8xf32> -> tensor<4x1xf32>
  %y = ferrite.max %n, %least : (tensor<4x1xf32>, tensor<f32>) -> tensor<4x1xf32>
  return %y : tensor<4x1xf32>
}

// -----

// The scalar forms that are not one op.
// CHECK-LABEL: func.func @scalar_forms
//       CHECK:   arith.cmpf une
//       CHECK:   arith.cmpf uno
//       CHECK:   arith.fptosi
//       CHECK:   math.roundeven
//       CHECK:   arith.divsi
//       CHECK:   return
func.func @scalar_forms(%x: tensor<4xf32>, %n: tensor<4xi64>) -> (tensor<4xi1>, tensor<4xi1>, tensor<4xi64>, tensor<4xf32>, tensor<4xi64>) {
  %a = ferrite.cast %x : (tensor<4xf32>) -> tensor<4xi1>
  %b = ferrite.isnan %x : (tensor<4xf32>) -> tensor<4xi1>
  %c = ferrite.cast %x : (tensor<4xf32>) -> tensor<4xi64>
  %d = ferrite.round %x : (tensor<4xf32>) -> tensor<4xf32>
  %e = ferrite.div %n, %n : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>
  return %a, %b, %c, %d, %e : tensor<4xi1>, tensor<4xi1>, tensor<4xi64>, tensor<4xf32>, tensor<4xi64>
}
