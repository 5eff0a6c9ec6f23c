//===- Quantize.h - What handlers of quantized ops share --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_QUANTIZE_H
#define FERRITE_LIB_FRONTEND_ONNX_QUANTIZE_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Scale and zero point as ferrite.quantize takes them.
struct Scaling {
  mlir::Value scale, zero; ///< zero: null where there is none
  Dims dims;               ///< of both
  mlir::Type scaleType, zeroType;
  int64_t axis = 0, block = 0;
};

/// Input `scale`, and input `zero` if it is there, for a tensor of `dims`. A
/// scale of one element is for all, of rank 1 for dim `axis`, and with `block`
/// one for each block of that dim.
mlir::FailureOr<Scaling> bindScaling(OpBinder &b, unsigned scale, unsigned zero,
                                     const Dims &dims, int64_t axis = 0,
                                     int64_t block = 0);

mlir::Value quantize(OpBinder &b, mlir::Value number, const Dims &dims,
                     mlir::Type element, const Scaling &scaling,
                     mlir::Type precision, bool overflows = false);
mlir::Value dequantize(OpBinder &b, mlir::Value bits, const Dims &dims,
                       mlir::Type element, const Scaling &scaling);

/// Inputs i, i + 1 and i + 2 as a f32 tensor, with one scale for all.
mlir::FailureOr<mlir::Value> dequantizeInput(OpBinder &b, unsigned i);
/// Sets the result: `number`, an f32 tensor, quantized with one scale and zero
/// point at inputs `scale` and scale + 1; without the latter to `element`.
mlir::LogicalResult setQuantized(OpBinder &b, mlir::Value number,
                                 const Dims &dims, unsigned scale,
                                 mlir::Type element);

/// Whether all elements are known to be 0.
bool isKnownZero(mlir::Value value);

/// A tensor and the zero point that its elements count from, which broadcasts
/// to it (null: 0).
struct Centred {
  mlir::Value data, zero;
  Dims dims, zeroDims;
  mlir::Type element;
};

/// lhs * rhs in i32, exactly, of what numpy.matmul takes.
struct Product {
  mlir::Value value;
  Dims dims;
};
mlir::FailureOr<Product> multiplyIntegers(OpBinder &b, Centred lhs,
                                          Centred rhs);

/// DynamicQuantizeLinear of f32: bits, scale and zero point.
struct Dynamic {
  mlir::Value bits, scale, zero;
};
Dynamic quantizeDynamically(OpBinder &b, mlir::Value input, const Dims &dims);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_QUANTIZE_H
