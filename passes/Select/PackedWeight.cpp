//===- PackedWeight.cpp - Whether a weight can lie in few bits ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The sources of a weight are columns of one matrix that may come from several
// layers' files (three projections of attention). They must agree on
// everything that code knows: bits, blocks, the kind of their zero points.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/PackedWeight.h"

#include "passes/Analysis/StoredWeights.h"

#include <optional>

using namespace mlir;
using namespace ferrite;

bool ferrite::isScaledWeight(Value value) {
  auto weight = value.getDefiningOp<WeightOp>();
  return weight && llvm::any_of(weight.getSources(), [](Attribute source) {
           return !!cast<SourceAttr>(source).getDequant();
         });
}

namespace {
/// What one source says.
struct Format {
  int64_t bits, block;
  Type scale, zero; ///< zero: null, ui8 or f32
  int64_t shift;
  DenseF32ArrayAttr codes;
};
} // namespace

static Type elementOf(Attribute side) {
  if (auto dense = dyn_cast<DenseElementsAttr>(side))
    return dense.getElementType();
  return cast<SourceAttr>(side).getType();
}

static std::optional<Format> formatOf(SourceAttr source, int64_t depth,
                                      std::string &reason) {
  auto reject = [&](const Twine &why) -> std::optional<Format> {
    reason = why.str();
    return std::nullopt;
  };
  DequantAttr dequant = source.getDequant();
  if (!dequant)
    return reject("a part of the weight is of numbers");
  if (source.getShape().size() != 2)
    return reject("the weight lies under other dims");
  auto type = dyn_cast<IntegerType>(source.getType());
  if (!type || type.getWidth() > 8 || type.getWidth() < 2)
    return reject("elements are no integers of 2 to 8 bits");
  Format format{};
  format.bits = dequant.getBits() ? dequant.getBits() : type.getWidth();
  if (format.bits < 2)
    format.bits = 2;
  else if (format.bits > 4)
    format.bits = 8;
  ArrayRef<int64_t> perm = source.getPerm();
  int64_t depthDim = perm.empty() ? 0 : perm[0];
  bool alongDepth = dequant.getAxis() == depthDim;
  if (dequant.getBlock() > 0 && !alongDepth &&
      countStored(dequant.getScale()) > 1)
    return reject("its blocks are not along k");
  if (dequant.getBlock() == 0 && alongDepth &&
      countStored(dequant.getScale()) > 1)
    return reject("it has a scale for each k");
  format.block = dequant.getBlock() > 0 && alongDepth
                     ? std::min(dequant.getBlock(), depth)
                     : depth;
  format.scale = elementOf(dequant.getScale());
  if (!isa<Float32Type, Float16Type, BFloat16Type>(format.scale))
    return reject("its scales are no f32, f16 or bf16");
  MLIRContext *context = source.getContext();
  format.codes = dequant.getCodes();
  if (format.codes && format.bits > 4)
    return reject("its table has more than 16 codes");
  // Steps of three bits are 32 k; others are shorter.
  if (format.bits == 3 && format.block != depth && format.block % 32 != 0)
    format.bits = 4;
  if (!PackedPanels{depth, 1, format.bits, format.block}.isValid())
    return reject("blocks of " + Twine(format.block) +
                  " are no whole words of " + Twine(format.bits) + " bits");
  if (format.codes && format.codes.size() != int64_t(1) << format.bits) {
    // Fewer codes than the panels have bits for: the others are never read.
    SmallVector<float> codes(format.codes.asArrayRef());
    codes.resize(size_t(1) << format.bits);
    format.codes = DenseF32ArrayAttr::get(context, codes);
  }
  if (!type.isUnsigned())
    format.shift = int64_t(1) << (format.bits - 1);
  Attribute zero = dequant.getZero();
  if (!zero)
    return format;
  auto integer = dyn_cast<IntegerType>(elementOf(zero));
  auto dense = dyn_cast<DenseElementsAttr>(zero);
  if (integer && dense && dense.isSplat()) {
    APInt value = dense.getSplatValue<APInt>();
    format.shift +=
        type.isUnsigned() ? value.getZExtValue() : value.getSExtValue();
    if (format.shift < 0 || format.shift >= int64_t(1) << format.bits)
      return reject("its zero point is outside of its codes");
    return format;
  }
  if (integer && integer.getWidth() > 8)
    return reject("its zero points have more bits than it");
  format.zero = integer
                    ? Type(IntegerType::get(context, 8, IntegerType::Unsigned))
                    : Type(Float32Type::get(context));
  if (integer)
    format.shift = 0;
  return format;
}

PackedAttr ferrite::packedLayoutOf(WeightOp weight, std::string &reason) {
  auto type = cast<RankedTensorType>(weight.getType());
  auto reject = [&](const Twine &why) {
    reason = why.str();
    return PackedAttr();
  };
  if (type.getRank() != 2 || type.getNumElements() == 0)
    return reject("the weight is no matrix");
  if (weight.getSources().size() > 1 && weight.getAxis() != 1)
    return reject("its parts are no columns");
  std::optional<Format> all;
  for (Attribute attr : weight.getSources()) {
    std::optional<Format> own =
        formatOf(cast<SourceAttr>(attr), type.getDimSize(0), reason);
    if (!own)
      return {};
    if (!all)
      all = own;
    if (own->bits != all->bits || own->block != all->block ||
        own->scale != all->scale || own->zero != all->zero ||
        own->shift != all->shift || own->codes != all->codes)
      return reject("its parts have different bits, blocks, scales or zero "
                    "points");
  }
  return PackedAttr::get(weight.getContext(), all->bits, type.getDimSize(0),
                         type.getDimSize(1), all->block, all->scale, all->zero,
                         all->shift, all->codes);
}

bool ferrite::multipliesBytes(PackedAttr packed, int64_t inputBlock) {
  int64_t depth = packed.getDepth(), block = packed.getBlock();
  if (inputBlock < 1 || packed.getCodes())
    return false;
  // Words of four bytes of x do not cross groups.
  if (inputBlock < depth && inputBlock % packed.getPanels().stepDepth() != 0)
    return false;
  return inputBlock >= depth || block >= depth || inputBlock % block == 0 ||
         block % inputBlock == 0;
}
