// RUN: ferrite-opt %s --split-input-file --ferrite-sparsify-attention=spec="longformer:window=128,tokens=256" | FileCheck %s --check-prefix=LIST
// RUN: ferrite-opt %s --split-input-file --ferrite-sparsify-attention=spec="window:100,sinks=4" | FileCheck %s --check-prefix=WINDOW

// A window of 128 reaches back 127 tokens from the first of a block: two blocks.
// All heads share one layout; a column behind a causal query is never listed.
// LIST-LABEL: func.func @main
//  LIST-SAME:   %[[Q:[^:]+]]: tensor<1x?x2x64xf32>
//       LIST:   %[[R:.+]] = arith.constant dense<{{\[\[\[}}0, 1, 3, 6, 9]]]> : tensor<1x1x5xi32>
//       LIST:   %[[C:.+]] = arith.constant dense<{{\[\[\[}}0, 0, 1, 0, 1, 2, 1, 2, 3]]]> : tensor<1x1x9xi32>
//       LIST:   ferrite.attention %[[Q]], {{.*}} blocks(%[[R]], %[[C]] : {{.*}}) scale = {{.*}} right = 0 block = 64
// An existing window stays where it is the smaller one.
// WINDOW-LABEL: func.func @main
//       WINDOW:   ferrite.attention {{.*}} left = 99 right = 0 anchors = 4
//       WINDOW:   ferrite.attention {{.*}} left = 7 right = 0 anchors = 4
func.func @main(%q: tensor<1x?x2x64xf32> {ferrite.dims = ["1", "s", "2", "64"], ferrite.name = "q"}) -> (tensor<1x?x2x64xf32> {ferrite.name = "y"}, tensor<1x?x2x64xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"s", min = 1, max = 9223372036854775807>]} {
  %y = ferrite.attention %q, %q, %q scale = 0.125 right = 0 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  %z = ferrite.attention %q, %q, %q scale = 0.125 left = 7 right = 0 : (tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>) -> tensor<1x?x2x64xf32>
  return %y, %z : tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>
}
