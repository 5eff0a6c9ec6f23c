//===- Spatial.cpp - Windows over spatial dims ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Spatial.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace ferrite::frontend {

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

FailureOr<std::vector<int64_t>> spatialAttr(OpBinder &b, StringRef name,
                                            size_t count, int64_t least,
                                            int64_t otherwise) {
  std::optional<std::vector<int64_t>> found = b.intsAttr(name);
  if (!found)
    return std::vector<int64_t>(count, otherwise);
  if (found->size() != count)
    return b.error("attribute '" + name + "' has " + Twine(found->size()) +
                   " elements, not " + Twine(count));
  for (int64_t value : *found)
    if (value < least || value > kMostSpatial)
      return b.error("attribute '" + name + "' has " + Twine(value));
  return *found;
}

std::optional<DimExpr> floorDivide(const DimExpr &size, int64_t divisor) {
  if (std::optional<int64_t> known = size.constant())
    return DimExpr(llvm::divideFloorSigned(*known, divisor));
  // What the symbols contribute is a multiple, or nobody knows the rest.
  int64_t constant = 0;
  for (const auto &[monomial, coefficient] : size.terms())
    if (monomial.empty())
      constant = coefficient;
  std::optional<DimExpr> quotient =
      (size - DimExpr(constant)).dividedBy(DimExpr(divisor));
  if (!quotient)
    return std::nullopt;
  return *quotient + DimExpr(llvm::divideFloorSigned(constant, divisor));
}

/// Pads and counts along dim i under 'SAME_UPPER' or 'SAME_LOWER'.
static LogicalResult bindSame(OpBinder &b, Windows &windows, size_t i,
                              const DimExpr &size, bool upper) {
  int64_t stride = windows.strides[i];
  std::optional<DimExpr> count =
      floorDivide(size + DimExpr(stride - 1), stride);
  if (!count)
    return b.unsupported("its dim of " + size.str() +
                         " is no known multiple of its stride " +
                         Twine(stride));
  DimExpr total = (*count - DimExpr(1)) * DimExpr(stride) +
                  DimExpr(windows.extent(i)) - size;
  if (!total.constant())
    return b.unsupported("its pads depend on input dims: " + total.str());
  int64_t pads = std::max<int64_t>(*total.constant(), 0);
  windows.low[i] = upper ? pads / 2 : pads - pads / 2;
  windows.high[i] = pads - windows.low[i];
  windows.counts.push_back(*count);
  return success();
}

