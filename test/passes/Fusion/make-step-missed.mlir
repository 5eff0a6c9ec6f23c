// RUN: ferrite-opt %s --ferrite-make-step --split-input-file --verify-diagnostics --remarks-filter=ferrite-make-step --remark-format=emitRemark | FileCheck %s

// A mean over the tokens: of a call it would be a mean over sequences.
// CHECK-LABEL: func.func @mean_over_tokens
//   CHECK-NOT: func.func @step
func.func @mean_over_tokens(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %pk: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.k"},
    %pv: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"}) {
  %words = arith.constant dense<1.0> : tensor<8x8xf32>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  // expected-remark @below {{mixes tokens}}
  %m = ferrite.reduce mean %x axes = [1] keep_dims : tensor<?x?x8xf32> -> tensor<?x1x8xf32>
  %c = ferrite.sub %x, %m : (tensor<?x?x8xf32>, tensor<?x1x8xf32>) -> tensor<?x?x8xf32>
  %q = ferrite.view %c dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka = ferrite.concat %pk, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va = ferrite.concat %pv, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o = ferrite.attention %q, %ka, %va scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %l = ferrite.view %o dims = ["batch", "sequence", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
}

// -----

// A cache that something else reads too cannot be pages alone.
// CHECK-LABEL: func.func @cache_read_twice
//   CHECK-NOT: func.func @step
func.func @cache_read_twice(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %pk: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.k"},
    %pv: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"}, tensor<?x1x2x4xf32> {ferrite.name = "mean"}) {
  %words = arith.constant dense<1.0> : tensor<8x8xf32>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = ferrite.view %x dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka = ferrite.concat %pk, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va = ferrite.concat %pv, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o = ferrite.attention %q, %ka, %va scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %l = ferrite.view %o dims = ["batch", "sequence", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  // expected-remark @below {{reads a cache beside its attention}}
  %m = ferrite.reduce mean %ka axes = [1] keep_dims : tensor<?x?x2x4xf32> -> tensor<?x1x2x4xf32>
  return %l, %m : tensor<?x?x8xf32>, tensor<?x1x2x4xf32>
}

// -----

// Not causal: what a token sees would change with what comes after it.
// CHECK-LABEL: func.func @not_causal
//   CHECK-NOT: func.func @step
func.func @not_causal(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %pk: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.k"},
    %pv: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"}) {
  %words = arith.constant dense<1.0> : tensor<8x8xf32>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = ferrite.view %x dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka = ferrite.concat %pk, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va = ferrite.concat %pv, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  // expected-remark @below {{it is not causal}}
  %o = ferrite.attention %q, %ka, %va scale = 5.000000e-01 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %l = ferrite.view %o dims = ["batch", "sequence", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
}
