//===- HostProgram.cpp - The tables of an artifact ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The structs below are those of abi.h, field by field; checkLayouts() compares
// their sizes, so a change there that is forgotten here stops every compile.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/HostProgram.h"

#include "ferrite/abi.h"
#include "lib/Artifact/NodeNames.h"
#include "passes/Codegen/CPU/CpuLevel.h"
#include "passes/Codegen/EmitKernels.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace ferrite;

FailureOr<int32_t> ferrite::abiType(Type type, Location loc) {
  if (type.isF32())
    return FERRITE_F32;
  if (type.isF16())
    return FERRITE_F16;
  if (type.isBF16())
    return FERRITE_BF16;
  if (type.isF64())
    return FERRITE_F64;
  if (type.isInteger(1))
    return FERRITE_BOOL;
  if (auto integer = dyn_cast<IntegerType>(type)) {
    int base = integer.isUnsigned() ? FERRITE_U8 : FERRITE_I8;
    switch (integer.getWidth()) {
    case 8:
      return base;
    case 16:
      return base + 1;
    case 32:
      return base + 2;
    case 64:
      return base + 3;
    }
  }
  return emitError(loc) << "element type " << type
                        << " has no place in the ABI";
}

/// By value, so that a loop over it keeps it.
static Dims dimsOf(ArrayAttr verified) { return *parseDims(verified); }

namespace {
/// The integers that a launch asks for at run time, each once.
class ValueTable {
public:
  unsigned index(const DimExpr &expr) {
    return values.insert({expr, static_cast<unsigned>(values.size())})
        .first->second;
  }
  auto begin() { return values.begin(); }
  auto end() { return values.end(); }
  size_t size() const { return values.size(); }

private:
  llvm::MapVector<DimExpr, unsigned, std::map<DimExpr, unsigned>> values;
};

class HostProgram {
public:
  HostProgram(ModuleOp plan, const HostProgramOptions &options)
      : plan(plan), options(options), module(options.name, context) {
    pointer = llvm::PointerType::get(context, 0);
    i64 = llvm::Type::getInt64Ty(context);
    i32 = llvm::Type::getInt32Ty(context);
  }

  FailureOr<SmallVector<char, 0>> make();

private:
  using Constants = std::vector<llvm::Constant *>;

  llvm::Constant *c64(int64_t value) {
    return llvm::ConstantInt::get(i64, value, true);
  }
  llvm::Constant *c32(int32_t value) {
    return llvm::ConstantInt::get(i32, value, true);
  }
  llvm::Constant *null() { return llvm::ConstantPointerNull::get(pointer); }
  llvm::Constant *string(StringRef text);
  llvm::Constant *table(StringRef name, Constants rows);
  /// Packs fields as C does: their natural alignment is their size.
  llvm::Constant *record(Constants fields) {
    return llvm::ConstantStruct::getAnon(context, fields);
  }

  FailureOr<llvm::Constant *> makeEntry(plan::EntryOp entry);
  FailureOr<llvm::Constant *> makeTensor(StringRef name, Type type,
                                         ArrayAttr dims, int64_t idLimit,
                                         ValueTable *values, Location loc);
  LogicalResult addLaunch(plan::LaunchOp launch, ValueTable &values,
                          Constants &launches, Constants &arguments);
  llvm::Constant *makeSetup(plan::EntryOp entry, ValueTable &values);
  llvm::Constant *function(StringRef name, llvm::FunctionType *type);
  LogicalResult checkLayouts();
  FailureOr<SmallVector<char, 0>> emitObject();

  ModuleOp plan;
  const HostProgramOptions &options;
  llvm::LLVMContext context;
  llvm::Module module;
  llvm::PointerType *pointer;
  llvm::Type *i64, *i32;
  llvm::StringMap<unsigned> kernelIndex;
  SmallVector<std::string> symbolNames; ///< of the entry at hand
  llvm::StringMap<llvm::Constant *> strings;
  std::vector<std::pair<llvm::Type *, size_t>> layouts; ///< ours, and C's size
};
} // namespace

llvm::Constant *HostProgram::string(StringRef text) {
  llvm::Constant *&known = strings[text];
  if (known)
    return known;
  llvm::Constant *data = llvm::ConstantDataArray::getString(context, text);
  auto *global = new llvm::GlobalVariable(
      module, data->getType(), true, llvm::GlobalValue::PrivateLinkage, data);
  global->setUnnamedAddr(llvm::GlobalValue::UnnamedAddr::Global);
  return known = global;
}