FailureOr<Windows> bindWindows(OpBinder &b, ArrayRef<int64_t> kernel,
                               ArrayRef<DimExpr> sizes) {
  size_t rank = kernel.size();
  Windows windows;
  windows.kernel.assign(kernel.begin(), kernel.end());
  auto strides = spatialAttr(b, "strides", rank, 1, 1);
  auto dilations = spatialAttr(b, "dilations", rank, 1, 1);
  auto pads = spatialAttr(b, "pads", 2 * rank, 0, 0);
  std::string mode = b.stringAttr("auto_pad", "NOTSET");
  bool ceil = b.intAttr("ceil_mode", 0) != 0;
  if (failed(strides) || failed(dilations) || failed(pads))
    return failure();
  for (int64_t size : kernel)
    if (size < 1 || size > kMostSpatial)
      return b.error("its kernel has a dim of " + Twine(size));
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (!same && mode != "NOTSET" && mode != "VALID")
    return b.error("attribute 'auto_pad' = '" + mode + "' is unknown");
  windows.strides = *strides;
  windows.dilations = *dilations;
  windows.low.assign(pads->begin(), pads->begin() + rank);
  windows.high.assign(pads->begin() + rank, pads->end());
  if (mode != "NOTSET") { // ONNX ignores the pads then
    windows.low.assign(rank, 0);
    windows.high.assign(rank, 0);
  }
  for (size_t i = 0; i < rank; ++i) {
    int64_t extent, stride = windows.strides[i];
    if (llvm::MulOverflow(kernel[i] - 1, windows.dilations[i], extent) ||
        extent > kMostSpatial)
      return b.error("its kernel reaches too far");
    if (same) {
      if (failed(bindSame(b, windows, i, sizes[i], mode == "SAME_UPPER")))
        return failure();
      continue;
    }
    DimExpr room =
        sizes[i] + DimExpr(windows.low[i] + windows.high[i] -
                           windows.extent(i) + (ceil ? stride - 1 : 0));
    std::optional<DimExpr> steps = floorDivide(room, stride);
    if (!steps)
      return b.unsupported("its dim of " + sizes[i].str() + " and its stride " +
                           Twine(stride) +
                           " give a size that is no polynomial");
    if (!b.symbols().requireLessEqual(0, room))
      return b.error("its kernel is larger than its padded input");
    DimExpr count = *steps + DimExpr(1);
    // A window begins inside of the input or of the pads before it.
    DimExpr last =
        *steps * DimExpr(stride) - sizes[i] - DimExpr(windows.low[i]);
    if (ceil && last.constant() && *last.constant() >= 0)
      count = *steps;
    else if (ceil && !last.constant())
      return b.unsupported("attribute 'ceil_mode' on a dim of " +
                           sizes[i].str() + " is not supported");
    windows.counts.push_back(count);
  }
  return windows;
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

Shaped transpose(OpBinder &b, const Shaped &x, ArrayRef<int64_t> perm) {
  Shaped result{b.transpose(x.value, x.dims, perm), {}};
  for (int64_t dim : perm)
    result.dims.push_back(x.dims[dim]);
  return result;
}

Shaped channelsLast(OpBinder &b, const Shaped &x) {
  SmallVector<int64_t> perm = {0};
  for (size_t i = 2; i < x.dims.size(); ++i)
    perm.push_back(i);
  perm.push_back(1);
  return transpose(b, x, perm);
}

Shaped channelsFirst(OpBinder &b, const Shaped &x) {
  auto rank = static_cast<int64_t>(x.dims.size());
  SmallVector<int64_t> perm = {0, rank - 1};
  for (int64_t i = 1; i + 1 < rank; ++i)
    perm.push_back(i);
  return transpose(b, x, perm);
}

FailureOr<Shaped> padAxis(OpBinder &b, Shaped x, size_t axis, int64_t low,
                          const DimExpr &high, Value fill) {
  size_t rank = x.dims.size();
  Type element = OpBinder::elementOf(x.value);
  std::optional<int64_t> known = high.constant();
  if (low < 0 || (known && *known < 0)) {
    Dims offsets(rank, DimExpr(0)), dims = x.dims;
    offsets[axis] = DimExpr(std::max<int64_t>(-low, 0));
    dims[axis] = dims[axis] - offsets[axis] +
                 DimExpr(std::min<int64_t>(known.value_or(0), 0));
    if (!b.symbols().requireLessEqual(0, dims[axis]))
      return b.error("its pads cut off more than dim " + Twine(axis) + " has");
    x = {b.create<SliceOp>(dims, element, x.value, b.dimsAttr(offsets),
                           SmallVector<int64_t>(rank, 1), b.dimsAttr(dims)),
         dims};
  }
  DimExpr behind = known ? DimExpr(std::max<int64_t>(*known, 0)) : high;
  if (low <= 0 && behind.isConstant(0))
    return x;
  Dims lows(rank, DimExpr(0)), dims = x.dims;
  lows[axis] = DimExpr(std::max<int64_t>(low, 0));
  dims[axis] = dims[axis] + lows[axis] + behind;
  return Shaped{b.create<PadOp>(dims, element, x.value, fill, b.dimsAttr(lows),
                                b.dimsAttr(dims)),
                dims};
}

FailureOr<Shaped> makeWindows(OpBinder &b, Shaped x, size_t first,
                              const Windows &windows, Value fill) {
  Type element = OpBinder::elementOf(x.value);
  size_t rank = windows.rank();
  // All pads at once: one copy.
  Dims low(x.dims.size(), DimExpr(0)), padded = x.dims;
  for (size_t i = 0; i < rank; ++i) {
    DimExpr &size = padded[first + i];
    DimExpr needed =
        (windows.counts[i] - DimExpr(1)) * DimExpr(windows.strides[i]) +
        DimExpr(windows.extent(i));
    DimExpr behind = needed - size - DimExpr(windows.low[i]);
    if (!behind.constant())
      return b.unsupported("its pads depend on input dims: " + behind.str());
    low[first + i] = DimExpr(windows.low[i]);
    size = size +
           DimExpr(windows.low[i] + std::max<int64_t>(*behind.constant(), 0));
  }
  if (padded != x.dims)
    x = {b.create<PadOp>(padded, element, x.value, fill, b.dimsAttr(low),
                         b.dimsAttr(padded)),
         padded};
  for (size_t i = 0; i < rank; ++i) {
    size_t axis = first + 2 * i;
    x.dims[axis] = windows.counts[i];
    x.dims.insert(x.dims.begin() + axis + 1, DimExpr(windows.kernel[i]));
    x.value = b.create<WindowsOp>(
        x.dims, element, x.value, static_cast<int64_t>(axis), windows.kernel[i],
        windows.strides[i], windows.dilations[i],
        b.builder().getStringAttr(windows.counts[i].str()));
  }
  SmallVector<int64_t> perm;
  for (size_t i = 0; i < first; ++i)
    perm.push_back(i);
  for (size_t part : {0, 1})
    for (size_t i = 0; i < rank; ++i)
      perm.push_back(first + 2 * i + part);
  for (size_t i = first + 2 * rank; i < x.dims.size(); ++i)
    perm.push_back(i);
  return transpose(b, x, perm);
}

} // namespace ferrite::frontend
