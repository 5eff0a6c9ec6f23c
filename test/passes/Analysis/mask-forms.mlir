// RUN: ferrite-opt %s --ferrite-print-masks --split-input-file --verify-diagnostics

// The mask of older transformers, as optimum exports it: an upper triangle of
// the lowest float, times 1 where the key is behind the query's place, and then
// the first columns written again with the padding in. That all of it is what
// `and` says takes: a comparison that implies another, and the tuples of a grid.
func.func @trilu_and_scatter(%pad: tensor<?x?xi64> {ferrite.dims = ["b", "past + s"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %none = arith.constant dense<0> : tensor<i64>
  %i = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i1 = ferrite.view %i dims = ["s", "1"] : tensor<?xi64> -> tensor<?x1xi64>
  %one = arith.constant dense<1> : tensor<i64>
  %next = ferrite.add %i1, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %j = ferrite.iota dims = ["past + s"] : tensor<?xi64>
  %upper = ferrite.compare ge %j, %next : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %tri = ferrite.where %upper, %min, %zero : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %n = ferrite.dim_values ["past"] : tensor<i64>
  %at = ferrite.add %i1, %n : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %gt = ferrite.compare gt %j, %at : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %f = ferrite.cast %gt : (tensor<?x?xi1>) -> tensor<?x?xf32>
  %causal = ferrite.mul %tri, %f : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %c4 = ferrite.view %causal dims = ["1", "1", "s", "past + s"] : tensor<?x?xf32> -> tensor<1x1x?x?xf32>
  %whole = ferrite.broadcast %c4 dims = ["b", "1", "s", "past + s"] : tensor<1x1x?x?xf32> -> tensor<?x1x?x?xf32>
  %p4 = ferrite.view %pad dims = ["b", "1", "1", "past + s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %isPad = ferrite.compare eq %p4, %none : (tensor<?x1x1x?xi64>, tensor<i64>) -> tensor<?x1x1x?xi1>
  %filled = ferrite.where %isPad, %min, %whole : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %b = ferrite.iota dims = ["b"] : tensor<?xi64>
  %b5 = ferrite.view %b dims = ["b", "1", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1x1xi64>
  %be = ferrite.broadcast %b5 dims = ["b", "1", "s", "past + s", "1"] : tensor<?x1x1x1x1xi64> -> tensor<?x1x?x?x1xi64>
  %h5 = ferrite.view %none dims = ["1", "1", "1", "1", "1"] : tensor<i64> -> tensor<1x1x1x1x1xi64>
  %he = ferrite.broadcast %h5 dims = ["b", "1", "s", "past + s", "1"] : tensor<1x1x1x1x1xi64> -> tensor<?x1x?x?x1xi64>
  %q5 = ferrite.view %i dims = ["1", "1", "s", "1", "1"] : tensor<?xi64> -> tensor<1x1x?x1x1xi64>
  %qe = ferrite.broadcast %q5 dims = ["b", "1", "s", "past + s", "1"] : tensor<1x1x?x1x1xi64> -> tensor<?x1x?x?x1xi64>
  %k5 = ferrite.view %j dims = ["1", "1", "1", "past + s", "1"] : tensor<?xi64> -> tensor<1x1x1x?x1xi64>
  %ke = ferrite.broadcast %k5 dims = ["b", "1", "s", "past + s", "1"] : tensor<1x1x1x?x1xi64> -> tensor<?x1x?x?x1xi64>
  %tuples = ferrite.concat %be, %he, %qe, %ke axis = 4 : (tensor<?x1x?x?x1xi64>, tensor<?x1x?x?x1xi64>, tensor<?x1x?x?x1xi64>, tensor<?x1x?x?x1xi64>) -> tensor<?x1x?x?x4xi64>
  %m = ferrite.scatter_nd none %whole, %tuples, %filled : tensor<?x1x?x?xf32>, tensor<?x1x?x?x4xi64>, tensor<?x1x?x?xf32>
  // expected-remark @below {{causal with offset past + padding, keeps where compare(ne, arg0[ b,  k], 0), window joined with fill = -3.40282e+38, fill = -3.40282e+38}}
  return %m : tensor<?x1x?x?xf32>
}

// -----

// Only the first columns are written: which element comes from where depends on
// the key, and the tensor is taken as it is.
func.func @scatter_of_a_part(%x: tensor<1x1x4x8xf32>, %u: tensor<1x1x4x5xf32>) -> tensor<1x1x4x8xf32> {
  %none = arith.constant dense<0> : tensor<i64>
  %i = ferrite.iota dims = ["4"] : tensor<4xi64>
  %j = ferrite.iota dims = ["5"] : tensor<5xi64>
  %h5 = ferrite.view %none dims = ["1", "1", "1", "1", "1"] : tensor<i64> -> tensor<1x1x1x1x1xi64>
  %he = ferrite.broadcast %h5 dims = ["1", "1", "4", "5", "1"] : tensor<1x1x1x1x1xi64> -> tensor<1x1x4x5x1xi64>
  %q5 = ferrite.view %i dims = ["1", "1", "4", "1", "1"] : tensor<4xi64> -> tensor<1x1x4x1x1xi64>
  %qe = ferrite.broadcast %q5 dims = ["1", "1", "4", "5", "1"] : tensor<1x1x4x1x1xi64> -> tensor<1x1x4x5x1xi64>
  %k5 = ferrite.view %j dims = ["1", "1", "1", "5", "1"] : tensor<5xi64> -> tensor<1x1x1x5x1xi64>
  %ke = ferrite.broadcast %k5 dims = ["1", "1", "4", "5", "1"] : tensor<1x1x1x5x1xi64> -> tensor<1x1x4x5x1xi64>
  %tuples = ferrite.concat %he, %he, %qe, %ke axis = 4 : (tensor<1x1x4x5x1xi64>, tensor<1x1x4x5x1xi64>, tensor<1x1x4x5x1xi64>, tensor<1x1x4x5x1xi64>) -> tensor<1x1x4x5x4xi64>
  %m = ferrite.scatter_nd none %x, %tuples, %u : tensor<1x1x4x8xf32>, tensor<1x1x4x5x4xi64>, tensor<1x1x4x5xf32>
  // expected-remark @below {{bias, adds ferrite.scatter_nd[0, 0,  q,  k]}}
  return %m : tensor<1x1x4x8xf32>
}

// -----

// ModernBERT's local layers: |q - k| <= 64, a window on both sides.
func.func @distance(%x: tensor<1xf32>) -> tensor<1x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<0xFF800000> : tensor<f32>
  %w = arith.constant dense<64> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %d = ferrite.sub %i, %j : (tensor<1x1x?x1xi64>, tensor<?xi64>) -> tensor<1x1x?x?xi64>
  %a = ferrite.abs %d : (tensor<1x1x?x?xi64>) -> tensor<1x1x?x?xi64>
  %c = ferrite.compare gt %a, %w : (tensor<1x1x?x?xi64>, tensor<i64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %min, %zero : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  // expected-remark @below {{window of 128 before, 64 behind, fill = -inf}}
  return %m : tensor<1x1x?x?xf32>
}

// -----

// Two masks that are added: what both drop is -inf, so the window keeps a fill of
// its own. Joined by `and` it would be the same fill.
func.func @added(%pad: tensor<?x?xi1> {ferrite.dims = ["b", "s"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %p4 = ferrite.view %pad dims = ["b", "1", "1", "s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %p = ferrite.where %p4, %zero, %min : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %s = ferrite.add %m, %p : (tensor<1x1x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal + padding, keeps where arg0[ b,  k], window with fill = -3.40282e+38, fill = -3.40282e+38}}
  return %s : tensor<?x1x?x?xf32>
}

// -----

// Causal alone: each query sees itself, and the fill of the window is -inf.
func.func @causal_alone(%x: tensor<1xf32>) -> tensor<1x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-1.0e+09> : tensor<f32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  // expected-remark @below {{causal, fill = -1e+09}}
  return %m : tensor<1x1x?x?xf32>
}

// -----

// A mask that is an input beside: it may drop all that the window leaves.
func.func @causal_and_an_input(%x: tensor<?x1x?x?xf32> {ferrite.dims = ["b", "1", "s", "s"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %s = ferrite.add %m, %x : (tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal + bias, adds arg0[ b, 0,  q,  k], window with fill = -3.40282e+38}}
  return %s : tensor<?x1x?x?xf32>
}

// -----

// Three masks added: the third is a bias, for op and graph to drop alike what
// two of them drop.
func.func @three_added(%pad: tensor<?x?xi1> {ferrite.dims = ["b", "s"]}, %more: tensor<?x?xi1> {ferrite.dims = ["b", "s"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %p4 = ferrite.view %pad dims = ["b", "1", "1", "s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %p = ferrite.where %p4, %zero, %min : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %r4 = ferrite.view %more dims = ["b", "1", "1", "s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %r = ferrite.where %r4, %zero, %min : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %s = ferrite.add %m, %p : (tensor<1x1x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x1x?x?xf32>
  %t = ferrite.add %s, %r : (tensor<?x1x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal + padding + bias, keeps where arg0[ b,  k], adds where(arg1[ b,  k], 0, -3.40282e+38), window with fill = -3.40282e+38, fill = -3.40282e+38}}
  return %t : tensor<?x1x?x?xf32>
}

// -----

// Llama 4: causal in chunks of 8192. Tokens of a kind that all see, PaliGemma:
// not known to be the first ones. The first keys and a window: sinks. Segments
// of packed images, Qwen2-VL.
func.func @conditions(%prefix: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %segment: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}) -> (tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<0xFF800000> : tensor<f32>
  %size = arith.constant dense<8192> : tensor<i64>
  %none = arith.constant dense<0> : tensor<i64>
  %four = arith.constant dense<4> : tensor<i64>
  %w = arith.constant dense<100> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %ci = ferrite.div %i, %size : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %cj = ferrite.div %j, %size : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %ce = ferrite.compare eq %ci, %cj : (tensor<1x1x?x1xi64>, tensor<?xi64>) -> tensor<1x1x?x?xi1>
  %cc = ferrite.and %c, %ce : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m0 = ferrite.where %cc, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %p4 = ferrite.view %prefix dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %pe = ferrite.compare eq %p4, %none : (tensor<?x1x1x?xi64>, tensor<i64>) -> tensor<?x1x1x?xi1>
  %pc = ferrite.or %c, %pe : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %m1 = ferrite.where %pc, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %first = ferrite.compare lt %j, %four : (tensor<?xi64>, tensor<i64>) -> tensor<?xi1>
  %from = ferrite.sub %i, %w : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %near = ferrite.compare gt %j, %from : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %so = ferrite.or %first, %near : (tensor<?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %sc = ferrite.and %so, %c : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m2 = ferrite.where %sc, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %gk = ferrite.view %segment dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %gq = ferrite.view %segment dims = ["b", "1", "s", "1"] : tensor<?x?xi64> -> tensor<?x1x?x1xi64>
  %ge = ferrite.compare eq %gq, %gk : (tensor<?x1x?x1xi64>, tensor<?x1x1x?xi64>) -> tensor<?x1x?x?xi1>
  %m3 = ferrite.where %ge, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal + chunks of 8192, fill = -inf}}
  // expected-remark @below {{prefix, keeps where}}
  // expected-remark @below {{causal window of 99 before + sink of 4, fill = -inf}}
  // expected-remark @below {{block diagonal, segments arg1[ b,  q] and arg1[ b,  k], fill = -inf}}
  return %m0, %m1, %m2, %m3 : tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>
}

// -----

// The causal mask and the padding are added, and where both are 0 a score is
// dropped: padding among what is seen. It is padding of keys alone.
func.func @where_the_sum_is_zero(%pad: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}) -> tensor<?x1x?x?xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %m = ferrite.where %c, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %p4 = ferrite.view %pad dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %p = ferrite.cast %p4 : (tensor<?x1x1x?xi64>) -> tensor<?x1x1x?xf32>
  %s = ferrite.add %m, %p : (tensor<1x1x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x1x?x?xf32>
  %e = ferrite.compare eq %s, %zero : (tensor<?x1x?x?xf32>, tensor<f32>) -> tensor<?x1x?x?xi1>
  %w = ferrite.where %e, %min, %m : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<1x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal + padding, keeps where not(compare(eq, cast(arg0[ b,  k]), 0)), window joined with fill = -3.40282e+38, fill = -3.40282e+38}}
  return %w : tensor<?x1x?x?xf32>
}
