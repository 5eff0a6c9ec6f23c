// RUN: ferrite-opt %s --ferrite-fuse-linear --split-input-file | FileCheck %s

// A product with a weight that stayed a matmul would unpack it at each run.
// CHECK-LABEL: func.func @product_with_weight
//       CHECK:   %[[W:.+]] = ferrite.weight
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.linear %{{.+}}, %[[W]] : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32> {
//  CHECK-NEXT:   ^bb0(%[[ACC:.+]]: f32):
//  CHECK-NEXT:     ferrite.yield %[[ACC]] : f32
//       CHECK:   return %[[Y]]
func.func @product_with_weight(%x: tensor<?x?x8xf32>) -> tensor<?x?x4xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = f32>] : tensor<8x4xf32>
  %y = ferrite.matmul %x, %w : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// -----

// A Gemm between two reshapes: with the views left, a residual of [b, s, n]
// would not meet the product.
// CHECK-LABEL: func.func @gemm_between_reshapes
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x8xf16>
//       CHECK:   %[[Y:.+]] = ferrite.linear %[[X]], %{{.+}} : (tensor<?x?x8xf16>, tensor<8x4xf16>) -> tensor<?x?x4xf16> {
//  CHECK-NEXT:   ^bb0(%[[ACC:.+]]: f32):
//  CHECK-NEXT:     %[[R:.+]] = arith.truncf %[[ACC]] : f32 to f16
//  CHECK-NEXT:     ferrite.yield %[[R]] : f16
//       CHECK:   return %[[Y]]
func.func @gemm_between_reshapes(%x: tensor<?x?x8xf16> {ferrite.dims = ["batch", "sequence", "8"]}) -> tensor<?x?x4xf16> {
  %w = arith.constant dense<1.0> : tensor<8x4xf16>
  %v = ferrite.view %x dims = ["batch*sequence", "8"] : tensor<?x?x8xf16> -> tensor<?x8xf16>
  %p = ferrite.matmul %v, %w : (tensor<?x8xf16>, tensor<8x4xf16>) -> tensor<?x4xf16>
  %y = ferrite.view %p dims = ["batch", "sequence", "4"] : tensor<?x4xf16> -> tensor<?x?x4xf16>
  return %y : tensor<?x?x4xf16>
}

// -----

// A view that splits rows, as for heads, stays behind the product.
// CHECK-LABEL: func.func @split_of_rows_stays
//       CHECK:   %[[L:.+]] = ferrite.linear
//       CHECK:   ferrite.view %[[L]] dims = ["batch", "2", "2"]
func.func @split_of_rows_stays(%x: tensor<?x8xf32> {ferrite.dims = ["batch", "8"]}) -> tensor<?x2x2xf32> {
  %w = arith.constant dense<1.0> : tensor<8x4xf32>
  %p = ferrite.matmul %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %y = ferrite.view %p dims = ["batch", "2", "2"] : tensor<?x4xf32> -> tensor<?x2x2xf32>
  return %y : tensor<?x2x2xf32>
}

// -----

// Two activations are no linear.
// CHECK-LABEL: func.func @scores_stay
//       CHECK:   ferrite.matmul
func.func @scores_stay(%a: tensor<4x8xf32>, %b: tensor<8x4xf32>) -> tensor<4x4xf32> {
  %p = ferrite.matmul %a, %b : (tensor<4x8xf32>, tensor<8x4xf32>) -> tensor<4x4xf32>
  return %p : tensor<4x4xf32>
}

// The bias of a Gemm stands between the product and the reshape: a view left
// behind it would keep gelu and residual out of the epilogue.
// CHECK-LABEL: func.func @view_behind_a_bias
//       CHECK:   %[[L:.+]] = ferrite.linear %{{.+}} -> tensor<?x?x4xf32>
//       CHECK:   %[[S:.+]] = ferrite.add %[[L]], %{{.+}} : (tensor<?x?x4xf32>, tensor<4xf32>)
//       CHECK:   return %[[S]]
func.func @view_behind_a_bias(%x: tensor<?x?x8xf32> {ferrite.dims = ["batch", "sequence", "8"]}) -> tensor<?x?x4xf32> {
  %w = arith.constant dense<0.5> : tensor<8x4xf32>
  %b = arith.constant dense<0.25> : tensor<4xf32>
  %v = ferrite.view %x dims = ["batch*sequence", "8"] : tensor<?x?x8xf32> -> tensor<?x8xf32>
  %p = ferrite.matmul %v, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %a = ferrite.add %p, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y = ferrite.view %a dims = ["batch", "sequence", "4"] : tensor<?x4xf32> -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}
