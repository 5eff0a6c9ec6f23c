// RUN: ferrite-opt %s --verify-roundtrip --split-input-file --verify-diagnostics | FileCheck %s
// RUN: ferrite-opt %s --split-input-file --verify-diagnostics --emit-bytecode -o /dev/null

// CHECK-LABEL: func.func @linear_attention
//       CHECK:   ferrite.linear_attention %{{.+}}, %{{.+}}, %{{.+}} scale = 5.000000e-01 : (tensor<1x?x4x16xf32>, tensor<1x?x2x16xf32>, tensor<1x?x2x8xf16>) -> tensor<1x2x?x8xf32>
//       CHECK:   ferrite.linear_attention %{{.+}}, %{{.+}}, %{{.+}} decay(%{{.+}} : tensor<1x?x2x1xf32>) beta(%{{.+}} : tensor<1x?x1xf32>) state(%{{.+}} : tensor<1x2x16x8xf32>) scale = 5.000000e-01
func.func @linear_attention(%q: tensor<1x?x4x16xf32>, %k: tensor<1x?x2x16xf32>, %v: tensor<1x?x2x8xf16>,
                            %d: tensor<1x?x2x1xf32>, %b: tensor<1x?x1xf32>, %s: tensor<1x2x16x8xf32>) {
  %0 = ferrite.linear_attention %q, %k, %v scale = 0.5 : (tensor<1x?x4x16xf32>, tensor<1x?x2x16xf32>, tensor<1x?x2x8xf16>) -> tensor<1x2x?x8xf32>
  %1 = ferrite.linear_attention %q, %k, %v decay(%d : tensor<1x?x2x1xf32>) beta(%b : tensor<1x?x1xf32>) state(%s : tensor<1x2x16x8xf32>) scale = 0.5 : (tensor<1x?x4x16xf32>, tensor<1x?x2x16xf32>, tensor<1x?x2x8xf16>) -> tensor<1x2x?x8xf32>
  return
}

// CHECK-LABEL: func.func @linear_attention_example
//       CHECK:   ferrite.linear_attention
func.func @linear_attention_example(%q: tensor<1x?x4x64xf32>, %k: tensor<1x?x2x64xf32>, %v: tensor<1x?x2x32xf32>, %d: tensor<1x?x2x1xf32>) {
  %r = ferrite.linear_attention %q, %k, %v decay(%d : tensor<1x?x2x1xf32>) scale = 1.250000e-01 : (tensor<1x?x4x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x32xf32>) -> tensor<1x2x?x32xf32>
  return
}

// -----

func.func @linear_attention_c1(%q: tensor<1x5x4x16xf32>, %k: tensor<1x5x3x16xf32>, %v: tensor<1x5x3x8xf32>) {
  // expected-error @+1 {{expects queries, keys and values of [batch, tokens, heads, size]}}
  %0 = ferrite.linear_attention %q, %k, %v scale = 0.5 : (tensor<1x5x4x16xf32>, tensor<1x5x3x16xf32>, tensor<1x5x3x8xf32>) -> tensor<1x3x21x8xf32>
  return
}

// -----

func.func @linear_attention_c2(%q: tensor<1x5x4x16xf32>, %v: tensor<1x5x4x8xf32>, %d: tensor<1x5x4x8xf32>) {
  // expected-error @+1 {{expects a decay for each element or head}}
  %0 = ferrite.linear_attention %q, %q, %v decay(%d : tensor<1x5x4x8xf32>) scale = 0.5 : (tensor<1x5x4x16xf32>, tensor<1x5x4x16xf32>, tensor<1x5x4x8xf32>) -> tensor<1x4x21x8xf32>
  return
}

// -----

func.func @linear_attention_c2_beta(%q: tensor<1x5x4x16xf32>, %v: tensor<1x5x4x8xf32>, %b: tensor<1x5x2xf32>) {
  // expected-error @+1 {{expects a beta for each head}}
  %0 = ferrite.linear_attention %q, %q, %v beta(%b : tensor<1x5x2xf32>) scale = 0.5 : (tensor<1x5x4x16xf32>, tensor<1x5x4x16xf32>, tensor<1x5x4x8xf32>) -> tensor<1x4x21x8xf32>
  return
}

// -----

func.func @linear_attention_c2_state(%q: tensor<1x5x4x16xf32>, %v: tensor<1x5x4x8xf32>, %s: tensor<1x4x8x16xf32>) {
  // expected-error @+1 {{expects a state of [batch, heads, 16, 8]}}
  %0 = ferrite.linear_attention %q, %q, %v state(%s : tensor<1x4x8x16xf32>) scale = 0.5 : (tensor<1x5x4x16xf32>, tensor<1x5x4x16xf32>, tensor<1x5x4x8xf32>) -> tensor<1x4x21x8xf32>
  return
}

// -----

func.func @linear_attention_c3(%q: tensor<1x5x4x16xf32>, %v: tensor<1x5x4x8xf32>) {
  // expected-error @+1 {{expects a result of f32 with a row for each token}}
  %0 = ferrite.linear_attention %q, %q, %v scale = 0.5 : (tensor<1x5x4x16xf32>, tensor<1x5x4x16xf32>, tensor<1x5x4x8xf32>) -> tensor<1x4x5x8xf32>
  return
}
