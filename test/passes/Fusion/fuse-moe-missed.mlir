// RUN: ferrite-opt %s --ferrite-fuse-moe --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-moe --remark-format=emitRemark | FileCheck %s

// Matrices that an op computes are no weights: no recipe can pack them.
// CHECK-LABEL: func.func @computed_matrices
//       CHECK:   ferrite.matmul
func.func @computed_matrices(%x: tensor<?x1x8xf32> {ferrite.name = "x", ferrite.dims = ["slots", "1", "8"]},
                             %w: tensor<4x8x16xf32> {ferrite.name = "w", ferrite.dims = ["4", "8", "16"]},
                             %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]})
    -> (tensor<?x1x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf32>, tensor<?xi64>) -> tensor<?x8x16xf32>
  // expected-remark @below {{Reason="the matrices of the experts are computed"}}
  %p = ferrite.matmul %x, %we : (tensor<?x1x8xf32>, tensor<?x8x16xf32>) -> tensor<?x1x16xf32>
  return %p : tensor<?x1x16xf32>
}

// -----

// Two rows for each matrix are no slot of one row.
// CHECK-LABEL: func.func @two_rows
//       CHECK:   ferrite.matmul
func.func @two_rows(%x: tensor<?x2x8xf32> {ferrite.name = "x", ferrite.dims = ["slots", "2", "8"]},
                    %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]})
    -> (tensor<?x2x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf32>
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf32>, tensor<?xi64>) -> tensor<?x8x16xf32>
  // expected-remark @below {{Reason="more than one row is multiplied with each gathered matrix"}}
  %p = ferrite.matmul %x, %we : (tensor<?x2x8xf32>, tensor<?x8x16xf32>) -> tensor<?x2x16xf32>
  return %p : tensor<?x2x16xf32>
}

// -----

// One row for all matrices repeats; it is not each slot's own.
// CHECK-LABEL: func.func @one_row_for_all
//       CHECK:   ferrite.matmul
func.func @one_row_for_all(%x: tensor<1x1x8xf32> {ferrite.name = "x", ferrite.dims = ["1", "1", "8"]},
                           %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]})
    -> (tensor<?x1x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf32>
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf32>, tensor<?xi64>) -> tensor<?x8x16xf32>
  // expected-remark @below {{Reason="rows and gathered matrices do not have the same slots"}}
  %p = ferrite.matmul %x, %we : (tensor<1x1x8xf32>, tensor<?x8x16xf32>) -> tensor<?x1x16xf32>
  return %p : tensor<?x1x16xf32>
}

// -----

// f64 rounds to nothing that an f32 sum has.
// CHECK-LABEL: func.func @of_f64
//       CHECK:   ferrite.matmul
func.func @of_f64(%x: tensor<?x1x8xf64> {ferrite.name = "x", ferrite.dims = ["slots", "1", "8"]},
                  %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]})
    -> (tensor<?x1x16xf64> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf64>
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf64>, tensor<?xi64>) -> tensor<?x8x16xf64>
  // expected-remark @below {{Reason="experts accumulate in f32, which this product does not"}}
  %p = ferrite.matmul %x, %we : (tensor<?x1x8xf64>, tensor<?x8x16xf64>) -> tensor<?x1x16xf64>
  return %p : tensor<?x1x16xf64>
}