llvm::Constant *HostProgram::table(StringRef name, Constants rows) {
  if (rows.empty())
    return null();
  auto *type = llvm::ArrayType::get(rows.front()->getType(), rows.size());
  auto *global = new llvm::GlobalVariable(
      module, type, true, llvm::GlobalValue::PrivateLinkage,
      llvm::ConstantArray::get(type, rows), name);
  global->setAlignment(llvm::Align(8));
  return global;
}

llvm::Constant *HostProgram::function(StringRef name,
                                      llvm::FunctionType *type) {
  auto *callee =
      cast<llvm::Function>(module.getOrInsertFunction(name, type).getCallee());
  // In the artifact itself: no relocation by name.
  callee->setVisibility(llvm::GlobalValue::HiddenVisibility);
  return callee;
}

//===--- entries ----------------------------------------------------------===//

FailureOr<llvm::Constant *>
HostProgram::makeTensor(StringRef name, Type type, ArrayAttr dims,
                        int64_t idLimit, ValueTable *values, Location loc) {
  auto tensor = cast<RankedTensorType>(type);
  FailureOr<int32_t> dtype = abiType(tensor.getElementType(), loc);
  if (failed(dtype))
    return failure();
  if (tensor.getRank() > FERRITE_MAX_RANK)
    return emitError(loc) << "tensor '" << name << "' has rank "
                          << tensor.getRank() << "; the most is "
                          << FERRITE_MAX_RANK;
  Constants rows;
  for (const DimExpr &dim : dimsOf(dims)) {
    int32_t symbol = -1;
    if (!dim.constant() && values)
      symbol = values->index(dim);
    else if (!dim.constant()) {
      auto found = llvm::find(symbolNames, dim.str());
      if (found == symbolNames.end())
        return emitError(loc) << "input '" << name << "' has the dim "
                              << dim.str() << ", which is no symbol";
      symbol = found - symbolNames.begin();
    }
    rows.push_back(
        record({c64(dim.constant().value_or(0)), c32(symbol), c32(0)}));
    layouts.push_back({rows.back()->getType(), sizeof(FerriteAbiDim)});
  }
  return record({string(name), c32(*dtype), c32(tensor.getRank()),
                 table("dims", rows), c64(idLimit)});
}

LogicalResult HostProgram::addLaunch(plan::LaunchOp launch, ValueTable &values,
                                     Constants &launches,
                                     Constants &arguments) {
  auto kernel = cast<plan::KernelOp>(
      SymbolTable::lookupNearestSymbolFrom(plan, launch.getKernelAttr()));
  size_t begin = arguments.size();
  auto add = [&](FerriteArgKind kind, unsigned index, int64_t offset) {
    arguments.push_back(record({c32(kind), c32(index), c64(offset)}));
  };
  Dims offsets = *parseDims(launch.getOffsets());
  auto entry = cast<plan::EntryOp>(launch->getParentOp());
  auto numberOf = [&](auto op) {
    auto all = entry.getBody().getOps<decltype(op)>();
    return static_cast<unsigned>(
        std::distance(all.begin(), llvm::find(all, op)));
  };
  for (auto [ref, offset] : llvm::zip(launch.getMemory(), offsets)) {
    Operation *op = ref.getDefiningOp();
    std::optional<int64_t> bytes = offset.constant();
    if (!bytes && !isa<plan::BufferOp>(op))
      return launch.emitError("a part of an input, output or weight begins at ")
             << offset.str() << " bytes, which is not a constant";
    if (auto input = dyn_cast<plan::InputOp>(op))
      add(FERRITE_ARG_INPUT, numberOf(input), *bytes);
    else if (auto output = dyn_cast<plan::OutputOp>(op))
      add(FERRITE_ARG_OUTPUT, numberOf(output), *bytes);
    else if (auto buffer = dyn_cast<plan::BufferOp>(op))
      add(FERRITE_ARG_ARENA,
          values.index(*DimExpr::parse(*buffer.getOffset()) + offset), 0);
    else
      add(FERRITE_ARG_WEIGHT, 0,
          cast<plan::WeightOp>(SymbolTable::lookupNearestSymbolFrom(
                                   plan, cast<plan::UseOp>(op).getWeightAttr()))
                  .getOffset() +
              *bytes);
  }
  for (const DimExpr &value : dimsOf(launch.getValues()))
    if (std::optional<int64_t> constant = value.constant())
      add(FERRITE_ARG_CONST, 0, *constant);
    else
      add(FERRITE_ARG_VALUE, values.index(value), 0);
  launches.push_back(
      record({c32(kernelIndex.lookup(kernel.getSymName())), c32(begin),
              c32(arguments.size() - begin),
              c32(kernel.getClaimed() ? FERRITE_LAUNCH_CLAIMED : 0),
              string(nodeNames(launch.getLoc()))}));
  return success();
}

