// RUN: ferrite-opt %s --verify-quantize --split-input-file --verify-diagnostics

func.func @stored_bits(%s: tensor<4xf32>) -> tensor<4x8xf32> {
  %q = arith.constant dense<1> : tensor<4x8xi8>
  %c = arith.constant dense<0.5> : tensor<4xf32>
  %w = ferrite.dequantize %q, %c axis = 0 : (tensor<4x8xi8>, tensor<4xf32>) -> tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

// A scale that is computed is no part of a stored weight.
func.func @computed_scale(%s: tensor<4xf32>) -> tensor<4x8xf32> {
  %q = arith.constant dense<1> : tensor<4x8xi8>
  // expected-error @below {{makes numbers of bits that are not stored}}
  // expected-note @below {{after phase quantize}}
  %w = ferrite.dequantize %q, %s axis = 0 : (tensor<4x8xi8>, tensor<4xf32>) -> tensor<4x8xf32>
  return %w : tensor<4x8xf32>
}

// -----

func.func @forgotten_format(%x: tensor<4x8xf32>, %w: tensor<8x4xf32>) -> tensor<4x4xf32> {
  // expected-error @below {{has a format, and its weight is not of that}}
  // expected-note @below {{after phase quantize}}
  %y = ferrite.linear %x, %w {ferrite.format = "w4g32"} : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %y : tensor<4x4xf32>
}
