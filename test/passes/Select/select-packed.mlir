// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file --remarks-filter=ferrite-select-kernels --remark-format=emitRemark 2> %t.remarks | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK --input-file=%t.remarks

// Three projections of one weight each become one of packed columns; its rows
// are rounded once for the two linears that read them so.
// REMARK: weights of 4 bits, activations rounded to 8 bits
// CHECK-LABEL: plan.weight @weight_0 packed "q+k" layout = <bits = 4, depth = 64, columns = 48, block = 32, scale = f16 shift = 8>
//  CHECK-SAME:   axis = 1 offset = 0 bytes = 2304 : tensor<64x48xf32>
//       CHECK: plan.kernel @packed4_linear_64x48
//       CHECK:   ferrite.packed_linear {{.*}} input_block = 32
//       CHECK: plan.weight @{{.*}} packed "o" layout = <bits = 8, depth = 64, columns = 16, block = 64, scale = f32 zero = ui8>
//   CHECK-NOT: round_rows_64_0
//       CHECK: plan.entry @main
//       CHECK:   plan.launch @round_rows_64
//       CHECK:   plan.launch @packed4_linear_64x48
//   CHECK-NOT:   plan.launch @round_rows_64
//       CHECK:   plan.launch @packed8_linear_64x16
func.func @main(%x: tensor<?x64xf32> {ferrite.name = "x", ferrite.dims = ["rows", "64"]}) -> (tensor<?x48xf32> {ferrite.name = "y"}, tensor<?x16xf32> {ferrite.name = "z"}) attributes {ferrite.symbols = [#ferrite.symbol<"rows", min = 1, max = 8>]} {
  %w = ferrite.weight "q+k" [#ferrite.source<"m.bin", offset = 0, shape = [32, 64], type = ui4, perm = [1, 0] dequant <scale = #ferrite.source<"m.bin", offset = 2048, shape = [32, 2], type = f16> zero = dense<8> : tensor<ui4>, axis = 1, block = 32>>, #ferrite.source<"m.bin", offset = 4096, shape = [16, 64], type = ui4, perm = [1, 0] dequant <scale = #ferrite.source<"m.bin", offset = 5000, shape = [16, 2], type = f16> zero = dense<8> : tensor<ui4>, axis = 1, block = 32>>] axis = 1 : tensor<64x48xf32>
  %o = ferrite.weight "o" [#ferrite.source<"m.bin", offset = 8192, shape = [64, 16], type = i8 dequant <scale = #ferrite.source<"m.bin", offset = 9600, shape = [16], type = f32> zero = #ferrite.source<"m.bin", offset = 9900, shape = [16], type = i8>, axis = 1, block = 0>>] : tensor<64x16xf32>
  %y = ferrite.linear %x, %w input_block = 32 : (tensor<?x64xf32>, tensor<64x48xf32>) -> tensor<?x48xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %z = ferrite.linear %x, %o input_block = 32 : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %y, %z : tensor<?x48xf32>, tensor<?x16xf32>
}

// -----

// A scale for each k is none of a column: the artifact has f32, and the rows
// are still rounded.
// REMARK: the weight lies in the artifact as f32: it has a scale for each k
// CHECK-LABEL: plan.weight @weight_0 panels "w"
//       CHECK: plan.launch @round_rows_64
//       CHECK: plan.launch @linear_64x16
func.func @main(%x: tensor<?x64xf32> {ferrite.name = "x", ferrite.dims = ["rows", "64"]}) -> (tensor<?x16xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"rows", min = 1, max = 8>]} {
  %w = ferrite.weight "w" [#ferrite.source<"m.bin", offset = 0, shape = [64, 16], type = i8 dequant <scale = #ferrite.source<"m.bin", offset = 2048, shape = [64], type = f32>, axis = 0, block = 0>>] : tensor<64x16xf32>
  %y = ferrite.linear %x, %w input_block = 64 : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %y : tensor<?x16xf32>
}
