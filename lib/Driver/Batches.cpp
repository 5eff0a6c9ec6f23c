//===- Batches.cpp - A user's data as runs of an entry --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Batches.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Artifact/AbiType.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace ferrite;

/// Rows are cut so that a run has about as many elements of its first input.
static constexpr int64_t kTokens = 2048;

namespace {
struct Input {
  std::string name;
  RankedTensorType type;
  Dims dims;
  int32_t dtype;
};

class Maker {
public:
  Maker(StringRef option, Location loc) : option(option), loc(loc) {}
  LogicalResult readInputs(func::FuncOp func);
  LogicalResult sort(ArrayRef<FerriteTensor> data);
  FailureOr<Batch> makeRun(const std::map<size_t, FerriteTensor> &arrays);
  void cut(const Batch &run, std::vector<Batch> &to);

  StringRef option;
  Location loc;
  std::vector<Input> inputs;
  /// By number of the run; -1: without.
  std::map<int64_t, std::map<size_t, FerriteTensor>> runs;

private:
  LogicalResult bind(const Input &input, const FerriteTensor &array,
                     std::map<std::string, int64_t> &symbols);
};
} // namespace

LogicalResult Maker::readInputs(func::FuncOp func) {
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    Input input;
    auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr);
    auto dims = parseDims(func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr));
    input.type = dyn_cast<RankedTensorType>(func.getArgument(i).getType());
    if (!name || !dims || !input.type)
      return emitError(loc) << "an input of the entry has no name or no dims";
    FailureOr<int32_t> dtype = abiType(input.type.getElementType(), loc);
    if (failed(dtype))
      return failure();
    input.name = name.getValue().str();
    input.dims = *dims;
    input.dtype = *dtype;
    inputs.push_back(std::move(input));
  }
  return success();
}

LogicalResult Maker::sort(ArrayRef<FerriteTensor> data) {
  if (data.empty())
    return emitError(loc) << option << " has no arrays";
  for (const FerriteTensor &array : data) {
    StringRef name = array.name, stem = name;
    auto find = [&](StringRef wanted) {
      return llvm::find_if(inputs,
                           [&](const Input &i) { return i.name == wanted; });
    };
    auto found = find(name);
    int64_t number = -1;
    if (found == inputs.end()) {
      auto [front, back] = name.rsplit('.');
      if (!back.getAsInteger(10, number) && number >= 0)
        found = find(stem = front);
    }
    if (found == inputs.end()) {
      std::string known;
      for (const Input &input : inputs)
        known += (known.empty() ? "'" : ", '") + input.name + "'";
      return emitError(loc)
             << option << " has an array '" << name
             << "', and the model no such input; it has " << known;
    }
    int64_t count = 1;
    for (int32_t d = 0; d < array.rank; ++d)
      count *= array.shape[d];
    if (count == 0)
      return emitError(loc)
             << option << ": the array '" << name << "' is empty";
    FerriteTensor &kept = runs[number][found - inputs.begin()];
    kept = array;
    kept.bytes = count * ferriteDTypeSize(array.dtype); // may be vouched for
  }
  return success();
}

LogicalResult Maker::bind(const Input &input, const FerriteTensor &array,
                          std::map<std::string, int64_t> &symbols) {
  if (array.dtype != input.dtype)
    return emitError(loc) << option << ": the array '" << array.name
                          << "' is not of " << input.type.getElementType()
                          << ", as the model's input is";
  if (array.rank != input.type.getRank())
    return emitError(loc) << option << ": the array '" << array.name << "' has "
                          << array.rank << " dims, and the model's input "
                          << input.type.getRank();
  for (int32_t d = 0; d < array.rank; ++d) {
    const DimExpr &dim = input.dims[d];
    std::optional<int64_t> wanted = dim.constant();
    std::string text = dim.str();
    if (!wanted) {
      auto [known, isNew] = symbols.try_emplace(text, array.shape[d]);
      wanted = known->second;
    }
    if (*wanted != array.shape[d])
      return emitError(loc) << option << ": dim " << d << " (" << text
                            << ") of the array '" << array.name << "' is "
                            << array.shape[d] << " and should be " << *wanted;
  }
  return success();
}

