// RUN: ferrite-opt %s --ferrite-normalize-pipeline --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s

// The phase as it is run: the order is the promise, and the contract comes last.
// CHECK:      builtin.module(
// CHECK-NEXT:   func.func(
// CHECK-NEXT:     canonicalize{{.*}},
// CHECK-NEXT:     cse,
// CHECK-NEXT:     ferrite-normalize,
// CHECK-NEXT:     cse,
// CHECK-NEXT:     verify-normalize
// CHECK-NEXT:   )
// CHECK-NEXT: )
module {}
