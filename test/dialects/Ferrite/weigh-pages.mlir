// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --emit-bytecode -o /dev/null

// CHECK-LABEL: func.func @weigh_pages
//       CHECK:   ferrite.weigh_pages %{{.+}} scale = 1.250000e-01 :
//       CHECK:   ferrite.weigh_pages %{{.+}} scale = 1.250000e-01 softcap = 3.000000e+01 : tensor<1x?x4x64xbf16>, tensor<?x2x68x64xi8>,
func.func @weigh_pages(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>,
                       %r: tensor<?xi64>, %n: tensor<?xi32>, %h: tensor<1x?x4x64xbf16>, %i: tensor<?x2x68x64xi8>) {
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 1.250000e-01 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
  %1 = ferrite.weigh_pages %h, %i, %b, %c, %t, %r, %n scale = 0.125 softcap = 30.0 : tensor<1x?x4x64xbf16>, tensor<?x2x68x64xi8>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
  return
}

// -----

func.func @weigh_pages_c1(%q: tensor<1x?x4x64xf32>, %k: tensor<?x3x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>, %r: tensor<?xi64>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expects queries of [1, tokens, heads, size] and pages of keys}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 : tensor<1x?x4x64xf32>, tensor<?x3x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x3x?xi64>
  return
}

// -----

func.func @weigh_pages_c1_bytes(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xi8>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>, %r: tensor<?xi64>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expects queries of [1, tokens, heads, size] and pages of keys}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xi8>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
  return
}

// -----

func.func @weigh_pages_c2(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<3xi32>, %c: tensor<3xi32>, %t: tensor<?x?xi32>, %r: tensor<?xi64>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expects the begins [runs + 1] and contexts [runs]}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<3xi32>, tensor<3xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
  return
}

// -----

func.func @weigh_pages_c3(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>, %r: tensor<3xi64>, %n: tensor<4xi32>) {
  // expected-error @+1 {{expects runs and their tokens, [weighed] both}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<3xi64>, tensor<4xi32> -> tensor<3x2x?xi64>
  return
}

// -----

func.func @weigh_pages_c4(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>, %r: tensor<?xi64>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expects a softcap of 0 or more}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 softcap = -1.0 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x2x?xi64>
  return
}

// -----

func.func @weigh_pages_c5(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %t: tensor<?x?xi32>, %r: tensor<?xi64>, %n: tensor<?xi32>) {
  // expected-error @+1 {{expects a result of [weighed, 2, 64 * width]}}
  %0 = ferrite.weigh_pages %q, %k, %b, %c, %t, %r, %n scale = 0.125 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?xi64>, tensor<?xi32> -> tensor<?x4x?xi64>
  return
}
