//===- CostModel.cpp - What a launch costs --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/CostModel.h"

#include "lib/Support/SparsePanels.h"

#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace ferrite;

/// The weight that an operand of a launch is, or null.
static plan::WeightOp weightOf(Value memory, ModuleOp module) {
  auto use = memory.getDefiningOp<plan::UseOp>();
  return use ? module.lookupSymbol<plan::WeightOp>(use.getWeight())
             : plan::WeightOp();
}

/// Whether it reads weights from begin to end, and not the rows that ids name.
static bool isProduct(Operation *op) {
  return isa<LinearOp, MatmulOp, GroupedLinearOp, PackedLinearOp>(op);
}

static StringRef arithmeticOf(Type a, Type b) {
  if (a.isInteger(8) && b.isInteger(8))
    return "i8";
  if (a.isBF16() && b.isBF16())
    return "bf16";
  return a.isF16() && b.isF16() ? "f16" : "f32";
}

/// The keys of a query: with lists as many as a row of them keeps on average.
static DimExpr keysOf(AttentionOp op, const DimExpr &all) {
  if (!op.hasBlocks())
    return all;
  auto rows = cast<RankedTensorType>(op.getBlockRows().getType());
  auto columns = cast<RankedTensorType>(op.getBlockColumns().getType());
  if (rows.isDynamicDim(2) || columns.isDynamicDim(2) || rows.getDimSize(2) < 2)
    return all;
  return DimExpr(columns.getDimSize(2) * op.getBlock() /
                 (rows.getDimSize(2) - 1));
}

LaunchCost ferrite::costOf(plan::LaunchOp launch, plan::KernelOp kernel) {
  LaunchCost cost;
  FailureOr<std::vector<plan::PassedShape>> shapes =
      plan::getPassedShapes(launch, kernel);
  if (failed(shapes))
    return cost;
  Operation *op = kernel.getComputation();
  auto module = launch->getParentOfType<ModuleOp>();
  auto typeOf = [&](size_t i) {
    return cast<plan::LayoutAttr>(kernel.getLayouts()[i]).getType();
  };
  size_t count = shapes->size(), result = count - op->getNumResults();
  DimExpr written;
  int64_t tables = 0;
  for (size_t i = count; i-- > 0;) {
    if (i >= launch.getMemory().size())
      continue;
    DimExpr bytes(elementBytes(typeOf(i)));
    for (auto [size, stride] :
         llvm::zip((*shapes)[i].sizes, (*shapes)[i].strides))
      if (!stride.isConstant(0))
        bytes = bytes * size;
    if (i >= result)
      written = written + bytes;
    if (plan::WeightOp weight = weightOf(launch.getMemory()[i], module)) {
      bool isTable = !isProduct(op) && !isa<AttentionOp>(op) &&
                     cast<RankedTensorType>(weight.getType()).getRank() >= 2;
      tables += isTable;
      bytes = DimExpr(isTable ? 0 : weight.getBytes());
      cost.weightBytes += isTable ? 0 : weight.getBytes();
    }
    cost.bytes = cost.bytes + bytes;
  }
  // A row of a table for each row that is written.
  cost.bytes = cost.bytes + DimExpr(tables) * written;
  if (count < 3)
    return cost;
  const Dims &first = (*shapes)[0].sizes, &out = (*shapes)[result].sizes;
  if (isProduct(op) && !first.empty()) {
    cost.operations = DimExpr(2) * product(out) * first.back();
    cost.arithmetic = arithmeticOf(typeOf(0), typeOf(1));
    // Blocks that a product skips cost nothing.
    if (auto linear = dyn_cast<LinearOp>(op); linear && linear.getSparse())
      if (plan::WeightOp weight = weightOf(launch.getMemory()[1], module))
        if (std::optional<SparseAttr> blocks = weight.getBlocks())
          cost.operations = DimExpr(2 * blocks->getKept() *
                                    blocks->getColumns() * blocks->getDepth()) *
                            product(ArrayRef(out).drop_back());
    // Its rows and weights are bytes that are not one number each.
    if (auto packed = dyn_cast<PackedLinearOp>(op)) {
      cost.operations =
          DimExpr(2) * product(out) * DimExpr(packed.getPacked().getDepth());
      cost.arithmetic = packed.getInputBlock() ? "i8" : "f32";
    }
  } else if (auto attention = dyn_cast<AttentionOp>(op);
             attention && first.size() == 4) {
    const Dims &keys = (*shapes)[1].sizes, &values = (*shapes)[2].sizes;
    if (keys.size() == 4 && values.size() == 4)
      cost.operations = DimExpr(2) * first[0] * first[1] * first[2] *
                        keysOf(attention, keys[1]) * (first[3] + values[3]);
    cost.arithmetic = arithmeticOf(typeOf(0), typeOf(1));
  }
  return cost;
}

