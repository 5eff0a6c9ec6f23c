//===- SparseProducts.cpp - Which products skip zeros of weights ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A weight lies in the artifact once, for all levels and numbers of rows, so
// one decision is made: what the cost model predicts for 128 rows, at the best
// level of the artifact. Weights are read as they will be stored, after they
// were quantized.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/WeightZeros.h"
#include "lib/Support/SparsePanels.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Select/CostModel.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ferrite;

static constexpr int64_t kRows = 128;
/// What is gained is more than predictions err by.
static constexpr double kWorth = 1.05;
/// Of 2:4 a register of columns would be expanded to a dense one, which costs
/// as much as so many products of it, once for a chunk of rows.
static constexpr double kUnpackProducts = 4;

namespace {
class Chooser {
public:
  Chooser(ModuleOp module, const DriverOptions &options,
          ArrayRef<const cpu::CpuLevel *> levels, CompileRecord &record)
      : module(module), options(options), levels(levels), record(record),
        folder(openModelFolder(module, options, record.sideFile)) {}
  LogicalResult run();

private:
  LogicalResult choose(ArrayRef<LinearOp> ops);
  std::string whyNot(LinearOp op) const;
  double secondsOf(const ProductShape &shape) const {
    return productSeconds(shape, isWide, hasDots, allWeights, options.machine);
  }

  ModuleOp module;
  const DriverOptions &options;
  ArrayRef<const cpu::CpuLevel *> levels;
  CompileRecord &record;
  ModelFolder folder;
  bool isWide = false, hasDots = false;
  int64_t allWeights = 0;               ///< bytes
  llvm::StringMap<WeightRecord *> rows; ///< of the report
};
} // namespace

/// Empty, or why products of the weight do not skip blocks whatever it has.
std::string Chooser::whyNot(LinearOp op) const {
  Type element = elementTypeOf(op.getWeight());
  bool isBytes = op.isOfBytes();
  if (!options.sparseProducts || levels.empty() || options.hasCuda())
    return "kernels of CUDA multiply whole panels";
  if (!op.getWeight().getDefiningOp<WeightOp>())
    return "the weight is a constant";
  if (isBytes ? !element.isSignlessInteger(8)
              : !element.isF32() || !elementTypeOf(op.getInput()).isF32())
    return "kernels skip blocks of f32 and of signed bytes alone";
  if (op.getInputBlock() || op.getWeightZero())
    return "its groups and zero points are of all numbers";
  if (!isBytes)
    for (Attribute source :
         op.getWeight().getDefiningOp<WeightOp>().getSources())
      if (cast<SourceAttr>(source).getDequant())
        return "codes of few bits are unpacked whole";
  for (const cpu::CpuLevel *level : levels) {
    if (isBytes && level->byteDot() == cpu::ByteDot::Blocks)
      return "usmmla of " + level->name.str() + " takes 8 k at once";
    if (isBytes && level->has(cpu::Instruction::TileI8))
      return "tiles of " + level->name.str() + " take 64 k at once";
  }
  return "";
}

