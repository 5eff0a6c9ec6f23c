// RUN: ferrite-opt %s --split-input-file --verify-roundtrip --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @listed
//       CHECK:   ferrite.attention {{.*}} blocks({{.*}}) scale = 1.250000e-01 block = 64
func.func @listed(%q: tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32> {
  %r = arith.constant dense<[[[0, 1, 3]]]> : tensor<1x1x3xi32>
  %c = arith.constant dense<[[[0, 0, 1, -1]]]> : tensor<1x1x4xi32>
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x1x3xi32>, tensor<1x1x4xi32>) scale = 0.125 block = 64 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c11(%q: tensor<1x128x2x64xf32>, %r: tensor<1x1x3xi32>, %c: tensor<1x1x4xi32>) -> tensor<1x128x2x64xf32> {
  // expected-error @below {{expects block lists and a block of a multiple of 16 up to 512, or none of them, but got 40}}
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x1x3xi32>, tensor<1x1x4xi32>) scale = 0.125 block = 40 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c11_layouts(%q: tensor<1x128x2x64xf32>, %r: tensor<1x3x3xi32>, %c: tensor<1x3x4xi32>) -> tensor<1x128x2x64xf32> {
  // expected-error @below {{whose layouts divide the heads}}
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x3x3xi32>, tensor<1x3x4xi32>) scale = 0.125 block = 64 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c12(%q: tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32> {
  %r = arith.constant dense<[[[0, 1, 2], [0, 2, 2]]]> : tensor<1x2x3xi32>
  %c = arith.constant dense<[[[0, 1], [0, 1]]]> : tensor<1x2x2xi32>
  // expected-error @below {{expects block lists whose rows keep ascending columns, at least one, but got another in row 1 of layout 1}}
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x2x3xi32>, tensor<1x2x2xi32>) scale = 0.125 block = 64 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c12_columns(%q: tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32> {
  %r = arith.constant dense<[[[0, 1, 9]]]> : tensor<1x1x3xi32>
  %c = arith.constant dense<[[[0, 1]]]> : tensor<1x1x2xi32>
  // expected-error @below {{in row 1 of layout 0}}
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x1x3xi32>, tensor<1x1x2xi32>) scale = 0.125 block = 64 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c12_order(%q: tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32> {
  %r = arith.constant dense<[[[0, 1, 3]]]> : tensor<1x1x3xi32>
  %c = arith.constant dense<[[[0, 1, 0]]]> : tensor<1x1x3xi32>
  // expected-error @below {{in row 1 of layout 0}}
  %y = ferrite.attention %q, %q, %q blocks(%r, %c : tensor<1x1x3xi32>, tensor<1x1x3xi32>) scale = 0.125 block = 64 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

func.func @attention_c13(%q: tensor<1x128x2x64xf32>, %p: tensor<1x2x192x128xf32>) -> tensor<1x128x2x64xf32> {
  // expected-error @below {{expects panels only with block lists}}
  %y = ferrite.attention %q, %q, %q panels(%p : tensor<1x2x192x128xf32>) scale = 0.125 : (tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>, tensor<1x128x2x64xf32>) -> tensor<1x128x2x64xf32>
  return %y : tensor<1x128x2x64xf32>
}

// -----

// CHECK-LABEL: func.func @pack_keys
func.func @pack_keys(%a: tensor<?x?x12x64xf32>, %b: tensor<?x?x12x64xf32>, %k: tensor<?x?x2x20xbf16>, %v: tensor<?x?x2x32xbf16>) -> tensor<?x2x?x64xf32> {
  // CHECK: ferrite.pack_keys %{{.+}}, %{{.+}} : (tensor<?x?x12x64xf32>, tensor<?x?x12x64xf32>) -> tensor<?x12x?x128xf32>
  %q = ferrite.pack_keys %a, %b : (tensor<?x?x12x64xf32>, tensor<?x?x12x64xf32>) -> tensor<?x12x?x128xf32>
  // CHECK: ferrite.pack_keys %{{.+}}, %{{.+}} : (tensor<?x?x2x20xbf16>, tensor<?x?x2x32xbf16>) -> tensor<?x2x?x64xf32>
  %p = ferrite.pack_keys %k, %v : (tensor<?x?x2x20xbf16>, tensor<?x?x2x32xbf16>) -> tensor<?x2x?x64xf32>
  return %p : tensor<?x2x?x64xf32>
}

// -----

func.func @pack_keys_c1(%k: tensor<1x8x2x16xf32>, %v: tensor<1x8x4x16xf32>) -> tensor<1x2x72x32xf32> {
  // expected-error @below {{expects keys and values of [batch, tokens, heads, size] that agree}}
  %p = ferrite.pack_keys %k, %v : (tensor<1x8x2x16xf32>, tensor<1x8x4x16xf32>) -> tensor<1x2x72x32xf32>
  return %p : tensor<1x2x72x32xf32>
}

// -----

func.func @pack_keys_c2(%k: tensor<1x8x2x16xf32>, %v: tensor<1x8x2x16xf32>) -> tensor<1x2x8x32xf32> {
  // expected-error @below {{expects a result of [batch, heads, tokens + 64, width]}}
  %p = ferrite.pack_keys %k, %v : (tensor<1x8x2x16xf32>, tensor<1x8x2x16xf32>) -> tensor<1x2x8x32xf32>
  return %p : tensor<1x2x8x32xf32>
}
