//===- Rewrite.cpp - Products of weights of few bits ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The file is longer than others because inputs that are rounded are rounded
// once for all the products that read them, whatever the format of each.
//
//===----------------------------------------------------------------------===//
#include "passes/Quantization/Rewrite.h"

#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/FusedBuilder.h"
#include "passes/Fusion/ScalarCasts.h"
#include "passes/Quantization/Passes.h"

#include "mlir/IR/IRMapping.h"

#include <limits>

using namespace mlir;
using namespace ferrite;

Type ferrite::getCodeType(MLIRContext *context, const QuantFormat &format) {
  // Three bits lie in four.
  unsigned width = format.bits == 3 ? 4 : format.bits;
  bool isUnsigned = format.isAsymmetric || format.isNormalFloat;
  return IntegerType::get(context, width,
                          isUnsigned ? IntegerType::Unsigned
                                     : IntegerType::Signless);
}

Type ferrite::getScaleType(MLIRContext *context, const QuantFormat &format) {
  switch (format.scale) {
  case QuantFormat::Scale::F16:
    return Float16Type::get(context);
  case QuantFormat::Scale::BF16:
    return BFloat16Type::get(context);
  case QuantFormat::Scale::F32:
    return Float32Type::get(context);
  }
  llvm_unreachable("all scales are covered");
}

static StringRef nameOf(LinearOp op) {
  if (auto weight = op.getWeight().getDefiningOp<WeightOp>())
    return weight.getName();
  StringRef last = "constant";
  op.getWeight().getLoc()->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      last = name.getName();
    return WalkResult::advance();
  });
  return last;
}

ArrayAttr ferrite::dequantizedSources(MLIRContext *context,
                                      const StoredCodes &codes) {
  const QuantFormat &format = codes.format;
  DenseF32ArrayAttr table;
  if (format.isNormalFloat)
    table = DenseF32ArrayAttr::get(context, normalFloats());
  // Three bits lie in four.
  auto dequant = DequantAttr::get(context, codes.scales, codes.zeros,
                                  /*axis=*/format.group ? 1 : 0, format.group,
                                  table, format.bits == 3 ? 3 : 0);
  return ArrayAttr::get(
      context, {SourceAttr::get(context, codes.codes.getFile(),
                                codes.codes.getOffset(), codes.codes.getShape(),
                                codes.codes.getType(), {1, 0}, dequant)});
}

Value LinearRewriter::makeWeight(LinearOp op, const StoredCodes &codes) {
  OpBuilder b(op);
  return WeightOp::create(b, op.getWeight().getLoc(), op.getWeight().getType(),
                          nameOf(op), dequantizedSources(b.getContext(), codes),
                          0);
}

//===--- inputs -----------------------------------------------------------===//

using Exprs = SmallVector<AffineExpr, 4>;

static Exprs loops(size_t rank, MLIRContext *context) {
  Exprs at;
  for (size_t i = 0; i < rank; ++i)
    at.push_back(getAffineDimExpr(i, context));
  return at;
}

/// The same without the innermost loop.
static Exprs outer(size_t rank, MLIRContext *context) {
  Exprs at = loops(rank, context);
  at.back() = getAffineConstantExpr(0, context);
  return at;
}

static Value constantOf(OpBuilder &b, Location loc, double value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(float(value)));
}

/// The highest of what `of` makes of the numbers of each innermost row, [..,
/// 1], times `factor`.
static Value highestOf(OpBuilder &b, Location loc, Value input,
                       ArrayRef<DimExpr> dims, float factor,
                       function_ref<Value(OpBuilder &, Value)> of) {
  MLIRContext *context = b.getContext();
  Dims reduced(dims);
  reduced.back() = DimExpr(1);
  FusedParts parts{getTensorType(reduced, b.getF32Type()),
                   Dims(dims),
                   {{input, loops(dims.size(), context)}},
                   outer(dims.size(), context),
                   CombineKind::Max};
  return makeFused(
      b, loc, parts,
      [&](OpBuilder &inside, ValueRange args) -> Value {
        return of(inside, args[0]);
      },
      [&](OpBuilder &inside, ValueRange args) -> Value {
        return arith::MulFOp::create(inside, loc, args[0],
                                     constantOf(inside, loc, factor));
      });
}

/// What a code of each innermost row stands for, [.., 1]: the largest magnitude
/// is `mostCode`.
static Value scaleOf(OpBuilder &b, Location loc, Value input,
                     ArrayRef<DimExpr> dims, float mostCode) {
  return highestOf(b, loc, input, dims, 1 / mostCode,
                   [&](OpBuilder &inside, Value x) -> Value {
                     return math::AbsFOp::create(inside, loc, x);
                   });
}

