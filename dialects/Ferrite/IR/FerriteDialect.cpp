//===- FerriteDialect.cpp - Registration and shared shape rules -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "dialects/Ferrite/IR/FerriteSparsity.h"

#include "llvm/ADT/TypeSwitch.h"
#include <numeric>

using namespace mlir;
using namespace ferrite;

#include "dialects/Ferrite/IR/FerriteDialect.cpp.inc"
#include "dialects/Ferrite/IR/FerriteEnums.cpp.inc"
#include "dialects/Ferrite/IR/FerriteInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Ferrite/IR/FerriteAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Ferrite/IR/FerriteOps.cpp.inc"

void FerriteDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/Ferrite/IR/FerriteOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "dialects/Ferrite/IR/FerriteSparsityOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "dialects/Ferrite/IR/FerriteMergeOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Ferrite/IR/FerriteAttrs.cpp.inc"
      >();
}

/// The shape of what scales a source; nothing for other attributes.
static std::optional<ArrayRef<int64_t>> shapeOfScale(Attribute attr) {
  if (auto source = dyn_cast_if_present<SourceAttr>(attr))
    if (source.getPerm().empty() && !source.getDequant() &&
        source.getPitch() == 0)
      return source.getShape();
  if (auto dense = dyn_cast_if_present<DenseElementsAttr>(attr))
    return dense.getType().getShape();
  return std::nullopt;
}

static LogicalResult verifyDequant(function_ref<InFlightDiagnostic()> emitError,
                                   ArrayRef<int64_t> shape, Type type,
                                   DequantAttr dequant) {
  if (!dequant)
    return success();
  if (failed(ferrite::detail::verifyCodes(emitError, type, dequant.getCodes(),
                                          dequant.getBits(),
                                          bool(dequant.getZero()))))
    return failure();
  int64_t axis = dequant.getAxis(), block = dequant.getBlock();
  if (block < 0 || axis < 0 ||
      axis >= static_cast<int64_t>(std::max<size_t>(shape.size(), 1)))
    return emitError() << "expects an axis and a block of the source";
  for (Attribute side : {dequant.getScale(), dequant.getZero()}) {
    if (!side && side == dequant.getZero())
      continue;
    std::optional<ArrayRef<int64_t>> own = shapeOfScale(side);
    bool fits = own.has_value();
    if (fits && llvm::any_of(*own, [](int64_t size) { return size != 1; })) {
      fits = block == 0 ? own->size() == 1 && shape[axis] == own->front()
                        : own->size() == shape.size();
      // A zero point may be padded to bytes, so more blocks are no error.
      for (size_t i = 0; block > 0 && fits && i < own->size(); ++i)
        fits = static_cast<int64_t>(i) == axis
                   ? (*own)[i] >=
                         static_cast<int64_t>(llvm::divideCeil(shape[i], block))
                   : (*own)[i] == shape[i];
    }
    if (!fits)
      return emitError() << "expects scales and zero points that fit the "
                            "source, but got "
                         << side;
  }
  return success();
}

LogicalResult SourceAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringRef file, int64_t offset,
                                 ArrayRef<int64_t> shape, Type type,
                                 ArrayRef<int64_t> perm, DequantAttr dequant,
                                 int64_t pitch) {
  if (offset < 0)
    return emitError() << "expects an offset of 0 or more, but got " << offset;
  if (!type.isIntOrFloat())
    return emitError() << "expects a number type, but got " << type;
  for (int64_t size : shape)
    if (size < 0)
      return emitError() << "expects sizes of 0 or more, but got " << size;
  SmallVector<bool> seen(shape.size());
  for (int64_t dim : perm)
    if (dim < 0 || dim >= static_cast<int64_t>(shape.size()) || seen[dim])
      return emitError() << "expects a permutation of the shape's dims";
    else
      seen[dim] = true;
  if (!perm.empty() && perm.size() != shape.size())
    return emitError() << "expects a permutation of the shape's dims";
  if (pitch != 0 && (shape.size() != 2 || pitch < shape[1] || dequant ||
                     type.getIntOrFloatBitWidth() % 8 != 0))
    return emitError() << "expects a pitch only of whole bytes in rows of a "
                          "matrix without scales, and of as many elements as "
                          "a row at least";
  return verifyDequant(emitError, shape, type, dequant);
}

LogicalResult PackedAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t bits, int64_t depth, int64_t columns,
                                 int64_t block, Type scale, Type zero,
                                 int64_t shift, DenseF32ArrayAttr codes) {
  constexpr int64_t most = int64_t(1) << 40;
  PackedPanels panels{depth, columns, bits, block};
  if (depth < 1 || columns < 1 || block < 1 || depth > most ||
      columns > most / depth || !panels.isValid())
    return emitError() << "expects 2, 3, 4 or 8 bits in blocks of whole words, "
                          "but got "
                       << bits << " bits in blocks of " << block;
  if (!isa<Float32Type, Float16Type, BFloat16Type>(scale) ||
      (zero && !zero.isUnsignedInteger(8) && !zero.isF32()))
    return emitError() << "expects scales of floats and zero points of ui8 or "
                          "f32, but got "
                       << scale << " and " << zero;
  if (shift < 0 || shift >= int64_t(1) << bits)
    return emitError() << "expects a shift of " << bits << " bits, but got "
                       << shift;
  if (codes && (codes.size() != int64_t(1) << bits || zero || shift))
    return emitError() << "expects a number for each code, and no zero point "
                          "beside them";
  return success();
}

LogicalResult SparseAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t columns, int64_t depth, int64_t kept) {
  if ((columns != 16 && columns != 32) || (depth != 1 && depth != 4) ||
      kept < -1)
    return emitError() << "expects blocks of 16 or 32 columns by 1 or 4 of k, "
                          "but got "
                       << columns << " by " << depth;
  return success();
}

PackedPanels PackedAttr::getPanels() const {
  int64_t zeroBytes = !getZero() ? 0 : getZero().isF32() ? 4 : 1;
  return {getDepth(),
          getColumns(),
          getBits(),
          getBlock(),
          getScale().getIntOrFloatBitWidth() / 8,
          zeroBytes};
}

RoundedRows PackedAttr::getRows(int64_t inputBlock) const {
  return {getDepth(), inputBlock, std::min(inputBlock, getBlock())};
}

Dims ferrite::detail::dimsOfType(Type type) {
  Dims dims;
  for (auto [i, size] :
       llvm::enumerate(cast<RankedTensorType>(type).getShape()))
    dims.push_back(ShapedType::isDynamic(size)
                       ? DimExpr::symbol("?" + std::to_string(i))
                       : DimExpr(size));
  return dims;
}

LogicalResult ferrite::detail::inferBroadcast(Operation *op,
                                              ArrayRef<Dims> operands,
                                              SmallVectorImpl<Dims> &results) {
  Dims dims;
  for (const Dims &operand : operands) {
    std::optional<Dims> both = broadcastDims(dims, operand);
    if (!both)
      return op->emitError("dims of the operands neither agree nor broadcast");
    dims = *both;
  }
  results.push_back(dims);
  return success();
}
