// RUN: ferrite-opt %s --ferrite-make-step | FileCheck %s

// On request a step takes embeddings and gives the residual stream behind a
// layer and the sums of an attention, of the tokens in logit_rows; and another
// step leaves the first layer out; and in a third each call says which runs do:
// all have keys and values, the rest is of the rows of the others, which go
// back into the stream. A second model has steps by its own name, of
// which nothing was asked.

module attributes {ferrite.step_with = ["embeddings", "hidden:1", "lse:0", "hidden:/layer1/Add"],
                   ferrite.step_entries = ["early:skip:0", "some:choose:0"]} {
// CHECK-LABEL: func.func @main(
// CHECK-LABEL: func.func @step(
//  CHECK-SAME:   %[[IDS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "token_ids"}
//  CHECK-SAME:   %[[ROWS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["logits"], ferrite.name = "logit_rows"}
//  CHECK-SAME:   %[[GIVEN:[^:]+]]: tensor<?x16xf32> {ferrite.dims = ["tokens", "16"], ferrite.name = "embeddings"}
//  CHECK-SAME:   %[[WHICH:[^:]+]]: tensor<?xi1> {ferrite.dims = ["tokens"], ferrite.name = "embedded"}
//  CHECK-SAME:   -> (tensor<?x8xf32> {ferrite.name = "logits"}, tensor<?x16xf32> {ferrite.name = "hidden:1"},
//  CHECK-SAME:       tensor<?x16xf32> {ferrite.name = "hidden:/layer1/Add"}, tensor<?x4xf32> {ferrite.name = "lse:0"})
//       CHECK:   %[[E:.+]] = ferrite.gather
//   CHECK-DAG:   %[[C:.+]] = ferrite.view %[[WHICH]] dims = ["1", "tokens", "1"]
//   CHECK-DAG:   %[[G:.+]] = ferrite.view %[[GIVEN]] dims = ["1", "tokens", "16"]
//       CHECK:   %[[X:.+]] = ferrite.where %[[C]], %[[G]], %[[E]]
//       CHECK:   %[[O:.+]] = ferrite.paged_attention {{.+}} -> tensor<1x?x4x5xf32>
//       CHECK:   ferrite.gather %[[O]], %[[ROWS]] axis = 1
//       CHECK:   ferrite.slice %[[O]] offsets = ["0", "0", "0", "0"] {{.+}} dims = ["1", "tokens", "4", "4"]
//       CHECK:   %[[Y:.+]] = ferrite.add %[[X]]
//       CHECK:   ferrite.gather %[[Y]], %[[ROWS]] axis = 1
// CHECK-LABEL: func.func @early(
//   CHECK-NOT:   past.0
//  CHECK-SAME:   "past.1.k", ferrite.state = #ferrite.state<keys, layer = 1, window = -1>
//  CHECK-SAME:   ferrite.name = "embedded"
//  CHECK-SAME:   -> (tensor<?x8xf32> {ferrite.name = "logits"})
//       CHECK:   %[[X:.+]] = ferrite.where
//       CHECK:   ferrite.matmul %[[X]]
//       CHECK:   ferrite.paged_attention
//   CHECK-NOT:   ferrite.paged_attention
// CHECK-LABEL: func.func @some(
//  CHECK-SAME:   %[[BEGINS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["runs + 1"], ferrite.name = "run_begins"}
//  CHECK-SAME:   %[[LROWS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["layer_rows_0"], ferrite.name = "layer_rows_0"}
//  CHECK-SAME:   %[[LRUNS:[^:]+]]: tensor<?xi64> {ferrite.dims = ["layer_runs_0"], ferrite.name = "layer_runs_0"}
//  CHECK-SAME:   %[[LBEGINS:[^:]+]]: tensor<?xi32> {ferrite.dims = ["layer_runs_0 + 1"], ferrite.name = "layer_begins_0"}
//       CHECK:   %[[X:.+]] = ferrite.where
//   CHECK-DAG:   %[[TAKEN:.+]] = ferrite.gather %[[X]], %[[LROWS]] axis = 1
//   CHECK-DAG:   %[[Q:.+]] = ferrite.matmul %[[TAKEN]]
//   CHECK-DAG:   %[[K:.+]] = ferrite.matmul %[[X]]
//   CHECK-DAG:   %[[QH:.+]] = ferrite.view %[[Q]] dims = ["1", "layer_rows_0", "4", "4"]
//   CHECK-DAG:   %[[PK:.+]] = ferrite.kv_append {{.+}} keys
//   CHECK-DAG:   %[[CONTEXTS:.+]] = ferrite.gather {{.+}}, %[[LRUNS]] axis = 0 : (tensor<?xi32>
//   CHECK-DAG:   %[[TABLES:.+]] = ferrite.gather {{.+}}, %[[LRUNS]] axis = 0 : (tensor<?x?xi32>
//       CHECK:   ferrite.paged_attention %[[QH]], %[[PK]], {{.+}}, %[[LBEGINS]], %[[CONTEXTS]], {{.+}}, %[[TABLES]]
//       CHECK:   %[[Y:.+]] = ferrite.add %[[TAKEN]]
//       CHECK:   %[[FLAT:.+]] = ferrite.view %[[Y]] dims = ["layer_rows_0", "16"]
//       CHECK:   ferrite.scatter_nd none {{.+}}, {{.+}}, %[[FLAT]]
//       CHECK:   ferrite.paged_attention {{.+}}, %[[BEGINS]],
// CHECK-LABEL: func.func @other_step(
//   CHECK-NOT:   embeddings
//       CHECK:   return
  func.func @main(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %pk0: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.0.k"},
    %pv0: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.0.v"},
    %pk1: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.1.k"},
    %pv1: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.1.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"})
    attributes {ferrite.symbols = [#ferrite.symbol<"past", min = 0, max = 2147483647>]} {
  %words = arith.constant dense<1.0> : tensor<8x16xf32>
  %wq = arith.constant dense<3.0> : tensor<16x16xf32>
  %wk = arith.constant dense<4.0> : tensor<16x8xf32>
  %head = arith.constant dense<5.0> : tensor<16x8xf32>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x16xf32>, tensor<?x?xi64>) -> tensor<?x?x16xf32>
  %q00 = ferrite.matmul %x, %wq : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %k00 = ferrite.matmul %x, %wk : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  %q0 = ferrite.view %q00 dims = ["batch", "sequence", "4", "4"] : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %k10 = ferrite.view %k00 dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka0 = ferrite.concat %pk0, %k10 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va0 = ferrite.concat %pv0, %k10 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o0 = ferrite.attention %q0, %ka0, %va0 scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x4x4xf32>
  %of0 = ferrite.view %o0 dims = ["batch", "sequence", "16"] : tensor<?x?x4x4xf32> -> tensor<?x?x16xf32>
  %y = ferrite.add %x, %of0 : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32> loc("/layer0/Add")
  %q01 = ferrite.matmul %y, %wq : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %k01 = ferrite.matmul %y, %wk : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  %q1 = ferrite.view %q01 dims = ["batch", "sequence", "4", "4"] : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %k11 = ferrite.view %k01 dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka1 = ferrite.concat %pk1, %k11 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va1 = ferrite.concat %pv1, %k11 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o1 = ferrite.attention %q1, %ka1, %va1 scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x4x4xf32>
  %of1 = ferrite.view %o1 dims = ["batch", "sequence", "16"] : tensor<?x?x4x4xf32> -> tensor<?x?x16xf32>
  %z = ferrite.add %y, %of1 : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32> loc("/layer1/Add")
  %l = ferrite.matmul %z, %head : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
  }
  func.func @other(
    %ids: tensor<?x?xi64> {ferrite.dims = ["batch", "sequence"], ferrite.name = "input_ids"},
    %pk0: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.0.k"},
    %pv0: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.0.v"},
    %pk1: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.1.k"},
    %pv1: tensor<?x?x2x4xf32> {ferrite.dims = ["batch", "past", "2", "4"], ferrite.name = "past.1.v"})
    -> (tensor<?x?x8xf32> {ferrite.name = "logits"})
    attributes {ferrite.model_prefix = "other", ferrite.symbols = [#ferrite.symbol<"past", min = 0, max = 2147483647>]} {
  %words = arith.constant dense<1.0> : tensor<8x16xf32>
  %wq = arith.constant dense<3.0> : tensor<16x16xf32>
  %wk = arith.constant dense<4.0> : tensor<16x8xf32>
  %head = arith.constant dense<5.0> : tensor<16x8xf32>
  %x = ferrite.gather %words, %ids axis = 0 : (tensor<8x16xf32>, tensor<?x?xi64>) -> tensor<?x?x16xf32>
  %q00 = ferrite.matmul %x, %wq : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %k00 = ferrite.matmul %x, %wk : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  %q0 = ferrite.view %q00 dims = ["batch", "sequence", "4", "4"] : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %k10 = ferrite.view %k00 dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka0 = ferrite.concat %pk0, %k10 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va0 = ferrite.concat %pv0, %k10 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o0 = ferrite.attention %q0, %ka0, %va0 scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x4x4xf32>
  %of0 = ferrite.view %o0 dims = ["batch", "sequence", "16"] : tensor<?x?x4x4xf32> -> tensor<?x?x16xf32>
  %y = ferrite.add %x, %of0 : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32> loc("/layer0/Add")
  %q01 = ferrite.matmul %y, %wq : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %k01 = ferrite.matmul %y, %wk : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  %q1 = ferrite.view %q01 dims = ["batch", "sequence", "4", "4"] : tensor<?x?x16xf32> -> tensor<?x?x4x4xf32>
  %k11 = ferrite.view %k01 dims = ["batch", "sequence", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %ka1 = ferrite.concat %pk1, %k11 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %va1 = ferrite.concat %pv1, %k11 axis = 1 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %o1 = ferrite.attention %q1, %ka1, %va1 scale = 5.000000e-01 right = 0 offset = "past" : (tensor<?x?x4x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x4x4xf32>
  %of1 = ferrite.view %o1 dims = ["batch", "sequence", "16"] : tensor<?x?x4x4xf32> -> tensor<?x?x16xf32>
  %z = ferrite.add %y, %of1 : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32> loc("/layer1/Add")
  %l = ferrite.matmul %z, %head : (tensor<?x?x16xf32>, tensor<16x8xf32>) -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
  }
}
