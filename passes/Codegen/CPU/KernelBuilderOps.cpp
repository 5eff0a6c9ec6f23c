//===- KernelBuilderOps.cpp - Arithmetic and memory of kernels ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What an emitter may say about values. Everything folds constants, so that a
// kernel for static shapes is small before LLVM sees it. Nothing here may
// become a call: LLVM has no vector code for bf16 on most levels, so bf16 is
// done with integers.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite::cpu;

Type KernelBuilder::ptrType() {
  return LLVM::LLVMPointerType::get(getContext());
}

/// `type` with another element type, keeping the shape.
static Type withElement(Type type, Type element) {
  if (auto vector = dyn_cast<VectorType>(type))
    return VectorType::get(vector.getShape(), element);
  return element;
}

static unsigned bytesOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (isa<LLVM::LLVMPointerType>(element))
    return 8;
  return std::max(1u, element.getIntOrFloatBitWidth() / 8);
}

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value KernelBuilder::c(int64_t value) {
  return arith::ConstantOp::create(*this, getI64IntegerAttr(value));
}

std::optional<int64_t> KernelBuilder::constantOf(Value v) {
  APInt value;
  if (matchPattern(v, m_ConstantInt(&value)))
    return value.getSExtValue();
  return std::nullopt;
}

Value KernelBuilder::add(Value a, Value b) {
  return createOrFold<arith::AddIOp>(a, b);
}
Value KernelBuilder::sub(Value a, Value b) {
  return createOrFold<arith::SubIOp>(a, b);
}
Value KernelBuilder::mul(Value a, Value b) {
  return createOrFold<arith::MulIOp>(a, b);
}
Value KernelBuilder::div(Value a, Value b) {
  return createOrFold<arith::DivUIOp>(a, b);
}
Value KernelBuilder::rem(Value a, Value b) {
  return createOrFold<arith::RemUIOp>(a, b);
}
Value KernelBuilder::ceilDiv(Value a, Value b) {
  return div(add(a, sub(b, c(1))), b);
}
Value KernelBuilder::min(Value a, Value b) {
  return createOrFold<arith::MinSIOp>(a, b);
}
Value KernelBuilder::max(Value a, Value b) {
  return createOrFold<arith::MaxSIOp>(a, b);
}
Value KernelBuilder::compare(int predicate, Value a, Value b) {
  return createOrFold<arith::CmpIOp>(
      static_cast<arith::CmpIPredicate>(predicate), a, b);
}
Value KernelBuilder::eq(Value a, Value b) {
  return compare(int(arith::CmpIPredicate::eq), a, b);
}
Value KernelBuilder::ne(Value a, Value b) {
  return compare(int(arith::CmpIPredicate::ne), a, b);
}
Value KernelBuilder::lt(Value a, Value b) {
  return compare(int(arith::CmpIPredicate::slt), a, b);
}
Value KernelBuilder::le(Value a, Value b) {
  return compare(int(arith::CmpIPredicate::sle), a, b);
}
Value KernelBuilder::select(Value condition, Value a, Value b) {
  return createOrFold<arith::SelectOp>(condition, a, b);
}

SmallVector<Value> KernelBuilder::delinearize(Value linear, ValueRange sizes) {
  SmallVector<Value> indices(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    bool outermost = d == 0;
    indices[d] = outermost ? linear : rem(linear, sizes[d]);
    if (!outermost)
      linear = div(linear, sizes[d]);
  }
  return indices;
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

Value KernelBuilder::cf(double value) {
  return arith::ConstantOp::create(*this, getF32FloatAttr(value));
}

Value KernelBuilder::splat(double value) {
  return arith::ConstantOp::create(
      *this, DenseElementsAttr::get(vec(), getF32FloatAttr(value).getValue()));
}

Value KernelBuilder::broadcast(Value scalar) {
  return broadcast(scalar, lanes());
}

Value KernelBuilder::broadcast(Value scalar, unsigned lanes) {
  return createOrFold<vector::BroadcastOp>(
      VectorType::get({int64_t(lanes)}, scalar.getType()), scalar);
}

std::pair<Value, Value> KernelBuilder::unify(Value a, Value b) {
  auto wide = [](Value v) {
    return cast<VectorType>(v.getType()).getNumElements();
  };
  if (isVector(a) && !isVector(b))
    b = broadcast(b, wide(a));
  else if (isVector(b) && !isVector(a))
    a = broadcast(a, wide(b));
  return {a, b};
}

Value KernelBuilder::addF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  return arith::AddFOp::create(*this, a, b);
}
Value KernelBuilder::subF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  return arith::SubFOp::create(*this, a, b);
}
Value KernelBuilder::mulF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  return arith::MulFOp::create(*this, a, b);
}
Value KernelBuilder::divF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  return arith::DivFOp::create(*this, a, b);
}
Value KernelBuilder::negF(Value a) { return arith::NegFOp::create(*this, a); }

