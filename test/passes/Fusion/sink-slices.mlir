// RUN: ferrite-opt %s --ferrite-sink-slices | FileCheck %s

// All but the last token of the product with the vocabulary, the norm and the
// last layer's second half would be computed for nothing. What reads the
// attention and the residual stream is cut once, above both.
// CHECK-LABEL: func.func @last_token
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x8xf32>
//       CHECK:   %[[LAST:.+]] = ferrite.slice %[[X]] offsets = ["0", "sequence - 1", "0"] steps = [1, 1, 1] dims = ["batch", "1", "8"]
//   CHECK-NOT:   ferrite.slice
//       CHECK:   %[[N:.+]] = ferrite.norm rms %[[LAST]], %{{.+}} : tensor<?x1x8xf32>
//       CHECK:   %[[U:.+]] = ferrite.linear %[[N]], %{{.+}} -> tensor<?x1x8xf32>
//       CHECK:   %[[G:.+]] = ferrite.gelu none %[[U]]
//       CHECK:   %[[R:.+]] = ferrite.add %[[LAST]], %[[G]]
//       CHECK:   %[[L:.+]] = ferrite.linear %[[R]], %{{.+}} -> tensor<?x1x16xf32>
//       CHECK:   return %[[L]]
func.func @last_token(%x: tensor<?x?x8xf32> {ferrite.dims = ["batch", "sequence", "8"]}) -> tensor<?x1x16xf32> {
  %wu = arith.constant dense<0.5> : tensor<8x8xf32>
  %row = arith.constant dense<1.0> : tensor<8xf32>
  %wv = arith.constant dense<0.25> : tensor<8x16xf32>
  %n = ferrite.norm rms %x, %row epsilon = 1.0e-05 : tensor<?x?x8xf32>, tensor<8xf32>
  %u = ferrite.linear %n, %wu : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %g = ferrite.gelu none %u : tensor<?x?x8xf32>
  %r = ferrite.add %x, %g : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %l = ferrite.linear %r, %wv : (tensor<?x?x8xf32>, tensor<8x16xf32>) -> tensor<?x?x16xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %s = ferrite.slice %l offsets = ["0", "sequence - 1", "0"] steps = [1, 1, 1] dims = ["batch", "1", "16"] : tensor<?x?x16xf32> -> tensor<?x1x16xf32>
  return %s : tensor<?x1x16xf32>
}

// The whole result is used as well: a second, small product would be work more.
// CHECK-LABEL: func.func @all_are_used
//       CHECK:   %[[L:.+]] = ferrite.linear %{{.+}} -> tensor<?x?x8xf32>
//       CHECK:   ferrite.slice %[[L]]
func.func @all_are_used(%x: tensor<?x?x8xf32> {ferrite.dims = ["batch", "sequence", "8"]}) -> (tensor<?x?x8xf32>, tensor<?x1x8xf32>) {
  %w = arith.constant dense<0.5> : tensor<8x8xf32>
  %l = ferrite.linear %x, %w : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %s = ferrite.slice %l offsets = ["0", "sequence - 1", "0"] steps = [1, 1, 1] dims = ["batch", "1", "8"] : tensor<?x?x8xf32> -> tensor<?x1x8xf32>
  return %l, %s : tensor<?x?x8xf32>, tensor<?x1x8xf32>
}

// Two tokens are two slices; and a softmax over the tokens needs all of them.
// CHECK-LABEL: func.func @two_tokens
//       CHECK:   %[[L:.+]] = ferrite.norm
//       CHECK:   ferrite.slice %[[L]] offsets = ["0", "0", "0"]
//       CHECK:   ferrite.slice %[[L]] offsets = ["0", "1", "0"]
func.func @two_tokens(%x: tensor<?x4x8xf32> {ferrite.dims = ["batch", "4", "8"]}) -> (tensor<?x1x8xf32>, tensor<?x1x8xf32>) {
  %row = arith.constant dense<1.0> : tensor<8xf32>
  %n = ferrite.norm rms %x, %row epsilon = 1.0e-05 : tensor<?x4x8xf32>, tensor<8xf32>
  %a = ferrite.slice %n offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["batch", "1", "8"] : tensor<?x4x8xf32> -> tensor<?x1x8xf32>
  %b = ferrite.slice %n offsets = ["0", "1", "0"] steps = [1, 1, 1] dims = ["batch", "1", "8"] : tensor<?x4x8xf32> -> tensor<?x1x8xf32>
  return %a, %b : tensor<?x1x8xf32>, tensor<?x1x8xf32>
}

// Heads are split and moved: the position is found again before both. A bias that
// has one row for all tokens stays as it is.
// CHECK-LABEL: func.func @through_views
//       CHECK:   %[[S:.+]] = ferrite.slice %{{.+}} offsets = ["0", "3", "0"] {{.*}} dims = ["batch", "1", "8"]
//       CHECK:   %[[V:.+]] = ferrite.view %[[S]] dims = ["batch", "1", "2", "4"]
//       CHECK:   %[[T:.+]] = ferrite.transpose %[[V]] perm = [0, 2, 1, 3]
//       CHECK:   ferrite.add %[[T]], %{{.+}} : (tensor<?x2x1x4xf32>, tensor<1x4xf32>)
func.func @through_views(%x: tensor<?x?x8xf32> {ferrite.dims = ["batch", "sequence", "8"]}, %bias: tensor<1x4xf32> {ferrite.dims = ["1", "4"]}) -> tensor<?x2x1x4xf32> {
  %v = ferrite.view %x dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %t = ferrite.transpose %v perm = [0, 2, 1, 3] : tensor<?x?x2x4xf32> -> tensor<?x2x?x4xf32>
  %a = ferrite.add %t, %bias : (tensor<?x2x?x4xf32>, tensor<1x4xf32>) -> tensor<?x2x?x4xf32>
  %s = ferrite.slice %a offsets = ["0", "0", "3", "0"] steps = [1, 1, 1, 1] dims = ["batch", "2", "1", "4"] : tensor<?x2x?x4xf32> -> tensor<?x2x1x4xf32>
  return %s : tensor<?x2x1x4xf32>
}
