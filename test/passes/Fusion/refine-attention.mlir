// RUN: ferrite-opt %s --ferrite-fuse-attention --mlir-print-local-scope --remarks-filter=ferrite-fuse-attention --remark-format=emitRemark 2>%t | FileCheck %s
// RUN: FileCheck %s --check-prefix=SAID < %t

// Attention that was imported as one op: counted as fused, and given what the
// matcher gives those that it finds.

// Keys and values repeated for all heads, as torch exports opset 23, and the
// causal mask written out. Read as they were given, each key would be read
// twice, and a mask of all scores would be stored.
//        SAID: attention: 4 heads over 2, scale 0.5, mask causal with offset past + padding with fill -inf, imported as one op
// CHECK-LABEL: func.func @repeated_and_causal
//  CHECK-SAME:   %[[K:[^:]+]]: tensor<?x2x?x16xf32>
//  CHECK-SAME:   %[[V:[^:]+]]: tensor<?x2x?x16xf32>
//  CHECK-SAME:   %[[P:[^:]+]]: tensor<?x?xi1>
//   CHECK-DAG:   %[[KT:.+]] = ferrite.transpose %[[K]] perm = [0, 2, 1, 3] : tensor<?x2x?x16xf32> -> tensor<?x?x2x16xf32>
//   CHECK-DAG:   %[[VT:.+]] = ferrite.transpose %[[V]] perm = [0, 2, 1, 3] : tensor<?x2x?x16xf32> -> tensor<?x?x2x16xf32>
//       CHECK:   ferrite.attention %{{.+}}, %[[KT]], %[[VT]] mask(%[[P]] : tensor<?x?xi1>) scale = 5.000000e-01 right = 0 offset = "past" :
func.func @repeated_and_causal(%q: tensor<?x?x4x16xf32> {ferrite.dims = ["b", "s", "4", "16"]}, %k: tensor<?x2x?x16xf32> {ferrite.dims = ["b", "2", "past + s", "16"]}, %v: tensor<?x2x?x16xf32> {ferrite.dims = ["b", "2", "past + s", "16"]}, %pad: tensor<?x?xi1> {ferrite.dims = ["b", "past + s"]}) -> tensor<?x?x4x16xf32> {
  %k5 = ferrite.view %k dims = ["b", "2", "1", "past + s", "16"] : tensor<?x2x?x16xf32> -> tensor<?x2x1x?x16xf32>
  %ke = ferrite.broadcast %k5 dims = ["b", "2", "2", "past + s", "16"] : tensor<?x2x1x?x16xf32> -> tensor<?x2x2x?x16xf32>
  %k4 = ferrite.view %ke dims = ["b", "4", "past + s", "16"] : tensor<?x2x2x?x16xf32> -> tensor<?x4x?x16xf32>
  %kt = ferrite.transpose %k4 perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32>
  %v5 = ferrite.view %v dims = ["b", "2", "1", "past + s", "16"] : tensor<?x2x?x16xf32> -> tensor<?x2x1x?x16xf32>
  %ve = ferrite.concat %v5, %v5 axis = 2 : (tensor<?x2x1x?x16xf32>, tensor<?x2x1x?x16xf32>) -> tensor<?x2x2x?x16xf32>
  %v4 = ferrite.view %ve dims = ["b", "4", "past + s", "16"] : tensor<?x2x2x?x16xf32> -> tensor<?x4x?x16xf32>
  %vt = ferrite.transpose %v4 perm = [0, 2, 1, 3] : tensor<?x4x?x16xf32> -> tensor<?x?x4x16xf32>
  %i = ferrite.iota dims = ["s"] : tensor<?xi64>
  %n = ferrite.dim_values ["past"] : tensor<i64>
  %at = ferrite.add %i, %n : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %q4 = ferrite.view %at dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %j = ferrite.iota dims = ["past + s"] : tensor<?xi64>
  %c = ferrite.compare le %j, %q4 : (tensor<?xi64>, tensor<1x1x?x1xi64>) -> tensor<1x1x?x?xi1>
  %p4 = ferrite.view %pad dims = ["b", "1", "1", "past + s"] : tensor<?x?xi1> -> tensor<?x1x1x?xi1>
  %m = ferrite.and %c, %p4 : (tensor<1x1x?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %o = ferrite.attention %q, %kt, %vt mask(%m : tensor<?x1x?x?xi1>) scale = 0.5 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return %o : tensor<?x?x4x16xf32>
}

// Repeated by a gather of constant indices.
//        SAID: attention: 6 heads over 2, scale 1, mask none, imported as one op
// CHECK-LABEL: func.func @gathered_heads
//  CHECK-SAME:   %[[Q:[^:]+]]: tensor<?x?x6x16xf32>{{.*}}, %[[K:[^:]+]]: tensor<?x?x2x16xf32>
//       CHECK:   ferrite.attention %[[Q]], %[[K]], %[[K]] scale = 1.000000e+00 :
func.func @gathered_heads(%q: tensor<?x?x6x16xf32> {ferrite.dims = ["b", "s", "6", "16"]}, %k: tensor<?x?x2x16xf32> {ferrite.dims = ["b", "s", "2", "16"]}) -> tensor<?x?x6x16xf32> {
  %heads = arith.constant dense<[0, 0, 0, 1, 1, 1]> : tensor<6xi64>
  %g = ferrite.gather %k, %heads axis = 2 : (tensor<?x?x2x16xf32>, tensor<6xi64>) -> tensor<?x?x6x16xf32>
  %o = ferrite.attention %q, %g, %g scale = 1.0 : (tensor<?x?x6x16xf32>, tensor<?x?x6x16xf32>, tensor<?x?x6x16xf32>) -> tensor<?x?x6x16xf32>
  return %o : tensor<?x?x6x16xf32>
}

// In turns, and not each twice: other heads would meet.
//        SAID: attention: 4 heads, scale 1, mask none, imported as one op
// CHECK-LABEL: func.func @heads_in_turn
//       CHECK:   %[[G:.+]] = ferrite.gather
//       CHECK:   ferrite.attention %{{.+}}, %[[G]], %[[G]]
func.func @heads_in_turn(%q: tensor<?x?x4x16xf32> {ferrite.dims = ["b", "s", "4", "16"]}, %k: tensor<?x?x2x16xf32> {ferrite.dims = ["b", "s", "2", "16"]}) -> tensor<?x?x4x16xf32> {
  %heads = arith.constant dense<[0, 1, 0, 1]> : tensor<4xi64>
  %g = ferrite.gather %k, %heads axis = 2 : (tensor<?x?x2x16xf32>, tensor<4xi64>) -> tensor<?x?x4x16xf32>
  %o = ferrite.attention %q, %g, %g scale = 1.0 : (tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>, tensor<?x?x4x16xf32>) -> tensor<?x?x4x16xf32>
  return %o : tensor<?x?x4x16xf32>
}

// A mask that is true wherever one looks is none.
//        SAID: attention: 2 heads, scale 1, mask none, imported as one op
// CHECK-LABEL: func.func @always_true
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} scale = 1.000000e+00 :
func.func @always_true(%q: tensor<?x?x2x16xf32> {ferrite.dims = ["b", "s", "2", "16"]}) -> tensor<?x?x2x16xf32> {
  %zero = arith.constant dense<0> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %j4 = ferrite.view %j dims = ["1", "1", "1", "s"] : tensor<?xi64> -> tensor<1x1x1x?xi64>
  %m = ferrite.compare ge %j4, %zero : (tensor<1x1x1x?xi64>, tensor<i64>) -> tensor<1x1x1x?xi1>
  %o = ferrite.attention %q, %q, %q mask(%m : tensor<1x1x1x?xi1>) scale = 1.0 : (tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>) -> tensor<?x?x2x16xf32>
  return %o : tensor<?x?x2x16xf32>
}