Value KernelBuilder::fma(Value a, Value b, Value c) {
  std::tie(a, b) = unify(a, b);
  std::tie(a, c) = unify(a, c);
  std::tie(a, b) = unify(a, b);
  return LLVM::FMAOp::create(*this, a, b, c);
}

Value KernelBuilder::maxF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  Value greater = arith::CmpFOp::create(*this, arith::CmpFPredicate::OGT, a, b);
  return arith::SelectOp::create(*this, greater, a, b);
}

Value KernelBuilder::minF(Value a, Value b) {
  std::tie(a, b) = unify(a, b);
  Value less = arith::CmpFOp::create(*this, arith::CmpFPredicate::OLT, a, b);
  return arith::SelectOp::create(*this, less, a, b);
}

template <typename Combine>
static Value reduceHalving(KernelBuilder &b, Value vector, Combine combine) {
  int32_t count = cast<VectorType>(vector.getType()).getNumElements();
  for (; count > 1; count /= 2) {
    SmallVector<int32_t> low, high;
    for (int32_t i = 0; i < count / 2; ++i) {
      low.push_back(i);
      high.push_back(i + count / 2);
    }
    Value l = LLVM::ShuffleVectorOp::create(b, vector, vector, low);
    Value h = LLVM::ShuffleVectorOp::create(b, vector, vector, high);
    vector = combine(l, h);
  }
  return vector::ExtractOp::create(b, vector, ArrayRef<int64_t>{0});
}

Value KernelBuilder::reduceAdd(Value vector) {
  return reduceHalving(*this, vector,
                       [&](Value l, Value h) { return addF(l, h); });
}

Value KernelBuilder::reduceMax(Value vector) {
  return reduceHalving(*this, vector,
                       [&](Value l, Value h) { return maxF(l, h); });
}

Value KernelBuilder::extendToF32(Value value) {
  Type element = getElementTypeOrSelf(value.getType());
  if (element.isF32())
    return value;
  Type wide = withElement(value.getType(), f32());
  if (!element.isBF16())
    return arith::ExtFOp::create(*this, wide, value);
  Type bits16 = withElement(value.getType(), getI16Type());
  Type bits32 = withElement(value.getType(), getI32Type());
  Value bits = arith::ExtUIOp::create(
      *this, bits32, arith::BitcastOp::create(*this, bits16, value));
  Value shift =
      arith::ConstantOp::create(*this, getIntegerAttr(getI32Type(), 16));
  if (isVector(value))
    shift = broadcast(shift, cast<VectorType>(bits32).getNumElements());
  bits = arith::ShLIOp::create(*this, bits, shift);
  return arith::BitcastOp::create(*this, wide, bits);
}

Value KernelBuilder::truncateFromF32(Value value, Type storage) {
  if (storage.isF32())
    return value;
  Type narrow = withElement(value.getType(), storage);
  if (!storage.isBF16())
    return arith::TruncFOp::create(*this, narrow, value);
  // Round to nearest even on the bits; a NaN keeps its top and becomes quiet.
  Type bits32 = withElement(value.getType(), getI32Type());
  Type bits16 = withElement(value.getType(), getI16Type());
  auto constant = [&](int32_t v) {
    Value scalar =
        arith::ConstantOp::create(*this, getIntegerAttr(getI32Type(), v));
    auto vector = dyn_cast<VectorType>(bits32);
    return vector ? broadcast(scalar, vector.getNumElements()) : scalar;
  };
  Value bits = arith::BitcastOp::create(*this, bits32, value);
  Value top = arith::ShRUIOp::create(*this, bits, constant(16));
  Value odd = arith::AndIOp::create(*this, top, constant(1));
  Value rounded = arith::ShRUIOp::create(
      *this,
      arith::AddIOp::create(
          *this, arith::AddIOp::create(*this, bits, constant(0x7fff)), odd),
      constant(16));
  Value quiet = arith::OrIOp::create(*this, top, constant(0x40));
  Value isNaN =
      arith::CmpFOp::create(*this, arith::CmpFPredicate::UNO, value, value);
  Value chosen = arith::SelectOp::create(*this, isNaN, quiet, rounded);
  return arith::BitcastOp::create(
      *this, narrow, arith::TruncIOp::create(*this, bits16, chosen));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value KernelBuilder::gep(Value pointer, Type element, Value offset) {
  if (std::optional<int64_t> known = constantOf(offset))
    return gep(pointer, element, *known);
  if (element.isInteger(1))
    element = getI8Type(); // a bool is one byte
  return LLVM::GEPOp::create(*this, ptrType(), element, pointer, offset);
}

Value KernelBuilder::gep(Value pointer, Type element, int64_t offset) {
  if (offset == 0)
    return pointer;
  // In bytes: a constant GEP index is 32 bits in MLIR.
  int64_t bytes = offset * int64_t(bytesOf(element));
  if (llvm::isInt<30>(bytes))
    return LLVM::GEPOp::create(*this, ptrType(), getI8Type(), pointer,
                               ArrayRef<LLVM::GEPArg>{int32_t(bytes)});
  return LLVM::GEPOp::create(*this, ptrType(), getI8Type(), pointer,
                             ValueRange{c(bytes)});
}

Value KernelBuilder::address(unsigned i, ValueRange indices) {
  Value offset = c(0);
  for (auto [d, index] : llvm::enumerate(indices))
    offset = add(offset, mul(index, stride(i, d)));
  Type element = operand(i).elementType;
  if (element.isUnsignedInteger())
    element = getIntegerType(element.getIntOrFloatBitWidth());
  return gep(ptr(i), element, offset);
}

Value KernelBuilder::load(Type type, Value pointer, unsigned align) {
  return LLVM::LoadOp::create(*this, type, pointer,
                              align ? align : bytesOf(type));
}

void KernelBuilder::store(Value value, Value pointer, unsigned align) {
  LLVM::StoreOp::create(*this, value, pointer,
                        align ? align : bytesOf(value.getType()));
}

Value KernelBuilder::tailMask(Value count) { return tailMask(count, lanes()); }

Value KernelBuilder::tailMask(Value count, unsigned lanes) {
  auto numbers = llvm::to_vector(llvm::seq<int32_t>(0, lanes));
  auto type = VectorType::get({int64_t(lanes)}, getI32Type());
  Value lane = arith::ConstantOp::create(
      *this, DenseElementsAttr::get(type, ArrayRef<int32_t>(numbers)));
  Value bound =
      createOrFold<arith::TruncIOp>(getI32Type(), min(count, int64_t(lanes)));
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, lane,
                               broadcast(bound, lanes));
}

