// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --mlir-print-local-scope | FileCheck %s

// What a product leaves out is printed as it is read, counted or not.
// CHECK-LABEL: func.func @sparse
// CHECK: ferrite.linear %{{.+}}, %{{.+}} sparse <columns = 32, depth = 4, kept = 3> : (tensor<4x8xui8>, tensor<8x64xi8>)
// CHECK: ferrite.linear %{{.+}}, %{{.+}} sparse <columns = 16, depth = 1> : (tensor<4x8xf32>, tensor<8x64xf32>)
func.func @sparse(%b: tensor<4x8xui8>, %v: tensor<8x64xi8>, %x: tensor<4x8xf32>, %w: tensor<8x64xf32>) {
  %0 = ferrite.linear %b, %v sparse <columns = 32, depth = 4, kept = 3> : (tensor<4x8xui8>, tensor<8x64xi8>) -> tensor<4x64xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  %1 = ferrite.linear %x, %w sparse <columns = 16, depth = 1> : (tensor<4x8xf32>, tensor<8x64xf32>) -> tensor<4x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// CHECK: plan.weight @w sparse "w" blocks = <columns = 32, depth = 1, kept = 2> [
plan.weight @w sparse "w" blocks = <columns = 32, depth = 1, kept = 2> [#ferrite.source<"m.bin", offset = 0, shape = [64, 64], type = f32>] offset = 0 bytes = 512 : tensor<64x64xf32>

// -----

// expected-error @below {{expects blocks of 16 or 32 columns by 1 or 4 of k, but got 8 by 4}}
func.func private @blocks(tensor<8x8xi8>) attributes {s = #ferrite.sparse<columns = 8, depth = 4>}

// -----

func.func @linear_c7(%x: tensor<4x6xui8>, %w: tensor<6x64xi8>) {
  // expected-error @below {{expects a static matrix of f32 or i8, its rows a multiple of 4, without weight_zero and input_block, where it is sparse, but got 'tensor<6x64xi8>'}}
  %0 = ferrite.linear %x, %w sparse <columns = 32, depth = 4> : (tensor<4x6xui8>, tensor<6x64xi8>) -> tensor<4x64xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return
}
