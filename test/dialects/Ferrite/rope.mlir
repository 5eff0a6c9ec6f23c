// RUN: ferrite-opt %s --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @roundtrip
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} interleaved : tensor<?x?x8x64xf16>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} : tensor<?x?x8x64xf16>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
func.func @roundtrip(%x: tensor<?x?x8x64xf16>, %c: tensor<1x?x32xf32>, %s: tensor<?x1x32xf32>) -> tensor<?x?x8x64xf16> {
  %y = ferrite.rope %x, %c, %s interleaved : tensor<?x?x8x64xf16>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
  %z = ferrite.rope %y, %c, %s : tensor<?x?x8x64xf16>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
  return %z : tensor<?x?x8x64xf16>
}

// -----

func.func @rank(%x: tensor<2x8x64xf32>, %c: tensor<1x2x32xf32>) -> tensor<2x8x64xf32> {
  // expected-error @below {{expects an input of rank 4, but got 'tensor<2x8x64xf32>'}}
  %y = ferrite.rope %x, %c, %c : tensor<2x8x64xf32>, tensor<1x2x32xf32>, tensor<1x2x32xf32>
  return %y : tensor<2x8x64xf32>
}

// -----

func.func @tokens(%x: tensor<2x5x8x64xf32>, %c: tensor<1x4x32xf32>) -> tensor<2x5x8x64xf32> {
  // expected-error @below {{expects cos and sin of [batch or 1, tokens or 1, half of the rotated size]}}
  %y = ferrite.rope %x, %c, %c : tensor<2x5x8x64xf32>, tensor<1x4x32xf32>, tensor<1x4x32xf32>
  return %y : tensor<2x5x8x64xf32>
}

// -----

func.func @wider_than_a_head(%x: tensor<2x5x8x64xf32>, %c: tensor<1x5x33xf32>) -> tensor<2x5x8x64xf32> {
  // expected-error @below {{at most half of the 64 of a head, but got 33 and 33}}
  %y = ferrite.rope %x, %c, %c : tensor<2x5x8x64xf32>, tensor<1x5x33xf32>, tensor<1x5x33xf32>
  return %y : tensor<2x5x8x64xf32>
}
