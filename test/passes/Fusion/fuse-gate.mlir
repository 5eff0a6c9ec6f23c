// RUN: ferrite-opt %s --ferrite-fuse-gate --split-input-file --mlir-print-local-scope | FileCheck %s
// RUN: ferrite-opt %s --ferrite-fuse-gate --ferrite-fuse-epilogue --split-input-file | FileCheck %s --check-prefix=DONE

// Phi-3: columns of a matrix as it lies are read past the others, those of a
// transposed one are rows of the file. Nothing elementwise is left.
// CHECK-LABEL: func.func @packed
//   CHECK-DAG:   %[[W0:.+]] = ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [4, 3], type = f32 pitch = 6>] : tensor<4x3xf32>
//   CHECK-DAG:   %[[W1:.+]] = ferrite.weight "w" [#ferrite.source<"m", offset = 28, shape = [4, 3], type = f32 pitch = 6>] : tensor<4x3xf32>
//   CHECK-DAG:   ferrite.linear %{{.+}}, %[[W0]] : (tensor<?x4xf32>, tensor<4x3xf32>) -> tensor<?x3xf32>
//   CHECK-DAG:   ferrite.linear %{{.+}}, %[[W1]] : (tensor<?x4xf32>, tensor<4x3xf32>) -> tensor<?x3xf32>
//   CHECK-NOT:   ferrite.slice
//  DONE-LABEL: func.func @packed
//   DONE-NOT:   ferrite.mul
//       DONE:   return
func.func @packed(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [4, 6], type = f32>] : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// -----

// CHECK-LABEL: func.func @transposed
//   CHECK-DAG:   ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [3, 4], type = f16, perm = [1, 0]>] : tensor<4x3xf32>
//   CHECK-DAG:   ferrite.weight "w" [#ferrite.source<"m", offset = 40, shape = [3, 4], type = f16, perm = [1, 0]>] : tensor<4x3xf32>
//  DONE-LABEL: func.func @transposed
func.func @transposed(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [6, 4], type = f16, perm = [1, 0]>] : tensor<4x6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %u = ferrite.slice %y offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// -----

// A bias goes with its columns, and the halves may come in either order.
// CHECK-LABEL: func.func @bias
//   CHECK-DAG:   arith.constant dense<[1.000000e+00, 2.000000e+00, 3.000000e+00]> : tensor<3xf32>
//   CHECK-DAG:   arith.constant dense<[4.000000e+00, 5.000000e+00, 6.000000e+00]> : tensor<3xf32>
//   CHECK-DAG:   arith.constant dense<{{\[\[}}1.000000e+00, 2.000000e+00, 3.000000e+00], [7.000000e+00, 8.000000e+00, 9.000000e+00], [1.000000e+00, 1.000000e+00, 1.000000e+00], [1.000000e+00, 1.000000e+00, 1.000000e+00]]> : tensor<4x3xf32>
//   CHECK-NOT:   ferrite.slice
//  DONE-LABEL: func.func @bias
//   DONE-NOT:   ferrite.add
//       DONE:   return
func.func @bias(%x: tensor<?x4xf32> {ferrite.dims = ["n", "4"]}) -> tensor<?x3xf32> {
  %w = arith.constant dense<[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]]> : tensor<4x6xf32>
  %b = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]> : tensor<6xf32>
  %y = ferrite.linear %x, %w : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %z = ferrite.add %y, %b : (tensor<?x6xf32>, tensor<6xf32>) -> tensor<?x6xf32>
  %u = ferrite.slice %z offsets = ["0", "0"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %g = ferrite.slice %z offsets = ["0", "3"] steps = [1, 1] dims = ["n", "3"] : tensor<?x6xf32> -> tensor<?x3xf32>
  %s = ferrite.sigmoid %g : (tensor<?x3xf32>) -> tensor<?x3xf32>
  %a = ferrite.mul %g, %s : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %p = ferrite.mul %a, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %p : tensor<?x3xf32>
}

// -----

// Rows of codes in the file, their scales and zero points with them: both
// halves stay of few bits. Zero points of a row are padded to bytes.
// CHECK-LABEL: func.func @few_bits
//   CHECK-DAG:   ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [4, 64], type = ui4, perm = [1, 0] dequant <scale = #ferrite.source<"m", offset = 500, shape = [4, 2], type = f16> zero = #ferrite.source<"m", offset = 600, shape = [4, 2], type = ui4>, axis = 1, block = 32>>] : tensor<64x4xf32>
//   CHECK-DAG:   ferrite.weight "w" [#ferrite.source<"m", offset = 144, shape = [4, 64], type = ui4, perm = [1, 0] dequant <scale = #ferrite.source<"m", offset = 516, shape = [4, 2], type = f16> zero = #ferrite.source<"m", offset = 604, shape = [4, 2], type = ui4>, axis = 1, block = 32>>] : tensor<64x4xf32>
//   CHECK-DAG:   ferrite.linear %{{.+}}, %{{.+}} input_block = 32 : (tensor<?x64xf32>, tensor<64x4xf32>) -> tensor<?x4xf32>
//   CHECK-NOT:   ferrite.slice
//  DONE-LABEL: func.func @few_bits
func.func @few_bits(%x: tensor<?x64xf32> {ferrite.dims = ["n", "64"]}) -> tensor<?x4xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 16, shape = [8, 64], type = ui4, perm = [1, 0] dequant <scale = #ferrite.source<"m", offset = 500, shape = [8, 2], type = f16> zero = #ferrite.source<"m", offset = 600, shape = [8, 2], type = ui4>, axis = 1, block = 32>>] : tensor<64x8xf32>
  %y = ferrite.linear %x, %w input_block = 32 : (tensor<?x64xf32>, tensor<64x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.slice %y offsets = ["0", "0"] steps = [1, 1] dims = ["n", "4"] : tensor<?x8xf32> -> tensor<?x4xf32>
  %u = ferrite.slice %y offsets = ["0", "4"] steps = [1, 1] dims = ["n", "4"] : tensor<?x8xf32> -> tensor<?x4xf32>
  %s = ferrite.sigmoid %g : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %a = ferrite.mul %g, %s : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %p = ferrite.mul %a, %u : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %p : tensor<?x4xf32>
}
