// RUN: ferrite-opt %s --ferrite-print-masks --split-input-file --verify-diagnostics

// A prefix of a length for each sequence; of one length; sinks that are joined to
// the window and to the causal limit at once, which makes them a prefix too.
func.func @prefixes(%length: tensor<?xi64> {ferrite.dims = ["b"]}) -> (tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<1x1x?x?xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<0xFF800000> : tensor<f32>
  %four = arith.constant dense<4> : tensor<i64>
  %w = arith.constant dense<100> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %l4 = ferrite.view %length dims = ["b", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %p0 = ferrite.compare ge %l4, %j : (tensor<?x1x1x1xi64>, tensor<?xi64>) -> tensor<?x1x1x?xi1>
  %o0 = ferrite.or %c, %p0 : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %m0 = ferrite.where %o0, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %p1 = ferrite.compare lt %j, %four : (tensor<?xi64>, tensor<i64>) -> tensor<?xi1>
  %o1 = ferrite.or %p1, %c : (tensor<?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m1 = ferrite.where %o1, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %from = ferrite.sub %i, %w : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %near = ferrite.compare gt %j, %from : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %both = ferrite.and %near, %c : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %o2 = ferrite.or %both, %p1 : (tensor<1x1x?x?xi1>, tensor<?xi1>) -> tensor<1x1x?x?xi1>
  %m2 = ferrite.where %o2, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  // expected-remark @below {{causal + prefix, prefix of add(arg0[ b], 1), fill = -inf}}
  // expected-remark @below {{causal + prefix, prefix of 4, fill = -inf}}
  // expected-remark @below {{causal window of 99 before + sink of 4 + prefix, prefix of 4, fill = -inf}}
  return %m0, %m1, %m2 : tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<1x1x?x?xf32>
}

// -----

// What the window would join in another way stays a condition: a second limit
// that holds within the prefix as well, sinks beside chunks, and a second
// condition on segments.
func.func @not_one_window(%length: tensor<?xi64> {ferrite.dims = ["b"]}, %x: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %y: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}) -> (tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<0xFF800000> : tensor<f32>
  %four = arith.constant dense<4> : tensor<i64>
  %size = arith.constant dense<64> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %j, %i : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %l4 = ferrite.view %length dims = ["b", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %p0 = ferrite.compare lt %j, %l4 : (tensor<?xi64>, tensor<?x1x1x1xi64>) -> tensor<?x1x1x?xi1>
  %o0 = ferrite.or %c, %p0 : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %i4 = ferrite.add %i, %four : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %c4 = ferrite.compare le %j, %i4 : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %a0 = ferrite.and %o0, %c4 : (tensor<?x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<?x1x?x?xi1>
  %m0 = ferrite.where %a0, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %ci = ferrite.div %i, %size : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %cj = ferrite.div %j, %size : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %ce = ferrite.compare eq %ci, %cj : (tensor<1x1x?x1xi64>, tensor<?xi64>) -> tensor<1x1x?x?xi1>
  %p1 = ferrite.compare lt %j, %four : (tensor<?xi64>, tensor<i64>) -> tensor<?xi1>
  %o1 = ferrite.or %p1, %ce : (tensor<?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %a1 = ferrite.and %o1, %c : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m1 = ferrite.where %a1, %zero, %min : (tensor<1x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<1x1x?x?xf32>
  %xk = ferrite.view %x dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %xq = ferrite.view %x dims = ["b", "1", "s", "1"] : tensor<?x?xi64> -> tensor<?x1x?x1xi64>
  %xe = ferrite.compare eq %xq, %xk : (tensor<?x1x?x1xi64>, tensor<?x1x1x?xi64>) -> tensor<?x1x?x?xi1>
  %yk = ferrite.view %y dims = ["b", "1", "1", "s"] : tensor<?x?xi64> -> tensor<?x1x1x?xi64>
  %yq = ferrite.view %y dims = ["b", "1", "s", "1"] : tensor<?x?xi64> -> tensor<?x1x?x1xi64>
  %ye = ferrite.compare eq %yq, %yk : (tensor<?x1x?x1xi64>, tensor<?x1x1x?xi64>) -> tensor<?x1x?x?xi1>
  %a2 = ferrite.and %xe, %ye : (tensor<?x1x?x?xi1>, tensor<?x1x?x?xi1>) -> tensor<?x1x?x?xi1>
  %m2 = ferrite.where %a2, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  // expected-remark @below {{causal with offset 4 + prefix, keeps where or(}}
  // expected-remark @below {{causal + computed, keeps where or(}}
  // expected-remark @below {{block diagonal, segments arg1[ b,  q] and arg1[ b,  k], keeps where compare(eq, arg2[ b,  q], arg2[ b,  k]), fill = -inf}}
  return %m0, %m1, %m2 : tensor<?x1x?x?xf32>, tensor<1x1x?x?xf32>, tensor<?x1x?x?xf32>
}
