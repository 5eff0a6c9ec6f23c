//===- StoredColumns.cpp - The columns of a stored weight -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Quantization/StoredColumns.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ferrite;

FailureOr<StoredColumns> StoredColumns::open(Value weight,
                                             ModelFolder &folder) {
  auto type = cast<RankedTensorType>(weight.getType());
  StoredColumns stored;
  stored.rows = type.getDimSize(0);
  stored.columns = type.getDimSize(1);
  DenseElementsAttr dense;
  if (matchPattern(weight, m_Constant(&dense))) {
    std::optional<Kind> kind = kindOf(dense.getElementType());
    if (!kind)
      return emitError(weight.getLoc())
             << "a constant of " << dense.getElementType()
             << " cannot be quantized";
    Part part;
    part.constant = dense.getRawData().data();
    part.kind = *kind;
    part.isSplat = dense.isSplat();
    part.rows = stored.rows;
    part.columns = stored.columns;
    part.rowStride = stored.columns;
    part.columnStride = 1;
    stored.parts.push_back(std::move(part));
    return std::move(stored);
  }
  auto op = weight.getDefiningOp<WeightOp>();
  if (!op)
    return emitError(weight.getLoc()) << "a weight to quantize is computed";
  int64_t done = 0;
  for (Attribute attr : op.getSources()) {
    auto source = cast<SourceAttr>(attr);
    FailureOr<SourceReader> reader =
        SourceReader::open(op, op.getName(), source, folder);
    if (failed(reader))
      return failure();
    Part part;
    part.kind = reader->isScaled() ? Kind::F32 : reader->kind();
    part.reader = *reader;
    ArrayRef<int64_t> shape = source.getShape();
    if (shape.size() == 2) {
      int64_t pitch = source.getPitch() ? source.getPitch() : shape[1];
      bool isTurned = !source.getPerm().empty() && source.getPerm()[0] == 1;
      part.rows = shape[isTurned];
      part.columns = shape[!isTurned];
      part.rowStride = isTurned ? 1 : pitch;
      part.columnStride = isTurned ? pitch : 1;
    } else if (source.getPerm().empty() && op.getSources().size() == 1) {
      part.rows = stored.rows;
      part.columns = part.rowStride = stored.columns;
      part.columnStride = 1;
    } else {
      return op.emitError("weight '")
             << op.getName() << "' lies under dims that are not quantized";
    }
    (op.getAxis() == 0 ? part.firstRow : part.firstColumn) = done;
    done += op.getAxis() == 0 ? part.rows : part.columns;
    stored.parts.push_back(std::move(part));
  }
  return std::move(stored);
}

FailureOr<StoredColumns> StoredColumns::openRows(WeightOp table,
                                                 ModelFolder &folder) {
  auto source = cast<SourceAttr>(table.getSources()[0]);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(table.getType()).getShape();
  OpBuilder b(table);
  auto turned = SourceAttr::get(
      b.getContext(), source.getFile(), source.getOffset(), source.getShape(),
      source.getType(), {1, 0}, source.getDequant(), source.getPitch());
  auto view = WeightOp::create(
      b, table.getLoc(),
      RankedTensorType::get({shape[1], shape[0]}, b.getF32Type()),
      table.getName(), b.getArrayAttr({turned}), 0);
  FailureOr<StoredColumns> rows = open(view, folder);
  view.erase();
  return rows;
}

void StoredColumns::read(int64_t column, int64_t first, int64_t count,
                         float *to) const {
  for (const Part &part : parts) {
    int64_t own = column - part.firstColumn;
    int64_t begin = std::max(first, part.firstRow),
            end = std::min(first + count, part.firstRow + part.rows);
    if (own < 0 || own >= part.columns || begin >= end)
      continue;
    int64_t from =
        own * part.columnStride + (begin - part.firstRow) * part.rowStride;
    float *out = to + begin - first;
    if (part.reader && part.reader->isScaled()) {
      part.reader->readScaled(from, part.rowStride, end - begin, out);
      continue;
    }
    bool isPlain = part.reader && part.reader->isPlain();
    const char *data =
        part.reader ? (isPlain ? part.reader->data() : nullptr) : part.constant;
    for (int64_t k = 0; k < end - begin; ++k) {
      int64_t at = part.isSplat ? 0 : from + k * part.rowStride;
      out[k] =
          data && ferrite::isFloat(part.kind)
              ? float(readFloat(part.kind, data, at))
              : float(toDouble(part.kind,
                               part.reader ? part.reader->element(at)
                                           : readElement(part.kind, data, at)));
    }
  }
}
