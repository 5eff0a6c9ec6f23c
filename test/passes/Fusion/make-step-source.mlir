// RUN: ferrite-opt %s --ferrite-make-step --split-input-file | FileCheck %s

// The keys of the second attention are of hidden states, whatever the tokens: they
// become states of group 1, which @encode computes. No argument is a past, so
// positions count from the first token.

// CHECK-LABEL: func.func @main
// CHECK-LABEL: func.func @encode(
//  CHECK-SAME:   %[[H:[^:]+]]: tensor<?x?x8xf32> {ferrite.dims = ["batch", "length", "8"], ferrite.name = "encoder_hidden_states"}
//  CHECK-SAME:   -> (tensor<?x2x?x4xf32> {ferrite.name = "source.0.key"}, tensor<?x2x?x4xf32> {ferrite.name = "source.0.value"})
//  CHECK-SAME:   ferrite.encode
//   CHECK-NOT:   ferrite.attention
//       CHECK:   ferrite.transpose %{{.+}} perm = [0, 2, 1, 3]
// CHECK-LABEL: func.func @step(
//  CHECK-SAME:   ferrite.name = "token_ids"
//  CHECK-SAME:   %[[CONTEXTS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"}
//  CHECK-SAME:   %[[LENGTHS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "source_lengths"}
//  CHECK-SAME:   %[[TABLES:[^:]+]]: tensor<?x?xi32> {ferrite.dims = ["runs", "source_table"], ferrite.name = "source_tables"}
//  CHECK-SAME:   ferrite.name = "past.0.key", ferrite.state = #ferrite.state<keys, layer = 0, window = -1>
//  CHECK-SAME:   ferrite.name = "past.0.value", ferrite.state = #ferrite.state<values, layer = 0, window = -1>
//  CHECK-SAME:   %[[KEYS:[^:]+]]: tensor<?x2x4x64xf32> {ferrite.dims = ["pages", "2", "4", "64"], ferrite.name = "source.0.key", ferrite.state = #ferrite.state<keys, layer = 0, window = -1, group = 1>}
//  CHECK-SAME:   %[[VALUES:[^:]+]]: tensor<?x2x64x4xf32> {{.+}} group = 1
//       CHECK:   ferrite.paged_attention %{{.+}}, %[[CONTEXTS]], {{.+}} scale = 5.000000e-01 :
//       CHECK:   ferrite.paged_attention %{{.+}}, %[[KEYS]], %[[VALUES]], %{{.+}}, %[[LENGTHS]], %{{.+}}, %[[TABLES]] scale = 5.000000e-01 cross
func.func @main(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "decoder_input_ids"},
    %hidden: tensor<?x?x8xf32> {ferrite.dims = ["batch", "length", "8"], ferrite.name = "encoder_hidden_states"},
    %mask: tensor<?x?xi64> {ferrite.dims = ["batch", "length"], ferrite.name = "encoder_attention_mask"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"}) {
  %words = arith.constant dense<1.0> : tensor<8x8xf32>
  %w = arith.constant dense<2.0> : tensor<8x8xf32>
  %zero = arith.constant dense<0> : tensor<1xi64>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = ferrite.view %x dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %o = ferrite.attention %q, %q, %q scale = 5.000000e-01 right = 0 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %h = ferrite.matmul %hidden, %w : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %k = ferrite.view %h dims = ["batch", "length", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %v = ferrite.view %hidden dims = ["batch", "length", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %keep = ferrite.compare ne %mask, %zero : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<?x?xi1>
  %c = ferrite.attention %o, %k, %v mask(%keep : tensor<?x?xi1>) scale = 5.000000e-01 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %l = ferrite.view %c dims = ["batch", "sequence", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
}

// -----

// T5's bias: the row of a table by the distance, here at most 2. And the source is
// given from outside: no @encode.

// CHECK-LABEL: func.func @given
//   CHECK-NOT: @encode
// CHECK-LABEL: func.func @step(
//  CHECK-SAME:   ferrite.name = "cross.k", ferrite.state = #ferrite.state<keys, layer = 0, window = -1, group = 1>
//       CHECK:   %[[ROWS:.+]] = arith.constant dense<[0, 1, 2]> : tensor<3xi64>
//       CHECK:   %[[TABLE:.+]] = ferrite.gather %{{.+}}, %[[ROWS]] axis = 0
//       CHECK:   %[[BIAS:.+]] = ferrite.transpose %[[TABLE]] perm = [1, 0] : tensor<3x2xf32> -> tensor<2x3xf32>
//       CHECK:   ferrite.paged_attention {{.+}} bias(%[[BIAS]] : tensor<2x3xf32>)
func.func @given(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "decoder_input_ids"},
    %pk: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "before", "2", "4"], ferrite.name = "past.k"},
    %pv: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "before", "2", "4"], ferrite.name = "past.v"},
    %ck: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "length", "2", "4"], ferrite.name = "cross.k"},
    %cv: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "length", "2", "4"], ferrite.name = "cross.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"})
    attributes {ferrite.symbols = [#ferrite.symbol<"before", min = 0, max = 1000>]} {
  %words = arith.constant dense<1.0> : tensor<8x8xf32>
  %table = arith.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
  %two = arith.constant dense<2> : tensor<1xi64>
  %zero = arith.constant dense<0> : tensor<1xi64>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = ferrite.view %x dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka = ferrite.concat %pk, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va = ferrite.concat %pv, %q axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %i = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %p = ferrite.dim_values ["before"] : tensor<i64>
  %at = ferrite.add %i, %p : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %j = ferrite.iota dims = ["before + sequence"] : tensor<?xi64>
  %ac = ferrite.view %at dims = ["sequence", "1"] : tensor<?xi64> -> tensor<?x1xi64>
  %d = ferrite.sub %ac, %j : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi64>
  %d0 = ferrite.max %d, %zero : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<?x?xi64>
  %d2 = ferrite.min %d0, %two : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<?x?xi64>
  %b = ferrite.gather %table, %d2 axis = 0 : (tensor<3x2xf32>, tensor<?x?xi64>) -> tensor<?x?x2xf32>
  %bt = ferrite.transpose %b perm = [2, 0, 1] : tensor<?x?x2xf32> -> tensor<2x?x?xf32>
  %bias = ferrite.view %bt dims = ["1", "2", "sequence", "before + sequence"] : tensor<2x?x?xf32> -> tensor<1x2x?x?xf32>
  %o = ferrite.attention %q, %ka, %va bias(%bias : tensor<1x2x?x?xf32>) scale = 5.000000e-01 right = 0 offset = "before" : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %c = ferrite.attention %o, %ck, %cv scale = 5.000000e-01 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %l = ferrite.view %c dims = ["batch", "sequence", "8"] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
}
