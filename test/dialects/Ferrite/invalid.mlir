// RUN: ferrite-opt %s --split-input-file --verify-diagnostics

// One case for each numbered constraint of an op's documentation; longer than other
// tests because they are all here, where check_tree.py looks for them.

func.func @symbol_type(%x: tensor<4xf32>) {
  // expected-error @below {{expects an offset of 0 or more, but got -1}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = -1, shape = [4], type = f32>] : tensor<4xf32>
  return
}

// -----

func.func @source_perm() {
  // expected-error @below {{expects a permutation of the shape's dims}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 2], type = f32, perm = [0, 0]>] : tensor<4x2xf32>
  return
}

// -----

func.func @weight_c1() {
  // expected-error @below {{expects a source and an axis of the result, but got axis 2}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 2], type = f32>] axis = 2 : tensor<4x2xf32>
  return
}

// -----

func.func @weight_c2() {
  // expected-error @below {{expects sources that sum to 5 on axis 0, but got 4}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 2], type = f32>] : tensor<5x2xf32>
  return
}

// -----

func.func @weight_c3() {
  // expected-error @below {{expects a static result, but got 'tensor<?xf32>'}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4], type = f32>] : tensor<?xf32>
  return
}

// -----

func.func @view_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects a result of 'tensor<?xf32>', but got 'tensor<?x?xf32>'}}
  %v = ferrite.view %x dims = ["batch*4"] : tensor<?x4xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @view_c1_parse(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects dims that are sizes, but got ["batch//4"}}
  %v = ferrite.view %x dims = ["batch//4", "*"] : tensor<?x4xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @view_c2(%x: tensor<3x4xf32>) {
  // expected-error @below {{expects as many elements as its input}}
  %v = ferrite.view %x dims = ["13"] : tensor<3x4xf32> -> tensor<13xf32>
  return
}

// -----

func.func @transpose_c1(%x: tensor<3x4xf32>) {
  // expected-error @below {{expects a permutation of 'tensor<3x4xf32>'}}
  %v = ferrite.transpose %x perm = [1, 1] : tensor<3x4xf32> -> tensor<4x4xf32>
  return
}

// -----

