//===- Tables.cpp - Do the tables of a model agree ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every index that a run will follow is checked here, once, so that a run
// checks none. Longer than other files because one class goes through all
// tables of a model, which refer to each other.
//
//===----------------------------------------------------------------------===//
#include "cache/Record.h"
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
  FerriteStatus cuda(uint32_t index) const;
  FerriteStatus entry(const FerriteAbiEntry &entry) const;
  FerriteStatus tensor(const FerriteAbiEntry &entry,
                       const FerriteAbiTensor &tensor, bool isInput) const;
  FerriteStatus state(const FerriteAbiEntry &entry, uint32_t index) const;
  FerriteStatus step(const FerriteAbiEntry &entry) const;
  FerriteStatus chosen(const FerriteAbiEntry &entry) const;
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

FerriteStatus Checker::cuda(uint32_t index) const {
  if (!abi.cuda)
    return broken("no GPU code");
  const FerriteAbiCudaCode &code = abi.cuda[index];
  if (!code.name || !code.image || code.image_bytes == 0 ||
      (abi.kernel_count && !code.kernels))
    return broken("GPU code %u has no name, image or kernels", index);
  if (code.exact > FERRITE_CUDA_PTX ||
      (code.exact == FERRITE_CUDA_PTX &&
       static_cast<const char *>(code.image)[code.image_bytes - 1] != 0))
    return broken("GPU code %u is for no known GPUs, or text without an end",
                  index);
  for (uint32_t k = 0; k < abi.kernel_count; ++k) {
    const FerriteAbiCudaKernel &kernel = code.kernels[k];
    bool ok = kernel.variants && kernel.variant_count > 0;
    for (uint64_t v = 0; ok && v < kernel.variant_count; ++v) {
      const FerriteAbiCudaVariant &variant = kernel.variants[v];
      ok = variant.name && variant.threads > 0 && variant.threads <= 1024 &&
           (!variant.grid_count || variant.grid) &&
           (!variant.map_count || variant.maps);
      for (uint32_t s = 0; ok && s < variant.grid_count; ++s)
        ok = variant.grid[s].kind >= FERRITE_GRID_SIZE &&
             variant.grid[s].kind <= FERRITE_GRID_CEIL &&
             variant.grid[s].value >=
                 (variant.grid[s].kind == FERRITE_GRID_CEIL ? 1 : 0);
    }
    if (!ok)
      return broken("kernel '%s' has no good GPU code for %s",
                    abi.kernels[k].name, code.name);
  }
  return FERRITE_OK;
}

