// RUN: ferrite-opt %s --ferrite-fuse-attention --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-attention --remark-format=emitRemark | FileCheck %s

// A mask below the cap is bounded by it, and drops nothing: the op's mask would.
// CHECK-LABEL: func.func @softcap
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @softcap(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %m: tensor<2x1x1x8xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %a = ferrite.add %p, %m : (tensor<2x4x8x8xf32>, tensor<2x1x1x8xf32>) -> tensor<2x4x8x8xf32>
  %c = ferrite.tanh %a : (tensor<2x4x8x8xf32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="a mask is added before the cap of the scores"}}
  %x = ferrite.softmax %c : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// -----

// A column of sinks is cut off after the softmax, but it has a number for each
// query, where the op has one for each head.
// CHECK-LABEL: func.func @sink
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @sink(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %sink: tensor<2x4x8x1xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %c = ferrite.concat %p, %sink axis = 3 : (tensor<2x4x8x8xf32>, tensor<2x4x8x1xf32>) -> tensor<2x4x8x9xf32>
  // expected-remark @below {{Reason="the sinks are not one number per head"}}
  %x = ferrite.softmax %c : tensor<2x4x8x9xf32>
  %s = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "4", "8", "8"] : tensor<2x4x8x9xf32> -> tensor<2x4x8x8xf32>
  %o = ferrite.matmul %s, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// -----

// A fill of -50 leaves dropped keys a weight; adding it is not replacing by it.
// CHECK-LABEL: func.func @weak_fill
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @weak_fill(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %m: tensor<2x1x1x8xi1>) -> tensor<2x4x8x16xf32> {
  %fill = arith.constant dense<-50.0> : tensor<f32>
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %w = ferrite.where %m, %p, %fill : (tensor<2x1x1x8xi1>, tensor<2x4x8x8xf32>, tensor<f32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="dropped scores are replaced by -50.000000, which does not drop them"}}
  %x = ferrite.softmax %w : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// -----

// Scores of two products (disentangled attention) have no one key.
// CHECK-LABEL: func.func @two_products
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @two_products(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %r = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %s = ferrite.add %p, %r : (tensor<2x4x8x8xf32>, tensor<2x4x8x8xf32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="the scores are a sum of two products"}}
  %x = ferrite.softmax %s : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// -----

// A softmax over the queries: fused, every probability would be another.
// CHECK-LABEL: func.func @softmax_over_queries
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @softmax_over_queries(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %t = ferrite.transpose %p perm = [0, 1, 3, 2] : tensor<2x4x8x8xf32> -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="the softmax is not over the keys"}}
  %x = ferrite.softmax %t : tensor<2x4x8x8xf32>
  %u = ferrite.transpose %x perm = [0, 1, 3, 2] : tensor<2x4x8x8xf32> -> tensor<2x4x8x8xf32>
  %o = ferrite.matmul %u, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// -----

// The kernels are made for a number of heads, and keys of another batch are
// another attention.
func.func @dynamic_heads(%q: tensor<2x?x8x16xf32> {ferrite.dims = ["2", "heads", "8", "16"]}, %k: tensor<2x?x16x8xf32> {ferrite.dims = ["2", "heads", "16", "8"]}) -> tensor<2x?x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x?x8x16xf32>, tensor<2x?x16x8xf32>) -> tensor<2x?x8x8xf32>
  // expected-remark @below {{Reason="the number of heads is not a constant"}}
  %x = ferrite.softmax %p : tensor<2x?x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x?x8x8xf32>, tensor<2x?x8x16xf32>) -> tensor<2x?x8x16xf32>
  return %o : tensor<2x?x8x16xf32>
}

func.func @keys_without_batch(%q: tensor<2x4x8x16xf32>, %k: tensor<4x16x8xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<4x16x8xf32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="the right factor of the scores has no batch, heads, size and tokens"}}
  %x = ferrite.softmax %p : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

func.func @learned_scale(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %temperature: tensor<4x1x1xf32>) -> tensor<2x4x8x16xf32> {
  %p = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  %s = ferrite.mul %p, %temperature : (tensor<2x4x8x8xf32>, tensor<4x1x1xf32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="the scores pass through ferrite.mul"}}
  %x = ferrite.softmax %s : tensor<2x4x8x8xf32>
  %o = ferrite.matmul %x, %q : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %o : tensor<2x4x8x16xf32>
}

// No probabilities here: a classifier's softmax is no candidate and gets no remark.
func.func @classifier(%x: tensor<2x8xf32>, %w: tensor<8x8xf32>) -> tensor<2x8xf32> {
  %p = ferrite.matmul %x, %w : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %y = ferrite.softmax %p : tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}
