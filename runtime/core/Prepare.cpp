//===- Prepare.cpp - From symbols to sizes, memory and arguments ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "cuda/Device.h"

using namespace ferrite::rt;

bool ferrite::rt::tensorBytes(const FerriteTensor &tensor, uint64_t &bytes) {
  // 2^47: the user's half of the address space. Zero may hide behind an
  // overflow ([2^40, 2^40, 0]), which is refused too: strides would overflow.
  constexpr int64_t limit = INT64_C(1) << 47;
  int64_t product = static_cast<int64_t>(ferriteDTypeSize(tensor.dtype));
  bool empty = false;
  for (int32_t d = 0; d < tensor.rank; ++d) {
    int64_t size = tensor.shape[d];
    if (size == 0) {
      empty = true;
      continue;
    }
    if (size < 0 || __builtin_mul_overflow(product, size, &product) ||
        product > limit)
      return false;
  }
  bytes = empty ? 0 : static_cast<uint64_t>(product);
  return true;
}

uint64_t ferrite::rt::arenaBytes(const FerriteSession &session,
                                 const int64_t *values) {
  const FerriteAbiEntry &entry = *session.entry;
  if (entry.value_count == 0)
    return 0;
  return static_cast<uint64_t>(values[entry.arena_value]);
}

FerriteStatus ferrite::rt::shapeOutput(const FerriteSession &session,
                                       size_t index, const int64_t *values,
                                       FerriteTensor &output,
                                       FerriteError *error) {
  const FerriteAbiTensor &tensor = session.entry->outputs[index];
  output.name = tensor.name;
  output.dtype = tensor.dtype;
  output.rank = tensor.rank;
  for (int32_t d = 0; d < tensor.rank; ++d) {
    const FerriteAbiDim &dim = tensor.dims[d];
    output.shape[d] = dim.symbol >= 0 ? values[dim.symbol] : dim.size;
  }
  if (tensorBytes(output, output.bytes))
    return FERRITE_OK;
  Text shape;
  addShape(shape, output.shape, output.rank);
  return fail(error, FERRITE_INVALID_ARGUMENT,
              "output '%s' would have the shape %s", tensor.name, shape.str());
}

FerriteStatus ferrite::rt::computeValues(FerriteSession &session,
                                         int64_t *values, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  if (entry.setup)
    entry.setup(session.newSymbols.data(), values);
  for (uint32_t i = 0; i < entry.input_count; ++i)
    for (int32_t d = 0; d < entry.inputs[i].rank; ++d) {
      const FerriteAbiDim &dim = entry.inputs[i].dims[d];
      if (dim.check <= 0)
        continue;
      int64_t given = session.newSymbols[static_cast<size_t>(dim.symbol)];
      int64_t expected = values[dim.check - 1];
      if (given != expected)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "dimension %d of input '%s' is %lld, expected %s = %lld", d,
                    entry.inputs[i].name, static_cast<long long>(given),
                    entry.symbols[dim.symbol].name,
                    static_cast<long long>(expected));
    }
  if (entry.value_count && (values[entry.arena_value] < 0 ||
                            values[entry.arena_value] > INT64_C(1) << 47)) {
    Text sizes;
    for (uint32_t i = 0; i < entry.symbol_count; ++i)
      sizes.add("%s%s = %lld", i ? ", " : "", entry.symbols[i].name,
                static_cast<long long>(session.newSymbols[i]));
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "inputs of these sizes need more memory than there can be: %s",
                sizes.str());
  }
  return FERRITE_OK;
}

static FerriteArg makeArg(const FerriteSession &session,
                          const FerriteAbiArg &arg) {
  FerriteArg made = {};
  switch (arg.kind) {
  case FERRITE_ARG_ARENA:
    made.ptr = static_cast<uint8_t *>(session.arena.data) +
               session.values[arg.index] + arg.offset;
    break;
  case FERRITE_ARG_WEIGHT:
    made.ptr = const_cast<uint8_t *>(session.model->weights) + arg.offset;
    break;
  case FERRITE_ARG_WEIGHT_AT:
    made.ptr = const_cast<uint8_t *>(session.model->weights) +
               session.values[arg.index] + arg.offset;
    break;
  case FERRITE_ARG_STATE:
    made.ptr = static_cast<uint8_t *>(session.states[arg.index]) + arg.offset;
    break;
  case FERRITE_ARG_VALUE:
    made.i64 = session.values[arg.index];
    break;
  case FERRITE_ARG_CONST:
    made.i64 = arg.offset;
    break;
  default: // inputs and outputs are set in each run
    break;
  }
  return made;
}

/// Units depend on sizes alone, so they are asked for before inputs and outputs
/// have addresses.
static FerriteStatus makeStages(FerriteSession &session, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  const FerriteAbiModel &abi = *session.model->abi;
  session.parallel = false;
  for (uint32_t i = 0; i < entry.argument_count; ++i)
    session.args[i] = makeArg(session, entry.arguments[i]);
  for (uint32_t i = 0; i < entry.launch_count; ++i) {
    const FerriteAbiLaunch &launch = entry.launches[i];
    const FerriteArg *args = session.args.data() + launch.argument_begin;
    int64_t units = abi.kernels[launch.kernel].units(args);
    if (units < 0)
      return fail(error, FERRITE_INTERNAL,
                  "kernel '%s' of launch '%s' has %lld units (a bug of the "
                  "model's compiler)",
                  abi.kernels[launch.kernel].name, launch.name,
                  static_cast<long long>(units));
    session.stages[i] = {session.model->level->functions[launch.kernel], args,
                         units, (launch.flags & FERRITE_LAUNCH_CLAIMED) != 0};
    session.parallel |= units > 1;
  }
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::prepare(FerriteSession &session,
                                   FerriteError *error) {
  size_t symbolBytes = session.symbols.count * sizeof(int64_t);
  if (session.prepared &&
      (symbolBytes == 0 || memcmp(session.symbols.data(),
                                  session.newSymbols.data(), symbolBytes) == 0))
    return FERRITE_OK;
  session.prepared = false;
  if (FerriteStatus status =
          computeValues(session, session.values.data(), error))
    return status;
  uint64_t wanted = arenaBytes(session, session.values.data());
  if (session.device) {
    if (FerriteStatus status = prepareDevice(session, error))
      return status;
  } else if (wanted > session.arena.bytes) {
    if (!session.arena.grow(session.allocator, wanted))
      return fail(error, FERRITE_OUT_OF_MEMORY,
                  "out of memory: the run needs %llu bytes for intermediate "
                  "results",
                  static_cast<unsigned long long>(wanted));
    log(session, FERRITE_LOG_DEBUG, "entry '%s': the arena has %llu bytes",
        session.entry->name, static_cast<unsigned long long>(wanted));
  }
  if (!session.device)
    if (FerriteStatus status = makeStages(session, error))
      return status;
  if (symbolBytes)
    memcpy(session.symbols.data(), session.newSymbols.data(), symbolBytes);
  session.prepared = true;
  return FERRITE_OK;
}
