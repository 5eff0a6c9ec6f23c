//===- FuseQKV.cpp - Make one linear of those that read one input ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The sides of the linears must be rows of weights, which concatenate as the
// weights themselves do: weights as lists of sources, without their bytes;
// constants, of at most 64 KiB each, as bytes.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/MapVector.h"

#define DEBUG_TYPE "ferrite-fuse-qkv"

namespace ferrite {
#define GEN_PASS_DEF_FUSEQKV
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

/// Whether `values` (all weights, or all constants) concatenate along `axis`.
static bool canConcatenate(ArrayRef<Value> values, int64_t axis) {
  bool weights = llvm::all_of(values, [&](Value value) {
    auto weight = value.getDefiningOp<WeightOp>();
    if (!weight)
      return false;
    auto source = cast<SourceAttr>(weight.getSources()[0]);
    bool isViewed = static_cast<int64_t>(source.getShape().size()) !=
                    typeOf(value).getRank();
    return !isViewed && (weight.getSources().size() == 1 ||
                         static_cast<int64_t>(weight.getAxis()) == axis);
  });
  return weights || llvm::all_of(values, [](Value value) {
           DenseElementsAttr attr;
           return matchPattern(value, m_Constant(&attr)) &&
                  attr.getElementType().getIntOrFloatBitWidth() % 8 == 0;
         });
}

/// The bytes of row `row` of a constant of `rows` rows.
static void appendRow(DenseElementsAttr attr, int64_t row, int64_t rows,
                      SmallVectorImpl<char> &bytes) {
  int64_t width = attr.getElementType().getIntOrFloatBitWidth() / 8;
  int64_t count = attr.getNumElements() / rows;
  ArrayRef<char> raw = attr.getRawData();
  if (!attr.isSplat())
    return void(bytes.append(raw.begin() + row * count * width,
                             raw.begin() + (row + 1) * count * width));
  for (int64_t i = 0; i < count; ++i)
    bytes.append(raw.begin(), raw.begin() + width);
}

static Value concatenate(OpBuilder &builder, Location loc,
                         ArrayRef<Value> values, int64_t axis) {
  RankedTensorType first = typeOf(values[0]);
  SmallVector<int64_t> shape(first.getShape());
  shape[axis] = 0;
  for (Value value : values)
    shape[axis] += typeOf(value).getDimSize(axis);
  auto type = RankedTensorType::get(shape, first.getElementType());
  if (values[0].getDefiningOp<WeightOp>()) {
    SmallVector<Attribute> sources;
    std::string name;
    for (Value value : values) {
      auto weight = value.getDefiningOp<WeightOp>();
      llvm::append_range(sources, weight.getSources());
      name += (name.empty() ? "" : "+") + weight.getName().str();
    }
    return WeightOp::create(builder, loc, type, name,
                            builder.getArrayAttr(sources), axis);
  }
  // Along the innermost dim: row by row. The leading dims are one dim here.
  int64_t rows = axis == 0 ? 1 : first.getDimSize(0);
  SmallVector<char> bytes;
  for (int64_t row = 0; row < rows; ++row)
    for (Value value : values) {
      DenseElementsAttr attr;
      (void)matchPattern(value, m_Constant(&attr));
      appendRow(attr, row, rows, bytes);
    }
  return arith::ConstantOp::create(
      builder, loc, DenseElementsAttr::getFromRawBuffer(type, bytes));
}

/// Whether `other` can be columns of one linear with `first`.
static LogicalResult checkPair(LinearOp first, LinearOp other, Reject reject) {
  if (other->getBlock() != first->getBlock())
    return reject("the linears are in different blocks");
  if (elementTypeOf(first) != elementTypeOf(other) ||
      elementTypeOf(first.getWeight()) != elementTypeOf(other.getWeight()))
    return reject("the linears have different types");
  if (first.getInputBlock() != other.getInputBlock())
    return reject("the linears round their input differently");
  if (first.getInputZero() != other.getInputZero() || first.getWeightZero() ||
      other.getWeightZero())
    return reject("the linears have zero points of their own");
  if (!canConcatenate({first.getWeight(), other.getWeight()}, 1))
    return reject(
        "the weights are not all weights or all constants in one piece");
  if (first.getSides().size() != other.getSides().size() ||
      !OperationEquivalence::isRegionEquivalentTo(
          &first.getEpilogue(), &other.getEpilogue(),
          OperationEquivalence::IgnoreLocations))
    return reject("the epilogues differ");
  for (auto [a, b] : llvm::zip_equal(first.getSides(), other.getSides())) {
    auto isRow = [](LinearOp linear, Value side) {
      return isWeightOrConstant(side) && typeOf(side).getRank() == 1 &&
             typeOf(side).getDimSize(0) == typeOf(linear).getShape().back();
    };
    if (!isRow(first, a) || !isRow(other, b) ||
        elementTypeOf(a) != elementTypeOf(b) || !canConcatenate({a, b}, 0))
      return reject("a side is no bias");
  }
  return success();
}

static void fuseGroup(ArrayRef<LinearOp> group, DimAnalysis &dims) {
  LinearOp first = group[0];
  OpBuilder builder(first);
  SmallVector<Location> locs;
  SmallVector<Value> weights;
  SmallVector<SmallVector<Value>> sides(first.getSides().size());
  int64_t columns = 0;
  for (LinearOp linear : group) {
    locs.push_back(linear.getLoc());
    weights.push_back(linear.getWeight());
    columns += typeOf(linear).getShape().back();
    for (auto [list, side] : llvm::zip_equal(sides, linear.getSides()))
      list.push_back(side);
  }
  Location loc = builder.getFusedLoc(locs);
  Value weight = concatenate(builder, loc, weights, 1);
  SmallVector<Value> rows;
  for (ArrayRef<Value> list : sides)
    rows.push_back(concatenate(builder, loc, list, 0));
  Dims shape(dims.getDims(first));
  shape.back() = DimExpr(columns);
  Type type = getTensorType(shape, elementTypeOf(first));
  auto fused = LinearOp::create(builder, loc, type, first, first.getInput(),
                                weight, rows);
  fused.getEpilogue().takeBody(first.getEpilogue());
  int64_t offset = 0;
  for (LinearOp linear : group) {
    int64_t size = typeOf(linear).getShape().back();
    SmallVector<DimExpr> offsets(shape.size(), DimExpr(0));
    offsets.back() = DimExpr(offset);
    shape.back() = DimExpr(size);
    auto slice =
        SliceOp::create(builder, linear.getLoc(), linear.getType(), fused,
                        getDimsAttr(builder.getContext(), offsets),
                        SmallVector<int64_t>(shape.size(), 1),
                        getDimsAttr(builder.getContext(), shape));
    linear.replaceAllUsesWith(slice.getResult());
    offset += size;
  }
  for (LinearOp linear : group) {
    dims.forget(linear);
    linear.erase();
  }
  reportPassed(loc, DEBUG_TYPE, "made one linear of those of one input");
}

namespace {
struct FuseQKVPass final : ferrite::impl::FuseQKVBase<FuseQKVPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    llvm::MapVector<Value, SmallVector<LinearOp>> readers;
    for (LinearOp linear : getOperation().getOps<LinearOp>())
      readers[linear.getInput()].push_back(linear);
    for (auto &[input, linears] : readers) {
      // The first linear takes all that fit it, the first of the rest likewise.
      while (linears.size() > 1) {
        SmallVector<LinearOp> group = {linears[0]}, rest;
        std::string reason;
        for (LinearOp other : llvm::drop_begin(linears)) {
          LogicalResult fits =
              checkPair(linears[0], other, [&](const Twine &why) {
                reason = why.str();
                return failure();
              });
          (succeeded(fits) ? group : rest).push_back(other);
        }
        if (group.size() > 1)
          fuseGroup(group, *dims);
        else
          reportMissed(linears[0], DEBUG_TYPE, reason);
        linears = rest;
      }
    }
  }
};
} // namespace
