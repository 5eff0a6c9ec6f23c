// RUN: ferrite-opt %s --ferrite-fuse-moe --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-moe --remark-format=emitRemark | FileCheck %s

// All but one expert is no turn of one expert.
// CHECK-LABEL: func.func @compares_otherwise
//       CHECK:   ferrite.nonzero
func.func @compares_otherwise(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare ne %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="a mask does not compare the chosen experts with a number"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Positions that no topk made may be any number.
// CHECK-LABEL: func.func @chosen_by_nobody
//       CHECK:   ferrite.nonzero
func.func @chosen_by_nobody(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.cast %l : (tensor<?x1xf32>) -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="a mask does not compare the chosen experts with a number"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// An input is no weight: no recipe can stack it.
// CHECK-LABEL: func.func @computed_matrix
//       CHECK:   ferrite.nonzero
func.func @computed_matrix(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %c : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="the matrices of the experts are computed or do not stack"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// A sum over the tokens of an expert is no function of one of them.
// CHECK-LABEL: func.func @rows_mix
//       CHECK:   ferrite.nonzero
func.func @rows_mix(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %v = ferrite.cumsum %r axis = 0 : tensor<?x8xf32>
  %u = ferrite.matmul %v, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="an op of an expert is no elementwise op, slice or product"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// The choice's position, not the token's.
// CHECK-LABEL: func.func @other_rows
//       CHECK:   ferrite.nonzero
func.func @other_rows(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %k = ferrite.slice %n offsets = ["0", "1"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="the rows of an expert are not added to their tokens"}}
  %y = ferrite.scatter_nd sum %z, %k, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Rows of other tokens than those that chose the expert.
// CHECK-LABEL: func.func @rows_elsewhere
//       CHECK:   ferrite.nonzero
func.func @rows_elsewhere(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %two = arith.constant dense<2> : tensor<i64>
  %t2 = ferrite.mul %t, %two : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t2 : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="rows are gathered by neither token, slot nor expert"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Rows that replace others than zeros lose those.
// CHECK-LABEL: func.func @replaces
//       CHECK:   ferrite.nonzero
func.func @replaces(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // expected-remark @below {{Reason="a turn replaces what was added to a token before"}}
  %y = ferrite.scatter_nd none %x, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// f64 rounds to nothing that an f32 sum has.
// CHECK-LABEL: func.func @of_f64
//       CHECK:   ferrite.nonzero
func.func @of_f64(%x: tensor<?x8xf64> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf64> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf64> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf64> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf64>
  %zero = arith.constant dense<0.0> : tensor<f64>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf64> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f64> -> tensor<?x8xf64>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf64>, tensor<?x1xi64>) -> tensor<?x8xf64>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf64>, tensor<8x8xf64>) -> tensor<?x8xf64>
  // expected-remark @below {{Reason="experts accumulate in f32, which this product does not"}}
  %y = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf64>, tensor<?x1xi64>, tensor<?x8xf64>
  return %y : tensor<?x8xf64>
}

// -----

// Two turns of one expert add twice.
// CHECK-LABEL: func.func @twice
//       CHECK:   ferrite.nonzero
func.func @twice(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                %l: tensor<?x1xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "1"]},
                %c: tensor<8x8xf32> {ferrite.name = "c", ferrite.dims = ["8", "8"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %one = arith.constant dense<0> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["1"] : tensor<?x1xf32> -> tensor<?x1xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x1xi1> -> tensor<?x2xi64>
  %t = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r = ferrite.gather_nd %x, %t : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %h = ferrite.scatter_nd sum %z, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  // expected-remark @below {{Reason="two turns are of one expert"}}
  %y = ferrite.scatter_nd sum %h, %t, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
