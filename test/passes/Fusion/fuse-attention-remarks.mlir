// RUN: ferrite-opt %s --ferrite-fuse-attention --remarks-filter=ferrite-fuse-attention --remark-format=emitRemark --mlir-print-debuginfo --mlir-print-local-scope 2>&1 | FileCheck %s

// The report names mask, heads and scale, and the op carries the nodes it came
// from, the absorbed transposition included: profiles and errors show them.
//       CHECK: [Passed] attention | Category:ferrite-fuse-attention | Remark="attention: 4 heads, scale 1, mask bias"
// CHECK-LABEL: func.func @all_nodes_named
//       CHECK:   ferrite.attention
//  CHECK-SAME:     loc(fused["/attn/Transpose_k", "/attn/MatMul", "/attn/Add", "/attn/Softmax", "/attn/MatMul_1", "/attn/Transpose_3"])
func.func @all_nodes_named(%q: tensor<?x4x?x16xf32> {ferrite.dims = ["batch", "4", "sequence", "16"]}, %mask: tensor<?x1x1x?xf32> {ferrite.dims = ["batch", "1", "1", "sequence"]}) -> tensor<?x?x4x16xf32> {
  %k = ferrite.transpose %q perm = [0, 1, 3, 2] : tensor<?x4x?x16xf32> -> tensor<?x4x16x?xf32> loc("/attn/Transpose_k")
  %p = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32> loc("/attn/MatMul")
  %a = ferrite.add %p, %mask : (tensor<?x4x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x4x?x?xf32> loc("/attn/Add")
  %x = ferrite.softmax %a : tensor<?x4x?x?xf32> loc("/attn/Softmax")
  %o = ferrite.matmul %x, %q : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32> loc("/attn/MatMul_1")
  %t = ferrite.transpose %o perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32> loc("/attn/Transpose_3")
  return %t : tensor<?x?x4x16xf32>
}
