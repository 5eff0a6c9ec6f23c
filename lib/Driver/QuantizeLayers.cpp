//===- QuantizeLayers.cpp - Weights on their way to few bits --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeLayers.h"

#include "lib/Artifact/NodeNames.h"
#include "lib/Driver/Quantize.h"
#include "lib/Reference/Parallel.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/Passes.h"

#include "llvm/ADT/MapVector.h"

#include <atomic>
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ferrite;

int64_t QuantLayer::depth() const { return typeOf(weight()).getDimSize(0); }

/// The bytes of a weight as the model has them.
static int64_t bytesInModel(Value weight) {
  auto op = weight.getDefiningOp<WeightOp>();
  if (!op) {
    RankedTensorType type = typeOf(weight);
    return type.getNumElements() * (type.getElementTypeBitWidth() / 8);
  }
  int64_t bytes = 0;
  for (Attribute attr : op.getSources()) {
    auto source = cast<SourceAttr>(attr);
    int64_t count = 1;
    for (int64_t size : source.getShape())
      count *= size;
    bytes += packedBytes(count, source.getType().getIntOrFloatBitWidth());
  }
  return bytes;
}

std::string ferrite::weightName(Value weight) {
  if (auto op = weight.getDefiningOp<WeightOp>())
    return op.getName().str();
  return nodeNames(weight.getLoc());
}

std::vector<QuantLayer> ferrite::findLayers(ModuleOp module) {
  // What makes two weights one: the same bytes under the same dims in the same
  // format. (Constants are uniqued, so their attribute tells.)
  using Key = std::pair<Attribute, std::pair<Type, Attribute>>;
  llvm::MapVector<Key, QuantLayer> layers;
  module.walk([&](LinearOp op) {
    auto format = op->getAttrOfType<StringAttr>(kFormatAttr);
    if (!format)
      return;
    Attribute bytes;
    if (auto weight = op.getWeight().getDefiningOp<WeightOp>())
      bytes = ArrayAttr::get(op.getContext(),
                             {weight.getSourcesAttr(),
                              IntegerAttr::get(IndexType::get(op.getContext()),
                                               weight.getAxis())});
    else
      bytes = op.getWeight().getDefiningOp<arith::ConstantOp>().getValue();
    QuantLayer &layer = layers[{bytes, {op.getWeight().getType(), format}}];
    if (layer.ops.empty()) {
      layer.format = llvm::cantFail(QuantFormat::parse(format.getValue()));
      layer.node = nodeNames(op.getLoc());
      layer.name = weightName(op.getWeight());
      layer.wideBytes = bytesInModel(op.getWeight());
    }
    layer.ops.push_back(op);
  });
  std::vector<QuantLayer> result;
  for (auto &[key, layer] : layers)
    result.push_back(std::move(layer));
  return result;
}

LogicalResult ferrite::readColumns(const QuantLayer &layer,
                                   const StoredColumns &columns,
                                   const WeightChange &change, int64_t first,
                                   int64_t count, float *to) {
  int64_t depth = columns.depth();
  for (int64_t n = 0; n < count; ++n) {
    float *column = to + n * depth;
    columns.read(first + n, column);
    for (int64_t k = 0; k < depth; ++k)
      if (!std::isfinite(column[k]))
        return failure();
    for (int64_t k = 0; k < int64_t(change.rowScale.size()); ++k)
      column[k] *= change.rowScale[k];
    if (change.rotateRows)
      change.rotateRows(column, /*undo=*/false);
  }
  return success();
}

void WeightChange::undo(std::vector<float> &columns, int64_t count,
                        int64_t depth) const {
  if (mixColumns)
    mixColumns(columns.data(), count, depth, /*undo=*/true);
  for (int64_t n = 0; n < count; ++n) {
    float *column = columns.data() + n * depth;
    if (rotateRows)
      rotateRows(column, /*undo=*/true);
    // What a norm multiplies by 0 says nothing.
    for (int64_t k = 0; k < int64_t(rowScale.size()); ++k)
      column[k] = rowScale[k] == 0 ? 0 : column[k] / rowScale[k];
  }
}

/// All columns of a layer's weight, changed.
static FailureOr<std::vector<float>> changedColumns(const QuantLayer &layer,
                                                    ModelFolder &folder) {
  FailureOr<StoredColumns> columns =
      StoredColumns::open(layer.weight(), folder);
  if (failed(columns))
    return failure();
  int64_t depth = columns->depth(), count = columns->count();
  std::vector<float> all(depth * count);
  if (failed(readColumns(layer, *columns, layer.change, 0, count, all.data())))
    return emitError(LinearOp(layer.ops.front()).getLoc())
           << "weight '" << layer.name
           << "' has an element that is not finite; it cannot be changed";
  if (layer.change.mixColumns)
    layer.change.mixColumns(all.data(), count, depth, /*undo=*/false);
  return std::move(all);
}

