// RUN: ferrite-opt %s --ferrite-fuse-norm-residual --mlir-print-debuginfo --mlir-print-local-scope | FileCheck %s

// An addition left would write its sum only for the norm to read it.
// CHECK-LABEL: func.func @sum_read_once
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf32>{{.*}} %[[R:[^:]+]]: tensor<?x64xf32>{{.*}} %[[W:[^:]+]]: tensor<64xf32>
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.norm layer %[[X]], %[[W]] bias(%[[W]] : tensor<64xf32>) residual(%[[R]] : tensor<?x64xf32>) epsilon = {{.*}} loc(fused["/Add"{{.*}}"/LayerNorm"
//  CHECK-NEXT:   return %[[Y]]
func.func @sum_read_once(%x: tensor<?x64xf32>, %r: tensor<?x64xf32>, %w: tensor<64xf32>) -> tensor<?x64xf32> {
  %a = ferrite.add %x, %r : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32> loc("/Add")
  %y = ferrite.norm layer %a, %w bias(%w : tensor<64xf32>) epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32> loc("/LayerNorm")
  return %y : tensor<?x64xf32>
}

// A block that ends in a norm: what it is added to is read while the norm is
// written, and the next norm reads a sum that is there.
// CHECK-LABEL: func.func @added_to_the_residual
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf32>{{.*}} %[[R:[^:]+]]: tensor<?x64xf32>{{.*}} %[[W:[^:]+]]: tensor<64xf32>
//  CHECK-NEXT:   %[[H:.+]] = ferrite.norm rms %[[X]], %[[W]] after(%[[R]] : tensor<?x64xf32>) epsilon = {{.*}} loc(fused["/Post"{{.*}}"/Add"
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.norm rms %[[H]], %[[W]] epsilon
//  CHECK-NEXT:   return %[[H]], %[[Y]]
func.func @added_to_the_residual(%x: tensor<?x64xf32>, %r: tensor<?x64xf32>, %w: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %n = ferrite.norm rms %x, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32> loc("/Post")
  %h = ferrite.add %r, %n : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32> loc("/Add")
  %y = ferrite.norm rms %h, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32> loc("/Pre")
  return %h, %y : tensor<?x64xf32>, tensor<?x64xf32>
}

// The norm's own result is needed: it stays as it is.
// CHECK-LABEL: func.func @norm_read_twice
//       CHECK:   ferrite.norm rms %{{.+}}, %{{.+}} epsilon
//       CHECK:   ferrite.add
func.func @norm_read_twice(%x: tensor<?x64xf32>, %r: tensor<?x64xf32>, %w: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %n = ferrite.norm rms %x, %w epsilon = 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  %h = ferrite.add %r, %n : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %h, %n : tensor<?x64xf32>, tensor<?x64xf32>
}
