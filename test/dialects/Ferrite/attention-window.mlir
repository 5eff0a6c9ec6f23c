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
