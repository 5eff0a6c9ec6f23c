// RUN: ferrite-opt %s --ferrite-fuse-attention --mlir-print-local-scope | FileCheck %s

// Gemma-2: the cap is what follows the tanh; the scale counts what is before it.
// CHECK-LABEL: func.func @softcap
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} scale = 2.500000e-01 softcap = 5.000000e+01 :
func.func @softcap(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>) -> tensor<2x4x8x16xf32> {
  %quarter = arith.constant dense<0.25> : tensor<f32>
  %cap = arith.constant dense<50.0> : tensor<f32>
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %s = ferrite.mul %p, %quarter : (tensor<2x4x8x8xf32>, tensor<f32>) -> tensor<2x4x8x8xf32>
  %d = ferrite.div %s, %cap : (tensor<2x4x8x8xf32>, tensor<f32>) -> tensor<2x4x8x8xf32>
  %t = ferrite.tanh %d : (tensor<2x4x8x8xf32>) -> tensor<2x4x8x8xf32>
  %c = ferrite.mul %t, %cap : (tensor<2x4x8x8xf32>, tensor<f32>) -> tensor<2x4x8x8xf32>
  %x = ferrite.softmax %c : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// gpt-oss: a logit per head joined to the scores, the maximum subtracted, the
// column of the sinks cut off.
// CHECK-LABEL: func.func @sinks
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} sinks(%{{.+}} : tensor<4xf32>) scale = 1.000000e+00 :
func.func @sinks(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %sink: tensor<4xf32>) -> tensor<2x4x8x16xf32> {
  %s4 = ferrite.view %sink dims = ["1", "4", "1", "1"] : tensor<4xf32> -> tensor<1x4x1x1xf32>
  %se = ferrite.broadcast %s4 dims = ["2", "4", "8", "1"] : tensor<1x4x1x1xf32> -> tensor<2x4x8x1xf32>
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %c = ferrite.concat %p, %se axis = 3 : (tensor<2x4x8x8xf32>, tensor<2x4x8x1xf32>) -> tensor<2x4x8x9xf32>
  %m = ferrite.reduce max %c axes = [3] keep_dims : tensor<2x4x8x9xf32> -> tensor<2x4x8x1xf32>
  %d = ferrite.sub %c, %m : (tensor<2x4x8x9xf32>, tensor<2x4x8x1xf32>) -> tensor<2x4x8x9xf32>
  %x = ferrite.softmax %d : tensor<2x4x8x9xf32>
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "4", "8", "8"] : tensor<2x4x8x9xf32> -> tensor<2x4x8x8xf32>
  %o = ferrite.matmul %l, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// A decoder with a past: causal and windowed at once, and padding. What is left
// of the mask is over keys alone.
// CHECK-LABEL: func.func @window_and_padding
//  CHECK-SAME:   %[[M:[^:]+]]: tensor<?x?xi1>
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} mask(%[[M]] : tensor<?x?xi1>) scale = 1.000000e+00 fill = -3.40282347E+38 left = 3 right = 0 offset = "past" window_fill = -3.40282347E+38 joined :
func.func @window_and_padding(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "s", "16"]}, %k: tensor<?x4x16x?xf32> {ferrite.dims = ["b", "4", "16", "past + s"]}, %v: tensor<?x4x?x16xf32> {ferrite.dims = ["b", "4", "past + s", "16"]}, %mask: tensor<?x?xi1> {ferrite.dims = ["b", "past + s"]}) -> tensor<?x4x?x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %w = arith.constant dense<4> : tensor<i64>
  %past = ferrite.dim_values ["past"] : tensor<i64>
  %ks = ferrite.iota dims = ["past + s"] : tensor<?xi64>
  %qs = ferrite.iota dims = ["s"] : tensor<?xi64>
  %q1 = ferrite.add %qs, %past : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %q4 = ferrite.view %q1 dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %c = ferrite.compare le %ks, %q4 : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %e = ferrite.sub %q4, %w : (tensor<1x1x?x1xi64>, tensor<i64>) -> tensor<1x1x?x1xi64>
  %g = ferrite.compare gt %ks, %e : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %cg = ferrite.and %c, %g : (tensor<1x1x?x?xi1>, tensor<1x1x?x?xi1>) -> tensor<1x1x?x?xi1>
  %m4 = ferrite.view %mask dims = ["b", "1", "1", "past + s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %a = ferrite.and %cg, %m4 : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %f = ferrite.where %a, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %t = ferrite.add %p, %f : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %t : tensor<?x4x?x?xf32>
  %o = ferrite.matmul %x, %v : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %o : tensor<?x4x?x16xf32>
}
