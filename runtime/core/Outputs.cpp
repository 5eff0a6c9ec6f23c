//===- Outputs.cpp - Where the results go ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"

using namespace ferrite::rt;

static FerriteStatus bindOutputs(FerriteSession &session,
                                 FerriteTensor *outputs, size_t count,
                                 FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  if (count && !outputs)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the outputs are NULL");
  for (uint32_t i = 0; i < entry.output_count; ++i)
    session.boundOutputs[i] = nullptr;
  for (size_t i = 0; i < count; ++i) {
    uint32_t place =
        i < entry.output_count ? static_cast<uint32_t>(i) : entry.output_count;
    if (outputs[i].name)
      for (place = 0; place < entry.output_count; ++place)
        if (strcmp(entry.outputs[place].name, outputs[i].name) == 0)
          break;
    if (place == entry.output_count) {
      Text names;
      for (uint32_t k = 0; k < entry.output_count; ++k)
        names.add("%s%s", k ? ", " : "", entry.outputs[k].name);
      if (outputs[i].name)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "no output '%s': the entry '%s' gives %s", outputs[i].name,
                    entry.name, names.str());
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "%zu outputs: the entry '%s' gives %u (%s)", count,
                  entry.name, entry.output_count, names.str());
    }
    if (session.boundOutputs[place])
      return fail(error, FERRITE_INVALID_ARGUMENT, "output '%s' is given twice",
                  entry.outputs[place].name);
    session.boundOutputs[place] = &outputs[i];
  }
  return FERRITE_OK;
}

static bool overlap(const void *a, uint64_t aBytes, const void *b,
                    uint64_t bBytes) {
  uintptr_t x = reinterpret_cast<uintptr_t>(a);
  uintptr_t y = reinterpret_cast<uintptr_t>(b);
  return aBytes && bBytes && x < y + bBytes && y < x + aBytes;
}

/// Kernels take it that results are apart from all that they read.
static FerriteStatus checkApart(const FerriteSession &session, uint32_t index,
                                FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  const FerriteTensor &result = session.results[index];
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteTensor &input = *session.boundInputs[i];
    uint64_t bytes = 0;
    tensorBytes(input, bytes);
    if (overlap(result.data, result.bytes, input.data, bytes))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "output '%s' overlaps input '%s' in memory", result.name,
                  entry.inputs[i].name);
  }
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    uint64_t bytes =
        static_cast<uint64_t>(session.statePages[entry.states[i].group]) *
        static_cast<uint64_t>(entry.states[i].page_bytes);
    if (overlap(result.data, result.bytes, session.states[i], bytes))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "output '%s' overlaps state '%s' in memory", result.name,
                  entry.states[i].name);
  }
  for (uint32_t i = 0; i < index; ++i) {
    const FerriteTensor &other = session.results[i];
    if (other.data &&
        overlap(result.data, result.bytes, other.data, other.bytes))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "output '%s' overlaps output '%s' in memory", result.name,
                  other.name);
  }
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::checkOwned(const FerriteSession &session,
                                      uint32_t index, const void *data,
                                      size_t size, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteTensor &input = *session.boundInputs[i];
    uint64_t bytes = 0;
    tensorBytes(input, bytes);
    if (overlap(data, size, input.data, bytes))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "input '%s' lies in memory that the session owns, in its "
                  "earlier result '%s': copy it, or give that output a buffer",
                  entry.inputs[i].name, entry.outputs[index].name);
  }
  return FERRITE_OK;
}

/// Sets session.results[index]; its data stays null when the session owns it.
static FerriteStatus checkOutput(FerriteSession &session, uint32_t index,
                                 FerriteError *error) {
  FerriteTensor &result = session.results[index];
  result.data = nullptr;
  if (FerriteStatus status =
          shapeOutput(session, index, session.values.data(), result, error))
    return status;
  const FerriteTensor *given = session.boundOutputs[index];
  result.location = given ? given->location : FERRITE_ON_HOST;
  if (FerriteStatus status =
          checkLocation(session, "output", result.name, result.location, error))
    return status;
  if (!given || !given->data)
    return FERRITE_OK;
  if (given->bytes < result.bytes) {
    Text shape;
    addShape(shape, result.shape, result.rank);
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "output '%s' has room for %llu bytes, its shape %s needs %llu",
                result.name, static_cast<unsigned long long>(given->bytes),
                shape.str(), static_cast<unsigned long long>(result.bytes));
  }
  size_t element = ferriteDTypeSize(result.dtype);
  if (reinterpret_cast<uintptr_t>(given->data) % element)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the data of output '%s' at %p is not aligned to its elements "
                "of %zu bytes",
                result.name, given->data, element);
  result.data = given->data;
  return checkApart(session, index, error);
}

