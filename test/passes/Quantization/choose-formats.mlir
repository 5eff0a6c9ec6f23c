// RUN: ferrite-opt %s --ferrite-choose-formats="spec=w4g128,down=w8pc,head=wide" --remarks-filter='.*' --remark-format=emitRemark 2>&1 | FileCheck %s
// RUN: not ferrite-opt %s --ferrite-choose-formats="spec=w4g128,tail=w8" 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ferrite-opt %s --ferrite-choose-formats="spec=w5" 2>&1 | FileCheck %s --check-prefix=BITS
// NAME: no product has a weight or node named 'tail'; one is named '
// RUN: not ferrite-opt %s --ferrite-choose-formats="spec=qk8" 2>&1 | FileCheck %s --check-prefix=SCORES
// SCORES: the model has no attention whose scores could be of bytes
// BITS: weights have 2, 3, 4 or 8 bits, not 5

// The last item that matches holds; groups divide the depth; what stays wide
// says why.
// CHECK-DAG: groups of 64, because 320 is no multiple of 128
// CHECK-DAG: the option says so
// CHECK-DAG: its weight is too small to save anything
// CHECK-DAG: its right side is computed
// CHECK-LABEL: func.func @layers
// CHECK:         ferrite.linear %arg0, %{{.*}} {ferrite.format = "w4g64"}
// CHECK:         ferrite.linear %{{.*}}, %{{.*}} {ferrite.format = "w8pc"}
// CHECK-NOT:     ferrite.format
func.func @layers(%x: tensor<?x320xf32> {ferrite.dims = ["n", "320"], ferrite.name = "x"}, %m: tensor<320x320xf32> {ferrite.dims = ["320", "320"], ferrite.name = "m"}) -> (tensor<?x320xf32>, tensor<?x8xf32>, tensor<?x320xf32>) {
  %up = ferrite.weight "mlp.0.up.weight" [#ferrite.source<"w.bin", offset = 0, shape = [320, 320], type = f32>] : tensor<320x320xf32>
  %down = ferrite.weight "mlp.0.down.weight" [#ferrite.source<"w.bin", offset = 0, shape = [320, 320], type = f32>] : tensor<320x320xf32>
  %head = ferrite.weight "head.weight" [#ferrite.source<"w.bin", offset = 0, shape = [320, 320], type = f32>] : tensor<320x320xf32>
  %small = ferrite.weight "small" [#ferrite.source<"w.bin", offset = 0, shape = [320, 8], type = f32>] : tensor<320x8xf32>
  %a = ferrite.linear %x, %up : (tensor<?x320xf32>, tensor<320x320xf32>) -> tensor<?x320xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %b = ferrite.linear %a, %down : (tensor<?x320xf32>, tensor<320x320xf32>) -> tensor<?x320xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %c = ferrite.linear %b, %head : (tensor<?x320xf32>, tensor<320x320xf32>) -> tensor<?x320xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %d = ferrite.linear %c, %small : (tensor<?x320xf32>, tensor<320x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %e = ferrite.linear %c, %m : (tensor<?x320xf32>, tensor<320x320xf32>) -> tensor<?x320xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %c, %d, %e : tensor<?x320xf32>, tensor<?x8xf32>, tensor<?x320xf32>
}
