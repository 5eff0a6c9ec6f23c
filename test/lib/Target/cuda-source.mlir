// The CUDA C++ of a kernel says what the plan's kernel says: arguments where the
// CPU's kernel has them, sizes that are known as numbers, the body line by line.
//
// RUN: ferrite compile %s --compile-from=plan --emit=cuda --gpu=sm_80 --quiet -o %t.cu
// RUN: FileCheck %s < %t.cu

// The headers come once, in front, so that nvcc takes the file as it is.
// CHECK: Kernels for sm_80
// CHECK-NOT: #include "ferrite/
// CHECK: struct Params

// A point is a thread; the side that does not move has no stride.
// CHECK: // %{{.*}} = ferrite.fused
// CHECK-NEXT: FERRITE_KERNEL(gelu_64, 256, 4, 0) {
// CHECK-NEXT:   const float *__restrict__ const x0 = (const float *)p.a[0].ptr;
// CHECK-NEXT:   ferrite::f16 *__restrict__ const x1 = (ferrite::f16 *)p.a[1].ptr;
// CHECK-NEXT:   const i64 n0_0 = p.a[2].size;
// CHECK-NEXT:   const i64 items = n0_0 * 64;
// CHECK: const float a0 = ferrite::load(x0 + i0 * 64 + i1);
// CHECK-NEXT: const float v0 = ferrite::erf(a0);
// CHECK-NEXT: const float v1 = v0 * 0.5f;
// CHECK: ferrite::store(x1 + i0 * 64 + i1,

// A warp has a row.
// CHECK: FERRITE_KERNEL(softmax_64, 256, 4, 0)
// CHECK: ferrite::softmaxRow<float>(64,

// 16-bit products are for tensor cores, few rows by smaller tiles.
// CHECK: FERRITE_KERNEL(linear_64x128_few, 256, 5, 0)
// CHECK: const ferrite::MmaProduct<ferrite::f16, ferrite::f16, float, 1, 16, 64, 1, 4> product
// CHECK: FERRITE_KERNEL(linear_64x128_many, 256, 5, 0)
// CHECK: const ferrite::MmaProduct<ferrite::f16, ferrite::f16, float, 1, 128, 128, 2, 4> product
#map = affine_map<(d0, d1) -> (d0, d1)>
module {
  plan.weight @w panels "w" value = dense<1.0> : tensor<64x128xf16> offset = 0 bytes = 16384 : tensor<64x128xf16>
  plan.kernel @gelu_64 layouts = [#plan.layout<f32 [?, 64] strides [64, 1]>, #plan.layout<f16 [?, 64] strides [64, 1]>] {
  ^bb0(%arg0: tensor<?x64xf32>):
    %0 = ferrite.fused(%arg0 : tensor<?x64xf32>) domain = ["d0", "64"] maps = [#map, #map] combine none -> tensor<?x64xf16> {
    ^bb0(%x: f32):
      %half = arith.constant 5.000000e-01 : f32
      %e = math.erf %x : f32
      %h = arith.mulf %e, %half : f32
      %s = arith.truncf %h : f32 to f16
      ferrite.yield %s : f16
    } finish {
    ^bb0(%x: f16):
      ferrite.yield %x : f16
    }
    plan.return %0 : tensor<?x64xf16>
  }
  plan.kernel @softmax_64 layouts = [#plan.layout<f16 [?, 64] strides [64, 1]>, #plan.layout<f16 [?, 64] strides [64, 1]>] {
  ^bb0(%arg0: tensor<?x64xf16>):
    %0 = ferrite.softmax %arg0 : tensor<?x64xf16>
    plan.return %0 : tensor<?x64xf16>
  }
  plan.kernel @linear_64x128 layouts = [#plan.layout<f16 [?, 64] strides [64, 1]>, #plan.layout<f16 [64, 128] strides [128, 1]>, #plan.layout<f16 [?, 128] strides [128, 1]>] {
  ^bb0(%arg0: tensor<?x64xf16>, %arg1: tensor<64x128xf16>):
    %0 = ferrite.linear %arg0, %arg1 : (tensor<?x64xf16>, tensor<64x128xf16>) -> tensor<?x128xf16> {
    ^bb0(%acc: f32):
      %s = arith.truncf %acc : f32 to f16
      ferrite.yield %s : f16
    }
    plan.return %0 : tensor<?x128xf16>
  }
  plan.entry @main symbols = [#ferrite.symbol<"batch", min = 1, max = 8>] arena = "batch*256 + 64" {
    %x = plan.input "x" dims = ["batch", "64"] : tensor<?x64xf32>
    %y = plan.output "y" dims = ["batch", "128"] : tensor<?x128xf16>
    %w = plan.use @w
    %a = plan.buffer "batch*128" at "0"
    %b = plan.buffer "batch*128" at "batch*128 + 64"
    plan.launch @gelu_64(%x, %a) offsets = ["0", "0"] values = ["batch", "batch"]
    plan.launch @softmax_64(%a, %b) offsets = ["0", "0"] values = ["batch", "batch"]
    plan.launch @linear_64x128(%b, %w, %y) offsets = ["0", "0", "0"] values = ["batch", "batch"]
  }
}
