//===- QuantizeExperts.cpp - Weights of experts in few bits ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A weight [experts, H, N] is read expert by expert as a matrix. Its codes are
// unsigned, with the zero in the middle where the format has none of its own,
// in four or eight bits: those of two and three bits lie in four.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeExperts.h"

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

namespace {
/// A weight of experts as it is stored.
struct Stored {
  QuantFormat format; ///< wide: the weight stays
  int64_t bits = 0, block = 0;
  SourceAttr codes, scales, zeros; ///< no `zeros`: in the middle
};
} // namespace

/// Of expert `expert`, [H, N] of a source that has one or more experts.
static SourceAttr sourceOf(WeightOp weight, int64_t expert) {
  for (Attribute attr : weight.getSources()) {
    auto source = cast<SourceAttr>(attr);
    SmallVector<int64_t> shape(source.getShape());
    SmallVector<int64_t> perm(source.getPerm());
    int64_t count = 1;
    if (shape.size() == 3) {
      count = shape[0];
      shape.erase(shape.begin());
      if (!perm.empty())
        perm = {perm[1] - 1, perm[2] - 1};
    } else if (shape.empty()) {
      shape = {typeOf(weight).getDimSize(1), typeOf(weight).getDimSize(2)};
      count =
          weight.getSources().size() == 1 ? typeOf(weight).getDimSize(0) : 1;
    }
    if (expert >= count) {
      expert -= count;
      continue;
    }
    int64_t bytes =
        shape[0] * shape[1] * source.getType().getIntOrFloatBitWidth() / 8;
    return SourceAttr::get(weight.getContext(), source.getFile(),
                           source.getOffset() + expert * bytes, shape,
                           source.getType(), perm, nullptr, 0);
  }
  llvm_unreachable("a weight has sources for all of its experts");
}

/// The matrix of an expert, to be read by columns; of a constant, too.
static FailureOr<StoredColumns> openExpert(Value weights, int64_t expert,
                                           ModelFolder &folder) {
  auto type = typeOf(weights);
  auto matrix = RankedTensorType::get({type.getDimSize(1), type.getDimSize(2)},
                                      type.getElementType());
  OpBuilder b(weights.getContext());
  b.setInsertionPointAfterValue(weights);
  auto weight = weights.getDefiningOp<WeightOp>();
  if (!weight) {
    auto dense = cast<DenseElementsAttr>(
        weights.getDefiningOp<arith::ConstantOp>().getValue());
    DenseElementsAttr part =
        dense.isSplat()
            ? dense.resizeSplat(matrix)
            : DenseElementsAttr::getFromRawBuffer(
                  matrix, dense.getRawData().slice(
                              expert * matrix.getNumElements() *
                                  (matrix.getElementTypeBitWidth() / 8),
                              matrix.getNumElements() *
                                  (matrix.getElementTypeBitWidth() / 8)));
    auto constant = arith::ConstantOp::create(b, weights.getLoc(), part);
    FailureOr<StoredColumns> columns = StoredColumns::open(constant, folder);
    constant.erase();
    return columns;
  }
  auto view = WeightOp::create(b, weights.getLoc(), matrix, weight.getName(),
                               b.getArrayAttr({sourceOf(weight, expert)}), 0);
  FailureOr<StoredColumns> columns = StoredColumns::open(view, folder);
  view.erase();
  return columns;
}

/// Numbers of `bits` bits, the first in the low ones.
static void packBits(ArrayRef<uint8_t> numbers, int64_t bits, uint8_t *to) {
  int64_t perByte = 8 / bits;
  for (size_t i = 0; i < numbers.size(); ++i)
    to[i / perByte] |= numbers[i] << (i % perByte * bits);
}

