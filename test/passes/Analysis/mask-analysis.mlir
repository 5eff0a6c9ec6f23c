// RUN: ferrite-opt %s --ferrite-print-masks --split-input-file --verify-diagnostics

// The mask of a dynamo export: ranges of batch and tokens, unsqueezed, expanded
// to each other and joined to index tuples, look the padding mask up; a comparison
// that is always true is joined by and. Without proof of 0 <= k < sequence, and
// of k >= 0, no export of today would have its padding recognized.
func.func @index_tuples(%mask: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0> : tensor<i64>
  %true = arith.constant dense<true> : tensor<i1>
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %m = ferrite.cast %mask : (tensor<?x?xi64>) -> tensor<?x?xi1>
  %b = ferrite.iota dims = ["batch"] : tensor<?xi64>
  %s = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %b4 = ferrite.view %b dims = ["batch", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %q0 = ferrite.add %s, %zero : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %q4 = ferrite.view %q0 dims = ["1", "1", "sequence", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %k4 = ferrite.view %s dims = ["1", "1", "1", "sequence"] : tensor<?xi64> -> tensor<1x1x1x?xi64>
  %ge = ferrite.compare ge %q4, %zero : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi1>
  %and = ferrite.and %true, %ge : (tensor<i1>, tensor<1x1x?x1xi1>) -> tensor<1x1x?x1xi1>
  %be = ferrite.broadcast %b4 dims = ["batch", "1", "1", "sequence"] : tensor<?x1x1x1xi64> -> tensor<?x1x1x?xi64>
  %ke = ferrite.broadcast %k4 dims = ["batch", "1", "1", "sequence"] : tensor<1x1x1x?xi64> -> tensor<?x1x1x?xi64>
  %bu = ferrite.view %be dims = ["batch", "1", "1", "sequence", "1"] : tensor<?x1x1x?xi64> -> tensor<?x1x1x?x1xi64>
  %ku = ferrite.view %ke dims = ["batch", "1", "1", "sequence", "1"] : tensor<?x1x1x?xi64> -> tensor<?x1x1x?x1xi64>
  %i = ferrite.concat %bu, %ku axis = 4 : (tensor<?x1x1x?x1xi64>, tensor<?x1x1x?x1xi64>) -> tensor<?x1x1x?x2xi64>
  %g = ferrite.gather_nd %m, %i : (tensor<?x?xi1>, tensor<?x1x1x?x2xi64>) -> tensor<?x1x1x?xi1>
  %a = ferrite.and %and, %g : (tensor<1x1x?x1xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %e = ferrite.broadcast %a dims = ["batch", "1", "sequence", "sequence"] : tensor<?x1x?x?xi1> -> tensor<?x1x?x?xi1>
  %w = ferrite.where %e, %keep, %fill : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{padding, keeps where cast(arg0[ b,  k]), fill = -3.40282e+38}}
  return %w : tensor<?x1x?x?xf32>
}

// -----

// The same from TorchScript: element b * sequence + k of the flattened mask. It
// takes the division of b * sequence + k by sequence to see (b, k) in it.
func.func @flat_index(%mask: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x1x?x?xf32> {
  %keep = arith.constant dense<0.0> : tensor<1xf32>
  %fill = arith.constant dense<0xFF800000> : tensor<1xf32>
  %m = ferrite.cast %mask : (tensor<?x?xi64>) -> tensor<?x?xi1>
  %b = ferrite.iota dims = ["batch"] : tensor<?xi64>
  %s = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %n = ferrite.dim_values ["sequence"] : tensor<i64>
  %b4 = ferrite.view %b dims = ["batch", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %k4 = ferrite.view %s dims = ["1", "1", "1", "sequence"] : tensor<?xi64> -> tensor<1x1x1x?xi64>
  %bs = ferrite.mul %b4, %n : (tensor<?x1x1x1xi64>, tensor<i64>) -> tensor<?x1x1x1xi64>
  %i = ferrite.add %k4, %bs : (tensor<1x1x1x?xi64>, tensor<?x1x1x1xi64>) -> tensor<?x1x1x?xi64>
  %flat = ferrite.view %m dims = ["batch*sequence", "1"] : tensor<?x?xi1> -> tensor<?x1xi1>
  %g = ferrite.gather %flat, %i axis = 0 : (tensor<?x1xi1>, tensor<?x1x1x?xi64>) -> tensor<?x1x1x?x1xi1>
  %v = ferrite.view %g dims = ["batch", "1", "1", "sequence"] : tensor<?x1x1x?x1xi1> -> tensor<?x1x1x?xi1>
  %e = ferrite.broadcast %v dims = ["batch", "1", "sequence", "sequence"] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
  %w = ferrite.where %e, %keep, %fill : (tensor<?x1x?x?xi1>, tensor<1xf32>, tensor<1xf32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{padding, keeps where cast(arg0[ b,  k]), fill = -inf}}
  return %w : tensor<?x1x?x?xf32>
}

// -----

// A comparison says which values keep: (1 - cast(c)) * fill is c ? 0 : fill.
func.func @one_minus_mask(%mask: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x1x1x?xf32> {
  %zero = arith.constant dense<0> : tensor<i64>
  %one = arith.constant dense<1.0> : tensor<f32>
  %fill = arith.constant dense<-10000.0> : tensor<f32>
  %m = ferrite.compare gt %mask, %zero : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi1>
  %v = ferrite.view %m dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %c = ferrite.cast %v : (tensor<?x1x1x?xi1>) -> tensor<?x1x1x?xf32>
  %d = ferrite.sub %one, %c : (tensor<f32>, tensor<?x1x1x?xf32>) -> tensor<?x1x1x?xf32>
  %w = ferrite.mul %d, %fill : (tensor<?x1x1x?xf32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  // expected-remark @below {{padding, keeps where compare(gt, arg0[ b,  k], 0), fill = -10000}}
  return %w : tensor<?x1x1x?xf32>
}

// -----

// Over the integers themselves it is no choice: a mask of 2 would add 10000.
func.func @one_minus_integers(%mask: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x1x1x?xf32> {
  %one = arith.constant dense<1.0> : tensor<f32>
  %fill = arith.constant dense<-10000.0> : tensor<f32>
  %v = ferrite.view %mask dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %c = ferrite.cast %v : (tensor<?x1x1x?xi64>) -> tensor<?x1x1x?xf32>
  %d = ferrite.sub %one, %c : (tensor<f32>, tensor<?x1x1x?xf32>) -> tensor<?x1x1x?xf32>
  %w = ferrite.mul %d, %fill : (tensor<?x1x1x?xf32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  // expected-remark @below {{bias, adds mul(sub(1, cast(arg0[ b,  k])), -10000)}}
  return %w : tensor<?x1x1x?xf32>
}

// -----

// A vision transformer's mask keeps everything: nothing would be left to add.
func.func @always_true(%x: tensor<?x3xf32> {ferrite.dims = ["batch", "3"]}) -> tensor<?x1x17x17xf32> {
  %true = arith.constant dense<true> : tensor<1x1x17x1xi1>
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %e = ferrite.broadcast %true dims = ["batch", "1", "17", "17"] : tensor<1x1x17x1xi1> -> tensor<?x1x17x17xi1>
  %w = ferrite.where %e, %keep, %fill : (tensor<?x1x17x17xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x17x17xf32>
  // expected-remark @below {{none}}
  return %w : tensor<?x1x17x17xf32>
}

// -----

// Keys up to a length: the position of the key is data of the mask.
func.func @lengths(%lengths: tensor<?xi64> {ferrite.dims = ["batch"]}) -> tensor<?x1x1x?xf32> {
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-1.0e+09> : tensor<f32>
  %s = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %l = ferrite.view %lengths dims = ["batch", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %c = ferrite.compare ge %s, %l : (tensor<?xi64>, tensor<?x1x1x1xi64>) -> tensor<?x1x1x?xi1>
  %w = ferrite.where %c, %fill, %keep : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  // expected-remark @below {{padding, keeps where compare(lt,  k, arg0[ b]), fill = -1e+09}}
  return %w : tensor<?x1x1x?xf32>
}

// -----

// Causal: each query has its own keys.
func.func @causal() -> tensor<1x1x?x?xf32> {
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-1.0e+09> : tensor<f32>
  %s = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %q = ferrite.view %s dims = ["1", "1", "sequence", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %s, %q : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %w = ferrite.where %c, %keep, %fill : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  // expected-remark @below {{causal, fill = -1e+09}}
  return %w : tensor<1x1x?x?xf32>
}

// -----

// A mask with an element too many at its start: read at [b, k] it would drop the
// neighbour's key.
func.func @shifted(%mask: tensor<?x?xi1> {ferrite.dims = ["batch", "sequence + 1"]}) -> tensor<?x1x1x?xf32> {
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-1.0e+09> : tensor<f32>
  %s = ferrite.slice %mask offsets = ["0", "1"] steps = [1, 1] dims = ["batch", "sequence"] : tensor<?x?xi1> -> tensor<?x?xi1>
  %v = ferrite.view %s dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %w = ferrite.where %v, %keep, %fill : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  // expected-remark @below {{padding, keeps where arg0[ b,  k + 1], fill = -1e+09}}
  return %w : tensor<?x1x1x?xf32>
}

// -----

// Nothing says that k + 1 is inside the mask: the gather clamps it, and the
// analysis must not look through.
func.func @gather_past_the_end(%mask: tensor<?x?xi1> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x1x1x?xf32> {
  %keep = arith.constant dense<0.0> : tensor<f32>
  %fill = arith.constant dense<-1.0e+09> : tensor<f32>
  %s = ferrite.iota start = 1 dims = ["sequence"] : tensor<?xi64>
  %g = ferrite.gather %mask, %s axis = 1 : (tensor<?x?xi1>, tensor<?xi64>) -> tensor<?x?xi1>
  %v = ferrite.view %g dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %w = ferrite.where %v, %keep, %fill : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  // expected-remark @below {{padding, keeps where ferrite.gather[ b,  k], fill = -1e+09}}
  return %w : tensor<?x1x1x?xf32>
}

// -----

// A float mask of the entry is what it is.
func.func @additive_input(%mask: tensor<?x1x?x?xf32> {ferrite.dims = ["batch", "1", "queries", "keys"]}) -> tensor<?x1x?x?xf32> {
  // expected-remark @below {{bias, adds arg0[ b, 0,  q,  k]}}
  return %mask : tensor<?x1x?x?xf32>
}
