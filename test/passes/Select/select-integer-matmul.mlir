// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// A weight of bytes is read as it lies, and its signs differ from the input's.
// CHECK:       plan.kernel @matmul_nx16 layouts = [#plan.layout<ui8 [1, 1, ?, 8] {{.*}}>, #plan.layout<i8 [1, 1, 8, 16] {{.*}}16, 1]>, #plan.layout<i32 [1, 1, ?, 16] {{.*}}>]
// CHECK-LABEL: plan.entry @weight
//   CHECK-NOT:   plan.buffer
//       CHECK:   plan.launch @matmul_nx16(
func.func @weight(%x: tensor<?x8xui8> {ferrite.name = "x", ferrite.dims = ["rows", "8"]}) -> (tensor<?x16xi32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 16], type = i8>] : tensor<8x16xi8>
  %y = ferrite.matmul %x, %w : (tensor<?x8xui8>, tensor<8x16xi8>) -> tensor<?x16xi32>
  return %y : tensor<?x16xi32>
}

// -----

// The kernel packs nothing: a transposed right side is copied before it.
// CHECK-LABEL: plan.entry @transposed
//       CHECK:   %[[B:.+]] = plan.buffer
//       CHECK:   plan.launch @copy{{.*}}(%{{.+}}, %[[B]])
//       CHECK:   plan.launch @matmul{{.*}}(%{{.+}}, %[[B]], %{{.+}})
func.func @transposed(%x: tensor<4x8xi8> {ferrite.name = "x"}, %k: tensor<16x8xi8> {ferrite.name = "k"}) -> (tensor<4x16xi32> {ferrite.name = "y"}) {
  %t = ferrite.transpose %k perm = [1, 0] : tensor<16x8xi8> -> tensor<8x16xi8>
  %y = ferrite.matmul %x, %t : (tensor<4x8xi8>, tensor<8x16xi8>) -> tensor<4x16xi32>
  return %y : tensor<4x16xi32>
}
