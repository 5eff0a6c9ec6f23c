// RUN: ferrite-opt %s --verify-roundtrip | FileCheck %s
// RUN: ferrite-opt %s --emit-bytecode | ferrite-opt | FileCheck %s

// The example of each op's documentation, letter for letter: what does not
// survive printing and parsing cannot be dumped and re-entered. Longer than other
// tests because the ops of most families are in it.

// CHECK-LABEL: func.func @entry
// CHECK-SAME: {ferrite.dims = ["batch", "sequence"], ferrite.name = "ids"}
// CHECK-SAME: ferrite.symbols = [#ferrite.symbol<"sequence", min = 1, max = 512>]
func.func @entry(%ids: tensor<?x?xi64> {ferrite.name = "ids", ferrite.dims = ["batch", "sequence"]}) attributes {ferrite.symbols = [#ferrite.symbol<"sequence", min = 1, max = 512>]} {
  return
}

// CHECK-LABEL: func.func @weight
func.func @weight() {
  // CHECK: ferrite.weight "fc.weight" [#ferrite.source<"model.safetensors", offset = 64, shape = [1536, 384], type = f32, perm = [1, 0]>] : tensor<384x1536xf32>
  %w = ferrite.weight "fc.weight" [#ferrite.source<"model.safetensors", offset = 64, shape = [1536, 384], type = f32, perm = [1, 0]>] : tensor<384x1536xf32>
  // CHECK: axis = 1 : tensor<2x7xf16>
  %q = ferrite.weight "a+b" [#ferrite.source<"m", offset = 0, shape = [2, 3], type = f32>, #ferrite.source<"m", offset = 24, shape = [2, 4], type = f32>] axis = 1 : tensor<2x7xf16>
  return
}

// CHECK-LABEL: func.func @view
func.func @view(%x: tensor<?x?x384xf32>) {
  // CHECK: ferrite.view %{{.+}} dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %v = ferrite.view %x dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  return
}

// CHECK-LABEL: func.func @transpose
func.func @transpose(%x: tensor<?x?x12x32xf32>) {
  // CHECK: ferrite.transpose %{{.+}} perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  %t = ferrite.transpose %x perm = [0, 2, 1, 3] : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
  return
}

// CHECK-LABEL: func.func @broadcast
func.func @broadcast(%x: tensor<1x4xf32>) {
  // CHECK: ferrite.broadcast %{{.+}} dims = ["batch", "4"] : tensor<1x4xf32> -> tensor<?x4xf32>
  %b = ferrite.broadcast %x dims = ["batch", "4"] : tensor<1x4xf32> -> tensor<?x4xf32>
  return
}

// CHECK-LABEL: func.func @slice
func.func @slice(%x: tensor<?x?x1152xf32>) {
  // CHECK: ferrite.slice %{{.+}} offsets = ["0", "0", "384"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"]
  %s = ferrite.slice %x offsets = ["0", "0", "384"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"] : tensor<?x?x1152xf32> -> tensor<?x?x384xf32>
  return
}

// CHECK-LABEL: func.func @concat
func.func @concat(%a: tensor<?x1x64xf32>, %b: tensor<?x16x64xf32>) {
  // CHECK: ferrite.concat %{{.+}}, %{{.+}} axis = 1 : (tensor<?x1x64xf32>, tensor<?x16x64xf32>) -> tensor<?x17x64xf32>
  %c = ferrite.concat %a, %b axis = 1 : (tensor<?x1x64xf32>, tensor<?x16x64xf32>) -> tensor<?x17x64xf32>
  return
}

// CHECK-LABEL: func.func @sequences
func.func @sequences(%m: tensor<?x?xi32>) {
  // CHECK: ferrite.iota dims = ["sequence"] : tensor<?xi64>
  %p = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  // CHECK: ferrite.iota start = 2 step = -1 dims = ["4"] : tensor<4xi32>
  %o = ferrite.iota start = 2 step = -1 dims = ["4"] : tensor<4xi32>
  // CHECK: ferrite.dim_values ["sequence"] : tensor<i64>
  %n = ferrite.dim_values ["sequence"] : tensor<i64>
  // CHECK: ferrite.cumsum %{{.+}} axis = 1 : tensor<?x?xi32>
  %c = ferrite.cumsum %m axis = 1 : tensor<?x?xi32>
  // CHECK: ferrite.cumsum %{{.+}} axis = 1 exclusive reverse : tensor<?x?xi32>
  %e = ferrite.cumsum %m axis = 1 exclusive reverse : tensor<?x?xi32>
  return
}

// CHECK-LABEL: func.func @gather
func.func @gather(%table: tensor<30522x384xf32>, %ids: tensor<?x?xi64>) {
  // CHECK: ferrite.gather %{{.+}}, %{{.+}} axis = 0 : (tensor<30522x384xf32>, tensor<?x?xi64>) -> tensor<?x?x384xf32>
  %g = ferrite.gather %table, %ids axis = 0 : (tensor<30522x384xf32>, tensor<?x?xi64>) -> tensor<?x?x384xf32>
  return
}

// CHECK-LABEL: func.func @gather_by_tuples
func.func @gather_by_tuples(%m: tensor<?x?xi1>, %i: tensor<?x1x?x?x2xi64>) {
  // CHECK: ferrite.gather_nd %{{.+}}, %{{.+}} : (tensor<?x?xi1>, tensor<?x1x?x?x2xi64>) -> tensor<?x1x?x?xi1>
  %g = ferrite.gather_nd %m, %i : (tensor<?x?xi1>, tensor<?x1x?x?x2xi64>) -> tensor<?x1x?x?xi1>
  return
}

// CHECK-LABEL: func.func @unary
func.func @unary(%x: tensor<?x64xf32>, %b: tensor<?x64xi1>) {
  // CHECK-NEXT: ferrite.abs %{{.+}} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %0 = ferrite.abs %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.neg
  %1 = ferrite.neg %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.sign
  %2 = ferrite.sign %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.floor
  %3 = ferrite.floor %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.ceil
  %4 = ferrite.ceil %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.round
  %5 = ferrite.round %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.sqrt
  %6 = ferrite.sqrt %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.reciprocal
  %7 = ferrite.reciprocal %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.exp
  %8 = ferrite.exp %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.log
  %9 = ferrite.log %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.erf
  %10 = ferrite.erf %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.tanh
  %11 = ferrite.tanh %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.sigmoid
  %12 = ferrite.sigmoid %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.relu
  %13 = ferrite.relu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.sin
  %14 = ferrite.sin %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.cos
  %15 = ferrite.cos %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.not %{{.+}} : (tensor<?x64xi1>) -> tensor<?x64xi1>
  %16 = ferrite.not %b : (tensor<?x64xi1>) -> tensor<?x64xi1>
  // CHECK-NEXT: ferrite.gelu none %{{.+}} : tensor<?x64xf32>
  %y = ferrite.gelu none %x : tensor<?x64xf32>
  // CHECK-NEXT: ferrite.gelu tanh
  %17 = ferrite.gelu tanh %x : tensor<?x64xf32>
  // CHECK-NEXT: ferrite.cast %{{.+}} : (tensor<?x64xf32>) -> tensor<?x64xi64>
  %18 = ferrite.cast %x : (tensor<?x64xf32>) -> tensor<?x64xi64>
  // CHECK-NEXT: ferrite.isnan %{{.+}} : (tensor<?x64xf32>) -> tensor<?x64xi1>
  %19 = ferrite.isnan %x : (tensor<?x64xf32>) -> tensor<?x64xi1>
  return
}

// CHECK-LABEL: func.func @binary
func.func @binary(%x: tensor<?x64xf32>, %y: tensor<64xf32>, %a: tensor<?xi64>, %b: tensor<1xi64>, %p: tensor<?x64xi1>, %q: tensor<64xi1>) {
  // CHECK-NEXT: ferrite.add %{{.+}}, %{{.+}} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %0 = ferrite.add %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.sub
  %1 = ferrite.sub %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.mul
  %2 = ferrite.mul %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.div
  %3 = ferrite.div %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.pow
  %4 = ferrite.pow %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.max
  %5 = ferrite.max %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.min
  %6 = ferrite.min %x, %y : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  // CHECK-NEXT: ferrite.and
  %7 = ferrite.and %p, %q : (tensor<?x64xi1>, tensor<64xi1>) -> tensor<?x64xi1>
  // CHECK-NEXT: ferrite.or
  %8 = ferrite.or %p, %q : (tensor<?x64xi1>, tensor<64xi1>) -> tensor<?x64xi1>
  // CHECK-NEXT: ferrite.xor
  %9 = ferrite.xor %p, %q : (tensor<?x64xi1>, tensor<64xi1>) -> tensor<?x64xi1>
  // CHECK-NEXT: ferrite.compare lt %{{.+}}, %{{.+}} : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi1>
  %c = ferrite.compare lt %a, %b : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi1>
  // CHECK-NEXT: ferrite.where %{{.+}}, %{{.+}}, %{{.+}} : (tensor<64xi1>, tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %w = ferrite.where %q, %x, %y : (tensor<64xi1>, tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

// CHECK-LABEL: func.func @contractions
func.func @contractions(%a: tensor<?x12x?x32xf32>, %b: tensor<?x12x32x?xf32>) {
  // CHECK: ferrite.matmul %{{.+}}, %{{.+}} : (tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32>) -> tensor<?x12x?x?xf32>
  %c = ferrite.matmul %a, %b : (tensor<?x12x?x32xf32>, tensor<?x12x32x?xf32>) -> tensor<?x12x?x?xf32>
  return
}

// CHECK-LABEL: func.func @linear
func.func @linear(%x: tensor<?x?x384xf32>, %w: tensor<384x1536xf32>, %b: tensor<1536xf32>) {
  // CHECK: ferrite.linear %{{.+}}, %{{.+}} sides(%{{.+}} : tensor<1536xf32>) : (tensor<?x?x384xf32>, tensor<384x1536xf32>) -> tensor<?x?x1536xf32> {
  // CHECK-NEXT: ^bb0(%[[ACC:.+]]: f32, %[[BIAS:.+]]: f32):
  // CHECK-NEXT: %[[SUM:.+]] = arith.addf %[[ACC]], %[[BIAS]] : f32
  // CHECK-NEXT: ferrite.yield %[[SUM]] : f32
  %y = ferrite.linear %x, %w sides(%b : tensor<1536xf32>) : (tensor<?x?x384xf32>, tensor<384x1536xf32>) -> tensor<?x?x1536xf32> {
  ^bb0(%acc: f32, %bias: f32):
    %s = arith.addf %acc, %bias : f32
    ferrite.yield %s : f32
  }
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<?x?x12x32xf32>, %k: tensor<?x?x12x32xf32>, %v: tensor<?x?x12x32xf32>, %m: tensor<?x?xi1>, %b: tensor<1x12x?x?xf16>, %n: tensor<?xi64>, %s: tensor<12xf32>) {
  // CHECK: ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} mask(%{{.+}} : tensor<?x?xi1>) scale = 0.176776692 fill = -3.40282347E+38 right = 0 offset = "past" guarded :
  %o = ferrite.attention %q, %k, %v mask(%m : tensor<?x?xi1>) scale = 0.176776692 fill = -3.40282347E+38 right = 0 offset = "past" guarded : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
  // CHECK: ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} scale = 1.000000e+00 :
  %p = ferrite.attention %q, %k, %v scale = 1.0 : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
  // CHECK: ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} bias(%{{.+}} : tensor<1x12x?x?xf16>) offsets(%{{.+}} : tensor<?xi64>) lengths(%{{.+}} : tensor<?xi64>) sinks(%{{.+}} : tensor<12xf32>) scale = 1.000000e+00 softcap = 5.000000e+01 left = 8 right = 2 :
  %r = ferrite.attention %q, %k, %v bias(%b : tensor<1x12x?x?xf16>) offsets(%n : tensor<?xi64>) lengths(%n : tensor<?xi64>) sinks(%s : tensor<12xf32>) scale = 1.0 softcap = 50.0 left = 8 right = 2 : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
  return
}

// CHECK-LABEL: func.func @rows
func.func @rows(%x: tensor<?x64xf16>, %w: tensor<64xf16>, %b: tensor<64xf16>, %s: tensor<?x12x?x?xf32>) {
  // CHECK: ferrite.norm layer %{{.+}}, %{{.+}} bias(%{{.+}} : tensor<64xf16>) epsilon = 9.99999974E-6 : tensor<?x64xf16>, tensor<64xf16>
  %y = ferrite.norm layer %x, %w bias(%b : tensor<64xf16>) epsilon = 1.0e-05 : tensor<?x64xf16>, tensor<64xf16>
  // CHECK: ferrite.norm rms %{{.+}}, %{{.+}} residual(%{{.+}} : tensor<?x64xf16>) epsilon
  %z = ferrite.norm rms %x, %w residual(%y : tensor<?x64xf16>) epsilon = 1.0e-05 : tensor<?x64xf16>, tensor<64xf16>
  // CHECK: ferrite.norm rms %{{.+}}, %{{.+}} after(%{{.+}} : tensor<?x64xf16>) epsilon
  %t = ferrite.norm rms %x, %w after(%y : tensor<?x64xf16>) epsilon = 1.0e-05 : tensor<?x64xf16>, tensor<64xf16>
  // CHECK: ferrite.weight "c" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0] pitch = 9>]
  %c = ferrite.weight "c" [#ferrite.source<"m", offset = 8, shape = [3, 4], type = f32, perm = [1, 0] pitch = 9>] : tensor<4x3xf32>
  // CHECK: ferrite.softmax %{{.+}} : tensor<?x12x?x?xf32>
  %p = ferrite.softmax %s : tensor<?x12x?x?xf32>
  return
}

// CHECK-LABEL: func.func @reductions
func.func @reductions(%x: tensor<?x64xf32>) {
  // CHECK: ferrite.reduce mean %{{.+}} axes = [1] keep_dims : tensor<?x64xf32> -> tensor<?x1xf32>
  %m = ferrite.reduce mean %x axes = [1] keep_dims : tensor<?x64xf32> -> tensor<?x1xf32>
  // CHECK: ferrite.reduce l2 %{{.+}} axes = [0, 1] : tensor<?x64xf32> -> tensor<f32>
  %l = ferrite.reduce l2 %x axes = [0, 1] : tensor<?x64xf32> -> tensor<f32>
  return
}

// CHECK-LABEL: func.func @embedding
func.func @embedding(%i: tensor<?x?xi64>, %t: tensor<?x?xi64>, %w: tensor<99x64xf32>, %u: tensor<2x64xf32>, %p: tensor<512x64xf32>, %g: tensor<64xf32>, %b: tensor<64xf32>) {
  // CHECK: ferrite.embedding ids(%{{.+}}, %{{.+}} : tensor<?x?xi64>, tensor<?x?xi64>) tables(%{{.+}}, %{{.+}}, %{{.+}} : tensor<99x64xf32>, tensor<2x64xf32>, tensor<512x64xf32>) index = [0, 1, -1] positions = [0, 0, 0] norm(%{{.+}}, %{{.+}} : tensor<64xf32>, tensor<64xf32>) epsilon = 9.99999996E-13 -> tensor<?x?x64xf32>
  %e = ferrite.embedding ids(%i, %t : tensor<?x?xi64>, tensor<?x?xi64>) tables(%w, %u, %p : tensor<99x64xf32>, tensor<2x64xf32>, tensor<512x64xf32>) index = [0, 1, -1] positions = [0, 0, 0] norm(%g, %b : tensor<64xf32>, tensor<64xf32>) epsilon = 1.0e-12 -> tensor<?x?x64xf32>
  return
}

// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<?x64xf32>, %b: tensor<64xf32>) {
  // CHECK: ferrite.fused{{ ?}}(%{{.+}}, %{{.+}} : tensor<?x64xf32>, tensor<64xf32>) domain = ["batch", "64"] maps = [#{{.+}}, #{{.+}}, #{{.+}}] combine none -> tensor<?x64xf32> {
  // CHECK: } finish {
  %y = ferrite.fused (%x, %b : tensor<?x64xf32>, tensor<64xf32>) domain = ["batch", "64"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<?x64xf32> {
  ^bb0(%a: f32, %c: f32):
    %s = arith.addf %a, %c : f32
    ferrite.yield %s : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return
}

// CHECK-LABEL: func.func @loop_index
func.func @loop_index() {
  // CHECK: ferrite.fused domain = ["2", "3"] maps = [#{{.+}}] combine none -> tensor<2x3xi64> {
  // CHECK-NEXT: ferrite.loop_index 1
  %y = ferrite.fused domain = ["2", "3"] maps = [affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<2x3xi64> {
    %i = ferrite.loop_index 1
    ferrite.yield %i : i64
  } finish {
  ^bb0(%a: i64):
    ferrite.yield %a : i64
  }
  return
}

// CHECK-LABEL: func.func @rope
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} interleaved : tensor<?x?x8x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} : tensor<?x?x8x64xf32>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
func.func @rope(%x: tensor<?x?x8x64xf32>, %cos: tensor<?x?x32xf32>, %sin: tensor<?x?x32xf32>, %c: tensor<1x?x32xf32>, %s: tensor<?x1x32xf32>) -> tensor<?x?x8x64xf32> {
  %y = ferrite.rope %x, %cos, %sin interleaved : tensor<?x?x8x64xf32>, tensor<?x?x32xf32>, tensor<?x?x32xf32>
  %z = ferrite.rope %y, %c, %s : tensor<?x?x8x64xf32>, tensor<1x?x32xf32>, tensor<?x1x32xf32>
  return %z : tensor<?x?x8x64xf32>
}
