//===- StoredWeights.cpp - Other forms of weights and constants -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/StoredWeights.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

#include <cstring>

using namespace mlir;
using namespace ferrite;

/// Elements that a stack of constants of one value may take.
static constexpr int64_t kMostRepeated = int64_t(1) << 26;

/// The sources of a weight, none of them viewed under other dims; empty where
/// that cannot be said.
static SmallVector<SourceAttr> plainSources(WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  SmallVector<SourceAttr> sources;
  for (Attribute attr : weight.getSources()) {
    auto source = cast<SourceAttr>(attr);
    if (static_cast<int64_t>(source.getShape().size()) != type.getRank()) {
      if (!source.getPerm().empty() || source.getDequant() ||
          source.getPitch() != 0)
        return {};
      source = SourceAttr::get(weight.getContext(), source.getFile(),
                               source.getOffset(), type.getShape(),
                               source.getType(), {});
    }
    sources.push_back(source);
  }
  return sources;
}

/// A constant whose elements are whole bytes.
static DenseElementsAttr bytesOf(Value value) {
  DenseElementsAttr attr;
  if (!matchPattern(value, m_Constant(&attr)) ||
      attr.getElementType().getIntOrFloatBitWidth() % 8 != 0)
    return {};
  return attr;
}

static Value constant(OpBuilder &builder, Location loc, RankedTensorType type,
                      ArrayRef<char> bytes) {
  return arith::ConstantOp::create(
      builder, loc, DenseElementsAttr::getFromRawBuffer(type, bytes));
}

Value ferrite::transposeStored(OpBuilder &builder, Location loc, Value stored,
                               ArrayRef<int64_t> perm) {
  auto from = cast<RankedTensorType>(stored.getType());
  SmallVector<int64_t> shape;
  for (int64_t dim : perm)
    shape.push_back(from.getDimSize(dim));
  auto type = RankedTensorType::get(shape, from.getElementType());
  if (auto weight = stored.getDefiningOp<WeightOp>()) {
    SmallVector<Attribute> sources;
    for (SourceAttr source : plainSources(weight)) {
      SmallVector<int64_t> order;
      for (int64_t dim : perm)
        order.push_back(source.getPerm().empty() ? dim : source.getPerm()[dim]);
      if (llvm::is_sorted(order))
        order.clear();
      sources.push_back(SourceAttr::get(
          builder.getContext(), source.getFile(), source.getOffset(),
          source.getShape(), source.getType(), order, source.getDequant(),
          source.getPitch()));
    }
    if (sources.empty())
      return {};
    int64_t axis =
        llvm::find(perm, static_cast<int64_t>(weight.getAxis())) - perm.begin();
    return WeightOp::create(builder, loc, type, weight.getName(),
                            builder.getArrayAttr(sources), axis);
  }
  DenseElementsAttr attr = bytesOf(stored);
  if (!attr)
    return {};
  if (attr.isSplat())
    return constant(builder, loc, type, attr.getRawData());
  int64_t width = attr.getElementType().getIntOrFloatBitWidth() / 8;
  ArrayRef<char> raw = attr.getRawData();
  SmallVector<int64_t> strides(from.getRank(), 1);
  for (int64_t i = from.getRank(); i-- > 1;)
    strides[i - 1] = strides[i] * from.getDimSize(i);
  std::vector<char> bytes(raw.size());
  SmallVector<int64_t> at(shape.size(), 0);
  for (size_t i = 0; i < bytes.size(); i += width) {
    int64_t place = 0;
    for (auto [index, dim] : llvm::zip(at, perm))
      place += index * strides[dim];
    std::memcpy(&bytes[i], &raw[place * width], width);
    for (size_t d = at.size(); d-- > 0 && ++at[d] == shape[d];)
      at[d] = 0;
  }
  return constant(builder, loc, type, bytes);
}

Value ferrite::viewStored(OpBuilder &builder, Location loc, Value stored,
                          ArrayRef<int64_t> shape) {
  auto from = cast<RankedTensorType>(stored.getType());
  auto type = RankedTensorType::get(shape, from.getElementType());
  if (type == from)
    return stored;
  if (auto weight = stored.getDefiningOp<WeightOp>()) {
    auto source = cast<SourceAttr>(weight.getSources()[0]);
    if (weight.getSources().size() != 1 || !source.getPerm().empty() ||
        source.getDequant() || source.getPitch() != 0)
      return {};
    auto viewed =
        SourceAttr::get(builder.getContext(), source.getFile(),
                        source.getOffset(), shape, source.getType(), {});
    return WeightOp::create(builder, loc, type, weight.getName(),
                            builder.getArrayAttr({viewed}), 0);
  }
  DenseElementsAttr attr = bytesOf(stored);
  return attr ? constant(builder, loc, type, attr.getRawData()) : Value();
}

