// Two entries of one module share weights and kernels, and each can be run.
//
// RUN: rm -rf %t && mkdir %t
// RUN: ferrite-opt %s --ferrite-select-pipeline | FileCheck %s
// RUN: ferrite compile %s --compile-from=fuse -o %t/m.so --cpu=avx2 --quiet
// RUN: ferrite inspect %t/m.so --json | FileCheck %s --check-prefix=INSPECT
// RUN: ferrite run %t/m.so --shape x=2x8 --json | FileCheck %s --check-prefix=FIRST
// RUN: ferrite run %t/m.so --entry softmax_8 --shape x=2x8 --json | FileCheck %s --check-prefix=SECOND
// RUN: not ferrite run %t/m.so --entry none --shape x=2x8 2>&1 | FileCheck %s --check-prefix=NONE

// The second entry is named like a kernel, which then has another name.
// CHECK:     plan.kernel @softmax_8_1
// CHECK:     plan.weight @weight_0
// CHECK-NOT: plan.{{weight @|kernel @softmax}}
// CHECK:     plan.entry @main
// CHECK:       plan.use @weight_0
// CHECK:       plan.launch @softmax_8_1(
// CHECK-NOT: plan.{{weight|kernel}} @
// CHECK:     plan.entry @softmax_8
// CHECK:       plan.use @weight_0
// CHECK:       plan.launch @norm_8(
// CHECK:       plan.launch @softmax_8_1(
// INSPECT: "entries":[{"name":"main"{{.*}},{"name":"softmax_8"
// FIRST:  "name":"y"
// SECOND: "name":"z"
// NONE: error: no entry 'none': the model has 'main', 'softmax_8'
func.func @main(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "8"]}) -> (tensor<?x8xf32> {ferrite.name = "y"}) {
  %w = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<8xf32>
  %s = ferrite.softmax %x : tensor<?x8xf32>
  %y = ferrite.norm rms %s, %w epsilon = 1.0e-05 : tensor<?x8xf32>, tensor<8xf32>
  return %y : tensor<?x8xf32>
}
func.func @softmax_8(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "8"]}) -> (tensor<?x8xf32> {ferrite.name = "z"}) {
  %w = arith.constant dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<8xf32>
  %n = ferrite.norm rms %x, %w epsilon = 1.0e-05 : tensor<?x8xf32>, tensor<8xf32>
  %z = ferrite.softmax %n : tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}
