//===- StridedView.cpp - A value as memory with strides -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/StridedView.h"

using namespace mlir;
using namespace ferrite;

Dims ferrite::contiguousStrides(ArrayRef<DimExpr> dims) {
  Dims strides(dims.size(), DimExpr(1));
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * dims[i];
  return strides;
}

StridedView StridedView::contiguous(Value ref, Type element, Dims dims) {
  Dims strides = contiguousStrides(dims);
  return {ref, element, std::move(dims), std::move(strides), DimExpr(0)};
}

bool StridedView::isContiguous() const {
  DimExpr expected(1);
  for (size_t i = dims.size(); i-- > 0;) {
    if (!dims[i].isConstant(1) && strides[i] != expected)
      return false;
    expected = expected * dims[i];
  }
  return true;
}

/// Whether dims [begin, end) lie end to end, and the stride of the last that is
/// not 1.
static std::optional<DimExpr> mergedStride(const StridedView &view,
                                           size_t begin, size_t end) {
  std::optional<DimExpr> innermost, expected;
  for (size_t i = end; i-- > begin;) {
    if (view.dims[i].isConstant(1))
      continue;
    if (!innermost)
      innermost = view.strides[i];
    else if (view.strides[i] != *expected)
      return std::nullopt;
    expected = view.strides[i] * view.dims[i];
  }
  return innermost ? innermost : std::optional<DimExpr>(DimExpr(1));
}

std::optional<StridedView> StridedView::viewed(ArrayRef<DimExpr> to) const {
  if (isContiguous()) {
    StridedView result = contiguous(ref, element, Dims(to));
    result.offset = offset;
    return result;
  }
  // Group dims of both sides whose products agree; each group must merge.
  StridedView result{ref, element, Dims(to), Dims(to.size(), DimExpr(1)),
                     offset};
  size_t i = 0, j = 0;
  while (i < dims.size() || j < to.size()) {
    size_t firstIn = i, firstOut = j;
    DimExpr in(1), out(1);
    if (i < dims.size())
      in = dims[i++];
    if (j < to.size())
      out = to[j++];
    while (in != out) {
      if (j < to.size() && in.dividedBy(out) && !in.isConstant(1))
        out = out * to[j++];
      else if (i < dims.size())
        in = in * dims[i++];
      else if (j < to.size())
        out = out * to[j++];
      else
        return std::nullopt;
    }
    std::optional<DimExpr> stride = mergedStride(*this, firstIn, i);
    if (!stride)
      return std::nullopt;
    for (size_t k = j; k-- > firstOut;) {
      result.strides[k] = *stride;
      *stride = *stride * to[k];
    }
  }
  return result;
}

StridedView StridedView::sliced(ArrayRef<DimExpr> offsets,
                                ArrayRef<int64_t> steps,
                                ArrayRef<DimExpr> to) const {
  StridedView result = *this;
  result.dims.assign(to.begin(), to.end());
  for (size_t i = 0; i < dims.size(); ++i) {
    result.offset = result.offset + offsets[i] * strides[i];
    result.strides[i] = strides[i] * DimExpr(steps[i]);
  }
  return result;
}

StridedView StridedView::transposed(ArrayRef<int64_t> perm) const {
  StridedView result = *this;
  for (size_t i = 0; i < perm.size(); ++i) {
    result.dims[i] = dims[perm[i]];
    result.strides[i] = strides[perm[i]];
  }
  return result;
}

StridedView StridedView::windowed(size_t axis, const DimExpr &count,
                                  int64_t size, int64_t step,
                                  int64_t dilation) const {
  StridedView result = *this;
  result.dims[axis] = count;
  result.strides[axis] = strides[axis] * DimExpr(step);
  result.dims.insert(result.dims.begin() + axis + 1, DimExpr(size));
  result.strides.insert(result.strides.begin() + axis + 1,
                        strides[axis] * DimExpr(dilation));
  return result;
}

StridedView StridedView::broadcast(ArrayRef<DimExpr> to) const {
  StridedView result{ref, element, Dims(to), Dims(to.size(), DimExpr(0)),
                     offset};
  size_t lead = to.size() - dims.size();
  for (size_t i = 0; i < dims.size(); ++i)
    if (!dims[i].isConstant(1) || to[lead + i].isConstant(1))
      result.strides[lead + i] = strides[i];
  return result;
}

std::optional<StridedView> StridedView::asRows() const {
  std::optional<DimExpr> stride = mergedStride(*this, 0, dims.size() - 1);
  if (!stride)
    return std::nullopt;
  DimExpr rows = product(ArrayRef<DimExpr>(dims).drop_back());
  if (rows.isConstant(1))
    *stride = dims.back();
  return StridedView{
      ref, element, {rows, dims.back()}, {*stride, strides.back()}, offset};
}
