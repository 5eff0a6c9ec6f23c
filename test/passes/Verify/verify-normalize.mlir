// RUN: ferrite-opt %s --verify-normalize --split-input-file --verify-diagnostics

func.func @normal(%x: tensor<?x8xf32> {ferrite.dims = ["b", "8"]}) -> tensor<?x2x4xf32> {
  %y = ferrite.view %x dims = ["b", "2", "4"] : tensor<?x8xf32> -> tensor<?x2x4xf32>
  return %y : tensor<?x2x4xf32>
}

// -----

func.func @view_of_view(%x: tensor<?x8xf32> {ferrite.dims = ["b", "8"]}) -> tensor<?x2x4xf32> {
  %v = ferrite.view %x dims = ["b*8"] : tensor<?x8xf32> -> tensor<?xf32>
  // expected-error @below {{the graph has a view of a view}}
  // expected-note @below {{after phase normalize; --ferrite-normalize left it}}
  %y = ferrite.view %v dims = ["b", "2", "4"] : tensor<?xf32> -> tensor<?x2x4xf32>
  return %y : tensor<?x2x4xf32>
}

// -----

func.func @transpose_of_transpose(%x: tensor<2x3x4xf32>) -> tensor<3x2x4xf32> {
  %a = ferrite.transpose %x perm = [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  // expected-error @below {{the graph has a transpose of a transpose}}
  // expected-note @below {{after phase normalize; --ferrite-normalize left it}}
  %b = ferrite.transpose %a perm = [0, 2, 1] : tensor<3x4x2xf32> -> tensor<3x2x4xf32>
  return %b : tensor<3x2x4xf32>
}

// -----

// The types alone do not show that nothing changes; the dims do.
func.func @identity(%x: tensor<?x?xf32> {ferrite.dims = ["b", "s"]}) -> tensor<?x?xf32> {
  // expected-error @below {{the graph has an op that changes nothing}}
  // expected-note @below {{after phase normalize; --ferrite-normalize left it}}
  %a = ferrite.view %x dims = ["b", "s"] : tensor<?x?xf32> -> tensor<?x?xf32>
  return %a : tensor<?x?xf32>
}

// -----

func.func @unknown_size(%x: tensor<?xf32> {ferrite.dims = ["b"]}, %y: tensor<?xf32> {ferrite.dims = ["s"]}) -> tensor<?xf32> {
  // expected-error @below {{dims of the operands neither agree nor broadcast}}
  %a = ferrite.add %x, %y : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  return %a : tensor<?xf32>
}
