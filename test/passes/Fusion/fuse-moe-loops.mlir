// RUN: ferrite-opt %s --split-input-file --ferrite-fuse-moe --canonicalize | FileCheck %s

// Each turn finds its tokens in a mask [choices, tokens] of one_hot, reads their
// rows, and adds what it computes: as transformers 4 wrote it, exported by dynamo.
// Both products have one stack of matrices, and no row count is left to data.
// CHECK-LABEL: func.func @one_hot
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x8xf32>
//       CHECK:   %[[E:.+]] = ferrite.topk
//       CHECK:   %[[P:.+]] = ferrite.gather_elements
//       CHECK:   %[[PC:.+]] = ferrite.view %[[P]] dims = ["tokens", "2", "1"]
//       CHECK:   %[[ROW:.+]] = ferrite.view %[[X]] dims = ["tokens", "1", "8"]
//       CHECK:   %[[W:.+]] = ferrite.weight "w0" [{{.*}}offset = 0,{{.*}}offset = 512,{{.*}}] : tensor<2x8x16xf32>
//       CHECK:   %[[U:.+]] = ferrite.expert_linear %[[ROW]], %[[W]], %[[E]] : {{.*}} -> tensor<?x2x16xf32>
//       CHECK:   %[[A:.+]] = ferrite.relu %[[U]]
//       CHECK:   %[[V:.+]] = ferrite.weight "v0" [{{.*}}offset = 1024,{{.*}}offset = 1536,{{.*}}] : tensor<2x16x8xf32>
//       CHECK:   %[[D:.+]] = ferrite.expert_linear %[[A]], %[[V]], %[[E]] : {{.*}} -> tensor<?x2x8xf32>
//       CHECK:   %[[S:.+]] = ferrite.mul %[[D]], %[[PC]]
//       CHECK:   %[[Y:.+]] = ferrite.reduce sum %[[S]] axes = [1]
//   CHECK-NOT:   nonzero
//       CHECK:   return %[[Y]]
func.func @one_hot(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                   %l: tensor<?x2xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w0 = ferrite.weight "w0" [#ferrite.source<"m.bin", offset = 0, shape = [8, 16], type = f32>] : tensor<8x16xf32>
  %w1 = ferrite.weight "w1" [#ferrite.source<"m.bin", offset = 512, shape = [8, 16], type = f32>] : tensor<8x16xf32>
  %v0 = ferrite.weight "v0" [#ferrite.source<"m.bin", offset = 1024, shape = [16, 8], type = f32>] : tensor<16x8xf32>
  %v1 = ferrite.weight "v1" [#ferrite.source<"m.bin", offset = 1536, shape = [16, 8], type = f32>] : tensor<16x8xf32>
  %all = arith.constant dense<[0, 1]> : tensor<2xi64>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %e = ferrite.topk %l axis = 1 k = ["2"] : tensor<?x2xf32> -> tensor<?x2xi64>
  %p = ferrite.gather_elements %l, %e axis = 1 : (tensor<?x2xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %pc = ferrite.view %p dims = ["tokens", "2", "1"] : tensor<?x2xf32> -> tensor<?x2x1xf32>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %ec = ferrite.view %e dims = ["tokens", "2", "1"] : tensor<?x2xi64> -> tensor<?x2x1xi64>
  %hot = ferrite.compare eq %ec, %all : (tensor<?x2x1xi64>, tensor<2xi64>) -> tensor<?x2x2xi1>
  %hots = ferrite.cast %hot : (tensor<?x2x2xi1>) -> tensor<?x2x2xi64>
  %mask = ferrite.transpose %hots perm = [2, 1, 0] : tensor<?x2x2xi64> -> tensor<2x2x?xi64>

  %s0 = ferrite.slice %mask offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["1", "2", "tokens"] : tensor<2x2x?xi64> -> tensor<1x2x?xi64>
  %m0 = ferrite.view %s0 dims = ["2", "tokens"] : tensor<1x2x?xi64> -> tensor<2x?xi64>
  %n0 = ferrite.nonzero %m0 count = "n.0" : tensor<2x?xi64> -> tensor<?x2xi64>
  %k0 = ferrite.slice %n0 offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %t0 = ferrite.slice %n0 offsets = ["0", "1"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r0 = ferrite.gather_nd %x, %t0 : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u0 = ferrite.matmul %r0, %w0 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %a0 = ferrite.relu %u0 : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %d0 = ferrite.matmul %a0, %v0 : (tensor<?x16xf32>, tensor<16x8xf32>) -> tensor<?x8xf32>
  %tk0 = ferrite.concat %t0, %k0 axis = 1 : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %p0 = ferrite.gather_nd %pc, %tk0 : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %b0 = ferrite.mul %d0, %p0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %y0 = ferrite.scatter_nd sum %z, %t0, %b0 : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>

  %s1 = ferrite.slice %mask offsets = ["1", "0", "0"] steps = [1, 1, 1] dims = ["1", "2", "tokens"] : tensor<2x2x?xi64> -> tensor<1x2x?xi64>
  %m1 = ferrite.view %s1 dims = ["2", "tokens"] : tensor<1x2x?xi64> -> tensor<2x?xi64>
  %n1 = ferrite.nonzero %m1 count = "n.1" : tensor<2x?xi64> -> tensor<?x2xi64>
  %k1 = ferrite.slice %n1 offsets = ["0", "0"] steps = [1, 1] dims = ["n.1", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %t1 = ferrite.slice %n1 offsets = ["0", "1"] steps = [1, 1] dims = ["n.1", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %r1 = ferrite.gather_nd %x, %t1 : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u1 = ferrite.matmul %r1, %w1 : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  %a1 = ferrite.relu %u1 : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %d1 = ferrite.matmul %a1, %v1 : (tensor<?x16xf32>, tensor<16x8xf32>) -> tensor<?x8xf32>
  %tk1 = ferrite.concat %t1, %k1 axis = 1 : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %p1 = ferrite.gather_nd %pc, %tk1 : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %b1 = ferrite.mul %d1, %p1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %y1 = ferrite.scatter_nd sum %y0, %t1, %b1 : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y1 : tensor<?x8xf32>
}

// -----

// TorchScript's index_add: scattered over zeros and added, the weight read at
// token * 2 + choice. One turn, of expert 2 of 4, so other slots add nothing and
// its matrix is the whole stack; what was there before is no zero, and stays.
// CHECK-LABEL: func.func @index_add
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x8xf32>
//   CHECK-DAG:   %[[PLACES:.+]] = arith.constant dense<0> : tensor<4xi64>
//   CHECK-DAG:   %[[FLAGS:.+]] = arith.constant dense<[false, false, true, false]> : tensor<4xi1>
//   CHECK-DAG:   %[[W:.+]] = arith.constant dense<1.000000e+00> : tensor<1x8x8xf32>
//       CHECK:   %[[E:.+]] = ferrite.topk
//       CHECK:   %[[AT:.+]] = ferrite.gather %[[PLACES]], %[[E]] axis = 0
//       CHECK:   %[[IS:.+]] = ferrite.gather %[[FLAGS]], %[[E]] axis = 0
//       CHECK:   %[[ISC:.+]] = ferrite.view %[[IS]] dims = ["tokens", "2", "1"]
//       CHECK:   %[[U:.+]] = ferrite.expert_linear %{{.+}}, %[[W]], %[[AT]]
//       CHECK:   %[[M:.+]] = ferrite.mul %[[U]]
//       CHECK:   %[[OWN:.+]] = ferrite.where %[[ISC]], %[[M]]
//       CHECK:   %[[SUM:.+]] = ferrite.reduce sum %[[OWN]] axes = [1]
//       CHECK:   %[[Y:.+]] = ferrite.add %[[X]], %[[SUM]]
//   CHECK-NOT:   nonzero
//       CHECK:   return %[[Y]]
func.func @index_add(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                     %l: tensor<?x4xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "4"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %two = arith.constant dense<2> : tensor<i64>
  %e = ferrite.topk %l axis = 1 k = ["2"] : tensor<?x4xf32> -> tensor<?x2xi64>
  %p = ferrite.gather_elements %l, %e axis = 1 : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %pc = ferrite.view %p dims = ["tokens*2", "1"] : tensor<?x2xf32> -> tensor<?x1xf32>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m = ferrite.compare eq %e, %two : (tensor<?x2xi64>, tensor<i64>) -> tensor<?x2xi1>
  %n = ferrite.nonzero %m count = "n.0" : tensor<?x2xi1> -> tensor<?x2xi64>
  %tc = ferrite.slice %n offsets = ["0", "0"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %kc = ferrite.slice %n offsets = ["0", "1"] steps = [1, 1] dims = ["n.0", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %t = ferrite.view %tc dims = ["n.0"] : tensor<?x1xi64> -> tensor<?xi64>
  %k = ferrite.view %kc dims = ["n.0"] : tensor<?x1xi64> -> tensor<?xi64>
  %r = ferrite.gather %x, %t axis = 0 : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %u = ferrite.matmul %r, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %t2 = ferrite.mul %t, %two : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %at = ferrite.add %k, %t2 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %q = ferrite.gather %pc, %at axis = 0 : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %b = ferrite.mul %u, %q : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %i = ferrite.broadcast %tc dims = ["n.0", "8"] : tensor<?x1xi64> -> tensor<?x8xi64>
  %s = ferrite.scatter_elements none %z, %i, %b axis = 0 : tensor<?x8xf32>, tensor<?x8xi64>, tensor<?x8xf32>
  %y = ferrite.add %x, %s : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// gpt-oss: column e of weights that were scattered over all experts, and a bias.
// Only the chosen columns are read; the biases are one stack, gathered.
// CHECK-LABEL: func.func @scattered_weights
//       CHECK:   %[[E:.+]] = ferrite.arg_reduce max
//       CHECK:   %[[AT:.+]] = ferrite.view %[[E]] dims = ["tokens", "1"]
//       CHECK:   ferrite.expert_linear %{{.+}}, %{{.+}}, %[[AT]] bias(%{{.+}} : tensor<2x8xf32>)
//       CHECK:   ferrite.gather_elements %{{.+}}, %[[AT]] axis = 1
//   CHECK-NOT:   nonzero
//       CHECK:   return
func.func @scattered_weights(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                             %l: tensor<?x2xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w0 = arith.constant dense<1.0> : tensor<8x8xf32>
  %w1 = arith.constant dense<2.0> : tensor<8x8xf32>
  %c0 = arith.constant dense<3.0> : tensor<8xf32>
  %c1 = arith.constant dense<4.0> : tensor<8xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %i0 = arith.constant dense<0> : tensor<i64>
  %i1 = arith.constant dense<1> : tensor<i64>
  %e = ferrite.arg_reduce max %l axis = 1 : tensor<?x2xf32> -> tensor<?xi64>
  %z = ferrite.broadcast %zero dims = ["tokens", "8"] : tensor<f32> -> tensor<?x8xf32>
  %m0 = ferrite.compare eq %e, %i0 : (tensor<?xi64>, tensor<i64>) -> tensor<?xi1>
  %n0 = ferrite.nonzero %m0 count = "n.0" : tensor<?xi1> -> tensor<?x1xi64>
  %r0 = ferrite.gather_nd %x, %n0 : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u0 = ferrite.matmul %r0, %w0 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %d0 = ferrite.add %u0, %c0 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %l0 = ferrite.slice %l offsets = ["0", "0"] steps = [1, 1] dims = ["tokens", "1"] : tensor<?x2xf32> -> tensor<?x1xf32>
  %p0 = ferrite.gather_nd %l0, %n0 : (tensor<?x1xf32>, tensor<?x1xi64>) -> tensor<?x1xf32>
  %b0 = ferrite.mul %d0, %p0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %y0 = ferrite.scatter_nd none %z, %n0, %b0 : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  %m1 = ferrite.compare eq %e, %i1 : (tensor<?xi64>, tensor<i64>) -> tensor<?xi1>
  %n1 = ferrite.nonzero %m1 count = "n.1" : tensor<?xi1> -> tensor<?x1xi64>
  %r1 = ferrite.gather_nd %x, %n1 : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %u1 = ferrite.matmul %r1, %w1 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %d1 = ferrite.add %u1, %c1 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %l1 = ferrite.slice %l offsets = ["0", "1"] steps = [1, 1] dims = ["tokens", "1"] : tensor<?x2xf32> -> tensor<?x1xf32>
  %p1 = ferrite.gather_nd %l1, %n1 : (tensor<?x1xf32>, tensor<?x1xi64>) -> tensor<?x1xf32>
  %b1 = ferrite.mul %d1, %p1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %y1 = ferrite.scatter_nd none %y0, %n1, %b1 : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return %y1 : tensor<?x8xf32>
}
