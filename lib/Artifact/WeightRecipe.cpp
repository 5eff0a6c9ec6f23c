//===- WeightRecipe.cpp - From the model's files to packed bytes ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Longer than other files because each way in which a weight lies in the
// artifact reads the same prepared recipe.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/WeightRecipe.h"

#include "lib/Artifact/PackedCodes.h"

#include "lib/Support/PanelLayout.h"
#include "lib/Support/SparsePanels.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"

#include <atomic>
#include <cstring>
#include <thread>

using namespace mlir;
using namespace ferrite;

int64_t ferrite::weightBytes(ModuleOp plan) {
  int64_t end = 0;
  for (auto weight : plan.getOps<plan::WeightOp>())
    end = std::max<int64_t>(end, weight.getOffset() + weight.getBytes());
  return end;
}

namespace {
/// One source, as a strided tensor. It has the result's shape but on the axis,
/// or, when it is the only one, as many elements under other dims.
struct Source {
  const char *data; ///< of a plain source
  Type type;
  SmallVector<int64_t> shape, strides;
  SourceReader reader = {};
  /// Whether an element is bytes that can be copied.
  bool isPlain = true;
  int64_t first = 0; ///< element, for `reader`
};

/// A recipe made ready: plain data, so that threads need no context.
struct Recipe {
  plan::WeightFormat format;
  Type type; ///< of the elements written
  SmallVector<int64_t> shape;
  int64_t axis;
  std::vector<Source> sources;
  ArrayRef<char> constant; ///< instead of sources: repeated to fill
  char *out;
  int64_t bytes;
  std::optional<PackedCodes> packed = {};
  std::optional<SparsePanels> sparse = {};

  bool isPanels() const { return format != plan::WeightFormat::Rows; }
};
} // namespace

//===--- elements ---------------------------------------------------------===//

static float toF32(const char *from, Type type) {
  if (type.isF32()) {
    float value;
    std::memcpy(&value, from, 4);
    return value;
  }
  if (type.isF64()) {
    double value;
    std::memcpy(&value, from, 8);
    return static_cast<float>(value);
  }
  uint16_t bits;
  std::memcpy(&bits, from, 2);
  const llvm::fltSemantics &semantics =
      type.isBF16() ? llvm::APFloat::BFloat() : llvm::APFloat::IEEEhalf();
  llvm::APFloat value(semantics, llvm::APInt(16, bits));
  bool lossy;
  value.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven,
                &lossy);
  return value.convertToFloat();
}

static void fromF32(float from, char *to, Type type) {
  if (type.isF32())
    return static_cast<void>(std::memcpy(to, &from, 4));
  if (type.isF64()) {
    double value = from;
    return static_cast<void>(std::memcpy(to, &value, 8));
  }
  llvm::APFloat value(from);
  bool lossy;
  value.convert(type.isBF16() ? llvm::APFloat::BFloat()
                              : llvm::APFloat::IEEEhalf(),
                llvm::APFloat::rmNearestTiesToEven, &lossy);
  auto bits = static_cast<uint16_t>(value.bitcastToAPInt().getZExtValue());
  std::memcpy(to, &bits, 2);
}

static void copyElement(const char *from, Type fromType, char *to,
                        Type toType) {
  if (fromType == toType)
    std::memcpy(to, from, elementBytes(toType));
  else
    fromF32(toF32(from, fromType), to, toType);
}

/// Elements first, first + step, .. of `source` to adjacent ones of `type`.
static void copyRun(const Source &source, int64_t first, int64_t step,
                    int64_t count, char *to, Type type) {
  int64_t bytesIn = elementBytes(source.type), bytesOut = elementBytes(type);
  if (source.reader.isScaled()) {
    first += source.first;
    // A piece at a time: the numbers stay in the first-level cache.
    float numbers[1024];
    constexpr int64_t most = std::size(numbers);
    for (int64_t done = 0; done < count; done += most) {
      int64_t piece = std::min(count - done, most);
      source.reader.readScaled(first + done * step, step, piece, numbers);
      for (int64_t i = 0; i < piece; ++i)
        fromF32(numbers[i], to + (done + i) * bytesOut, type);
    }
    return;
  }
  if (!source.isPlain) {
    for (int64_t i = 0; i < count; ++i)
      writeElement(source.reader.kind(), to, i,
                   source.reader.element(source.first + first + i * step));
    return;
  }
  const char *from = source.data + first * bytesIn;
  if (source.type == type && step == 1)
    return static_cast<void>(std::memcpy(to, from, count * bytesIn));
  for (int64_t i = 0; i < count; ++i)
    copyElement(from + i * step * bytesIn, source.type, to + i * bytesOut,
                type);
}

