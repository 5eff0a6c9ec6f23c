//===- QuantizeRotate.cpp - Rotate a model around its weights -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/QuantizeRotate.h"

#include "lib/Driver/Quantize.h"
#include "lib/Reference/Parallel.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/ScaleInputs.h"

#include "llvm/ADT/SetVector.h"

#include <atomic>
#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Elements that a product as the model runs rotates together.
static constexpr int64_t kBlock = 64;

static int64_t blockOf(int64_t depth) {
  int64_t block = kBlock;
  while (depth % block != 0)
    block /= 2;
  return block;
}

//===--- the stream -------------------------------------------------------===//

/// Whether an epilogue adds its sides to the product and does nothing else.
static bool onlyAdds(LinearOp op) {
  Block &block = op.getEpilogue().front();
  for (Operation &inside : block)
    if (!isa<arith::AddFOp, YieldOp>(inside))
      return false;
  return llvm::all_of(block.getArguments(),
                      [](BlockArgument arg) { return arg.hasOneUse(); });
}

const char *ModelRotation::visit(Value value, Stream &stream) {
  if (!stream.values.insert(value))
    return nullptr;
  if (!elementTypeOf(value).isF32())
    return "the residual stream is not of f32";
  Operation *op = value.getDefiningOp();
  if (auto gather = dyn_cast_or_null<GatherOp>(op)) {
    Value data = gather.getData();
    auto table = data.getDefiningOp<WeightOp>();
    if (!isWeightOrConstant(data) || gather.getAxis() != 0 ||
        (table && table.getSources().size() != 1) ||
        typeOf(data).getRank() != 2)
      return "the residual stream begins in no stored table";
    stream.tables.insert(op);
  } else if (auto linear = dyn_cast_or_null<LinearOp>(op)) {
    if (!layerOf.count(op))
      return "a product that adds to the residual stream stays wide";
    if (!onlyAdds(linear))
      return "a product does more than add to the residual stream";
    stream.producers.insert(op);
    for (Value side : linear.getSides()) {
      if (!floatsOf(side, typeOf(value).getShape().back()).empty())
        continue; // a bias
      if (side.getType() != value.getType())
        return "what is added to the residual stream has other dims";
      if (const char *why = visit(side, stream))
        return why;
    }
  } else {
    return "the residual stream is made by an op that cannot be rotated";
  }
  for (OpOperand &use : value.getUses()) {
    if (auto linear = dyn_cast<LinearOp>(use.getOwner());
        linear && use.get() != linear.getInput()) {
      if (const char *why = visit(linear.getResult(), stream))
        return why;
    } else if (!isa<NormOp>(use.getOwner())) {
      return "the residual stream is read without a norm";
    } else if (!stream.norms.contains(use.getOwner())) {
      return "a norm of the residual stream cannot give up its weight";
    }
  }
  return nullptr;
}

const char *ModelRotation::findStream(func::FuncOp func, Stream &stream) {
  func.walk([&](NormOp norm) {
    int64_t depth = typeOf(norm).getShape().back();
    bool fits = norm.getKind() == NormKind::RMS && !norm.getBias() &&
                !norm.getAfter() && !norm->use_empty() &&
                !floatsOf(norm.getWeight(), depth).empty() &&
                llvm::all_of(norm->getUses(), [&](OpOperand &use) {
                  auto linear = dyn_cast<LinearOp>(use.getOwner());
                  return linear && layerOf.count(linear) &&
                         linear.getInput() == norm.getResult();
                });
    if (fits)
      stream.norms.insert(norm);
  });
  if (stream.norms.empty())
    return "no rms norm is followed by quantized products alone";
  for (Operation *op : llvm::to_vector(stream.norms)) {
    auto norm = cast<NormOp>(op);
    if (const char *why = visit(norm.getInput(), stream))
      return why;
    if (norm.getResidual())
      if (const char *why = visit(norm.getResidual(), stream))
        return why;
  }
  return nullptr;
}

