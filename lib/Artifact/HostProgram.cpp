//===- HostProgram.cpp - The tables of an artifact ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The records below are the structs of abi.h, field by field.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/HostProgram.h"

#include "ferrite/abi.h"
#include "lib/Artifact/AbiTables.h"
#include "lib/Artifact/AbiType.h"
#include "lib/Artifact/CudaTables.h"
#include "lib/Artifact/LaunchThunks.h"
#include "lib/Artifact/NodeNames.h"
#include "passes/Codegen/CPU/CpuLevel.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/IR/IRBuilder.h"

using namespace mlir;
using namespace ferrite;

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

class HostProgram : AbiTables {
public:
  HostProgram(ModuleOp plan, const HostProgramOptions &options)
      : AbiTables(options.name, *options.machine), plan(plan),
        options(options) {}

  FailureOr<SmallVector<char, 0>> make();

private:
  FailureOr<llvm::Constant *> makeEntry(plan::EntryOp entry);
  FailureOr<llvm::Constant *> makeState(plan::StateOp op);
  FailureOr<llvm::Constant *> makeTensor(StringRef name, Type type,
                                         ArrayAttr dims, int64_t idLimit,
                                         bool isInput, ValueTable &values,
                                         Location loc);
  LogicalResult addLaunch(plan::LaunchOp launch, ValueTable &values,
                          Constants &launches, Constants &arguments);
  llvm::Constant *makeSetup(plan::EntryOp entry, ValueTable &values);
  void addKernels();
  void addThunks();

  ModuleOp plan;
  const HostProgramOptions &options;
  llvm::StringMap<unsigned> kernelIndex;
  llvm::DenseMap<Operation *, unsigned> thunkIndex; ///< of launches
  std::vector<unsigned> kernelOfThunk;
  Constants kernels;
  std::vector<Constants> functions; ///< of each level, in order of `kernels`
  SmallVector<std::string> symbolNames; ///< of the entry at hand
};
} // namespace

//===--- entries ----------------------------------------------------------===//

static bool isSymbol(const DimExpr &dim) {
  std::vector<std::string> names = dim.symbols();
  return names.size() == 1 && DimExpr::symbol(names[0]) == dim;
}

