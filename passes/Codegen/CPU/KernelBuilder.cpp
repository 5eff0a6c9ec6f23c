//===- KernelBuilder.cpp - Makes the functions of one kernel --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Functions, arguments and control. The arithmetic and the memory accesses are
// in KernelBuilderOps.cpp.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/KernelBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

KernelArgs::KernelArgs(const KernelLayout &layout) {
  count = layout.operands.size();
  auto place = [&](ArrayRef<int64_t> sizes) {
    Places places;
    for (int64_t size : sizes)
      places.push_back(ShapedType::isDynamic(size)
                           ? std::optional<unsigned>(count++)
                           : std::nullopt);
    return places;
  };
  for (const OperandLayout &operand : layout.operands)
    dims.push_back(place(operand.shape));
  for (const OperandLayout &operand : layout.operands)
    strides.push_back(place(operand.strides));
}

void KernelBuilder::registerDialects(DialectRegistry &registry) {
  registry
      .insert<arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect,
              math::MathDialect, scf::SCFDialect, vector::VectorDialect>();
}

void KernelBuilder::loadDialects(MLIRContext &context) {
  DialectRegistry registry;
  registerDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
}

KernelBuilder::KernelBuilder(ModuleOp module, StringRef symbol,
                             const KernelLayout &layout, const CpuLevel &level,
                             Location loc)
    : ImplicitLocOpBuilder(loc, module.getContext()), module(module),
      symbol(symbol), kernelLayout(layout), args(layout), cpuLevel(level) {
  StringRef triple = LLVM::LLVMDialect::getTargetTripleAttrName();
  if (!module->hasAttr(triple)) {
    module->setAttr(triple, getStringAttr(level.machine->triple));
    module->setAttr(LLVM::LLVMDialect::getDataLayoutAttrName(),
                    getStringAttr(level.machine->dataLayout));
  }
}

LLVM::LLVMFuncOp KernelBuilder::makeFunction(StringRef name, Type result,
                                             ArrayRef<Type> parameters,
                                             bool internal) {
  setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(result, parameters);
  auto func = LLVM::LLVMFuncOp::create(*this, name, type,
                                       internal ? LLVM::Linkage::Internal
                                                : LLVM::Linkage::External,
                                       /*dsoLocal=*/true);
  MLIRContext *context = getContext();
  func.setTargetCpuAttr(getStringAttr(cpuLevel.cpu));
  func.setTuneCpuAttr(getStringAttr(cpuLevel.tuneCpu));
  func.setTargetFeaturesAttr(
      LLVM::TargetFeaturesAttr::get(context, cpuLevel.targetFeatures));
  func.setPreferVectorWidthAttr(
      getStringAttr(std::to_string(cpuLevel.vectorBits())));
  // Profilers and debuggers walk generated code like any other.
  func.setFramePointerAttr(LLVM::FramePointerKindAttr::get(
      context, LLVM::framePointerKind::FramePointerKind::NonLeaf));
  func.setUwtableKindAttr(
      LLVM::UWTableKindAttr::get(context, LLVM::uwtable::UWTableKind::Async));
  func.setNoUnwind(true);
  func.setWillReturn(true);
  setInsertionPointToStart(func.addEntryBlock(*this));
  return func;
}

SmallVector<Value> KernelBuilder::loadArguments(Value arguments) {
  SmallVector<Value> loaded;
  for (unsigned i = 0, e = args.size(); i < e; ++i) {
    bool pointer = i < kernelLayout.operands.size();
    loaded.push_back(
        load(pointer ? ptrType() : i64(), gep(arguments, i64(), int64_t(i))));
  }
  return loaded;
}

void KernelBuilder::defineUnits(function_ref<Value()> body) {
  LLVM::LLVMFuncOp func =
      makeFunction(symbol + ".units", i64(), {ptrType()}, /*internal=*/false);
  values = loadArguments(func.getArgument(0));
  LLVM::ReturnOp::create(*this, body());
  values.clear();
}

