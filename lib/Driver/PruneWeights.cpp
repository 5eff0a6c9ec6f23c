//===- PruneWeights.cpp - The items weights:.. of --sparsify --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// All data flows through the model as it was: what one layer loses is not in
// the inputs that the next one is pruned by.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/PruneWeights.h"

#include "lib/Artifact/NodeNames.h"
#include "lib/Driver/InputFacts.h"
#include "lib/Driver/Quantize.h"
#include "lib/Driver/QuantizeLayers.h"
#include "lib/Quantization/Pruning.h"
#include "lib/Reference/Parallel.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/ProductNames.h"
#include "passes/Quantization/Spec.h"

#include "mlir/IR/Remarks.h"
#include "llvm/ADT/MapVector.h"

#include <atomic>
#include <cmath>

using namespace mlir;
using namespace ferrite;

/// Columns whose error is measured with all moments: each costs K * K.
static constexpr int64_t kErrorColumns = 128;

namespace {
/// One stored weight and the products of it.
struct Layer {
  SmallVector<LinearOp, 2> ops;
  PruneItem item;
  SourceAttr stored;

  Value weight() const { return LinearOp(ops.front()).getWeight(); }
};

/// Layers that read one input in the entry that calibration runs.
struct Shared : SharedInput {
  SmallVector<Layer *> layers;
  std::vector<double> diagonal; ///< of the moments
};

class Pruner {
public:
  Pruner(ModuleOp module, const DriverOptions &options, CompileRecord &record,
         SideFile &file, StringRef fileName, Location loc)
      : module(module), options(options), record(record), file(file),
        fileName(fileName), loc(loc),
        folder(openModelFolder(module, options, record.sideFile)) {}
  LogicalResult run();

private:
  LogicalResult choose();
  LogicalResult prune(Shared &shared);
  LogicalResult store(Layer &layer, const Shared &shared, const double *factor,
                      const float *importance);
  void rewrite();

  ModuleOp module;
  const DriverOptions &options;
  CompileRecord &record;
  SideFile &file;
  StringRef fileName;
  Location loc;
  ModelFolder folder;
  std::vector<PruneItem> items;
  std::vector<Layer> layers;
  func::FuncOp entry; ///< that calibration runs
  std::vector<Batch> batches;
};
} // namespace

//===--- which ------------------------------------------------------------===//

/// Null, or why the product's weight cannot be pruned.
static const char *whyNot(LinearOp op) {
  if (op.isOfBytes())
    return "it multiplies bytes already";
  if (!isWeightOrConstant(op.getWeight()))
    return "its right side is computed";
  if (typeOf(op.getWeight()).getRank() != 2 ||
      !isa<FloatType>(elementTypeOf(op.getWeight())))
    return "its weight is no matrix of numbers";
  if (auto weight = op.getWeight().getDefiningOp<WeightOp>())
    for (Attribute source : weight.getSources())
      if (cast<SourceAttr>(source).getDequant())
        return "its weight is quantized in the model already";
  return nullptr;
}

/// Whether a result is an output of the model, or a view or cast of it is: the
/// head of a decoder, the classes of a classifier.
static bool isReturned(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<func::ReturnOp>(user) ||
           (isa<ViewOp, CastOp>(user) && isReturned(user->getResult(0)));
  });
}

LogicalResult Pruner::choose() {
  using Key = std::pair<Attribute, std::pair<Type, int64_t>>;
  llvm::MapVector<Key, Layer> found;
  std::vector<bool> used(items.size(), false);
  std::string seen;
  module.walk([&](LinearOp op) {
    const PruneItem *chosen = nullptr;
    bool isNamed = false;
    SmallVector<StringRef> names = productNames(op);
    if (seen.empty() && !names.empty())
      seen = names.front().str();
    for (auto [i, item] : llvm::enumerate(items)) {
      bool matches = item.glob.empty();
      for (StringRef name : names)
        matches |= !item.glob.empty() && matchesName(item.glob, name);
      if (!matches)
        continue;
      used[i] = true;
      chosen = &item;
      isNamed = !item.glob.empty();
    }
    if (!chosen)
      return;
    const char *why = whyNot(op);
    if (!why && !isNamed && isReturned(op.getResult()))
      why = "its result is the model's: only names= prunes it";
    if (why) {
      remark::missed(op.getLoc(),
                     remark::RemarkOpts::name("prune").category("sparsify"))
          << remark::reason("{0}", why);
      return;
    }
    // Equal sources, or numbers, are one weight.
    auto weight = op.getWeight().getDefiningOp<WeightOp>();
    auto constant = op.getWeight().getDefiningOp<arith::ConstantOp>();
    Layer &layer =
        found[{weight ? Attribute(weight.getSourcesAttr())
                      : Attribute(constant.getValue()),
               {op.getWeight().getType(), weight ? weight.getAxis() : -1}}];
    layer.ops.push_back(op);
    layer.item = *chosen;
  });
  for (auto [item, isUsed] : llvm::zip(items, used))
    if (!isUsed && !item.glob.empty())
      return emitError(loc)
             << "--sparsify: no product has a weight or node named '"
             << item.glob << "'"
             << (seen.empty() ? "" : "; one is named '" + seen + "'");
  for (auto &[key, layer] : found)
    layers.push_back(std::move(layer));
  if (layers.empty())
    return emitError(loc) << "--sparsify: the model has no weight that can be "
                             "pruned; --report says why";
  return success();
}

