// RUN: ferrite-opt %s --verify-roundtrip | FileCheck %s
// RUN: ferrite-opt %s --emit-bytecode | ferrite-opt | FileCheck %s

// Ops that choose, find and write positions, and products of experts: the
// examples of their documentation, and each optional part once.

// CHECK-LABEL: func.func @gather_elements
func.func @gather_elements(%x: tensor<?x8xf32>, %i: tensor<?x2xi64>) {
  // CHECK: ferrite.gather_elements %{{.+}}, %{{.+}} axis = 1 : (tensor<?x8xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %g = ferrite.gather_elements %x, %i axis = 1 : (tensor<?x8xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  return
}

// CHECK-LABEL: func.func @scatter
func.func @scatter(%x: tensor<?x8xf32>, %i: tensor<?x1xi64>, %u: tensor<?x8xf32>) {
  // CHECK: ferrite.scatter_nd none %{{.+}}, %{{.+}}, %{{.+}} : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  %s = ferrite.scatter_nd none %x, %i, %u : tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>
  return
}

// CHECK-LABEL: func.func @scatter_by_element
func.func @scatter_by_element(%x: tensor<?x8xf32>, %i: tensor<?x2xi64>, %u: tensor<?x2xf32>) {
  // CHECK: ferrite.scatter_elements sum %{{.+}}, %{{.+}}, %{{.+}} axis = 1 : tensor<?x8xf32>, tensor<?x2xi64>, tensor<?x2xf32>
  %s = ferrite.scatter_elements sum %x, %i, %u axis = 1 : tensor<?x8xf32>, tensor<?x2xi64>, tensor<?x2xf32>
  return
}

// CHECK-LABEL: func.func @order
func.func @order(%x: tensor<?x64xf32>, %y: tensor<?x8xf32>) {
  // CHECK: ferrite.arg_reduce max %{{.+}} axis = 1 : tensor<?x64xf32> -> tensor<?xi64>
  %i = ferrite.arg_reduce max %x axis = 1 : tensor<?x64xf32> -> tensor<?xi64>
  // CHECK: ferrite.arg_reduce min %{{.+}} axis = 1 keep_dims select_last : tensor<?x64xf32> -> tensor<?x1xi64>
  %j = ferrite.arg_reduce min %x axis = 1 keep_dims select_last : tensor<?x64xf32> -> tensor<?x1xi64>
  // CHECK: ferrite.topk %{{.+}} axis = 1 k = ["2"] : tensor<?x8xf32> -> tensor<?x2xi64>
  %k = ferrite.topk %y axis = 1 k = ["2"] : tensor<?x8xf32> -> tensor<?x2xi64>
  // CHECK: ferrite.topk %{{.+}} axis = 1 k = ["2"] smallest : tensor<?x8xf32> -> tensor<?x2xi64>
  %l = ferrite.topk %y axis = 1 k = ["2"] smallest : tensor<?x8xf32> -> tensor<?x2xi64>
  return
}

// CHECK-LABEL: func.func @products
func.func @products(%m: tensor<?x?xf32>) {
  // CHECK: ferrite.cumprod %{{.+}} axis = 1 : tensor<?x?xf32>
  %c = ferrite.cumprod %m axis = 1 : tensor<?x?xf32>
  // CHECK: ferrite.cumprod %{{.+}} axis = 0 exclusive reverse : tensor<?x?xf32>
  %d = ferrite.cumprod %m axis = 0 exclusive reverse : tensor<?x?xf32>
  return
}

// CHECK-LABEL: func.func @nonzero
func.func @nonzero(%m: tensor<?x8xi1>) {
  // CHECK: ferrite.nonzero %{{.+}} count = "nonzero.0" : tensor<?x8xi1> -> tensor<?x2xi64>
  %n = ferrite.nonzero %m count = "nonzero.0" : tensor<?x8xi1> -> tensor<?x2xi64>
  return
}

// CHECK-LABEL: func.func @experts
func.func @experts(%x: tensor<?x1x64xf32>, %w: tensor<8x64x128xf32>, %e: tensor<?x2xi64>,
                   %q: tensor<8x128x32xui8>, %s: tensor<8x128x2xf32>, %z: tensor<8x128x1xui8>, %b: tensor<8x128xf32>) {
  // CHECK: ferrite.expert_linear %{{.+}}, %{{.+}}, %{{.+}} : tensor<?x1x64xf32>, tensor<8x64x128xf32>, tensor<?x2xi64> -> tensor<?x2x128xf32>
  %y = ferrite.expert_linear %x, %w, %e : tensor<?x1x64xf32>, tensor<8x64x128xf32>, tensor<?x2xi64> -> tensor<?x2x128xf32>
  // CHECK: ferrite.expert_linear %{{.+}}, %{{.+}}, %{{.+}} bias(%{{.+}} : tensor<8x128xf32>) scales(%{{.+}} : tensor<8x128x2xf32>) zero_points(%{{.+}} : tensor<8x128x1xui8>) bits = 4 block = 32 : tensor<?x1x64xf32>, tensor<8x128x32xui8>, tensor<?x2xi64> -> tensor<?x2x128xf32>
  %v = ferrite.expert_linear %x, %q, %e bias(%b : tensor<8x128xf32>) scales(%s : tensor<8x128x2xf32>) zero_points(%z : tensor<8x128x1xui8>) bits = 4 block = 32 : tensor<?x1x64xf32>, tensor<8x128x32xui8>, tensor<?x2xi64> -> tensor<?x2x128xf32>
  return
}

// CHECK-LABEL: func.func @grouped
func.func @grouped(%x: tensor<?x64xf32>, %w: tensor<8x64x128xf32>, %e: tensor<?xi64>,
                   %q: tensor<8x32x128xui8>, %s: tensor<8x2x128xf32>, %z: tensor<8x1x128xui8>, %b: tensor<8x128xf32>) {
  // CHECK: ferrite.route %{{.+}} groups = 8 chunk = 48 : tensor<?xi64> -> tensor<?xi64>
  %r = ferrite.route %e groups = 8 chunk = 48 : tensor<?xi64> -> tensor<?xi64>
  // CHECK: ferrite.grouped_linear %{{.+}}, %{{.+}}, %{{.+}} share = 2 chunk = 48 : tensor<?x64xf32>, tensor<8x64x128xf32>, tensor<?xi64> -> tensor<?x128xf32>
  %y = ferrite.grouped_linear %x, %w, %r share = 2 chunk = 48 : tensor<?x64xf32>, tensor<8x64x128xf32>, tensor<?xi64> -> tensor<?x128xf32>
  // CHECK: ferrite.grouped_linear %{{.+}}, %{{.+}}, %{{.+}} bias(%{{.+}} : tensor<8x128xf32>) scales(%{{.+}} : tensor<8x2x128xf32>) zero_points(%{{.+}} : tensor<8x1x128xui8>) share = 1 chunk = 48 bits = 4 block = 32 : tensor<?x64xf32>, tensor<8x32x128xui8>, tensor<?xi64> -> tensor<?x128xf32>
  %v = ferrite.grouped_linear %x, %q, %r bias(%b : tensor<8x128xf32>) scales(%s : tensor<8x2x128xf32>) zero_points(%z : tensor<8x1x128xui8>) share = 1 chunk = 48 bits = 4 block = 32 : tensor<?x64xf32>, tensor<8x32x128xui8>, tensor<?xi64> -> tensor<?x128xf32>
  return
}
