// RUN: ferrite-opt %s --ferrite-fuse-embedding --verify-diagnostics --remarks-filter=ferrite-fuse-embedding --remark-format=emitRemark | FileCheck %s

// CHECK-LABEL: func.func @summand_is_an_input
//       CHECK:   ferrite.gather
func.func @summand_is_an_input(%ids: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %x: tensor<?x?x64xf32> {ferrite.dims = ["b", "s", "64"]}, %g: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %a = ferrite.gather %w, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %c = ferrite.add %a, %x : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  // expected-remark @below {{Reason="a summand is no row of a table (an input of the model)"}}
  %y = ferrite.norm layer %c, %g bias(%g : tensor<64xf32>) epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>
  return %y : tensor<?x?x64xf32>
}

// Rows alone are a gather, whatever reads them.
// CHECK-LABEL: func.func @rms_norm
//       CHECK:   ferrite.gather
func.func @rms_norm(%ids: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %g: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %a = ferrite.gather %w, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %y = ferrite.norm rms %a, %g epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>
  return %y : tensor<?x?x64xf32>
}

// The rows of a decoder are its first residual as well: no sum of a later block
// is one of rows.
// CHECK-LABEL: func.func @residual_of_rows
//   CHECK-NOT:   ferrite.embedding
//       CHECK:   return
func.func @residual_of_rows(%ids: tensor<?x?xi64> {ferrite.dims = ["b", "s"]}, %g: tensor<64xf32>) -> tensor<?x?x64xf32> {
  %w = ferrite.weight "w" [#ferrite.source<"m", offset = 0, shape = [99, 64], type = f32>] : tensor<99x64xf32>
  %a = ferrite.gather %w, %ids axis = 0 : (tensor<99x64xf32>, tensor<?x?xi64>) -> tensor<?x?x64xf32>
  %y = ferrite.norm rms %a, %g epsilon = 1.0e-12 : tensor<?x?x64xf32>, tensor<64xf32>
  %s = ferrite.add %a, %y : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  return %s : tensor<?x?x64xf32>
}
