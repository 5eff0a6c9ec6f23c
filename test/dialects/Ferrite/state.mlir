// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --emit-bytecode -o /dev/null

// CHECK-LABEL: func.func @kv_append
//       CHECK:   ferrite.kv_append %{{.+}}, %{{.+}}, %{{.+}} keys : tensor<1x?x2x80xf32>, tensor<?xi64>, tensor<?x2x80x64xf16>
//       CHECK:   ferrite.kv_append %{{.+}}, %{{.+}}, %{{.+}} : tensor<1x?x2x80xf32>, tensor<?xi64>, tensor<?x2x64x80xf16>
func.func @kv_append(%k: tensor<1x?x2x80xf32>, %s: tensor<?xi64>, %keys: tensor<?x2x80x64xf16>, %values: tensor<?x2x64x80xf16>) {
  %0 = ferrite.kv_append %k, %s, %keys keys : tensor<1x?x2x80xf32>, tensor<?xi64>, tensor<?x2x80x64xf16>
  %1 = ferrite.kv_append %k, %s, %values : tensor<1x?x2x80xf32>, tensor<?xi64>, tensor<?x2x64x80xf16>
  return
}

// -----

// CHECK-LABEL: func.func @paged_attention
//       CHECK:   ferrite.paged_attention %{{[^ ]+}}, %{{.+}} scale = 1.250000e-01 : (tensor<1x?x4x64xf32>,
//  CHECK-SAME:     -> tensor<1x?x4x80xf32>
//       CHECK:   %[[P:.+]] = ferrite.paged_partials %{{.+}} slopes(%{{.+}} : tensor<4xf32>) bias(%{{.+}} : tensor<4x129xf32>) scale = 1.250000e-01 softcap = 3.000000e+01 left = 511 cross : ({{.+}}) -> tensor<?x4x?xf32>
//       CHECK:   ferrite.paged_attention %{{.+}} sinks(%{{.+}} : tensor<4xf32>) partials(%[[P]] : tensor<?x4x?xf32>) slopes(%{{.+}} : tensor<4xf32>) bias(%{{.+}} : tensor<4x129xf32>) scale = 1.250000e-01 softcap = 3.000000e+01 left = 511 cross : (
func.func @paged_attention(%q: tensor<1x?x4x64xf32>, %k: tensor<?x2x64x64xf32>, %v: tensor<?x2x64x80xf32>, %b: tensor<?xi32>,
                           %c: tensor<?xi32>, %s: tensor<?xi64>, %t: tensor<?x?xi32>, %h: tensor<4xf32>, %d: tensor<4x129xf32>) {
  %0 = ferrite.paged_attention %q, %k, %v, %b, %c, %s, %t scale = 0.125 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x80xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x80xf32>
  %1 = ferrite.paged_partials %q, %k, %v, %b, %c, %s, %t slopes(%h : tensor<4xf32>) bias(%d : tensor<4x129xf32>) scale = 0.125 softcap = 30.0 left = 511 cross : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x80xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x4x?xf32>
  %2 = ferrite.paged_attention %q, %k, %v, %b, %c, %s, %t sinks(%h : tensor<4xf32>) partials(%1 : tensor<?x4x?xf32>) slopes(%h : tensor<4xf32>) bias(%d : tensor<4x129xf32>) scale = 0.125 softcap = 30.0 left = 511 cross : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x80xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x80xf32>
  return
}

// CHECK-LABEL: func.func @state_examples
//       CHECK:   ferrite.kv_append
//       CHECK:   ferrite.paged_attention
//       CHECK:   ferrite.paged_partials
func.func @state_examples(%k: tensor<1x?x2x64xf32>, %slots: tensor<?xi64>, %pool: tensor<?x2x64x64xf32>, %q: tensor<1x?x4x64xf32>, %v: tensor<?x2x64x64xf32>,
                          %begins: tensor<?xi32>, %contexts: tensor<?xi32>, %visible: tensor<?xi64>, %tables: tensor<?x?xi32>) {
  %p = ferrite.kv_append %k, %slots, %pool keys : tensor<1x?x2x64xf32>, tensor<?xi64>, tensor<?x2x64x64xf32>
  %o = ferrite.paged_attention %q, %p, %v, %begins, %contexts, %visible, %tables scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x64xf32>
  %r = ferrite.paged_partials %q, %p, %v, %begins, %contexts, %visible, %tables scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x64x64xf32>, tensor<?x2x64x64xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<?x4x?xf32>
  return
}

// -----

// Bytes: 64 codes and a scale, or 2 groups of 20 bytes.
// CHECK-LABEL: func.func @records
//       CHECK:   ferrite.kv_append {{.+}} keys : tensor<1x?x2x64xf32>, tensor<?xi64>, tensor<?x2x68x64xi8>
//       CHECK:   ferrite.kv_append {{.+}} : tensor<1x?x2x96xf32>, tensor<?xi64>, tensor<?x2x64x60xui8>
//       CHECK:   ferrite.paged_attention {{.+}} -> tensor<1x?x4x80xf32>
func.func @records(%k: tensor<1x?x2x64xf32>, %v: tensor<1x?x2x96xf32>, %slots: tensor<?xi64>, %keys: tensor<?x2x68x64xi8>, %four: tensor<?x2x64x60xui8>,
                   %q: tensor<1x?x4x64xf32>, %values: tensor<?x2x64x84xi8>,
                   %begins: tensor<?xi32>, %contexts: tensor<?xi32>, %visible: tensor<?xi64>, %tables: tensor<?x?xi32>) {
  %0 = ferrite.kv_append %k, %slots, %keys keys : tensor<1x?x2x64xf32>, tensor<?xi64>, tensor<?x2x68x64xi8>
  %1 = ferrite.kv_append %v, %slots, %four : tensor<1x?x2x96xf32>, tensor<?xi64>, tensor<?x2x64x60xui8>
  %o = ferrite.paged_attention %q, %0, %values, %begins, %contexts, %visible, %tables scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<?x2x68x64xi8>, tensor<?x2x64x84xi8>, tensor<?xi32>, tensor<?xi32>, tensor<?xi64>, tensor<?x?xi32>) -> tensor<1x?x4x80xf32>
  return
}

