// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file | FileCheck %s

// Two layers of one shape: a kernel each would double code and compile time. The
// bias is one row, read again and again; the residual has the result's rows. The
// last product writes the output in place.
// CHECK-DAG:     plan.weight @[[$W1:.+]] panels "w1" [{{.*}}] offset = 0 bytes = 16384 : tensor<64x64xf32>
// CHECK-DAG:     plan.weight @[[$W2:.+]] panels "w2" [{{.*}}] offset = 0 bytes = 16384 : tensor<64x64xf32>
// CHECK-DAG:     plan.weight @[[$B:.+]] rows "b" [{{.*}}] offset = 0 bytes = 256 : tensor<64xf32>
// CHECK-DAG:     plan.kernel @linear_64x64 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [64, 64] strides [64, 1]>, #plan.layout<f32 [1, 1] strides [0, 1]>, #plan.layout<f32 [1, 1] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
// CHECK-LABEL:   plan.entry @main symbols = [#ferrite.symbol<"sequence", min = 1, max = 512>] {
// CHECK-DAG:       %[[RW1:.+]] = plan.use @[[$W1]]
// CHECK-DAG:       %[[RW2:.+]] = plan.use @[[$W2]]
// CHECK-DAG:       %[[RB:.+]] = plan.use @[[$B]]
// CHECK-DAG:       %[[X:.+]] = plan.input "x" dims = ["batch", "sequence", "64"] : tensor<?x?x64xf32>
// CHECK-DAG:       %[[Y:.+]] = plan.output "y" dims = ["batch", "sequence", "64"] : tensor<?x?x64xf32>
// CHECK:           %[[H:.+]] = plan.buffer "batch*sequence*256"
// CHECK-NEXT:      plan.launch @linear_64x64(%[[X]], %[[RW1]], %[[RB]], %[[X]], %[[H]]) offsets = ["0", "0", "0", "0", "0"] values = ["batch*sequence", "batch*sequence"]
// CHECK-NEXT:      plan.launch @linear_64x64(%[[H]], %[[RW2]], %[[RB]], %[[H]], %[[Y]]) offsets = ["0", "0", "0", "0", "0"] values = ["batch*sequence", "batch*sequence"]
// CHECK-NEXT:    }
func.func @main(%x: tensor<?x?x64xf32> {ferrite.name = "x", ferrite.dims = ["batch", "sequence", "64"]}) -> (tensor<?x?x64xf32> {ferrite.name = "y"}) attributes {ferrite.symbols = [#ferrite.symbol<"sequence", min = 1, max = 512>]} {
  %w1 = ferrite.weight "w1" [#ferrite.source<"m", offset = 0, shape = [64, 64], type = f32>] : tensor<64x64xf32>
  %w2 = ferrite.weight "w2" [#ferrite.source<"m", offset = 16384, shape = [64, 64], type = f32>] : tensor<64x64xf32>
  %b = ferrite.weight "b" [#ferrite.source<"m", offset = 32768, shape = [64], type = f32>] : tensor<64xf32>
  %h = ferrite.linear %x, %w1 sides(%b, %x : tensor<64xf32>, tensor<?x?x64xf32>) : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%acc: f32, %bias: f32, %r: f32):
    %s = arith.addf %acc, %bias : f32
    %t = arith.addf %s, %r : f32
    ferrite.yield %t : f32
  }
  %y = ferrite.linear %h, %w2 sides(%b, %h : tensor<64xf32>, tensor<?x?x64xf32>) : (tensor<?x?x64xf32>, tensor<64x64xf32>) -> tensor<?x?x64xf32> {
  ^bb0(%acc: f32, %bias: f32, %r: f32):
    %s = arith.addf %acc, %bias : f32
    %t = arith.addf %s, %r : f32
    ferrite.yield %t : f32
  }
  return %y : tensor<?x?x64xf32>
}

// -----

// Another epilogue is another structure: sharing would compute the wrong one.
// CHECK:       plan.kernel @linear_8x8 layouts
// CHECK:       plan.kernel @linear_8x8_1 layouts
// CHECK:         math.exp
// CHECK-LABEL: plan.entry @epilogues_differ
// CHECK:         plan.launch @linear_8x8(
// CHECK:         plan.launch @linear_8x8_1(
func.func @epilogues_differ(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "8"]}) -> (tensor<?x8xf32> {ferrite.name = "y"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [8, 8], type = f32>] : tensor<8x8xf32>
  %h = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  %y = ferrite.linear %h, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%acc: f32):
    %e = math.exp %acc : f32
    ferrite.yield %e : f32
  }
  return %y : tensor<?x8xf32>
}

// -----