FerriteStatus Checker::model() const {
  if (!abi.name || !abi.compiler)
    return broken("no name or compiler");
  if (abi.entry_count == 0 || !abi.entries)
    return broken("no entries");
  if ((abi.level_count == 0) != !abi.levels ||
      (abi.level_count == 0 && abi.cuda_count == 0))
    return broken("no levels");
  if (abi.kernel_count && !abi.kernels)
    return broken("no kernels");
  if (abi.description_bytes && !abi.description)
    return broken("no description");
  for (uint32_t i = 0; i < abi.kernel_count; ++i)
    if (!abi.kernels[i].name || (abi.level_count && !abi.kernels[i].units))
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
  for (uint32_t i = 0; i < abi.cuda_count; ++i)
    if (FerriteStatus status = cuda(i))
      return status;
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

FerriteStatus Checker::state(const FerriteAbiEntry &entry,
                             uint32_t index) const {
  const FerriteAbiState &state = entry.states[index];
  if (!state.name)
    return broken("state %u of entry '%s' has no name", index, entry.name);
  int64_t bytes = static_cast<int64_t>(ferriteDTypeSize(state.dtype));
  if (bytes == 0 || state.heads < 1 || state.width < 1 ||
      state.page_tokens != FERRITE_PAGE_TOKENS ||
      __builtin_mul_overflow(bytes, state.heads, &bytes) ||
      __builtin_mul_overflow(bytes, state.width, &bytes) ||
      __builtin_mul_overflow(bytes, state.page_tokens, &bytes) ||
      bytes != state.page_bytes || bytes > INT64_C(1) << 40)
    return broken("a page of state '%s' has %lld bytes for %lld tokens of "
                  "%lld x %lld elements of dtype %d",
                  state.name, static_cast<long long>(state.page_bytes),
                  static_cast<long long>(state.page_tokens),
                  static_cast<long long>(state.heads),
                  static_cast<long long>(state.width), state.dtype);
  if ((state.kind != FERRITE_STATE_KEYS && state.kind != FERRITE_STATE_VALUES &&
       (state.kind != FERRITE_STATE_SUMMARY || state.dtype != FERRITE_F32)) ||
      state.layer < 0 || state.group < FERRITE_STATE_OWN ||
      state.group >= stateGroups ||
      (index && entry.states[index - 1].group > state.group) ||
      state.window < -1 || state.window == 0 || state.sinks < 0 ||
      (state.sinks > 0 && state.window < 0))
    return broken("state '%s' has kind %d, layer %d, group %d, window %lld, "
                  "sinks %lld",
                  state.name, state.kind, state.layer, state.group,
                  static_cast<long long>(state.window),
                  static_cast<long long>(state.sinks));
  if (state.kind != FERRITE_STATE_SUMMARY)
    return FERRITE_OK;
  // Imports make summaries of the keys of their layer.
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    const FerriteAbiState &keys = entry.states[i];
    bool isNibbles = keys.dtype == FERRITE_U8;
    int64_t depth = isNibbles || keys.dtype == FERRITE_I8
                        ? ferrite::record::depthOf(isNibbles, keys.width)
                        : keys.width;
    if (keys.kind == FERRITE_STATE_KEYS && keys.layer == state.layer &&
        keys.group == state.group && keys.heads == state.heads && depth > 0 &&
        depth <= state.width * 8)
      return FERRITE_OK;
  }
  return broken("state '%s' is a summary of keys that are not there",
                state.name);
}

/// A step entry has the inputs that the runtime looks at before each run.
FerriteStatus Checker::step(const FerriteAbiEntry &entry) const {
  const struct {
    const char *name;
    int32_t dtype, rank;
    const char *same; ///< whose size it must share
    int32_t symbol;
  } wanted[] = {{"slots", FERRITE_I64, 1, "slots", 0},
                {"run_begins", FERRITE_I32, 1, "run_begins", 0},
                {"contexts", FERRITE_I32, 1, "contexts", 0},
                {"visible", FERRITE_I64, 1, "slots", 0},
                {"page_tables", FERRITE_I32, 2, "contexts", 0},
                {"logit_rows", FERRITE_I64, 1, "logit_rows", 0},
                {"source_lengths", FERRITE_I32, 1, "contexts", 0},
                {"source_tables", FERRITE_I32, 2, "contexts", 0},
                {"weigh_runs", FERRITE_I64, 1, "weigh_runs", 0},
                {"weigh_tokens", FERRITE_I32, 1, "weigh_runs", 0}};
  auto find = [&](const char *name) -> const FerriteAbiTensor * {
    for (uint32_t i = 0; i < entry.input_count; ++i)
      if (strcmp(entry.inputs[i].name, name) == 0)
        return &entry.inputs[i];
    return nullptr;
  };
  bool hasGroup[stateGroups] = {};
  for (uint32_t i = 0; i < entry.state_count; ++i)
    hasGroup[entry.states[i].group] = true; // state() has seen that it is one
  for (int32_t g = FERRITE_STATE_SOURCE + 1; g < stateGroups; ++g) {
    char slots[16], tables[24];
    snprintf(slots, sizeof slots, "slots_%d", g);
    snprintf(tables, sizeof tables, "page_tables_%d", g);
    const FerriteAbiTensor *slot = find(slots), *table = find(tables),
                           *first = find("slots"), *runs = find("contexts");
    auto same = [](const FerriteAbiTensor *a, const FerriteAbiTensor *b) {
      return a && b && a->dims[0].symbol == b->dims[0].symbol &&
             a->dims[0].size == b->dims[0].size;
    };
    if (hasGroup[g] &&
        (!slot || slot->dtype != FERRITE_I64 || slot->rank != 1 ||
         !same(slot, first) || !table || table->dtype != FERRITE_I32 ||
         table->rank != 2 || !same(table, runs)))
      return broken("the step entry '%s' has states of group %d and no inputs "
                    "'%s' and '%s' for them",
                    entry.name, g, slots, tables);
  }
  for (const auto &want : wanted) {
    if (strncmp(want.name, "source_", 7) == 0 &&
        !hasGroup[FERRITE_STATE_SOURCE])
      continue;
    if (strncmp(want.name, "weigh_", 6) == 0 && !find("weigh_runs") &&
        !find("weigh_tokens"))
      continue;
    const FerriteAbiTensor *input = find(want.name);
    if (!input || input->dtype != want.dtype || input->rank != want.rank)
      return broken("the step entry '%s' has no input '%s' of dtype %s and "
                    "rank %d",
                    entry.name, want.name, ferriteDTypeName(want.dtype),
                    want.rank);
    const FerriteAbiTensor *other = find(want.same);
    if (!other)
      return broken("the step entry '%s' has no input '%s'", entry.name,
                    want.same);
    if (input->dims[0].symbol != other->dims[0].symbol ||
        input->dims[0].size != other->dims[0].size)
      return broken("inputs '%s' and '%s' of the step entry '%s' differ in "
                    "their first dimension",
                    want.name, want.same, entry.name);
  }
  return chosen(entry);
}

