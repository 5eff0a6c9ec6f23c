//===- Describe.cpp - What a model takes and gives ------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"

#include <string.h>

using namespace ferrite::rt;

const char *ferriteModelName(const FerriteModel *model) {
  return model->abi->name;
}

const char *ferriteModelCompiler(const FerriteModel *model) {
  return model->abi->compiler;
}

uint64_t ferriteModelWeightsBytes(const FerriteModel *model) {
  return model->abi->weights_bytes;
}

const char *ferriteModelWeightsPath(const FerriteModel *model) {
  return model->weightsPath;
}

const char *ferriteModelDescription(const FerriteModel *model, size_t *size) {
  if (size)
    *size = model->abi->description_bytes;
  return model->abi->description_bytes ? model->abi->description : nullptr;
}

const FerriteAbiModel *ferriteModelAbi(const FerriteModel *model) {
  return model->abi;
}

FerriteKernelFn ferriteModelKernel(const FerriteModel *model, size_t index) {
  if (index >= model->abi->kernel_count)
    return nullptr;
  return model->level ? model->level->functions[index] : nullptr;
}

size_t ferriteModelEntryCount(const FerriteModel *model) {
  return model->abi->entry_count;
}

/// The entry, or null with the error written.
static const FerriteAbiEntry *findEntry(const FerriteModel *model, size_t index,
                                        const void *info, FerriteStatus &status,
                                        FerriteError *error) {
  status = FERRITE_OK;
  if (!model || !info)
    status = fail(error, FERRITE_INVALID_ARGUMENT, "the %s pointer is NULL",
                  model ? "info" : "model");
  else if (index >= model->abi->entry_count)
    status = fail(error, FERRITE_NOT_FOUND, "no entry %zu: the model has %u",
                  index, model->abi->entry_count);
  return status ? nullptr : &model->abi->entries[index];
}

FerriteStatus ferriteModelEntry(const FerriteModel *model, size_t entry,
                                FerriteEntryInfo *info, FerriteError *error) {
  FerriteStatus status;
  const FerriteAbiEntry *e = findEntry(model, entry, info, status, error);
  if (e)
    *info = {e->name,         e->symbol_count, e->input_count, e->output_count,
             e->launch_count, e->state_count,  e->role};
  return status;
}

FerriteStatus ferriteModelSymbol(const FerriteModel *model, size_t entry,
                                 size_t index, FerriteSymbolInfo *info,
                                 FerriteError *error) {
  FerriteStatus status;
  const FerriteAbiEntry *e = findEntry(model, entry, info, status, error);
  if (!e)
    return status;
  if (index >= e->symbol_count)
    return fail(error, FERRITE_NOT_FOUND,
                "no symbol %zu: the entry '%s' has %u", index, e->name,
                e->symbol_count);
  *info = {e->symbols[index].name, e->symbols[index].min,
           e->symbols[index].max};
  return FERRITE_OK;
}

/// `symbols` is null for an output: its dimensions are computed.
static void describe(const FerriteAbiTensor &tensor,
                     const FerriteAbiSymbol *symbols, FerriteTensorInfo *info) {
  memset(info, 0, sizeof *info);
  info->name = tensor.name;
  info->dtype = tensor.dtype;
  info->rank = tensor.rank;
  info->id_limit = tensor.id_limit;
  for (int32_t d = 0; d < tensor.rank; ++d) {
    const FerriteAbiDim &dim = tensor.dims[d];
    info->dims[d].size = dim.symbol >= 0 ? -1 : dim.size;
    if (dim.symbol >= 0 && symbols)
      info->dims[d].symbol = symbols[dim.symbol].name;
  }
}

FerriteStatus ferriteModelState(const FerriteModel *model, size_t entry,
                                size_t index, FerriteAbiState *info,
                                FerriteError *error) {
  FerriteStatus status;
  const FerriteAbiEntry *e = findEntry(model, entry, info, status, error);
  if (!e)
    return status;
  if (index >= e->state_count)
    return fail(error, FERRITE_NOT_FOUND, "no state %zu: the entry '%s' has %u",
                index, e->name, e->state_count);
  *info = e->states[index];
  return FERRITE_OK;
}

FerriteStatus ferriteModelInput(const FerriteModel *model, size_t entry,
                                size_t index, FerriteTensorInfo *info,
                                FerriteError *error) {
  FerriteStatus status;
  const FerriteAbiEntry *e = findEntry(model, entry, info, status, error);
  if (!e)
    return status;
  if (index >= e->input_count)
    return fail(error, FERRITE_NOT_FOUND, "no input %zu: the entry '%s' has %u",
                index, e->name, e->input_count);
  describe(e->inputs[index], e->symbols, info);
  return FERRITE_OK;
}

FerriteStatus ferriteModelOutput(const FerriteModel *model, size_t entry,
                                 size_t index, FerriteTensorInfo *info,
                                 FerriteError *error) {
  FerriteStatus status;
  const FerriteAbiEntry *e = findEntry(model, entry, info, status, error);
  if (!e)
    return status;
  if (index >= e->output_count)
    return fail(error, FERRITE_NOT_FOUND,
                "no output %zu: the entry '%s' has %u", index, e->name,
                e->output_count);
  describe(e->outputs[index], nullptr, info);
  return FERRITE_OK;
}
