// RUN: ferrite-opt %s --ferrite-select-pipeline --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s

// CHECK:      builtin.module(
// CHECK-NEXT:   ferrite-select-kernels{for-cpu=true},
// CHECK-NEXT:   verify-select
// CHECK-NEXT: )
module {}