//===--- rows -------------------------------------------------------------===//

/// Copies `source` from element `from` on to dense strides `outStrides` at
/// `to`, dim by dim.
static void copyDims(const Source &source, size_t dim, int64_t from, char *to,
                     ArrayRef<int64_t> outStrides, Type type) {
  if (dim == source.shape.size())
    return copyRun(source, from, 1, 1, to, type);
  if (dim + 1 == source.shape.size())
    return copyRun(source, from, source.strides[dim], source.shape[dim], to,
                   type);
  for (int64_t i = 0; i < source.shape[dim]; ++i)
    copyDims(source, dim + 1, from + i * source.strides[dim],
             to + i * outStrides[dim] * elementBytes(type), outStrides, type);
}

static SmallVector<int64_t> denseStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t i = strides.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

static void writeRows(const Recipe &recipe) {
  if (recipe.sources.size() == 1) {
    const Source &source = recipe.sources[0];
    return copyDims(source, 0, 0, recipe.out, denseStrides(source.shape),
                    recipe.type);
  }
  SmallVector<int64_t> strides = denseStrides(recipe.shape);
  char *to = recipe.out;
  for (const Source &source : recipe.sources) {
    copyDims(source, 0, 0, to, strides, recipe.type);
    if (!strides.empty())
      to += source.shape[recipe.axis] * strides[recipe.axis] *
            elementBytes(recipe.type);
  }
}

//===--- panels -----------------------------------------------------------===//

/// Columns [first, first + count) of the matrix, as far as they are of
/// `source`, which begins at `done` of the axis, to rows of `count` at `out`.
static void gatherColumns(const Recipe &recipe, const Source &source,
                          int64_t done, int64_t first, int64_t count,
                          char *out) {
  int64_t bytes = elementBytes(recipe.type);
  int64_t row = recipe.axis == 0 ? done : 0;
  int64_t column = recipe.axis == 1 ? done : 0;
  int64_t begin = std::max<int64_t>(first - column, 0);
  int64_t end = std::min(first + count - column, source.shape[1]);
  if (begin >= end)
    return;
  int64_t depth = source.shape[0];
  char *to = out + (row * count + column + begin - first) * bytes;
  if (source.strides[0] != 1) {
    for (int64_t k = 0; k < depth; ++k)
      copyRun(source, k * source.strides[0] + begin * source.strides[1],
              source.strides[1], end - begin, to + k * count * bytes,
              recipe.type);
    return;
  }
  // Along k, as the bytes lie.
  std::vector<char> line(depth * bytes);
  for (int64_t n = begin; n < end; ++n, to += bytes) {
    copyRun(source, n * source.strides[1], 1, depth, line.data(), recipe.type);
    for (int64_t k = 0; k < depth; ++k)
      std::memcpy(to + k * count * bytes, line.data() + k * bytes, bytes);
  }
}

/// A product's right operand [K, N]. Panels that lie in one source of the same
/// type are packed as they are; others are gathered column by column first.
static void writePanels(const Recipe &recipe) {
  bool isBytes = recipe.format == plan::WeightFormat::BytePanels;
  PanelLayout layout{recipe.shape[0], recipe.shape[1],
                     plan::groupOf(recipe.format)};
  int64_t bytes = elementBytes(recipe.type);
  // An unsigned byte less 128 is a signed one: its highest bit flips.
  uint8_t flip = isBytes && recipe.type.isUnsignedInteger() ? 0x80 : 0;
  std::vector<char> gathered;
  for (int64_t panel = 0; panel < layout.panels(); ++panel) {
    int64_t first = panel * PanelLayout::kWidth;
    int64_t count = std::min(PanelLayout::kWidth, layout.columns - first);
    char *out = recipe.out + layout.offset(panel) * bytes;
    PanelLayout one{layout.depth, count, layout.group};
    int64_t begin = 0;
    const Source *whole = nullptr;
    for (const Source &source : recipe.sources) {
      int64_t end = begin + source.shape[1];
      if (recipe.axis == 1 && first >= begin && first + count <= end) {
        whole = &source;
        break;
      }
      begin = end;
    }
    if (recipe.sources.size() == 1)
      whole = &recipe.sources[0], begin = 0;
    if (whole && whole->isPlain && whole->type == recipe.type) {
      MatrixView view{whole->data + (first - begin) * whole->strides[1] * bytes,
                      whole->strides[0], whole->strides[1],
                      static_cast<unsigned>(bytes), flip};
      packPanels(view, one, out);
      continue;
    }
    gathered.assign(layout.depth * count * bytes, 0);
    int64_t done = 0;
    for (const Source &source : recipe.sources) {
      gatherColumns(recipe, source, done, first, count, gathered.data());
      done += source.shape[recipe.axis];
    }
    packPanels({gathered.data(), count, 1, static_cast<unsigned>(bytes), flip},
               one, out);
  }
  if (isBytes)
    writeColumnSums(BytePanels(layout.depth, layout.columns), recipe.out);
}