/// Numbers as they are stored.
static std::vector<char> bytesOfFloats(ArrayRef<float> numbers, Type type) {
  Kind kind = *kindOf(type);
  std::vector<char> bytes(numbers.size() * bytesOf(kind));
  for (size_t i = 0; i < numbers.size(); ++i)
    writeFloat(kind, bytes.data(), i, numbers[i]);
  return bytes;
}

/// [count][depth] at the end of `file`.
static FailureOr<SourceAttr> writeColumns(const QuantLayer &layer,
                                          ArrayRef<float> all, Type type,
                                          SideFile &file, StringRef fileName,
                                          ArrayRef<int64_t> perm) {
  std::vector<char> bytes = bytesOfFloats(all, type);
  int64_t at = file.reserve(int64_t(bytes.size()));
  if (!file.write(at, bytes.data(), bytes.size()))
    return emitError(LinearOp(layer.ops.front()).getLoc())
           << "cannot write '" << file.path() << "': the disk may be full";
  return SourceAttr::get(type.getContext(), fileName, at,
                         {int64_t(all.size()) / layer.depth(), layer.depth()},
                         type, perm);
}

static LogicalResult storeWide(QuantLayer &layer, ModelFolder &folder,
                               SideFile &file, StringRef fileName) {
  layer.error = 0;
  layer.storedBytes = layer.wideBytes;
  if (layer.change.isNone())
    return success();
  FailureOr<std::vector<float>> all = changedColumns(layer, folder);
  if (failed(all))
    return failure();
  FailureOr<SourceAttr> written = writeColumns(
      layer, *all, typeOf(layer.weight()).getElementType(), file, fileName, {});
  if (failed(written))
    return failure();
  layer.stored.codes = *written;
  return success();
}

FailureOr<SourceAttr> ferrite::storeMeaning(const QuantLayer &layer,
                                            ModelFolder &folder, SideFile &file,
                                            StringRef fileName) {
  MLIRContext *context = layer.weight().getContext();
  Location loc = LinearOp(layer.ops.front()).getLoc();
  OwningOpRef<ModuleOp> alone = ModuleOp::create(loc);
  OpBuilder b(alone->getBodyRegion());
  Type f32 = b.getF32Type();
  Value codes = WeightOp::create(
      b, loc, RankedTensorType::get(typeOf(layer.weight()).getShape(), f32),
      layer.name, dequantizedSources(context, layer.stored), 0);
  FailureOr<StoredColumns> columns = StoredColumns::open(codes, folder);
  if (failed(columns))
    return failure();
  int64_t depth = columns->depth(), count = columns->count();
  std::vector<float> all(depth * count);
  for (int64_t n = 0; n < count; ++n)
    columns->read(n, all.data() + n * depth);
  layer.change.undo(all, count, depth);
  return writeColumns(layer, all, f32, file, fileName, {1, 0});
}

int64_t ferrite::packedBytes(int64_t count, unsigned width) {
  return (count * width + 7) / 8;
}

/// Codes packed with the first in the low bits.
static std::vector<uint8_t> pack(ArrayRef<int8_t> codes, unsigned width) {
  std::vector<uint8_t> bytes(packedBytes(codes.size(), width), 0);
  unsigned mask = (1u << width) - 1, perByte = 8 / width;
  for (size_t i = 0; i < codes.size(); ++i)
    bytes[i / perByte] |= (uint8_t(codes[i]) & mask) << (i % perByte * width);
  return bytes;
}

