//===- Replay.cpp - An artifact's launches, one by one --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Replay.h"

#include "mlir/IR/Diagnostics.h"

#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace ferrite;

/// Before the scratch of a kernel: FerriteKernelFn says for what.
static constexpr int64_t kScratchHead = 64;

/// Aligned as the runtime's memory is; zeros, so that a replay repeats.
static char *allocate(int64_t bytes) {
  size_t size =
      (static_cast<size_t>(std::max<int64_t>(bytes, 1)) + 63) / 64 * 64;
  auto *memory = static_cast<char *>(aligned_alloc(64, size));
  if (memory)
    memset(memory, 0, size);
  return memory;
}

FailureOr<Replay> Replay::create(const FerriteModel *model, size_t entryIndex,
                                 ArrayRef<FerriteTensor> inputs, Location loc) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  const FerriteAbiEntry &entry = abi.entries[entryIndex];
  Replay replay;
  replay.model = model;
  replay.entry = &entry;
  std::vector<int64_t> symbols(entry.symbol_count, 0);
  for (auto [i, input] : llvm::enumerate(inputs)) {
    replay.inputs.push_back(input.data);
    for (int32_t d = 0; d < input.rank; ++d)
      if (int32_t symbol = entry.inputs[i].dims[d].symbol; symbol >= 0)
        symbols[symbol] = input.shape[d];
  }
  replay.values.resize(entry.value_count);
  if (entry.setup)
    entry.setup(symbols.data(), replay.values.data());

  replay.weights = static_cast<const char *>(abi.weights);
  if (const char *path = ferriteModelWeightsPath(model)) {
    auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
    if (!file)
      return emitError(loc)
             << "cannot read '" << path << "': " << file.getError().message();
    replay.weightsFile = std::move(*file);
    replay.weights = replay.weightsFile->getBufferStart();
  }
  replay.arena.reset(
      allocate(entry.value_count ? replay.values[entry.arena_value] : 0));
  // A run of the same inputs has shown before that no index is outside.
  replay.scratch.reset(allocate(kScratchHead + entry.scratch_bytes));
  bool isShort = !replay.arena || !replay.scratch;
  for (uint32_t i = 0; i < entry.output_count; ++i) {
    const FerriteAbiTensor &output = entry.outputs[i];
    int64_t bytes = ferriteDTypeSize(output.dtype);
    for (int32_t d = 0; d < output.rank; ++d)
      bytes *= output.dims[d].symbol >= 0 ? replay.values[output.dims[d].symbol]
                                          : output.dims[d].size;
    replay.outputs.emplace_back(allocate(bytes), free);
    isShort |= !replay.outputs.back();
  }
  if (isShort)
    return emitError(loc) << "memory is too short to run the artifact";
  for (uint32_t i = 0; i < entry.argument_count; ++i)
    replay.args.push_back(replay.argument(entry.arguments[i]));
  return std::move(replay);
}

FerriteArg Replay::argument(const FerriteAbiArg &arg) const {
  FerriteArg made = {};
  switch (arg.kind) {
  case FERRITE_ARG_INPUT:
    made.ptr = static_cast<char *>(inputs[arg.index]) + arg.offset;
    break;
  case FERRITE_ARG_OUTPUT:
    made.ptr = outputs[arg.index].get() + arg.offset;
    break;
  case FERRITE_ARG_ARENA:
    made.ptr = arena.get() + values[arg.index] + arg.offset;
    break;
  case FERRITE_ARG_WEIGHT:
    made.ptr = const_cast<char *>(weights) + arg.offset;
    break;
  case FERRITE_ARG_INPUT_AT:
    made.ptr = static_cast<char *>(inputs[arg.index]) + values[arg.offset];
    break;
  case FERRITE_ARG_OUTPUT_AT:
    made.ptr = outputs[arg.index].get() + values[arg.offset];
    break;
  case FERRITE_ARG_WEIGHT_AT:
    made.ptr = const_cast<char *>(weights) + values[arg.index] + arg.offset;
    break;
  case FERRITE_ARG_VALUE:
    made.i64 = values[arg.index];
    break;
  case FERRITE_ARG_CONST:
    made.i64 = arg.offset;
    break;
  }
  return made;
}

StringRef Replay::kernelOf(size_t launch) const {
  return ferriteModelAbi(model)->kernels[entry->launches[launch].kernel].name;
}

ArrayRef<FerriteArg> Replay::arguments(size_t launch) const {
  const FerriteAbiLaunch &row = entry->launches[launch];
  return ArrayRef<FerriteArg>(args).slice(row.argument_begin,
                                          row.argument_count);
}

void Replay::runTo(size_t last) {
  for (; next <= last; ++next) {
    uint32_t kernel = entry->launches[next].kernel;
    const FerriteArg *first = arguments(next).data();
    int64_t units = ferriteModelAbi(model)->kernels[kernel].units(first);
    if (units > 0)
      ferriteModelKernel(model, kernel)(first, 0, units,
                                        scratch.get() + kScratchHead);
  }
}
