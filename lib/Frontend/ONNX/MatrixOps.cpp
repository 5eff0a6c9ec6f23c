//===- MatrixOps.cpp - Identities and determinants ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

LogicalResult importEyeLike(OpBinder &b) {
  TensorValue &input = b.input(0);
  Type element = input.element, i64 = b.builder().getI64Type();
  if (b.hasAttr("dtype")) {
    int64_t dtype = b.intAttr("dtype", 0);
    element = b.importer.getElementType(static_cast<int32_t>(dtype));
    if (!element)
      return b.unsupported("attribute 'dtype' = " + Twine(dtype) +
                           " is no type that Ferrite knows");
  }
  int64_t diagonal = b.intAttr("k", 0);
  if (input.rank() != 2)
    return b.error("its input has rank " + Twine(input.rank()) +
                   ", where ONNX wants 2");
  // Far outside any matrix, and no sum with a position overflows.
  diagonal =
      std::clamp<int64_t>(diagonal, -(int64_t(1) << 40), int64_t(1) << 40);
  const Dims &dims = input.dims;
  Dims column = {dims[0], DimExpr(1)};
  Value row = iotaAlong(b, dims[0], 0, 2, i64);
  row =
      b.create<AddOp>(column, i64, row, sizeScalar(b, DimExpr(diagonal), i64));
  Value on =
      b.create<CompareOp>(dims, b.builder().getI1Type(), row,
                          iotaAlong(b, dims[1], 1, 2, i64), Predicate::Eq);
  return b.setData(b.cast(on, dims, element), dims);
}

/// Determinants of the minors of rows [row, size) and of `columns`, each made
/// once: size * 2^size products.
class Determinant {
public:
  Determinant(OpBinder &b, Value matrix, Dims lead, int64_t size, Type element)
      : b(b), matrix(matrix), lead(std::move(lead)), size(size),
        element(element) {}

  Value minor(int64_t row, unsigned columns) {
    Value &known = minors[columns];
    if (known)
      return known;
    Value sum;
    bool isNegative = false;
    for (int64_t i = 0; i < size; ++i) {
      if (!(columns >> i & 1))
        continue;
      Value term = entry(row, i);
      if (row + 1 < size)
        term = b.create<MulOp>(lead, element, term,
                               minor(row + 1, columns & ~(1u << i)));
      if (!sum)
        sum = term;
      else if (isNegative)
        sum = b.create<SubOp>(lead, element, sum, term);
      else
        sum = b.create<AddOp>(lead, element, sum, term);
      isNegative = !isNegative;
    }
    return minors[columns] = sum;
  }

private:
  Value entry(int64_t row, int64_t column) {
    Dims dims = lead, offsets(lead.size(), DimExpr(0));
    dims.append({DimExpr(1), DimExpr(1)});
    offsets.append({DimExpr(row), DimExpr(column)});
    Value slice = b.create<SliceOp>(dims, element, matrix, b.dimsAttr(offsets),
                                    SmallVector<int64_t>(dims.size(), 1),
                                    b.dimsAttr(dims));
    return b.view(slice, lead);
  }

  OpBinder &b;
  Value matrix;
  Dims lead;
  int64_t size;
  Type element;
  llvm::DenseMap<unsigned, Value> minors;
};

/// By cofactors: exact enough for the small matrices of transforms, and without
/// the pivots that elimination chooses by the data.
LogicalResult importDet(OpBinder &b) {
  TensorValue &input = b.input(0);
  size_t rank = input.rank();
  if (rank < 2 || input.dims[rank - 1] != input.dims[rank - 2])
    return b.error("its input, " + printDims(input.dims) +
                   ", is not of square matrices");
  std::optional<int64_t> size = input.dims.back().constant();
  if (!size || *size > 6)
    return b.unsupported("of matrices of size " + input.dims.back().str() +
                         ", above 6, is not supported");
  Dims lead(input.dims.begin(), input.dims.end() - 2);
  FailureOr<Value> data = b.data(0);
  if (failed(data))
    return failure();
  if (*size == 0)
    return b.setData(b.create<BroadcastOp>(lead, input.element,
                                           b.scalar(1, input.element),
                                           b.dimsAttr(lead)),
                     lead);
  Determinant determinant(b, *data, lead, *size, input.element);
  return b.setData(determinant.minor(0, (1u << *size) - 1), lead);
}

} // namespace

void registerMatrixOps(OpTable &table) {
  table.add("EyeLike", importEyeLike);
  table.add("Det", importDet);
}

} // namespace ferrite::frontend