//===--- weights ----------------------------------------------------------===//

/// dT H d, of moments whose lower half factorInverse has left.
static double quadratic(const std::vector<double> &moments,
                        const std::vector<double> &diagonal, const float *d) {
  int64_t n = diagonal.size();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    double row = 0;
    for (int64_t j = 0; d[i] != 0 && j < i; ++j)
      row += moments[i * n + j] * d[j];
    sum += d[i] * (diagonal[i] * d[i] + 2 * row);
  }
  return sum;
}

LogicalResult Pruner::store(Layer &layer, const Shared &shared,
                            const double *factor, const float *importance) {
  FailureOr<StoredColumns> columns =
      StoredColumns::open(layer.weight(), folder);
  if (failed(columns))
    return failure();
  int64_t depth = columns->depth(), count = columns->count();
  int64_t offset = file.reserve(depth * count * 4);
  int64_t width = stripOf(layer.item.shape);
  int64_t strips = llvm::divideCeil(count, width);
  int64_t measured = std::max<int64_t>(1, count / kErrorColumns);
  std::vector<double> errors(strips, 0), norms(strips, 0);
  std::atomic<int64_t> zeros{0};
  std::atomic<bool> isFinite{true}, isWritten{true};
  reference::parallelFor(strips, options.threads, [&](int64_t strip) {
    int64_t first = strip * width, size = std::min(width, count - first);
    std::vector<float> numbers(size * depth), off(depth);
    for (int64_t n = 0; n < size; ++n)
      columns->read(first + n, numbers.data() + n * depth);
    for (float number : numbers)
      if (!std::isfinite(number)) {
        isFinite = false;
        return;
      }
    std::vector<float> before = numbers;
    pruneStrip(numbers.data(), size, depth, layer.item, importance, factor);
    int64_t none = 0;
    for (float number : numbers)
      none += number == 0;
    zeros += none;
    for (int64_t n = 0; n < size; ++n) {
      const float *old = &before[n * depth], *now = &numbers[n * depth];
      for (int64_t k = 0; k < depth; ++k)
        off[k] = old[k] - now[k];
      if (!factor) {
        for (int64_t k = 0; k < depth; ++k) {
          double weight = importance ? importance[k] : 1;
          errors[strip] += weight * off[k] * off[k];
          norms[strip] += weight * old[k] * old[k];
        }
      } else if ((first + n) % measured == 0) {
        const std::vector<double> &moments = shared.facts.moments->sums;
        errors[strip] += quadratic(moments, shared.diagonal, off.data());
        norms[strip] += quadratic(moments, shared.diagonal, old);
      }
    }
    if (!file.write(offset + first * depth * 4, numbers.data(),
                    numbers.size() * 4))
      isWritten = false;
  });
  std::string name = weightName(layer.weight());
  Location where = LinearOp(layer.ops.front()).getLoc();
  if (!isFinite)
    return emitError(where) << "weight '" << name
                            << "' has an element that is not finite; it "
                               "cannot be pruned";
  if (!isWritten)
    return emitError(where)
           << "cannot write '" << file.path() << "': the disk may be full";
  double error = 0, norm = 0;
  for (int64_t i = 0; i < strips; ++i) {
    error += errors[i];
    norm += norms[i];
  }
  MLIRContext *context = module.getContext();
  layer.stored = SourceAttr::get(context, fileName, offset, {count, depth},
                                 Float32Type::get(context), {1, 0});
  PruneRecord row;
  row.node = nodeNames(where);
  row.weight = name;
  row.method = factor       ? methodName(PruneMethod::SparseGPT).str()
               : importance ? methodName(PruneMethod::Wanda).str()
                            : methodName(PruneMethod::Magnitude).str();
  row.blocks = layer.item.shape.str();
  row.kept = 1 - double(zeros) / double(depth * count);
  row.error = norm > 0 ? std::sqrt(std::max(0.0, error) / norm) : 0;
  record.pruned.push_back(std::move(row));
  return success();
}

