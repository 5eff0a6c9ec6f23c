// RUN: ferrite-opt %s --split-input-file --verify-roundtrip --verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func @window_fill
func.func @window_fill(%q: tensor<?x?x4x16xf32>, %m: tensor<?x?xi1>) -> (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) {
  // CHECK: mask(%{{.+}} : tensor<?x?xi1>) scale = 2.500000e-01 fill = -3.40282347E+38 right = 0 window_fill = -3.40282347E+38 joined :
  %a = ferrite.attention %q, %q, %q mask(%m : tensor<?x?xi1>) scale = 0.25 fill = -3.40282347E+38 right = 0 window_fill = -3.40282347E+38 joined : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  // CHECK: mask(%{{.+}} : tensor<?x?xi1>) scale = 2.500000e-01 fill = -1.000000e+09 left = 3 window_fill = -1.000000e+04 guarded :
  %b = ferrite.attention %q, %q, %q mask(%m : tensor<?x?xi1>) scale = 0.25 fill = -1.0e9 left = 3 window_fill = -1.0e4 guarded : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return %a, %b : tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>
}

// -----

func.func @attention_c8_fill(%q: tensor<?x?x4x16xf32>) {
  // expected-error @below {{expects a window fill of at most -10000, a window for a finite one, and a mask of the same fill to join it with, but got -1.000000e+02}}
  %a = ferrite.attention %q, %q, %q scale = 0.25 right = 0 window_fill = -100.0 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c8_window(%q: tensor<?x?x4x16xf32>) {
  // expected-error @below {{a window for a finite one}}
  %a = ferrite.attention %q, %q, %q scale = 0.25 window_fill = -1.0e9 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c8_joined(%q: tensor<?x?x4x16xf32>, %m: tensor<?x?xi1>) {
  // expected-error @below {{a mask of the same fill to join it with}}
  %a = ferrite.attention %q, %q, %q mask(%m : tensor<?x?xi1>) scale = 0.25 fill = -1.0e9 right = 0 window_fill = -1.0e4 joined : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

// CHECK-LABEL: func.func @window_parts
func.func @window_parts(%q: tensor<?x?x4x16xf32>, %p: tensor<?xi64>, %s: tensor<?x?xi32>) -> (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) {
  // CHECK: prefix(%{{.+}} : tensor<?xi64>) scale = 2.500000e-01 left = 3 right = 0 chunk = 8 anchors = 2 offset = "past" :
  %a = ferrite.attention %q, %q, %q prefix(%p : tensor<?xi64>) scale = 0.25 left = 3 right = 0 chunk = 8 anchors = 2 offset = "past" : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  // CHECK: segments(%{{.+}}, %{{.+}} : tensor<?x?xi32>, tensor<?x?xi32>) scale = 2.500000e-01 window_fill = -1.000000e+09 :
  %b = ferrite.attention %q, %q, %q segments(%s, %s : tensor<?x?xi32>, tensor<?x?xi32>) scale = 0.25 window_fill = -1.0e9 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return %a, %b : tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>
}

// -----

func.func @attention_c5_prefix(%q: tensor<?x?x4x16xf32>, %p: tensor<?x?xi64>) {
  // expected-error @below {{expects offsets, lengths and a prefix of [batch] or [1]}}
  %a = ferrite.attention %q, %q, %q prefix(%p : tensor<?x?xi64>) scale = 0.25 right = 0 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c7_chunk(%q: tensor<?x?x4x16xf32>) {
  // expected-error @below {{expects a chunk and anchors of 0 or more, but got -8 and 0}}
  %a = ferrite.attention %q, %q, %q scale = 0.25 chunk = -8 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c9_types(%q: tensor<?x?x4x16xf32>, %s: tensor<?x?xi32>, %t: tensor<?x?xi64>) {
  // expected-error @below {{expects segments of [batch, queries] and [batch, keys] of one type, or none}}
  %a = ferrite.attention %q, %q, %q segments(%s, %t : tensor<?x?xi32>, tensor<?x?xi64>) scale = 0.25 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c9_sizes(%q: tensor<2x5x4x16xf32>, %s: tensor<2x5xi32>, %t: tensor<1x5xi32>) {
  // expected-error @below {{expects segments of [batch, queries] and [batch, keys] of one type, or none}}
  %a = ferrite.attention %q, %q, %q segments(%s, %t : tensor<2x5xi32>, tensor<1x5xi32>) scale = 0.25 : (tensor<2x5x4x16xf32>, tensor<2x5x4x16xf32>, tensor<2x5x4x16xf32>) -> tensor<2x5x4x16xf32>
  return
}

// -----

func.func @attention_c10_anchors(%q: tensor<?x?x4x16xf32>) {
  // expected-error @below {{expects anchors only with `left` or `chunk`, and a prefix only with `right` or `chunk`}}
  %a = ferrite.attention %q, %q, %q scale = 0.25 right = 0 anchors = 2 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}

// -----

func.func @attention_c10_prefix(%q: tensor<?x?x4x16xf32>, %p: tensor<?xi64>) {
  // expected-error @below {{a prefix only with `right` or `chunk`}}
  %a = ferrite.attention %q, %q, %q prefix(%p : tensor<?xi64>) scale = 0.25 left = 1 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return
}
