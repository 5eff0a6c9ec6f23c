// RUN: ferrite-opt %s --ferrite-fuse-layer-norm --mlir-print-debuginfo --mlir-print-local-scope | FileCheck %s

// As TorchScript writes it below opset 17, with one subtraction for each use. A
// chain left would read each row nine times.
// CHECK-LABEL: func.func @layer_norm_with_twin_subtractions
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x64xf32>{{.*}} %[[W:[^:]+]]: tensor<64xf32>{{.*}} %[[B:[^:]+]]: tensor<64xf32>
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.norm layer %[[X]], %[[W]] bias(%[[B]] : tensor<64xf32>) epsilon = 9.99999996E-13
//  CHECK-SAME:     loc(fused["/ln/ReduceMean"{{.*}}"/ln/Sqrt"{{.*}}"/ln/Add_1"
//  CHECK-NEXT:   return %[[Y]]
func.func @layer_norm_with_twin_subtractions(%x: tensor<?x?x64xf32>, %w: tensor<64xf32>, %b: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %two = arith.constant dense<2.0> : tensor<f32>
  %eps = arith.constant dense<1.0e-12> : tensor<f32>
  %m = ferrite.reduce mean %x axes = [2] keep_dims : tensor<?x?x64xf32> -> tensor<?x?x1xf32> loc("/ln/ReduceMean")
  %c = ferrite.sub %x, %m : (tensor<?x?x64xf32>, tensor<?x?x1xf32>) -> tensor<?x?x64xf32> loc("/ln/Sub")
  %d = ferrite.sub %x, %m : (tensor<?x?x64xf32>, tensor<?x?x1xf32>) -> tensor<?x?x64xf32> loc("/ln/Sub_1")
  %p = ferrite.pow %c, %two : (tensor<?x?x64xf32>, tensor<f32>) -> tensor<?x?x64xf32> loc("/ln/Pow")
  %v = ferrite.reduce mean %p axes = [2] keep_dims : tensor<?x?x64xf32> -> tensor<?x?x1xf32> loc("/ln/ReduceMean_1")
  %a = ferrite.add %v, %eps : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32> loc("/ln/Add")
  %s = ferrite.sqrt %a : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32> loc("/ln/Sqrt")
  %n = ferrite.div %d, %s : (tensor<?x?x64xf32>, tensor<?x?x1xf32>) -> tensor<?x?x64xf32> loc("/ln/Div")
  %g = ferrite.mul %n, %w : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32> loc("/ln/Mul")
  %y = ferrite.add %g, %b : (tensor<?x?x64xf32>, tensor<64xf32>) -> tensor<?x?x64xf32> loc("/ln/Add_1")
  return %y : tensor<?x?x64xf32>
}

// As f16 decoders are exported: f32 between casts. A cast left would cost each
// row a read and a write.
// CHECK-LABEL: func.func @rms_norm_between_casts
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x64xf16>{{.*}} %[[W:[^:]+]]: tensor<64xf16>
//  CHECK-NEXT:   %[[Y:.+]] = ferrite.norm rms %[[X]], %[[W]] epsilon = 9.99999974E-6
//  CHECK-NEXT:   return %[[Y]]
func.func @rms_norm_between_casts(%x: tensor<?x64xf16>, %w: tensor<64xf16>) -> tensor<?x64xf16> {
  %eps = arith.constant dense<1.0e-05> : tensor<f32>
  %f = ferrite.cast %x : (tensor<?x64xf16>) -> tensor<?x64xf32>
  %p = ferrite.mul %f, %f : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %m = ferrite.reduce mean %p axes = [1] keep_dims : tensor<?x64xf32> -> tensor<?x1xf32>
  %a = ferrite.add %m, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %s = ferrite.sqrt %a : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %r = ferrite.reciprocal %s : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %n = ferrite.mul %f, %r : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %h = ferrite.cast %n : (tensor<?x64xf32>) -> tensor<?x64xf16>
  %y = ferrite.mul %w, %h : (tensor<64xf16>, tensor<?x64xf16>) -> tensor<?x64xf16>
  return %y : tensor<?x64xf16>
}

// A norm without a weight has ones: the op always has one.
// CHECK-LABEL: func.func @no_weight
//       CHECK:   %[[ONES:.+]] = arith.constant dense<1.000000e+00> : tensor<64xf32>
//       CHECK:   ferrite.norm rms %{{.+}}, %[[ONES]] epsilon
func.func @no_weight(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %one = arith.constant dense<1.0> : tensor<f32>
  %eps = arith.constant dense<1.0e-05> : tensor<f32>
  %p = ferrite.mul %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %m = ferrite.reduce mean %p axes = [1] keep_dims : tensor<?x64xf32> -> tensor<?x1xf32>
  %a = ferrite.add %m, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %s = ferrite.sqrt %a : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %r = ferrite.div %one, %s : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %y = ferrite.mul %x, %r : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
