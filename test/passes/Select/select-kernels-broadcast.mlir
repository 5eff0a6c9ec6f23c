// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// What is repeated is read again with a stride of 0, never written out.

// A matrix of the model under a batch of products, and three leading dims that
// lie end to end: kernels know two.
// CHECK:       plan.kernel @matmul_nx4 layouts = [#plan.layout<f32 [?, 3, ?, 8] strides [?, ?, 8, 1]>, #plan.layout<f32 [?, 3, 8, 4] strides [0, 0, 4, 1]>, #plan.layout<f32 [?, 3, ?, 4] strides [?, ?, 4, 1]>]
// CHECK-LABEL: plan.entry @matmul
// CHECK:         plan.launch @matmul_nx4(%{{.+}}, %{{.+}}, %{{.+}}) offsets = ["0", "0", "0"] values = ["batch*2", "sequence", "batch*2", "batch*2", "sequence", "sequence*24", "sequence*8", "sequence*12", "sequence*4"]
func.func @matmul(%x: tensor<?x2x3x?x8xf32> {ferrite.name = "x", ferrite.dims = ["batch", "2", "3", "sequence", "8"]}) -> (tensor<?x2x3x?x4xf32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 4], type = f32>] : tensor<8x4xf32>
  %y = ferrite.matmul %x, %w : (tensor<?x2x3x?x8xf32>, tensor<8x4xf32>) -> tensor<?x2x3x?x4xf32>
  return %y : tensor<?x2x3x?x4xf32>
}

// -----

// Two matrices and no batch: leading dims of 1.
// CHECK:       plan.kernel @matmul_4x16 layouts = [#plan.layout<f32 [1, 1, 4, 8] strides [{{.*}}8, 1]>, #plan.layout<f32 [1, 1, 8, 16] strides [{{.*}}16, 1]>, #plan.layout<f32 [1, 1, 4, 16] strides [{{.*}}16, 1]>]
// CHECK-LABEL: plan.entry @matrices
// CHECK:         plan.launch @matmul_4x16(
// CHECK-SAME:      values = []
func.func @matrices(%x: tensor<4x8xf32> {ferrite.name = "x"}, %z: tensor<8x16xf32> {ferrite.name = "z"}) -> (tensor<4x16xf32> {ferrite.name = "y"}) {
  %y = ferrite.matmul %x, %z : (tensor<4x8xf32>, tensor<8x16xf32>) -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}

// -----

// The right operand transposed, as scores are computed where nothing fused: other
// strides, no copy.
// CHECK:       plan.kernel @matmul_nxn layouts = [#plan.layout<f32 [?, 2, ?, 8] strides [?, 8, 16, 1]>, #plan.layout<f32 [?, 2, 8, ?] strides [?, 8, 1, 16]>,
// CHECK-LABEL: plan.entry @transposed
// CHECK-NOT:     @copy
// CHECK:         plan.launch @matmul_nxn(
// CHECK-NEXT:  }
func.func @transposed(%q: tensor<?x?x2x8xf32> {ferrite.name = "q", ferrite.dims = ["b", "s", "2", "8"]}, %k: tensor<?x?x2x8xf32> {ferrite.name = "k", ferrite.dims = ["b", "s", "2", "8"]}) -> (tensor<?x2x?x?xf32> {ferrite.name = "y"}) {
  %a = ferrite.transpose %q perm = [0, 2, 1, 3] : tensor<?x?x2x8xf32> -> tensor<?x2x?x8xf32>
  %b = ferrite.transpose %k perm = [0, 2, 3, 1] : tensor<?x?x2x8xf32> -> tensor<?x2x8x?xf32>
  %y = ferrite.matmul %a, %b : (tensor<?x2x?x8xf32>, tensor<?x2x8x?xf32>) -> tensor<?x2x?x?xf32>
  return %y : tensor<?x2x?x?xf32>
}

// -----

