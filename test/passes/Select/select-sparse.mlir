// RUN: ferrite-opt %s --ferrite-select-kernels | FileCheck %s

// Two weights with other blocks lie as long as they must, and share the kernel,
// which reads from the weight how many there are.
//       CHECK: plan.weight @weight_0 sparse "v" blocks = <columns = 32, depth = 4, kept = 3> {{.*}} bytes = 960 : tensor<8x100xi8>
//       CHECK: plan.kernel @sparse_byte_linear_8x100
//       CHECK:   ferrite.linear %{{.+}}, %{{.+}} sparse <columns = 32, depth = 4> : (tensor<?x8xui8>, tensor<8x100xi8>)
//       CHECK: plan.weight @weight_1 sparse "w" blocks = <columns = 32, depth = 4, kept = 5> {{.*}} bytes = 1216 : tensor<8x100xi8>
//   CHECK-NOT: plan.kernel @sparse
//       CHECK: plan.entry
//       CHECK: plan.launch @sparse_byte_linear_8x100
//       CHECK: plan.launch @sparse_byte_linear_8x100
func.func @two(%x: tensor<?x8xui8> {ferrite.name = "x", ferrite.dims = ["rows", "8"]}) -> (tensor<?x100xi32> {ferrite.name = "a"}, tensor<?x100xi32> {ferrite.name = "b"}) {
  %v = ferrite.weight "v" [#ferrite.source<"m", offset = 0, shape = [8, 100], type = i8>] : tensor<8x100xi8>
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 800, shape = [8, 100], type = i8>] : tensor<8x100xi8>
  %a = ferrite.linear %x, %v sparse <columns = 32, depth = 4, kept = 3> : (tensor<?x8xui8>, tensor<8x100xi8>) -> tensor<?x100xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  %b = ferrite.linear %x, %w sparse <columns = 32, depth = 4, kept = 5> : (tensor<?x8xui8>, tensor<8x100xi8>) -> tensor<?x100xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return %a, %b : tensor<?x100xi32>, tensor<?x100xi32>
}