void KernelBuilder::defineBody(function_ref<void()> body) {
  unsigned pointers = kernelLayout.operands.size();
  SmallVector<Type> types(pointers, ptrType());
  types.append(args.size() - pointers + 2, i64());
  types.push_back(ptrType());

  auto none = LLVM::LLVMVoidType::get(getContext());
  LLVM::LLVMFuncOp inner =
      makeFunction(symbol + ".body", none, types, /*internal=*/true);
  inner.setAlwaysInline(true);
  StringAttr noalias = getStringAttr(LLVM::LLVMDialect::getNoAliasAttrName());
  for (auto [i, operand] : llvm::enumerate(kernelLayout.operands))
    if (!operand.mayAlias)
      inner.setArgAttr(i, noalias, getUnitAttr());
  unsigned last = types.size() - 1;
  inner.setArgAttr(last, noalias, getUnitAttr());
  values.assign(inner.getArguments().begin(),
                inner.getArguments().begin() + args.size());
  unitBegin = inner.getArgument(last - 2);
  unitEnd = inner.getArgument(last - 1);
  scratchPointer = inner.getArgument(last);
  body();
  LLVM::ReturnOp::create(*this, ValueRange());
  values.clear();
  unitBegin = unitEnd = scratchPointer = Value();

  kernelFunc = makeFunction(symbol, none, {ptrType(), i64(), i64(), ptrType()},
                            /*internal=*/false);
  SmallVector<Value> passed = loadArguments(kernelFunc.getArgument(0));
  for (unsigned i = 1; i < 4; ++i)
    passed.push_back(kernelFunc.getArgument(i));
  LLVM::CallOp::create(*this, inner, passed);
  LLVM::ReturnOp::create(*this, ValueRange());
  kernelFunc->setAttr("ferrite.scratch_bytes",
                      getI64IntegerAttr(neededScratch));
}

void KernelBuilder::callPart(StringRef name, ValueRange arguments,
                             function_ref<void(ValueRange)> body) {
  std::string partName = symbol + "." + name.str();
  auto part = module.lookupSymbol<LLVM::LLVMFuncOp>(partName);
  if (!part) {
    OpBuilder::InsertionGuard guard(*this);
    part = makeFunction(partName, LLVM::LLVMVoidType::get(getContext()),
                        llvm::to_vector(arguments.getTypes()),
                        /*internal=*/true);
    part.setNoInline(true);
    for (auto [i, argument] : llvm::enumerate(arguments))
      if (isa<LLVM::LLVMPointerType>(argument.getType()))
        part.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(),
                        getUnitAttr());
    body(part.getArguments());
    LLVM::ReturnOp::create(*this, ValueRange());
  }
  LLVM::CallOp::create(*this, part, arguments);
}

void KernelBuilder::requireScratch(int64_t bytes) {
  neededScratch = std::max(neededScratch, bytes);
}

Value KernelBuilder::dim(unsigned i, unsigned d) {
  if (std::optional<unsigned> place = args.dim(i, d))
    return values[*place];
  return c(operand(i).shape[d]);
}

Value KernelBuilder::stride(unsigned i, unsigned d) {
  if (std::optional<unsigned> place = args.stride(i, d))
    return values[*place];
  return c(operand(i).strides[d]);
}

void KernelBuilder::forUnits(function_ref<void(Value)> body) {
  forLoop(begin(), end(), c(1), body);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void KernelBuilder::forLoop(Value lower, Value upper, Value step,
                            function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(*this, lower, upper, step);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

SmallVector<Value> KernelBuilder::forLoop(Value lower, Value upper, Value step,
                                          ValueRange inits, LoopBody body) {
  if (inits.empty()) {
    forLoop(lower, upper, step, [&](Value iv) { body(iv, {}); });
    return {};
  }
  auto loop = scf::ForOp::create(*this, lower, upper, step, inits);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(*this,
                       body(loop.getInductionVar(), loop.getRegionIterArgs()));
  return llvm::to_vector_of<Value>(loop.getResults());
}

void KernelBuilder::ifThen(Value condition, function_ref<void()> then) {
  auto op = scf::IfOp::create(*this, TypeRange(), condition,
                              /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op.getThenRegion().front());
  then();
}

void KernelBuilder::ifElse(Value condition, function_ref<void()> then,
                           function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(*this, TypeRange(), condition,
                              /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op.getThenRegion().front());
  then();
  setInsertionPointToStart(&op.getElseRegion().front());
  otherwise();
}

SmallVector<Value>
KernelBuilder::ifElse(Value condition, TypeRange results,
                      function_ref<SmallVector<Value>()> then,
                      function_ref<SmallVector<Value>()> otherwise) {
  if (results.empty()) {
    ifElse(condition, [&] { then(); }, [&] { otherwise(); });
    return {};
  }
  auto op =
      scf::IfOp::create(*this, results, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(&op.getThenRegion().front());
  scf::YieldOp::create(*this, then());
  setInsertionPointToStart(&op.getElseRegion().front());
  scf::YieldOp::create(*this, otherwise());
  return llvm::to_vector_of<Value>(op.getResults());
}

void KernelBuilder::forVectors(Value count,
                               function_ref<void(Value, Value)> body) {
  Value rest = rem(count, lanes());
  Value full = sub(count, rest);
  forLoop(c(0), full, c(lanes()), [&](Value offset) { body(offset, {}); });
  std::optional<int64_t> known = constantOf(rest);
  if (known == 0)
    return;
  auto tail = [&] { body(full, tailMask(rest)); };
  if (known)
    tail();
  else
    ifThen(lt(c(0), rest), tail);
}
