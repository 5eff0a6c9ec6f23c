// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// Windows of one image are rows that overlap: the product reads them in place.
// CHECK:       plan.kernel @linear_12x16 layouts = [#plan.layout<f32 [4, 12] strides [8, 1]>,
// CHECK-LABEL: plan.entry @overlap
// CHECK-NOT:     @copy
// CHECK:         plan.launch @linear_12x16(
// CHECK-NEXT:    }
func.func @overlap(%x: tensor<1x9x4xf32> {ferrite.name = "x"}) -> (tensor<1x4x16xf32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [12, 16], type = f32>] : tensor<12x16xf32>
  %p = ferrite.windows %x axis = 1 size = 3 step = 2 count = "4" : tensor<1x9x4xf32> -> tensor<1x4x3x4xf32>
  %r = ferrite.view %p dims = ["1", "4", "12"] : tensor<1x4x3x4xf32> -> tensor<1x4x12xf32>
  %y = ferrite.linear %r, %w : (tensor<1x4x12xf32>, tensor<12x16xf32>) -> tensor<1x4x16xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %y : tensor<1x4x16xf32>
}

// -----

// The middle first, then what stands before and behind each padded dim.
// CHECK-LABEL: plan.entry @pad
// CHECK:         %[[X:.+]] = plan.input
// CHECK:         %[[Y:.+]] = plan.output
// CHECK:         plan.launch @{{pad.*}}(%[[X]], %[[Y]]) offsets = ["0", "16"]
// CHECK:         plan.launch @{{pad.*}} offsets = ["0", "0"]
// CHECK:         plan.launch @{{pad.*}} offsets = ["0", "batch*64 + 16"]
// CHECK-NEXT:    }
func.func @pad(%x: tensor<?x4xf32> {ferrite.name = "x", ferrite.dims = ["batch*4", "4"]}) -> (tensor<?x4xf32> {ferrite.name = "y"}) {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %y = ferrite.pad %x, %zero low = ["1", "0"] dims = ["batch*4 + 2", "4"] : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
