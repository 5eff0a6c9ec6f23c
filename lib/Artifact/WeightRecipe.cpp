//===- WeightRecipe.cpp - From the model's files to packed bytes ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/WeightRecipe.h"

#include "lib/Support/PanelLayout.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"

#include <atomic>
#include <cstring>
#include <thread>

using namespace mlir;
using namespace ferrite;

FailureOr<StringRef> ModelFolder::map(StringRef file, Location loc) {
  std::unique_ptr<llvm::MemoryBuffer> &buffer = files[file];
  if (!buffer) {
    bool leaves = llvm::sys::path::is_absolute(file);
    for (auto part = llvm::sys::path::begin(file);
         part != llvm::sys::path::end(file); ++part)
      leaves |= *part == "..";
    if (leaves)
      return emitError(loc)
             << "weight file '" << file << "' lies outside the model's folder";
    SmallString<256> full(path);
    llvm::sys::path::append(full, file);
    // Not null-terminated: mapped, never read into memory.
    auto opened = llvm::MemoryBuffer::getFile(full, /*IsText=*/false,
                                              /*RequiresNullTerminator=*/false);
    if (!opened)
      return emitError(loc) << "cannot read weight file '" << full
                            << "': " << opened.getError().message();
    buffer = std::move(*opened);
  }
  return buffer->getBuffer();
}

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
  const char *data;
  Type type;
  SmallVector<int64_t> shape, strides;
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
};
} // namespace

//===--- elements ---------------------------------------------------------===//

static int64_t bytesOf(Type type) {
  return (type.getIntOrFloatBitWidth() + 7) / 8;
}

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
    std::memcpy(to, from, bytesOf(toType));
  else
    fromF32(toF32(from, fromType), to, toType);
}

//===--- rows -------------------------------------------------------------===//

/// Copies `source` to dense strides `outStrides` at `out`, dim by dim.
static void copyDims(const Source &source, size_t dim, const char *from,
                     char *to, ArrayRef<int64_t> outStrides, Type type) {
  int64_t bytesIn = bytesOf(source.type), bytesOut = bytesOf(type);
  if (dim == source.shape.size())
    return copyElement(from, source.type, to, type);
  bool last = dim + 1 == source.shape.size();
  if (last && source.type == type && source.strides[dim] == 1)
    return static_cast<void>(
        std::memcpy(to, from, source.shape[dim] * bytesIn));
  for (int64_t i = 0; i < source.shape[dim]; ++i)
    copyDims(source, dim + 1, from + i * source.strides[dim] * bytesIn,
             to + i * outStrides[dim] * bytesOut, outStrides, type);
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
    return copyDims(source, 0, source.data, recipe.out,
                    denseStrides(source.shape), recipe.type);
  }
  SmallVector<int64_t> strides = denseStrides(recipe.shape);
  char *to = recipe.out;
  for (const Source &source : recipe.sources) {
    copyDims(source, 0, source.data, to, strides, recipe.type);
    if (!strides.empty())
      to += source.shape[recipe.axis] * strides[recipe.axis] *
            bytesOf(recipe.type);
  }
}

//===--- panels -----------------------------------------------------------===//