llvm::Constant *HostProgram::makeSetup(plan::EntryOp entry,
                                       ValueTable &values) {
  auto *type = llvm::FunctionType::get(llvm::Type::getVoidTy(context),
                                       {pointer, pointer}, false);
  auto *setup = llvm::Function::Create(type, llvm::GlobalValue::InternalLinkage,
                                       "setup." + entry.getSymName(), module);
  setup->setUWTableKind(llvm::UWTableKind::Default);
  llvm::IRBuilder<> builder(llvm::BasicBlock::Create(context, "entry", setup));
  llvm::StringMap<llvm::Value *> sizes;
  for (auto [i, name] : llvm::enumerate(symbolNames))
    sizes[name] = builder.CreateLoad(
        i64, builder.CreateConstInBoundsGEP1_64(i64, setup->getArg(0), i),
        name);
  for (const auto &[expr, index] : values) {
    llvm::Value *sum = c64(0);
    for (const auto &[monomial, coefficient] : expr.terms()) {
      llvm::Value *term = c64(coefficient);
      for (const std::string &name : monomial)
        term = builder.CreateMul(term, sizes.lookup(name));
      sum = builder.CreateAdd(sum, term);
    }
    builder.CreateStore(
        sum, builder.CreateConstInBoundsGEP1_64(i64, setup->getArg(1), index));
  }
  builder.CreateRetVoid();
  return setup;
}

FailureOr<llvm::Constant *> HostProgram::makeEntry(plan::EntryOp entry) {
  // Symbols: those with limits first, then what inputs name besides.
  symbolNames.clear();
  Constants symbols, inputs, outputs, launches, arguments;
  auto addSymbol = [&](StringRef name, int64_t min, int64_t max) {
    if (llvm::is_contained(symbolNames, name))
      return;
    symbolNames.push_back(name.str());
    symbols.push_back(record({string(name), c64(min), c64(max)}));
  };
  for (Attribute attr : entry.getSymbols()) {
    auto symbol = cast<SymbolAttr>(attr);
    addSymbol(symbol.getName(), symbol.getMin(), symbol.getMax());
  }
  for (auto input : entry.getBody().getOps<plan::InputOp>())
    for (const DimExpr &dim : dimsOf(input.getDims()))
      for (const std::string &name : dim.symbols())
        addSymbol(name, 1, INT64_MAX);
  ValueTable values;
  for (auto input : entry.getBody().getOps<plan::InputOp>()) {
    FailureOr<llvm::Constant *> row =
        makeTensor(input.getName(), input.getType(), input.getDims(),
                   input.getIdLimit(), nullptr, input.getLoc());
    if (failed(row))
      return failure();
    inputs.push_back(*row);
  }
  for (auto output : entry.getBody().getOps<plan::OutputOp>()) {
    FailureOr<llvm::Constant *> row =
        makeTensor(output.getName(), output.getType(), output.getDims(), 0,
                   &values, output.getLoc());
    if (failed(row))
      return failure();
    outputs.push_back(*row);
  }
  unsigned arena =
      values.index(*DimExpr::parse(entry.getArena().value_or("0")));
  for (auto launch : entry.getBody().getOps<plan::LaunchOp>())
    if (failed(addLaunch(launch, values, launches, arguments)))
      return failure();
  for (const auto &[expr, index] : values)
    for (const std::string &name : expr.symbols())
      if (!llvm::is_contained(symbolNames, name))
        return entry.emitError("size ")
               << expr.str() << " names '" << name << "', which no input has";
  auto note = [&](const Constants &rows, size_t size) {
    if (!rows.empty())
      layouts.push_back({rows[0]->getType(), size});
  };
  note(symbols, sizeof(FerriteAbiSymbol));
  note(inputs, sizeof(FerriteAbiTensor));
  note(launches, sizeof(FerriteAbiLaunch));
  note(arguments, sizeof(FerriteAbiArg));
  auto count = [&](const Constants &rows) { return c32(rows.size()); };
  return record({string(entry.getSymName()), table("symbols", symbols),
                 table("inputs", inputs), table("outputs", outputs),
                 table("launches", launches), table("arguments", arguments),
                 makeSetup(entry, values), count(symbols), count(inputs),
                 count(outputs), count(launches), count(arguments),
                 c32(values.size()), c32(arena), c32(0),
                 c64(options.scratchBytes)});
}

