//===- ConstantEvaluator.cpp - Ops on small constants ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Normalize/ConstantEvaluator.h"

#include "passes/Normalize/Patterns.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace ferrite;

//===--- reading and writing ----------------------------------------------===//

static double toDouble(APFloat value) {
  bool inexact;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &inexact);
  return value.convertToDouble();
}

static APFloat toType(double value, Type type) {
  APFloat result(value);
  bool inexact;
  result.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven,
                 &inexact);
  return result;
}

/// The nearest value of the type.
static double roundTo(double value, Type type) { return toDouble(toType(value, type)); }

/// The value that an integer type of fewer bits keeps.
static int64_t wrapTo(int64_t value, Type type) {
  unsigned bits = type.getIntOrFloatBitWidth();
  if (bits == 1)
    return value != 0;
  APInt kept = APInt(64, value, /*isSigned=*/true).trunc(bits);
  return type.isUnsignedInteger() ? static_cast<int64_t>(kept.getZExtValue())
                                  : kept.getSExtValue();
}

std::optional<ConstantTensor> ConstantTensor::read(Value value) {
  DenseElementsAttr attr;
  if (!matchPattern(value, m_Constant(&attr)))
    return std::nullopt;
  auto type = dyn_cast<RankedTensorType>(attr.getType());
  if (!type || type.getNumElements() * 8 > 16 * kMostFoldedBytes)
    return std::nullopt;
  ConstantTensor tensor{type, {}, {}};
  Type element = type.getElementType();
  if (tensor.isFloat()) {
    for (const APFloat &v : attr.getValues<APFloat>())
      tensor.floats.push_back(toDouble(v));
  } else {
    bool isUnsigned = element.isUnsignedInteger() || element.isInteger(1);
    for (const APInt &v : attr.getValues<APInt>())
      tensor.integers.push_back(isUnsigned ? static_cast<int64_t>(v.getZExtValue())
                                           : v.getSExtValue());
  }
  return tensor;
}

DenseElementsAttr ConstantTensor::attr() const {
  Type element = type.getElementType();
  if (isFloat()) {
    SmallVector<APFloat> values;
    for (double v : floats)
      values.push_back(toType(v, element));
    return DenseElementsAttr::get(type, values);
  }
  SmallVector<APInt> values;
  unsigned bits = element.getIntOrFloatBitWidth();
  for (int64_t v : integers)
    values.push_back(APInt(64, v, /*isSigned=*/true).trunc(bits));
  return DenseElementsAttr::get(type, values);
}

//===--- indexing ---------------------------------------------------------===//

static int64_t sizeOf(RankedTensorType type) { return type.getNumElements(); }

/// Calls `visit` with each index of `shape`, in order.
template <typename F> static void forEachIndex(ArrayRef<int64_t> shape, F visit) {
  if (llvm::is_contained(shape, 0))
    return;
  SmallVector<int64_t> index(shape.size(), 0);
  while (true) {
    visit(ArrayRef<int64_t>(index));
    size_t dim = shape.size();
    while (dim > 0 && ++index[dim - 1] == shape[dim - 1])
      index[--dim] = 0;
    if (dim == 0)
      return;
  }
}

/// Where `index` lies in a tensor of `shape`: dims of size 1 repeat, and leading
/// dims of the index that the tensor has not are ignored.
static int64_t offsetOf(ArrayRef<int64_t> index, ArrayRef<int64_t> shape) {
  int64_t offset = 0;
  ArrayRef<int64_t> own = index.take_back(shape.size());
  for (auto [i, size] : llvm::zip_equal(own, shape))
    offset = offset * size + (size == 1 ? 0 : i);
  return offset;
}

static void copyElement(const ConstantTensor &from, int64_t offset, ConstantTensor &to) {
  if (from.isFloat())
    to.floats.push_back(from.floats[offset]);
  else
    to.integers.push_back(from.integers[offset]);
}

//===--- elementwise ------------------------------------------------------===//

