// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// Signed weights without a zero point: nothing but the product, its zero point
// and a scale.
//       CHECK: plan.weight @weight_0 byte_panels "w" {{.*}} bytes = 192 : tensor<8x4xi8>
//       CHECK: plan.kernel @byte_linear_8x4
//       CHECK:   ferrite.linear %{{.+}}, %{{.+}} zero(%{{.+}} : tensor<i32>) sides(%{{.+}} : tensor<1x1xf32>)
//   CHECK-NOT: row_sums
func.func @signed(%x: tensor<?x8xui8> {ferrite.name = "x", ferrite.dims = ["rows", "8"]}, %z: tensor<i32> {ferrite.name = "z"}, %s: tensor<f32> {ferrite.name = "s"}) -> (tensor<?x4xf32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = i8>] : tensor<8x4xi8>
  %y = ferrite.linear %x, %w zero(%z : tensor<i32>) sides(%s : tensor<f32>) : (tensor<?x8xui8>, tensor<8x4xi8>) -> tensor<?x4xf32> {
  ^bb0(%acc: i32, %scale: f32):
    %n = arith.sitofp %acc : i32 to f32
    %r = arith.mulf %n, %scale : f32
    ferrite.yield %r : f32
  }
  return %y : tensor<?x4xf32>
}

// -----

// Unsigned weights are stored less 128: their rows' sums come back, computed
// once for both.
// CHECK-COUNT-1: plan.kernel @row_sums
//         CHECK: plan.kernel @byte_linear_8x4
//         CHECK:   ^bb0(%[[ACC:.+]]: i32, %[[SUM:.+]]: i32, %[[ZX:.+]]: i32):
//         CHECK:     %[[C:.+]] = arith.subi %[[SUM]], %{{.+}} : i32
//         CHECK:     %[[E:.+]] = arith.muli %{{.+}}, %[[C]] : i32
//         CHECK:     %[[R:.+]] = arith.subi %[[ACC]], %[[E]] : i32
//         CHECK:     ferrite.yield %[[R]]
// CHECK-COUNT-1: plan.launch @row_sums
//         CHECK: plan.launch @byte_linear_8x4
//         CHECK: plan.launch @byte_linear_8x4
func.func @unsigned(%x: tensor<?x8xui8> {ferrite.name = "x", ferrite.dims = ["rows", "8"]}, %z: tensor<i32> {ferrite.name = "z"}) -> (tensor<?x4xi32> {ferrite.name = "a"}, tensor<?x4xi32> {ferrite.name = "b"}) {
  %v = ferrite.weight "v" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = ui8>] : tensor<8x4xui8>
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 32, shape = [8, 4], type = ui8>] : tensor<8x4xui8>
  %a = ferrite.linear %x, %v zero(%z : tensor<i32>) : (tensor<?x8xui8>, tensor<8x4xui8>) -> tensor<?x4xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  %b = ferrite.linear %x, %w zero(%z : tensor<i32>) : (tensor<?x8xui8>, tensor<8x4xui8>) -> tensor<?x4xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return %a, %b : tensor<?x4xi32>, tensor<?x4xi32>
}

// -----

// The middle of the range as zero point is what is stored as 0.
//   CHECK-NOT: row_sums
//       CHECK: plan.launch @byte_linear_8x4
func.func @middle(%x: tensor<?x8xui8> {ferrite.name = "x", ferrite.dims = ["rows", "8"]}) -> (tensor<?x4xi32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = ui8>] : tensor<8x4xui8>
  %z = arith.constant dense<128> : tensor<i32>
  %y = ferrite.linear %x, %w weight_zero(%z : tensor<i32>) : (tensor<?x8xui8>, tensor<8x4xui8>) -> tensor<?x4xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return %y : tensor<?x4xi32>
}

// -----

// Two activations, read where they lie; a side that repeats has strides of 0.
//       CHECK: plan.kernel @byte_matmul_nxn
//  CHECK-SAME:   #plan.layout<ui8 [
//       CHECK:   ferrite.linear %{{.+}}, %{{.+}} zero(%{{.+}} : tensor<i32>) sides(%{{.+}} : tensor<{{.+}}xf32>)
//       CHECK: plan.launch @byte_matmul_nxn
func.func @activations(%x: tensor<?x?x4x16xui8> {ferrite.name = "x", ferrite.dims = ["batch", "sequence", "4", "16"]}, %z: tensor<i32> {ferrite.name = "z"}, %m: tensor<?x1x1x?xf32> {ferrite.name = "m", ferrite.dims = ["batch", "1", "1", "sequence"]}) -> (tensor<?x4x?x?xf32> {ferrite.name = "y"}) {
  %a = ferrite.transpose %x perm = [0, 2, 1, 3] : tensor<?x?x4x16xui8> -> tensor<?x4x?x16xui8>
  %b = ferrite.transpose %x perm = [0, 2, 3, 1] : tensor<?x?x4x16xui8> -> tensor<?x4x16x?xui8>
  %y = ferrite.linear %a, %b zero(%z : tensor<i32>) sides(%m : tensor<?x1x1x?xf32>) : (tensor<?x4x?x16xui8>, tensor<?x4x16x?xui8>) -> tensor<?x4x?x?xf32> {
  ^bb0(%acc: i32, %side: f32):
    %n = arith.sitofp %acc : i32 to f32
    %r = arith.addf %n, %side : f32
    ferrite.yield %r : f32
  }
  return %y : tensor<?x4x?x?xf32>
}
