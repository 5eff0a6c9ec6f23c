// RUN: ferrite-opt %s --ferrite-print-dims --split-input-file --verify-diagnostics

// Every `?` must become an expression of the entry's symbols: the plan sizes
// buffers with it.
func.func @dims_follow_from_the_entry(%x: tensor<?x?x64xf32> {ferrite.dims = ["batch", "sequence", "64"]}, %m: tensor<?x1xf32> {ferrite.dims = ["batch", "1"]}) {
  // expected-remark @below {{[batch, sequence, 4, 16]}}
  %v = ferrite.view %x dims = ["batch", "sequence", "4", "16"] : tensor<?x?x64xf32> -> tensor<?x?x4x16xf32>
  // expected-remark @below {{[batch, 4, sequence, 16]}}
  %q = ferrite.transpose %v perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  // expected-remark @below {{[batch, 4, 16, sequence]}}
  %k = ferrite.transpose %v perm = [0, 2, 3, 1] : tensor<?x?x4x16xf32> -> tensor<?x4x16x?xf32>
  // expected-remark @below {{[batch, 4, sequence, sequence]}}
  %s = ferrite.matmul %q, %k : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  // expected-remark @below {{[batch, 4, sequence]}}
  %r = ferrite.reduce max %s axes = [3] : tensor<?x4x?x?xf32> -> tensor<?x4x?xf32>
  // expected-remark @below {{[batch*sequence, 64]}}
  %f = ferrite.view %x dims = ["batch*sequence", "64"] : tensor<?x?x64xf32> -> tensor<?x64xf32>
  // expected-remark @below {{[sequence]}}
  %i = ferrite.iota dims = ["sequence"] : tensor<?xi64>
  // expected-remark @below {{[batch, sequence*2, 64]}}
  %c = ferrite.concat %x, %x axis = 1 : (tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<?x?x64xf32>
  // expected-remark @below {{[batch, 7]}}
  %b = ferrite.broadcast %m dims = ["batch", "7"] : tensor<?x1xf32> -> tensor<?x7xf32>
  // expected-remark @below {{[batch, 7]}}
  %a = ferrite.add %b, %m : (tensor<?x7xf32>, tensor<?x1xf32>) -> tensor<?x7xf32>
  return
}

// -----

// Two unnamed sizes are not known to be equal.
func.func @unknown_sizes_do_not_agree(%x: tensor<?xf32>, %y: tensor<?xf32>) {
  // expected-error @below {{dims of the operands neither agree nor broadcast}}
  %a = ferrite.add %x, %y : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  return
}

// -----

// expected-error @below {{argument 0 of 'tensor<?xf32>' cannot have the dims ["batch", "4"]}}
func.func @dims_of_another_rank(%x: tensor<?xf32> {ferrite.dims = ["batch", "4"]}) {
  return
}
