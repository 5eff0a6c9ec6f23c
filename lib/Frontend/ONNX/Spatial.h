//===- Spatial.h - Windows over spatial dims --------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What convolutions and pools share: where windows lie. Spatial dims are
// [2, rank) of [N, C, ...]; vectors here have an element for each of them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_SPATIAL_H
#define FERRITE_LIB_FRONTEND_ONNX_SPATIAL_H

#include "lib/Frontend/ONNX/OpBinder.h"

namespace ferrite::frontend {

/// Sizes and positions that any model could mean; products of two fit.
inline constexpr int64_t kMostSpatial = int64_t(1) << 30;

struct Windows {
  std::vector<int64_t> kernel, strides, dilations;
  /// What is padded before and after, by the node. Never negative.
  std::vector<int64_t> low, high;
  /// Windows along each dim.
  Dims counts;

  size_t rank() const { return kernel.size(); }
  /// From the first point of a window to behind its last.
  int64_t extent(size_t i) const { return (kernel[i] - 1) * dilations[i] + 1; }
};

/// A value and its dims, while ops are made on it.
struct Shaped {
  mlir::Value value;
  Dims dims;
};

/// An ints attribute with `count` elements in [least, kMostSpatial].
mlir::FailureOr<std::vector<int64_t>> spatialAttr(OpBinder &b,
                                                  llvm::StringRef name,
                                                  size_t count, int64_t least,
                                                  int64_t otherwise);
/// Reads strides, dilations, pads, auto_pad and ceil_mode, for windows of
/// `kernel` over `sizes`.
mlir::FailureOr<Windows> bindWindows(OpBinder &b,
                                     llvm::ArrayRef<int64_t> kernel,
                                     llvm::ArrayRef<DimExpr> sizes);
/// floor(size / divisor), where that is a polynomial for all sizes there are.
std::optional<DimExpr> floorDivide(const DimExpr &size, int64_t divisor);

/// `x` with `low` and `high` more of `fill` on `axis`; less of it, where they
/// are negative. Reports an error where nothing is left.
mlir::FailureOr<Shaped> padAxis(OpBinder &b, Shaped x, size_t axis, int64_t low,
                                const DimExpr &high, mlir::Value fill);
/// Dims [first, first + windows.rank()) of `x`, padded with `fill`, as
/// [windows.., points..].
mlir::FailureOr<Shaped> makeWindows(OpBinder &b, Shaped x, size_t first,
                                    const Windows &windows, mlir::Value fill);
Shaped transpose(OpBinder &b, const Shaped &x, llvm::ArrayRef<int64_t> perm);
/// [N, C, ...] to [N, ..., C], and back.
Shaped channelsLast(OpBinder &b, const Shaped &x);
Shaped channelsFirst(OpBinder &b, const Shaped &x);

} // namespace ferrite::frontend

#endif // FERRITE_LIB_FRONTEND_ONNX_SPATIAL_H