/// 1 / scale, or 0 where that would be infinite.
static Value inverseOf(OpBuilder &b, Location loc, Value scale) {
  Value isZero = arith::CmpFOp::create(
      b, loc, arith::CmpFPredicate::OLT, scale,
      constantOf(b, loc, std::numeric_limits<float>::min()));
  Value inverse = arith::DivFOp::create(b, loc, constantOf(b, loc, 1), scale);
  return arith::SelectOp::create(b, loc, isZero, constantOf(b, loc, 0),
                                 inverse);
}

/// `code` within [low, high].
static Value clampOf(OpBuilder &b, Location loc, Value code, float low,
                     float high) {
  code = arith::MaximumFOp::create(b, loc, code, constantOf(b, loc, low));
  return arith::MinimumFOp::create(b, loc, code, constantOf(b, loc, high));
}

/// round(value / scale), or 0 where the scale is 0, as f32.
static Value codeOf(OpBuilder &b, Location loc, Value value, Value scale,
                    float mostCode) {
  Value zero = constantOf(b, loc, 0), most = constantOf(b, loc, mostCode);
  Value scaled = arith::DivFOp::create(b, loc, value, scale);
  Value isZero =
      arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, scale, zero);
  scaled = arith::SelectOp::create(b, loc, isZero, zero, scaled);
  Value code = math::RoundEvenOp::create(b, loc, scaled);
  code = arith::MaximumFOp::create(b, loc, code, constantOf(b, loc, -mostCode));
  return arith::MinimumFOp::create(b, loc, code, most);
}

/// With the zero point that lets all of 0 to 255 be used: a row's numbers from
/// the lowest, or 0, to the highest, or 0.
LinearRewriter::Bytes LinearRewriter::roundShifted(Value input) {
  auto [known, isNew] = shiftedBytesOf.try_emplace(input);
  if (!isNew)
    return known->second;
  OpBuilder b(input.getContext());
  b.setInsertionPointAfterValue(input);
  Location loc = input.getLoc();
  MLIRContext *context = b.getContext();
  Dims own(dims.getDims(input)), single(own);
  single.back() = DimExpr(1);
  Type u8 = b.getIntegerType(8, /*isSigned=*/false), f32 = b.getF32Type();
  auto end = [&](bool isLow) {
    return highestOf(b, loc, input, own, 1.0f / 255,
                     [&](OpBuilder &inside, Value x) -> Value {
                       if (isLow)
                         x = arith::NegFOp::create(inside, loc, x);
                       return arith::MaximumFOp::create(
                           inside, loc, x, constantOf(inside, loc, 0));
                     });
  };
  Value high = end(false), low = end(true);
  auto perRow = [&](ValueRange of,
                    function_ref<Value(OpBuilder &, ValueRange)> body) {
    FusedParts parts{
        getTensorType(single, f32), single, {}, loops(single.size(), context)};
    for (Value value : of)
      parts.reads.push_back({value, loops(single.size(), context)});
    return makeFused(b, loc, parts, body, nullptr);
  };
  Value scale =
      perRow({high, low}, [&](OpBuilder &inside, ValueRange args) -> Value {
        return arith::AddFOp::create(inside, loc, args[0], args[1]);
      });
  // `low` is in 255ths, like the scale.
  Value zero =
      perRow({scale, low}, [&](OpBuilder &inside, ValueRange args) -> Value {
        Value part = arith::MulFOp::create(inside, loc, args[1],
                                           constantOf(inside, loc, 255));
        part = arith::MulFOp::create(inside, loc, part,
                                     inverseOf(inside, loc, args[0]));
        return math::RoundEvenOp::create(inside, loc, part);
      });
  Value shift =
      perRow({zero}, [&](OpBuilder &inside, ValueRange args) -> Value {
        return arith::SubFOp::create(inside, loc, constantOf(inside, loc, 128),
                                     args[0]);
      });
  FusedParts parts{getTensorType(own, u8),
                   own,
                   {{input, loops(own.size(), context)},
                    {scale, outer(own.size(), context)},
                    {zero, outer(own.size(), context)}},
                   loops(own.size(), context)};
  Value bytes = makeFused(
      b, loc, parts,
      [&](OpBuilder &inside, ValueRange args) -> Value {
        Value code = arith::MulFOp::create(inside, loc, args[0],
                                           inverseOf(inside, loc, args[1]));
        code = arith::AddFOp::create(inside, loc, code, args[2]);
        code = math::RoundEvenOp::create(inside, loc, code);
        return emitCast(inside, loc, clampOf(inside, loc, code, 0, 255), f32,
                        u8, /*overflows=*/false, Rounding::Up);
      },
      nullptr);
  return shiftedBytesOf[input] = {bytes, scale, shift};
}