static double unary(Operation *op, double x, bool &known) {
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case([&](AbsOp) { return std::abs(x); })
      .Case([&](NegOp) { return -x; })
      .Case([&](SignOp) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x; })
      .Case([&](FloorOp) { return std::floor(x); })
      .Case([&](CeilOp) { return std::ceil(x); })
      .Case([&](RoundOp) { return std::nearbyint(x); })
      .Case([&](SqrtOp) { return std::sqrt(x); })
      .Case([&](ReciprocalOp) { return 1.0 / x; })
      .Case([&](ExpOp) { return std::exp(x); })
      .Case([&](LogOp) { return std::log(x); })
      .Case([&](ErfOp) { return std::erf(x); })
      .Case([&](TanhOp) { return std::tanh(x); })
      .Case([&](SigmoidOp) { return 1.0 / (1.0 + std::exp(-x)); })
      .Case([&](ReluOp) { return x < 0 ? 0.0 : x; })
      .Case([&](SinOp) { return std::sin(x); })
      .Case([&](CosOp) { return std::cos(x); })
      .Default([&](Operation *) {
        known = false;
        return 0.0;
      });
}

static double binary(Operation *op, double x, double y, bool &known) {
  auto nanWins = [&](double result) {
    return std::isnan(x) || std::isnan(y) ? std::numeric_limits<double>::quiet_NaN() : result;
  };
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case([&](AddOp) { return x + y; })
      .Case([&](SubOp) { return x - y; })
      .Case([&](MulOp) { return x * y; })
      .Case([&](DivOp) { return x / y; })
      .Case([&](PowOp) { return std::pow(x, y); })
      .Case([&](MaxOp) { return nanWins(std::max(x, y)); })
      .Case([&](MinOp) { return nanWins(std::min(x, y)); })
      .Default([&](Operation *) {
        known = false;
        return 0.0;
      });
}

static int64_t integerOp(Operation *op, ArrayRef<int64_t> v, bool &known) {
  // In unsigned arithmetic: overflow wraps, as the types do.
  auto wrap = [](uint64_t value) { return static_cast<int64_t>(value); };
  uint64_t x = v[0], y = v.size() > 1 ? v[1] : 0;
  return llvm::TypeSwitch<Operation *, int64_t>(op)
      .Case([&](AbsOp) { return v[0] < 0 ? wrap(0 - x) : v[0]; })
      .Case([&](NegOp) { return wrap(0 - x); })
      .Case([&](SignOp) { return int64_t(v[0] > 0) - int64_t(v[0] < 0); })
      .Case([&](ReluOp) { return std::max<int64_t>(v[0], 0); })
      .Case([&](NotOp) { return int64_t(v[0] == 0); })
      .Case([&](AddOp) { return wrap(x + y); })
      .Case([&](SubOp) { return wrap(x - y); })
      .Case([&](MulOp) { return wrap(x * y); })
      .Case([&](DivOp) {
        known &= v[1] != 0 && v[1] != -1;
        return known ? v[0] / v[1] : 0;
      })
      .Case([&](MaxOp) { return std::max(v[0], v[1]); })
      .Case([&](MinOp) { return std::min(v[0], v[1]); })
      .Case([&](AndOp) { return v[0] & v[1]; })
      .Case([&](OrOp) { return v[0] | v[1]; })
      .Case([&](XorOp) { return v[0] ^ v[1]; })
      .Default([&](Operation *) {
        known = false;
        return int64_t(0);
      });
}

template <typename T> static bool compareValues(Predicate predicate, T x, T y) {
  switch (predicate) {
  case Predicate::Eq:
    return x == y;
  case Predicate::Ne:
    return x != y;
  case Predicate::Lt:
    return x < y;
  case Predicate::Le:
    return x <= y;
  case Predicate::Gt:
    return x > y;
  case Predicate::Ge:
    return x >= y;
  }
  llvm_unreachable("every predicate compares");
}