LogicalResult Pruner::prune(Shared &shared) {
  InputFacts &facts = shared.facts;
  std::vector<float> importance;
  for (double square : facts.squares)
    importance.push_back(
        float(square / double(std::max<int64_t>(1, facts.rows))));
  const double *factor = nullptr;
  if (facts.moments) {
    for (int64_t k = 0; k < facts.moments->depth; ++k)
      shared.diagonal.push_back(facts.moments->diagonal(k));
    // One part in a hundred of the mean is added, as the paper has it.
    if (factorInverse(*facts.moments, 0.01, options.threads))
      factor = facts.moments->sums.data();
  }
  for (Layer *layer : shared.layers) {
    if (options.progress &&
        !options.progress("prune", layer - layers.data(), layers.size()))
      return emitError(loc) << "stopped";
    PruneMethod method = layer->item.method;
    if (layer->item.needsData() && importance.empty())
      remark::missed(LinearOp(layer->ops.front()).getLoc(),
                     remark::RemarkOpts::name("prune").category("sparsify"))
          << remark::reason("the entry that --calib is for does not have it: "
                            "pruned by magnitude");
    if (failed(store(
            *layer, shared, method == PruneMethod::SparseGPT ? factor : nullptr,
            layer->item.needsData() && !importance.empty() ? importance.data()
                                                           : nullptr)))
      return failure();
  }
  facts.moments.reset();
  return success();
}

/// Products of one weight read one copy of it.
void Pruner::rewrite() {
  for (Layer &layer : layers)
    for (LinearOp op : layer.ops) {
      OpBuilder b(op);
      Value old = op.getWeight();
      op.getWeightMutable().assign(
          WeightOp::create(b, old.getLoc(), old.getType(), weightName(old),
                           b.getArrayAttr({layer.stored}), /*axis=*/0));
      if (old.use_empty())
        old.getDefiningOp()->erase();
    }
}

LogicalResult Pruner::run() {
  items = pruneItemsOf(options.sparsify);
  record.userFault = true;
  if (failed(choose()))
    return failure();
  if (llvm::any_of(items, [](const PruneItem &i) { return i.needsData(); })) {
    entry = findEntry(module, options.calib);
    FailureOr<std::vector<Batch>> made =
        makeBatches(entry, options.calib, "--calib", loc);
    if (failed(made))
      return failure();
    batches = std::move(*made);
  }
  llvm::MapVector<Value, Shared> inputs;
  for (Layer &layer : layers) {
    Value input;
    for (LinearOp op : layer.ops)
      if (entry && layer.item.needsData() &&
          op->getParentOfType<func::FuncOp>() == entry)
        input = op.getInput();
    Shared &shared = inputs[input];
    shared.input = input;
    shared.depth = typeOf(layer.weight()).getDimSize(0);
    shared.wantsMoments |= layer.item.method == PruneMethod::SparseGPT;
    shared.layers.push_back(&layer);
  }
  SmallVector<SharedInput *> all;
  for (auto &[input, shared] : inputs)
    all.push_back(&shared);
  auto use = [&](SharedInput &shared) {
    return prune(static_cast<Shared &>(shared));
  };
  if (failed(findInputFacts(entry, batches, options, loc, all, {}, use)))
    return failure();
  rewrite();
  module->setAttr(kSideFileAttr,
                  StringAttr::get(module.getContext(), fileName));
  record.userFault = false;
  return success();
}

bool ferrite::prunesWeights(const DriverOptions &options) {
  return !pruneItemsOf(options.sparsify).empty();
}

LogicalResult ferrite::pruneWeights(ModuleOp module,
                                    const DriverOptions &options,
                                    CompileRecord &record, SideFile &file,
                                    StringRef fileName, Location loc) {
  return Pruner(module, options, record, file, fileName, loc).run();
}
