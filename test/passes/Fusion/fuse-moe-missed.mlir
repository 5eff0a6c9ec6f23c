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

// -----

// A softmax over the tokens mixes them: a token's row is no function of the
// token and the expert alone.
// CHECK-LABEL: func.func @tokens_mix
//       CHECK:   ferrite.scatter_elements
func.func @tokens_mix(%x: tensor<4x?x8xf32> {ferrite.name = "x", ferrite.dims = ["4", "tokens", "8"]},
                      %l: tensor<?x4xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "4"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %e = ferrite.topk %l axis = 1 k = ["2"] : tensor<?x4xf32> -> tensor<?x2xi64>
  %v = ferrite.gather_elements %l, %e axis = 1 : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %z = ferrite.broadcast %zero dims = ["tokens", "4"] : tensor<f32> -> tensor<?x4xf32>
  %s = ferrite.scatter_elements none %z, %e, %v axis = 1 : tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>
  %p = ferrite.softmax %x : tensor<4x?x8xf32>
  %t = ferrite.transpose %s perm = [1, 0] : tensor<?x4xf32> -> tensor<4x?xf32>
  %tc = ferrite.view %t dims = ["4", "tokens", "1"] : tensor<4x?xf32> -> tensor<4x?x1xf32>
  %m = ferrite.mul %p, %tc : (tensor<4x?x8xf32>, tensor<4x?x1xf32>) -> tensor<4x?x8xf32>
  // expected-remark @below {{Reason="an op on experts and tokens is no elementwise op, slice or product"}}
  %y = ferrite.reduce sum %m axes = [0] : tensor<4x?x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Weights that are scattered over others, not over zeros, weigh all experts.
// CHECK-LABEL: func.func @over_others
//       CHECK:   ferrite.scatter_elements
func.func @over_others(%x: tensor<4x?x8xf32> {ferrite.name = "x", ferrite.dims = ["4", "tokens", "8"]},
                       %l: tensor<?x4xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "4"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %e = ferrite.topk %l axis = 1 k = ["2"] : tensor<?x4xf32> -> tensor<?x2xi64>
  %v = ferrite.gather_elements %l, %e axis = 1 : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %s = ferrite.scatter_elements none %l, %e, %v axis = 1 : tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>
  %g = ferrite.sigmoid %x : (tensor<4x?x8xf32>) -> tensor<4x?x8xf32>
  %t = ferrite.transpose %s perm = [1, 0] : tensor<?x4xf32> -> tensor<4x?xf32>
  %tc = ferrite.view %t dims = ["4", "tokens", "1"] : tensor<4x?xf32> -> tensor<4x?x1xf32>
  %m = ferrite.mul %g, %tc : (tensor<4x?x8xf32>, tensor<4x?x1xf32>) -> tensor<4x?x8xf32>
  // expected-remark @below {{Reason="weights are not scattered into zeros of tokens x experts"}}
  %y = ferrite.reduce sum %m axes = [0] : tensor<4x?x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
