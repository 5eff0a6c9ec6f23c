// RUN: ferrite-opt %s --ferrite-fuse-elementwise --verify-diagnostics --remarks-filter=ferrite-fuse-elementwise --remark-format=emitRemark | FileCheck %s

// The exponentials of a row would be computed again for each column.
// CHECK-LABEL: func.func @no_repeated_work
// CHECK-COUNT-2: ferrite.fused
//   CHECK-NOT: ferrite.fused
//       CHECK: return
func.func @no_repeated_work(%x: tensor<8x1xf32>, %y: tensor<8x9xf32>) -> tensor<8x9xf32> {
  %e = ferrite.exp %x : (tensor<8x1xf32>) -> tensor<8x1xf32>
  // expected-remark @below {{Reason="the consumer would compute the producer repeatedly"}}
  %z = ferrite.mul %y, %e : (tensor<8x9xf32>, tensor<8x1xf32>) -> tensor<8x9xf32>
  return %z : tensor<8x9xf32>
}

// Two readers of one expensive value.
// CHECK-LABEL: func.func @several_consumers
// CHECK-COUNT-3: ferrite.fused
//       CHECK: return
func.func @several_consumers(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  %e = ferrite.exp %x : (tensor<8xf32>) -> tensor<8xf32>
  // expected-remark @below {{Reason="the producer has several consumers"}}
  %a = ferrite.neg %e : (tensor<8xf32>) -> tensor<8xf32>
  // expected-remark @below {{Reason="the producer has several consumers"}}
  %b = ferrite.sqrt %e : (tensor<8xf32>) -> tensor<8xf32>
  return %a, %b : tensor<8xf32>, tensor<8xf32>
}

// A result of the entry must be in memory.
// CHECK-LABEL: func.func @needed_in_memory
// CHECK-COUNT-2: ferrite.fused
//       CHECK: return
func.func @needed_in_memory(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>) {
  %e = ferrite.exp %x : (tensor<8xf32>) -> tensor<8xf32>
  // expected-remark @below {{Reason="the result of the producer is needed in memory"}}
  %a = ferrite.neg %e : (tensor<8xf32>) -> tensor<8xf32>
  return %a, %e : tensor<8xf32>, tensor<8xf32>
}

// Division by a sum: the sum is complete only after its last point.
// CHECK-LABEL: func.func @reduction_and_more
// CHECK-COUNT-2: ferrite.fused
//       CHECK: return
func.func @reduction_and_more(%x: tensor<8x4xf32>) -> tensor<8x4xf32> {
  %s = ferrite.reduce sum %x axes = [1] keep_dims : tensor<8x4xf32> -> tensor<8x1xf32>
  // expected-remark @below {{Reason="the producer is a reduction, and the consumer reads more than its result"}}
  %a = ferrite.div %x, %s : (tensor<8x4xf32>, tensor<8x1xf32>) -> tensor<8x4xf32>
  return %a : tensor<8x4xf32>
}