LogicalResult ferrite::storeLayer(QuantLayer &layer, const double *factor,
                                  const float *importance, ModelFolder &folder,
                                  SideFile &file, StringRef fileName,
                                  unsigned threads) {
  // What an earlier format had of its own, zero points, is not this one's.
  layer.stored = StoredCodes();
  const WeightChange &change = layer.change;
  const QuantFormat &format = layer.format;
  if (format.isWide())
    return storeWide(layer, folder, file, fileName);
  FailureOr<StoredColumns> columns =
      StoredColumns::open(layer.weight(), folder);
  if (failed(columns))
    return failure();
  MLIRContext *context = layer.weight().getContext();
  int64_t depth = columns->depth(), count = columns->count();
  int64_t groups = format.group ? depth / format.group : 1;
  Type codeType = getCodeType(context, format);
  unsigned width = codeType.getIntOrFloatBitWidth();
  int64_t columnBytes = packedBytes(depth, width);
  int64_t codesAt = file.reserve(columnBytes * count);

  // Sixteen columns are what GPTQ works on at once.
  constexpr int64_t kChunk = 16;
  int64_t chunks = (count + kChunk - 1) / kChunk;
  std::vector<float> scales(count * groups);
  std::vector<int8_t> zeros(format.isAsymmetric ? count * groups : 0);
  std::vector<float> sums(format.isShifted ? count : 0);
  std::vector<double> errors(chunks), norms(chunks);
  std::atomic<bool> isFinite{true}, isWritten{true};
  std::vector<float> all;
  if (change.mixColumns) {
    all.resize(depth * count);
    if (failed(readColumns(layer, *columns, change, 0, count, all.data())))
      isFinite = false;
    else
      change.mixColumns(all.data(), count, depth, /*undo=*/false);
  }
  reference::parallelFor(isFinite ? chunks : 0, threads, [&](int64_t chunk) {
    int64_t first = chunk * kChunk, size = std::min(kChunk, count - first);
    std::vector<float> own;
    const float *from = all.data() + first * depth;
    if (all.empty()) {
      own.resize(size * depth);
      from = own.data();
      if (failed(
              readColumns(layer, *columns, change, first, size, own.data()))) {
        isFinite = false;
        return;
      }
    }
    RoundedColumns rounded;
    rounded.resize(size, depth, format);
    if (factor)
      roundWithFactor(from, size, depth, format, factor, rounded, 0);
    else
      roundToNearest(from, size, depth, format, importance, /*search=*/true,
                     rounded, 0);
    addErrors(from, size, depth, format, importance, rounded, errors[chunk],
              norms[chunk]);
    for (int64_t n = 0; n < size && !sums.empty(); ++n)
      sums[first + n] = float(
          std::accumulate(rounded.codes.begin() + n * depth,
                          rounded.codes.begin() + (n + 1) * depth, int64_t(0)));
    std::copy(rounded.scales.begin(), rounded.scales.end(),
              scales.begin() + first * groups);
    std::copy(rounded.zeros.begin(), rounded.zeros.end(),
              zeros.begin() + (zeros.empty() ? 0 : first * groups));
    std::vector<uint8_t> bytes = pack(rounded.codes, width);
    if (!file.write(codesAt + first * columnBytes, bytes.data(), bytes.size()))
      isWritten = false;
  });
  Location loc = LinearOp(layer.ops.front()).getLoc();
  if (!isFinite)
    return emitError(loc) << "weight '" << layer.name
                          << "' has an element that is not finite; it cannot "
                             "be quantized";
  Type scaleType = getScaleType(context, format);
  std::vector<char> scaleData = bytesOfFloats(scales, scaleType);
  int64_t scalesAt = file.reserve(scaleData.size());
  isWritten =
      isWritten && file.write(scalesAt, scaleData.data(), scaleData.size());
  SmallVector<int64_t> sideShape = {count};
  if (format.group)
    sideShape.push_back(groups);
  layer.stored.format = format;
  layer.stored.codes =
      SourceAttr::get(context, fileName, codesAt, {count, depth}, codeType, {});
  layer.stored.scales =
      SourceAttr::get(context, fileName, scalesAt, sideShape, scaleType, {});
  layer.storedBytes = columnBytes * count + int64_t(scaleData.size());
  if (format.isShifted) {
    for (int64_t n = 0; n < count; ++n)
      sums[n] *= scales[n];
    int64_t bytes = count * int64_t(sizeof(float)),
            sumsAt = file.reserve(bytes);
    isWritten = isWritten && file.write(sumsAt, sums.data(), bytes);
    layer.stored.sums = SourceAttr::get(context, fileName, sumsAt, {count},
                                        Float32Type::get(context), {});
    layer.storedBytes += bytes;
  }
  if (!zeros.empty()) {
    std::vector<uint8_t> zeroData = pack(zeros, width);
    int64_t zerosAt = file.reserve(zeroData.size());
    isWritten =
        isWritten && file.write(zerosAt, zeroData.data(), zeroData.size());
    layer.stored.zeros =
        SourceAttr::get(context, fileName, zerosAt, sideShape, codeType, {});
    layer.storedBytes += int64_t(zeroData.size());
  }
  if (!isWritten)
    return emitError(loc) << "cannot write '" << file.path()
                          << "': the disk may be full";
  double error = 0, norm = 0;
  for (int64_t i = 0; i < chunks; ++i) {
    error += errors[i];
    norm += norms[i];
  }
  layer.error = norm > 0 ? std::sqrt(error / norm) : 0;
  return success();
}
