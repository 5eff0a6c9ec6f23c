// RUN: ferrite-opt %s --ferrite-fuse-norm-residual --verify-diagnostics --remarks-filter=ferrite-fuse-norm-residual --remark-format=emitRemark | FileCheck %s

// A pre-norm block reads the sum again as its next residual.
// CHECK-LABEL: func.func @sum_read_twice
//       CHECK:   ferrite.add
//       CHECK:   ferrite.norm rms %{{.+}}, %{{.+}} epsilon
func.func @sum_read_twice(%x: tensor<?x64xf32>, %r: tensor<?x64xf32>, %w: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = ferrite.add %x, %r : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // expected-remark @below {{Reason="the sum has other uses"}}
  %y = ferrite.norm rms %a, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  return %y, %a : tensor<?x64xf32>, tensor<?x64xf32>
}

// The epilogue before it has written the sum: nothing is missed.
// CHECK-LABEL: func.func @sum_of_an_epilogue
//       CHECK:   ferrite.norm rms %{{.+}}, %{{.+}} epsilon
func.func @sum_of_an_epilogue(%x: tensor<?x8xf32>, %r: tensor<?x64xf32>, %m: tensor<8x64xf32>, %w: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = ferrite.linear %x, %m sides(%r : tensor<?x64xf32>) : (tensor<?x8xf32>, tensor<8x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%acc: f32, %side: f32):
    %sum = arith.addf %acc, %side : f32
    ferrite.yield %sum : f32
  } loc("/Add")
  // expected-remark @below {{the sum is written by the epilogue of a linear (node '/Add')}}
  %y = ferrite.norm rms %a, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  return %y, %a : tensor<?x64xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: func.func @summand_is_a_row
//       CHECK:   ferrite.add
func.func @summand_is_a_row(%x: tensor<?x64xf32>, %w: tensor<64xf32>) -> tensor<?x64xf32> {
  %a = ferrite.add %x, %w : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // expected-remark @below {{Reason="a summand is broadcast"}}
  %y = ferrite.norm rms %a, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  return %y : tensor<?x64xf32>
}