/// A stack of right operands [E, K, N]: the panels of each, end to end.
static void writeStackedPanels(const Recipe &recipe) {
  int64_t elements = PanelLayout{recipe.shape[1], recipe.shape[2],
                                 plan::groupOf(recipe.format)}
                         .elements();
  for (int64_t i = 0; i < recipe.shape[0]; ++i) {
    Recipe one = recipe;
    one.shape = {recipe.shape[1], recipe.shape[2]};
    one.axis = recipe.axis == 0 ? 1 : recipe.axis - 1;
    one.out = recipe.out + i * elements * elementBytes(recipe.type);
    one.sources.clear();
    int64_t begin = 0;
    for (const Source &source : recipe.sources) {
      int64_t at = i - begin;
      if (recipe.axis == 0)
        begin += source.shape[0];
      if (at < 0 || at >= source.shape[0])
        continue;
      int64_t from = at * source.strides[0];
      one.sources.push_back({source.data + from * elementBytes(source.type),
                             source.type,
                             {source.shape[1], source.shape[2]},
                             {source.strides[1], source.strides[2]},
                             source.reader,
                             source.isPlain,
                             from});
    }
    writePanels(one);
  }
}

/// The blocks of a right operand [K, N] that are not of zeros alone; false if
/// they are not as many as were counted.
static bool writeStrips(const Recipe &recipe) {
  const SparsePanels &panels = *recipe.sparse;
  SparsePanelWriter writer(panels, recipe.out);
  std::vector<char> rows;
  for (int64_t first = 0; first < panels.columns;
       first += panels.stripColumns) {
    int64_t count = std::min(panels.stripColumns, panels.columns - first);
    rows.assign(panels.depth * count * elementBytes(recipe.type), 0);
    int64_t done = 0;
    for (const Source &source : recipe.sources) {
      gatherColumns(recipe, source, done, first, count, rows.data());
      done += source.shape[recipe.axis];
    }
    if (!writer.add(rows.data(), count))
      return false;
  }
  return writer.isComplete();
}

static bool writeMatrices(const Recipe &recipe) {
  if (recipe.sparse)
    return writeStrips(recipe);
  recipe.shape.size() == 3 ? writeStackedPanels(recipe) : writePanels(recipe);
  return true;
}

/// A filter under other dims, as the matrix that it is.
static bool writeViewedPanels(const Recipe &recipe) {
  int64_t elements = 1;
  for (int64_t size : recipe.shape)
    elements *= size;
  std::vector<char> dense(elements * elementBytes(recipe.type));
  Recipe rows = recipe;
  rows.out = dense.data();
  writeRows(rows);
  Recipe panels = recipe;
  panels.sources = {
      {dense.data(), recipe.type, recipe.shape, denseStrides(recipe.shape)}};
  return writeMatrices(panels);
}

/// False where the model's file is not what it was.
static bool run(const Recipe &recipe) {
  if (recipe.packed) {
    int64_t column = 0;
    for (const Source &source : recipe.sources) {
      recipe.packed->write(source.reader, source.strides[0], source.strides[1],
                           column, source.shape[1], recipe.out);
      column += source.shape[1];
    }
    return true;
  }
  bool isViewed = !recipe.sources.empty() &&
                  recipe.sources[0].shape.size() != recipe.shape.size();
  if (isViewed && recipe.isPanels())
    return writeViewedPanels(recipe);
  if (recipe.constant.empty() && recipe.isPanels())
    return writeMatrices(recipe);
  if (recipe.constant.empty())
    writeRows(recipe);
  for (int64_t i = 0; !recipe.constant.empty() && i < recipe.bytes;
       i += recipe.constant.size())
    std::memcpy(recipe.out + i, recipe.constant.data(), recipe.constant.size());
  return true;
}