/// One element of a cast; a float outside of the integer's range has no defined
/// result and is left to run time.
static void castElement(const ConstantTensor &from, int64_t i, ConstantTensor &to,
                        bool &known) {
  Type type = to.type.getElementType();
  if (to.isFloat()) {
    bool isBig = !from.isFloat() && from.type.getElementType().isUnsignedInteger();
    double value = from.isFloat() ? from.floats[i]
                   : isBig        ? static_cast<double>(static_cast<uint64_t>(from.integers[i]))
                                  : static_cast<double>(from.integers[i]);
    to.floats.push_back(roundTo(value, type));
    return;
  }
  if (!from.isFloat()) {
    to.integers.push_back(wrapTo(from.integers[i], type));
    return;
  }
  double value = from.floats[i];
  if (type.isInteger(1)) {
    to.integers.push_back(value != 0);
    return;
  }
  known &= std::abs(value) < 9.2e18; // also false for a NaN
  int64_t whole = known ? static_cast<int64_t>(value) : 0;
  known &= wrapTo(whole, type) == whole;
  to.integers.push_back(whole);
}

static void evaluateElement(Operation *op, ArrayRef<ConstantTensor> in, ArrayRef<int64_t> at,
                            ConstantTensor &out, bool &known) {
  SmallVector<int64_t> offsets;
  for (const ConstantTensor &tensor : in)
    offsets.push_back(offsetOf(at, tensor.type.getShape()));
  if (isa<CastOp>(op))
    return castElement(in[0], offsets[0], out, known);
  if (isa<WhereOp>(op)) {
    bool first = in[0].integers[offsets[0]] != 0;
    return copyElement(in[first ? 1 : 2], offsets[first ? 1 : 2], out);
  }
  if (isa<IsNaNOp>(op))
    return out.integers.push_back(std::isnan(in[0].floats[offsets[0]]));
  if (auto compare = dyn_cast<CompareOp>(op)) {
    bool holds =
        in[0].isFloat()
            ? compareValues(compare.getPredicate(), in[0].floats[offsets[0]],
                            in[1].floats[offsets[1]])
            : compareValues(compare.getPredicate(), in[0].integers[offsets[0]],
                            in[1].integers[offsets[1]]);
    return out.integers.push_back(holds);
  }
  Type type = out.type.getElementType();
  if (!out.isFloat()) {
    SmallVector<int64_t> values;
    for (auto [tensor, offset] : llvm::zip_equal(in, offsets))
      values.push_back(tensor.integers[offset]);
    return out.integers.push_back(wrapTo(integerOp(op, values, known), type));
  }
  double value = in.size() == 1
                     ? unary(op, in[0].floats[offsets[0]], known)
                     : binary(op, in[0].floats[offsets[0]], in[1].floats[offsets[1]], known);
  out.floats.push_back(roundTo(value, type));
}

//===--- movement ---------------------------------------------------------===//

static void evaluateSlice(SliceOp op, const ConstantTensor &in, ConstantTensor &out,
                          bool &known) {
  std::optional<Dims> offsets = parseDims(op.getOffsets());
  SmallVector<int64_t> first;
  for (const DimExpr &offset : *offsets) {
    known &= offset.constant().has_value();
    first.push_back(offset.constant().value_or(0));
  }
  if (!known)
    return;
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> from;
    for (auto [i, start, step] : llvm::zip_equal(at, first, op.getSteps()))
      from.push_back(start + i * step);
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, in.type.getShape())) {
      known &= i >= 0 && i < size; // C3 checks it; a guard costs nothing
      offset = offset * size + i;
    }
    if (known)
      copyElement(in, offset, out);
  });
}

static void evaluateConcat(ConcatOp op, ArrayRef<ConstantTensor> in, ConstantTensor &out) {
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> from(at);
    int64_t &along = from[op.getAxis()];
    size_t piece = 0;
    while (along >= in[piece].type.getDimSize(op.getAxis()))
      along -= in[piece++].type.getDimSize(op.getAxis());
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, in[piece].type.getShape()))
      offset = offset * size + i;
    copyElement(in[piece], offset, out);
  });
}

static void evaluateTranspose(TransposeOp op, const ConstantTensor &in, ConstantTensor &out) {
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> from(at.size());
    for (auto [i, dim] : llvm::enumerate(op.getPerm()))
      from[dim] = at[i];
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, in.type.getShape()))
      offset = offset * size + i;
    copyElement(in, offset, out);
  });
}

