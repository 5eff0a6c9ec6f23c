// RUN: ferrite-opt %s --verify-plan --split-input-file --verify-diagnostics

// Both live at the one launch, and the second begins inside the first.
// expected-remark @below {{after phase plan}}
module {
  plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
  ^bb0(%x: tensor<?x64xf32>):
    %y = ferrite.softmax %x : tensor<?x64xf32>
    plan.return %y : tensor<?x64xf32>
  }
  plan.entry @main symbols = [] arena = "n*512" {
    %a = plan.buffer "n*256" at "0"
    // expected-error @below {{overlaps a buffer that lives at the same launch}}
    %b = plan.buffer "n*256" at "n*128"
    plan.launch @softmax(%a, %b) offsets = ["0", "0"] values = ["n", "n"]
  }
}

// -----

// The first token would be read after it is written: nothing says that this kernel may.
// expected-remark @below {{after phase plan}}
module {
  plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
  ^bb0(%x: tensor<?x64xf32>):
    %y = ferrite.softmax %x : tensor<?x64xf32>
    plan.return %y : tensor<?x64xf32>
  }
  plan.entry @main symbols = [] arena = "n*256" {
    %a = plan.buffer "n*256" at "0"
    // expected-error @below {{writes over operand 0, which the kernel's layouts do not allow}}
    plan.launch @softmax(%a, %a) offsets = ["0", "0"] values = ["n", "n"]
  }
}

// -----

// expected-remark @below {{after phase plan}}
module {
  plan.kernel @softmax layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f32 [?, 64] strides [64, 1]>] {
  ^bb0(%x: tensor<?x64xf32>):
    %y = ferrite.softmax %x : tensor<?x64xf32>
    plan.return %y : tensor<?x64xf32>
  }
  plan.entry @main symbols = [] arena = "n*512 + 64" {
    %a = plan.buffer "n*256" at "0"
    %b = plan.buffer "n*256" at "n*256 + 2"
    // expected-error @below {{operand 1 lies at byte 770, but its elements have 4 bytes}}
    plan.launch @softmax(%a, %b) offsets = ["0", "0"] values = ["n", "n"]
  }
}

// -----

// A buffer past the end would be another session's memory.
// expected-remark @below {{after phase plan}}
module {
  plan.entry @main symbols = [] arena = "64" {
    // expected-error @below {{lies at 64 of an arena of 64 bytes}}
    %a = plan.buffer "64" at "64"
  }
}

// -----

// expected-remark @below {{after phase plan}}
module {
  plan.entry @main symbols = [] arena = "64" {
    // expected-error @below {{has no place in the arena}}
    %a = plan.buffer "64"
  }
}

// -----

// expected-remark @below {{after phase plan}}
module {
  plan.weight @a rows "a" value = dense<1.0> : tensor<64xf32> offset = 0 bytes = 256 : tensor<64xf32>
  // expected-error @below {{weight 'b' lies at 64, but those before it end at 256}}
  plan.weight @b rows "b" value = dense<2.0> : tensor<64xf32> offset = 64 bytes = 256 : tensor<64xf32>
}
