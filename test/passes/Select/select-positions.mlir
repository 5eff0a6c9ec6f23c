// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// A cache that is written through a transpose: the copy keeps the cache's order
// in memory, the kernel writes slices with strides, and the inverse transpose is
// the output itself, so that nothing is moved twice.
// CHECK:         plan.kernel @scatter_nd layouts = [#plan.layout<f32 [16, 8] strides [8, 1] alias>
// CHECK-LABEL:   plan.entry @main
// CHECK:           %[[PAST:.+]] = plan.input "past"
// CHECK:           %[[AT:.+]] = plan.input "at"
// CHECK:           %[[NEW:.+]] = plan.input "new"
// CHECK:           %[[OUT:.+]] = plan.output "present"
// CHECK-NEXT:      plan.launch @copy(%[[PAST]], %[[OUT]])
// CHECK-NEXT:      plan.launch @scatter_nd(%[[OUT]], %[[AT]], %[[NEW]], %[[OUT]])
// CHECK-NEXT:    }
func.func @main(%past: tensor<1x1x16x8xf32> {ferrite.name = "past"}, %at: tensor<2x1xi64> {ferrite.name = "at"}, %new: tensor<2x1x1x8xf32> {ferrite.name = "new"}) -> (tensor<1x1x16x8xf32> {ferrite.name = "present"}) {
  %t = ferrite.transpose %past perm = [2, 0, 1, 3] : tensor<1x1x16x8xf32> -> tensor<16x1x1x8xf32>
  %s = ferrite.scatter_nd none %t, %at, %new : tensor<16x1x1x8xf32>, tensor<2x1xi64>, tensor<2x1x1x8xf32>
  %r = ferrite.transpose %s perm = [1, 2, 0, 3] : tensor<16x1x1x8xf32> -> tensor<1x1x16x8xf32>
  return %r : tensor<1x1x16x8xf32>
}

// -----

// Any axis is the middle one of three for the kernels that walk lines.
// CHECK:         plan.kernel @topk layouts = [#plan.layout<f32 [6, 8, 5] strides [40, 5, 1]>, #plan.layout<i64 [6, 3, 5] strides [15, 5, 1]>]
// CHECK:         plan.kernel @arg_reduce layouts = [#plan.layout<f32 [6, 8, 5] strides [40, 5, 1]>, #plan.layout<i64 [6, 1, 5] strides [5, 5, 1]>]
// CHECK-LABEL:   plan.entry @order
func.func @order(%x: tensor<2x3x8x5xf32> {ferrite.name = "x"}) -> (tensor<2x3x3x5xi64> {ferrite.name = "top"}, tensor<2x3x5xi64> {ferrite.name = "arg"}) {
  %t = ferrite.topk %x axis = 2 k = ["3"] : tensor<2x3x8x5xf32> -> tensor<2x3x3x5xi64>
  %a = ferrite.arg_reduce max %x axis = 2 : tensor<2x3x8x5xf32> -> tensor<2x3x5xi64>
  return %t, %a : tensor<2x3x3x5xi64>, tensor<2x3x5xi64>
}

// -----

// A past with the new keys behind it, which are then written where each row ends,
// and read in place by others: all of it lies in the output from the beginning, so
// that a decoder moves its cache once.
// CHECK-LABEL:   plan.entry @grown
// CHECK:           %[[PAST:.+]] = plan.input "past"
// CHECK:           %[[AT:.+]] = plan.input "at"
// CHECK:           %[[NEW:.+]] = plan.input "new"
// CHECK:           %[[OUT:.+]] = plan.output "present"
// CHECK:           plan.launch @concat(%[[PAST]], %[[OUT]])
// CHECK-NEXT:      plan.launch @concat{{.*}}(%[[NEW]], %[[OUT]])
// CHECK-NEXT:      plan.launch @scatter_nd(%[[OUT]], %[[AT]], %[[NEW]], %[[OUT]])
// CHECK-NEXT:      plan.launch @softmax{{.*}}(%[[OUT]]
func.func @grown(%past: tensor<2x3x?x8xf32> {ferrite.name = "past", ferrite.dims = ["2", "3", "p", "8"]}, %at: tensor<2x1x2xi64> {ferrite.name = "at"}, %new: tensor<2x1x3x8xf32> {ferrite.name = "new"}) -> (tensor<2x3x?x8xf32> {ferrite.name = "present"}, tensor<2x3x?x8xf32> {ferrite.name = "weights"}) attributes {ferrite.symbols = [#ferrite.symbol<"p", min = 0, max = 64>]} {
  %n = ferrite.transpose %new perm = [0, 2, 1, 3] : tensor<2x1x3x8xf32> -> tensor<2x3x1x8xf32>
  %c = ferrite.concat %past, %n axis = 2 : (tensor<2x3x?x8xf32>, tensor<2x3x1x8xf32>) -> tensor<2x3x?x8xf32>
  %t = ferrite.transpose %c perm = [0, 2, 1, 3] : tensor<2x3x?x8xf32> -> tensor<2x?x3x8xf32>
  %s = ferrite.scatter_nd none %t, %at, %new : tensor<2x?x3x8xf32>, tensor<2x1x2xi64>, tensor<2x1x3x8xf32>
  %r = ferrite.transpose %s perm = [0, 2, 1, 3] : tensor<2x?x3x8xf32> -> tensor<2x3x?x8xf32>
  %w = ferrite.softmax %r : tensor<2x3x?x8xf32>
  return %r, %w : tensor<2x3x?x8xf32>, tensor<2x3x?x8xf32>
}
