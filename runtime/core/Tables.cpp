//===- Tables.cpp - Do the tables of a model agree ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every index that a run will follow is checked here, once, so that a run
// checks none.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

using namespace ferrite::rt;

namespace {

struct Checker {
  const FerriteAbiModel &abi;
  const char *what;
  FerriteError *error;

  __attribute__((format(printf, 2, 3))) FerriteStatus broken(const char *format,
                                                             ...) const {
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return fail(error, FERRITE_INTERNAL,
                "%s is broken (a bug of its compiler): %s", what, reason);
  }

  FerriteStatus model() const;
  FerriteStatus weights() const;
  FerriteStatus entry(const FerriteAbiEntry &entry) const;
  FerriteStatus tensor(const FerriteAbiEntry &entry,
                       const FerriteAbiTensor &tensor, bool isInput) const;
  FerriteStatus launch(const FerriteAbiEntry &entry, uint32_t index) const;
};

} // namespace

FerriteStatus Checker::weights() const {
  if (abi.weights || abi.weights_bytes == 0)
    return FERRITE_OK;
  if (!abi.weights_file)
    return broken("%llu bytes of weights are nowhere",
                  static_cast<unsigned long long>(abi.weights_bytes));
  if (!*abi.weights_file || strchr(abi.weights_file, '/'))
    return broken("the weights file '%s' is not beside it", abi.weights_file);
  return FERRITE_OK;
}

FerriteStatus Checker::model() const {
  if (!abi.name || !abi.compiler)
    return broken("no name or compiler");
  if (abi.entry_count == 0 || !abi.entries)
    return broken("no entries");
  if (abi.level_count == 0 || !abi.levels)
    return broken("no levels");
  if (abi.kernel_count && !abi.kernels)
    return broken("no kernels");
  if (abi.description_bytes && !abi.description)
    return broken("no description");
  for (uint32_t i = 0; i < abi.kernel_count; ++i)
    if (!abi.kernels[i].name || !abi.kernels[i].units)
      return broken("kernel %u has no name or units", i);
  for (uint32_t i = 0; i < abi.level_count; ++i) {
    const FerriteAbiLevel &level = abi.levels[i];
    if (!level.name || (abi.kernel_count && !level.functions))
      return broken("level %u has no name or functions", i);
    for (uint32_t k = 0; k < abi.kernel_count; ++k)
      if (!level.functions[k])
        return broken("kernel '%s' has no code at level '%s'",
                      abi.kernels[k].name, level.name);
  }
  if (FerriteStatus status = weights())
    return status;
  for (uint32_t i = 0; i < abi.entry_count; ++i)
    if (FerriteStatus status = entry(abi.entries[i]))
      return status;
  return FERRITE_OK;
}

FerriteStatus Checker::tensor(const FerriteAbiEntry &entry,
                              const FerriteAbiTensor &tensor,
                              bool isInput) const {
  if (!tensor.name)
    return broken("a tensor of entry '%s' has no name", entry.name);
  if (ferriteDTypeSize(tensor.dtype) == 0)
    return broken("'%s' has dtype %d", tensor.name, tensor.dtype);
  if (tensor.rank < 0 || tensor.rank > FERRITE_MAX_RANK ||
      (tensor.rank && !tensor.dims))
    return broken("'%s' has rank %d", tensor.name, tensor.rank);
  bool integral = tensor.dtype >= FERRITE_I8 && tensor.dtype <= FERRITE_BOOL;
  if (tensor.id_limit > 0 && !integral)
    return broken("'%s' holds ids of dtype %s", tensor.name,
                  ferriteDTypeName(tensor.dtype));
  uint32_t limit = isInput ? entry.symbol_count : entry.value_count;
  for (int32_t d = 0; d < tensor.rank; ++d) {
    const FerriteAbiDim &dim = tensor.dims[d];
    if (dim.symbol >= 0 ? static_cast<uint32_t>(dim.symbol) >= limit
                        : dim.size < 0)
      return broken("dimension %d of '%s' has symbol %d and size %lld", d,
                    tensor.name, dim.symbol, static_cast<long long>(dim.size));
    bool mayCheck = isInput && dim.symbol >= 0;
    if (dim.check < 0 || (dim.check > 0 && !mayCheck) ||
        static_cast<uint32_t>(dim.check) > entry.value_count)
      return broken("dimension %d of '%s' is checked with value %d of %u", d,
                    tensor.name, dim.check, entry.value_count);
  }
  return FERRITE_OK;
}

