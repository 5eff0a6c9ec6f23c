// RUN: ferrite-opt %s --verify-fuse --split-input-file --verify-diagnostics

func.func @all_have_kernels(%x: tensor<4x8xf32>, %w: tensor<8x4xf32>) -> tensor<4x4xf32> {
  %y = ferrite.matmul %x, %w : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}

// -----

// An op without a kernel would fail in codegen, where nobody looks for fusion.
func.func @elementwise_is_left(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @below {{no kernel exists for 'ferrite.exp' of these types}}
  // expected-note @below {{after phase fuse; --ferrite-fuse-elementwise left it}}
  %y = ferrite.exp %x : (tensor<4x8xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
