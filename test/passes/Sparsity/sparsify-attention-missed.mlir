// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --ferrite-sparsify-attention=spec="longformer:window=64,tokens=256" --remarks-filter=ferrite-sparsify-attention --remark-format=emitRemark | FileCheck %s

// Cross attention has no distances; the other one takes the lists.
// CHECK-LABEL: func.func @main
//       CHECK:   ferrite.attention %{{.*}} scale = 1.250000e-01 :
//       CHECK:   ferrite.attention {{.*}} blocks(
func.func @main(%q: tensor<1x?x2x64xf32> {ferrite.dims = ["1", "s", "2", "64"], ferrite.name = "q"}, %k: tensor<1x?x2x64xf32> {ferrite.dims = ["1", "t", "2", "64"], ferrite.name = "k"}) -> (tensor<1x?x2x64xf32> {ferrite.name = "y"}, tensor<1x?x2x64xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"s", min = 1, max = 64>, #ferrite.symbol<"t", min = 1, max = 64>]} {
  // expected-remark @below {{its queries and keys are not the same tokens}}
  %y = ferrite.attention %q, %k, %k scale = 0.125 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  // expected-remark @below {{longformer:window=64,tokens=256}}
  %z = ferrite.attention %q, %q, %q scale = 0.125 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  return %y, %z : tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>
}
