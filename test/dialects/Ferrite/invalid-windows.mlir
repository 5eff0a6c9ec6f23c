// RUN: ferrite-opt %s --split-input-file --verify-diagnostics

func.func @windows_c1_axis(%x: tensor<4x8xf32>) {
  // expected-error @below {{expects an axis of 'tensor<4x8xf32>' and a size, step and dilation of 1 or more, but got 2, 3, 1 and 1}}
  %w = ferrite.windows %x axis = 2 size = 3 count = "6" : tensor<4x8xf32> -> tensor<4x6x3xf32>
  return
}

// -----

func.func @windows_c1_count(%x: tensor<4x8xf32>) {
  // expected-error @below {{expects a count that is a size, but got 'a+'}}
  %w = ferrite.windows %x axis = 1 size = 3 count = "a+" : tensor<4x8xf32> -> tensor<4x6x3xf32>
  return
}

// -----

func.func @windows_c1_result(%x: tensor<4x8xf32>) {
  // expected-error @below {{expects a result of 'tensor<4x6x3xf32>', but got 'tensor<4x3x6xf32>'}}
  %w = ferrite.windows %x axis = 1 size = 3 count = "6" : tensor<4x8xf32> -> tensor<4x3x6xf32>
  return
}

// -----

func.func @windows_c2(%x: tensor<4x8xf32>) {
  // expected-error @below {{expects 4 windows inside of 'tensor<4x8xf32>' on axis 1}}
  %w = ferrite.windows %x axis = 1 size = 3 step = 2 count = "4" : tensor<4x8xf32> -> tensor<4x4x3xf32>
  return
}

// -----

func.func @pad_c1(%x: tensor<4x8xf32>, %v: tensor<f32>) {
  // expected-error @below {{expects a size before and a size for each of the 2 dims of its input}}
  %p = ferrite.pad %x, %v low = ["0"] dims = ["4", "9"] : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @pad_c1_result(%x: tensor<4x8xf32>, %v: tensor<f32>) {
  // expected-error @below {{expects a result of 'tensor<4x9xf32>', but got 'tensor<4x10xf32>'}}
  %p = ferrite.pad %x, %v low = ["0", "0"] dims = ["4", "9"] : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x10xf32>
  return
}

// -----

func.func @pad_c2(%x: tensor<4x8xf32>, %v: tensor<i32>) {
  // expected-error @below {{expects one 'f32' around its input, but got 'tensor<i32>'}}
  %p = ferrite.pad %x, %v low = ["0", "0"] dims = ["4", "9"] : (tensor<4x8xf32>, tensor<i32>) -> tensor<4x9xf32>
  return
}

// -----

func.func @pad_c3(%x: tensor<4x8xf32>, %v: tensor<f32>) {
  // expected-error @below {{expects room for 'tensor<4x8xf32>' in 'tensor<4x9xf32>', but dim 1 begins at 2}}
  %p = ferrite.pad %x, %v low = ["0", "2"] dims = ["4", "9"] : (tensor<4x8xf32>, tensor<f32>) -> tensor<4x9xf32>
  return
}
