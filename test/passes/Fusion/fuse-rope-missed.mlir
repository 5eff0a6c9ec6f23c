// RUN: ferrite-opt %s --ferrite-fuse-rope --split-input-file --verify-diagnostics --remarks-filter=ferrite-fuse-rope --remark-format=emitRemark | FileCheck %s

// Both halves with a plus are no rotation.
// CHECK-LABEL: func.func @signs
//   CHECK-NOT:   ferrite.rope
//       CHECK:   return
func.func @signs(%x: tensor<2x5x4x8xf32>, %c: tensor<1x5x1x1xf32>, %s: tensor<1x5x1x1xf32>) -> tensor<2x5x4x8xf32> {
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "4"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %n = ferrite.neg %l : (tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %r = ferrite.concat %h, %n axis = 3 : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x8xf32>
  %p = ferrite.mul %x, %c : (tensor<2x5x4x8xf32>, tensor<1x5x1x1xf32>) -> tensor<2x5x4x8xf32>
  %q = ferrite.mul %r, %s : (tensor<2x5x4x8xf32>, tensor<1x5x1x1xf32>) -> tensor<2x5x4x8xf32>
  // expected-remark @below {{Missed}}
  %y = ferrite.add %p, %q : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  return %y : tensor<2x5x4x8xf32>
}

// -----

// An angle for each head: the op has one for all.
// CHECK-LABEL: func.func @per_head
//   CHECK-NOT:   ferrite.rope
//       CHECK:   return
func.func @per_head(%x: tensor<2x5x4x8xf32>, %c: tensor<1x5x4x1xf32>, %s: tensor<1x5x4x1xf32>) -> tensor<2x5x4x8xf32> {
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "4"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %n = ferrite.neg %h : (tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %r = ferrite.concat %n, %l axis = 3 : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x8xf32>
  %p = ferrite.mul %x, %c : (tensor<2x5x4x8xf32>, tensor<1x5x4x1xf32>) -> tensor<2x5x4x8xf32>
  %q = ferrite.mul %r, %s : (tensor<2x5x4x8xf32>, tensor<1x5x4x1xf32>) -> tensor<2x5x4x8xf32>
  // expected-remark @below {{Missed}}
  %y = ferrite.add %p, %q : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  return %y : tensor<2x5x4x8xf32>
}

// -----

// Sections that differ between the halves: two angles for a pair.
// CHECK-LABEL: func.func @sections_of_one_half
//   CHECK-NOT:   ferrite.rope
//       CHECK:   return
func.func @sections_of_one_half(%x: tensor<2x5x4x8xf32>, %a: tensor<2x5x1x2xf32>, %b: tensor<2x5x1x2xf32>) -> tensor<2x5x4x8xf32> {
  %e = ferrite.concat %a, %b, %b, %a axis = 3 : (tensor<2x5x1x2xf32>, tensor<2x5x1x2xf32>, tensor<2x5x1x2xf32>, tensor<2x5x1x2xf32>) -> tensor<2x5x1x8xf32>
  %c = ferrite.cos %e : (tensor<2x5x1x8xf32>) -> tensor<2x5x1x8xf32>
  %s = ferrite.sin %e : (tensor<2x5x1x8xf32>) -> tensor<2x5x1x8xf32>
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "4"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %n = ferrite.neg %h : (tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %r = ferrite.concat %n, %l axis = 3 : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x8xf32>
  %p = ferrite.mul %x, %c : (tensor<2x5x4x8xf32>, tensor<2x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  %q = ferrite.mul %r, %s : (tensor<2x5x4x8xf32>, tensor<2x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  // expected-remark @below {{Missed}}
  %y = ferrite.add %p, %q : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  return %y : tensor<2x5x4x8xf32>
}
