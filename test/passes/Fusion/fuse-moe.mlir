// RUN: ferrite-opt %s --ferrite-fuse-moe | FileCheck %s

// As Mixtral is exported: a copy of the matrices for each token and expert,
// times a column. The copies must go, the repeated rows too, and both products
// must have one value for their experts, or slots would be sorted twice.
// CHECK-LABEL: func.func @columns
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x32xf32>
//  CHECK-SAME:   %[[E:[^:]+]]: tensor<?x2xi64>
//   CHECK-DAG:   %[[UP:.+]] = ferrite.weight "up" [{{.*}}shape = [4, 48, 32], type = f32, perm = [0, 2, 1]>] : tensor<4x32x48xf32>
//   CHECK-DAG:   %[[ONCE:.+]] = ferrite.view %[[X]] dims = ["tokens", "1", "32"]
//   CHECK-NOT:   ferrite.gather
//       CHECK:   %[[U:.+]] = ferrite.expert_linear %[[ONCE]], %[[UP]], %[[E]] : {{.*}} -> tensor<?x2x48xf32>
//       CHECK:   %[[DOWN:.+]] = ferrite.weight "down" [{{.*}}shape = [4, 32, 48], type = f32, perm = [0, 2, 1]>] : tensor<4x48x32xf32>
//       CHECK:   ferrite.expert_linear %{{.+}}, %[[DOWN]], %[[E]] : tensor<?x2x48xf32>, {{.*}} -> tensor<?x2x32xf32>
//   CHECK-NOT:   ferrite.matmul
//       CHECK:   return
func.func @columns(%x: tensor<?x32xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "32"]},
                   %e: tensor<?x2xi64> {ferrite.name = "e", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x32xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %up = ferrite.weight "up" [#ferrite.source<"m.bin", offset = 0, shape = [4, 48, 32], type = f32>] : tensor<4x48x32xf32>
  %down = ferrite.weight "down" [#ferrite.source<"m.bin", offset = 24576, shape = [4, 32, 48], type = f32>] : tensor<4x32x48xf32>
  %once = ferrite.view %x dims = ["tokens", "1", "32"] : tensor<?x32xf32> -> tensor<?x1x32xf32>
  %twice = ferrite.broadcast %once dims = ["tokens", "2", "32"] : tensor<?x1x32xf32> -> tensor<?x2x32xf32>
  %ids = ferrite.view %e dims = ["tokens*2", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %wu = ferrite.gather_nd %up, %ids : (tensor<4x48x32xf32>, tensor<?x1xi64>) -> tensor<?x48x32xf32>
  %c = ferrite.view %twice dims = ["tokens*2", "32", "1"] : tensor<?x2x32xf32> -> tensor<?x32x1xf32>
  %pu = ferrite.matmul %wu, %c : (tensor<?x48x32xf32>, tensor<?x32x1xf32>) -> tensor<?x48x1xf32>
  %u = ferrite.view %pu dims = ["tokens*2", "48"] : tensor<?x48x1xf32> -> tensor<?x48xf32>
  %a = ferrite.sigmoid %u : (tensor<?x48xf32>) -> tensor<?x48xf32>
  %wd = ferrite.gather_nd %down, %ids : (tensor<4x32x48xf32>, tensor<?x1xi64>) -> tensor<?x32x48xf32>
  %d = ferrite.view %a dims = ["tokens*2", "48", "1"] : tensor<?x48xf32> -> tensor<?x48x1xf32>
  %pd = ferrite.matmul %wd, %d : (tensor<?x32x48xf32>, tensor<?x48x1xf32>) -> tensor<?x32x1xf32>
  %r = ferrite.view %pd dims = ["tokens", "2", "32"] : tensor<?x32x1xf32> -> tensor<?x2x32xf32>
  %y = ferrite.reduce sum %r axes = [1] : tensor<?x2x32xf32> -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// As gpt-oss is exported: a row times the matrices as they are, a gathered bias,
// and a plain Gather for some exporters. A constant is no weight, and works too.
// CHECK-LABEL: func.func @rows_and_bias
//   CHECK-DAG:   %[[W:.+]] = arith.constant dense<1.000000e+00> : tensor<4x8x16xf32>
//   CHECK-DAG:   %[[B:.+]] = arith.constant dense<5.000000e-01> : tensor<4x16xf32>
//       CHECK:   ferrite.expert_linear %{{.+}}, %[[W]], %{{.+}} bias(%[[B]] : tensor<4x16xf32>) : tensor<?x1x8xf32>, tensor<4x8x16xf32>, tensor<?x1xi64> -> tensor<?x1x16xf32>
//   CHECK-NOT:   ferrite.add
//       CHECK:   return
func.func @rows_and_bias(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["slots", "8"]},
                         %e: tensor<?xi32> {ferrite.name = "e", ferrite.dims = ["slots"]},
                         %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]})
    -> (tensor<?x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf32>
  %b = arith.constant dense<0.5> : tensor<4x16xf32>
  %row = ferrite.view %x dims = ["slots", "1", "8"] : tensor<?x8xf32> -> tensor<?x1x8xf32>
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf32>, tensor<?xi64>) -> tensor<?x8x16xf32>
  %be = ferrite.gather %b, %i axis = 0 : (tensor<4x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %p = ferrite.matmul %row, %we : (tensor<?x1x8xf32>, tensor<?x8x16xf32>) -> tensor<?x1x16xf32>
  %v = ferrite.view %p dims = ["slots", "16"] : tensor<?x1x16xf32> -> tensor<?x16xf32>
  %y = ferrite.add %v, %be : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// The bias of other experts than those of the product must stay an add.
// CHECK-LABEL: func.func @bias_of_others
//       CHECK:   ferrite.expert_linear %{{.+}}, %{{.+}}, %{{.+}} : tensor<?x1x8xf32>
//       CHECK:   ferrite.add
func.func @bias_of_others(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["slots", "8"]},
                          %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["slots"]},
                          %j: tensor<?xi64> {ferrite.name = "j", ferrite.dims = ["slots"]})
    -> (tensor<?x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"slots", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf32>
  %b = arith.constant dense<0.5> : tensor<4x16xf32>
  %row = ferrite.view %x dims = ["slots", "1", "8"] : tensor<?x8xf32> -> tensor<?x1x8xf32>
  %we = ferrite.gather %w, %i axis = 0 : (tensor<4x8x16xf32>, tensor<?xi64>) -> tensor<?x8x16xf32>
  %be = ferrite.gather %b, %j axis = 0 : (tensor<4x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  %p = ferrite.matmul %row, %we : (tensor<?x1x8xf32>, tensor<?x8x16xf32>) -> tensor<?x1x16xf32>
  %v = ferrite.view %p dims = ["slots", "16"] : tensor<?x1x16xf32> -> tensor<?x16xf32>
  %y = ferrite.add %v, %be : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

// Matrices gathered as [tokens, choices, ..] beside one row a token, which
// broadcasts in the product itself.
// CHECK-LABEL: func.func @broadcast_in_the_product
//  CHECK-SAME:   %[[E:[^:]+]]: tensor<?x2xi64>
//       CHECK:   %[[ONCE:.+]] = ferrite.view %{{.+}} dims = ["tokens", "1", "8"]
//       CHECK:   ferrite.expert_linear %[[ONCE]], %{{.+}}, %[[E]] : tensor<?x1x8xf32>, tensor<4x8x16xf32>, tensor<?x2xi64> -> tensor<?x2x16xf32>
//   CHECK-NOT:   ferrite.matmul
//       CHECK:   return
func.func @broadcast_in_the_product(%x: tensor<?x1x8x1xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "1", "8", "1"]},
                                    %e: tensor<?x2xi64> {ferrite.name = "e", ferrite.dims = ["tokens", "2"]})
    -> (tensor<?x2x16x1xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x16x8xf32>
  %we = ferrite.gather %w, %e axis = 0 : (tensor<4x16x8xf32>, tensor<?x2xi64>) -> tensor<?x2x16x8xf32>
  %p = ferrite.matmul %we, %x : (tensor<?x2x16x8xf32>, tensor<?x1x8x1xf32>) -> tensor<?x2x16x1xf32>
  return %p : tensor<?x2x16x1xf32>
}

