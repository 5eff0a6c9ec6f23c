// RUN: ferrite-opt %s --ferrite-quantize-pipeline --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s

// CHECK:      builtin.module(
// CHECK-NEXT:   func.func(
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     cse,
// CHECK-NEXT:     verify-quantize
// CHECK-NEXT:   )
// CHECK-NEXT: )
module {}
