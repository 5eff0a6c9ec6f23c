// RUN: ferrite-opt %s --ferrite-choose-formats="spec=second=qk8" --remarks-filter='.*' --remark-format=emitRemark 2>&1 | FileCheck %s
// RUN: ferrite-opt %s --ferrite-choose-formats="spec=qk8" | FileCheck %s --check-prefix=ALL
// RUN: not ferrite-opt %s --ferrite-choose-formats="spec=third=qk8" 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: not ferrite-opt %s --ferrite-choose-formats="spec=qk8,gptq" 2>&1 | FileCheck %s --check-prefix=METHOD
// NAME: the model has no attention with a node named 'third' whose scores could be of bytes
// METHOD: gptq is a method for weights, and no weight has a format

// CHECK: remark: {{.*}}qk8
// CHECK-LABEL: func.func @layers
// CHECK:         ferrite.attention
// CHECK-NOT:     ferrite.scores
// CHECK:         ferrite.attention {{.*}} {ferrite.scores = "qk8"}
// ALL-COUNT-2: ferrite.attention {{.*}} {ferrite.scores = "qk8"}
func.func @layers(%x: tensor<1x?x2x32xf32> {ferrite.dims = ["1", "n", "2", "32"], ferrite.name = "x"}) -> tensor<1x?x2x32xf32> {
  %a = ferrite.attention %x, %x, %x scale = 0.125 : (tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>) -> tensor<1x?x2x32xf32> loc("first")
  %b = ferrite.attention %a, %a, %a scale = 0.125 : (tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>, tensor<1x?x2x32xf32>) -> tensor<1x?x2x32xf32> loc("second")
  func.return %b : tensor<1x?x2x32xf32>
}
