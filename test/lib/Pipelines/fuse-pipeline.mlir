// RUN: ferrite-opt %s --ferrite-fuse-pipeline --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s

// Attention looks for softmax and linear for gelu, so named ops come first;
// rope before attention, which it leaves as Q and K; experts before embedding, which would take their biases;
// the step of a decoder is made where the named ops are there and the rest is yet apart; embedding before linear, whose right operand a table is not; projections are
// joined once they have their biases; the rest is fused last.
// CHECK:      builtin.module(
// CHECK-NEXT:   func.func(
// CHECK-NEXT:     ferrite-fuse-gelu,
// CHECK-NEXT:     ferrite-fuse-layer-norm,
// CHECK-NEXT:     ferrite-fuse-rope,
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     ferrite-fuse-attention,
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     ferrite-fuse-moe
// CHECK-NEXT:   ),
// CHECK-NEXT:   ferrite-make-step,
// CHECK-NEXT:   func.func(
// CHECK-NEXT:     ferrite-fuse-embedding,
// CHECK-NEXT:     ferrite-fuse-linear,
// CHECK-NEXT:     ferrite-fuse-gate,
// CHECK-NEXT:     ferrite-sink-slices,
// CHECK-NEXT:     ferrite-expand-quantize,
// CHECK-NEXT:     ferrite-fuse-epilogue,
// CHECK-NEXT:     ferrite-fuse-qkv,
// CHECK-NEXT:     ferrite-fuse-norm-residual,
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     cse,
// CHECK-NEXT:     ferrite-fuse-elementwise,
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     cse,
// CHECK-NEXT:     verify-fuse
// CHECK-NEXT:   )
// CHECK-NEXT: )
module {}
