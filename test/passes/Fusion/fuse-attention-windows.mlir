// RUN: ferrite-opt %s --ferrite-fuse-attention --mlir-print-local-scope | FileCheck %s

// Chunks of positions behind a past, and keys that are no padding: numbers but
// for the mask of keys, and the offset of both limits is one.
// CHECK-LABEL: func.func @chunks
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x4x?x16xf32>{{.*}}, %[[K:[^:]+]]: tensor<?x4x?x16xf32>{{.*}}, %[[M:[^:]+]]: tensor<?x?xi1>
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} mask(%[[M]] : tensor<?x?xi1>) scale = 1.000000e+00 fill = -3.40282347E+38 right = 0 chunk = 64 offset = "past" window_fill = -3.40282347E+38 joined :
func.func @chunks(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}, %k: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "past + s", "16"]}, %m: tensor<?x?xi1> {ferrite.dims = ["b", "past + s"]}) -> tensor<?x4x?x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %size = arith.constant dense<64> : tensor<i64>
  %past = ferrite.dim_values ["past"] : tensor<i64>
  %j = ferrite.iota dims = ["past + s"] : tensor<?xi64>
  %s = ferrite.iota dims = ["s"] : tensor<?xi64>
  %s4 = ferrite.view %s dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %i = ferrite.add %s4, %past : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %ci = ferrite.div %i, %size : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %cj = ferrite.div %j, %size : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %e = ferrite.compare eq %ci, %cj : (tensor<1x1x?x1xi64>, tensor<?xi64>) -> tensor<1x1x?x?xi1>
  %ce = ferrite.and %c, %e : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m4 = ferrite.view %m dims = ["b", "1", "1", "past + s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %all = ferrite.and %ce, %m4 : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %w = ferrite.where %all, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %kt = ferrite.transpose %k perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %q, %kt : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %a = ferrite.add %p, %w : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %a : tensor<?x4x?x?xf32>
  %y = ferrite.matmul %x, %k : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %y : tensor<?x4x?x16xf32>
}

// A prefix of its own length in each sequence, beside sinks and a window; each
// row sees itself, so the fill does not matter.
// CHECK-LABEL: func.func @prefix_and_sinks
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x4x?x16xf32>{{.*}}, %[[L:[^:]+]]: tensor<?xi32>
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} prefix(%[[L]] : tensor<?xi32>) scale = 1.000000e+00 left = 99 right = 0 anchors = 4 :
func.func @prefix_and_sinks(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}, %length: tensor<?xi32> {ferrite.dims = ["b"]}) -> tensor<?x4x?x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %four = arith.constant dense<4> : tensor<i32>
  %w = arith.constant dense<100> : tensor<i32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi32>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi32> -> tensor<1x1x?x1xi32>
  %c = ferrite.compare le %j, %i : (tensor<?xi32>, tensor<1x1x?x1xi32>) -> tensor<1x1x?x?xi1>
  %l4 = ferrite.view %length dims = ["b", "1", "1", "1"] : tensor<?xi32> -> tensor<?x1x1x1xi32>
  %in = ferrite.compare gt %l4, %j : (tensor<?x1x1x1xi32>, tensor<?xi32>) -> tensor<?x1x1x?xi1>
  %pc = ferrite.or %c, %in : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %first = ferrite.compare lt %j, %four : (tensor<?xi32>, tensor<i32>) -> tensor<?xi1>
  %from = ferrite.sub %i, %w : (tensor<1x1x?x1xi32>, tensor<i32>) -> tensor<1x1x?x1xi32>
  %near = ferrite.compare gt %j, %from : (tensor<?xi32>, tensor<1x1x?x1xi32>) -> tensor<1x1x?x?xi1>
  %so = ferrite.or %first, %near : (tensor<?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %all = ferrite.and %so, %pc : (tensor<1x1x?x?xi1>, tensor<?x1x?x?xi1>) -> tensor<?x1x?x?xi1>
  %d = ferrite.where %all, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %kt = ferrite.transpose %q perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %q, %kt : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %a = ferrite.add %p, %d : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %a : tensor<?x4x?x?xf32>
  %y = ferrite.matmul %x, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %y : tensor<?x4x?x16xf32>
}

// Documents packed into one sequence: their ids are both operands. Chunks that
// begin where data says are segments too, computed once for a token.
// CHECK-LABEL: func.func @segments
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x4x?x16xf32>{{.*}}, %[[S:[^:]+]]: tensor<?x?xi64>
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} segments(%[[S]], %[[S]] : tensor<?x?xi64>, tensor<?x?xi64>) scale = 1.000000e+00 right = 0 :
//       CHECK:   %[[OFQ:.+]] = ferrite.view %{{.+}} dims = ["b", "s"] : tensor<?x1x?x1xi64> -> tensor<?x?xi64>
//       CHECK:   %[[OFK:.+]] = ferrite.view %{{.+}} dims = ["b", "s"] : tensor<?x1x1x?xi64> -> tensor<?x?xi64>
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} segments(%[[OFQ]], %[[OFK]] : tensor<?x?xi64>, tensor<?x?xi64>) scale = 1.000000e+00 window_fill = -1.000000e+09 :
func.func @segments(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}, %ids: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %origin: tensor<?xi64> {ferrite.dims = ["b"]}) -> (tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-1.0e+09> : tensor<f32>
  %size = arith.constant dense<64> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %gk = ferrite.view %ids dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %gq = ferrite.view %ids dims = ["b", "1", "s", "1"] : tensor<?x?xi64> -> tensor<?x1x?x1xi64>
  %ge = ferrite.compare eq %gk, %gq : (tensor<?x1x1x?xi64>, tensor<?x1x?x1xi64>) -> tensor<?x1x?x?xi1>
  %gc = ferrite.and %ge, %c : (tensor<?x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<?x1x?x?xi1>
  %d0 = ferrite.where %gc, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %o4 = ferrite.view %origin dims = ["b", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %di = ferrite.sub %i, %o4 : (tensor<1x1x?x1xi64>, tensor<?x1x1x1xi64>) -> tensor<?x1x?x1xi64>
  %dj = ferrite.add %j, %o4 : (tensor<?xi64>, tensor<?x1x1x1xi64>) -> tensor<?x1x1x?xi64>
  %qi = ferrite.div %di, %size : (tensor<?x1x?x1xi64>, tensor<i64>) -> tensor<?x1x?x1xi64>
  %qj = ferrite.div %dj, %size : (tensor<?x1x1x?xi64>, tensor<i64>) -> tensor<?x1x1x?xi64>
  %qe = ferrite.compare eq %qi, %qj : (tensor<?x1x?x1xi64>, tensor<?x1x1x?xi64>) -> tensor<?x1x?x?xi1>
  %d1 = ferrite.where %qe, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %kt = ferrite.transpose %q perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %q, %kt : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %a0 = ferrite.add %p, %d0 : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x0 = ferrite.softmax %a0 : tensor<?x4x?x?xf32>
  %y0 = ferrite.matmul %x0, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  %a1 = ferrite.add %p, %d1 : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x1 = ferrite.softmax %a1 : tensor<?x4x?x?xf32>
  %y1 = ferrite.matmul %x1, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %y0, %y1 : tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>
}
