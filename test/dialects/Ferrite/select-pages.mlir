// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --emit-bytecode -o /dev/null

// CHECK-LABEL: func.func @summarize_pages
//       CHECK:   ferrite.summarize_pages %{{.+}} : tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x2x64x8xf32>
//       CHECK:   ferrite.summarize_pages %{{.+}} : tensor<?x2x68x64xi8>,
func.func @summarize_pages(%k: tensor<?x2x64x64xf32>, %bytes: tensor<?x2x68x64xi8>, %begins: tensor<?xi32>, %contexts: tensor<?xi32>,
                           %tables: tensor<?x?xi32>, %pool: tensor<?x2x64x8xf32>) {
  %s = ferrite.summarize_pages %k, %begins, %contexts, %tables, %pool : tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x2x64x8xf32>
  %0 = ferrite.summarize_pages %bytes, %begins, %contexts, %tables, %pool : tensor<?x2x68x64xi8>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x2x64x8xf32>
  return
}

// -----

// CHECK-LABEL: func.func @select_pages
//       CHECK:   %[[L:.+]] = ferrite.select_pages %{{.+}} scale = 1.250000e-01 share = 2.500000e-01 :
//       CHECK:   ferrite.select_pages %{{.+}} scale = 1.250000e-01 tokens = 1024 left = 4095 :
//       CHECK:   ferrite.paged_attention %{{.+}} selected(%[[L]] : tensor<?x2x?xi32>) scale = 1.250000e-01 :
func.func @select_pages(%q: tensor<1x?x4x64xf32>, %s: tensor<?x2x64x8xf32>, %begins: tensor<?xi32>, %contexts: tensor<?xi32>,
                        %visible: tensor<?xi64>, %tables: tensor<?x?xi32>, %k: tensor<?x2x64x64xf32>) {
  %l = ferrite.select_pages %q, %s, %begins, %contexts, %visible, %tables scale = 1.250000e-01 share = 2.500000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x8xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x2x?xi32>
  %0 = ferrite.select_pages %q, %s, %begins, %contexts, %visible, %tables scale = 0.125 tokens = 1024 left = 4095 : (tensor<1x?x4x64xf32>, tensor<?x2x64x8xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x2x?xi32>
  %1 = ferrite.paged_attention %q, %k, %k, %begins, %contexts, %visible, %tables selected(%l : tensor<?x2x?xi32>) scale = 0.125 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  return
}

// -----

func.func @summarize_pages_c1(%k: tensor<9x2x64x32xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %t: tensor<3x8xi32>, %s: tensor<9x2x64x8xf32>) {
  // expected-error @+1 {{expects keys of [pages, heads, size, 64]}}
  %0 = ferrite.summarize_pages %k, %b, %c, %t, %s : tensor<9x2x64x32xf32>, tensor<4xi32>, tensor<3xi32>, tensor<3x8xi32>, tensor<9x2x64x8xf32>
  return
}

// -----

func.func @summarize_pages_c2(%k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %t: tensor<3x8xi32>, %s: tensor<9x2x64x16xf32>) {
  // expected-error @+1 {{expects summaries of [pages, 2, 64, 8]}}
  %0 = ferrite.summarize_pages %k, %b, %c, %t, %s : tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<3x8xi32>, tensor<9x2x64x16xf32>
  return
}

// -----

func.func @summarize_pages_c3(%k: tensor<9x2x64x64xf32>, %b: tensor<3xi32>, %c: tensor<3xi32>, %t: tensor<3x8xi32>, %s: tensor<9x2x64x8xf32>) {
  // expected-error @+1 {{expects begins [runs + 1], contexts [runs]}}
  %0 = ferrite.summarize_pages %k, %b, %c, %t, %s : tensor<9x2x64x64xf32>, tensor<3xi32>, tensor<3xi32>, tensor<3x8xi32>, tensor<9x2x64x8xf32>
  return
}

// -----

func.func @select_pages_c1(%q: tensor<2x5x4x64xf32>, %s: tensor<9x2x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects queries of [1, tokens, heads, size]}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 share = 0.25 : (tensor<2x5x4x64xf32>, tensor<9x2x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<48x2x80xi32>
  return
}

// -----

func.func @select_pages_c2(%q: tensor<1x5x4x64xf32>, %s: tensor<9x3x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects summaries [pages, heads, 64, size] that fit}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 share = 0.25 : (tensor<1x5x4x64xf32>, tensor<9x3x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<48x3x80xi32>
  return
}

// -----

func.func @select_pages_c3(%q: tensor<1x5x4x64xf32>, %s: tensor<9x2x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<6xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects begins [runs + 1], contexts [runs], bits [tokens]}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 share = 0.25 : (tensor<1x5x4x64xf32>, tensor<9x2x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<6xi64>, tensor<3x8xi32>) -> tensor<48x2x80xi32>
  return
}

// -----

func.func @select_pages_c4(%q: tensor<1x5x4x64xf32>, %s: tensor<9x2x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects a share in (0, 1] or a number of tokens}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 share = 0.25 tokens = 64 : (tensor<1x5x4x64xf32>, tensor<9x2x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<48x2x80xi32>
  return
}

// -----

func.func @select_pages_c4_none(%q: tensor<1x5x4x64xf32>, %s: tensor<9x2x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects a share in (0, 1] or a number of tokens}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<48x2x80xi32>
  return
}

// -----

func.func @select_pages_c5(%q: tensor<1x5x4x64xf32>, %s: tensor<9x2x64x8xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %v: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects a result of [16 * runs, heads, 8 * width + 16]}}
  %0 = ferrite.select_pages %q, %s, %b, %c, %v, %t scale = 0.125 share = 0.25 : (tensor<1x5x4x64xf32>, tensor<9x2x64x8xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<3x2x80xi32>
  return
}

// -----

func.func @paged_attention_c7(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %l: tensor<47x2x80xi32>) {
  // expected-error @+1 {{expects selected parts of [16 * runs, heads,}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t selected(%l : tensor<47x2x80xi32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c7_slopes(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %l: tensor<48x2x80xi32>, %h: tensor<4xf32>) {
  // expected-error @+1 {{nothing that goes by distances with them}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t slopes(%h : tensor<4xf32>) selected(%l : tensor<48x2x80xi32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}