LogicalResult Chooser::choose(ArrayRef<LinearOp> ops) {
  LinearOp op = ops.front();
  auto stored = op.getWeight().getDefiningOp<WeightOp>();
  WeightRecord *row = stored ? rows.lookup(stored.getName()) : nullptr;
  auto say = [&](const Twine &why) {
    if (row)
      row->reason = why.str();
    return success();
  };
  std::string why = whyNot(op);
  if (!why.empty())
    return say(why);
  FailureOr<StoredColumns> weight = StoredColumns::open(op.getWeight(), folder);
  if (failed(weight))
    return failure();
  ZeroCounts counts =
      countZeros(*weight, options.threads, /*blocksAlone=*/!row);
  ProductShape dense;
  dense.rows = kRows;
  dense.depth = weight->depth();
  dense.columns = weight->count();
  dense.isBytes = op.isOfBytes();
  double denseSeconds = secondsOf(dense), best = denseSeconds;
  std::vector<std::pair<std::string, double>> seconds = {
      {"dense", denseSeconds}};
  if (row && row->isTwoOfFour)
    seconds.push_back({"2:4", denseSeconds * (1 + kUnpackProducts / kRows)});
  SparseAttr chosen;
  std::string chosenName = "dense";
  bool isTuned = true, hasBlocks = false;
  for (int w : {1, 0}) {
    int k = dense.isBytes ? 0 : 1;
    ProductShape shape = dense;
    shape.strip = 16 << w;
    shape.kept = counts.blocks[w][k] - counts.zeroBlocks[w][k];
    SparsePanels panels{shape.depth, shape.columns, shape.strip,
                        dense.isBytes ? 4 : 1, shape.kept};
    if (counts.zeroBlocks[w][k] == 0 || !panels.isValid())
      continue;
    hasBlocks = true;
    std::string name = llvm::formatv("{0}x{1}", shape.strip, panels.blockDepth);
    seconds.push_back({name, secondsOf(shape)});
    isTuned &= options.machine.operations.count(stripRate(shape, isWide)) > 0;
    if (seconds.back().second * kWorth >= denseSeconds ||
        seconds.back().second >= best)
      continue;
    best = seconds.back().second;
    chosenName = name;
    chosen = SparseAttr::get(module.getContext(), shape.strip,
                             panels.blockDepth, shape.kept);
  }
  for (LinearOp each : ops)
    if (chosen)
      each.setSparseAttr(chosen);
  if (!row)
    return success();
  row->kernel = chosenName;
  row->seconds = seconds;
  row->isTuned = hasBlocks && isTuned;
  if (chosen)
    return say(
        llvm::formatv(
            "predicted {0:f2} times as fast as dense, with "
            "{1:f3} of the blocks",
            denseSeconds / best,
            double(chosen.getKept()) /
                double(
                    counts.blocks[chosen.getColumns() == 32][!dense.isBytes]))
            .str());
  if (hasBlocks)
    return say("its blocks of zeros are too few: dense is predicted to be "
               "faster");
  if (row->isTwoOfFour)
    return say(llvm::formatv("2:4 is predicted to take {0:f2} times as long "
                             "as dense: no instruction of a CPU skips single "
                             "zeros, so it would be unpacked to dense panels",
                             1 + kUnpackProducts / kRows)
                   .str());
  return say("it has no blocks of zeros, and instructions multiply 16 columns "
             "at once");
}

LogicalResult Chooser::run() {
  for (const cpu::CpuLevel *level : levels) {
    isWide |= level->isAvx512();
    hasDots |= level->has(cpu::Instruction::DotI8);
  }
  // A model may have a weight under two names; the last row of one stays.
  for (WeightRecord &row : record.weights)
    if (row.zeros > 0)
      rows[row.weight] = &row;
  llvm::MapVector<std::pair<Attribute, std::pair<Type, int64_t>>,
                  SmallVector<LinearOp>>
      products;
  module.walk([&](LinearOp op) {
    RankedTensorType type = typeOf(op.getWeight());
    auto weight = op.getWeight().getDefiningOp<WeightOp>();
    if (!weight || type.getRank() != 2 || !type.hasStaticShape())
      return;
    auto &ops =
        products[{weight.getSourcesAttr(), {type, int64_t(weight.getAxis())}}];
    if (ops.empty())
      allWeights += type.getNumElements() * elementBytes(type.getElementType());
    ops.push_back(op);
  });
  for (auto &[key, ops] : products)
    if (failed(choose(ops)))
      return failure();
  return success();
}

LogicalResult ferrite::chooseSparse(ModuleOp module,
                                    const DriverOptions &options,
                                    ArrayRef<const cpu::CpuLevel *> levels,
                                    CompileRecord &record) {
  return Chooser(module, options, levels, record).run();
}
