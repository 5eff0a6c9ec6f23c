// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --verify-roundtrip | FileCheck %s

// CHECK-LABEL: func.func @examples
//       CHECK:   ferrite.select_blocks
//       CHECK:   ferrite.select_run_pages
func.func @examples(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x2x64xf32>, %t: tensor<4xf32>, %r: tensor<1x?x4x64xf32>, %p: tensor<?x2x64x64xf32>, %begins: tensor<?xi32>, %contexts: tensor<?xi32>, %tables: tensor<?x?xi32>) -> (tensor<?x4x?xi32>, tensor<4x?xi32>) {
  %l = ferrite.select_blocks %q, %k, %t scale = 1.250000e-01 block = 64 stride = 8 blocks = 128 causal : tensor<?x?x4x64xf32>, tensor<?x?x2x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  %m = ferrite.select_run_pages %r, %p, %begins, %contexts, %tables, %t scale = 1.250000e-01 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<4x?xi32>
  return %l, %m : tensor<?x4x?xi32>, tensor<4x?xi32>
}

// -----

// CHECK-LABEL: func.func @all_parts
//       CHECK:   ferrite.select_blocks %{{.*}}, %{{.*}}, %{{.*}} mask(%{{.*}} : tensor<?x?xi1>) offsets(%{{.*}} : tensor<?xi64>) lengths(%{{.*}} : tensor<1xi32>) scale = 1.250000e-01 softcap = 5.000000e+01 block = 64 stride = 8 blocks = 128 left = 511 offset = "past" causal pooled
func.func @all_parts(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x2x64xf32>, %t: tensor<4xf32>, %m: tensor<?x?xi1>, %o: tensor<?xi64>, %l: tensor<1xi32>) -> tensor<?x4x?xi32> {
  %s = ferrite.select_blocks %q, %k, %t mask(%m : tensor<?x?xi1>) offsets(%o : tensor<?xi64>) lengths(%l : tensor<1xi32>) scale = 0.125 softcap = 50.0 block = 64 stride = 8 blocks = 128 left = 511 offset = "past" causal pooled : tensor<?x?x4x64xf32>, tensor<?x?x2x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return %s : tensor<?x4x?xi32>
}

// -----

func.func @select_blocks_c1(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x3x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects queries and keys of [batch, tokens, heads, size]}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 64 stride = 8 blocks = 128 causal : tensor<?x?x4x64xf32>, tensor<?x?x3x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c2(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<2xf32>) {
  // expected-error @below {{expects a threshold for each of 4 heads}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 64 stride = 8 blocks = 128 causal : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<2xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c3(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects a block of a multiple of 16 up to 512, but got 24}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 24 stride = 8 blocks = 128 : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c3_stride(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects groups of a power of two from 2 that divides blocks of 48}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 48 stride = 32 blocks = 128 : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c4(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects a window of -1 or more, but got -2}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 64 stride = 8 blocks = 128 left = -2 : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c5(%q: tensor<2x8x4x64xf32>, %k: tensor<2x8x4x64xf32>, %t: tensor<4xf32>, %l: tensor<3xi64>) {
  // expected-error @below {{expects a mask of [batch, keys], offsets and lengths of [batch]}}
  %s = ferrite.select_blocks %q, %k, %t lengths(%l : tensor<3xi64>) scale = 0.125 block = 64 stride = 8 blocks = 128 causal : tensor<2x8x4x64xf32>, tensor<2x8x4x64xf32>, tensor<4xf32> -> tensor<2x4x?xi32>
  return
}

// -----

func.func @select_blocks_c6(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects an offset that is a dim expression}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 64 stride = 8 blocks = 128 offset = "a b" : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<4xf32> -> tensor<?x4x?xi32>
  return
}

// -----

func.func @select_blocks_c7(%q: tensor<?x?x4x64xf32>, %k: tensor<?x?x4x64xf32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects a list for each of 4 heads}}
  %s = ferrite.select_blocks %q, %k, %t scale = 0.125 block = 64 stride = 8 blocks = 128 causal : tensor<?x?x4x64xf32>, tensor<?x?x4x64xf32>, tensor<4xf32> -> tensor<?x3x?xi32>
  return
}

// -----

func.func @select_run_pages_c1(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x32x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %p: tensor<?x?xi32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects queries of [1, tokens, heads, size] and pages of keys}}
  %s = ferrite.select_run_pages %q, %k, %b, %c, %p, %t scale = 0.125 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x32x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<4x?xi32>
  return
}

// -----

func.func @select_run_pages_c2(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<3xi32>, %c: tensor<3xi32>, %p: tensor<?x?xi32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects the begins [runs + 1] and contexts [runs] of runs}}
  %s = ferrite.select_run_pages %q, %k, %b, %c, %p, %t scale = 0.125 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<3xi32>, tensor<3xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<4x?xi32>
  return
}

// -----

func.func @select_run_pages_c3(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %p: tensor<?x?xi32>, %t: tensor<3xf32>) {
  // expected-error @below {{expects a threshold for each of 4 heads}}
  %s = ferrite.select_run_pages %q, %k, %b, %c, %p, %t scale = 0.125 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<3xf32> -> tensor<4x?xi32>
  return
}

// -----

func.func @select_run_pages_c4(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %p: tensor<?x?xi32>, %t: tensor<4xf32>) {
  // expected-error @below {{1 to 32768 blocks}}
  %s = ferrite.select_run_pages %q, %k, %b, %c, %p, %t scale = 0.125 stride = 8 pages = 0 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<4x?xi32>
  return
}

// -----

func.func @select_run_pages_c5(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %b: tensor<?xi32>, %c: tensor<?xi32>, %p: tensor<?x?xi32>, %t: tensor<4xf32>) {
  // expected-error @below {{expects lists for each of 4 heads}}
  %s = ferrite.select_run_pages %q, %k, %b, %c, %p, %t scale = 0.125 stride = 8 pages = 128 : tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x?xi32>, tensor<4xf32> -> tensor<2x?xi32>
  return
}

// -----

// CHECK-LABEL: func.func @kept
//       CHECK:   ferrite.paged_attention {{.*}} kept(%{{.*}} : tensor<4x?xi32>) scale = 1.250000e-01 kept_pages = 8 :
func.func @kept(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %l: tensor<4x?xi32>) -> tensor<1x5x4x64xf32> {
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t kept(%l : tensor<4x?xi32>) scale = 0.125 kept_pages = 8 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return %0 : tensor<1x5x4x64xf32>
}

// -----

func.func @paged_attention_c8(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %l: tensor<4x?xi32>) {
  // expected-error @below {{expects kept pages of [heads, size] beside neither a window}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t kept(%l : tensor<4x?xi32>) scale = 0.125 left = 63 kept_pages = 8 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c8_pages(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %l: tensor<4x?xi32>) {
  // expected-error @below {{expects kept pages and how many there may be, or none}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t kept(%l : tensor<4x?xi32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}
