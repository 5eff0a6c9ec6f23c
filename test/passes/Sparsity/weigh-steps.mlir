// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --ferrite-sparsify-attention=spec="weigh" | FileCheck %s

// Inputs behind the others, an output for each layer; two attentions read the keys of layer 1.
// CHECK-LABEL: func.func @step
//  CHECK-SAME:   %[[R:[a-z0-9]+]]: tensor<?xi64> {ferrite.dims = ["weighed"], ferrite.name = "weigh_runs"}
//  CHECK-SAME:   %[[N:[a-z0-9]+]]: tensor<?xi32> {ferrite.dims = ["weighed"], ferrite.name = "weigh_tokens"}
//  CHECK-SAME:   tensor<?x2x?xi64> {ferrite.name = "key_weights.1"}, tensor<?x2x?xi64> {ferrite.name = "key_weights.1.1"}
//  CHECK-SAME:   #ferrite.symbol<"weighed", min = 0, max = 2147483647>
//       CHECK:   %[[W:.+]] = ferrite.weigh_pages %{{.+}}, %[[R]], %[[N]] scale = 1.250000e-01 softcap = 3.000000e+01
//       CHECK:   %[[V:.+]] = ferrite.weigh_pages %{{.+}}, %[[R]], %[[N]] scale = 1.250000e-01 :
//       CHECK:   return %{{.+}}, %[[W]], %[[V]]
func.func @step(%q: tensor<1x?x4x64xf32> {ferrite.dims = ["1", "tokens", "4", "64"], ferrite.name = "q"}, %k: tensor<?x2x64x64xf32> {ferrite.dims = ["pages", "2", "64", "64"], ferrite.name = "k", ferrite.state = #ferrite.state<keys, layer = 1, window = -1, group = 0>},
                %v: tensor<?x2x64x64xf32> {ferrite.dims = ["pages", "2", "64", "64"], ferrite.name = "v", ferrite.state = #ferrite.state<values, layer = 1, window = -1, group = 0>},
                %b: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}, %c: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"},
                %s: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "visible"}, %t: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables"})
    -> (tensor<1x?x4x64xf32> {ferrite.name = "logits"}) attributes {ferrite.step, ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 64>, #ferrite.symbol<"runs", min = 1, max = 64>, #ferrite.symbol<"table", min = 1, max = 64>]} {
  %0 = ferrite.paged_attention %q, %k, %v, %b, %c, %s, %t scale = 0.125 softcap = 30.0 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  %1 = ferrite.paged_attention %0, %k, %v, %b, %c, %s, %t scale = 0.125 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  return %1 : tensor<1x?x4x64xf32>
}

// -----

func.func @window(%q: tensor<1x?x4x64xf32> {ferrite.dims = ["1", "tokens", "4", "64"], ferrite.name = "q"}, %k: tensor<?x2x64x64xf32> {ferrite.dims = ["pages", "2", "64", "64"], ferrite.name = "k", ferrite.state = #ferrite.state<keys, layer = 0, window = -1>},
                %b: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}, %c: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"},
                %s: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "visible"}, %t: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables"}, %h: tensor<4xf32> {ferrite.dims = ["4"], ferrite.name = "h"})
    -> (tensor<1x?x4x64xf32> {ferrite.name = "logits"}) attributes {ferrite.step, ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 64>, #ferrite.symbol<"runs", min = 1, max = 64>, #ferrite.symbol<"table", min = 1, max = 64>]} {
  // expected-error @below {{cannot weigh the keys of this attention: it has a window}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 left = 511 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  return %0 : tensor<1x?x4x64xf32>
}

// -----

func.func @slopes(%q: tensor<1x?x4x64xf32> {ferrite.dims = ["1", "tokens", "4", "64"], ferrite.name = "q"}, %k: tensor<?x2x64x64xf32> {ferrite.dims = ["pages", "2", "64", "64"], ferrite.name = "k", ferrite.state = #ferrite.state<keys, layer = 0, window = -1>},
                %b: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}, %c: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"},
                %s: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "visible"}, %t: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables"}, %h: tensor<4xf32> {ferrite.dims = ["4"], ferrite.name = "h"})
    -> (tensor<1x?x4x64xf32> {ferrite.name = "logits"}) attributes {ferrite.step, ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 64>, #ferrite.symbol<"runs", min = 1, max = 64>, #ferrite.symbol<"table", min = 1, max = 64>]} {
  // expected-error @below {{its scores depend on distances}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t slopes(%h : tensor<4xf32>) scale = 0.125 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  return %0 : tensor<1x?x4x64xf32>
}

// -----

func.func @sinks(%q: tensor<1x?x4x64xf32> {ferrite.dims = ["1", "tokens", "4", "64"], ferrite.name = "q"}, %k: tensor<?x2x64x64xf32> {ferrite.dims = ["pages", "2", "64", "64"], ferrite.name = "k", ferrite.state = #ferrite.state<keys, layer = 0, window = -1>},
                %b: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}, %c: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"},
                %s: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "visible"}, %t: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables"}, %h: tensor<4xf32> {ferrite.dims = ["4"], ferrite.name = "h"})
    -> (tensor<1x?x4x64xf32> {ferrite.name = "logits"}) attributes {ferrite.step, ferrite.symbols = [#ferrite.symbol<"tokens", min = 1, max = 64>, #ferrite.symbol<"runs", min = 1, max = 64>, #ferrite.symbol<"table", min = 1, max = 64>]} {
  // expected-error @below {{it has sinks, whose share no key gets}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t sinks(%h : tensor<4xf32>) scale = 0.125 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  return %0 : tensor<1x?x4x64xf32>
}

// -----

// expected-error @below {{is for the steps of a decoder, and the model has no step entry}}
module {
  func.func @main(%x: tensor<4xf32> {ferrite.dims = ["4"], ferrite.name = "x"}) -> (tensor<4xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = []} {
    return %x : tensor<4xf32>
  }
}