// -----

func.func @record_c3(%k: tensor<1x5x2x80xf32>, %s: tensor<5xi64>, %p: tensor<?x2x80x64xi8>) {
  // expected-error @+1 {{expects a pool of pages of 2x84x64}}
  %0 = ferrite.kv_append %k, %s, %p keys : tensor<1x5x2x80xf32>, tensor<5xi64>, tensor<?x2x80x64xi8>
  return
}

// -----

func.func @record_four_bits(%k: tensor<1x5x2x80xf32>, %s: tensor<5xi64>, %p: tensor<?x2x50x64xui8>) {
  // expected-error @+1 {{expects sizes that are multiples of 32 for a pool of 4 bits}}
  %0 = ferrite.kv_append %k, %s, %p keys : tensor<1x5x2x80xf32>, tensor<5xi64>, tensor<?x2x50x64xui8>
  return
}

// -----

func.func @kv_append_c1(%k: tensor<2x5x2x80xf32>, %s: tensor<5xi64>, %p: tensor<?x2x80x64xf32>) {
  // expected-error @+1 {{expects rows of [1, tokens, heads, size]}}
  %0 = ferrite.kv_append %k, %s, %p keys : tensor<2x5x2x80xf32>, tensor<5xi64>, tensor<?x2x80x64xf32>
  return
}

// -----

func.func @kv_append_c2(%k: tensor<1x5x2x80xf32>, %s: tensor<6xi64>, %p: tensor<?x2x80x64xf32>) {
  // expected-error @+1 {{expects a slot for each token}}
  %0 = ferrite.kv_append %k, %s, %p keys : tensor<1x5x2x80xf32>, tensor<6xi64>, tensor<?x2x80x64xf32>
  return
}

// -----

func.func @kv_append_c3(%k: tensor<1x5x2x80xf32>, %s: tensor<5xi64>, %p: tensor<?x2x64x80xf32>) {
  // expected-error @+1 {{expects a pool of pages of 2x80x64}}
  %0 = ferrite.kv_append %k, %s, %p keys : tensor<1x5x2x80xf32>, tensor<5xi64>, tensor<?x2x64x80xf32>
  return
}

// -----

func.func @paged_attention_c1(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects a result of [1, tokens, heads, size]}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x32xf32>
  return
}

// -----

func.func @paged_attention_c2(%q: tensor<1x5x4x64xf32>, %k: tensor<9x3x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects pools of keys}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x3x64x64xf32>, tensor<9x3x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c3(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<3xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects the begins [runs + 1] and contexts [runs]}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<3xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c4(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %h: tensor<2xf32>) {
  // expected-error @+1 {{expects a slope, and a row of biases, for each of 4 heads}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t slopes(%h : tensor<2xf32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c4_sinks(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %h: tensor<2xf32>) {
  // expected-error @+1 {{expects a sink for each of 4 heads}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t sinks(%h : tensor<2xf32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c5(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects a window of -1 or more and a softcap of 0 or more, but got -2}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 left = -2 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

// CHECK-LABEL: func.func @paged_parts
//       CHECK:   scale = 1.250000e-01 left = 99 from = 4 until = 70 gap = 64 :
func.func @paged_parts(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 left = 99 from = 4 until = 70 gap = 64 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c5_gap(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects the part of a sequence that it sees from 0 or more, until 0 or more and behind a gap of 0 or at least 64, beside neither another sequence nor selected parts, but got 0, 0 and 63}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 gap = 63 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c5_cross(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{beside neither another sequence nor selected parts, but got 5, 0 and 0}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t scale = 0.125 from = 5 cross : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_attention_c6(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>, %p: tensor<3x2x160xf32>) {
  // expected-error @+1 {{expects f32 partials of [runs, heads, size]}}
  %0 = ferrite.paged_attention %q, %k, %k, %b, %c, %s, %t partials(%p : tensor<3x2x160xf32>) scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<1x5x4x64xf32>
  return
}

// -----

func.func @paged_partials_c6(%q: tensor<1x5x4x64xf32>, %k: tensor<9x2x64x64xf32>, %b: tensor<4xi32>, %c: tensor<3xi32>, %s: tensor<5xi64>, %t: tensor<3x8xi32>) {
  // expected-error @+1 {{expects an f32 result of [runs, heads, size]}}
  %0 = ferrite.paged_partials %q, %k, %k, %b, %c, %s, %t scale = 0.125 : (tensor<1x5x4x64xf32>, tensor<9x2x64x64xf32>, tensor<9x2x64x64xf32>, tensor<4xi32>, tensor<3xi32>, tensor<5xi64>, tensor<3x8xi32>) -> tensor<4x4x160xf32>
  return
}