// Position ids of one row, for all of the batch; a mask [1, keys] and a bias
// [1, 1, queries, keys] likewise.
// CHECK:       plan.kernel @embedding_8 layouts = [#plan.layout<i64 [?, ?] strides [?, 1]>, #plan.layout<i64 [?, ?] strides [0, 1]>,
// CHECK:       plan.kernel @attention_2x4 claimed layouts = [{{.*}}, #plan.layout<f32 [?, 2, ?, ?] strides [0, 0, ?, 1]>, #plan.layout<f32 [?, ?, 2, 4] strides [?, 8, 4, 1]>]
// CHECK-LABEL: plan.entry @one_row
func.func @one_row(%ids: tensor<?x?xi64> {ferrite.name = "ids", ferrite.dims = ["b", "s"]}, %positions: tensor<1x?xi64> {ferrite.name = "positions", ferrite.dims = ["1", "s"]}, %bias: tensor<1x1x?x?xf32> {ferrite.name = "bias", ferrite.dims = ["1", "1", "s", "s"]}) -> (tensor<?x?x2x4xf32> {ferrite.name = "y"}) {
  %t = ferrite.weight "t" [#ferrite.source<"m", offset = 0, shape = [99, 8], type = f32>] : tensor<99x8xf32>
  %p = ferrite.weight "p" [#ferrite.source<"m", offset = 4096, shape = [64, 8], type = f32>] : tensor<64x8xf32>
  %e = ferrite.embedding ids(%ids, %positions : tensor<?x?xi64>, tensor<1x?xi64>) tables(%t, %p : tensor<99x8xf32>, tensor<64x8xf32>) index = [0, 1] positions = [0, 0] epsilon = 0.0 -> tensor<?x?x8xf32>
  %h = ferrite.view %e dims = ["b", "s", "2", "4"] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %y = ferrite.attention %h, %h, %h bias(%bias : tensor<1x1x?x?xf32>) scale = 0.5 : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  return %y : tensor<?x?x2x4xf32>
}

// -----

// Loops that every operand walks end to end are one; a row that repeats keeps its
// loop, and so does what is summed.
// CHECK:       plan.kernel @fused layouts
// CHECK:         domain = ["d0", "64"] maps = [#{{.+}}, #{{.+}}, #{{.+}}] combine none
// CHECK:       plan.kernel @fused_1 layouts
// CHECK:         domain = ["d0", "64"] maps = [#{{.+}}, #{{.+}}] combine sum
// CHECK-LABEL: plan.entry @loops
// CHECK:         plan.launch @fused(
// CHECK-SAME:      "b*s"
// CHECK:         plan.launch @fused_1(
func.func @loops(%x: tensor<?x?x64xf32> {ferrite.name = "x", ferrite.dims = ["b", "s", "64"]}, %r: tensor<64xf32> {ferrite.name = "r"}) -> (tensor<?x?xf32> {ferrite.name = "y"}) {
  %h = ferrite.fused (%x, %r : tensor<?x?x64xf32>, tensor<64xf32>) domain = ["b", "s", "64"] maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>] combine none -> tensor<?x?x64xf32> {
  ^bb0(%a: f32, %c: f32):
    %s = arith.addf %a, %c : f32
    ferrite.yield %s : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  %y = ferrite.fused (%h : tensor<?x?x64xf32>) domain = ["b", "s", "64"] maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>] combine sum -> tensor<?x?xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return %y : tensor<?x?xf32>
}

// -----

// A body that asks where it is keeps the loops it was written for.
// CHECK:       plan.kernel @fused layouts
// CHECK:         domain = ["d0", "64"]
// CHECK:         ferrite.loop_index 1
// CHECK-LABEL: plan.entry @positional
func.func @positional(%x: tensor<?x64xi64> {ferrite.name = "x", ferrite.dims = ["n", "64"]}) -> (tensor<?x64xi64> {ferrite.name = "y"}) {
  %y = ferrite.fused (%x : tensor<?x64xi64>) domain = ["n", "64"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<?x64xi64> {
  ^bb0(%a: i64):
    %i = ferrite.loop_index 1
    %s = arith.addi %a, %i : i64
    ferrite.yield %s : i64
  } finish {
  ^bb0(%a: i64):
    ferrite.yield %a : i64
  }
  return %y : tensor<?x64xi64>
}

// -----

// A size as data is the number of points of a loop that no operand walks: the
// result, which does not move along it, tells the kernel how long it is.
// CHECK:       plan.kernel @size layouts = [#plan.layout<i64 [?] strides [0]>]
// CHECK-LABEL: plan.entry @count
// CHECK:         plan.launch @size(%{{.+}}) offsets = ["0"] values = ["sequence"]
func.func @count(%x: tensor<?xi64> {ferrite.name = "x", ferrite.dims = ["sequence"]}) -> (tensor<1xi64> {ferrite.name = "y"}) {
  %y = ferrite.dim_values ["sequence"] : tensor<1xi64>
  return %y : tensor<1xi64>
}
