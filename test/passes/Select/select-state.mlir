// RUN: ferrite-opt %s --ferrite-select-kernels | FileCheck %s

// Rows go into the pool's own memory. One token's blocks are partials, which the
// attention adds up; neither counts the pages of a pool.
//       CHECK: plan.kernel @[[KEYS:append_keys_2x64]] layouts
//       CHECK:   ferrite.kv_append %{{.+}}, %{{.+}}, %{{.+}} keys
//       CHECK: plan.kernel @[[VALUES:append_values_2x80]] layouts
//       CHECK: plan.kernel @[[PARTIALS:paged_partials_4x64]] claimed layouts
//       CHECK:   ferrite.paged_partials %{{.+}} slopes(%{{.+}} : tensor<4xf32>) scale = 1.250000e-01 softcap = 3.000000e+01 left = 511 : ({{.+}}) -> tensor<?x4x?xf32>
//       CHECK: plan.kernel @[[ATTENTION:paged_attention_4x64]] claimed layouts
//       CHECK:   ferrite.paged_attention %{{.+}} sinks(%{{.+}} : tensor<4xf32>) partials(%{{.+}} : tensor<?x4x?xf32>) slopes(%{{.+}} : tensor<4xf32>) scale = 1.250000e-01 softcap = 3.000000e+01 left = 511 : (
//       CHECK: plan.entry @step
//       CHECK:   plan.launch @[[KEYS]](
//       CHECK:   plan.launch @[[VALUES]](
//   CHECK-NOT:   plan.launch @{{copy|fused}}
//       CHECK:   plan.launch @[[PARTIALS]](
//       CHECK:   plan.launch @[[ATTENTION]](
func.func @step(%q: tensor<1x?x4x64xf32> {ferrite.name = "q", ferrite.dims = ["1", "tokens", "4", "64"]},
                %k: tensor<1x?x2x64xf32> {ferrite.name = "k", ferrite.dims = ["1", "tokens", "2", "64"]},
                %v: tensor<1x?x2x80xf32> {ferrite.name = "v", ferrite.dims = ["1", "tokens", "2", "80"]},
                %slots: tensor<?xi64> {ferrite.name = "slots", ferrite.dims = ["tokens"]},
                %begins: tensor<?xi32> {ferrite.name = "run_begins", ferrite.dims = ["runs + 1"]},
                %contexts: tensor<?xi32> {ferrite.name = "contexts", ferrite.dims = ["runs"]},
                %visible: tensor<?xi64> {ferrite.name = "visible", ferrite.dims = ["tokens"]},
                %tables: tensor<?x?xi32> {ferrite.name = "page_tables", ferrite.dims = ["runs", "table"]},
                %slopes: tensor<4xf32> {ferrite.name = "slopes"}, %sinks: tensor<4xf32> {ferrite.name = "sinks"},
                %keys: tensor<?x2x64x64xf32> {ferrite.name = "past.k", ferrite.dims = ["pages", "2", "64", "64"], ferrite.state = #ferrite.state<keys, layer = 0, window = 512>},
                %values: tensor<?x2x64x80xf32> {ferrite.name = "past.v", ferrite.dims = ["pages", "2", "64", "80"], ferrite.state = #ferrite.state<values, layer = 0, window = 512>})
    -> (tensor<1x?x4x80xf32> {ferrite.name = "y"}) {
  %0 = ferrite.kv_append %k, %slots, %keys keys : tensor<1x?x2x64xf32>, tensor<?xi64>, tensor<?x2x64x64xf32>
  %1 = ferrite.kv_append %v, %slots, %values : tensor<1x?x2x80xf32>, tensor<?xi64>, tensor<?x2x64x80xf32>
  %y = ferrite.paged_attention %q, %0, %1, %begins, %contexts, %visible, %tables sinks(%sinks : tensor<4xf32>) slopes(%slopes : tensor<4xf32>) scale = 0.125 softcap = 30.0 left = 511 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x80xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x80xf32>
  return %y : tensor<1x?x4x80xf32>
}
