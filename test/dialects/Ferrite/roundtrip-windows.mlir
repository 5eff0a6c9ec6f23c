// RUN: ferrite-opt %s --verify-roundtrip | FileCheck %s

// The examples of the documentation of windows and borders.

// CHECK-LABEL: func.func @windows
func.func @windows(%x: tensor<?x3002x384xf32>) {
  // CHECK: ferrite.windows %{{.+}} axis = 1 size = 3 step = 2 count = "1500" : tensor<?x3002x384xf32> -> tensor<?x1500x3x384xf32>
  %w = ferrite.windows %x axis = 1 size = 3 step = 2 count = "1500" : tensor<?x3002x384xf32> -> tensor<?x1500x3x384xf32>
  // CHECK: axis = 0 size = 2 dilation = 4 count = "batch - 4"
  %d = ferrite.windows %x axis = 0 size = 2 dilation = 4 count = "batch - 4" : tensor<?x3002x384xf32> -> tensor<?x2x3002x384xf32>
  return
}

// CHECK-LABEL: func.func @pad
func.func @pad(%x: tensor<?x3000x384xf32>, %zero: tensor<f32>) {
  // CHECK: ferrite.pad %{{.+}}, %{{.+}} low = ["0", "1", "0"] dims = ["batch", "3002", "384"] : (tensor<?x3000x384xf32>, tensor<f32>) -> tensor<?x3002x384xf32>
  %p = ferrite.pad %x, %zero low = ["0", "1", "0"] dims = ["batch", "3002", "384"] : (tensor<?x3000x384xf32>, tensor<f32>) -> tensor<?x3002x384xf32>
  return
}