// A weight that is a table for one op and a right operand for another lies in the
// artifact in both forms; two who read the same form share it.
// CHECK-DAG:   plan.weight @[[$ROWS:.+]] rows "w" [{{.*}}] offset = 0 bytes = 4096 : tensor<16x64xf32>
// CHECK-DAG:   plan.weight @[[$PANELS:.+]] panels "w" [{{.*}}] offset = 0 bytes = 4096 : tensor<16x64xf32>
// CHECK-LABEL: plan.entry @two_formats
// CHECK-DAG:     %[[R:.+]] = plan.use @[[$ROWS]]
// CHECK-DAG:     %[[P:.+]] = plan.use @[[$PANELS]]
// CHECK-DAG:     %[[IDS:.+]] = plan.input "ids" dims = ["n"] ids below 16 : tensor<?xi64>
// CHECK:         plan.launch @gather_64(%[[R]], %[[IDS]],
// CHECK:         plan.launch @gather_64(%[[R]], %[[IDS]],
// CHECK:         plan.launch @linear_16x64(%{{.+}}, %[[P]],
func.func @two_formats(%ids: tensor<?xi64> {ferrite.name = "ids", ferrite.dims = ["n"]}, %x: tensor<?x16xf32> {ferrite.name = "x", ferrite.dims = ["n", "16"]}) -> (tensor<?x64xf32> {ferrite.name = "a"}, tensor<?x64xf32> {ferrite.name = "b"}, tensor<?x64xf32> {ferrite.name = "c"}) {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [16, 64], type = f32>] : tensor<16x64xf32>
  %a = ferrite.gather %w, %ids axis = 0 : (tensor<16x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %b = ferrite.gather %w, %ids axis = 0 : (tensor<16x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %c = ferrite.linear %x, %w : (tensor<?x16xf32>, tensor<16x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %a, %b, %c : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Queries, keys and values are thirds of one product: three copies of all tokens
// would cost more than the attention of a short sequence. The mask is read with
// the strides of its input.
// CHECK:       plan.kernel @attention_12x32 claimed layouts = [#plan.layout<f32 [?, ?, 12, 32] strides [?, 1152, 32, 1]>, #plan.layout<f32 [?, ?, 12, 32] strides [?, 1152, 32, 1]>, #plan.layout<f32 [?, ?, 12, 32] strides [?, 1152, 32, 1]>, #plan.layout<i1 [?, ?] strides [?, 1]>, #plan.layout<f32 [?, ?, 12, 32] strides [?, 384, 32, 1]>]
// CHECK-LABEL: plan.entry @qkv
// CHECK:         %[[QKV:.+]] = plan.input "qkv"
// CHECK:         %[[MASK:.+]] = plan.input "mask"
// CHECK:         %[[Y:.+]] = plan.output "y"
// CHECK-NOT:     plan.buffer
// CHECK:         plan.launch @attention_12x32(%[[QKV]], %[[QKV]], %[[QKV]], %[[MASK]], %[[Y]]) offsets = ["0", "1536", "3072", "0", "0"]
// CHECK-SAME:      "sequence*1152", "sequence*1152", "sequence*1152", "sequence", "sequence*384"]
// CHECK-NOT:     plan.launch
// CHECK:       }
func.func @qkv(%qkv: tensor<?x?x1152xf32> {ferrite.name = "qkv", ferrite.dims = ["batch", "sequence", "1152"]}, %mask: tensor<?x?xi1> {ferrite.name = "mask", ferrite.dims = ["batch", "sequence"]}) -> (tensor<?x?x12x32xf32> {ferrite.name = "y"}) {
  %sq = ferrite.slice %qkv offsets = ["0", "0", "0"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"] : tensor<?x?x1152xf32> -> tensor<?x?x384xf32>
  %sk = ferrite.slice %qkv offsets = ["0", "0", "384"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"] : tensor<?x?x1152xf32> -> tensor<?x?x384xf32>
  %sv = ferrite.slice %qkv offsets = ["0", "0", "768"] steps = [1, 1, 1] dims = ["batch", "sequence", "384"] : tensor<?x?x1152xf32> -> tensor<?x?x384xf32>
  %q = ferrite.view %sq dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %k = ferrite.view %sk dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %v = ferrite.view %sv dims = ["batch", "sequence", "12", "32"] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
  %y = ferrite.attention %q, %k, %v mask(%mask : tensor<?x?xi1>) scale = 0.176776692 fill = -3.40282347E+38 : (tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>) -> tensor<?x?x12x32xf32>
  return %y : tensor<?x?x12x32xf32>
}

// -----

// Ids that index two tables are below the smaller; ids seen through a view are
// still the caller's. What is computed cannot be checked at the edge.
// CHECK-LABEL: plan.entry @id_limits
// CHECK:         plan.input "ids" dims = ["batch", "sequence"] ids below 50 : tensor<?x?xi64>
// CHECK:         plan.input "types" dims = ["batch", "sequence"] ids below 2 : tensor<?x?xi64>
// CHECK:         plan.input "free" dims = ["batch", "sequence"] : tensor<?x?xi64>
// CHECK:         plan.launch @embedding_8(
func.func @id_limits(%ids: tensor<?x?xi64> {ferrite.name = "ids", ferrite.dims = ["batch", "sequence"]}, %types: tensor<?x?xi64> {ferrite.name = "types", ferrite.dims = ["batch", "sequence"]}, %free: tensor<?x?xi64> {ferrite.name = "free", ferrite.dims = ["batch", "sequence"]}) -> (tensor<?x?x8xf32> {ferrite.name = "y"}, tensor<?x8xf32> {ferrite.name = "z"}) {
  %words = ferrite.weight "words" [#ferrite.source<"m", offset = 0, shape = [99, 8], type = f32>] : tensor<99x8xf32>
  %small = ferrite.weight "small" [#ferrite.source<"m", offset = 4096, shape = [50, 8], type = f32>] : tensor<50x8xf32>
  %kinds = ferrite.weight "kinds" [#ferrite.source<"m", offset = 8192, shape = [2, 8], type = f32>] : tensor<2x8xf32>
  %y = ferrite.embedding ids(%ids, %types : tensor<?x?xi64>, tensor<?x?xi64>) tables(%words, %kinds : tensor<99x8xf32>, tensor<2x8xf32>) index = [0, 1] positions = [0, 0] epsilon = 0.0 -> tensor<?x?x8xf32>
  %flat = ferrite.view %ids dims = ["batch*sequence"] : tensor<?x?xi64> -> tensor<?xi64>
  %z = ferrite.gather %small, %flat axis = 0 : (tensor<50x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %y, %z : tensor<?x?x8xf32>, tensor<?x8xf32>
}

// -----

// Of an input whose first column is ids, the second may be anything.
// CHECK-LABEL: plan.entry @ids_in_a_slice
// CHECK:         plan.input "pairs" dims = ["batch", "2"] : tensor<?x2xi64>
func.func @ids_in_a_slice(%pairs: tensor<?x2xi64> {ferrite.name = "pairs", ferrite.dims = ["batch", "2"]}) -> (tensor<?x1x8xf32> {ferrite.name = "y"}) {
  %table = ferrite.weight "table" [#ferrite.source<"m", offset = 0, shape = [99, 8], type = f32>] : tensor<99x8xf32>
  %ids = ferrite.slice %pairs offsets = ["0", "0"] steps = [1, 1] dims = ["batch", "1"] : tensor<?x2xi64> -> tensor<?x1xi64>
  %y = ferrite.gather %table, %ids axis = 0 : (tensor<99x8xf32>, tensor<?x1xi64>) -> tensor<?x1x8xf32>
  return %y : tensor<?x1x8xf32>
}

// -----

// A value that is an output twice is computed once; an input that is an output is
// copied, since the caller's memory is not ours to give away.
// CHECK-LABEL: plan.entry @outputs
// CHECK-DAG:     %[[X:.+]] = plan.input "x"
// CHECK-DAG:     %[[A:.+]] = plan.output "a"
// CHECK-DAG:     %[[B:.+]] = plan.output "b"
// CHECK-DAG:     %[[C:.+]] = plan.output "c"
// CHECK-NOT:     plan.buffer
// CHECK:         plan.launch @softmax_64(%[[X]], %[[A]])
// CHECK-NEXT:    plan.launch @[[COPY:.+]](%[[A]], %[[B]])
// CHECK-NEXT:    plan.launch @[[COPY]](%[[X]], %[[C]])
// CHECK-NEXT:  }
func.func @outputs(%x: tensor<?x64xf32> {ferrite.name = "x", ferrite.dims = ["n", "64"]}) -> (tensor<?x64xf32> {ferrite.name = "a"}, tensor<?x64xf32> {ferrite.name = "b"}, tensor<?x64xf32> {ferrite.name = "c"}) {
  %y = ferrite.softmax %x : tensor<?x64xf32>
  return %y, %y, %x : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Each part is written where it belongs: no buffer between. A class token, one row
// for all images, is read with a stride of 0.
// CHECK-LABEL: plan.entry @tokens
// CHECK-DAG:     %[[T:.+]] = plan.input "token" dims = ["1", "1", "8"]
// CHECK-DAG:     %[[X:.+]] = plan.input "x"
// CHECK-DAG:     %[[Y:.+]] = plan.output "y" dims = ["n", "17", "8"]
// CHECK-NOT:     plan.buffer
// CHECK:         plan.launch @concat(%[[T]], %[[Y]]) offsets = ["0", "0"]
// CHECK-NEXT:    plan.launch @concat_1(%[[X]], %[[Y]]) offsets = ["0", "32"]
// CHECK-NEXT:  }
func.func @tokens(%token: tensor<1x1x8xf32> {ferrite.name = "token", ferrite.dims = ["1", "1", "8"]}, %x: tensor<?x16x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "16", "8"]}) -> (tensor<?x17x8xf32> {ferrite.name = "y"}) {
  %t = ferrite.broadcast %token dims = ["n", "1", "8"] : tensor<1x1x8xf32> -> tensor<?x1x8xf32>
  %y = ferrite.concat %t, %x axis = 1 : (tensor<?x1x8xf32>, tensor<?x16x8xf32>) -> tensor<?x17x8xf32>
  return %y : tensor<?x17x8xf32>
}
