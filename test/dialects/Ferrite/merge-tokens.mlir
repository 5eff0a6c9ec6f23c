// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --verify-roundtrip | FileCheck %s

// CHECK-LABEL: func.func @examples
//       CHECK:   ferrite.token_metric
//       CHECK:   ferrite.match_tokens %{{.*}} removed = 8 fixed = 1
//       CHECK:   ferrite.merge_tokens %{{.*}}, %{{.*}} sizes(%{{.*}} : tensor<?x197xf32>) removed = 8
//       CHECK:   ferrite.merge_tokens %{{.*}}, %{{.*}} removed = 8 sum
//       CHECK:   ferrite.unmerge_tokens
func.func @examples(%k: tensor<?x197x12x64xf32>, %x: tensor<?x197x768xf32>, %s: tensor<?x197xf32>) -> tensor<?x197x768xf32> {
  %m = ferrite.token_metric %k : tensor<?x197x12x64xf32> -> tensor<?x197x64xf32>
  %t = ferrite.match_tokens %m removed = 8 fixed = 1 : tensor<?x197x64xf32> -> tensor<?x197xi32>
  %y = ferrite.merge_tokens %x, %t sizes(%s : tensor<?x197xf32>) removed = 8 : tensor<?x197x768xf32>, tensor<?x197xi32> -> tensor<?x189x768xf32>
  %z = ferrite.merge_tokens %x, %t removed = 8 sum : tensor<?x197x768xf32>, tensor<?x197xi32> -> tensor<?x189x768xf32>
  %u = ferrite.unmerge_tokens %y, %t : tensor<?x189x768xf32>, tensor<?x197xi32> -> tensor<?x197x768xf32>
  return %u : tensor<?x197x768xf32>
}

// -----

func.func @token_metric_c1(%k: tensor<?x?x?x64xf32>) {
  // expected-error @below {{expects keys of [batch, tokens, heads, size]}}
  %m = ferrite.token_metric %k : tensor<?x?x?x64xf32> -> tensor<?x?x64xf32>
  return
}

// -----

func.func @token_metric_c2(%k: tensor<?x9x2x64xf32>) {
  // expected-error @below {{expects a row for each token}}
  %m = ferrite.token_metric %k : tensor<?x9x2x64xf32> -> tensor<?x9x32xf32>
  return
}

// -----

func.func @match_tokens_c1(%m: tensor<?x9xf32>) {
  // expected-error @below {{expects [batch, tokens, size]}}
  %t = ferrite.match_tokens %m removed = 1 fixed = 1 : tensor<?x9xf32> -> tensor<?x9xi32>
  return
}

// -----

func.func @match_tokens_c2(%m: tensor<?x9x4xf32>) {
  // expected-error @below {{at most half of the tokens that are not fixed, but got 5 with 1 fixed}}
  %t = ferrite.match_tokens %m removed = 5 fixed = 1 : tensor<?x9x4xf32> -> tensor<?x9xi32>
  return
}

// -----

func.func @match_tokens_c2_none(%m: tensor<?x9x4xf32>) {
  // expected-error @below {{expects to remove 1 or more}}
  %t = ferrite.match_tokens %m removed = 0 fixed = 1 : tensor<?x9x4xf32> -> tensor<?x9xi32>
  return
}

// -----

func.func @match_tokens_c3(%m: tensor<?x9x4xf32>) {
  // expected-error @below {{expects a number for each token}}
  %t = ferrite.match_tokens %m removed = 2 fixed = 1 : tensor<?x9x4xf32> -> tensor<?x8xi32>
  return
}

// -----

func.func @merge_tokens_c1(%x: tensor<?x9x4xf32>, %t: tensor<?x8xi32>) {
  // expected-error @below {{expects a number and a size for each token}}
  %y = ferrite.merge_tokens %x, %t removed = 2 : tensor<?x9x4xf32>, tensor<?x8xi32> -> tensor<?x7x4xf32>
  return
}

// -----

func.func @merge_tokens_c2(%x: tensor<?x9x4xf32>, %t: tensor<?x9xi32>) {
  // expected-error @below {{expects 2 tokens fewer}}
  %y = ferrite.merge_tokens %x, %t removed = 2 : tensor<?x9x4xf32>, tensor<?x9xi32> -> tensor<?x8x4xf32>
  return
}

// -----

func.func @unmerge_tokens_c1(%x: tensor<?x7x4xf32>, %t: tensor<?x9xi32>) {
  // expected-error @below {{expects rows of [batch, tokens, size]}}
  %y = ferrite.unmerge_tokens %x, %t : tensor<?x7x4xf32>, tensor<?x9xi32> -> tensor<?x8x4xf32>
  return
}