// The window of the op and that of its mask are one; what begins where data says
// stays as it is, with the reason.
//        SAID: attention: 2 heads, scale 1, mask causal window of 3 before, imported as one op
//        SAID: attention: 2 heads, scale 1, mask window + mask as given (its window begins where data says) with fill -inf, imported as one op
// CHECK-LABEL: func.func @windows_meet
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} scale = 1.000000e+00 left = 3 right = 0 :
//       CHECK:   ferrite.attention %{{.+}}, %{{.+}}, %{{.+}} mask(%{{.+}} : tensor<1x1x?x?xi1>) offsets(%{{.+}} : tensor<?xi64>) scale = 1.000000e+00 right = 0 :
func.func @windows_meet(%q: tensor<?x?x2x16xf32> {ferrite.dims = ["b", "s", "2", "16"]}, %at: tensor<?xi64> {ferrite.dims = ["b"]}) -> (tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>) {
  %three = arith.constant dense<3> : tensor<i64>
  %j = ferrite.iota dims = ["s"] : tensor<?xi64>
  %i = ferrite.view %j dims = ["1", "1", "s", "1"] : tensor<?xi64> -> tensor<1x1x?x1xi64>
  %d = ferrite.sub %i, %j : (tensor<1x1x?x1xi64>, tensor<?xi64>) -> tensor<1x1x?x?xi64>
  %a = ferrite.abs %d : (tensor<1x1x?x?xi64>) -> tensor<1x1x?x?xi64>
  %m = ferrite.compare le %a, %three : (tensor<1x1x?x?xi64>, tensor<i64>) -> tensor<1x1x?x?xi1>
  %o = ferrite.attention %q, %q, %q mask(%m : tensor<1x1x?x?xi1>) scale = 1.0 right = 0 : (tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>) -> tensor<?x?x2x16xf32>
  %p = ferrite.attention %q, %q, %q mask(%m : tensor<1x1x?x?xi1>) offsets(%at : tensor<?xi64>) scale = 1.0 right = 0 : (tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>) -> tensor<?x?x2x16xf32>
  return %o, %p : tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>
}
