// RUN: ferrite-opt %s --canonicalize | FileCheck %s

// Two reshapes in a row would be two nodes that do nothing.
// CHECK-LABEL: func.func @views_compose
//  CHECK-SAME:   %[[X:.+]]: tensor<?x4x6xf32>
//  CHECK-NEXT:   %[[V:.+]] = ferrite.view %[[X]] dims = ["batch", "24"]
//  CHECK-NEXT:   return %[[V]]
func.func @views_compose(%x: tensor<?x4x6xf32> {ferrite.dims = ["batch", "4", "6"]}) -> tensor<?x24xf32> {
  %a = ferrite.view %x dims = ["batch*4", "6"] : tensor<?x4x6xf32> -> tensor<?x6xf32>
  %b = ferrite.view %a dims = ["batch", "24"] : tensor<?x6xf32> -> tensor<?x24xf32>
  return %b : tensor<?x24xf32>
}

// CHECK-LABEL: func.func @view_of_the_same_type
//  CHECK-SAME:   %[[X:.+]]: tensor<?x4xf32>
//  CHECK-NEXT:   return %[[X]]
func.func @view_of_the_same_type(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %a = ferrite.view %x dims = ["batch", "4"] : tensor<?x4xf32> -> tensor<?x4xf32>
  return %a : tensor<?x4xf32>
}

// With two unknown sizes the type alone does not prove that nothing changes.
// CHECK-LABEL: func.func @view_of_two_unknowns_stays
//  CHECK-NEXT:   ferrite.view
func.func @view_of_two_unknowns_stays(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %a = ferrite.view %x dims = ["b", "a"] : tensor<?x?xf32> -> tensor<?x?xf32>
  return %a : tensor<?x?xf32>
}

// CHECK-LABEL: func.func @transposes_compose
//  CHECK-SAME:   %[[X:.+]]: tensor<2x3x4xf32>
//  CHECK-NEXT:   %[[T:.+]] = ferrite.transpose %[[X]] perm = [1, 0, 2]
//  CHECK-NEXT:   return %[[T]]
func.func @transposes_compose(%x: tensor<2x3x4xf32>) -> tensor<3x2x4xf32> {
  %a = ferrite.transpose %x perm = [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %b = ferrite.transpose %a perm = [0, 2, 1] : tensor<3x4x2xf32> -> tensor<3x2x4xf32>
  return %b : tensor<3x2x4xf32>
}

// CHECK-LABEL: func.func @transposes_cancel
//  CHECK-SAME:   %[[X:.+]]: tensor<?x3x4xf32>
//  CHECK-NEXT:   return %[[X]]
func.func @transposes_cancel(%x: tensor<?x3x4xf32>) -> tensor<?x3x4xf32> {
  %a = ferrite.transpose %x perm = [0, 2, 1] : tensor<?x3x4xf32> -> tensor<?x4x3xf32>
  %b = ferrite.transpose %a perm = [0, 2, 1] : tensor<?x4x3xf32> -> tensor<?x3x4xf32>
  return %b : tensor<?x3x4xf32>
}

// A transposed weight would be transposed at each run.
// CHECK-LABEL: func.func @transposed_weight
//  CHECK-NEXT:   %[[W:.+]] = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0]>] : tensor<4x3xf32>
//  CHECK-NEXT:   return %[[W]]
func.func @transposed_weight() -> tensor<4x3xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32>] : tensor<3x4xf32>
  %t = ferrite.transpose %w perm = [1, 0] : tensor<3x4xf32> -> tensor<4x3xf32>
  return %t : tensor<4x3xf32>
}

// The axis of the sources moves with the transposition.
// CHECK-LABEL: func.func @transposed_concatenated_weight
//  CHECK-NEXT:   ferrite.weight "w" [{{.+}}perm = [1, 0]>, {{.+}}perm = [1, 0]>] axis = 1 : tensor<4x5xf32>
func.func @transposed_concatenated_weight() -> tensor<4x5xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32>, #ferrite.source<"m", offset = 80, shape = [2, 4], type = f32>] : tensor<5x4xf32>
  %t = ferrite.transpose %w perm = [1, 0] : tensor<5x4xf32> -> tensor<4x5xf32>
  return %t : tensor<4x5xf32>
}

// CHECK-LABEL: func.func @viewed_weight
//  CHECK-NEXT:   ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [12], type = f32>] : tensor<12xf32>
func.func @viewed_weight() -> tensor<12xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32>] : tensor<3x4xf32>
  %t = ferrite.view %w dims = ["12"] : tensor<3x4xf32> -> tensor<12xf32>
  return %t : tensor<12xf32>
}

// Bytes that are read transposed stay so, and are viewed after that.
// CHECK-LABEL: func.func @view_of_transposed_weight
//  CHECK-NEXT:   ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0]>] : tensor<12xf32>
func.func @view_of_transposed_weight() -> tensor<12xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0]>] : tensor<4x3xf32>
  %t = ferrite.view %w dims = ["12"] : tensor<4x3xf32> -> tensor<12xf32>
  return %t : tensor<12xf32>
}

// Of one rank there is no telling the two shapes apart.
// CHECK-LABEL: func.func @view_of_one_rank_stays
//       CHECK:   ferrite.view
func.func @view_of_one_rank_stays() -> tensor<6x2xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0]>] : tensor<4x3xf32>
  %t = ferrite.view %w dims = ["6", "2"] : tensor<4x3xf32> -> tensor<6x2xf32>
  return %t : tensor<6x2xf32>
}

// CHECK-LABEL: func.func @ops_that_do_nothing
//  CHECK-SAME:   %[[X:.+]]: tensor<3x4xf32>
//  CHECK-NEXT:   return %[[X]]
func.func @ops_that_do_nothing(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %a = ferrite.cast %x : (tensor<3x4xf32>) -> tensor<3x4xf32>
  %b = ferrite.broadcast %a dims = ["3", "4"] : tensor<3x4xf32> -> tensor<3x4xf32>
  %c = ferrite.slice %b offsets = ["0", "0"] steps = [1, 1] dims = ["3", "4"] : tensor<3x4xf32> -> tensor<3x4xf32>
  %d = ferrite.concat %c axis = 1 : (tensor<3x4xf32>) -> tensor<3x4xf32>
  return %d : tensor<3x4xf32>
}

// A constant of a body stays in it: a body is cloned into kernels.
// CHECK-LABEL: func.func @constants_stay_in_bodies
//  CHECK-NEXT:   ferrite.linear
//       CHECK:   arith.constant
func.func @constants_stay_in_bodies(%x: tensor<4x5xf32>, %w: tensor<5x3xf32>) -> tensor<4x3xf32> {
  %y = ferrite.linear %x, %w : (tensor<4x5xf32>, tensor<5x3xf32>) -> tensor<4x3xf32> {
  ^bb0(%acc: f32):
    %half = arith.constant 5.0e-01 : f32
    %s = arith.mulf %acc, %half : f32
    ferrite.yield %s : f32
  }
  return %y : tensor<4x3xf32>
}
