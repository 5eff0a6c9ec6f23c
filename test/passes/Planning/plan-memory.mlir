// RUN: ferrite-opt %s --ferrite-plan-memory --split-input-file | FileCheck %s

// Weights follow each other at multiples of a cache line: a load of a whole vector
// would cross one otherwise.
// CHECK:      plan.weight @a rows "a" [{{.*}}] offset = 0 bytes = 20 : tensor<5xf32>
// CHECK-NEXT: plan.weight @b rows "b" [{{.*}}] offset = 64 bytes = 64 : tensor<16xf32>
// CHECK-NEXT: plan.weight @c rows "c" [{{.*}}] offset = 128 bytes = 4 : tensor<1xf32>
plan.weight @a rows "a" [#ferrite.source<"m", offset = 0, shape = [5], type = f32>] offset = 0 bytes = 20 : tensor<5xf32>
plan.weight @b rows "b" [#ferrite.source<"m", offset = 64, shape = [16], type = f32>] offset = 0 bytes = 64 : tensor<16xf32>
plan.weight @c rows "c" [#ferrite.source<"m", offset = 128, shape = [1], type = f32>] offset = 0 bytes = 4 : tensor<1xf32>

// -----

// A chain of four: each buffer dies as the next but one is written, so two places
// serve all. The greatest, of the middle, is placed first.
// CHECK-LABEL: plan.entry @chain symbols = [] arena = "batch*sequence*7680" {
// CHECK:         plan.buffer "batch*sequence*1536" at "batch*sequence*6144"
// CHECK-NEXT:    plan.buffer "batch*sequence*6144" at "0"
// CHECK-NEXT:    plan.buffer "batch*sequence*1536" at "batch*sequence*6144"
// CHECK-NEXT:    plan.buffer "batch*sequence*1536" at "0"
plan.entry @chain symbols = [] {
  %x = plan.input "x" dims = ["batch", "sequence", "384"] : tensor<?x?x384xf32>
  %y = plan.output "y" dims = ["batch", "sequence", "384"] : tensor<?x?x384xf32>
  %0 = plan.buffer "batch*sequence*1536"
  %1 = plan.buffer "batch*sequence*6144"
  %2 = plan.buffer "batch*sequence*1536"
  %3 = plan.buffer "batch*sequence*1536"
  plan.launch @k(%x, %0) offsets = ["0", "0"] values = []
  plan.launch @k(%0, %1) offsets = ["0", "0"] values = []
  plan.launch @k(%1, %2) offsets = ["0", "0"] values = []
  plan.launch @k(%2, %3) offsets = ["0", "0"] values = []
  plan.launch @k(%3, %y) offsets = ["0", "0"] values = []
}

// -----

// A residual lives across both products: nothing may lie where it does.
// CHECK-LABEL: plan.entry @residual symbols = [] arena = "n*192" {
// CHECK:         plan.buffer "n*64" at "0"
// CHECK-NEXT:    plan.buffer "n*64" at "n*64"
// CHECK-NEXT:    plan.buffer "n*64" at "n*128"
plan.entry @residual symbols = [] {
  %x = plan.input "x" dims = ["n", "16"] : tensor<?x16xf32>
  %y = plan.output "y" dims = ["n", "16"] : tensor<?x16xf32>
  %0 = plan.buffer "n*64"
  %1 = plan.buffer "n*64"
  %2 = plan.buffer "n*64"
  plan.launch @k(%x, %0) offsets = ["0", "0"] values = []
  plan.launch @k(%0, %1) offsets = ["0", "0"] values = []
  plan.launch @k(%1, %2) offsets = ["0", "0"] values = []
  plan.launch @k(%2, %0, %y) offsets = ["0", "0", "0"] values = []
}

// -----

// Sizes of two classes have no order for all shapes: each class has its region.
// Sizes of a few bytes for each of a class are not rounded up; they come last.
// CHECK-LABEL: plan.entry @classes symbols = [] arena = "batch*sequence*4 + batch*4 + 128" {
// CHECK:         plan.buffer "batch*sequence*4" at "batch*4 + 128"
// CHECK-NEXT:    plan.buffer "batch*4" at "128"
// CHECK-NEXT:    plan.buffer "100" at "0"
plan.entry @classes symbols = [] {
  %x = plan.input "x" dims = ["batch", "sequence"] : tensor<?x?xf32>
  %0 = plan.buffer "batch*sequence*4"
  %1 = plan.buffer "batch*4"
  %2 = plan.buffer "100"
  plan.launch @k(%x, %0, %1, %2) offsets = ["0", "0", "0", "0"] values = []
}

// -----

// A model without buffers needs no arena.
// CHECK-LABEL: plan.entry @none symbols = [] arena = "0" {
plan.entry @none symbols = [] {
  %x = plan.input "x" dims = ["n"] : tensor<?xf32>
  %y = plan.output "y" dims = ["n"] : tensor<?xf32>
  plan.launch @k(%x, %y) offsets = ["0", "0"] values = []
}
