// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @examples
//       CHECK:   ferrite.dequantize %{{.*}}, %{{.*}} axis = 1 block = 32 codes = [-1.000000e+00, {{.*}}] bits = 2
//       CHECK:   ferrite.round_rows %{{.*}} block = 64 :
//       CHECK:   ferrite.round_rows %{{.*}} block = 64 sums = 32 :
//       CHECK:   ferrite.packed_linear %{{.*}}, %{{.*}} packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> :
//       CHECK:   ferrite.packed_linear {{.*}} zero = ui8{{.*}} sides(%{{.*}} : tensor<64xf32>) input_block = 64
//       CHECK:   ferrite.linear {{.*}} input_block = 32
func.func @examples(%x: tensor<?x128xf32>, %w: tensor<4608xui8>, %v: tensor<4864xui8>, %q: tensor<64x128xui4>, %t: tensor<64x4xf32>, %b: tensor<64xf32>, %m: tensor<128x64xf32>) {
  %0 = ferrite.dequantize %q, %t axis = 1 block = 32 codes = [-1.0, -0.25, 0.25, 1.0] bits = 2 : (tensor<64x128xui4>, tensor<64x4xf32>) -> tensor<64x128xf32>
  %r = ferrite.round_rows %x block = 64 : tensor<?x128xf32> -> tensor<?x192xui8>
  %s = ferrite.round_rows %x block = 64 sums = 32 : tensor<?x128xf32> -> tensor<?x192xui8>
  %f = ferrite.round_rows %x block = 64 : tensor<?x128xf32> -> tensor<?x128xf32>
  %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> : (tensor<?x128xf32>, tensor<4608xui8>) -> tensor<?x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %z = ferrite.packed_linear %s, %v packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 zero = ui8> sides(%b : tensor<64xf32>) input_block = 64 : (tensor<?x192xui8>, tensor<4864xui8>) -> tensor<?x64xf32> {
  ^bb0(%acc: f32, %bias: f32):
    %sum = arith.addf %acc, %bias : f32
    ferrite.yield %sum : f32
  }
  %l = ferrite.linear %x, %m input_block = 32 : (tensor<?x128xf32>, tensor<128x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @dequantize_c4(%q: tensor<64x128xui4>, %t: tensor<64x4xf32>) {
  // expected-error @below {{expects unsigned elements of 8 bits or fewer, a code for each of their values and no zero point, but got 3 codes for 'ui4'}}
  %0 = ferrite.dequantize %q, %t axis = 1 block = 32 codes = [-1.0, 0.0, 1.0] : (tensor<64x128xui4>, tensor<64x4xf32>) -> tensor<64x128xf32>
  return
}

// -----

func.func @dequantize_c5(%q: tensor<64x128xui4>, %t: tensor<64x4xf32>) {
  // expected-error @below {{expects no more bits than 'ui4' has, but got 5}}
  %0 = ferrite.dequantize %q, %t axis = 1 block = 32 bits = 5 : (tensor<64x128xui4>, tensor<64x4xf32>) -> tensor<64x128xf32>
  return
}

// -----

func.func @round_rows_c1(%x: tensor<?x128xf32>) {
  // expected-error @below {{expects rows, and bytes of their rounded length, but got}}
  %r = ferrite.round_rows %x block = 64 : tensor<?x128xf32> -> tensor<?x128xui8>
  return
}

// -----

func.func @round_rows_c2(%x: tensor<?x128xf32>) {
  // expected-error @below {{expects a block of 1 or more and sums that fit it, but got 64 and 48}}
  %r = ferrite.round_rows %x block = 64 sums = 48 : tensor<?x128xf32> -> tensor<?x192xui8>
  return
}

// -----

func.func @linear_c6(%x: tensor<4x8xf32>, %m: tensor<8x8xf32>) {
  // expected-error @below {{expects an input_block of floats of 0 or more, but got -1}}
  %l = ferrite.linear %x, %m input_block = -1 : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @packed_linear_c1(%x: tensor<4x64xf32>, %w: tensor<4608xui8>) {
  // expected-error @below {{expects rows of 128 and a result of 64 columns, but got}}
  %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> : (tensor<4x64xf32>, tensor<4608xui8>) -> tensor<4x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @packed_linear_c2(%x: tensor<4x128xf32>, %w: tensor<4608xui8>, %b: tensor<63xf32>) {
  // expected-error @below {{expects sides that broadcast to}}
  %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> sides(%b : tensor<63xf32>) : (tensor<4x128xf32>, tensor<4608xui8>) -> tensor<4x64xf32> {
  ^bb0(%acc: f32, %bias: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @packed_linear_c3(%x: tensor<4x128xf32>, %w: tensor<4608xui8>) {
  // expected-error @below {{expects an epilogue from f32 and an element of each side to 'f32'}}
  %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> : (tensor<4x128xf32>, tensor<4608xui8>) -> tensor<4x64xf32> {
  ^bb0(%acc: i32):
    %c = arith.constant 0.0 : f32
    ferrite.yield %c : f32
  }
  return
}

// -----

func.func @packed_linear_c4(%x: tensor<4x128xf32>, %w: tensor<4000xui8>) {
  // expected-error @below {{expects 4608 bytes of weight, but got 'tensor<4000xui8>'}}
  %y = ferrite.packed_linear %x, %w packed <bits = 4, depth = 128, columns = 64, block = 32, scale = f16 shift = 8> : (tensor<4x128xf32>, tensor<4000xui8>) -> tensor<4x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

// Steps of three bits are 32 k: blocks of 48 would cut one.
func.func @packed_attr(%x: tensor<4x96xf32>, %w: tensor<1xui8>) {
  // expected-error @below {{expects 2, 3, 4 or 8 bits in blocks of whole words, but got 3 bits in blocks of 48}}
  %y = ferrite.packed_linear %x, %w packed <bits = 3, depth = 96, columns = 64, block = 48, scale = f16 shift = 4> : (tensor<4x96xf32>, tensor<1xui8>) -> tensor<4x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}