/// The inputs of a block of layers that runs may leave out come together.
FerriteStatus Checker::chosen(const FerriteAbiEntry &entry) const {
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    int32_t kind = -1;
    const char *suffix = chosenSuffix(entry.inputs[i].name, &kind);
    if (!suffix)
      continue;
    for (int32_t k = 0; k < chosenKinds; ++k) {
      const FerriteAbiTensor *found = nullptr;
      for (uint32_t j = 0; j < entry.input_count; ++j) {
        int32_t other = -1;
        const char *of = chosenSuffix(entry.inputs[j].name, &other);
        if (of && other == k && strcmp(of, suffix) == 0)
          found = &entry.inputs[j];
      }
      if (!found || strlen(suffix) > 15 || found->rank != 1 ||
          found->dtype != (k == chosenBegins ? FERRITE_I32 : FERRITE_I64))
        return broken("the step entry '%s' has '%s' and not all of what "
                      "belongs to it",
                      entry.name, entry.inputs[i].name);
    }
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
  for (uint32_t c = 0; c < abi.cuda_count; ++c) {
    const FerriteAbiCudaKernel &kernel = abi.cuda[c].kernels[launch.kernel];
    for (uint64_t v = 0; v < kernel.variant_count; ++v) {
      const FerriteAbiCudaVariant &variant = kernel.variants[v];
      bool ok = variant.guard < int64_t(launch.argument_count);
      for (uint32_t s = 0; s < variant.grid_count; ++s)
        ok &= variant.grid[s].kind != FERRITE_GRID_SIZE ||
              variant.grid[s].value < int64_t(launch.argument_count);
      for (uint32_t m = 0; m < variant.map_count; ++m)
        ok &= variant.maps[m].argument < launch.argument_count &&
              variant.maps[m].row_argument < int64_t(launch.argument_count);
      if (!ok)
        return broken("launch '%s' has too few arguments for '%s'", launch.name,
                      variant.name);
    }
  }
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
    case FERRITE_ARG_STATE:
      if (arg.index < entry.state_count &&
          (arg.offset < 0 || arg.offset >= entry.states[arg.index].page_bytes))
        return broken("launch '%s' reads state '%s' at %lld", launch.name,
                      entry.states[arg.index].name,
                      static_cast<long long>(arg.offset));
      limit = entry.state_count;
      break;
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
      (entry.state_count && !entry.states) ||
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
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (FerriteStatus status = state(entry, i))
      return status;
  if (entry.role > FERRITE_ENTRY_ENCODE)
    return broken("entry '%s' has role %u", entry.name, entry.role);
  if (entry.role == FERRITE_ENTRY_STEP)
    if (FerriteStatus status = step(entry))
      return status;
  for (uint32_t i = 0; i < entry.launch_count; ++i)
    if (FerriteStatus status = launch(entry, i))
      return status;
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::checkTables(const FerriteAbiModel &abi,
                                       const char *what, FerriteError *error) {
  return Checker{abi, what, error}.model();
}
