//===- PlanBuilder.cpp - Weights, kernels and launches of an entry --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/PlanBuilder.h"
#include "lib/Support/PanelLayout.h"
#include "lib/Support/SparsePanels.h"

#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ferrite;

PlanSymbols::PlanSymbols(ModuleOp module) {
  for (Operation &op : *module.getBody())
    if (auto name =
            op.getAttrOfType<StringAttr>(SymbolTable::getSymbolAttrName()))
      taken[name.getValue()] = 1;
}

std::string PlanSymbols::unique(StringRef stem) {
  std::string name = stem.str();
  unsigned &count = taken[stem];
  if (count++ == 0)
    return name;
  do
    name = (stem + "_" + Twine(count++ - 1)).str();
  while (taken.count(name));
  taken[name] = 1;
  return name;
}

PlanBuilder::PlanBuilder(ModuleOp module, plan::EntryOp entry,
                         PlanSymbols &symbols)
    : module(module), builder(OpBuilder::atBlockEnd(&entry.getBody().front())),
      moduleBuilder(entry), symbols(symbols) {}

StridedView PlanBuilder::makeBuffer(Location loc, Type element,
                                    ArrayRef<DimExpr> dims) {
  DimExpr bytes = product(dims) * DimExpr(elementBytes(element));
  auto buffer = plan::BufferOp::create(
      builder, loc, builder.getStringAttr(bytes.str()), StringAttr());
  return StridedView::contiguous(buffer.getRef(), element, Dims(dims));
}

//===--- weights ----------------------------------------------------------===//

StridedView PlanBuilder::use(plan::WeightOp weight, RankedTensorType type) {
  Value &ref = uses[weight];
  if (!ref) {
    // At the head of the entry: every later launch may use it.
    OpBuilder head = OpBuilder::atBlockBegin(builder.getInsertionBlock());
    ref = plan::UseOp::create(head, weight.getLoc(), weight.getSymName());
  }
  return StridedView::contiguous(ref, type.getElementType(),
                                 ferrite::detail::dimsOfType(type));
}

static int64_t storedElements(RankedTensorType type,
                              plan::WeightFormat format) {
  int64_t group = plan::groupOf(format);
  if (group == 0)
    return type.getNumElements();
  // Of three dims: the panels of each matrix, end to end.
  if (type.getRank() == 3)
    return type.getDimSize(0) *
           PanelLayout{type.getDimSize(1), type.getDimSize(2), group}
               .elements();
  return PanelLayout{type.getDimSize(0), type.getDimSize(1), group}.elements();
}

static int64_t storedBytes(RankedTensorType type, plan::WeightFormat format) {
  if (format == plan::WeightFormat::BytePanels)
    return BytePanels(type.getDimSize(0), type.getDimSize(1)).bytes();
  return storedElements(type, format) * elementBytes(type.getElementType());
}

StridedView PlanBuilder::useWeight(WeightOp op, plan::WeightFormat format) {
  auto type = cast<RankedTensorType>(op.getType());
  std::string key;
  llvm::raw_string_ostream(key)
      << op.getSources() << op.getAxis() << type << static_cast<int>(format);
  plan::WeightOp &weight = symbols.weights[key];
  if (!weight) {
    weight = plan::WeightOp::create(
        moduleBuilder, op.getLoc(),
        symbols.unique("weight_" + std::to_string(symbols.weights.size() - 1)),
        format, op.getName(), op.getSourcesAttr(), ElementsAttr(), PackedAttr(),
        SparseAttr(), op.getAxis(), 0, storedBytes(type, format), type);
  }
  return use(weight, type);
}

StridedView PlanBuilder::useConstant(arith::ConstantOp op,
                                     plan::WeightFormat format) {
  auto type = cast<RankedTensorType>(op.getType());
  std::string key;
  llvm::raw_string_ostream(key) << op.getValue() << static_cast<int>(format);
  plan::WeightOp &weight = symbols.weights[key];
  if (!weight)
    weight = plan::WeightOp::create(
        moduleBuilder, op.getLoc(),
        symbols.unique("weight_" + std::to_string(symbols.weights.size() - 1)),
        format, "constant", ArrayAttr(), cast<ElementsAttr>(op.getValue()),
        PackedAttr(), SparseAttr(), 0, 0, storedBytes(type, format), type);
  return use(weight, type);
}

StridedView PlanBuilder::useSparse(WeightOp op, SparseAttr sparse) {
  auto type = cast<RankedTensorType>(op.getType());
  SparsePanels panels{type.getDimSize(0), type.getDimSize(1),
                      sparse.getColumns(), sparse.getDepth(), sparse.getKept()};
  std::string key;
  llvm::raw_string_ostream(key)
      << op.getSources() << op.getAxis() << type << sparse;
  plan::WeightOp &weight = symbols.weights[key];
  if (!weight)
    weight = plan::WeightOp::create(
        moduleBuilder, op.getLoc(),
        symbols.unique("weight_" + std::to_string(symbols.weights.size() - 1)),
        plan::WeightFormat::Sparse, op.getName(), op.getSourcesAttr(),
        ElementsAttr(), PackedAttr(), sparse, op.getAxis(), 0, panels.bytes(),
        type);
  return use(weight, type);
}