FailureOr<llvm::Constant *>
HostProgram::makeTensor(StringRef name, Type type, ArrayAttr dims,
                        int64_t idLimit, bool isInput, ValueTable &values,
                        Location loc) {
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
    int32_t symbol = -1, check = 0;
    if (!dim.constant() && !isInput)
      symbol = values.index(dim);
    else if (!dim.constant()) {
      auto found = llvm::find(symbolNames, dim.str());
      if (found == symbolNames.end())
        return emitError(loc) << "input '" << name << "' has the dim "
                              << dim.str() << ", which is no symbol";
      symbol = found - symbolNames.begin();
      if (!isSymbol(dim))
        check = 1 + values.index(dim);
    }
    rows.push_back(
        record({c64(dim.constant().value_or(0)), c32(symbol), c32(check)}));
    noteLayout(rows.back(), sizeof(FerriteAbiDim));
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
    if (auto input = dyn_cast<plan::InputOp>(op))
      add(bytes ? FERRITE_ARG_INPUT : FERRITE_ARG_INPUT_AT, numberOf(input),
          bytes ? *bytes : values.index(offset));
    else if (auto output = dyn_cast<plan::OutputOp>(op))
      add(bytes ? FERRITE_ARG_OUTPUT : FERRITE_ARG_OUTPUT_AT, numberOf(output),
          bytes ? *bytes : values.index(offset));
    else if (auto state = dyn_cast<plan::StateOp>(op))
      add(FERRITE_ARG_STATE, numberOf(state), bytes.value_or(0));
    else if (auto buffer = dyn_cast<plan::BufferOp>(op))
      add(FERRITE_ARG_ARENA,
          values.index(*DimExpr::parse(*buffer.getOffset()) + offset), 0);
    else {
      auto weight = cast<plan::WeightOp>(SymbolTable::lookupNearestSymbolFrom(
          plan, cast<plan::UseOp>(op).getWeightAttr()));
      if (bytes)
        add(FERRITE_ARG_WEIGHT, 0, weight.getOffset() + *bytes);
      else
        add(FERRITE_ARG_WEIGHT_AT, values.index(offset), weight.getOffset());
    }
  }
  for (const DimExpr &value : dimsOf(launch.getValues()))
    if (std::optional<int64_t> constant = value.constant())
      add(FERRITE_ARG_CONST, 0, *constant);
    else
      add(FERRITE_ARG_VALUE, values.index(value), 0);
  auto thunk = thunkIndex.find(launch);
  unsigned code = thunk == thunkIndex.end()
                      ? kernelIndex.lookup(kernel.getSymName())
                      : thunk->second;
  launches.push_back(
      record({c32(code), c32(begin), c32(arguments.size() - begin),
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

FailureOr<llvm::Constant *> HostProgram::makeState(plan::StateOp op) {
  StateAttr state = op.getState();
  auto type = cast<RankedTensorType>(op.getType());
  FailureOr<int32_t> dtype = abiType(type.getElementType(), op.getLoc());
  if (failed(dtype))
    return failure();
  static_assert(int(StateKind::Keys) == FERRITE_STATE_KEYS &&
                int(StateKind::Values) == FERRITE_STATE_VALUES &&
                int(StateKind::Summary) == FERRITE_STATE_SUMMARY &&
                PagedAttentionOp::kSelecting == FERRITE_SELECTING_TOKENS);
  bool isKeys = state.getKind() == StateKind::Keys;
  int64_t page = elementBytes(type.getElementType());
  for (int64_t size : type.getShape().drop_front())
    page *= size;
  return record({string(op.getName()), c32(*dtype),
                 c32(int32_t(state.getKind())), c32(state.getLayer()),
                 c32(state.getGroup()), c64(type.getDimSize(1)),
                 c64(type.getDimSize(isKeys ? 2 : 3)), c64(FERRITE_PAGE_TOKENS),
                 c64(page), c64(state.getWindow()), c64(state.getSinks())});
}

FailureOr<llvm::Constant *> HostProgram::makeEntry(plan::EntryOp entry) {
  // Symbols: those with limits first, then what inputs name besides.
  symbolNames.clear();
  Constants symbols, inputs, outputs, states, launches, arguments;
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
  // A size that is an expression is bound as a symbol of its own and checked.
  for (auto input : entry.getBody().getOps<plan::InputOp>())
    for (const DimExpr &dim : dimsOf(input.getDims()))
      if (!dim.constant() && !isSymbol(dim))
        addSymbol(dim.str(), 0, INT64_MAX);
  ValueTable values;
  for (auto input : entry.getBody().getOps<plan::InputOp>()) {
    FailureOr<llvm::Constant *> row = makeTensor(
        input.getName(), input.getType(), input.getDims(), input.getIdLimit(),
        /*isInput=*/true, values, input.getLoc());
    if (failed(row))
      return failure();
    inputs.push_back(*row);
  }
  for (auto output : entry.getBody().getOps<plan::OutputOp>()) {
    FailureOr<llvm::Constant *> row =
        makeTensor(output.getName(), output.getType(), output.getDims(), 0,
                   /*isInput=*/false, values, output.getLoc());
    if (failed(row))
      return failure();
    outputs.push_back(*row);
  }
  for (auto state : entry.getBody().getOps<plan::StateOp>()) {
    FailureOr<llvm::Constant *> row = makeState(state);
    if (failed(row))
      return failure();
    states.push_back(*row);
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
      noteLayout(rows[0], size);
  };
  note(symbols, sizeof(FerriteAbiSymbol));
  note(inputs, sizeof(FerriteAbiTensor));
  note(states, sizeof(FerriteAbiState));
  note(launches, sizeof(FerriteAbiLaunch));
  note(arguments, sizeof(FerriteAbiArg));
  auto count = [&](const Constants &rows) { return c32(rows.size()); };
  return record({string(entry.getSymName()), table("symbols", symbols),
                 table("inputs", inputs), table("outputs", outputs),
                 table("launches", launches), table("arguments", arguments),
                 table("states", states), makeSetup(entry, values),
                 count(symbols), count(inputs), count(outputs), count(launches),
                 count(arguments), c32(values.size()), c32(arena),
                 count(states),
                 c32(entry.getStep()     ? FERRITE_ENTRY_STEP
                     : entry.getEncode() ? FERRITE_ENTRY_ENCODE
                                         : FERRITE_ENTRY_TENSORS),
                 c32(0), c64(options.scratchBytes)});
}

//===--- the model --------------------------------------------------------===//

void HostProgram::addKernels() {
  auto *kernelType = llvm::FunctionType::get(
      llvm::Type::getVoidTy(context), {pointer, i64, i64, pointer}, false);
  auto *unitsType = llvm::FunctionType::get(i64, {pointer}, false);
  const KernelNames &names = *options.kernelNames;
  functions.resize(options.levels.size());
  for (auto kernel : plan.getOps<plan::KernelOp>()) {
    kernelIndex[kernel.getSymName()] = kernels.size();
    // Units are how the CPU's work is cut.
    llvm::Constant *units =
        options.levels.empty()
            ? null()
            : function(names.units(kernel, *options.levels.back()), unitsType);
    kernels.push_back(record({string(kernel.getSymName()), units}));
    for (auto [level, code] : llvm::zip(options.levels, functions))
      code.push_back(function(names.code(kernel, *level), kernelType));
  }
}

/// For debuggers and profilers, a kernel for each launch, after the others: its
/// code is a call, from a function that has the launch's name and line.
void HostProgram::addThunks() {
  if (options.listing.launchLines.empty() || options.levels.empty())
    return;
  LaunchThunks thunks(*this, options.listing);
  for (auto entry : plan.getOps<plan::EntryOp>())
    for (auto launch : entry.getBody().getOps<plan::LaunchOp>()) {
      unsigned kernel = kernelIndex.lookup(launch.getKernel());
      thunkIndex[launch] = kernels.size();
      kernelOfThunk.push_back(kernel);
      kernels.push_back(kernels[kernel]);
      for (auto [level, code] : llvm::zip(options.levels, functions))
        code.push_back(
            thunks.make(launch, *level, cast<llvm::Function>(code[kernel])));
      thunks.nextLaunch();
    }
  thunks.finish();
}

FailureOr<SmallVector<char, 0>> HostProgram::make() {
  addKernels();
  addThunks();
  Constants levels, entries, cuda;
  for (const CudaImage &image : options.cuda)
    cuda.push_back(makeCudaCode(*this, image, kernelOfThunk));
  for (auto [level, code] : llvm::zip(options.levels, functions))
    levels.push_back(record(
        {string(level->name), c64(level->features), table("functions", code)}));
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
  llvm::Constant *model =
      record({c64(FERRITE_ABI_MAGIC), c32(FERRITE_ABI_VERSION),
              c32(sizeof(FerriteAbiModel)), string(options.compiler),
              string(options.name), table("entries", entries),
              table("kernels", kernels), table("levels", levels), weights,
              c64(options.weightsBytes), file, hash,
              string(options.description), c64(options.description.size()),
              c32(entries.size()), c32(kernels.size()), c32(levels.size()),
              c32(cuda.size()), table("cuda", cuda)});
  noteLayout(model, sizeof(FerriteAbiModel));
  noteLayout(entries[0], sizeof(FerriteAbiEntry));
  if (!levels.empty())
    noteLayout(levels[0], sizeof(FerriteAbiLevel));
  auto *global = new llvm::GlobalVariable(module, model->getType(), true,
                                          llvm::GlobalValue::ExternalLinkage,
                                          model, options.symbol);
  global->setAlignment(llvm::Align(8));
  return emit(plan.getLoc());
}

FailureOr<SmallVector<char, 0>>
ferrite::makeHostProgram(ModuleOp plan, const HostProgramOptions &options) {
  return HostProgram(plan, options).make();
}