LinearRewriter::Bytes LinearRewriter::roundRows(Value input, double fixed) {
  auto &made = fixed == 0 ? bytesOf : fixedBytesOf;
  auto [known, isNew] = made.try_emplace(input);
  if (!isNew)
    return known->second;
  OpBuilder b(input.getContext());
  b.setInsertionPointAfterValue(input);
  Location loc = input.getLoc();
  MLIRContext *context = b.getContext();
  Dims own(dims.getDims(input));
  Type u8 = b.getIntegerType(8, /*isSigned=*/false), f32 = b.getF32Type();
  Value scale;
  FusedParts parts{getTensorType(own, u8),
                   own,
                   {{input, loops(own.size(), context)}},
                   loops(own.size(), context)};
  if (fixed == 0) {
    scale = scaleOf(b, loc, input, own, 127);
    parts.reads.push_back({scale, outer(own.size(), context)});
  }
  Value bytes = makeFused(
      b, loc, parts,
      [&](OpBuilder &inside, ValueRange args) -> Value {
        // Times an inverse, which is the same for the whole row: a division of
        // each number is as much as all the rest.
        Value inverse;
        if (fixed != 0) {
          inverse = constantOf(inside, loc, 127 / float(fixed));
        } else {
          inverse = inverseOf(inside, loc, args[1]);
        }
        Value scaled = arith::MulFOp::create(inside, loc, args[0], inverse);
        Value code = math::RoundEvenOp::create(inside, loc, scaled);
        // With a scale that was found the largest number of a row is 127.
        if (fixed != 0)
          code = clampOf(inside, loc, code, -127, 127);
        code = arith::AddFOp::create(inside, loc, code,
                                     constantOf(inside, loc, 128));
        return emitCast(inside, loc, code, f32, u8, /*overflows=*/false,
                        Rounding::Up);
      },
      nullptr);
  return made[input] = {bytes, scale, Value()};
}

Value LinearRewriter::roundGroups(Value input, int bits, int64_t group) {
  auto [known, isNew] = groupsOf.try_emplace({input, group});
  if (!isNew)
    return known->second;
  OpBuilder b(input.getContext());
  b.setInsertionPointAfterValue(input);
  Location loc = input.getLoc();
  MLIRContext *context = b.getContext();
  Dims own(dims.getDims(input)), split(own);
  split.back() = DimExpr(*own.back().constant() / group);
  split.push_back(DimExpr(group));
  Type f32 = b.getF32Type();
  Value viewed = ViewOp::create(b, loc, getTensorType(split, f32), input,
                                getDimsAttr(context, split));
  auto mostCode = float((1 << (bits - 1)) - 1);
  Value scale = scaleOf(b, loc, viewed, split, mostCode);
  FusedParts parts{getTensorType(split, f32),
                   split,
                   {{viewed, loops(split.size(), context)},
                    {scale, outer(split.size(), context)}},
                   loops(split.size(), context)};
  Value rounded = makeFused(
      b, loc, parts,
      [&](OpBuilder &inside, ValueRange args) -> Value {
        Value code = codeOf(inside, loc, args[0], args[1], mostCode);
        return arith::MulFOp::create(inside, loc, code, args[1]);
      },
      nullptr);
  Value joined = ViewOp::create(b, loc, getTensorType(own, f32), rounded,
                                getDimsAttr(context, own));
  return groupsOf[{input, group}] = joined;
}

//===--- products ---------------------------------------------------------===//

