// RUN: ferrite-opt %s --ferrite-plan-memory --split-input-file --verify-diagnostics --remarks-filter=ferrite-plan-memory --remark-format=emitRemark -o /dev/null

// Naive is 3 buffers of 64 bytes, planned 2, and at no launch live more than 2; at a
// batch of 1 and 128 of what is no batch.
// expected-remark @below {{lower-bound=16384, naive=24576, planned=16384}}
plan.entry @typical symbols = [] {
  %x = plan.input "x" dims = ["batch", "sequence", "16"] : tensor<?x?x16xf32>
  %y = plan.output "y" dims = ["batch", "sequence", "16"] : tensor<?x?x16xf32>
  %0 = plan.buffer "batch*sequence*64"
  %1 = plan.buffer "batch*sequence*64"
  %2 = plan.buffer "batch*sequence*64"
  plan.launch @k(%x, %0) offsets = ["0", "0"] values = []
  plan.launch @k(%0, %1) offsets = ["0", "0"] values = []
  plan.launch @k(%1, %2) offsets = ["0", "0"] values = []
  plan.launch @k(%2, %y) offsets = ["0", "0"] values = []
}

// -----

// A sequence that may not be 128 is measured at the nearest size that it may be.
// expected-remark @below {{lower-bound=2048, naive=2048, planned=2048}}
plan.entry @bounded symbols = [#ferrite.symbol<"sequence", min = 1, max = 32>] {
  %x = plan.input "x" dims = ["sequence", "16"] : tensor<?x16xf32>
  %y = plan.output "y" dims = ["sequence", "16"] : tensor<?x16xf32>
  %0 = plan.buffer "sequence*64"
  plan.launch @k(%x, %0) offsets = ["0", "0"] values = []
  plan.launch @k(%0, %y) offsets = ["0", "0"] values = []
}
