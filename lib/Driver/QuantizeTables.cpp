//===- QuantizeTables.cpp - Tables of rows as bytes -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeTables.h"

#include "lib/Artifact/NodeNames.h"
#include "lib/Driver/Quantize.h"
#include "lib/Quantization/Rounding.h"
#include "lib/Reference/Parallel.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/Passes.h"

#include "llvm/ADT/MapVector.h"

#include <atomic>
#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Rows that a thread rounds at once.
static constexpr int64_t kRows = 64;

/// Rounds the rows of `table` into `file`.
static FailureOr<StoredCodes> storeRows(Value table, const QuantFormat &format,
                                        ModelFolder &folder, SideFile &file,
                                        StringRef fileName, unsigned threads,
                                        LayerRecord &record) {
  int64_t rows = typeOf(table).getDimSize(0),
          depth = typeOf(table).getDimSize(1);
  OpBuilder b(table.getContext());
  std::optional<StoredColumns> columns;
  SmallVector<float, 0> constant;
  unsigned wideBits = 32;
  if (auto weight = table.getDefiningOp<WeightOp>()) {
    FailureOr<StoredColumns> opened = StoredColumns::openRows(weight, folder);
    if (failed(opened))
      return failure();
    columns = std::move(*opened);
    wideBits = cast<SourceAttr>(weight.getSources()[0])
                   .getType()
                   .getIntOrFloatBitWidth();
  } else {
    auto numbers = cast<DenseElementsAttr>(
        table.getDefiningOp<arith::ConstantOp>().getValue());
    constant.assign(numbers.getValues<float>().begin(),
                    numbers.getValues<float>().end());
  }
  int64_t codesAt = file.reserve(rows * depth),
          scalesAt = file.reserve(rows * int64_t(sizeof(float))),
          pieces = (rows + kRows - 1) / kRows;
  std::atomic<bool> isWritten{true}, isFinite{true};
  std::vector<double> errors(pieces), norms(pieces);
  reference::parallelFor(pieces, threads, [&](int64_t piece) {
    int64_t first = piece * kRows, count = std::min(kRows, rows - first);
    std::vector<float> numbers(count * depth);
    if (!columns)
      std::copy_n(constant.begin() + first * depth, count * depth,
                  numbers.begin());
    for (int64_t r = 0; columns && r < count; ++r)
      columns->read(first + r, numbers.data() + r * depth);
    for (float number : numbers)
      if (!std::isfinite(number)) {
        isFinite = false;
        return;
      }
    RoundedColumns rounded;
    rounded.resize(count, depth, format);
    roundToNearest(numbers.data(), count, depth, format, nullptr,
                   /*search=*/true, rounded, 0);
    addErrors(numbers.data(), count, depth, format, nullptr, rounded,
              errors[piece], norms[piece]);
    if (!file.write(codesAt + first * depth, rounded.codes.data(),
                    rounded.codes.size()) ||
        !file.write(scalesAt + first * int64_t(sizeof(float)),
                    rounded.scales.data(),
                    rounded.scales.size() * sizeof(float)))
      isWritten = false;
  });
  if (!isFinite)
    return emitError(table.getLoc())
           << "weight '" << record.weight
           << "' has an element that is not finite; it cannot be quantized";
  if (!isWritten)
    return emitError(table.getLoc())
           << "cannot write '" << file.path() << "': the disk may be full";
  double error = 0, norm = 0;
  for (int64_t i = 0; i < pieces; ++i) {
    error += errors[i];
    norm += norms[i];
  }
  record.error = norm > 0 ? std::sqrt(error / norm) : 0;
  record.storedBytes = rows * (depth + int64_t(sizeof(float)));
  record.wideBytes = rows * depth * (wideBits / 8);
  StoredCodes stored;
  stored.format = format;
  stored.codes = SourceAttr::get(b.getContext(), fileName, codesAt,
                                 {rows, depth}, b.getI8Type(), {});
  stored.scales = SourceAttr::get(b.getContext(), fileName, scalesAt, {rows, 1},
                                  b.getF32Type(), {});
  return stored;
}

LogicalResult ferrite::quantizeTables(ModuleOp module, ModelFolder &folder,
                                      SideFile &file, StringRef fileName,
                                      unsigned threads,
                                      std::vector<LayerRecord> &records) {
  llvm::MapVector<Attribute, StoredCodes> known;
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<GatherOp> gathers;
    func.walk([&](GatherOp op) {
      if (op->hasAttr(kFormatAttr))
        gathers.push_back(op);
    });
    if (gathers.empty())
      continue;
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return failure();
    LinearRewriter rewriter(*dims);
    for (GatherOp op : gathers) {
      Value table = op.getData();
      auto weight = table.getDefiningOp<WeightOp>();
      Attribute bytes =
          weight ? Attribute(weight.getSourcesAttr())
                 : table.getDefiningOp<arith::ConstantOp>().getValue();
      auto [place, isNew] = known.try_emplace(bytes, StoredCodes());
      if (isNew) {
        auto format = op->getAttrOfType<StringAttr>(kFormatAttr);
        LayerRecord record;
        record.node = nodeNames(op.getLoc());
        record.weight =
            weight ? weight.getName().str() : nodeNames(table.getLoc());
        record.format = format.getValue().str();
        FailureOr<StoredCodes> stored = storeRows(
            table, llvm::cantFail(QuantFormat::parse(format.getValue())),
            folder, file, fileName, threads, record);
        if (failed(stored))
          return failure();
        place->second = *stored;
        records.push_back(std::move(record));
      }
      rewriter.readBytes(op, place->second);
    }
  }
  return success();
}
