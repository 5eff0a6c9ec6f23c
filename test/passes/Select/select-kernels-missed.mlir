// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file --verify-diagnostics --remarks-filter=ferrite-select-kernels --remark-format=emitRemark | FileCheck %s

// What strides cannot say is copied, and each copy says why: a model that is slow
// for this reason must be able to name the node.

// Heads before tokens, merged: the dims do not lie end to end.
// CHECK-LABEL: plan.entry @view
// CHECK:         %[[Y:.+]] = plan.output "y"
// CHECK:         %[[B:.+]] = plan.buffer "b*s*256"
// CHECK-NEXT:    plan.launch @copy(%{{.+}}, %[[B]])
// CHECK-NEXT:    plan.launch @softmax_64(%[[B]], %[[Y]])
func.func @view(%x: tensor<?x?x8x8xf32> {ferrite.name = "x", ferrite.dims = ["b", "s", "8", "8"]}) -> (tensor<?x64xf32> {ferrite.name = "y"}) {
  %t = ferrite.transpose %x perm = [0, 1, 3, 2] : tensor<?x?x8x8xf32> -> tensor<?x?x8x8xf32>
  // expected-remark @below {{Reason="a view merges dims that do not lie end to end"}}
  %v = ferrite.view %t dims = ["b*s", "64"] : tensor<?x?x8x8xf32> -> tensor<?x64xf32>
  %y = ferrite.softmax %v : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// The rows are columns: a vector load would take every n-th element.
// CHECK-LABEL: plan.entry @columns
// CHECK:         plan.launch @copy(
// CHECK-NEXT:    plan.launch @softmax_64(
func.func @columns(%x: tensor<64x?xf32> {ferrite.name = "x", ferrite.dims = ["64", "n"]}) -> (tensor<?x64xf32> {ferrite.name = "y"}) {
  %t = ferrite.transpose %x perm = [1, 0] : tensor<64x?xf32> -> tensor<?x64xf32>
  // expected-remark @below {{Reason="the rows of an operand do not lie evenly"}}
  %y = ferrite.softmax %t : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// The first token of each sequence, as a pooler takes it, needs no copy: its rows
// are evenly apart.
// CHECK-LABEL: plan.entry @first_token
// CHECK-NOT:     @copy
// CHECK:         plan.launch @softmax_64(
// CHECK-SAME:      values = ["b", "b", "s*64"]
func.func @first_token(%x: tensor<?x?x64xf32> {ferrite.name = "x", ferrite.dims = ["b", "s", "64"]}) -> (tensor<?x64xf32> {ferrite.name = "y"}) {
  %s = ferrite.slice %x offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["b", "1", "64"] : tensor<?x?x64xf32> -> tensor<?x1x64xf32>
  %v = ferrite.view %s dims = ["b", "64"] : tensor<?x1x64xf32> -> tensor<?x64xf32>
  %y = ferrite.softmax %v : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Two tokens of each sequence: within a sequence they are 64 apart, between
// sequences s*64.
// CHECK-LABEL: plan.entry @two_tokens
// CHECK:         %[[B:.+]] = plan.buffer "b*512"
// CHECK:         plan.launch @copy(%{{.+}}, %[[B]])
// CHECK-NEXT:    plan.launch @softmax_64(%[[B]],
func.func @two_tokens(%x: tensor<?x?x64xf32> {ferrite.name = "x", ferrite.dims = ["b", "s", "64"]}) -> (tensor<?x2x64xf32> {ferrite.name = "y"}) {
  %s = ferrite.slice %x offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["b", "2", "64"] : tensor<?x?x64xf32> -> tensor<?x2x64xf32>
  // expected-remark @below {{Reason="the rows of an operand do not lie evenly"}}
  %y = ferrite.softmax %s : tensor<?x2x64xf32>
  return %y : tensor<?x2x64xf32>
}

// -----

// A head's elements must follow each other.
// CHECK-LABEL: plan.entry @strided_heads
// CHECK:         plan.launch @copy(
// CHECK-NEXT:    plan.launch @attention_2x4(
func.func @strided_heads(%k: tensor<?x?x4x2xf32> {ferrite.name = "k", ferrite.dims = ["b", "s", "4", "2"]}, %q: tensor<?x?x2x4xf32> {ferrite.name = "q", ferrite.dims = ["b", "s", "2", "4"]}) -> (tensor<?x?x2x4xf32> {ferrite.name = "y"}) {
  %t = ferrite.transpose %k perm = [0, 1, 3, 2] : tensor<?x?x4x2xf32> -> tensor<?x?x2x4xf32>
  // expected-remark @below {{Reason="the innermost dim of an operand is strided"}}
  %y = ferrite.attention %q, %t, %q scale = 0.5 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// -----

// A table that is a slice of columns: its rows are wider apart than they are.
// CHECK-LABEL: plan.entry @table
// CHECK:         plan.launch @copy(
// CHECK-NEXT:    plan.launch @gather_4(
func.func @table(%t: tensor<16x8xf32> {ferrite.name = "t"}, %i: tensor<?xi64> {ferrite.name = "i", ferrite.dims = ["n"]}) -> (tensor<?x4xf32> {ferrite.name = "y"}) {
  %s = ferrite.slice %t offsets = ["0", "0"] steps = [1, 1] dims = ["16", "4"] : tensor<16x8xf32> -> tensor<16x4xf32>
  // expected-remark @below {{Reason="an operand is not contiguous"}}
  %y = ferrite.gather %s, %i axis = 0 : (tensor<16x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Position rows added in an epilogue: [s, 8] for each of the batch. A row of the
// product has one stride, and this side would need two.
// CHECK-LABEL: plan.entry @side
// CHECK:         %[[B:.+]] = plan.buffer "b*s*32"
// CHECK:         plan.launch @copy(%{{.+}}, %[[B]])
// CHECK-NEXT:    plan.launch @linear_8x8(%{{.+}}, %{{.+}}, %[[B]], %{{.+}})
func.func @side(%x: tensor<?x?x8xf32> {ferrite.name = "x", ferrite.dims = ["b", "s", "8"]}, %p: tensor<?x8xf32> {ferrite.name = "p", ferrite.dims = ["s", "8"]}) -> (tensor<?x?x8xf32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 8], type = f32>] : tensor<8x8xf32>
  // expected-remark @below {{Reason="a side of the epilogue repeats in the middle"}}
  %y = ferrite.linear %x, %w sides(%p : tensor<?x8xf32>) : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  ^bb0(%acc: f32, %r: f32):
    %s = arith.addf %acc, %r : f32
    ferrite.yield %s : f32
  }
  return %y : tensor<?x?x8xf32>
}

// -----

// Kernels know two leading dims; here three are left, since the middle repeats.
// CHECK-LABEL: plan.entry @leading
// CHECK:         plan.launch @copy(
// CHECK-NEXT:    plan.launch @matmul_4x4(
func.func @leading(%x: tensor<?x1x5x4x8xf32> {ferrite.name = "x", ferrite.dims = ["b", "1", "5", "4", "8"]}, %z: tensor<?x3x5x8x4xf32> {ferrite.name = "z", ferrite.dims = ["b", "3", "5", "8", "4"]}) -> (tensor<?x3x5x4x4xf32> {ferrite.name = "y"}) {
  // expected-remark @below {{Reason="leading dims of a product do not merge"}}
  %y = ferrite.matmul %x, %z : (tensor<?x1x5x4x8xf32>, tensor<?x3x5x8x4xf32>) -> tensor<?x3x5x4x4xf32>
  return %y : tensor<?x3x5x4x4xf32>
}