/// Rounds `weights` into `file`, in the format of `stored`.
static LogicalResult store(Value weights, Stored &stored, ModelFolder &folder,
                           SideFile &file, StringRef fileName, unsigned threads,
                           LayerRecord &record) {
  const QuantFormat &format = stored.format;
  RankedTensorType type = typeOf(weights);
  int64_t experts = type.getDimSize(0), depth = type.getDimSize(1),
          count = type.getDimSize(2);
  stored.bits = format.bits == 8 ? 8 : 4;
  stored.block = format.group ? format.group : depth;
  int64_t groups = depth / stored.block, middle = 1 << (stored.bits - 1);
  int64_t columnBytes = depth * stored.bits / 8,
          zeroBytes = (groups * stored.bits + 7) / 8;
  int64_t codesAt = file.reserve(experts * count * columnBytes),
          scalesAt = file.reserve(experts * count * groups * 4),
          zerosAt = format.isAsymmetric
                        ? file.reserve(experts * count * zeroBytes)
                        : 0;
  constexpr int64_t kChunk = 16;
  int64_t chunks = (count + kChunk - 1) / kChunk;
  std::atomic<bool> isFinite{true}, isWritten{true};
  double error = 0, norm = 0;
  for (int64_t e = 0; e < experts; ++e) {
    FailureOr<StoredColumns> columns = openExpert(weights, e, folder);
    if (failed(columns))
      return failure();
    std::vector<double> errors(chunks), norms(chunks);
    reference::parallelFor(chunks, threads, [&](int64_t chunk) {
      int64_t first = chunk * kChunk, size = std::min(kChunk, count - first);
      std::vector<float> numbers(size * depth);
      for (int64_t n = 0; n < size; ++n)
        columns->read(first + n, numbers.data() + n * depth);
      if (!llvm::all_of(numbers, [](float x) { return std::isfinite(x); })) {
        isFinite = false;
        return;
      }
      RoundedColumns rounded;
      rounded.resize(size, depth, format);
      roundToNearest(numbers.data(), size, depth, format, nullptr,
                     /*search=*/true, rounded, 0);
      addErrors(numbers.data(), size, depth, format, nullptr, rounded,
                errors[chunk], norms[chunk]);
      std::vector<uint8_t> bytes(size * columnBytes),
          zeros(format.isAsymmetric ? size * zeroBytes : 0), row(depth);
      for (int64_t n = 0; n < size; ++n) {
        for (int64_t k = 0; k < depth; ++k)
          row[k] = uint8_t(rounded.codes[n * depth + k] +
                           (format.isAsymmetric ? 0 : middle));
        packBits(row, stored.bits, bytes.data() + n * columnBytes);
        if (format.isAsymmetric)
          packBits(ArrayRef(rounded.zeros).slice(n * groups, groups),
                   stored.bits, zeros.data() + n * zeroBytes);
      }
      int64_t at = e * count + first;
      if (!file.write(codesAt + at * columnBytes, bytes.data(), bytes.size()) ||
          !file.write(scalesAt + at * groups * 4, rounded.scales.data(),
                      rounded.scales.size() * sizeof(float)) ||
          (format.isAsymmetric &&
           !file.write(zerosAt + at * zeroBytes, zeros.data(), zeros.size())))
        isWritten = false;
    });
    for (int64_t i = 0; i < chunks; ++i) {
      error += errors[i];
      norm += norms[i];
    }
  }
  if (!isFinite)
    return emitError(weights.getLoc())
           << "weight '" << record.weight
           << "' has an element that is not finite; it cannot be quantized";
  if (!isWritten)
    return emitError(weights.getLoc())
           << "cannot write '" << file.path() << "': the disk may be full";
  MLIRContext *context = weights.getContext();
  auto source = [&](int64_t at, int64_t last, Type element) {
    return SourceAttr::get(context, fileName, at, {experts, count, last},
                           element, {});
  };
  Type byte = IntegerType::get(context, 8, IntegerType::Unsigned);
  stored.codes = source(codesAt, columnBytes, byte);
  stored.scales = source(scalesAt, groups, Float32Type::get(context));
  if (format.isAsymmetric)
    stored.zeros = source(zerosAt, zeroBytes, byte);
  record.error = norm > 0 ? std::sqrt(error / norm) : 0;
  record.storedBytes =
      experts * count *
      (columnBytes +
       groups * int64_t(getScaleType(context, format).getIntOrFloatBitWidth()) /
           8 +
       (format.isAsymmetric ? zeroBytes : 0));
  return success();
}