StridedView PlanBuilder::usePacked(WeightOp op, PackedAttr packed) {
  int64_t bytes = packed.getPanels().bytes();
  std::string key;
  llvm::raw_string_ostream(key)
      << op.getSources() << op.getAxis() << op.getType() << packed;
  plan::WeightOp &weight = symbols.weights[key];
  if (!weight)
    weight = plan::WeightOp::create(
        moduleBuilder, op.getLoc(),
        symbols.unique("weight_" + std::to_string(symbols.weights.size() - 1)),
        plan::WeightFormat::Packed, op.getName(), op.getSourcesAttr(),
        ElementsAttr(), packed, SparseAttr(), op.getAxis(), 0, bytes,
        op.getType());
  return use(weight, RankedTensorType::get(
                         {bytes}, IntegerType::get(op.getContext(), 8,
                                                   IntegerType::Unsigned)));
}

//===--- kernels ----------------------------------------------------------===//

static int64_t staticOrDynamic(const DimExpr &size) {
  return size.constant().value_or(ShapedType::kDynamic);
}

static plan::LayoutAttr layoutOf(MLIRContext *context,
                                 const KernelOperand &operand) {
  SmallVector<int64_t> shape, strides;
  for (size_t i = 0; i < operand.view.dims.size(); ++i) {
    bool sized = operand.sized.empty() || operand.sized[i];
    shape.push_back(sized ? staticOrDynamic(operand.view.dims[i]) : 1);
    strides.push_back(staticOrDynamic(operand.view.strides[i]));
  }
  return plan::LayoutAttr::get(context, operand.view.element, shape, strides,
                               operand.alias);
}

plan::KernelOp PlanBuilder::getKernel(Location loc, StringRef stem,
                                      ArrayRef<KernelOperand> inputs,
                                      ArrayRef<KernelOperand> results,
                                      bool claimed, MakeOp make) {
  MLIRContext *context = builder.getContext();
  SmallVector<Attribute> layouts;
  SmallVector<Type> types;
  for (const KernelOperand &operand : inputs) {
    layouts.push_back(layoutOf(context, operand));
    types.push_back(
        operand.type ? operand.type
                     : getTensorType(operand.view.dims, operand.view.element));
  }
  for (const KernelOperand &operand : results)
    layouts.push_back(layoutOf(context, operand));
  auto kernel = plan::KernelOp::create(moduleBuilder, loc, "kernel",
                                       builder.getArrayAttr(layouts), claimed);
  Block *block = &kernel.getBody().emplaceBlock();
  for (Type type : types)
    block->addArgument(type, loc);
  OpBuilder body = OpBuilder::atBlockEnd(block);
  Operation *op = make(body, block->getArguments());
  plan::ReturnOp::create(body, loc, op->getResults());

  std::string structure;
  llvm::raw_string_ostream stream(structure);
  kernel->print(stream, OpPrintingFlags().useLocalScope());
  plan::KernelOp &known = symbols.kernels[structure];
  if (known) {
    kernel.erase();
    return known;
  }
  kernel.setSymName(symbols.unique(stem));
  return known = kernel;
}

void PlanBuilder::launch(Location loc, StringRef stem,
                         ArrayRef<KernelOperand> inputs,
                         ArrayRef<KernelOperand> results, bool claimed,
                         MakeOp make) {
  plan::KernelOp kernel = getKernel(loc, stem, inputs, results, claimed, make);
  SmallVector<Value> memory;
  Dims offsets, values;
  auto each = [&](auto visit) {
    for (const KernelOperand &operand : inputs)
      visit(operand);
    for (const KernelOperand &operand : results)
      visit(operand);
  };
  each([&](const KernelOperand &operand) {
    memory.push_back(operand.view.ref);
    offsets.push_back(operand.view.offset *
                      DimExpr(elementBytes(operand.view.element)));
  });
  // In the order of KernelArgs: open sizes of all operands, then open strides.
  each([&](const KernelOperand &operand) {
    for (size_t i = 0; i < operand.view.dims.size(); ++i)
      if (!operand.view.dims[i].constant() &&
          (operand.sized.empty() || operand.sized[i]))
        values.push_back(operand.view.dims[i]);
  });
  each([&](const KernelOperand &operand) {
    for (const DimExpr &stride : operand.view.strides)
      if (!stride.constant())
        values.push_back(stride);
  });
  MLIRContext *context = builder.getContext();
  plan::LaunchOp::create(builder, loc, kernel.getSymName(), memory,
                         getDimsAttr(context, offsets),
                         getDimsAttr(context, values));
}
