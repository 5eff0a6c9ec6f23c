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