StringRef ferrite::instructionOf(StringRef arithmetic, StringRef level,
                                 const MachineProfile &machine) {
  bool wide = level.starts_with("avx512");
  StringRef f32 = wide ? "f32_512" : "f32_256";
  StringRef name = f32;
  // Only the levels that are named after it have an instruction for it.
  if (arithmetic == "i8" && level.contains("vnni"))
    name = wide ? "i8_dot_512" : "i8_dot_256";
  else if (arithmetic == "bf16" && level.contains("bf16"))
    name = "bf16_dot_512";
  else if (arithmetic == "f16" && level.contains("fp16"))
    name = "f16_512";
  return machine.operations.count(name) ? name : StringRef();
}

double ferrite::leastSeconds(int64_t operations, int64_t bytes,
                             const LaunchCost &cost, int64_t allWeights,
                             StringRef level, bool allThreads,
                             const MachineProfile &machine) {
  StringRef instruction = instructionOf(cost.arithmetic, level, machine);
  if (instruction.empty())
    return 0;
  auto pick = [&](const MachineProfile::Rate &rate) {
    return allThreads ? rate.all : rate.one;
  };
  double products =
      double(operations) / pick(machine.operations.lookup(instruction));
  double memory = double(cost.weightBytes) / pick(machine.rateOf(allWeights)) +
                  double(bytes - cost.weightBytes) / pick(machine.l2);
  return std::max(products, memory);
}

//===--- strips of blocks -------------------------------------------------===//

/// Shares of the peak that kernels reach at 128 rows (Zen 5,
/// passes/Codegen/CPU/README.md): panels; strips of 32 columns, and of 16,
/// whose loads are as many as their products.
static constexpr double kPanelShare = 0.95, kWideStripShare = 0.95,
                        kStripShare = 0.78;

std::string ferrite::stripRate(const ProductShape &shape, bool isWide) {
  return (Twine(shape.isBytes ? "i8" : "f32") + "_strip" + Twine(shape.strip) +
          (isWide ? "_512" : "_256"))
      .str();
}

double ferrite::productSeconds(const ProductShape &shape, bool isWide,
                               bool hasDots, int64_t allWeights,
                               const MachineProfile &machine) {
  auto rateOf = [&](const Twine &name) {
    return machine.operations.lookup(name.str()).one;
  };
  StringRef bits = isWide ? "_512" : "_256";
  double rate = shape.isBytes && hasDots ? rateOf("i8_dot" + bits) : 0;
  if (rate == 0)
    rate = rateOf("f32" + bits);
  double share = double(shape.depth) * double(shape.columns);
  int64_t bytes = shape.depth * shape.columns * (shape.isBytes ? 1 : 4);
  double reached = rate * kPanelShare;
  if (shape.strip > 0) {
    SparsePanels panels{shape.depth, shape.columns, shape.strip,
                        shape.isBytes ? 4 : 1, shape.kept};
    bytes = panels.bytes();
    share = double(shape.kept) * double(panels.stripColumns) *
            double(panels.blockDepth);
    // Registers of 256 bits cut both strips into equal tiles.
    reached = rateOf(stripRate(shape, isWide)) * kPanelShare;
    if (reached == 0)
      reached =
          rate * (shape.strip == 32 || !isWide ? kWideStripShare : kStripShare);
  }
  double products = 2 * double(shape.rows) * share / reached;
  return std::max(products, double(bytes) / machine.rateOf(allWeights).one);
}
