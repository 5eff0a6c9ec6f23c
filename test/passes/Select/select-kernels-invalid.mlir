// RUN: ferrite-opt %s --ferrite-select-kernels --split-input-file --verify-diagnostics

// An op that has no kernel is an error that names it, never a crash in codegen.
func.func @unfused(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "8"]}) -> (tensor<?x8xf32> {ferrite.name = "y"}) {
  // expected-error @below {{no kernel computes ferrite.exp}}
  %y = ferrite.exp %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func @foreign(%x: tensor<8xf32> {ferrite.name = "x"}) -> (tensor<8xf32> {ferrite.name = "y"}) {
  // expected-error @below {{no kernel computes arith.addf}}
  %y = arith.addf %x, %x : tensor<8xf32>
  return %y : tensor<8xf32>
}

// -----

// Panels are packed when the model is compiled: there is nothing to pack yet.
func.func @computed_weight(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "8"]}, %w: tensor<8x8xf32> {ferrite.name = "w"}) -> (tensor<?x8xf32> {ferrite.name = "y"}) {
  // expected-error @below {{linear takes a weight of the model, but got 'tensor<8x8xf32>' that is computed}}
  %y = ferrite.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%acc: f32):
    ferrite.yield %acc : f32
  }
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @below {{argument 0 is no named tensor}}
func.func @unnamed_input(%x: tensor<8xf32>) -> (tensor<8xf32> {ferrite.name = "y"}) {
  return %x : tensor<8xf32>
}

// -----

// expected-error @below {{result 0 has no name}}
func.func @unnamed_output(%x: tensor<8xf32> {ferrite.name = "x"}) -> tensor<8xf32> {
  return %x : tensor<8xf32>
}

// -----

// expected-error @below {{dims of argument 'x' do not give 'tensor<?x8xf32>'}}
func.func @dims_of_another_type(%x: tensor<?x8xf32> {ferrite.name = "x", ferrite.dims = ["n", "9"]}) -> (tensor<?x8xf32> {ferrite.name = "y"}) {
  return %x : tensor<?x8xf32>
}

// -----

// Without names for its sizes the entry could not tell what must agree.
// expected-error @below {{dims of argument 'x' do not give 'tensor<?xf32>'}}
func.func @no_dims(%x: tensor<?xf32> {ferrite.name = "x"}) -> (tensor<?xf32> {ferrite.name = "y"}) {
  return %x : tensor<?xf32>
}
