// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --ferrite-merge-tokens=spec="merge:2" --remarks-filter=ferrite-sparsify-attention --remark-format=emitRemark | FileCheck %s

// What follows the residual stream has fewer tokens; the second attention adds
// the log of sizes; the first token is taken where it is; results are restored.
// CHECK-LABEL: func.func @main
//       CHECK:   %[[A:.+]] = ferrite.attention
//   CHECK-NOT:   bias
//       CHECK:   %[[X:.+]] = ferrite.linear %{{.+}}, %{{.+}} sides(
//       CHECK:   %[[M:.+]] = ferrite.token_metric %{{.+}} : tensor<?x9x2x4xf32> -> tensor<?x9x4xf32>
//       CHECK:   %[[T:.+]] = ferrite.match_tokens %[[M]] removed = 2 fixed = 1
//       CHECK:   %[[S:.+]] = ferrite.merge_tokens %{{.+}}, %[[T]] removed = 2 sum : tensor<?x9x1xf32>, {{.*}} -> tensor<?x7x1xf32>
//       CHECK:   %[[V:.+]] = ferrite.view %[[S]] dims = ["batch", "7"]
//       CHECK:   %[[Y:.+]] = ferrite.merge_tokens %[[X]], %[[T]] removed = 2 : {{.*}} -> tensor<?x7x8xf32>
//       CHECK:   %[[N:.+]] = ferrite.norm layer %[[Y]], {{.*}} : tensor<?x7x8xf32>
//       CHECK:   %[[H:.+]] = ferrite.view %[[N]] dims = ["batch", "7", "2", "4"]
//       CHECK:   %[[L:.+]] = ferrite.log %[[V]]
//       CHECK:   %[[B:.+]] = ferrite.view %[[L]] dims = ["batch", "1", "1", "7"]
//       CHECK:   ferrite.attention %[[H]], %[[H]], %[[H]] bias(%[[B]] : tensor<?x1x1x7xf32>)
//       CHECK:   %[[Z:.+]] = ferrite.linear {{.*}} sides(%[[Y]]
//       CHECK:   %[[T2:.+]] = ferrite.match_tokens {{.*}} : tensor<?x7x4xf32> -> tensor<?x7xi32>
//       CHECK:   %[[W:.+]] = ferrite.merge_tokens %[[Z]], %[[T2]] sizes(%[[V]] : tensor<?x7xf32>) removed = 2 : {{.*}} -> tensor<?x5x8xf32>
//       CHECK:   %[[F:.+]] = ferrite.slice %[[W]] offsets = ["0", "0", "0"] {{.*}} : tensor<?x5x8xf32> -> tensor<?x1x8xf32>
//       CHECK:   %[[N2:.+]] = ferrite.view %[[T2]] dims = ["batch", "7", "1"]
//       CHECK:   %[[ALL:.+]] = ferrite.unmerge_tokens %[[N2]], %[[T]] : tensor<?x7x1xi32>, tensor<?x9xi32> -> tensor<?x9x1xi32>
//       CHECK:   %[[TO:.+]] = ferrite.view %[[ALL]] dims = ["batch", "9"]
//       CHECK:   %[[R:.+]] = ferrite.unmerge_tokens %[[W]], %[[TO]] : tensor<?x5x8xf32>, tensor<?x9xi32> -> tensor<?x9x8xf32>
//       CHECK:   return %[[R]], %[[F]]
func.func @main(%x: tensor<?x9x8xf32> {ferrite.dims = ["batch", "9", "8"], ferrite.name = "x"}, %w: tensor<8x8xf32> {ferrite.name = "w"}, %g: tensor<8xf32> {ferrite.name = "g"}) -> (tensor<?x9x8xf32> {ferrite.name = "y"}, tensor<?x1x8xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"batch", min = 1, max = 64>]} {
  %0 = ferrite.view %x dims = ["batch", "9", "2", "4"] : tensor<?x9x8xf32> -> tensor<?x9x2x4xf32>
  // expected-remark @below {{merge:2}}
  %1 = ferrite.attention %0, %0, %0 scale = 0.5 : (tensor<?x9x2x4xf32>, tensor<?x9x2x4xf32>, tensor<?x9x2x4xf32>) -> tensor<?x9x2x4xf32>
  %2 = ferrite.view %1 dims = ["batch", "9", "8"] : tensor<?x9x2x4xf32> -> tensor<?x9x8xf32>
  %3 = ferrite.linear %2, %w sides(%x : tensor<?x9x8xf32>) : (tensor<?x9x8xf32>, tensor<8x8xf32>) -> tensor<?x9x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    ferrite.yield %s : f32
  }
  %4 = ferrite.norm layer %3, %g epsilon = 1.0e-05 : tensor<?x9x8xf32>, tensor<8xf32>
  %5 = ferrite.view %4 dims = ["batch", "9", "2", "4"] : tensor<?x9x8xf32> -> tensor<?x9x2x4xf32>
  // expected-remark @below {{merge:2}}
  %6 = ferrite.attention %5, %5, %5 scale = 0.5 : (tensor<?x9x2x4xf32>, tensor<?x9x2x4xf32>, tensor<?x9x2x4xf32>) -> tensor<?x9x2x4xf32>
  %7 = ferrite.view %6 dims = ["batch", "9", "8"] : tensor<?x9x2x4xf32> -> tensor<?x9x8xf32>
  %8 = ferrite.linear %7, %w sides(%3 : tensor<?x9x8xf32>) : (tensor<?x9x8xf32>, tensor<8x8xf32>) -> tensor<?x9x8xf32> {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    ferrite.yield %s : f32
  }
  %9 = ferrite.slice %8 offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["batch", "1", "8"] : tensor<?x9x8xf32> -> tensor<?x1x8xf32>
  // expected-remark @below {{its result has no dim of tokens}}
  return %8, %9 : tensor<?x9x8xf32>, tensor<?x1x8xf32>
}

// -----

// Why not: a mask, positions, too few tokens for sure, no place to merge.
// expected-error @below {{no attention of the model can take 'merge:2'}}
module {
func.func @missed(%x: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "s", "2", "4"], ferrite.name = "x"}, %m: tensor<?x?xi1> {ferrite.dims = ["batch", "s"], ferrite.name = "m"}, %w: tensor<8x8xf32> {ferrite.name = "w"}) -> (tensor<?x?x2x4xf32> {ferrite.name = "y"}, tensor<?x?x8xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"batch", min = 1, max = 64>, #ferrite.symbol<"s", min = 1, max = 64>]} {
  // expected-remark @below {{it has a mask, a bias}}
  %1 = ferrite.attention %x, %x, %x mask(%m : tensor<?x?xi1>) scale = 0.5 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // expected-remark @below {{what it sees goes by position}}
  %2 = ferrite.attention %1, %1, %1 scale = 0.5 right = 0 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // expected-remark @below {{it has at least 1 tokens, too few}}
  %3 = ferrite.attention %2, %2, %2 scale = 0.5 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %4 = ferrite.view %3 dims = ["batch", "s", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %5 = ferrite.view %4 dims = ["batch", "s", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  // expected-remark @below {{no value alone carries the tokens}}
  %6 = ferrite.attention %5, %5, %5 scale = 0.5 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  return %6, %4 : tensor<?x?x2x4xf32>, tensor<?x?x8xf32>
}
}