//===--- preparation ------------------------------------------------------===//

static LogicalResult addSource(plan::WeightOp op, SourceAttr attr,
                               ModelFolder &folder, Recipe &recipe) {
  FailureOr<SourceReader> reader =
      SourceReader::open(op, op.getName(), attr, folder);
  if (failed(reader))
    return failure();
  SmallVector<int64_t> strides(attr.getShape().size(), 1);
  for (size_t i = strides.size(); i-- > 1;)
    strides[i - 1] = strides[i] * attr.getShape()[i];
  if (attr.getPitch() != 0)
    strides[0] = attr.getPitch();
  Source source{
      reader->data(), attr.getType(), SmallVector<int64_t>(attr.getShape()),
      strides,        *reader,        reader->isPlain()};
  for (auto [i, from] : llvm::enumerate(attr.getPerm())) {
    source.shape[i] = attr.getShape()[from];
    source.strides[i] = strides[from];
  }
  auto isPlainFloat = [](Type type) {
    return isa<FloatType>(type) && !isTinyFloat(type);
  };
  bool fits = reader->isScaled()
                  ? isPlainFloat(recipe.type)
                  : source.type == recipe.type || (isPlainFloat(source.type) &&
                                                   isPlainFloat(recipe.type));
  if (!fits)
    return op.emitError("weight '")
           << op.getName() << "' converts " << source.type << " to "
           << recipe.type << ", which no recipe does";
  recipe.sources.push_back(std::move(source));
  return success();
}

LogicalResult ferrite::writeWeights(ModuleOp plan, ModelFolder &folder,
                                    char *out, unsigned threads) {
  std::vector<Recipe> recipes;
  std::vector<std::vector<char>> constants; // of bools, a byte each
  for (auto op : plan.getOps<plan::WeightOp>()) {
    auto type = cast<RankedTensorType>(op.getType());
    Recipe recipe{op.getFormat(),
                  type.getElementType(),
                  SmallVector<int64_t>(type.getShape()),
                  op.getAxis(),
                  {},
                  {},
                  out + op.getOffset(),
                  op.getBytes()};
    if (op.getLayout())
      recipe.packed = PackedCodes(*op.getLayout());
    if (std::optional<SparseAttr> blocks = op.getBlocks())
      recipe.sparse =
          SparsePanels{recipe.shape[0], recipe.shape[1], blocks->getColumns(),
                       blocks->getDepth(), blocks->getKept()};
    if (auto value = op.getValue()) {
      auto dense = dyn_cast<DenseElementsAttr>(*value);
      if (!dense)
        return op.emitError("constant '") << op.getName() << "' is not dense";
      recipe.constant = dense.getRawData();
      if (type.getElementType().isInteger(1)) {
        std::vector<char> &bytes = constants.emplace_back();
        for (bool element : dense.getValues<bool>())
          bytes.push_back(element);
        recipe.constant = bytes;
      }
      if (recipe.isPanels()) {
        // A matrix of one value has it once: stride 0.
        SmallVector<int64_t> strides = denseStrides(recipe.shape);
        if (dense.isSplat())
          strides.assign(strides.size(), 0);
        recipe.sources.push_back(
            {recipe.constant.data(), recipe.type, recipe.shape, strides});
        recipe.constant = {};
      }
    } else {
      for (Attribute source : op.getSourcesAttr())
        if (failed(addSource(op, cast<SourceAttr>(source), folder, recipe)))
          return failure();
    }
    if (recipe.bytes > 0)
      recipes.push_back(std::move(recipe));
  }
  std::atomic<size_t> next{0};
  std::atomic<bool> isAsCounted{true};
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < recipes.size();)
      if (!run(recipes[i]))
        isAsCounted = false;
  };
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();
  if (!isAsCounted)
    return emitError(plan.getLoc())
           << "a weight has not as many blocks of zeros as when it was looked "
              "at: was its file changed?";
  return success();
}
