// RUN: ferrite-opt %s --ferrite-plan-pipeline --dump-pass-pipeline -o /dev/null 2>&1 | FileCheck %s

// CHECK:      builtin.module(
// CHECK-NEXT:   ferrite-plan-memory,
// CHECK-NEXT:   verify-plan
// CHECK-NEXT: )
module {}
