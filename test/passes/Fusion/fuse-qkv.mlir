// RUN: ferrite-opt %s --ferrite-fuse-qkv --mlir-print-debuginfo --mlir-print-local-scope --split-input-file | FileCheck %s

// Three products that read one input. Left apart, each is too narrow to keep
// the cores busy, and the input is read three times.
// CHECK-LABEL: func.func @three_projections
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x8xf32>
//   CHECK-DAG:   %[[W:.+]] = ferrite.weight "q+k+v" [{{.*}}offset = 0{{.*}}perm = [1, 0]>, {{.*}}offset = 128{{.*}}, {{.*}}offset = 256{{.*}}] axis = 1 : tensor<8x10xf32>
//   CHECK-DAG:   %[[B:.+]] = ferrite.weight "bq+bk+bv" [{{.*}}] : tensor<10xf32>
//       CHECK:   %[[L:.+]] = ferrite.linear %[[X]], %[[W]] sides(%[[B]] : tensor<10xf32>) : (tensor<?x?x8xf32>, tensor<8x10xf32>) -> tensor<?x?x10xf32>
//       CHECK:   loc(fused["/q"{{.*}}"/k"{{.*}}"/v"
//  CHECK-NEXT:   %[[Q:.+]] = ferrite.slice %[[L]] offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["batch", "sequence", "4"]
//  CHECK-NEXT:   %[[K:.+]] = ferrite.slice %[[L]] offsets = ["0", "0", "4"] steps = [1, 1, 1] dims = ["batch", "sequence", "4"]
//  CHECK-NEXT:   %[[V:.+]] = ferrite.slice %[[L]] offsets = ["0", "0", "8"] steps = [1, 1, 1] dims = ["batch", "sequence", "2"]
//       CHECK:   return %[[Q]], %[[K]], %[[V]]
func.func @three_projections(%x: tensor<?x?x8xf32> {ferrite.dims = ["batch", "sequence", "8"]}) -> (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x2xf32>) {
  %wq = ferrite.weight "q" [#ferrite.source<"m", offset = 0, shape = [4, 8], type = f32, perm = [1, 0]>] : tensor<8x4xf32>
  %wk = ferrite.weight "k" [#ferrite.source<"m", offset = 128, shape = [8, 4], type = f32>] : tensor<8x4xf32>
  %wv = ferrite.weight "v" [#ferrite.source<"m", offset = 256, shape = [8, 2], type = f32>] : tensor<8x2xf32>
  %bq = ferrite.weight "bq" [#ferrite.source<"m", offset = 512, shape = [4], type = f32>] : tensor<4xf32>
  %bk = ferrite.weight "bk" [#ferrite.source<"m", offset = 528, shape = [4], type = f32>] : tensor<4xf32>
  %bv = ferrite.weight "bv" [#ferrite.source<"m", offset = 544, shape = [2], type = f32>] : tensor<2xf32>
  %q = ferrite.linear %x, %wq sides(%bq : tensor<4xf32>) : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32> {
  ^bb0(%acc: f32, %b: f32):
    %s = arith.addf %acc, %b : f32
    ferrite.yield %s : f32
  } loc("/q")
  %k = ferrite.linear %x, %wk sides(%bk : tensor<4xf32>) : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32> {
  ^bb0(%acc: f32, %b: f32):
    %s = arith.addf %acc, %b : f32
    ferrite.yield %s : f32
  } loc("/k")
  %v = ferrite.linear %x, %wv sides(%bv : tensor<2xf32>) : (tensor<?x?x8xf32>, tensor<8x2xf32>) -> tensor<?x?x2xf32> {
  ^bb0(%acc: f32, %b: f32):
    %s = arith.addf %acc, %b : f32
    ferrite.yield %s : f32
  } loc("/v")
  return %q, %k, %v : tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x2xf32>
}

// -----

// Constants concatenate as values, row by row.
// CHECK-LABEL: func.func @constant_weights
//       CHECK:   arith.constant dense<{{\[}}[1.000000e+00, 2.000000e+00, 5.000000e+00], [3.000000e+00, 4.000000e+00, 5.000000e+00]]> : tensor<2x3xf32>
//       CHECK:   ferrite.linear
func.func @constant_weights(%x: tensor<?x2xf32>) -> (tensor<?x2xf32>, tensor<?x1xf32>) {
  %wq = arith.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %wk = arith.constant dense<5.0> : tensor<2x1xf32>
  %q = ferrite.linear %x, %wq : (tensor<?x2xf32>, tensor<2x2xf32>) -> tensor<?x2xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %k = ferrite.linear %x, %wk : (tensor<?x2xf32>, tensor<2x1xf32>) -> tensor<?x1xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %q, %k : tensor<?x2xf32>, tensor<?x1xf32>
}