Value ferrite::stackStored(OpBuilder &builder, Location loc,
                           ArrayRef<Value> stored) {
  auto one = cast<RankedTensorType>(stored[0].getType());
  SmallVector<int64_t> shape(one.getShape());
  shape.insert(shape.begin(), static_cast<int64_t>(stored.size()));
  auto type = RankedTensorType::get(shape, one.getElementType());
  SmallVector<Attribute> sources;
  std::vector<char> bytes;
  for (Value value : stored) {
    if (value.getType() != one)
      return {};
    if (auto weight = value.getDefiningOp<WeightOp>()) {
      SmallVector<SourceAttr> own = plainSources(weight);
      // Scales of blocks have the dims of what they scale.
      DequantAttr dequant = own.size() == 1 ? own[0].getDequant() : nullptr;
      if (own.size() != 1 || (dequant && dequant.getBlock() != 0) ||
          own[0].getPitch() != 0)
        return {};
      if (dequant)
        dequant = DequantAttr::get(builder.getContext(), dequant.getScale(),
                                   dequant.getZero(), dequant.getAxis() + 1, 0,
                                   dequant.getCodes(), dequant.getBits());
      SmallVector<int64_t> dims(own[0].getShape()), perm;
      dims.insert(dims.begin(), 1);
      for (int64_t dim : own[0].getPerm())
        perm.push_back(dim + 1);
      if (!perm.empty())
        perm.insert(perm.begin(), 0);
      sources.push_back(SourceAttr::get(builder.getContext(), own[0].getFile(),
                                        own[0].getOffset(), dims,
                                        own[0].getType(), perm, dequant));
      continue;
    }
    DenseElementsAttr attr = bytesOf(value);
    // One element of a model can stand for any number of bytes.
    if (!attr || (attr.isSplat() &&
                  one.getNumElements() >
                      kMostRepeated / static_cast<int64_t>(stored.size())))
      return {};
    for (int64_t i = 0, n = attr.isSplat() ? one.getNumElements() : 1; i < n;
         ++i)
      bytes.insert(bytes.end(), attr.getRawData().begin(),
                   attr.getRawData().end());
  }
  if (!sources.empty() && !bytes.empty())
    return {};
  if (sources.empty())
    return constant(builder, loc, type, bytes);
  return WeightOp::create(builder, loc, type,
                          stored[0].getDefiningOp<WeightOp>().getName(),
                          builder.getArrayAttr(sources), 0);
}

/// Rows [first, first + size) of what scales the rows of a matrix, in the order
/// of its file; null where they do not begin at a byte.
static Attribute sliceScale(Attribute side, int64_t first, int64_t size) {
  if (auto source = dyn_cast<SourceAttr>(side)) {
    SmallVector<int64_t> shape(source.getShape());
    int64_t row = source.getType().getIntOrFloatBitWidth();
    for (int64_t inner : source.getShape().drop_front())
      row *= inner;
    if (first * row % 8 != 0)
      return {};
    shape[0] = size;
    return SourceAttr::get(source.getContext(), source.getFile(),
                           source.getOffset() + first * row / 8, shape,
                           source.getType(), {});
  }
  auto dense = cast<DenseElementsAttr>(side);
  SmallVector<int64_t> shape(dense.getType().getShape());
  int64_t rows = shape[0];
  shape[0] = size;
  auto type = RankedTensorType::get(shape, dense.getElementType());
  ArrayRef<char> raw = dense.getRawData();
  if (!dense.isSplat()) {
    int64_t row = raw.size() / std::max<int64_t>(rows, 1);
    raw = raw.slice(first * row, size * row);
  }
  return DenseElementsAttr::getFromRawBuffer(type, raw);
}

static bool isOneScale(Attribute side) {
  auto shape = isa<SourceAttr>(side)
                   ? cast<SourceAttr>(side).getShape()
                   : cast<DenseElementsAttr>(side).getType().getShape();
  return llvm::all_of(shape, [](int64_t size) { return size == 1; });
}

