// RUN: ferrite-opt %s --split-input-file --verify-diagnostics

// What select makes of products of experts; those themselves are in invalid.mlir.

func.func @route_c1(%e: tensor<4xi64>) {
  // expected-error @below {{expects a group for each slot, and 4 results for each, but got 'tensor<4xi64>' and 'tensor<15xi64>'}}
  %r = ferrite.route %e groups = 8 chunk = 48 : tensor<4xi64> -> tensor<15xi64>
  return
}

// -----

func.func @route_c2(%e: tensor<4xi64>) {
  // expected-error @below {{expects groups and chunks of at least 1, but got 8 and 0}}
  %r = ferrite.route %e groups = 8 chunk = 0 : tensor<4xi64> -> tensor<16xi64>
  return
}

// -----

func.func @grouped_linear_c1(%x: tensor<4x8xf32>, %w: tensor<2x8x6xf32>, %r: tensor<32xi64>) {
  // expected-error @below {{expects rows and their route}}
  %y = ferrite.grouped_linear %x, %w, %r share = 2 chunk = 48 : tensor<4x8xf32>, tensor<2x8x6xf32>, tensor<32xi64> -> tensor<4x6xf32>
  return
}

// -----

func.func @grouped_linear_c2(%x: tensor<4x8xf32>, %w: tensor<2x6x8xf32>, %r: tensor<16xi64>) {
  // expected-error @below {{expects matrices from 8 to 6, but got 'tensor<2x6x8xf32>'}}
  %y = ferrite.grouped_linear %x, %w, %r share = 1 chunk = 48 : tensor<4x8xf32>, tensor<2x6x8xf32>, tensor<16xi64> -> tensor<4x6xf32>
  return
}

// -----

func.func @grouped_linear_c3(%x: tensor<4x8xf32>, %w: tensor<2x4x6xui8>, %r: tensor<16xi64>) {
  // expected-error @below {{expects scales with bits, one for each block that divides 8}}
  %y = ferrite.grouped_linear %x, %w, %r share = 1 chunk = 48 bits = 4 block = 4 : tensor<4x8xf32>, tensor<2x4x6xui8>, tensor<16xi64> -> tensor<4x6xf32>
  return
}

// -----

func.func @grouped_linear_c4(%x: tensor<4x8xf32>, %w: tensor<2x8x6xf32>, %r: tensor<16xi64>, %z: tensor<2x1x6xui8>) {
  // expected-error @below {{expects zero points packed as its weight, but got 'tensor<2x1x6xui8>'}}
  %y = ferrite.grouped_linear %x, %w, %r zero_points(%z : tensor<2x1x6xui8>) share = 1 chunk = 48 : tensor<4x8xf32>, tensor<2x8x6xf32>, tensor<16xi64> -> tensor<4x6xf32>
  return
}

// -----

func.func @grouped_linear_c5(%x: tensor<4x8xf32>, %w: tensor<2x8x6xf32>, %r: tensor<16xi64>) {
  // expected-error @below {{expects a share and chunks of at least 1, but got 0 and 48}}
  %y = ferrite.grouped_linear %x, %w, %r share = 0 chunk = 48 : tensor<4x8xf32>, tensor<2x8x6xf32>, tensor<16xi64> -> tensor<4x6xf32>
  return
}
