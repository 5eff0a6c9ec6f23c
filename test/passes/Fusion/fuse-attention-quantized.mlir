// RUN: ferrite-opt %s --ferrite-fuse-attention --verify-diagnostics --remarks-filter=ferrite-fuse-attention --remark-format=emitRemark | FileCheck %s

// Eight bits of the probabilities are what the graph says: attention keeps them
// all, and would be another function.
// CHECK-LABEL: func.func @quantized
//   CHECK-NOT:   ferrite.attention
//       CHECK:   return
func.func @quantized(%q: tensor<2x4x8x16xf32>, %k: tensor<2x4x16x8xf32>, %v: tensor<2x4x8x16xf32>, %s: tensor<f32>) -> tensor<2x4x8x16xf32> {
  %a = ferrite.matmul %q, %k : (tensor<2x4x8x16xf32>, tensor<2x4x16x8xf32>) -> tensor<2x4x8x8xf32>
  // expected-remark @below {{Reason="the probabilities are quantized before the product, which attention would not do"}}
  %p = ferrite.softmax %a : tensor<2x4x8x8xf32>
  %b = ferrite.quantize %p, %s precision = f32 : (tensor<2x4x8x8xf32>, tensor<f32>) -> tensor<2x4x8x8xui8>
  %c = ferrite.dequantize %b, %s : (tensor<2x4x8x8xui8>, tensor<f32>) -> tensor<2x4x8x8xf32>
  %y = ferrite.matmul %c, %v : (tensor<2x4x8x8xf32>, tensor<2x4x8x16xf32>) -> tensor<2x4x8x16xf32>
  return %y : tensor<2x4x8x16xf32>
}