FailureOr<Batch> Maker::makeRun(const std::map<size_t, FerriteTensor> &arrays) {
  Batch run;
  for (const auto &[index, array] : arrays)
    if (failed(bind(inputs[index], array, run.symbols)))
      return failure();
  for (auto [i, input] : llvm::enumerate(inputs)) {
    auto found = arrays.find(i);
    if (found != arrays.end()) {
      run.inputs.push_back(found->second);
      continue;
    }
    // A past that nothing else measures is empty.
    bool isFree = false;
    FerriteTensor empty = {};
    empty.dtype = input.dtype;
    empty.rank = static_cast<int32_t>(input.dims.size());
    for (auto [d, dim] : llvm::enumerate(input.dims)) {
      if (std::optional<int64_t> size = dim.constant()) {
        empty.shape[d] = *size;
      } else if (auto known = run.symbols.find(dim.str());
                 known != run.symbols.end() && known->second != 0) {
        empty.shape[d] = known->second;
      } else {
        empty.shape[d] = 0;
        isFree = true;
      }
    }
    if (!isFree)
      return emitError(loc)
             << option << " has no array for the input '" << input.name << "'";
    for (auto [d, dim] : llvm::enumerate(input.dims))
      if (empty.shape[d] == 0) {
        run.symbols[dim.str()] = 0;
        run.emptySymbols.push_back(dim.str());
      }
    static char nothing[64];
    empty.data = nothing;
    run.inputs.push_back(empty);
  }
  for (auto [input, tensor] : llvm::zip(inputs, run.inputs))
    tensor.name = input.name.c_str();
  return run;
}

void Maker::cut(const Batch &run, std::vector<Batch> &to) {
  bool isCut = !inputs.empty();
  for (const Input &input : inputs)
    isCut &= !input.dims.empty() && !input.dims[0].constant() &&
             input.dims[0] == inputs[0].dims[0];
  int64_t rows = isCut ? run.inputs[0].shape[0] : 1, tokens = 1;
  for (int32_t d = 1; isCut && d < run.inputs[0].rank; ++d)
    tokens *= run.inputs[0].shape[d];
  int64_t step = std::max<int64_t>(1, kTokens / std::max<int64_t>(tokens, 1));
  if (!isCut || rows <= step)
    return to.push_back(run);
  for (int64_t first = 0; first < rows; first += step) {
    Batch part = run;
    int64_t count = std::min(step, rows - first);
    for (FerriteTensor &tensor : part.inputs) {
      int64_t row = tensor.bytes / rows;
      tensor.data = static_cast<char *>(tensor.data) + first * row;
      tensor.bytes = count * row;
      tensor.shape[0] = count;
    }
    part.symbols[inputs[0].dims[0].str()] = count;
    to.push_back(std::move(part));
  }
}

FailureOr<std::vector<Batch>> ferrite::makeBatches(func::FuncOp func,
                                                   ArrayRef<FerriteTensor> data,
                                                   StringRef option,
                                                   Location loc) {
  Maker maker(option, loc);
  if (failed(maker.readInputs(func)) || failed(maker.sort(data)))
    return failure();
  std::vector<Batch> batches;
  for (const auto &[number, arrays] : maker.runs) {
    FailureOr<Batch> run = maker.makeRun(arrays);
    if (failed(run))
      return failure();
    // The names are those of attributes, which outlive us.
    for (auto [i, tensor] : llvm::enumerate(run->inputs))
      tensor.name = func.getArgAttrOfType<StringAttr>(i, kNameAttr).data();
    maker.cut(*run, batches);
  }
  return batches;
}

func::FuncOp ferrite::findEntry(ModuleOp module, ArrayRef<FerriteTensor> data) {
  func::FuncOp best;
  int64_t most = -1;
  for (auto func : module.getOps<func::FuncOp>()) {
    int64_t matches = 0;
    for (unsigned i = 0; i < func.getNumArguments(); ++i)
      if (auto name = func.getArgAttrOfType<StringAttr>(i, kNameAttr))
        for (const FerriteTensor &array : data)
          matches += name.getValue() == array.name ||
                     StringRef(array.name).rsplit('.').first == name.getValue();
    if (matches > most) {
      most = matches;
      best = func;
    }
  }
  return best;
}