static void evaluateGather(GatherOp op, ArrayRef<ConstantTensor> in, ConstantTensor &out,
                           bool &known) {
  ArrayRef<int64_t> data = in[0].type.getShape();
  size_t axis = op.getAxis(), indexRank = in[1].type.getRank();
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    int64_t index = in[1].integers[offsetOf(at.slice(axis, indexRank), in[1].type.getShape())];
    index += index < 0 ? data[axis] : 0;
    known &= index >= 0 && index < data[axis];
    SmallVector<int64_t> from(at.take_front(axis));
    from.push_back(index);
    llvm::append_range(from, at.drop_front(axis + indexRank));
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, data))
      offset = offset * size + i;
    if (known)
      copyElement(in[0], offset, out);
  });
}

std::optional<ConstantTensor> ferrite::evaluate(Operation *op, const char *&reason) {
  auto type = op->getNumResults() == 1
                  ? dyn_cast<RankedTensorType>(op->getResult(0).getType())
                  : RankedTensorType();
  reason = "the result is no small static tensor";
  if (!type || !type.hasStaticShape() || !type.getElementType().isIntOrFloat() ||
      sizeOf(type) * ((type.getElementType().getIntOrFloatBitWidth() + 7) / 8) >
          kMostFoldedBytes)
    return std::nullopt;
  reason = "an operand is no small constant";
  SmallVector<ConstantTensor> in;
  for (Value operand : op->getOperands()) {
    std::optional<ConstantTensor> tensor = ConstantTensor::read(operand);
    if (!tensor)
      return std::nullopt;
    in.push_back(std::move(*tensor));
  }
  reason = "the op is not evaluated at compile time";
  ConstantTensor out{type, {}, {}};
  bool known = true;
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](ViewOp) {
        out.floats = in[0].floats;
        out.integers = in[0].integers;
      })
      .Case([&](BroadcastOp) {
        forEachIndex(type.getShape(), [&](ArrayRef<int64_t> at) {
          copyElement(in[0], offsetOf(at, in[0].type.getShape()), out);
        });
      })
      .Case([&](TransposeOp transpose) { evaluateTranspose(transpose, in[0], out); })
      .Case([&](SliceOp slice) { evaluateSlice(slice, in[0], out, known); })
      .Case([&](ConcatOp concat) { evaluateConcat(concat, in, out); })
      .Case([&](GatherOp gather) { evaluateGather(gather, in, out, known); })
      .Case([&](IotaOp iota) {
        for (int64_t i = 0; i < type.getDimSize(0); ++i)
          out.integers.push_back(
              wrapTo(iota.getStart() + iota.getStep() * i, type.getElementType()));
      })
      .Default([&](Operation *other) {
        known = other->hasTrait<OpTrait::ResultsBroadcastableShape>();
        if (known)
          forEachIndex(type.getShape(), [&](ArrayRef<int64_t> at) {
            evaluateElement(other, in, at, out, known);
          });
      });
  if (!known)
    return std::nullopt;
  return out;
}

//===--- the pattern ------------------------------------------------------===//

namespace {
/// Terminates: a constant takes the place of an op.
struct FoldConstants final : RewritePattern {
  FoldConstants(MLIRContext *context)
      : RewritePattern(MatchAnyOpTypeTag(), /*benefit=*/10, context) {}
  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!isa_and_present<FerriteDialect>(op->getDialect()) || isa<WeightOp>(op) ||
        !isa<func::FuncOp>(op->getParentOp()))
      return rewriter.notifyMatchFailure(op, "no op of the graph");
    const char *reason = nullptr;
    std::optional<ConstantTensor> value = evaluate(op, reason);
    if (!value)
      return rewriter.notifyMatchFailure(op, reason);
    rewriter.replaceOpWithNewOp<arith::ConstantOp>(op, value->attr());
    return success();
  }
};
} // namespace

void ferrite::populateConstantPatterns(RewritePatternSet &patterns) {
  patterns.add<FoldConstants>(patterns.getContext());
}