FerriteStatus Checker::launch(const FerriteAbiEntry &entry,
                              uint32_t index) const {
  const FerriteAbiLaunch &launch = entry.launches[index];
  if (launch.kernel >= abi.kernel_count)
    return broken("launch %u of entry '%s' has kernel %u of %u", index,
                  entry.name, launch.kernel, abi.kernel_count);
  if (launch.argument_begin > entry.argument_count ||
      launch.argument_count > entry.argument_count - launch.argument_begin)
    return broken("launch %u of entry '%s' has arguments %u + %u of %u", index,
                  entry.name, launch.argument_begin, launch.argument_count,
                  entry.argument_count);
  if (!launch.name)
    return broken("launch %u of entry '%s' has no name", index, entry.name);
  if (launch.flags & ~FERRITE_LAUNCH_CLAIMED)
    return broken("launch %u of entry '%s' has flags 0x%x", index, entry.name,
                  launch.flags);
  for (uint32_t i = 0; i < launch.argument_count; ++i) {
    const FerriteAbiArg &arg = entry.arguments[launch.argument_begin + i];
    uint32_t limit = 1;
    switch (arg.kind) {
    case FERRITE_ARG_INPUT_AT:
    case FERRITE_ARG_INPUT:
      limit = entry.input_count;
      break;
    case FERRITE_ARG_OUTPUT_AT:
    case FERRITE_ARG_OUTPUT:
      limit = entry.output_count;
      break;
    case FERRITE_ARG_ARENA:
    case FERRITE_ARG_VALUE:
      limit = entry.value_count;
      break;
    case FERRITE_ARG_WEIGHT_AT:
    case FERRITE_ARG_WEIGHT:
      if (arg.offset < 0 ||
          static_cast<uint64_t>(arg.offset) > abi.weights_bytes)
        return broken("launch '%s' reads weights at %lld of %llu", launch.name,
                      static_cast<long long>(arg.offset),
                      static_cast<unsigned long long>(abi.weights_bytes));
      if (arg.kind == FERRITE_ARG_WEIGHT)
        continue;
      limit = entry.value_count;
      break;
    case FERRITE_ARG_CONST:
      continue;
    default:
      return broken("argument %u of launch '%s' has kind %u", i, launch.name,
                    arg.kind);
    }
    if (arg.index >= limit)
      return broken("argument %u of launch '%s' has index %u of %u", i,
                    launch.name, arg.index, limit);
    if ((arg.kind == FERRITE_ARG_INPUT_AT ||
         arg.kind == FERRITE_ARG_OUTPUT_AT) &&
        (arg.offset < 0 || arg.offset >= entry.value_count))
      return broken("argument %u of launch '%s' has value %lld of %u", i,
                    launch.name, static_cast<long long>(arg.offset),
                    entry.value_count);
  }
  return FERRITE_OK;
}

FerriteStatus Checker::entry(const FerriteAbiEntry &entry) const {
  if (!entry.name)
    return broken("an entry has no name");
  if ((entry.symbol_count && !entry.symbols) ||
      (entry.input_count && !entry.inputs) ||
      (entry.output_count && !entry.outputs) ||
      (entry.launch_count && !entry.launches) ||
      (entry.argument_count && !entry.arguments) ||
      (entry.value_count && !entry.setup))
    return broken("a table of entry '%s' is missing", entry.name);
  if (entry.value_count && entry.arena_value >= entry.value_count)
    return broken("the arena of entry '%s' is value %u of %u", entry.name,
                  entry.arena_value, entry.value_count);
  if (entry.scratch_bytes < 0)
    return broken("entry '%s' wants %lld bytes of scratch", entry.name,
                  static_cast<long long>(entry.scratch_bytes));
  for (uint32_t i = 0; i < entry.input_count; ++i)
    if (FerriteStatus status = tensor(entry, entry.inputs[i], true))
      return status;
  for (uint32_t i = 0; i < entry.output_count; ++i)
    if (FerriteStatus status = tensor(entry, entry.outputs[i], false))
      return status;
  for (uint32_t s = 0; s < entry.symbol_count; ++s) {
    if (!entry.symbols[s].name)
      return broken("a symbol of entry '%s' has no name", entry.name);
    bool bound = false;
    for (uint32_t i = 0; i < entry.input_count; ++i)
      for (int32_t d = 0; d < entry.inputs[i].rank; ++d)
        bound |= entry.inputs[i].dims[d].symbol == static_cast<int32_t>(s);
    if (!bound)
      return broken("no input of entry '%s' has the dimension '%s'", entry.name,
                    entry.symbols[s].name);
  }
  for (uint32_t i = 0; i < entry.launch_count; ++i)
    if (FerriteStatus status = launch(entry, i))
      return status;
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::checkTables(const FerriteAbiModel &abi,
                                       const char *what, FerriteError *error) {
  return Checker{abi, what, error}.model();
}
