// RUN: ferrite-opt %s --verify-select --split-input-file --verify-diagnostics

// A launch with one operand too few would read whatever follows its arguments.
plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %y : tensor<?x64xf32>
}
plan.entry @main symbols = [] {
  %x = plan.input "x" dims = ["n", "64"] : tensor<?x64xf32>
  // expected-error @below {{gives 1 operands to 'softmax', which takes 2}}
  plan.launch @softmax(%x) offsets = ["0"] values = ["n", "n"]
}

// -----

// The sizes that a kernel does not know must all be given.
plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %y : tensor<?x64xf32>
}
plan.entry @main symbols = [] {
  %x = plan.input "x" dims = ["n", "64"] : tensor<?x64xf32>
  // expected-error @below {{gives 1 values to 'softmax', which takes 2}}
  plan.launch @softmax(%x, %x) offsets = ["0", "0"] values = ["n"]
}

// -----

// A symbol that no input binds has no value at run time.
plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
^bb0(%x: tensor<?x64xf32>):
  %y = ferrite.softmax %x : tensor<?x64xf32>
  plan.return %y : tensor<?x64xf32>
}
plan.entry @main symbols = [] {
  %x = plan.input "x" dims = ["n", "64"] : tensor<?x64xf32>
  // expected-error @below {{computes with 'm', which no input has}}
  plan.launch @softmax(%x, %x) offsets = ["0", "0"] values = ["n", "m"]
}

// -----

plan.entry @main symbols = [] {
  // expected-error @below {{uses 'w', which is no weight}}
  // expected-note @below {{after phase select}}
  %w = plan.use @w
  // expected-error @below {{launches 'k', which is no kernel}}
  plan.launch @k(%w) offsets = ["0"] values = []
}

// -----

// expected-error @below {{function 'main' was not planned}}
// expected-note @below {{after phase select}}
func.func private @main()
