// RUN: ferrite-opt %s --ferrite-fuse-rope --canonicalize --mlir-print-local-scope | FileCheck %s

// Llama: halves, and angles of a table that is joined with itself. The op reads
// the projection as it lies, and half of the table.
// CHECK-LABEL: func.func @halves
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<?x?x4x16xf32>{{.*}}, %[[A:[^:]+]]: tensor<?x?x8xf32>
//   CHECK-DAG:   %[[COS:.+]] = ferrite.cos %[[A]]
//   CHECK-DAG:   %[[SIN:.+]] = ferrite.sin %[[A]]
//       CHECK:   %[[Y:.+]] = ferrite.rope %[[X]], %[[COS]], %[[SIN]] :
//       CHECK:   %[[T:.+]] = ferrite.transpose %[[Y]] perm = [0, 2, 1, 3]
//       CHECK:   return %[[T]]
func.func @halves(%x: tensor<?x?x4x16xf32> {ferrite.dims = ["b", "s", "4", "16"]}, %a: tensor<?x?x8xf32> {ferrite.dims = ["b", "s", "8"]}) -> tensor<?x4x?x16xf32> {
  %e = ferrite.concat %a, %a axis = 2 : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x16xf32>
  %e4 = ferrite.view %e dims = ["b", "1", "s", "16"] : tensor<?x?x16xf32> -> tensor<?x1x?x16xf32>
  %c = ferrite.cos %e4 : (tensor<?x1x?x16xf32>) -> tensor<?x1x?x16xf32>
  %s = ferrite.sin %e4 : (tensor<?x1x?x16xf32>) -> tensor<?x1x?x16xf32>
  %t = ferrite.transpose %x perm = [0, 2, 1, 3] : tensor<?x?x4x16xf32> -> tensor<?x4x?x16xf32>
  %l = ferrite.slice %t offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["b", "4", "s", "8"] : tensor<?x4x?x16xf32> -> tensor<?x4x?x8xf32>
  %h = ferrite.slice %t offsets = ["0", "0", "0", "8"] steps = [1, 1, 1, 1] dims = ["b", "4", "s", "8"] : tensor<?x4x?x16xf32> -> tensor<?x4x?x8xf32>
  %n = ferrite.neg %h : (tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %r = ferrite.concat %n, %l axis = 3 : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x16xf32>
  %p = ferrite.mul %t, %c : (tensor<?x4x?x16xf32>, tensor<?x1x?x16xf32>) -> tensor<?x4x?x16xf32>
  %q = ferrite.mul %r, %s : (tensor<?x4x?x16xf32>, tensor<?x1x?x16xf32>) -> tensor<?x4x?x16xf32>
  %y = ferrite.add %p, %q : (tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %y : tensor<?x4x?x16xf32>
}

// gpt-oss: no negation at all, the halves joined at the end.
// CHECK-LABEL: func.func @split
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} : tensor<2x5x4x8xf32>, tensor<1x5x4xf32>, tensor<1x5x4xf32>
func.func @split(%x: tensor<2x5x4x8xf32>, %c: tensor<1x5x1x4xf32>, %s: tensor<1x5x1x4xf32>) -> tensor<2x5x4x8xf32> {
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "4"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %lc = ferrite.mul %l, %c : (tensor<2x5x4x4xf32>, tensor<1x5x1x4xf32>) -> tensor<2x5x4x4xf32>
  %hs = ferrite.mul %h, %s : (tensor<2x5x4x4xf32>, tensor<1x5x1x4xf32>) -> tensor<2x5x4x4xf32>
  %hc = ferrite.mul %h, %c : (tensor<2x5x4x4xf32>, tensor<1x5x1x4xf32>) -> tensor<2x5x4x4xf32>
  %ls = ferrite.mul %l, %s : (tensor<2x5x4x4xf32>, tensor<1x5x1x4xf32>) -> tensor<2x5x4x4xf32>
  %a = ferrite.sub %lc, %hs : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %b = ferrite.add %hc, %ls : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %y = ferrite.concat %a, %b axis = 3 : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x8xf32>
  return %y : tensor<2x5x4x8xf32>
}

// GPT-NeoX: the first half of each head is turned, the rest joined to it.
// CHECK-LABEL: func.func @part
//  CHECK-SAME:   %[[X:[^:]+]]: tensor<2x5x4x16xf32>
//       CHECK:   %[[Y:.+]] = ferrite.rope %[[X]], %{{.+}}, %{{.+}} : tensor<2x5x4x16xf32>, tensor<1x5x4xf32>, tensor<1x5x4xf32>
//       CHECK:   return %[[Y]]
func.func @part(%w: tensor<2x5x4x16xf32>, %a: tensor<1x5x1x4xf32>) -> tensor<2x5x4x16xf32> {
  %e = ferrite.concat %a, %a axis = 3 : (tensor<1x5x1x4xf32>, tensor<1x5x1x4xf32>) -> tensor<1x5x1x8xf32>
  %c = ferrite.cos %e : (tensor<1x5x1x8xf32>) -> tensor<1x5x1x8xf32>
  %s = ferrite.sin %e : (tensor<1x5x1x8xf32>) -> tensor<1x5x1x8xf32>
  %x = ferrite.slice %w offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "8"] : tensor<2x5x4x16xf32> -> tensor<2x5x4x8xf32>
  %rest = ferrite.slice %w offsets = ["0", "0", "0", "8"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "8"] : tensor<2x5x4x16xf32> -> tensor<2x5x4x8xf32>
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "4"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %n = ferrite.neg %h : (tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %r = ferrite.concat %n, %l axis = 3 : (tensor<2x5x4x4xf32>, tensor<2x5x4x4xf32>) -> tensor<2x5x4x8xf32>
  %p = ferrite.mul %x, %c : (tensor<2x5x4x8xf32>, tensor<1x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  %q = ferrite.mul %r, %s : (tensor<2x5x4x8xf32>, tensor<1x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  %t = ferrite.add %p, %q : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  %y = ferrite.concat %t, %rest axis = 3 : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x16xf32>
  return %y : tensor<2x5x4x16xf32>
}

// GPT-J: adjacent elements, stacked and flattened again; angles repeated.
// CHECK-LABEL: func.func @interleaved
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} interleaved : tensor<2x5x4x8xf32>, tensor<1x5x4xf32>, tensor<1x5x4xf32>
func.func @interleaved(%x: tensor<2x5x4x8xf32>, %a: tensor<5x4xf32>, %b: tensor<5x4xf32>) -> tensor<2x5x4x8xf32> {
  %a3 = ferrite.view %a dims = ["1", "5", "1", "4", "1"] : tensor<5x4xf32> -> tensor<1x5x1x4x1xf32>
  %ae = ferrite.broadcast %a3 dims = ["1", "5", "1", "4", "2"] : tensor<1x5x1x4x1xf32> -> tensor<1x5x1x4x2xf32>
  %c = ferrite.view %ae dims = ["1", "5", "1", "8"] : tensor<1x5x1x4x2xf32> -> tensor<1x5x1x8xf32>
  %b3 = ferrite.view %b dims = ["1", "5", "1", "4", "1"] : tensor<5x4xf32> -> tensor<1x5x1x4x1xf32>
  %be = ferrite.broadcast %b3 dims = ["1", "5", "1", "4", "2"] : tensor<1x5x1x4x1xf32> -> tensor<1x5x1x4x2xf32>
  %s = ferrite.view %be dims = ["1", "5", "1", "8"] : tensor<1x5x1x4x2xf32> -> tensor<1x5x1x8xf32>
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 2] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "1"] steps = [1, 1, 1, 2] dims = ["2", "5", "4", "4"] : tensor<2x5x4x8xf32> -> tensor<2x5x4x4xf32>
  %n = ferrite.neg %h : (tensor<2x5x4x4xf32>) -> tensor<2x5x4x4xf32>
  %n5 = ferrite.view %n dims = ["2", "5", "4", "4", "1"] : tensor<2x5x4x4xf32> -> tensor<2x5x4x4x1xf32>
  %l5 = ferrite.view %l dims = ["2", "5", "4", "4", "1"] : tensor<2x5x4x4xf32> -> tensor<2x5x4x4x1xf32>
  %r5 = ferrite.concat %n5, %l5 axis = 4 : (tensor<2x5x4x4x1xf32>, tensor<2x5x4x4x1xf32>) -> tensor<2x5x4x4x2xf32>
  %r = ferrite.view %r5 dims = ["2", "5", "4", "8"] : tensor<2x5x4x4x2xf32> -> tensor<2x5x4x8xf32>
  %p = ferrite.mul %x, %c : (tensor<2x5x4x8xf32>, tensor<1x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  %q = ferrite.mul %r, %s : (tensor<2x5x4x8xf32>, tensor<1x5x1x8xf32>) -> tensor<2x5x4x8xf32>
  %y = ferrite.add %p, %q : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  return %y : tensor<2x5x4x8xf32>
}

// Qwen2-VL: three rows of angles, for time, height and width, of which each
// section of a head takes one, in both halves the same. The table that they are
// joined to is read for half of its width.
// CHECK-LABEL: func.func @sections
//       CHECK:   %[[C:.+]] = ferrite.concat
//       CHECK:   %[[S:.+]] = ferrite.concat
//       CHECK:   ferrite.rope %{{.+}}, %{{.+}}, %{{.+}} : tensor<2x5x4x16xf32>, tensor<2x5x8xf32>, tensor<2x5x8xf32>
//   CHECK-NOT:   ferrite.neg
//       CHECK:   return
func.func @sections(%x: tensor<2x5x4x16xf32>, %a: tensor<3x2x5x8xf32>) -> tensor<2x5x4x16xf32> {
  %e = ferrite.concat %a, %a axis = 3 : (tensor<3x2x5x8xf32>, tensor<3x2x5x8xf32>) -> tensor<3x2x5x16xf32>
  %c = ferrite.cos %e : (tensor<3x2x5x16xf32>) -> tensor<3x2x5x16xf32>
  %s = ferrite.sin %e : (tensor<3x2x5x16xf32>) -> tensor<3x2x5x16xf32>
  %c0 = ferrite.slice %c offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "2"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x2xf32>
  %c1 = ferrite.slice %c offsets = ["1", "0", "0", "2"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %c2 = ferrite.slice %c offsets = ["2", "0", "0", "5"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %c3 = ferrite.slice %c offsets = ["0", "0", "0", "8"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "2"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x2xf32>
  %c4 = ferrite.slice %c offsets = ["1", "0", "0", "10"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %c5 = ferrite.slice %c offsets = ["2", "0", "0", "13"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %ct = ferrite.concat %c0, %c1, %c2, %c3, %c4, %c5 axis = 3 : (tensor<1x2x5x2xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x2xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x3xf32>) -> tensor<1x2x5x16xf32>
  %s0 = ferrite.slice %s offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "2"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x2xf32>
  %s1 = ferrite.slice %s offsets = ["1", "0", "0", "2"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %s2 = ferrite.slice %s offsets = ["2", "0", "0", "5"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %s3 = ferrite.slice %s offsets = ["0", "0", "0", "8"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "2"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x2xf32>
  %s4 = ferrite.slice %s offsets = ["1", "0", "0", "10"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %s5 = ferrite.slice %s offsets = ["2", "0", "0", "13"] steps = [1, 1, 1, 1] dims = ["1", "2", "5", "3"] : tensor<3x2x5x16xf32> -> tensor<1x2x5x3xf32>
  %st = ferrite.concat %s0, %s1, %s2, %s3, %s4, %s5 axis = 3 : (tensor<1x2x5x2xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x2xf32>, tensor<1x2x5x3xf32>, tensor<1x2x5x3xf32>) -> tensor<1x2x5x16xf32>
  %c4d = ferrite.view %ct dims = ["2", "5", "1", "16"] : tensor<1x2x5x16xf32> -> tensor<2x5x1x16xf32>
  %s4d = ferrite.view %st dims = ["2", "5", "1", "16"] : tensor<1x2x5x16xf32> -> tensor<2x5x1x16xf32>
  %l = ferrite.slice %x offsets = ["0", "0", "0", "0"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "8"] : tensor<2x5x4x16xf32> -> tensor<2x5x4x8xf32>
  %h = ferrite.slice %x offsets = ["0", "0", "0", "8"] steps = [1, 1, 1, 1] dims = ["2", "5", "4", "8"] : tensor<2x5x4x16xf32> -> tensor<2x5x4x8xf32>
  %n = ferrite.neg %h : (tensor<2x5x4x8xf32>) -> tensor<2x5x4x8xf32>
  %r = ferrite.concat %n, %l axis = 3 : (tensor<2x5x4x8xf32>, tensor<2x5x4x8xf32>) -> tensor<2x5x4x16xf32>
  %p = ferrite.mul %x, %c4d : (tensor<2x5x4x16xf32>, tensor<2x5x1x16xf32>) -> tensor<2x5x4x16xf32>
  %q = ferrite.mul %r, %s4d : (tensor<2x5x4x16xf32>, tensor<2x5x1x16xf32>) -> tensor<2x5x4x16xf32>
  %y = ferrite.add %p, %q : (tensor<2x5x4x16xf32>, tensor<2x5x4x16xf32>) -> tensor<2x5x4x16xf32>
  return %y : tensor<2x5x4x16xf32>
}
