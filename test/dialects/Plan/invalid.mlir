// RUN: ferrite-opt %s --allow-unregistered-dialect --split-input-file --verify-diagnostics

// One case for each numbered constraint of an op's documentation, and for what
// the syntax of a layout rules out.

// expected-error @below {{expects either sources or a value}}
plan.weight @weight_c1 rows "w" offset = 0 bytes = 0 : tensor<4xf32>

// -----

// expected-error @below {{expects either sources or a value}}
plan.weight @weight_c1_both rows "w" [#ferrite.source<"m", offset = 0, shape = [4], type = f32>] value = dense<0.0> : tensor<4xf32> offset = 0 bytes = 16 : tensor<4xf32>

// -----

// expected-error @below {{expects a layout and sources where it is packed, and there alone}}
plan.weight @weight_c2 packed "w" [#ferrite.source<"m", offset = 0, shape = [4, 4], type = f32>] offset = 0 bytes = 64 : tensor<4x4xf32>

// -----

// expected-error @below {{expects one op, a return of its results and a layout for each operand and result, but got 1 layouts for 1 operands}}
plan.kernel @kernel_c1 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %y : tensor<?x64xf32>
}

// -----

// Two ops would be two kernels.
// expected-error @below {{expects one op, a return}}
plan.kernel @kernel_c1_two_ops layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  %z = ferrite.softmax %y : tensor<?x64xf32>
  plan.return %z : tensor<?x64xf32>
}

// -----

// expected-error @below {{expects one op, a return}}
plan.kernel @kernel_c1_no_op layouts = [#plan.layout<f32 [64] strides [1]>] {
^bb0(%x: tensor<64xf32>):
  plan.return %x : tensor<64xf32>
}

// -----

// What it returns is not what it computes.
// expected-error @below {{expects one op, a return of its results}}
plan.kernel @kernel_c1_returns_its_operand layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %x : tensor<?x64xf32>
}

// -----

plan.entry @launch_c1 symbols = [] {
  %a = plan.buffer "64"
  // expected-error @below {{expects an offset for each of 2 memory operands, but got ["0"]}}
  plan.launch @k(%a, %a) offsets = ["0"] values = []
}

// -----

plan.entry @launch_c1_parse symbols = [] {
  %a = plan.buffer "64"
  // expected-error @below {{expects an offset for each of 1 memory operands, but got ["batch +"]}}
  plan.launch @k(%a) offsets = ["batch +"] values = []
}

// -----

// A launch outside an entry would never run.
%a = "test.source"() : () -> !plan.ref
// expected-error @below {{expects parent op 'plan.entry'}}
plan.launch @k(%a) offsets = ["0"] values = []

// -----

// expected-error @below {{expects as many strides as sizes}}
plan.kernel @layout_of_two_ranks layouts = [#plan.layout<f32 [?, 64] strides [64]>] {
}

// -----

// Values of a page of keys: its tokens are in the other dim.
plan.entry @state_c1 symbols = [] {
  // expected-error @below {{expects pages of 64 tokens, but got 'tensor<?x2x64x16xf32>'}}
  %0 = plan.state "k" <keys, layer = 0, window = -1> : tensor<?x2x64x16xf32>
}

// -----

// How many blocks there are says how long it is.
// expected-error @below {{expects counted blocks and sources where it is sparse, and there alone}}
plan.weight @weight_c3 sparse "w" blocks = <columns = 32, depth = 1> [#ferrite.source<"m.bin", offset = 0, shape = [64, 64], type = f32>] offset = 0 bytes = 512 : tensor<64x64xf32>
