// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --ferrite-sparsify-attention=spec="xattention:0.9,heads=1,tokens=256" --remarks-filter=ferrite-sparsify-attention --remark-format=emitRemark | FileCheck %s
// RUN: ferrite-opt %s --ferrite-sparsify-attention=spec="pooled:0.9,tokens=256" | FileCheck %s --check-prefix=MEANS

// Heads that are not named keep all; scores are divided by norm, 0.5.
// CHECK-LABEL: func.func @main
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<1x?x2x64xf32>
//       CHECK:   %[[T:.+]] = arith.constant dense<[2.000000e+00, 0.8{{[0-9]+}}]> : tensor<2xf32>
//       CHECK:   %[[L:.+]] = ferrite.select_blocks %[[Q]], %[[Q]], %[[T]] scale = 2.500000e-01 block = 64 stride = 8 blocks = 4 causal
//       CHECK:   %[[R:.+]] = ferrite.slice %[[L]] offsets = ["0", "0", "0"] {{.*}} dims = ["1", "2", "5"]
//       CHECK:   %[[C:.+]] = ferrite.slice %[[L]] offsets = ["0", "0", "5"] {{.*}} dims = ["1", "2", "s + 4"]
//       CHECK:   ferrite.attention %[[Q]], {{.*}} blocks(%[[R]], %[[C]] : {{.*}}) scale = 1.250000e-01 right = 0 block = 64
//       CHECK:   ferrite.attention %{{[^,]+}}, %{{[^,]+}}, %{{[^ ]+}} bias(
// MEANS: ferrite.select_blocks {{.*}} stride = 64 blocks = 4 causal pooled
func.func @main(%q: tensor<1x?x2x64xf32> {ferrite.dims = ["1", "s", "2", "64"], ferrite.name = "q"}, %b: tensor<1x2x?x?xf32> {ferrite.dims = ["1", "2", "s", "s"], ferrite.name = "b"}) -> (tensor<1x?x2x64xf32> {ferrite.name = "y"}, tensor<1x?x2x64xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"s", min = 1, max = 9223372036854775807>]} {
  // expected-remark @below {{xattention:0.9,heads=1,tokens=256}}
  %y = ferrite.attention %q, %q, %q scale = 0.125 right = 0 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  // expected-remark @below {{an estimate knows no bias}}
  %z = ferrite.attention %q, %q, %q bias(%b : tensor<1x2x?x?xf32>) scale = 0.125 right = 0 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  return %y, %z : tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>
}
