// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @types_and_granularities
//       CHECK:   ferrite.quantize %{{.*}}, %{{.*}} zero(%{{.*}} : tensor<64xui8>) axis = 1 precision = f32
//       CHECK:   ferrite.dequantize %{{.*}}, %{{.*}} axis = 1 block = 32
//       CHECK:   ferrite.quantize %{{.*}}, %{{.*}} overflows precision = f16
//       CHECK:   ferrite.cast %{{.*}} overflows rounding nearest
//       CHECK:   ferrite.bitcast
func.func @types_and_granularities(%x: tensor<2x64xf32>, %s: tensor<64xf32>, %z: tensor<64xui8>, %w: tensor<64x128xi4>, %b: tensor<64x4xf16>, %t: tensor<f16>) {
  %0 = ferrite.quantize %x, %s zero(%z : tensor<64xui8>) axis = 1 precision = f32 : (tensor<2x64xf32>, tensor<64xf32>) -> tensor<2x64xui8>
  %1 = ferrite.dequantize %w, %b axis = 1 block = 32 : (tensor<64x128xi4>, tensor<64x4xf16>) -> tensor<64x128xf32>
  %2 = ferrite.quantize %x, %t overflows precision = f16 : (tensor<2x64xf32>, tensor<f16>) -> tensor<2x64xf8E4M3FN>
  %3 = ferrite.cast %x overflows rounding nearest : (tensor<2x64xf32>) -> tensor<2x64xf8E8M0FNU>
  %4 = ferrite.bitcast %x : (tensor<2x64xf32>) -> tensor<2x64xui32>
  return
}

// CHECK-LABEL: func.func @examples
func.func @examples(%x: tensor<?x64xf32>, %s: tensor<64xf32>, %z: tensor<64xui8>, %q: tensor<64x128xi4>, %t: tensor<64x4xf32>, %v: tensor<?xf32>, %i: tensor<8xui16>) {
  %0 = ferrite.quantize %x, %s zero(%z : tensor<64xui8>) axis = 1 precision = f32 : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xui8>
  %w = ferrite.dequantize %q, %t axis = 1 block = 32 : (tensor<64x128xi4>, tensor<64x4xf32>) -> tensor<64x128xf32>
  %y = ferrite.cast %v : (tensor<?xf32>) -> tensor<?xf8E4M3FN>
  %b = ferrite.bitcast %v : (tensor<?xf32>) -> tensor<?xi32>
  // CHECK: ferrite.tan
  %u0 = ferrite.tan %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.asin
  %u1 = ferrite.asin %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.acos
  %u2 = ferrite.acos %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.atan
  %u3 = ferrite.atan %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.sinh
  %u4 = ferrite.sinh %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.cosh
  %u5 = ferrite.cosh %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.asinh
  %u6 = ferrite.asinh %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.acosh
  %u7 = ferrite.acosh %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.atanh
  %u8 = ferrite.atanh %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.log1p
  %u9 = ferrite.log1p %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.expm1
  %u10 = ferrite.expm1 %v : (tensor<?xf32>) -> tensor<?xf32>
  // CHECK: ferrite.mod
  %p0 = ferrite.mod %i, %i : (tensor<8xui16>, tensor<8xui16>) -> tensor<8xui16>
  // CHECK: ferrite.rem
  %p1 = ferrite.rem %i, %i : (tensor<8xui16>, tensor<8xui16>) -> tensor<8xui16>
  // CHECK: ferrite.shift_left
  %p2 = ferrite.shift_left %i, %i : (tensor<8xui16>, tensor<8xui16>) -> tensor<8xui16>
  // CHECK: ferrite.shift_right
  %p3 = ferrite.shift_right %i, %i : (tensor<8xui16>, tensor<8xui16>) -> tensor<8xui16>
  return
}

// -----

func.func @quantize_c1(%x: tensor<2x64xf32>, %s: tensor<64xf32>) {
  // expected-error @below {{expects an axis}}
  %0 = ferrite.quantize %x, %s axis = 2 precision = f32 : (tensor<2x64xf32>, tensor<64xf32>) -> tensor<2x64xui8>
  return
}

// -----

func.func @quantize_c2(%x: tensor<2x64xf32>, %s: tensor<63xf32>) {
  // expected-error @below {{expects a scale that fits axis 1}}
  %0 = ferrite.quantize %x, %s axis = 1 precision = f32 : (tensor<2x64xf32>, tensor<63xf32>) -> tensor<2x64xui8>
  return
}

// -----

func.func @quantize_c3(%x: tensor<2x64xf32>, %s: tensor<f32>, %z: tensor<i8>) {
  // expected-error @below {{expects a zero point of the result's type}}
  %0 = ferrite.quantize %x, %s zero(%z : tensor<i8>) precision = f32 : (tensor<2x64xf32>, tensor<f32>) -> tensor<2x64xui8>
  return
}

// -----

func.func @quantize_c4(%x: tensor<2x64xf32>, %s: tensor<f32>) {
  // expected-error @below {{expects a precision to divide in}}
  %0 = ferrite.quantize %x, %s precision = i32 : (tensor<2x64xf32>, tensor<f32>) -> tensor<2x64xui8>
  return
}

// -----

func.func @dequantize_c3(%x: tensor<2x64xi8>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @below {{expects a zero point of the input's type}}
  %0 = ferrite.dequantize %x, %s zero(%z : tensor<ui8>) : (tensor<2x64xi8>, tensor<f32>) -> tensor<2x64xf32>
  return
}

// -----

func.func @bitcast_c1(%x: tensor<2xf32>) {
  // expected-error @below {{expects types of as many bits}}
  %0 = ferrite.bitcast %x : (tensor<2xf32>) -> tensor<2xi16>
  return
}

// -----

// A source says what its bits mean; scales that do not fit are no recipe.
func.func @dequant_source() -> tensor<4x8xf32> {
  %good = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [4, 8], type = i4 dequant <scale = dense<1.0> : tensor<4x2xf32>, axis = 1, block = 4>>] : tensor<4x8xf32>
  // expected-error @below {{expects scales and zero points that fit the source}}
  %bad = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [4, 8], type = i4 dequant <scale = dense<1.0> : tensor<8xf32>, axis = 0, block = 0>>] : tensor<4x8xf32>
  return %bad : tensor<4x8xf32>
}
