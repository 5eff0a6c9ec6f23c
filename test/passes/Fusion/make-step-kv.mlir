// The pools of a step hold what --kv says; what they cannot hold is an error.

// RUN: sed -e '1i module attributes {ferrite.kv = "int8"} {' -e '$a }' %S/make-step.mlir | ferrite-opt --ferrite-make-step | FileCheck %s
// RUN: sed -e '1i module attributes {ferrite.kv = "bf16"} {' -e '$a }' %S/make-step.mlir | ferrite-opt --ferrite-make-step | FileCheck %s --check-prefix=SHORT
// RUN: sed -e '1i module attributes {ferrite.kv = "int4"} {' -e '$a }' %S/make-step.mlir | not ferrite-opt --ferrite-make-step 2>&1 | FileCheck %s --check-prefix=FOUR
// RUN: echo 'module attributes {ferrite.kv = "int8"} {}' | not ferrite-opt --ferrite-make-step 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: sed -e '1i module attributes {ferrite.kv = "int8,f16-sinks=4"} {' -e '$a }' %S/make-step.mlir | ferrite-opt --ferrite-make-step | FileCheck %s --check-prefix=MIXED
// RUN: sed -e '1i module attributes {ferrite.kv = "int8,f16-recent=64"} {' -e '$a }' %S/make-step.mlir | not ferrite-opt --ferrite-make-step 2>&1 | FileCheck %s --check-prefix=NARROW
// RUN: sed -e '1i module attributes {ferrite.kv = "f16,f16-sinks=4"} {' -e '$a }' %S/make-step.mlir | not ferrite-opt --ferrite-make-step 2>&1 | FileCheck %s --check-prefix=FLOATS

// CHECK-LABEL: func.func @step(
//  CHECK-SAME:   tensor<?x2x8x64xi8> {ferrite.dims = ["pages", "2", "8", "64"], ferrite.name = "past.k"
//  CHECK-SAME:   tensor<?x2x64x8xi8> {ferrite.dims = ["pages", "2", "64", "8"], ferrite.name = "past.v"
//       CHECK:   ferrite.kv_append {{.+}} keys : tensor<1x?x2x4xf32>, tensor<?xi64>, tensor<?x2x8x64xi8>
//       CHECK:   ferrite.paged_attention {{.+}} tensor<?x2x8x64xi8>, tensor<?x2x64x8xi8>, {{.+}} -> tensor<1x?x4x4xf32>

// SHORT: tensor<?x2x4x64xbf16> {ferrite.dims = ["pages", "2", "4", "64"], ferrite.name = "past.k"

// MIXED-LABEL: func.func @step(
//  MIXED-SAME:   %[[K:[^: ]+]]: tensor<?x2x8x64xi8> {ferrite.dims = ["pages", "2", "8", "64"], ferrite.name = "past.k"
//  MIXED-SAME:   %[[SLOTS:[^: ]+]]: tensor<?xi64> {ferrite.dims = ["tokens"], ferrite.name = "slots_2"}
//  MIXED-SAME:   %[[TABLES:[^: ]+]]: tensor<?x?xi32> {ferrite.dims = ["runs", "table"], ferrite.name = "page_tables_2"}
//  MIXED-SAME:   %[[K16:[^: ]+]]: tensor<?x2x4x64xf16> {ferrite.dims = ["pages", "2", "4", "64"], ferrite.name = "past.k.f16", ferrite.state = #ferrite.state<keys, layer = 0, window = 1, group = 2, sinks = 4>}
//   MIXED-DAG:   ferrite.kv_append %{{[^,]+}}, %{{[^,]+}}, %[[K]] keys
//   MIXED-DAG:   ferrite.kv_append %{{[^,]+}}, %[[SLOTS]], %[[K16]] keys
//       MIXED:   ferrite.paged_attention {{.+}} left = 5 from = 4 : {{.+}} -> tensor<1x?x4x5xf32>
//       MIXED:   ferrite.paged_attention {{.+}}, %[[TABLES]] scale = {{[^ ]+}} left = 5 until = 4 : {{.+}} -> tensor<1x?x4x5xf32>
//       MIXED:   ferrite.div

// NARROW: error: there is no entry 'step' as it was asked for: has a window of 6 tokens, all of which f16-recent=64 would keep in f16
// FLOATS: error: f16-sinks and f16-recent are for caches of int8 or int4, not 'f16'
// FOUR: error: there is no entry 'step' as it was asked for: has heads of 4 numbers; caches of four bits take multiples of 32
// NONE: error: is no decoder: there is no step entry that could be as it was asked for