/// The products of a function that are to be changed.
static SmallVector<ExpertLinearOp> markedOf(func::FuncOp func) {
  SmallVector<ExpertLinearOp> ops;
  func.walk([&](ExpertLinearOp op) {
    if (op->hasAttr(kFormatAttr))
      ops.push_back(op);
  });
  return ops;
}

static void read(ExpertLinearOp op, const Stored &stored,
                 LinearRewriter &rewriter) {
  op->removeAttr(kFormatAttr);
  if (stored.format.isWide())
    return;
  OpBuilder b(op);
  Location loc = op.getWeight().getLoc();
  auto weight = op.getWeight().getDefiningOp<WeightOp>();
  auto make = [&](SourceAttr source, Type element) {
    return WeightOp::create(
        b, loc, RankedTensorType::get(source.getShape(), element),
        weight ? weight.getName() : "experts", b.getArrayAttr({source}), 0);
  };
  if (stored.format.inputBits)
    op.getInputMutable().assign(rewriter.roundGroups(
        op.getInput(), stored.format.inputBits, stored.block));
  op.getScalesMutable().assign(
      make(stored.scales, getScaleType(op.getContext(), stored.format)));
  if (stored.zeros)
    op.getZeroPointsMutable().assign(
        make(stored.zeros, stored.zeros.getType()));
  op.getWeightMutable().assign(make(stored.codes, stored.codes.getType()));
  op.setBits(stored.bits);
  op.setBlock(stored.block);
}

LogicalResult ferrite::quantizeExperts(ModuleOp module, ModelFolder &folder,
                                       SideFile &file, StringRef fileName,
                                       double mostError, unsigned threads,
                                       std::vector<LayerRecord> &records) {
  llvm::MapVector<std::pair<Attribute, Attribute>, Stored> known;
  for (auto func : module.getOps<func::FuncOp>()) {
    SmallVector<ExpertLinearOp> ops = markedOf(func);
    if (ops.empty())
      continue;
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
    if (failed(dims))
      return failure();
    LinearRewriter rewriter(*dims);
    for (ExpertLinearOp op : ops) {
      Value weights = op.getWeight();
      auto weight = weights.getDefiningOp<WeightOp>();
      Attribute bytes =
          weight ? Attribute(weight.getSourcesAttr())
                 : weights.getDefiningOp<arith::ConstantOp>().getValue();
      auto text = op->getAttrOfType<StringAttr>(kFormatAttr);
      auto [place, isNew] = known.try_emplace({bytes, text}, Stored());
      Stored &stored = place->second;
      if (isNew) {
        LayerRecord record;
        record.node = nodeNames(op.getLoc());
        record.weight = weightName(weights);
        record.wideBytes = typeOf(weights).getNumElements() *
                           (typeOf(weights).getElementTypeBitWidth() / 8);
        stored.format = llvm::cantFail(QuantFormat::parse(text.getValue()));
        while (true) {
          if (failed(store(weights, stored, folder, file, fileName, threads,
                           record)))
            return failure();
          if (record.error <= mostError)
            break;
          record.why = "its relative error of " +
                       llvm::formatv("{0:F4}", record.error).str() +
                       " is above the budget";
          bool wasWide = stored.format.bits == 8;
          stored = Stored();
          if (wasWide) {
            record.error = 0;
            record.storedBytes = record.wideBytes;
            break;
          }
          stored.format = llvm::cantFail(QuantFormat::parse("w8"));
        }
        record.format = stored.format.isWide() ? "wide" : stored.format.str();
        records.push_back(std::move(record));
      }
      read(op, stored, rewriter);
    }
  }
  return success();
}
