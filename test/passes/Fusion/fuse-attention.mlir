// RUN: ferrite-opt %s --ferrite-fuse-attention --mlir-print-local-scope | FileCheck %s

// As dynamo writes sdpa: half the scale on either factor, the key transposed
// through three dims, the mask looked up by index tuples, the NaN guard, views
// that change nothing. Any part unseen costs the fusion; the split projections
// must be read as they lie, without a transposition.
// CHECK-LABEL: func.func @dynamo_sdpa
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x384xf32>{{.*}}, %[[K:[^:]+]]: tensor<?x?x384xf32>{{.*}}, %[[V:[^:]+]]: tensor<?x?x384xf32>{{.*}}, %[[M:[^:]+]]: tensor<?x?xi64>
//  CHECK-NEXT:   %[[KEEP:.+]] = ferrite.cast %[[M]] : (tensor<?x?xi64>) -> tensor<?x?xi1>
//  CHECK-NEXT:   %[[Q4:.+]] = ferrite.view %[[Q]]
//  CHECK-NEXT:   %[[K4:.+]] = ferrite.view %[[K]]
//  CHECK-NEXT:   %[[V4:.+]] = ferrite.view %[[V]]
//  CHECK-NEXT:   %[[A:.+]] = ferrite.attention %[[Q4]], %[[K4]], %[[V4]] mask(%[[KEEP]] : tensor<?x?xi1>) scale = 0.17677{{[0-9]+}} fill = -3.40282347E+38 guarded
//  CHECK-NEXT:   %[[R:.+]] = ferrite.view %[[A]] dims = ["batch", "sequence", "384"]
//  CHECK-NEXT:   return %[[R]]
func.func @dynamo_sdpa(%xq: tensor<?x?x384xf32> {ferrite.dims = ["batch", "sequence", "384"]}, %xk: tensor<?x?x384xf32> {ferrite.dims = ["batch", "sequence", "384"]}, %xv: tensor<?x?x384xf32> {ferrite.dims = ["batch", "sequence", "384"]}, %mask: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x?x384xf32> {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %min = arith.constant dense<-3.40282347E+38> : tensor<f32>
  %half = arith.constant dense<0.420448214> : tensor<f32>
  %m = ferrite.cast %mask : (tensor<?x?xi64>) -> tensor<?x?xi1>
  %b = ferrite.iota dims = ["batch"] : tensor<?xi64>
  %s = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %b4 = ferrite.view %b dims = ["batch", "1", "1", "1"] : tensor<?xi64> -> tensor<?x1x1x1xi64>
  %be = ferrite.broadcast %b4 dims = ["batch", "1", "1", "sequence"] : tensor<?x1x1x1xi64> -> tensor<?x1x1x?xi64>
  %ke = ferrite.broadcast %s dims = ["batch", "1", "1", "sequence"] : tensor<?xi64> -> tensor<?x1x1x?xi64>
  %bu = ferrite.view %be dims = ["batch", "1", "1", "sequence", "1"] : tensor<?x1x1x?xi64> -> tensor<?x1x1x?x1xi64>
  %ku = ferrite.view %ke dims = ["batch", "1", "1", "sequence", "1"] : tensor<?x1x1x?xi64> -> tensor<?x1x1x?x1xi64>
  %i = ferrite.concat %bu, %ku axis = 4 : (tensor<?x1x1x?x1xi64>, tensor<?x1x1x?x1xi64>) -> tensor<?x1x1x?x2xi64>
  %g = ferrite.gather_nd %m, %i : (tensor<?x?xi1>, tensor<?x1x1x?x2xi64>) -> tensor<?x1x1x?xi1>
  %e = ferrite.broadcast %g dims = ["batch", "1", "sequence", "sequence"] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
  %q4 = ferrite.view %xq dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %k4 = ferrite.view %xk dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %v4 = ferrite.view %xv dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %q = ferrite.transpose %q4 perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %k = ferrite.transpose %k4 perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %v = ferrite.transpose %v4 perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %k3 = ferrite.view %k dims = ["batch*12", "sequence", "32"] : tensor<?x12x?x32xf32> -> tensor<?x?x32xf32>
  %kt = ferrite.transpose %k3 perm = [0, 2, 1] : tensor<?x?x32xf32> -> tensor<?x32x?xf32>
  %k5 = ferrite.view %kt dims = ["batch", "12", "32", "sequence"] : tensor<?x32x?xf32> -> tensor<?x12x32x?xf32>
  %qs = ferrite.mul %q, %half : (tensor<?x12x?x32xf32>, tensor<f32>) -> tensor<?x12x?x32xf32>
  %ks = ferrite.mul %k5, %half : (tensor<?x12x32x?xf32>, tensor<f32>) -> tensor<?x12x32x?xf32>
  %w = ferrite.where %e, %zero, %min : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %p = ferrite.matmul %qs, %ks : (tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32>) -> tensor<?x12x?x?xf32>
  %a = ferrite.add %p, %w : (tensor<?x12x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x12x?x?xf32>
  %x = ferrite.softmax %a : tensor<?x12x?x?xf32>
  %n = ferrite.isnan %x : (tensor<?x12x?x?xf32>) -> tensor<?x12x?x?xi1>
  %y = ferrite.where %n, %zero, %x : (tensor<?x12x?x?xi1>, tensor<f32>, tensor<?x12x?x?xf32>) -> tensor<?x12x?x?xf32>
  %o = ferrite.matmul %y, %v : (tensor<?x12x?x?xf32>, tensor<?x12x?x32xf32>) -> tensor<?x12x?x32xf32>
  %o4 = ferrite.view %o dims = ["batch", "12", "sequence", "32"] : tensor<?x12x?x32xf32> -> tensor<?x12x?x32xf32>
  %t = ferrite.transpose %o4 perm = [0, 2, 1, 3] : tensor<?x12x?x32xf32> -> tensor<?x?x12x32xf32>
  %r = ferrite.view %t dims = ["batch", "sequence", "384"] : tensor<?x?x12x32xf32> -> tensor<?x?x384xf32>
  return %r : tensor<?x?x384xf32>
}

// As eager code is traced: one composed transposition of the key, the scale on
// the scores as a division, dropped scores replaced. -1e9 replaces, the op adds:
// only the lowest fill gives a row without keys the same.
// CHECK-LABEL: func.func @eager_masked_fill
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x4x16xf32>{{.*}}, %[[K:[^:]+]]: tensor<?x?x4x16xf32>{{.*}}, %[[V:[^:]+]]: tensor<?x?x4x16xf32>{{.*}}, %[[M:[^:]+]]: tensor<?x?xi64>
//       CHECK:   %[[KEEP:.+]] = ferrite.compare ne %[[M]], %{{.+}} : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi1>
//       CHECK:   %[[A:.+]] = ferrite.attention %[[Q]], %[[K]], %[[V]] mask(%[[KEEP]] : tensor<?x?xi1>) scale = 2.500000e-01 fill = -3.40282347E+38 :
//  CHECK-NEXT:   return %[[A]]
func.func @eager_masked_fill(%q4: tensor<?x?x4x16xf32> {ferrite.dims = ["batch", "queries", "4", "16"]}, %k4: tensor<?x?x4x16xf32> {ferrite.dims = ["batch", "keys", "4", "16"]}, %v4: tensor<?x?x4x16xf32> {ferrite.dims = ["batch", "keys", "4", "16"]}, %mask: tensor<?x?xi64> {ferrite.dims = ["batch", "keys"]}) -> tensor<?x?x4x16xf32> {
  %zero = arith.constant dense<0> : tensor<i64>
  %four = arith.constant dense<4.0> : tensor<f32>
  %fill = arith.constant dense<-1.0e+09> : tensor<f32>
  %q = ferrite.transpose %q4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  %k = ferrite.transpose %k4 perm = [0, 2, 3, 1] : tensor<?x?x4x16xf32> -> tensor<?x4x16x?xf32>
  %v = ferrite.transpose %v4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %s = ferrite.div %p, %four : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %z = ferrite.compare eq %mask, %zero : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi1>
  %m = ferrite.view %z dims = ["batch", "1", "1", "keys"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %w = ferrite.where %m, %fill, %s : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %w : tensor<?x4x?x?xf32>
  %o = ferrite.matmul %x, %v : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  %t = ferrite.transpose %o perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32>
  return %t : tensor<?x?x4x16xf32>
}

// An f16 model with its softmax in f32. The casts go, and a mask that depends on
// the query stays what it is, as a bias of rank 4.
// CHECK-LABEL: func.func @f16_causal
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x4x16xf16>{{.*}}, %[[M:[^:]+]]: tensor<?x?xf32>
//       CHECK:   %[[B:.+]] = ferrite.view %[[M]] dims = ["1", "1", "sequence", "sequence"]
//       CHECK:   ferrite.attention %[[Q]], %[[Q]], %[[Q]] bias(%[[B]] : tensor<1x1x?x?xf32>) scale = 1.000000e+00 :
//   CHECK-NOT:   ferrite.cast
//       CHECK:   return
func.func @f16_causal(%x4: tensor<?x?x4x16xf16> {ferrite.dims = ["batch", "sequence", "4", "16"]}, %mask: tensor<?x?xf32> {ferrite.dims = ["sequence", "sequence"]}) -> tensor<?x?x4x16xf16> {
  %q = ferrite.transpose %x4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf16> -> tensor<?x4x?x16xf16>
  %k = ferrite.transpose %q perm = [0, 1, 3, 2] : tensor<?x4x?x16xf16> -> tensor<?x4x16x?xf16>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf16>, tensor<?x4x16x?xf16>) -> tensor<?x4x?x?xf16>
  %c = ferrite.cast %p : (tensor<?x4x?x?xf16>) -> tensor<?x4x?x?xf32>
  %w = ferrite.add %mask, %c : (tensor<?x?xf32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %w : tensor<?x4x?x?xf32>
  %h = ferrite.cast %x : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf16>
  %o = ferrite.matmul %h, %q : (tensor<?x4x?x?xf16>, tensor<?x4x?x16xf16>) -> tensor<?x4x?x16xf16>
  %t = ferrite.transpose %o perm = [0, 2, 1, 3] : tensor<?x4x?x16xf16> -> tensor<?x?x4x16xf16>
  return %t : tensor<?x?x4x16xf16>
}

// Keys and values of 2 heads repeated for 6: reading the repetition would read
// each three times.
// CHECK-LABEL: func.func @repeated_heads
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x6x16xf32>{{.*}}, %[[K:[^:]+]]: tensor<?x?x2x16xf32>{{.*}}, %[[V:[^:]+]]: tensor<?x?x2x16xf32>
//       CHECK:   %[[A:.+]] = ferrite.attention %[[Q]], %[[K]], %[[V]] scale =
//   CHECK-NOT:   ferrite.broadcast
//       CHECK:   return
func.func @repeated_heads(%q4: tensor<?x?x6x16xf32> {ferrite.dims = ["batch", "sequence", "6", "16"]}, %k4: tensor<?x?x2x16xf32> {ferrite.dims = ["batch", "sequence", "2", "16"]}, %v4: tensor<?x?x2x16xf32> {ferrite.dims = ["batch", "sequence", "2", "16"]}) -> tensor<?x?x6x16xf32> {
  %q = ferrite.transpose %q4 perm = [0, 2, 1, 3] : tensor<?x?x6x16xf32> -> tensor<?x6x?x16xf32>
  %k2 = ferrite.transpose %k4 perm = [0, 2, 1, 3] : tensor<?x?x2x16xf32> -> tensor<?x2x?x16xf32>
  %k5 = ferrite.view %k2 dims = ["batch", "2", "1", "sequence", "16"] : tensor<?x2x?x16xf32> -> tensor<?x2x1x?x16xf32>
  %kr = ferrite.broadcast %k5 dims = ["batch", "2", "3", "sequence", "16"] : tensor<?x2x1x?x16xf32> -> tensor<?x2x3x?x16xf32>
  %k6 = ferrite.view %kr dims = ["batch", "6", "sequence", "16"] : tensor<?x2x3x?x16xf32> -> tensor<?x6x?x16xf32>
  %kt = ferrite.transpose %k6 perm = [0, 1, 3, 2] : tensor<?x6x?x16xf32> -> tensor<?x6x16x?xf32>
  %v2 = ferrite.transpose %v4 perm = [0, 2, 1, 3] : tensor<?x?x2x16xf32> -> tensor<?x2x?x16xf32>
  %v5 = ferrite.view %v2 dims = ["batch", "2", "1", "sequence", "16"] : tensor<?x2x?x16xf32> -> tensor<?x2x1x?x16xf32>
  %vr = ferrite.broadcast %v5 dims = ["batch", "2", "3", "sequence", "16"] : tensor<?x2x1x?x16xf32> -> tensor<?x2x3x?x16xf32>
  %v6 = ferrite.view %vr dims = ["batch", "6", "sequence", "16"] : tensor<?x2x3x?x16xf32> -> tensor<?x6x?x16xf32>
  %p = ferrite.matmul %q, %kt : (tensor<?x6x?x16xf32>, tensor<?x6x16x?xf32>) -> tensor<?x6x?x?xf32>
  %x = ferrite.softmax %p : tensor<?x6x?x?xf32>
  %o = ferrite.matmul %x, %v6 : (tensor<?x6x?x?xf32>, tensor<?x6x?x16xf32>) -> tensor<?x6x?x16xf32>
  %t = ferrite.transpose %o perm = [0, 2, 1, 3] : tensor<?x6x?x16xf32> -> tensor<?x?x6x16xf32>
  return %t : tensor<?x?x6x16xf32>
}

// Products over batch times heads, with a bias per head and a mask added where
// the scores have four dims again.
// CHECK-LABEL: func.func @three_dims
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x4x16xf32>
//       CHECK:   %[[BIAS:.+]] = ferrite.add %{{.+}}, %{{.+}} : (tensor<?x4x1x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x4x1x?xf32>
//       CHECK:   %[[A:.+]] = ferrite.attention %[[Q]], %[[Q]], %[[Q]] bias(%[[BIAS]] : tensor<?x4x1x?xf32>) scale = 2.500000e-01
//       CHECK:   %[[T:.+]] = ferrite.transpose %[[A]] perm = [0, 2, 1, 3]
//       CHECK:   %[[R:.+]] = ferrite.view %[[T]] dims = ["batch*4", "sequence", "16"]
//       CHECK:   return %[[R]]
func.func @three_dims(%x4: tensor<?x?x4x16xf32> {ferrite.dims = ["batch", "sequence", "4", "16"]}, %alibi: tensor<?x1x?xf32> {ferrite.dims = ["batch*4", "1", "sequence"]}, %mask: tensor<?x1x1x?xf32> {ferrite.dims = ["batch", "1", "1", "sequence"]}) -> tensor<?x?x16xf32> {
  %quarter = arith.constant dense<0.25> : tensor<f32>
  %t4 = ferrite.transpose %x4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  %q = ferrite.view %t4 dims = ["batch*4", "sequence", "16"] : tensor<?x4x?x16xf32> -> tensor<?x?x16xf32>
  %k = ferrite.transpose %q perm = [0, 2, 1] : tensor<?x?x16xf32> -> tensor<?x16x?xf32>
  %p = ferrite.matmul %q, %k : (tensor<?x?x16xf32>, tensor<?x16x?xf32>) -> tensor<?x?x?xf32>
  %s = ferrite.mul %quarter, %p : (tensor<f32>, tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %a = ferrite.add %s, %alibi : (tensor<?x?x?xf32>, tensor<?x1x?xf32>) -> tensor<?x?x?xf32>
  %a4 = ferrite.view %a dims = ["batch", "4", "sequence", "sequence"] : tensor<?x?x?xf32> -> tensor<?x4x?x?xf32>
  %m = ferrite.add %a4, %mask : (tensor<?x4x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %m : tensor<?x4x?x?xf32>
  %x3 = ferrite.view %x dims = ["batch*4", "sequence", "sequence"] : tensor<?x4x?x?xf32> -> tensor<?x?x?xf32>
  %o = ferrite.matmul %x3, %q : (tensor<?x?x?xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  return %o : tensor<?x?x16xf32>
}

// Heads before tokens, as behind rotary embeddings and caches: transposed, the
// fusion is as good; and a single head without a dim of its own.
// CHECK-LABEL: func.func @heads_before_tokens
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x4x?x16xf32>
//       CHECK:   %[[T:.+]] = ferrite.transpose %[[Q]] perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32>
//       CHECK:   %[[A:.+]] = ferrite.attention %[[T]], %{{.+}}, %{{.+}} scale
//       CHECK:   %[[R:.+]] = ferrite.transpose %[[A]] perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
//       CHECK:   return %[[R]]
func.func @heads_before_tokens(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["batch", "4", "sequence", "16"]}) -> tensor<?x4x?x16xf32> {
  %k = ferrite.transpose %q perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %p : tensor<?x4x?x?xf32>
  %o = ferrite.matmul %x, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %o : tensor<?x4x?x16xf32>
}

// CHECK-LABEL: func.func @one_head
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x16xf32>
//       CHECK:   %[[Q:.+]] = ferrite.view %[[X]] dims = ["batch", "sequence", "1", "16"]
//       CHECK:   ferrite.attention %[[Q]]
func.func @one_head(%x: tensor<?x?x16xf32> {ferrite.dims = ["batch", "sequence", "16"]}) -> tensor<?x?x16xf32> {
  %k = ferrite.transpose %x perm = [0, 2, 1] : tensor<?x?x16xf32> -> tensor<?x16x?xf32>
  %p = ferrite.matmul %x, %k : (tensor<?x?x16xf32>, tensor<?x16x?xf32>) -> tensor<?x?x?xf32>
  %s = ferrite.softmax %p : tensor<?x?x?xf32>
  %o = ferrite.matmul %s, %x : (tensor<?x?x?xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  return %o : tensor<?x?x16xf32>
}

// Two layers, one mask: built once. The scale is computed by nodes that nobody
// folded, and the second mask is replaced by -inf, so a row without keys stays
// NaN: the op is not guarded.
// CHECK-LABEL: func.func @two_layers
//       CHECK:   %[[KEEP:.+]] = ferrite.not
//       CHECK:   ferrite.attention {{.*}} mask(%[[KEEP]] : tensor<?x?xi1>) scale = 2.500000e-01 :
//   CHECK-NOT:   ferrite.not
//       CHECK:   ferrite.attention {{.*}} mask(%[[KEEP]] : tensor<?x?xi1>) scale = 1.000000e+00 :
func.func @two_layers(%x4: tensor<?x?x4x16xf32> {ferrite.dims = ["batch", "sequence", "4", "16"]}, %drop: tensor<?x?xi1> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x?x4x16xf32> {
  %sixteen = arith.constant dense<16.0> : tensor<f32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %inf = arith.constant dense<0xFF800000> : tensor<f32>
  %root = ferrite.sqrt %sixteen : (tensor<f32>) -> tensor<f32>
  %m = ferrite.view %drop dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %w = ferrite.where %m, %inf, %zero : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %q = ferrite.transpose %x4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  %k = ferrite.transpose %x4 perm = [0, 2, 3, 1] : tensor<?x?x4x16xf32> -> tensor<?x4x16x?xf32>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %s = ferrite.div %p, %root : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %a = ferrite.add %s, %w : (tensor<?x4x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x4x?x?xf32>
  %x = ferrite.softmax %a : tensor<?x4x?x?xf32>
  %o = ferrite.matmul %x, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  %k2 = ferrite.transpose %o perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32>
  %p2 = ferrite.matmul %o, %k2 : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %w2 = ferrite.where %m, %inf, %p2 : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %x2 = ferrite.softmax %w2 : tensor<?x4x?x?xf32>
  %o2 = ferrite.matmul %x2, %o : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  %t = ferrite.transpose %o2 perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32>
  return %t : tensor<?x?x4x16xf32>
}

// Added in f16, -65504 leaves nothing of the score: a row without keys is the
// mean of the values. The op adds in f32, where the lowest fill does the same.
// CHECK-LABEL: func.func @f16_mask
//       CHECK:   ferrite.attention {{.*}} fill = -3.40282347E+38 :
func.func @f16_mask(%x4: tensor<?x?x4x16xf16> {ferrite.dims = ["batch", "sequence", "4", "16"]}, %keep: tensor<?x?xi1> {ferrite.dims = ["batch", "sequence"]}) -> tensor<?x4x?x16xf16> {
  %zero = arith.constant dense<0.0> : tensor<f16>
  %min = arith.constant dense<-65504.0> : tensor<f16>
  %m = ferrite.view %keep dims = ["batch", "1", "1", "sequence"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %w = ferrite.where %m, %zero, %min : (tensor<?x1x1x?xi1>, tensor<f16>, tensor<f16>) -> tensor<?x1x1x?xf16>
  %q = ferrite.transpose %x4 perm = [0, 2, 1, 3] : tensor<?x?x4x16xf16> -> tensor<?x4x?x16xf16>
  %k = ferrite.transpose %x4 perm = [0, 2, 3, 1] : tensor<?x?x4x16xf16> -> tensor<?x4x16x?xf16>
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf16>, tensor<?x4x16x?xf16>) -> tensor<?x4x?x?xf16>
  %a = ferrite.add %p, %w : (tensor<?x4x?x?xf16>, tensor<?x1x1x?xf16>) -> tensor<?x4x?x?xf16>
  %x = ferrite.softmax %a : tensor<?x4x?x?xf16>
  %o = ferrite.matmul %x, %q : (tensor<?x4x?x?xf16>, tensor<?x4x?x16xf16>) -> tensor<?x4x?x16xf16>
  return %o : tensor<?x4x?x16xf16>
}
