// RUN: ferrite-opt %s --ferrite-make-step | FileCheck %s

// Positions are computed from the mask, the past is read through a transpose,
// and the logits come of one product behind the last attention.

// CHECK-LABEL: func.func @main
//       CHECK:   ferrite.attention
// CHECK-LABEL: func.func @step(
//  CHECK-SAME:   %[[IDS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "token_ids"}
//  CHECK-SAME:   %[[AT:[^:]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "positions"}
//  CHECK-SAME:   %[[SLOTS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "slots"}
//  CHECK-SAME:   %[[BEGINS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}
//  CHECK-SAME:   %[[CONTEXTS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["runs"], ferrite.name = "contexts"}
//  CHECK-SAME:   %[[VISIBLE:[^:]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "visible"}
//  CHECK-SAME:   %[[TABLES:[^:]+]]: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables"}
//  CHECK-SAME:   %[[ROWS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["logits"], ferrite.name = "logit_rows"}
//  CHECK-SAME:   %[[KEYS:[^:]+]]: tensor<?x2x4x64xf32> {ferrite.dims = ["pages", "2", "4", "64"], ferrite.name = "past.k", ferrite.state = #ferrite.state<keys, layer = 0, window = 6>}
//  CHECK-SAME:   %[[VALUES:[^:]+]]: tensor<?x2x64x4xf32> {ferrite.dims = ["pages", "2", "64", "4"], ferrite.name = "past.v", ferrite.state = #ferrite.state<values, layer = 0, window = 6>}
//  CHECK-SAME:   -> (tensor<?x8xf32> {ferrite.name = "logits"})
//  CHECK-SAME:   ferrite.step
//       CHECK:   ferrite.view %[[IDS]] dims = ["1", "tokens"]
//       CHECK:   %[[P:.+]] = ferrite.view %[[AT]] dims = ["1", "tokens"]
//       CHECK:   ferrite.gather %{{.+}}, %[[P]]
//       CHECK:   %[[K:.+]] = ferrite.kv_append %{{.+}}, %[[SLOTS]], %[[KEYS]] keys
//       CHECK:   %[[V:.+]] = ferrite.kv_append %{{.+}}, %[[SLOTS]], %[[VALUES]] :
//       CHECK:   %[[O:.+]] = ferrite.paged_attention %{{.+}}, %[[K]], %[[V]], %[[BEGINS]], %[[CONTEXTS]], %[[VISIBLE]], %[[TABLES]] scale = 5.000000e-01 left = 5
//       CHECK:   %[[G:.+]] = ferrite.gather %[[O]], %[[ROWS]] axis = 1
//       CHECK:   %[[F:.+]] = ferrite.view %[[G]] dims = ["1", "logits", "16"]
//       CHECK:   %[[L:.+]] = ferrite.matmul %[[F]]
//       CHECK:   %[[R:.+]] = ferrite.view %[[L]] dims = ["logits", "8"]
//       CHECK:   return %[[R]]
func.func @main(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %mask: tensor<?x?xi64> {ferrite.dims = ["batch", "total"], ferrite.name = "attention_mask"},
    %pk: tensor<?x2x?x4xf32> {ferrite.dims = ["batch", "2", "past_sequence", "4"], ferrite.name = "past.k"},
    %pv: tensor<?x2x?x4xf32> {ferrite.dims = ["batch", "2", "past_sequence", "4"], ferrite.name = "past.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"}, tensor<?x2x?x4xf32> {ferrite.name = "present.k"},
        tensor<?x2x?x4xf32> {ferrite.name = "present.v"})
    attributes {ferrite.symbols = [#ferrite.symbol<"past_sequence", min = 0, max = 2147483647>]} {
  %words = arith.constant dense<1.0> : tensor<8x16xf32>
  %places = arith.constant dense<2.0> : tensor<32x16xf32>
  %wq = arith.constant dense<3.0> : tensor<16x16xf32>
  %wk = arith.constant dense<4.0> : tensor<16x8xf32>
  %head = arith.constant dense<5.0> : tensor<16x8xf32>
  %one = arith.constant dense<1> : tensor<1xi64>
  %zero = arith.constant dense<0> : tensor<1xi64>
  %c = ferrite.cumsum %mask axis = 1 : tensor<?x?xi64>
  %p = ferrite.sub %c, %one : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<?x?xi64>
  %at = ferrite.slice %p offsets = ["0", "past_sequence"] steps = [1, 1] dims = ["batch", "sequence"] : tensor<?x?xi64> -> tensor<?x?xi64>
  %e = ferrite.gather %words, %ids axis = 0 : (tensor<8x16xf32>, tensor<?x?xi64>) -> tensor<?x?x16xf32>
  %f = ferrite.gather %places, %at axis = 0 : (tensor<32x16xf32>, tensor<?x?xi64>) -> tensor<?x?x16xf32>
  %x = ferrite.add %e, %f : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  %q0 = ferrite.matmul %x, %wq : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %k0 = ferrite.matmul %x, %wk : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  %q = ferrite.view %q0 dims = ["batch", "sequence", "4", "4"] : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %k1 = ferrite.view %k0 dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %k2 = ferrite.transpose %k1 perm = [0, 2, 1, 3] : tensor<?x?x2x4xf32> -> tensor<?x2x?x4xf32>
  %ka = ferrite.concat %pk, %k2 axis = 2 : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %va = ferrite.concat %pv, %k2 axis = 2 : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %kt = ferrite.transpose %ka perm = [0, 2, 1, 3] : tensor<?x2x?x4xf32> -> tensor<?x?x2x4xf32>
  %vt = ferrite.transpose %va perm = [0, 2, 1, 3] : tensor<?x2x?x4xf32> -> tensor<?x?x2x4xf32>
  %keep = ferrite.compare ne %mask, %zero : (tensor<?x?xi64>, tensor<1xi64>) -> tensor<?x?xi1>
  %o = ferrite.attention %q, %kt, %vt mask(%keep : tensor<?x?xi1>) scale = 5.000000e-01 left = 5 right = 0 offset = "past_sequence" : (tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x4x4xf32>
  %of = ferrite.view %o dims = ["batch", "sequence", "16"] : tensor<?x?x4x4xf32> -> tensor<?x?x16xf32>
  %l = ferrite.matmul %of, %head : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  return %l, %ka, %va : tensor<?x?x8xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>
}