/// A product's right operand [K, N]. Panels that lie in one source of the same
/// type are packed as they are; others are gathered column by column first.
static void writePanels(const Recipe &recipe) {
  PanelLayout layout{recipe.shape[0], recipe.shape[1]};
  int64_t bytes = bytesOf(recipe.type);
  std::vector<char> gathered;
  for (int64_t panel = 0; panel < layout.panels(); ++panel) {
    int64_t first = panel * PanelLayout::kWidth;
    int64_t count = std::min(PanelLayout::kWidth, layout.columns - first);
    char *out = recipe.out + layout.offset(panel) * bytes;
    PanelLayout one{layout.depth, count};
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
    if (whole && whole->type == recipe.type) {
      MatrixView view{whole->data + (first - begin) * whole->strides[1] * bytes,
                      whole->strides[0], whole->strides[1],
                      static_cast<unsigned>(bytes)};
      packPanels(view, one, out);
      continue;
    }
    gathered.assign(layout.depth * count * bytes, 0);
    int64_t done = 0;
    for (const Source &source : recipe.sources) {
      for (int64_t k = 0; k < source.shape[0]; ++k)
        for (int64_t n = 0; n < source.shape[1]; ++n) {
          int64_t row = k + (recipe.axis == 0 ? done : 0);
          int64_t column = n + (recipe.axis == 1 ? done : 0) - first;
          if (column >= 0 && column < count)
            copyElement(
                source.data + (k * source.strides[0] + n * source.strides[1]) *
                                  bytesOf(source.type),
                source.type, gathered.data() + (row * count + column) * bytes,
                recipe.type);
        }
      done += source.shape[recipe.axis];
    }
    packPanels({gathered.data(), count, 1, static_cast<unsigned>(bytes)}, one,
               out);
  }
}

/// A filter under other dims, as the matrix that it is.
static void writeViewedPanels(const Recipe &recipe) {
  std::vector<char> dense(recipe.shape[0] * recipe.shape[1] *
                          bytesOf(recipe.type));
  Recipe rows = recipe;
  rows.out = dense.data();
  writeRows(rows);
  Recipe panels = recipe;
  panels.sources = {
      {dense.data(), recipe.type, recipe.shape, {recipe.shape[1], 1}}};
  writePanels(panels);
}

static void run(const Recipe &recipe) {
  bool isViewed = !recipe.sources.empty() &&
                  recipe.sources[0].shape.size() != recipe.shape.size();
  if (isViewed && recipe.format == plan::WeightFormat::Panels)
    return writeViewedPanels(recipe);
  if (recipe.constant.empty())
    return recipe.format == plan::WeightFormat::Panels ? writePanels(recipe)
                                                       : writeRows(recipe);
  for (int64_t i = 0; i < recipe.bytes; i += recipe.constant.size())
    std::memcpy(recipe.out + i, recipe.constant.data(), recipe.constant.size());
}

//===--- preparation ------------------------------------------------------===//

static LogicalResult addSource(plan::WeightOp op, SourceAttr attr,
                               ModelFolder &folder, Recipe &recipe) {
  FailureOr<StringRef> file = folder.map(attr.getFile(), op.getLoc());
  if (failed(file))
    return failure();
  int64_t bytes = bytesOf(attr.getType());
  for (int64_t size : attr.getShape())
    if (llvm::MulOverflow(bytes, size, bytes))
      bytes = INT64_MAX;
  int64_t left = static_cast<int64_t>(file->size()) - attr.getOffset();
  if (bytes > left)
    return op.emitError("weight '")
           << op.getName() << "' needs " << bytes << " bytes at "
           << attr.getOffset() << " of '" << attr.getFile() << "', which has "
           << file->size();
  SmallVector<int64_t> strides(attr.getShape().size(), 1);
  for (size_t i = strides.size(); i-- > 1;)
    strides[i - 1] = strides[i] * attr.getShape()[i];
  Source source{file->data() + attr.getOffset(), attr.getType(),
                SmallVector<int64_t>(attr.getShape()), strides};
  for (auto [i, from] : llvm::enumerate(attr.getPerm())) {
    source.shape[i] = attr.getShape()[from];
    source.strides[i] = strides[from];
  }
  if (source.type != recipe.type &&
      !(isa<FloatType>(source.type) && isa<FloatType>(recipe.type)))
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
      if (op.getFormat() == plan::WeightFormat::Panels) {
        // A matrix of one value has it once: stride 0.
        int64_t step = dense.isSplat() ? 0 : 1;
        recipe.sources.push_back({recipe.constant.data(),
                                  recipe.type,
                                  recipe.shape,
                                  {step * recipe.shape[1], step}});
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
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < recipes.size();)
      run(recipes[i]);
  };
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i)
    helpers.emplace_back(work);
  work();
  for (std::thread &helper : helpers)
    helper.join();
  return success();
}