/// Rows of a scaled matrix, in the order of its file: what lies in one piece.
static SourceAttr sliceScaledRows(SourceAttr source, int64_t first,
                                  int64_t size) {
  DequantAttr dequant = source.getDequant();
  int64_t row = source.getShape()[1] * source.getType().getIntOrFloatBitWidth();
  if (first * row % 8 != 0)
    return {};
  // With a scale for each column, rows share them.
  bool isShared = dequant.getBlock() == 0 && dequant.getAxis() == 1;
  // Rows of a block would have to begin with it.
  if (dequant.getBlock() > 0 && dequant.getAxis() == 0)
    return {};
  SmallVector<Attribute, 2> sides;
  for (Attribute side : {dequant.getScale(), dequant.getZero()}) {
    if (side && !isShared && !isOneScale(side)) {
      side = sliceScale(side, first, size);
      if (!side)
        return {};
    }
    sides.push_back(side);
  }
  MLIRContext *context = source.getContext();
  auto sliced = DequantAttr::get(context, sides[0], sides[1], dequant.getAxis(),
                                 dequant.getBlock(), dequant.getCodes(),
                                 dequant.getBits());
  return SourceAttr::get(
      context, source.getFile(), source.getOffset() + first * row / 8,
      {size, source.getShape()[1]}, source.getType(), source.getPerm(), sliced);
}

/// The part of a source whose dims are those of the weight, in its order.
static SourceAttr sliceSource(SourceAttr source, int64_t dim, int64_t first,
                              int64_t size) {
  unsigned bits = source.getType().getIntOrFloatBitWidth();
  if (source.getDequant()) {
    if (!source.getPerm().empty())
      dim = source.getPerm()[dim];
    return dim == 0 && source.getShape().size() == 2
               ? sliceScaledRows(source, first, size)
               : SourceAttr();
  }
  if (bits % 8 != 0)
    return {};
  SmallVector<int64_t> shape(source.getShape());
  if (!source.getPerm().empty())
    dim = source.getPerm()[dim];
  int64_t pitch = source.getPitch(), inner = 1;
  if (shape.size() == 2 && dim == 0)
    inner = pitch != 0 ? pitch : shape[1];
  if (shape.size() == 2 && dim == 1 && pitch == 0)
    pitch = shape[1];
  shape[dim] = size;
  return SourceAttr::get(source.getContext(), source.getFile(),
                         source.getOffset() + first * inner * (bits / 8), shape,
                         source.getType(), source.getPerm(), DequantAttr(),
                         pitch);
}

Value ferrite::sliceStored(OpBuilder &builder, Location loc, Value stored,
                           int64_t dim, int64_t first, int64_t size) {
  auto from = cast<RankedTensorType>(stored.getType());
  if (from.getRank() < 1 || from.getRank() > 2)
    return {};
  SmallVector<int64_t> shape(from.getShape());
  shape[dim] = size;
  auto type = RankedTensorType::get(shape, from.getElementType());
  if (auto weight = stored.getDefiningOp<WeightOp>()) {
    auto source = cast<SourceAttr>(weight.getSources()[0]);
    if (weight.getSources().size() != 1 ||
        static_cast<int64_t>(source.getShape().size()) != from.getRank())
      return {};
    SourceAttr part = sliceSource(source, dim, first, size);
    return part ? WeightOp::create(builder, loc, type, weight.getName(),
                                   builder.getArrayAttr({part}), 0)
                      .getResult()
                : Value();
  }
  DenseElementsAttr attr = bytesOf(stored);
  if (!attr)
    return {};
  if (attr.isSplat())
    return constant(builder, loc, type, attr.getRawData());
  int64_t width = attr.getElementType().getIntOrFloatBitWidth() / 8;
  bool columns = dim + 1 == from.getRank();
  int64_t rows = columns && from.getRank() == 2 ? from.getDimSize(0) : 1;
  int64_t row = attr.getRawData().size() / std::max<int64_t>(rows, 1);
  int64_t one = columns ? width : width * from.getShape().back();
  std::vector<char> bytes;
  for (int64_t i = 0; i < rows; ++i) {
    const char *begin = attr.getRawData().data() + i * row + first * one;
    bytes.insert(bytes.end(), begin, begin + size * one);
  }
  return constant(builder, loc, type, bytes);
}

int64_t ferrite::countStored(Attribute side) {
  if (auto dense = dyn_cast<DenseElementsAttr>(side))
    return dense.getNumElements();
  int64_t count = 1;
  for (int64_t size : cast<SourceAttr>(side).getShape())
    count *= size;
  return count;
}