// As gpt-oss of transformers 4 is exported: every expert for every token, with
// weights that are mostly zero. Only what was chosen may be left, with its bias.
// CHECK-LABEL: func.func @all_experts
//       CHECK:   %[[E:.+]] = ferrite.topk
//       CHECK:   %[[ONCE:.+]] = ferrite.view %{{.+}} dims = ["tokens", "1", "8"]
//       CHECK:   %[[U:.+]] = ferrite.expert_linear %[[ONCE]], %{{.+}}, %[[E]] bias(%{{.+}} : tensor<4x16xf32>) : {{.*}} -> tensor<?x2x16xf32>
//       CHECK:   ferrite.slice %{{.+}} offsets = ["0", "0", "1"] steps = [1, 1, 2] dims = ["tokens", "2", "8"]
//       CHECK:   ferrite.reduce sum %{{.+}} axes = [1] : tensor<?x2x8xf32> -> tensor<?x8xf32>
//   CHECK-NOT:   ferrite.matmul
//   CHECK-NOT:   ferrite.scatter_elements
//       CHECK:   return
func.func @all_experts(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["tokens", "8"]},
                       %l: tensor<?x4xf32> {ferrite.name = "l", ferrite.dims = ["tokens", "4"]})
    -> (tensor<?x8xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 512>]} {
  %w = arith.constant dense<1.0> : tensor<4x8x16xf32>
  %b = arith.constant dense<0.5> : tensor<4x1x16xf32>
  %zero = arith.constant dense<0.0> : tensor<f32>
  %e = ferrite.topk %l axis = 1 k = ["2"] : tensor<?x4xf32> -> tensor<?x2xi64>
  %v = ferrite.gather_elements %l, %e axis = 1 : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %z = ferrite.broadcast %zero dims = ["tokens", "4"] : tensor<f32> -> tensor<?x4xf32>
  %s = ferrite.scatter_elements none %z, %e, %v axis = 1 : tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>
  %o = ferrite.view %x dims = ["1", "tokens", "8"] : tensor<?x8xf32> -> tensor<1x?x8xf32>
  %a = ferrite.broadcast %o dims = ["4", "tokens", "8"] : tensor<1x?x8xf32> -> tensor<4x?x8xf32>
  %p = ferrite.matmul %a, %w : (tensor<4x?x8xf32>, tensor<4x8x16xf32>) -> tensor<4x?x16xf32>
  %pb = ferrite.add %p, %b : (tensor<4x?x16xf32>, tensor<4x1x16xf32>) -> tensor<4x?x16xf32>
  %u = ferrite.slice %pb offsets = ["0", "0", "1"] steps = [1, 1, 2] dims = ["4", "tokens", "8"] : tensor<4x?x16xf32> -> tensor<4x?x8xf32>
  %g = ferrite.sigmoid %u : (tensor<4x?x8xf32>) -> tensor<4x?x8xf32>
  %t = ferrite.transpose %s perm = [1, 0] : tensor<?x4xf32> -> tensor<4x?xf32>
  %tc = ferrite.view %t dims = ["4", "tokens", "1"] : tensor<4x?xf32> -> tensor<4x?x1xf32>
  %m = ferrite.mul %g, %tc : (tensor<4x?x8xf32>, tensor<4x?x1xf32>) -> tensor<4x?x8xf32>
  %y = ferrite.reduce sum %m axes = [0] : tensor<4x?x8xf32> -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