Value KernelBuilder::loadMasked(VectorType type, Value pointer, Value mask,
                                Value passThrough, unsigned align) {
  if (!mask)
    return load(type, pointer, align);
  if (!passThrough)
    passThrough = arith::ConstantOp::create(*this, getZeroAttr(type));
  return LLVM::MaskedLoadOp::create(*this, type, pointer, mask, passThrough,
                                    align ? align : bytesOf(type));
}

/// Whether the mask is tailMask(1).
static bool isFirstLane(Value mask) {
  auto compare = mask.getDefiningOp<arith::CmpIOp>();
  DenseIntElementsAttr bound;
  return compare && compare.getPredicate() == arith::CmpIPredicate::slt &&
         matchPattern(compare.getRhs(), m_Constant(&bound)) &&
         bound.isSplat() && bound.getSplatValue<APInt>() == 1;
}

void KernelBuilder::storeMasked(Value value, Value pointer, Value mask,
                                unsigned align) {
  if (!mask)
    return store(value, pointer, align);
  // Of a truncation and a masked store of the first lane alone, LLVM 22 makes a
  // store of what was truncated: too many bytes.
  if (isFirstLane(mask)) {
    Value first = vector::ExtractOp::create(*this, value, ArrayRef<int64_t>{0});
    return store(first, pointer, align);
  }
  LLVM::MaskedStoreOp::create(*this, value, pointer, mask,
                              align ? align : bytesOf(value.getType()));
}

Value KernelBuilder::loadF32(Value pointer, Type storage, Value mask,
                             Value passThrough) {
  if (storage.isF32())
    return loadMasked(vec(), pointer, mask, passThrough);
  // As integers: masked loads of bf16 are not everywhere legal.
  Value bits = loadMasked(vec(getI16Type()), pointer, mask);
  Value wide = extendToF32(arith::BitcastOp::create(*this, vec(storage), bits));
  if (mask && passThrough)
    wide = arith::SelectOp::create(*this, mask, wide, passThrough);
  return wide;
}

void KernelBuilder::storeF32(Value vector, Value pointer, Type storage,
                             Value mask) {
  if (storage.isF32())
    return storeMasked(vector, pointer, mask);
  Value narrow = truncateFromF32(vector, storage);
  storeMasked(arith::BitcastOp::create(*this, vec(getI16Type()), narrow),
              pointer, mask);
}

Value KernelBuilder::loadScalarF32(Value pointer, Type storage) {
  return extendToF32(load(storage, pointer));
}

void KernelBuilder::storeScalarF32(Value scalar, Value pointer, Type storage) {
  store(truncateFromF32(scalar, storage), pointer);
}

Value KernelBuilder::checkedIndex(Value index, Value size) {
  Value position = select(lt(index, 0), add(index, size), index);
  Value last = sub(size, 1);
  Value outside =
      arith::OrIOp::create(*this, lt(position, 0), lt(last, position));
  ifThen(outside, [&] {
    store(index, gep(scratch(), i64(), -2), 8);
    store(c(1), gep(scratch(), i64(), -1), 8);
  });
  return max(min(position, last), c(0));
}

void KernelBuilder::prefetch(Value pointer) {
  // Read, keep in every cache, data.
  LLVM::Prefetch::create(*this, pointer, uint32_t(0), uint32_t(3), uint32_t(1));
}