func.func @broadcast_c1(%x: tensor<1x4xf32>) {
  // expected-error @below {{expects a result of 'tensor<3x4xf32>'}}
  %v = ferrite.broadcast %x dims = ["3", "4"] : tensor<1x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @broadcast_c2(%x: tensor<2x4xf32>) {
  // expected-error @below {{expects an input that broadcasts to 'tensor<3x4xf32>'}}
  %v = ferrite.broadcast %x dims = ["3", "4"] : tensor<2x4xf32> -> tensor<3x4xf32>
  return
}

// -----

func.func @slice_c1(%x: tensor<2x4xf32>) {
  // expected-error @below {{expects an offset, step and dim for each of the 2 dims}}
  %v = ferrite.slice %x offsets = ["0"] steps = [1, 1] dims = ["2", "2"] : tensor<2x4xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<2x4xf32>) {
  // expected-error @below {{expects steps other than 0}}
  %v = ferrite.slice %x offsets = ["0", "0"] steps = [1, 0] dims = ["2", "2"] : tensor<2x4xf32> -> tensor<2x2xf32>
  return
}

// -----

func.func @slice_c3(%x: tensor<2x4xf32>) {
  // expected-error @below {{dim 1 reaches from 1 to 4}}
  %v = ferrite.slice %x offsets = ["0", "1"] steps = [1, 1] dims = ["2", "4"] : tensor<2x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @concat_c1(%x: tensor<2x4xf32>) {
  // expected-error @below {{but got axis 2}}
  %v = ferrite.concat %x, %x axis = 2 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @concat_c2(%x: tensor<2x4xf32>) {
  // expected-error @below {{expects inputs that sum to 7 on the axis, but got 8}}
  %v = ferrite.concat %x, %x axis = 1 : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x7xf32>
  return
}

// -----

func.func @iota_c1() {
  // expected-error @below {{expects one dim}}
  %v = ferrite.iota dims = ["2", "3"] : tensor<2x3xi64>
  return
}

// -----

func.func @dim_values_c1() {
  // expected-error @below {{expects sizes and a result of rank 0 or 1}}
  %v = ferrite.dim_values ["batch", "sequence"] : tensor<3xi64>
  return
}

// -----

func.func @gather_c1(%t: tensor<4x2xf32>, %i: tensor<3xi64>) {
  // expected-error @below {{expects an axis below 2, but got 2}}
  %v = ferrite.gather %t, %i axis = 2 : (tensor<4x2xf32>, tensor<3xi64>) -> tensor<4x2x3xf32>
  return
}

// -----

func.func @gather_nd_c1(%t: tensor<4x2xf32>, %i: tensor<3x3xi64>) {
  // expected-error @below {{expects index tuples of a static size up to 2}}
  %v = ferrite.gather_nd %t, %i : (tensor<4x2xf32>, tensor<3x3xi64>) -> tensor<3xf32>
  return
}

// -----

func.func @cumsum_c1(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects an axis below 2, but got 2}}
  %v = ferrite.cumsum %t axis = 2 : tensor<4x2xf32>
  return
}

// -----

func.func @add_shapes(%a: tensor<4xf32>, %b: tensor<3xf32>) {
  // expected-error @below {{operands don't have broadcast-compatible shapes}}
  %v = ferrite.add %a, %b : (tensor<4xf32>, tensor<3xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @compare_types(%a: tensor<4xf32>, %b: tensor<4xi64>) {
  // expected-error @below {{operands have one element type}}
  %v = ferrite.compare lt %a, %b : (tensor<4xf32>, tensor<4xi64>) -> tensor<4xi1>
  return
}

// -----

func.func @matmul_c1(%a: tensor<4xf32>, %b: tensor<4x3xf32>) {
  // expected-error @below {{expects operands of rank 2 or more}}
  %v = ferrite.matmul %a, %b : (tensor<4xf32>, tensor<4x3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @matmul_c2(%a: tensor<4x5xf32>, %b: tensor<4x3xf32>) {
  // expected-error @below {{expects sizes that agree}}
  %v = ferrite.matmul %a, %b : (tensor<4x5xf32>, tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @matmul_c3(%a: tensor<4x4xf16>, %b: tensor<4x3xf32>) {
  // expected-error @below {{expects one element type}}
  %v = ferrite.matmul %a, %b : (tensor<4x4xf16>, tensor<4x3xf32>) -> tensor<4x3xf32>
  return
}

// -----

func.func @linear_c1(%x: tensor<4x5xf32>, %w: tensor<4x3xf32>) {
  // expected-error @below {{expects a weight of [inputs, outputs] that fits}}
  %y = ferrite.linear %x, %w : (tensor<4x5xf32>, tensor<4x3xf32>) -> tensor<4x3xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

// Of floats one weight is for all rows.
func.func @linear_c1_batch(%x: tensor<2x4x5xf32>, %w: tensor<2x5x3xf32>) {
  // expected-error @below {{expects a weight of [inputs, outputs] that fits}}
  %y = ferrite.linear %x, %w : (tensor<2x4x5xf32>, tensor<2x5x3xf32>) -> tensor<2x4x3xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @linear_c1_leading(%x: tensor<2x4x5xui8>, %w: tensor<3x5x3xi8>) {
  // expected-error @below {{expects a weight of [inputs, outputs] that fits}}
  %y = ferrite.linear %x, %w : (tensor<2x4x5xui8>, tensor<3x5x3xi8>) -> tensor<2x4x3xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return
}

// -----

func.func @linear_c2(%x: tensor<4x5xf32>, %w: tensor<5x3xf32>, %s: tensor<2xf32>) {
  // expected-error @below {{expects sides that broadcast to 'tensor<4x3xf32>', but got 'tensor<2xf32>'}}
  %y = ferrite.linear %x, %w sides(%s : tensor<2xf32>) : (tensor<4x5xf32>, tensor<5x3xf32>) -> tensor<4x3xf32> {
  ^bb0(%acc: f32, %b: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @linear_c4(%x: tensor<4x5xi8>, %w: tensor<5x3xi8>) {
  // expected-error @below {{expects floats, or unsigned bytes times bytes, but got 'tensor<4x5xi8>' and 'tensor<5x3xi8>'}}
  %y = ferrite.linear %x, %w : (tensor<4x5xi8>, tensor<5x3xi8>) -> tensor<4x3xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return
}

// -----

func.func @linear_c5(%x: tensor<4x5xui8>, %w: tensor<5x3xi8>, %z: tensor<4xi32>) {
  // expected-error @below {{expects zero points of bytes, one or (of the weight) one for each column, but got 'tensor<4xi32>'}}
  %y = ferrite.linear %x, %w zero(%z : tensor<4xi32>) : (tensor<4x5xui8>, tensor<5x3xi8>) -> tensor<4x3xi32> {
  ^bb0(%acc: i32):
    ferrite.yield %acc : i32
  }
  return
}

// -----

func.func @linear_c3(%x: tensor<4x5xf32>, %w: tensor<5x3xf32>) {
  // expected-error @below {{expects an epilogue from f32 and an element of each side to 'f16'}}
  %y = ferrite.linear %x, %w : (tensor<4x5xf32>, tensor<5x3xf32>) -> tensor<4x3xf16> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return
}

// -----

func.func @attention_c1(%q: tensor<1x4x2x8xf32>, %k: tensor<1x4x2x9xf32>) {
  // expected-error @below {{expects [batch, tokens, heads, size] that agree}}
  %o = ferrite.attention %q, %k, %k scale = 1.0 : (tensor<1x4x2x8xf32>, tensor<1x4x2x9xf32>, tensor<1x4x2x9xf32>) -> tensor<1x4x2x9xf32>
  return
}

// -----

func.func @attention_c2(%q: tensor<1x4x3x8xf32>, %k: tensor<1x4x2x8xf32>) {
  // expected-error @below {{expects key heads that divide the query heads, but got 2 and 3}}
  %o = ferrite.attention %q, %k, %k scale = 1.0 : (tensor<1x4x3x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x3x8xf32>
  return
}

// -----

func.func @attention_c3(%q: tensor<1x4x2x8xf32>, %m: tensor<1x5xi1>) {
  // expected-error @below {{expects a mask of [batch, keys] or one that broadcasts to the scores, but got 'tensor<1x5xi1>'}}
  %o = ferrite.attention %q, %q, %q mask(%m : tensor<1x5xi1>) scale = 1.0 : (tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x2x8xf32>
  return
}

// -----

func.func @attention_c4(%q: tensor<1x4x2x8xf32>, %m: tensor<4x4xf32>) {
  // expected-error @below {{expects a bias that broadcasts to the scores, but got 'tensor<4x4xf32>'}}
  %o = ferrite.attention %q, %q, %q bias(%m : tensor<4x4xf32>) scale = 1.0 : (tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x2x8xf32>
  return
}

// -----

func.func @attention_c5(%q: tensor<1x4x2x8xf32>, %s: tensor<4xf32>) {
  // expected-error @below {{expects offsets, lengths and a prefix of [batch] or [1] and sinks of [heads]}}
  %o = ferrite.attention %q, %q, %q sinks(%s : tensor<4xf32>) scale = 1.0 : (tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x2x8xf32>
  return
}

// -----

func.func @attention_c6(%q: tensor<1x4x2x8xf32>) {
  // expected-error @below {{expects a dim expression, but got 'past +'}}
  %o = ferrite.attention %q, %q, %q scale = 1.0 right = 0 offset = "past +" : (tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x2x8xf32>
  return
}

// -----

func.func @attention_c7(%q: tensor<1x4x2x8xf32>) {
  // expected-error @below {{expects a window of -1 or more and a softcap of 0 or more, but got -1, -1 and -3.000000e+00}}
  %o = ferrite.attention %q, %q, %q scale = 1.0 softcap = -3.0 : (tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>, tensor<1x4x2x8xf32>) -> tensor<1x4x2x8xf32>
  return
}

// -----

func.func @norm_c1(%x: tensor<f32>, %w: tensor<1xf32>) {
  // expected-error @below {{expects an input of rank 1 or more, but got 'tensor<f32>'}}
  %y = ferrite.norm rms %x, %w epsilon = 1.0e-05 : tensor<f32>, tensor<1xf32>
  return
}

// -----

func.func @norm_c2(%x: tensor<4x64xf16>, %w: tensor<32xf16>) {
  // expected-error @below {{expects weight and bias of shape [64], but got 'tensor<32xf16>'}}
  %y = ferrite.norm rms %x, %w epsilon = 1.0e-05 : tensor<4x64xf16>, tensor<32xf16>
  return
}

// -----

func.func @norm_c3(%x: tensor<4x64xf16>, %w: tensor<64xf16>) {
  // expected-error @below {{expects an epsilon of 0 or more}}
  %y = ferrite.norm rms %x, %w epsilon = -1.0e-05 : tensor<4x64xf16>, tensor<64xf16>
  return
}

// -----

func.func @norm_c4(%x: tensor<4x64xf16>, %w: tensor<64xf16>, %r: tensor<4x64xf32>) {
  // expected-error @below {{expects a residual of 'tensor<4x64xf16>', but got 'tensor<4x64xf32>'}}
  %y = ferrite.norm rms %x, %w residual(%r : tensor<4x64xf32>) epsilon = 1.0e-05 : tensor<4x64xf16>, tensor<64xf16>
  return
}

// -----

func.func @softmax_c1(%x: tensor<f32>) {
  // expected-error @below {{expects an input of rank 1 or more}}
  %y = ferrite.softmax %x : tensor<f32>
  return
}

// -----

func.func @embedding_c1(%i: tensor<2x3xi64>, %w: tensor<99x64xf32>) {
  // expected-error @below {{expects an index and a position per table}}
  %e = ferrite.embedding ids(%i : tensor<2x3xi64>) tables(%w : tensor<99x64xf32>) index = [1] positions = [0] epsilon = 0.0 -> tensor<2x3x64xf32>
  return
}

// -----

func.func @embedding_c2(%i: tensor<2x3xi64>, %w: tensor<99x64xf32>, %u: tensor<9x32xf32>) {
  // expected-error @below {{expects tables of one width and element type}}
  %e = ferrite.embedding ids(%i : tensor<2x3xi64>) tables(%w, %u : tensor<99x64xf32>, tensor<9x32xf32>) index = [0, 0] positions = [0, 0] epsilon = 0.0 -> tensor<2x3x64xf32>
  return
}

// -----

func.func @embedding_c3(%i: tensor<3xi64>, %w: tensor<99x64xf32>) {
  // expected-error @below {{expects ids of rank 2}}
  %e = ferrite.embedding ids(%i : tensor<3xi64>) tables(%w : tensor<99x64xf32>) index = [0] positions = [0] epsilon = 0.0 -> tensor<1x3x64xf32>
  return
}

// -----

func.func @embedding_c4(%i: tensor<2x3xi64>, %w: tensor<99x64xf32>, %g: tensor<32xf32>) {
  // expected-error @below {{expects weight and bias of shape [64], both or neither}}
  %e = ferrite.embedding ids(%i : tensor<2x3xi64>) tables(%w : tensor<99x64xf32>) index = [0] positions = [0] norm(%g, %g : tensor<32xf32>, tensor<32xf32>) epsilon = 0.0 -> tensor<2x3x64xf32>
  return
}

// -----

func.func @reduce_c1(%x: tensor<2x3xf32>) {
  // expected-error @below {{expects distinct, ascending axes of 'tensor<2x3xf32>'}}
  %y = ferrite.reduce sum %x axes = [1, 0] : tensor<2x3xf32> -> tensor<f32>
  return
}

// -----

func.func @fused_c1(%x: tensor<4x2xf32>) {
  // expected-error @below {{expects maps from the domain to loops and zeros}}
  %y = ferrite.fused (%x : tensor<4x2xf32>) domain = ["4", "2"] maps = [affine_map<(d0, d1) -> (d0, d1 + 1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<4x2xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return
}

// -----

func.func @fused_c2(%x: tensor<4x2xf32>) {
  // expected-error @below {{expects sizes that agree with the domain}}
  %y = ferrite.fused (%x : tensor<4x2xf32>) domain = ["4", "3"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<4x3xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return
}

// -----

func.func @fused_c3(%x: tensor<4x2xf32>) {
  // expected-error @below {{expects a body from its inputs' elements and a finish to 'f16'}}
  %y = ferrite.fused (%x : tensor<4x2xf32>) domain = ["4", "2"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<4x2xf16> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return
}

// -----

func.func @fused_c4(%x: tensor<4x2xf32>) {
  // expected-error @below {{expects combine none exactly when no loop is reduced, but got none}}
  %y = ferrite.fused (%x : tensor<4x2xf32>) domain = ["4", "2"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>] combine none -> tensor<4xf32> {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  } finish {
  ^bb0(%a: f32):
    ferrite.yield %a : f32
  }
  return
}

// -----

func.func @gather_elements_c1(%t: tensor<4x2xf32>, %i: tensor<3xi64>) {
  // expected-error @below {{expects indices of rank 2, but got 'tensor<3xi64>'}}
  %v = ferrite.gather_elements %t, %i axis = 0 : (tensor<4x2xf32>, tensor<3xi64>) -> tensor<3xf32>
  return
}

// -----

func.func @scatter_nd_c1(%t: tensor<4x2xf32>, %i: tensor<1x3xi64>, %u: tensor<1xf32>) {
  // expected-error @below {{expects index tuples of a static size up to 2, but got 'tensor<1x3xi64>'}}
  %v = ferrite.scatter_nd none %t, %i, %u : tensor<4x2xf32>, tensor<1x3xi64>, tensor<1xf32>
  return
}

// -----

func.func @scatter_nd_c2(%t: tensor<4x2xf32>, %i: tensor<1x1xi64>, %u: tensor<1x3xf32>) {
  // expected-error @below {{expects updates as its indices and data say, but got 'tensor<1x3xf32>'}}
  %v = ferrite.scatter_nd none %t, %i, %u : tensor<4x2xf32>, tensor<1x1xi64>, tensor<1x3xf32>
  return
}

// -----

func.func @scatter_elements_c1(%t: tensor<4x2xf32>, %i: tensor<1x2xi64>, %u: tensor<1x2xf32>) {
  // expected-error @below {{expects an axis below 2, but got 2}}
  %v = ferrite.scatter_elements none %t, %i, %u axis = 2 : tensor<4x2xf32>, tensor<1x2xi64>, tensor<1x2xf32>
  return
}

// -----

func.func @scatter_elements_c2(%t: tensor<4x2xf32>, %i: tensor<1x2xi64>, %u: tensor<2x2xf32>) {
  // expected-error @below {{expects updates as its indices and data say, but got 'tensor<2x2xf32>'}}
  %v = ferrite.scatter_elements none %t, %i, %u axis = 0 : tensor<4x2xf32>, tensor<1x2xi64>, tensor<2x2xf32>
  return
}

// -----

func.func @arg_reduce_c1(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects an axis below 2, but got 3}}
  %v = ferrite.arg_reduce max %t axis = 3 : tensor<4x2xf32> -> tensor<4xi64>
  return
}

// -----

func.func @arg_reduce_c2(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects max or min, but got sum}}
  %v = ferrite.arg_reduce sum %t axis = 1 : tensor<4x2xf32> -> tensor<4xi64>
  return
}

// -----

func.func @topk_c1(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects an axis below 2, but got 2}}
  %v = ferrite.topk %t axis = 2 k = ["1"] : tensor<4x2xf32> -> tensor<4x1xi64>
  return
}

// -----

func.func @topk_c2(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects a size k that gives the result, but got ["1"] and 'tensor<4x2xi64>'}}
  %v = ferrite.topk %t axis = 1 k = ["1"] : tensor<4x2xf32> -> tensor<4x2xi64>
  return
}

// -----

func.func @cumprod_c1(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects an axis below 2, but got 2}}
  %v = ferrite.cumprod %t axis = 2 : tensor<4x2xf32>
  return
}

// -----

func.func @nonzero_c1(%t: tensor<4x2xf32>) {
  // expected-error @below {{expects a symbol and a tuple for each, but got "2*n" and 'tensor<?x2xi64>'}}
  %v = ferrite.nonzero %t count = "2*n" : tensor<4x2xf32> -> tensor<?x2xi64>
  return
}

// -----

func.func @expert_linear_c1(%x: tensor<4x3x8xf32>, %w: tensor<2x8x6xf32>, %e: tensor<4x2xi64>) {
  // expected-error @below {{expects rows and an expert for each}}
  %v = ferrite.expert_linear %x, %w, %e : tensor<4x3x8xf32>, tensor<2x8x6xf32>, tensor<4x2xi64> -> tensor<4x2x6xf32>
  return
}

// -----

func.func @expert_linear_c2(%x: tensor<4x1x8xf32>, %w: tensor<2x6x8xf32>, %e: tensor<4x2xi64>) {
  // expected-error @below {{expects matrices from 8 to 6, but got 'tensor<2x6x8xf32>'}}
  %v = ferrite.expert_linear %x, %w, %e : tensor<4x1x8xf32>, tensor<2x6x8xf32>, tensor<4x2xi64> -> tensor<4x2x6xf32>
  return
}

// -----

func.func @expert_linear_c3(%x: tensor<4x1x8xf32>, %w: tensor<2x6x4xui8>, %e: tensor<4x2xi64>) {
  // expected-error @below {{expects scales with bits, one for each block that divides 8}}
  %v = ferrite.expert_linear %x, %w, %e bits = 4 block = 4 : tensor<4x1x8xf32>, tensor<2x6x4xui8>, tensor<4x2xi64> -> tensor<4x2x6xf32>
  return
}

// -----

func.func @expert_linear_c4(%x: tensor<4x1x8xf32>, %w: tensor<2x8x6xf32>, %e: tensor<4x2xi64>, %z: tensor<2x6x1xui8>) {
  // expected-error @below {{expects zero points packed as its weight, but got 'tensor<2x6x1xui8>'}}
  %v = ferrite.expert_linear %x, %w, %e zero_points(%z : tensor<2x6x1xui8>) : tensor<4x1x8xf32>, tensor<2x8x6xf32>, tensor<4x2xi64> -> tensor<4x2x6xf32>
  return
}

// -----

func.func @rope_c1(%x: tensor<2x5x8x64xf32>, %c: tensor<1x4x32xf32>) {
  // expected-error @below {{expects cos and sin of [batch or 1, tokens or 1, half of the rotated size]}}
  %y = ferrite.rope %x, %c, %c : tensor<2x5x8x64xf32>, tensor<1x4x32xf32>, tensor<1x4x32xf32>
  return
}

// -----

func.func @rope_c2(%x: tensor<2x5x8x64xf32>, %c: tensor<1x5x33xf32>) {
  // expected-error @below {{at most half of the 64 of a head, but got 33 and 33}}
  %y = ferrite.rope %x, %c, %c : tensor<2x5x8x64xf32>, tensor<1x5x33xf32>, tensor<1x5x33xf32>
  return
}

// -----

func.func @source_pitch() {
  // expected-error @below {{expects a pitch only of whole bytes in rows of a matrix without scales, and of as many elements as a row at least}}
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [4, 2], type = f32 pitch = 1>] : tensor<4x2xf32>
  return
}

// -----

func.func @norm_c4_after(%x: tensor<4x64xf16>, %w: tensor<64xf16>, %r: tensor<4x64xf32>) {
  // expected-error @below {{expects a residual of 'tensor<4x64xf16>', but got 'tensor<4x64xf32>'}}
  %y = ferrite.norm rms %x, %w after(%r : tensor<4x64xf32>) epsilon = 1.0e-05 : tensor<4x64xf16>, tensor<64xf16>
  return
}
