// RUN: ferrite-opt %s --ferrite-normalize --split-input-file | FileCheck %s

// Exporters transpose a matrix of a batch of heads through three dims. Unseen,
// the key of each attention would be copied twice.
// CHECK-LABEL: func.func @transpose_through_three_dims
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x12x32xf32>
//  CHECK-NEXT:   %[[T:.+]] = ferrite.transpose %[[X]] perm = [0, 2, 3, 1]
//  CHECK-NEXT:   return %[[T]]
func.func @transpose_through_three_dims(%x: tensor<?x?x12x32xf32> {ferrite.dims = ["b", "s", "12", "32"]}) -> tensor<?x12x32x?xf32> {
  %k = ferrite.transpose %x perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %a = ferrite.view %k dims = ["b*12", "s", "32"] : tensor<?x12x?x32xf32> -> tensor<?x?x32xf32>
  %t = ferrite.transpose %a perm = [0, 2, 1] : tensor<?x?x32xf32> -> tensor<?x32x?xf32>
  %y = ferrite.view %t dims = ["b", "12", "32", "s"] : tensor<?x32x?xf32> -> tensor<?x12x32x?xf32>
  return %y : tensor<?x12x32x?xf32>
}

// -----

// The outer view splits the batch otherwise: elements would move.
// CHECK-LABEL: func.func @other_split_stays
//       CHECK:   ferrite.view
//       CHECK:   ferrite.transpose
//       CHECK:   ferrite.view
func.func @other_split_stays(%x: tensor<?x12x?x32xf32> {ferrite.dims = ["b", "12", "s", "32"]}) -> tensor<?x6x64x?xf32> {
  %a = ferrite.view %x dims = ["b*12", "s", "32"] : tensor<?x12x?x32xf32> -> tensor<?x?x32xf32>
  %t = ferrite.transpose %a perm = [0, 2, 1] : tensor<?x?x32xf32> -> tensor<?x32x?xf32>
  %y = ferrite.view %t dims = ["b", "6", "64", "s"] : tensor<?x32x?xf32> -> tensor<?x6x64x?xf32>
  return %y : tensor<?x6x64x?xf32>
}

// -----

// The dims prove what two `?` in the type do not.
// CHECK-LABEL: func.func @identities
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?xf32>
//  CHECK-NEXT:   return %[[X]]
func.func @identities(%x: tensor<?x?xf32> {ferrite.dims = ["b", "s"]}) -> tensor<?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<1.0> : tensor<1xf32>
  %true = arith.constant dense<true> : tensor<i1>
  %a = ferrite.view %x dims = ["b", "s"] : tensor<?x?xf32> -> tensor<?x?xf32>
  %b = ferrite.broadcast %a dims = ["b", "s"] : tensor<?x?xf32> -> tensor<?x?xf32>
  %c = ferrite.slice %b offsets = ["0", "0"] steps = [1, 1] dims = ["b", "s"] : tensor<?x?xf32> -> tensor<?x?xf32>
  %d = ferrite.add %c, %zero : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  %e = ferrite.mul %one, %d : (tensor<1xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %f = ferrite.div %e, %one : (tensor<?x?xf32>, tensor<1xf32>) -> tensor<?x?xf32>
  %g = ferrite.where %true, %f, %zero : (tensor<i1>, tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  return %g : tensor<?x?xf32>
}

// -----

// And(True, x), as every mask begins; but what broadcasts must go on doing so.
// CHECK-LABEL: func.func @and_true
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?xi1>
//  CHECK-NEXT:   %[[B:.+]] = ferrite.broadcast %[[X]] dims = ["4", "s"]
//  CHECK-NEXT:   return %[[X]], %[[B]]
func.func @and_true(%x: tensor<?xi1> {ferrite.dims = ["s"]}) -> (tensor<?xi1>, tensor<4x?xi1>) {
  %true = arith.constant dense<true> : tensor<i1>
  %trues = arith.constant dense<true> : tensor<4x1xi1>
  %a = ferrite.and %true, %x : (tensor<i1>, tensor<?xi1>) -> tensor<?xi1>
  %b = ferrite.and %x, %trues : (tensor<?xi1>, tensor<4x1xi1>) -> tensor<4x?xi1>
  return %a, %b : tensor<?xi1>, tensor<4x?xi1>
}

// -----

// Half of the scale on either side of the scores becomes one factor behind them.
// CHECK-LABEL: func.func @split_scale
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x4x?x16xf32>{{.*}} %[[K:[^:]+]]: tensor<?x4x?x16xf32>
//   CHECK-DAG:   %[[C:.+]] = arith.constant dense<2.500000e-01> : tensor<f32>
//   CHECK-DAG:   %[[T:.+]] = ferrite.transpose %[[K]]
//       CHECK:   %[[P:.+]] = ferrite.matmul %[[Q]], %[[T]]
//  CHECK-NEXT:   %[[S:.+]] = ferrite.mul %[[P]], %[[C]]
//  CHECK-NEXT:   return %[[S]]
func.func @split_scale(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}, %k: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}) -> tensor<?x4x?x?xf32> {
  %quarter = arith.constant dense<0.25> : tensor<f32>
  %half = ferrite.sqrt %quarter : (tensor<f32>) -> tensor<f32>
  %qs = ferrite.mul %q, %half : (tensor<?x4x?x16xf32>, tensor<f32>) -> tensor<?x4x?x16xf32>
  %ks = ferrite.mul %k, %half : (tensor<?x4x?x16xf32>, tensor<f32>) -> tensor<?x4x?x16xf32>
  %t = ferrite.transpose %ks perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %qs, %t : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  return %p : tensor<?x4x?x?xf32>
}

// -----

