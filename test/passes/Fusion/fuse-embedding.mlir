// RUN: ferrite-opt %s --ferrite-fuse-embedding --mlir-print-debuginfo --mlir-print-local-scope --split-input-file | FileCheck %s

// BERT: words, types and a slice of the constant position ids. Three gathers
// left would write three tensors of the size of the result.
// CHECK-LABEL: func.func @words_types_positions
//  CHECK-SAME:   %[[IDS:[^:]+]]: tensor<?x?xi64>{{.*}} %[[TYPES:[^:]+]]: tensor<?x?xi64>{{.*}} %[[T:[^:]+]]: tensor<2x64xf32>{{.*}} %[[P:[^:]+]]: tensor<8x64xf32>
//       CHECK:   %[[W:.+]] = ferrite.weight
//       CHECK:   %[[E:.+]] = ferrite.embedding ids(%[[IDS]], %[[TYPES]] : {{.*}}) tables(%[[W]], %[[T]], %[[P]] : {{.*}}) index = [0, 1, -1] positions = [0, 0, 1] norm(%{{.+}}, %{{.+}} : tensor<64xf32>, tensor<64xf32>) epsilon = 9.99999996E-13 -> tensor<?x?x64xf32>
//  CHECK-SAME:     loc(fused["/words"{{.*}}"/LayerNorm"
//  CHECK-NEXT:   return %[[E]]
func.func @words_types_positions(%ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %types: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %t: tensor<2x64xf32>, %p: tensor<8x64xf32>, %g: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %count = arith.constant dense<[[0, 1, 2, 3, 4, 5, 6, 7]]> : tensor<1x8xi64>
  %a = ferrite.gather %w, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32> loc("/words")
  %b = ferrite.gather %t, %types axis = 0 : (tensor<2x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %c = ferrite.add %a, %b : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %s = ferrite.slice %count offsets = ["0", "1"] steps = [1, 1] dims = ["1", "sequence"] : tensor<1x8xi64> -> tensor<1x?xi64>
  %d = ferrite.gather %p, %s axis = 0 : (tensor<8x64xf32>, tensor<1x?xi64>) -> tensor<1x?x64xf32>
  %e = ferrite.add %c, %d : (tensor<?x?x64xf32>, tensor<1x?x64xf32>) -> tensor<?x?x64xf32>
  %y = ferrite.norm layer %e, %g bias(%g : tensor<64xf32>) epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32> loc("/LayerNorm")
  return %y : tensor<?x?x64xf32>
}

// -----

// Positions counted at run time from 2, and no norm behind the sum.
// CHECK-LABEL: func.func @counted_positions
//       CHECK:   ferrite.embedding ids(%{{.+}} : tensor<?x?xi64>) tables(%{{.+}}, %{{.+}} : {{.*}}) index = [0, -1] positions = [0, 2] epsilon
func.func @counted_positions(%ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %p: tensor<8x64xf32>) -> tensor<?x?x64xf32> {
  %wt = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %two = arith.constant dense<2> : tensor<i64>
  %n = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %m = ferrite.add %n, %two : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %v = ferrite.view %m dims = ["1", "sequence"] : tensor<?xi64> -> tensor<1x?xi64>
  %a = ferrite.gather %wt, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %b = ferrite.gather %p, %v axis = 0 : (tensor<8x64xf32>, tensor<1x?xi64>) -> tensor<1x?x64xf32>
  %c = ferrite.add %a, %b : (tensor<?x?x64xf32>, tensor<1x?x64xf32>) -> tensor<?x?x64xf32>
  return %c : tensor<?x?x64xf32>
}

// -----

// GPT-2: the sum is the first residual too, so the norm stays a norm.
// CHECK-LABEL: func.func @sum_read_twice
//       CHECK:   %[[E:.+]] = ferrite.embedding ids(%{{.+}}, %{{.+}} : tensor<?x?xi64>, tensor<?x?xi64>) tables(%{{.+}}, %{{.+}} : {{.*}}) index = [0, 1] positions = [0, 0] epsilon
//       CHECK:   %[[Y:.+]] = ferrite.norm layer %[[E]]
//       CHECK:   return %[[Y]], %[[E]]
func.func @sum_read_twice(%ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %at: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %p: tensor<8x64xf32>, %g: tensor<64xf32>) -> (tensor<?x?x64xf32>, tensor<?x?x64xf32>) {
  %wt = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %a = ferrite.gather %wt, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %b = ferrite.gather %p, %at axis = 0 : (tensor<8x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %c = ferrite.add %a, %b : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %y = ferrite.norm layer %c, %g bias(%g : tensor<64xf32>) epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>
  return %y, %c : tensor<?x?x64xf32>, tensor<?x?x64xf32>
}

// -----

// A norm of another kind stays as well.
// CHECK-LABEL: func.func @rms_norm_of_sum
//       CHECK:   %[[E:.+]] = ferrite.embedding
//       CHECK:   ferrite.norm rms %[[E]]
func.func @rms_norm_of_sum(%ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %at: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"]}, %p: tensor<8x64xf32>, %g: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %wt = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %a = ferrite.gather %wt, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %b = ferrite.gather %p, %at axis = 0 : (tensor<8x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %c = ferrite.add %a, %b : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  %y = ferrite.norm rms %c, %g epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>
  return %y : tensor<?x?x64xf32>
}