//===--- the model --------------------------------------------------------===//

LogicalResult HostProgram::checkLayouts() {
  for (auto [type, size] : layouts)
    if (module.getDataLayout().getTypeAllocSize(type) != size)
      return plan.emitError(
          "bug: a table of the artifact does not match abi.h");
  return success();
}

FailureOr<SmallVector<char, 0>> HostProgram::emitObject() {
  llvm::TargetOptions targetOptions;
  std::string error;
  llvm::Triple triple(cpu::kTargetTriple);
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return plan.emitError("bug: no target for the host program: ") << error;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, "x86-64", "", targetOptions, llvm::Reloc::PIC_, std::nullopt,
      llvm::CodeGenOptLevel::Less));
  SmallVector<char, 0> object;
  llvm::raw_svector_ostream stream(object);
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, stream, nullptr,
                                   llvm::CodeGenFileType::ObjectFile))
    return plan.emitError("bug: the host program cannot be emitted");
  passes.run(module);
  return object;
}

FailureOr<SmallVector<char, 0>> HostProgram::make() {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  module.setTargetTriple(llvm::Triple(cpu::kTargetTriple));
  module.setDataLayout(cpu::kDataLayout);
  module.setPICLevel(llvm::PICLevel::BigPIC);

  auto *kernelType = llvm::FunctionType::get(
      llvm::Type::getVoidTy(context), {pointer, i64, i64, pointer}, false);
  auto *unitsType = llvm::FunctionType::get(i64, {pointer}, false);
  Constants kernels, levels, entries;
  for (auto kernel : plan.getOps<plan::KernelOp>()) {
    kernelIndex[kernel.getSymName()] = kernels.size();
    std::string units =
        kernelSymbol(options.kernelPrefix, kernel, *options.levels.back()) +
        ".units";
    kernels.push_back(
        record({string(kernel.getSymName()), function(units, unitsType)}));
  }
  for (const cpu::CpuLevel *level : options.levels) {
    Constants functions;
    for (auto kernel : plan.getOps<plan::KernelOp>())
      functions.push_back(function(
          kernelSymbol(options.kernelPrefix, kernel, *level), kernelType));
    levels.push_back(record({string(level->name), c64(level->features),
                             table("functions", functions)}));
  }
  for (auto entry : plan.getOps<plan::EntryOp>()) {
    FailureOr<llvm::Constant *> row = makeEntry(entry);
    if (failed(row))
      return failure();
    entries.push_back(*row);
  }
  llvm::Constant *weights = null(), *file = null(), *hash = null();
  if (!options.weightsSymbol.empty()) {
    auto *data = new llvm::GlobalVariable(
        module, llvm::Type::getInt8Ty(context), true,
        llvm::GlobalValue::ExternalLinkage, nullptr, options.weightsSymbol);
    data->setVisibility(llvm::GlobalValue::HiddenVisibility);
    // Reached through this one 64-bit pointer, however large or far.
    data->setCodeModel(llvm::CodeModel::Large);
    weights = data;
  } else if (!options.weightsFile.empty()) {
    file = string(options.weightsFile);
    hash = string(StringRef(
        reinterpret_cast<const char *>(options.weightsHash.data()), 16));
  }
  llvm::Constant *model = record(
      {c64(FERRITE_ABI_MAGIC), c32(FERRITE_ABI_VERSION),
       c32(sizeof(FerriteAbiModel)), string(options.compiler),
       string(options.name), table("entries", entries),
       table("kernels", kernels), table("levels", levels), weights,
       c64(options.weightsBytes), file, hash, string(options.description),
       c64(options.description.size()), c32(entries.size()),
       c32(kernels.size()), c32(levels.size()), c32(0)});
  layouts.push_back({model->getType(), sizeof(FerriteAbiModel)});
  layouts.push_back({entries[0]->getType(), sizeof(FerriteAbiEntry)});
  layouts.push_back({levels[0]->getType(), sizeof(FerriteAbiLevel)});
  auto *global = new llvm::GlobalVariable(module, model->getType(), true,
                                          llvm::GlobalValue::ExternalLinkage,
                                          model, options.symbol);
  global->setAlignment(llvm::Align(8));
  if (failed(checkLayouts()))
    return failure();
  return emitObject();
}

FailureOr<SmallVector<char, 0>>
ferrite::makeHostProgram(ModuleOp plan, const HostProgramOptions &options) {
  return HostProgram(plan, options).make();
}