ModelRotation::ModelRotation(ModuleOp module, ArrayRef<QuantLayer> layers)
    : layers(layers) {
  for (const QuantLayer &layer : layers)
    for (LinearOp op : layer.ops)
      layerOf[op] = &layer;
  const char *why = nullptr;
  Location loc = module.getLoc();
  int64_t size = 0;
  for (auto func : module.getOps<func::FuncOp>()) {
    why = findStream(func, streams.emplace_back());
    if (why)
      break;
    for (Operation *op : streams.back().norms) {
      int64_t depth = typeOf(op->getResult(0)).getShape().back();
      if (size != 0 && depth != size)
        why = "norms have several sizes";
      size = depth;
    }
  }
  // A weight is rotated for all of its products or for none.
  llvm::DenseMap<const QuantLayer *, size_t> reads, writes;
  for (const Stream &stream : streams) {
    for (Operation *norm : stream.norms)
      for (Operation *user : norm->getUsers()) {
        ++reads[layerOf.lookup(user)];
        normOf[layerOf.lookup(user)] =
            floatsOf(cast<NormOp>(norm).getWeight(), size);
      }
    for (Operation *producer : stream.producers)
      ++writes[layerOf.lookup(producer)];
  }
  for (const QuantLayer &layer : layers) {
    for (auto *counts : {&reads, &writes}) {
      size_t count = counts->lookup(&layer);
      if (!why && count != 0 && count != layer.ops.size())
        why = "a weight is multiplied both in the residual stream and beside "
              "it";
    }
    if (reads.lookup(&layer))
      readers.insert(&layer);
    if (writes.lookup(&layer))
      writers.insert(&layer);
  }
  if (why) {
    streams.clear();
    readers.clear();
    writers.clear();
  } else {
    matrix.emplace(size);
  }
  for (const QuantLayer &layer : layers)
    if (layer.format.inputBits != 0 && !readers.contains(&layer) &&
        blockOf(layer.depth()) > 1)
      turned.insert(&layer);
  if (why)
    remark::missed(loc, remark::RemarkOpts::name("rotate").category("quantize"))
        << remark::reason("{0}", why);
}

//===--- weights and inputs -----------------------------------------------===//

/// Twice is not at all: Hadamard's matrix is symmetric.
static void rotateBlocks(float *row, int64_t depth) {
  Orthogonal block(blockOf(depth));
  for (int64_t k = 0; k < depth; k += block.size())
    block.apply(row + k);
}

WeightChange ModelRotation::changeOf(const QuantLayer &layer) const {
  WeightChange change;
  int64_t depth = layer.depth();
  if (readers.contains(&layer)) {
    change.rowScale = normOf.lookup(&layer);
    change.rotateRows = [this](float *column, bool undo) {
      matrix->apply(column, 1, undo);
    };
  } else if (turned.contains(&layer)) {
    change.rotateRows = [depth](float *column, bool) {
      rotateBlocks(column, depth);
    };
  }
  if (writers.contains(&layer))
    change.mixColumns = [this](float *columns, int64_t, int64_t depth,
                               bool undo) {
      matrix->apply(columns, depth, undo);
    };
  return change;
}

void ModelRotation::changeInput(const QuantLayer &layer, float *rows,
                                int64_t count) const {
  int64_t depth = layer.depth();
  for (int64_t r = 0; r < count; ++r, rows += depth) {
    if (readers.contains(&layer)) {
      const std::vector<float> &weight = normOf.find(&layer)->second;
      for (int64_t k = 0; k < depth; ++k)
        rows[k] = weight[k] == 0 ? 0 : rows[k] / weight[k];
      matrix->apply(rows);
    } else if (turned.contains(&layer)) {
      rotateBlocks(rows, depth);
    }
  }
}

//===--- the model --------------------------------------------------------===//