void LinearRewriter::multiplyBytes(LinearOp op, const StoredCodes &codes,
                                   double fixed) {
  Bytes input = codes.format.isShifted ? roundShifted(op.getInput())
                                       : roundRows(op.getInput(), fixed);
  Value rowScale = input.scale;
  OpBuilder b(op);
  Location loc = op.getLoc();
  MLIRContext *context = b.getContext();
  Type i32 = b.getI32Type(), f32 = b.getF32Type();
  auto source =
      SourceAttr::get(context, codes.codes.getFile(), codes.codes.getOffset(),
                      codes.codes.getShape(), codes.codes.getType(), {1, 0});
  Location weightLoc = op.getWeight().getLoc();
  Value weight =
      WeightOp::create(b, weightLoc,
                       RankedTensorType::get(typeOf(op.getWeight()).getShape(),
                                             codes.codes.getType()),
                       nameOf(op), b.getArrayAttr({source}), 0);
  Value scales = WeightOp::create(
      b, weightLoc,
      RankedTensorType::get(codes.scales.getShape(), codes.scales.getType()),
      nameOf(op), b.getArrayAttr({codes.scales}), 0);
  Value zero = arith::ConstantOp::create(
      b, loc,
      DenseElementsAttr::get(RankedTensorType::get({}, i32),
                             Attribute(b.getI32IntegerAttr(128))));
  SmallVector<Value> sides = {scales};
  if (rowScale)
    sides.push_back(rowScale);
  if (input.shift) {
    sides.push_back(input.shift);
    sides.push_back(WeightOp::create(
        b, weightLoc,
        RankedTensorType::get(codes.sums.getShape(), codes.sums.getType()),
        nameOf(op), b.getArrayAttr({codes.sums}), 0));
  }
  llvm::append_range(sides, op.getSides());
  auto linear = LinearOp::create(b, loc, op.getType(), input.bytes, weight,
                                 zero, Value(), sides);
  IRMapping mapping;
  op.getEpilogue().cloneInto(&linear.getEpilogue(), mapping);
  // What was the product is now the sum of bytes times both scales.
  Block &block = linear.getEpilogue().front();
  BlockArgument product = block.getArgument(0);
  product.setType(i32);
  Value columnScale = block.insertArgument(1, elementTypeOf(scales), loc);
  Value scaleOfRow = rowScale ? block.insertArgument(2, f32, loc) : Value();
  OpBuilder inside = OpBuilder::atBlockBegin(&block);
  auto sum = arith::SIToFPOp::create(inside, loc, f32, product);
  if (columnScale.getType() != f32)
    columnScale = arith::ExtFOp::create(inside, loc, f32, columnScale);
  if (!scaleOfRow)
    scaleOfRow = constantOf(inside, loc, float(fixed) / 127);
  Value number;
  if (input.shift) {
    // The sum is of bytes less 128; what their zero points differ by from that
    // counts once for each row of the weight.
    Value shift = block.insertArgument(3, f32, loc),
          columnSum = block.insertArgument(4, f32, loc);
    number = arith::MulFOp::create(inside, loc, sum, columnScale);
    Value rest = arith::MulFOp::create(inside, loc, shift, columnSum);
    number = arith::AddFOp::create(inside, loc, number, rest);
    number = arith::MulFOp::create(inside, loc, number, scaleOfRow);
  } else {
    number = arith::MulFOp::create(inside, loc, sum, scaleOfRow);
    number = arith::MulFOp::create(inside, loc, number, columnScale);
  }
  product.replaceAllUsesExcept(number, sum);
  op.getResult().replaceAllUsesWith(linear.getResult());
  dims.forget(op);
  op.erase();
}

void LinearRewriter::readBytes(GatherOp op, const StoredCodes &codes) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  MLIRContext *context = b.getContext();
  Dims own(dims.getDims(op.getResult())), single(own);
  single.back() = DimExpr(1);
  Value table = op.getData();
  auto weight = table.getDefiningOp<WeightOp>();
  auto gather = [&](SourceAttr source, ArrayRef<DimExpr> made) -> Value {
    Value rows = WeightOp::create(
        b, table.getLoc(),
        RankedTensorType::get(source.getShape(), source.getType()),
        weight ? weight.getName() : "table", b.getArrayAttr({source}), 0);
    return GatherOp::create(b, loc, getTensorType(made, source.getType()), rows,
                            op.getIndices(), 0);
  };
  FusedParts parts{getTensorType(own, b.getF32Type()),
                   own,
                   {{gather(codes.codes, own), loops(own.size(), context)},
                    {gather(codes.scales, single), outer(own.size(), context)}},
                   loops(own.size(), context)};
  Value numbers = makeFused(
      b, loc, parts,
      [&](OpBuilder &inside, ValueRange args) -> Value {
        Value code =
            arith::SIToFPOp::create(inside, loc, inside.getF32Type(), args[0]);
        return arith::MulFOp::create(inside, loc, code, args[1]);
      },
      nullptr);
  op.getResult().replaceAllUsesWith(numbers);
  dims.forget(op);
  op.erase();
}

void LinearRewriter::keepWide(LinearOp op, const StoredCodes &codes) {
  op->removeAttr(kFormatAttr);
  if (!codes.codes)
    return;
  OpBuilder b(op);
  SourceAttr from = codes.codes;
  auto source =
      SourceAttr::get(b.getContext(), from.getFile(), from.getOffset(),
                      from.getShape(), from.getType(), {1, 0});
  op.getWeightMutable().assign(
      WeightOp::create(b, op.getWeight().getLoc(), op.getWeight().getType(),
                       nameOf(op), b.getArrayAttr({source}), 0));
}

void LinearRewriter::rewrite(LinearOp op, const StoredCodes &codes,
                             double most) {
  op->removeAttr(kFormatAttr);
  const QuantFormat &format = codes.format;
  if (format.isByteProduct())
    return multiplyBytes(op, codes, most);
  if (format.inputBits) {
    int64_t group =
        format.group ? format.group : typeOf(op.getWeight()).getDimSize(0);
    // Rows of bytes times codes; of fewer bits only the rounding is there.
    if (format.inputBits == 8)
      op.setInputBlock(group);
    else
      op.getInputMutable().assign(
          roundGroups(op.getInput(), format.inputBits, group));
  }
  op.getWeightMutable().assign(makeWeight(op, codes));
}
