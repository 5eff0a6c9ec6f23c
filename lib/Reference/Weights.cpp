//===- Weights.cpp - Weights and constants of an entry --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/SourceReader.h"
#include "lib/Reference/Frame.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

static LogicalResult readSource(WeightOp op, SourceAttr source,
                                ModelFolder &folder, Tensor &to) {
  FailureOr<SourceReader> reader =
      SourceReader::open(op, op.getName(), source, folder);
  std::optional<int64_t> count = countOf(source.getShape());
  if (failed(reader))
    return failure();
  if (!count)
    return op.emitError("weight '")
           << op.getName() << "' has too many elements";
  Kind kind = reader->kind();
  auto type = cast<RankedTensorType>(op.getType());
  Kind wanted = *kindOf(type.getElementType());
  if (wanted == kind && source.getPerm().empty() && reader->isPlain() &&
      source.getPitch() == 0) {
    to = Tensor::borrow(kind, source.getShape(), reader->data());
    return success();
  }
  // Transposed and converted on reading.
  Sizes own = stridesOf(source.getShape()), shape, strides;
  if (source.getPitch() != 0)
    own[0] = source.getPitch();
  for (size_t i = 0; i < own.size(); ++i) {
    int64_t from = source.getPerm().empty() ? i : source.getPerm()[i];
    shape.push_back(source.getShape()[from]);
    strides.push_back(own[from]);
  }
  std::optional<Tensor> made = Tensor::make(wanted, shape);
  if (!made)
    return op.emitError("memory is too short for weight '")
           << op.getName() << "'";
  walkStrided(shape, strides, 0, *count, [&](int64_t at, const Sizes &from) {
    if (reader->isScaled()) {
      float number;
      reader->readScaled(from[0], 1, 1, &number);
      made->setNumber(at, number);
    } else {
      made->setElement(at, castElement(kind, reader->element(from[0]), wanted));
    }
  });
  to = *made;
  return success();
}

LogicalResult ferrite::reference::readWeight(WeightOp op, ModelFolder &folder,
                                             Tensor &to) {
  auto type = cast<RankedTensorType>(op.getType());
  SmallVector<Tensor> parts;
  for (Attribute source : op.getSourcesAttr())
    if (failed(readSource(op, cast<SourceAttr>(source), folder,
                          parts.emplace_back())))
      return failure();
  if (parts.size() == 1) {
    to = parts[0].viewed(type.getShape());
    return success();
  }
  std::optional<Tensor> made =
      Tensor::make(*kindOf(type.getElementType()), type.getShape());
  if (!made)
    return op.emitError("memory is too short for weight '")
           << op.getName() << "'";
  int64_t rows = *countOf(type.getShape().take_front(op.getAxis()));
  int64_t row = made->bytes() / std::max<int64_t>(rows, 1), done = 0;
  for (const Tensor &part : parts) {
    int64_t bytes = part.bytes() / std::max<int64_t>(rows, 1);
    for (int64_t i = 0; i < rows; ++i)
      std::memcpy(made->mutableData() + i * row + done, part.data() + i * bytes,
                  bytes);
    done += bytes;
  }
  to = *made;
  return success();
}

LogicalResult ferrite::reference::readConstant(arith::ConstantOp op,
                                               Tensor &to) {
  auto dense = dyn_cast<DenseElementsAttr>(op.getValue());
  std::optional<Kind> kind =
      dense ? kindOf(dense.getElementType()) : std::nullopt;
  if (!kind)
    return op.emitError("the constant is no dense tensor");
  std::optional<Tensor> made = Tensor::make(*kind, dense.getType().getShape());
  if (!made)
    return op.emitError("memory is too short for a constant");
  int64_t i = 0;
  if (isFloat(*kind))
    for (APFloat value : dense.getValues<APFloat>()) {
      bool lossy;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                    &lossy);
      made->setNumber(i++, value.convertToDouble());
    }
  else
    for (const APInt &value : dense.getValues<APInt>())
      made->setInteger(i++, *kind == Kind::Bool ? value.getZExtValue()
                                                : value.getSExtValue());
  to = *made;
  return success();
}