LogicalResult ModelRotation::rotateTable(Operation *op, ModelFolder &folder,
                                         SideFile &file, StringRef fileName,
                                         unsigned threads) {
  auto gather = cast<GatherOp>(op);
  auto table = gather.getData().getDefiningOp<WeightOp>();
  if (!table) {
    // Small enough to be a constant: it stays one.
    RankedTensorType type = typeOf(gather.getData());
    std::vector<float> values =
        floatsOf(gather.getData(), type.getNumElements());
    for (int64_t row = 0; row < type.getDimSize(0); ++row)
      matrix->apply(values.data() + row * type.getDimSize(1));
    OpBuilder b(gather);
    gather.getDataMutable().assign(arith::ConstantOp::create(
        b, gather.getData().getLoc(),
        DenseElementsAttr::get(type, ArrayRef<float>(values))));
    return success();
  }
  auto source = cast<SourceAttr>(table.getSources()[0]);
  OpBuilder b(table);
  SmallVector<int64_t> shape(typeOf(table).getShape());
  if (!source.getPerm().empty() || source.getShape() != ArrayRef(shape))
    return table.emitError("its rows cannot be rotated: they lie turned");
  FailureOr<StoredColumns> rows = StoredColumns::openRows(table, folder);
  if (failed(rows))
    return failure();
  Type stored = isa<FloatType>(source.getType()) ? source.getType()
                                                 : Type(b.getF32Type());
  Kind kind = *kindOf(stored);
  int64_t rowBytes = shape[1] * bytesOf(kind);
  int64_t offset = file.reserve(rowBytes * shape[0]);
  constexpr int64_t kRows = 64;
  std::atomic<bool> isWritten{true}, isFinite{true};
  reference::parallelFor(
      (shape[0] + kRows - 1) / kRows, threads, [&](int64_t piece) {
        int64_t first = piece * kRows,
                count = std::min(kRows, shape[0] - first);
        std::vector<float> row(shape[1]);
        std::vector<char> bytes(rowBytes * count);
        for (int64_t r = 0; r < count; ++r) {
          rows->read(first + r, row.data());
          for (float value : row)
            if (!std::isfinite(value))
              isFinite = false;
          matrix->apply(row.data());
          for (int64_t k = 0; k < shape[1]; ++k)
            writeFloat(kind, bytes.data() + r * rowBytes, k,
                       roundTo(kind, row[k]));
        }
        if (!file.write(offset + first * rowBytes, bytes.data(), bytes.size()))
          isWritten = false;
      });
  if (!isFinite)
    return table.emitError("weight '")
           << table.getName()
           << "' has an element that is not finite; it cannot be rotated";
  if (!isWritten)
    return table.emitError("cannot write '") << file.path() << "'";
  auto rotated =
      SourceAttr::get(b.getContext(), fileName, offset, shape, stored, {});
  gather.getDataMutable().assign(
      WeightOp::create(b, table.getLoc(), table.getType(), table.getName(),
                       b.getArrayAttr({rotated}), 0));
  return success();
}

LogicalResult ModelRotation::apply(ModelFolder &folder, SideFile &file,
                                   StringRef fileName, unsigned threads) {
  // Tables of several entries are one.
  llvm::DenseMap<Attribute, Value> done;
  for (const Stream &stream : streams) {
    for (Operation *op : stream.norms) {
      auto norm = cast<NormOp>(op);
      OpBuilder b(norm);
      std::vector<float> ones(matrix->size(), 1.0f);
      norm.getWeightMutable().assign(makeFloats(b, norm.getLoc(), ones));
    }
    for (Operation *op : stream.producers) {
      auto linear = cast<LinearOp>(op);
      for (OpOperand &side : linear.getSidesMutable()) {
        std::vector<float> bias = floatsOf(side.get(), matrix->size());
        if (bias.empty())
          continue;
        matrix->apply(bias.data());
        OpBuilder b(linear);
        side.set(makeFloats(b, linear.getLoc(), bias));
      }
    }
    for (Operation *op : stream.tables) {
      auto gather = cast<GatherOp>(op);
      auto table = gather.getData().getDefiningOp<WeightOp>();
      Attribute key =
          table
              ? Attribute(table.getSourcesAttr())
              : gather.getData().getDefiningOp<arith::ConstantOp>().getValue();
      auto known = done.find(key);
      if (known == done.end()) {
        if (failed(rotateTable(op, folder, file, fileName, threads)))
          return failure();
        done[key] = gather.getData();
        continue;
      }
      OpBuilder b(gather);
      Operation *made = known->second.getDefiningOp();
      gather.getDataMutable().assign(b.clone(*made)->getResult(0));
    }
  }
  // Inputs that are not of the stream.
  llvm::DenseMap<Value, Value> rotated;
  llvm::DenseMap<Operation *, std::unique_ptr<DimAnalysis>> dimsOf;
  for (const QuantLayer &layer : layers) {
    if (!turned.contains(&layer))
      continue;
    Orthogonal block(blockOf(layer.depth()));
    for (LinearOp op : layer.ops) {
      Value &made = rotated[op.getInput()];
      if (!made) {
        auto func = op->getParentOfType<func::FuncOp>();
        std::unique_ptr<DimAnalysis> &dims = dimsOf[func];
        if (!dims) {
          FailureOr<DimAnalysis> computed = DimAnalysis::compute(func);
          if (failed(computed))
            return failure();
          dims = std::make_unique<DimAnalysis>(std::move(*computed));
        }
        OpBuilder b(op.getContext());
        b.setInsertionPointAfterValue(op.getInput());
        made = multiplyBlocks(b, op.getInput(), block.matrix(), block.size(),
                              *dims);
      }
      LinearOp(op).getInputMutable().assign(made);
    }
  }
  return success();
}