// In f16 the unscaled scores could overflow; before a weight the factor may be
// the half of a gelu.
// CHECK-LABEL: func.func @factors_that_stay
//       CHECK:   ferrite.mul
//  CHECK-NEXT:   ferrite.matmul
//       CHECK:   ferrite.mul
//  CHECK-NEXT:   ferrite.matmul
func.func @factors_that_stay(%a: tensor<4x8xf16>, %b: tensor<8x4xf16>, %x: tensor<4x8xf32>) -> (tensor<4x4xf16>, tensor<4x4xf32>) {
  %half = arith.constant dense<0.5> : tensor<f16>
  %third = arith.constant dense<0.3> : tensor<f32>
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = f32>] : tensor<8x4xf32>
  %c = ferrite.mul %a, %half : (tensor<4x8xf16>, tensor<f16>) -> tensor<4x8xf16>
  %p = ferrite.matmul %c, %b : (tensor<4x8xf16>, tensor<8x4xf16>) -> tensor<4x4xf16>
  %y = ferrite.mul %x, %third : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x8xf32>
  %q = ferrite.matmul %y, %w : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  return %p, %q : tensor<4x4xf16>, tensor<4x4xf32>
}

// -----

// x / 4 is a product exactly; x / 3 is not.
// CHECK-LABEL: func.func @divisions
//   CHECK-DAG:   %[[Q:.+]] = arith.constant dense<2.500000e-01>
//   CHECK-DAG:   %[[T:.+]] = arith.constant dense<3.000000e+00>
//       CHECK:   ferrite.mul %{{.+}}, %[[Q]]
//       CHECK:   ferrite.div %{{.+}}, %[[T]]
func.func @divisions(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %four = arith.constant dense<4.0> : tensor<f32>
  %three = arith.constant dense<3.0> : tensor<f32>
  %a = ferrite.div %x, %four : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %b = ferrite.div %x, %three : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return %a, %b : tensor<4xf32>, tensor<4xf32>
}

// -----

// A weight is converted once, when it is read; one that was rounded to get its
// type must not be read unrounded.
// CHECK-LABEL: func.func @cast_weight
//   CHECK-DAG:   %[[W:.+]] = ferrite.weight "w" [{{.*}}type = f32>] : tensor<8xf16>
//   CHECK-DAG:   %[[R:.+]] = ferrite.weight "r"
//       CHECK:   %[[C:.+]] = ferrite.cast %[[R]]
//       CHECK:   return %[[W]], %[[C]]
func.func @cast_weight() -> (tensor<8xf16>, tensor<8xf32>) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8], type = f32>] : tensor<8xf32>
  %r = ferrite.weight "r" [#ferrite.source<"m", offset = 0, shape = [8], type = f32>] : tensor<8xf16>
  %a = ferrite.cast %w : (tensor<8xf32>) -> tensor<8xf16>
  %b = ferrite.cast %r : (tensor<8xf16>) -> tensor<8xf32>
  return %a, %b : tensor<8xf16>, tensor<8xf32>
}

// -----

// i64 to i32 and back loses bits; i32 to i64 and back does not.
// CHECK-LABEL: func.func @casts
//  CHECK-SAME:   %[[A:[^:]+]]: tensor<4xi64>{{.*}} %[[B:[^:]+]]: tensor<4xi32>
//  CHECK-NEXT:   %[[N:.+]] = ferrite.cast %[[A]]
//  CHECK-NEXT:   %[[W:.+]] = ferrite.cast %[[N]]
//  CHECK-NEXT:   return %[[W]], %[[B]]
func.func @casts(%a: tensor<4xi64>, %b: tensor<4xi32>) -> (tensor<4xi64>, tensor<4xi32>) {
  %n = ferrite.cast %a : (tensor<4xi64>) -> tensor<4xi32>
  %w = ferrite.cast %n : (tensor<4xi32>) -> tensor<4xi64>
  %v = ferrite.cast %b : (tensor<4xi32>) -> tensor<4xi64>
  %u = ferrite.cast %v : (tensor<4xi64>) -> tensor<4xi32>
  return %w, %u : tensor<4xi64>, tensor<4xi32>
}

// -----

// A broadcast before an op that broadcasts is a tensor written for nothing.
// CHECK-LABEL: func.func @needless_broadcast
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x8xf32>{{.*}} %[[M:[^:]+]]: tensor<?x1xf32>
//  CHECK-NEXT:   ferrite.mul %[[X]], %[[M]]
func.func @needless_broadcast(%x: tensor<?x8xf32> {ferrite.dims = ["b", "8"]}, %m: tensor<?x1xf32> {ferrite.dims = ["b", "1"]}) -> tensor<?x8xf32> {
  %e = ferrite.broadcast %m dims = ["b", "8"] : tensor<?x1xf32> -> tensor<?x8xf32>
  %y = ferrite.mul %x, %e : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @sequences
//  CHECK-NEXT:   %[[S:.+]] = ferrite.iota start = 2 step = 2 dims = ["s"]
//  CHECK-NEXT:   %[[V:.+]] = ferrite.view %[[S]] dims = ["s", "1"]
//  CHECK-NEXT:   return %[[V]]
func.func @sequences(%x: tensor<?xf32> {ferrite.dims = ["s"]}) -> tensor<?x1xi64> {
  %i = ferrite.iota start = 1 dims = ["s*2 + 1"] : tensor<?xi64>
  %s = ferrite.slice %i offsets = ["1"] steps = [2] dims = ["s"] : tensor<?xi64> -> tensor<?xi64>
  %v = ferrite.view %s dims = ["1", "s"] : tensor<?xi64> -> tensor<1x?xi64>
  %t = ferrite.transpose %v perm = [1, 0] : tensor<1x?xi64> -> tensor<?x1xi64>
  return %t : tensor<?x1xi64>
}
