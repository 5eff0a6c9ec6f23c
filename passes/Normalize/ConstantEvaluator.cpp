//===- ConstantEvaluator.cpp - Ops on small constants ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Normalize/ConstantEvaluator.h"

#include "dialects/Ferrite/IR/Elements.h"
#include "mlir/IR/Matchers.h"
#include "passes/Normalize/Patterns.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

//===--- reading and writing ----------------------------------------------===//

static double doubleOf(APFloat value) {
  bool inexact;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &inexact);
  return value.convertToDouble();
}

static APFloat toType(double value, Type type) {
  APFloat result(value);
  bool inexact;
  result.convert(cast<FloatType>(type).getFloatSemantics(),
                 APFloat::rmNearestTiesToEven, &inexact);
  return result;
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
      tensor.floats.push_back(doubleOf(v));
  } else {
    bool isUnsigned = isUnsignedElement(element);
    for (const APInt &v : attr.getValues<APInt>())
      tensor.integers.push_back(isUnsigned
                                    ? static_cast<int64_t>(v.getZExtValue())
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
template <typename F>
static void forEachIndex(ArrayRef<int64_t> shape, F visit) {
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

int64_t ferrite::offsetOf(ArrayRef<int64_t> index, ArrayRef<int64_t> shape) {
  int64_t offset = 0;
  ArrayRef<int64_t> own = index.take_back(shape.size());
  for (auto [i, size] : llvm::zip_equal(own, shape))
    offset = offset * size + (size == 1 ? 0 : i);
  return offset;
}

void ConstantTensor::append(const ConstantTensor &from, int64_t offset) {
  if (from.isFloat())
    floats.push_back(from.floats[offset]);
  else
    integers.push_back(from.integers[offset]);
}

//===--- movement ---------------------------------------------------------===//

static void evaluateSlice(SliceOp op, const ConstantTensor &in,
                          ConstantTensor &out, bool &known) {
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
      out.append(in, offset);
  });
}

static void evaluateConcat(ConcatOp op, ArrayRef<ConstantTensor> in,
                           ConstantTensor &out) {
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> from(at);
    int64_t &along = from[op.getAxis()];
    size_t piece = 0;
    while (along >= in[piece].type.getDimSize(op.getAxis()))
      along -= in[piece++].type.getDimSize(op.getAxis());
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, in[piece].type.getShape()))
      offset = offset * size + i;
    out.append(in[piece], offset);
  });
}

static void evaluateTranspose(TransposeOp op, const ConstantTensor &in,
                              ConstantTensor &out) {
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    SmallVector<int64_t> from(at.size());
    for (auto [i, dim] : llvm::enumerate(op.getPerm()))
      from[dim] = at[i];
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, in.type.getShape()))
      offset = offset * size + i;
    out.append(in, offset);
  });
}

static void evaluateGather(GatherOp op, ArrayRef<ConstantTensor> in,
                           ConstantTensor &out, bool &known) {
  ArrayRef<int64_t> data = in[0].type.getShape();
  size_t axis = op.getAxis(), indexRank = in[1].type.getRank();
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    int64_t index = in[1].integers[offsetOf(at.slice(axis, indexRank),
                                            in[1].type.getShape())];
    index += index < 0 ? data[axis] : 0;
    known &= index >= 0 && index < data[axis];
    SmallVector<int64_t> from(at.take_front(axis));
    from.push_back(index);
    llvm::append_range(from, at.drop_front(axis + indexRank));
    int64_t offset = 0;
    for (auto [i, size] : llvm::zip_equal(from, data))
      offset = offset * size + i;
    if (known)
      out.append(in[0], offset);
  });
}

//===--- elementwise ------------------------------------------------------===//

/// Whether `op` is elementwise; if so, `out` is its result.
static bool evaluateElementwise(Operation *op, ArrayRef<ConstantTensor> in,
                                ConstantTensor &out) {
  ElementFunction function = ElementFunction::of(op);
  if (!function || in.size() > 3 ||
      !op->hasTrait<OpTrait::ResultsBroadcastableShape>())
    return false;
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> at) {
    Element elements[3];
    for (auto [tensor, element] : llvm::zip(in, elements)) {
      int64_t offset = offsetOf(at, tensor.type.getShape());
      if (tensor.isFloat())
        element.f = tensor.floats[offset];
      else
        element.i = tensor.integers[offset];
    }
    Element element = function(elements);
    if (out.isFloat())
      out.floats.push_back(element.f);
    else
      out.integers.push_back(element.i);
  });
  return true;
}

std::optional<ConstantTensor> ferrite::evaluate(Operation *op,
                                                const char *&reason) {
  auto type = op->getNumResults() == 1
                  ? dyn_cast<RankedTensorType>(op->getResult(0).getType())
                  : RankedTensorType();
  reason = "the result is no small static tensor";
  if (!type || !type.hasStaticShape() ||
      !type.getElementType().isIntOrFloat() ||
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
          out.append(in[0], offsetOf(at, in[0].type.getShape()));
        });
      })
      .Case([&](TransposeOp transpose) {
        evaluateTranspose(transpose, in[0], out);
      })
      .Case([&](SliceOp slice) { evaluateSlice(slice, in[0], out, known); })
      .Case([&](ConcatOp concat) { evaluateConcat(concat, in, out); })
      .Case([&](GatherOp gather) { evaluateGather(gather, in, out, known); })
      .Case([&](IotaOp iota) {
        for (int64_t i = 0; i < type.getDimSize(0); ++i)
          out.integers.push_back(wrapTo(*kindOf(type.getElementType()),
                                        iota.getStart() + iota.getStep() * i));
      })
      .Default([&](Operation *other) {
        known = evaluateElementwise(other, in, out);
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
  LogicalResult matchAndRewrite(Operation *op,
                                PatternRewriter &rewriter) const override {
    if (!isa_and_present<FerriteDialect>(op->getDialect()) ||
        isa<WeightOp>(op) || !isa<func::FuncOp>(op->getParentOp()))
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