FerriteStatus ferrite::rt::placeOutputs(FerriteSession &session,
                                        FerriteTensor *outputs, size_t count,
                                        FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  session.hasResults = false;
  if (FerriteStatus status = bindOutputs(session, outputs, count, error))
    return status;
  for (uint32_t i = 0; i < entry.output_count; ++i)
    if (FerriteStatus status = checkOutput(session, i, error))
      return status;
  for (uint32_t i = 0; i < entry.output_count; ++i) {
    FerriteTensor &result = session.results[i];
    if (result.data || result.location == FERRITE_ON_DEVICE)
      continue;
    // At least a line, so that an empty result has an address too.
    size_t bytes = result.bytes > lineBytes ? result.bytes : lineBytes;
    if (FerriteStatus status = checkOwned(session, i, session.owned[i].data,
                                          session.owned[i].bytes, error))
      return status;
    // Rows of logits are now more, now fewer: half as many again as there was
    // room for, or every record would be an allocation.
    size_t had = session.owned[i].bytes;
    size_t wanted =
        bytes > had && bytes < had + had / 2 ? had + had / 2 : bytes;
    if (!session.owned[i].grow(session.allocator, wanted))
      return fail(error, FERRITE_OUT_OF_MEMORY,
                  "out of memory: output '%s' needs %llu bytes", result.name,
                  static_cast<unsigned long long>(result.bytes));
    result.data = session.owned[i].data;
  }
  return FERRITE_OK;
}

FerriteStatus ferriteSessionOutput(FerriteSession *session, size_t index,
                                   FerriteTensor *output, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (!output)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the output pointer is NULL");
  if (index >= session->entry->output_count)
    return fail(error, FERRITE_NOT_FOUND,
                "no output %zu: the entry '%s' has %u", index,
                session->entry->name, session->entry->output_count);
  if (!session->hasResults)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the session has no results: no run has succeeded since it was "
                "made, failed or trimmed");
  *output = session->results[index];
  return FERRITE_OK;
}

/// Binds and checks shapes only, into session.newValues.
static FerriteStatus sizeUp(FerriteSession &session,
                            const FerriteTensor *inputs, size_t count,
                            FerriteError *error) {
  if (FerriteStatus status = bindInputs(session, inputs, count, error))
    return status;
  if (FerriteStatus status = checkShapes(session, error))
    return status;
  return computeValues(session, session.newValues.data(), error);
}

FerriteStatus
ferriteSessionOutputShapes(FerriteSession *session, const FerriteTensor *inputs,
                           size_t inputCount, FerriteTensor *outputs,
                           size_t outputCount, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (outputCount > session->entry->output_count || (outputCount && !outputs))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%zu outputs%s: the entry '%s' gives %u", outputCount,
                outputs ? "" : " at NULL", session->entry->name,
                session->entry->output_count);
  if (FerriteStatus status = sizeUp(*session, inputs, inputCount, error))
    return status;
  for (size_t i = 0; i < outputCount; ++i)
    if (FerriteStatus status = shapeOutput(
            *session, i, session->newValues.data(), outputs[i], error))
      return status;
  return FERRITE_OK;
}

FerriteStatus ferriteSessionMemory(FerriteSession *session,
                                   const FerriteTensor *inputs, size_t count,
                                   FerriteMemory *memory, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (!memory)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the memory pointer is NULL");
  memset(memory, 0, sizeof *memory);
  memory->scratch_bytes = session->scratch.bytes;
  memory->weights_bytes = session->model->abi->weights_bytes;
  if (!inputs && count == 0 && session->entry->input_count > 0) {
    memory->arena_bytes = session->arena.bytes;
    for (size_t i = 0; i < session->owned.count; ++i)
      memory->output_bytes += session->owned[i].bytes;
    return FERRITE_OK;
  }
  if (FerriteStatus status = sizeUp(*session, inputs, count, error))
    return status;
  memory->arena_bytes = arenaBytes(*session, session->newValues.data());
  for (uint32_t i = 0; i < session->entry->output_count; ++i) {
    FerriteTensor output = {};
    if (FerriteStatus status =
            shapeOutput(*session, i, session->newValues.data(), output, error))
      return status;
    memory->output_bytes += output.bytes;
  }
  return FERRITE_OK;
}
