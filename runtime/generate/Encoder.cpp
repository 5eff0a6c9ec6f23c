//===- Encoder.cpp - What a decoder reads besides its own text ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Encoder.h"
#include "generate/Stepper.h"

using namespace ferrite::gen;

//===--- sources ----------------------------------------------------------===//

static size_t bytesOf(const FerriteTensor &tensor) {
  size_t bytes = ferriteDTypeSize(tensor.dtype);
  for (int32_t d = 0; d < tensor.rank; ++d)
    bytes *= static_cast<size_t>(tensor.shape[d]);
  return bytes;
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

bool Source::copy(const FerriteTensor *from, size_t count) {
  size_t size = 64;
  for (size_t i = 0; i < count; ++i)
    size += aligned(bytesOf(from[i])) + aligned(strlen(from[i].name) + 1);
  if (!tensors.assign(from, count) || !bytes.reserve(size))
    return false;
  bytes.shrink(size);
  char *at = bytes.data();
  at += aligned(reinterpret_cast<uintptr_t>(at)) -
        reinterpret_cast<uintptr_t>(at);
  for (FerriteTensor &tensor : tensors) {
    size_t data = bytesOf(tensor), name = strlen(tensor.name) + 1;
    if (data)
      memcpy(at, tensor.data, data);
    tensor.data = at;
    tensor.bytes = data;
    at += aligned(data);
    memcpy(at, tensor.name, name);
    tensor.name = at;
    at += aligned(name);
  }
  return true;
}

bool Source::equals(const Source &other) const {
  if (tensors.size() != other.tensors.size())
    return false;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const FerriteTensor &a = tensors[i], &b = other.tensors[i];
    if (a.dtype != b.dtype || a.rank != b.rank || a.bytes != b.bytes ||
        strcmp(a.name, b.name) != 0 ||
        memcmp(a.shape, b.shape,
               static_cast<size_t>(a.rank) * sizeof a.shape[0]) != 0 ||
        memcmp(a.data, b.data, a.bytes) != 0)
      return false;
  }
  return true;
}

//===--- opening ----------------------------------------------------------===//

Encoder::~Encoder() {
  for (Stage &stage : stages) {
    ferriteSessionDestroy(stage.session);
    free(stage.outputs);
    ferriteModelRelease(stage.model);
  }
  ferriteCacheDestroy(cache);
}

/// What the model makes of a source: of the last stage keys and values.
static const FerriteAbiEntry *findEncode(const FerriteAbiModel &abi) {
  for (uint32_t i = 0; i < abi.entry_count; ++i)
    if (abi.entries[i].role == FERRITE_ENTRY_ENCODE)
      return &abi.entries[i];
  return nullptr;
}

FerriteStatus Encoder::addStage(FerriteModel *model, bool last, int32_t threads,
                                const char *device, FerriteError *error) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  const FerriteAbiEntry *entry = findEncode(abi);
  if (!entry && last)
    return FERRITE_OK;
  if (!entry)
    entry = abi.entries;
  if (entry->role == FERRITE_ENTRY_STEP || entry->output_count == 0)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the encoder '%s' computes no tensors of a source", abi.name);
  Stage stage = {model, entry, nullptr, nullptr};
  stage.outputs = static_cast<FerriteTensor *>(
      calloc(entry->output_count, sizeof(FerriteTensor)));
  if (!stage.outputs || !stages.add(stage)) {
    free(stage.outputs);
    return noMemory(error);
  }
  ferriteModelRetain(model);
  if (!inputs.reserve(entry->input_count))
    return noMemory(error);
  FerriteSessionOptions options = {};
  options.size = sizeof options;
  options.threads = threads;
  options.device = device;
  return ferriteSessionCreate(model, entry->name, &options,
                              &stages.back().session, error);
}

static const FerriteAbiEntry &stepOf(FerriteModel *model,
                                     const FerriteCache *cache) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  uint32_t i = 0;
  while (strcmp(abi.entries[i].name, ferriteCacheEntry(cache)) != 0)
    ++i; // the cache found it
  return abi.entries[i];
}

FerriteStatus Encoder::open(FerriteModel *model, FerriteModel *const *encoders,
                            size_t count, int32_t threads, const char *device,
                            FerriteCache *given, FerriteError *error) {
  cache = given;
  for (size_t i = 0; i < count; ++i)
    if (FerriteStatus status =
            addStage(encoders[i], false, threads, device, error))
      return status;
  if (FerriteStatus status = addStage(model, true, threads, device, error))
    return status;
  const FerriteAbiEntry &step = stepOf(model, cache);
  uint32_t states = 0;
  for (uint32_t i = 0; i < step.state_count; ++i)
    states += step.states[i].group == FERRITE_STATE_SOURCE;
  if (stages.empty() || stages.back().entry->role != FERRITE_ENTRY_ENCODE ||
      stages.back().entry->output_count != states)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the entry '%s' reads keys and values of a source (an "
                "encoder's), %u tensors, and no model given computes them",
                step.name, states);
  return FERRITE_OK;
}

//===--- inputs -----------------------------------------------------------===//

static bool endsWith(const char *text, const char *end) {
  size_t length = strlen(text), size = strlen(end);
  return length >= size && strcmp(text + length - size, end) == 0;
}

/// A mask of all tokens: a source has no padding.
static bool isMask(const FerriteAbiTensor &input) {
  return input.rank == 2 && endsWith(input.name, "attention_mask") &&
         input.dtype == FERRITE_I64;
}

static bool isFloat(int32_t dtype) {
  return dtype == FERRITE_F32 || dtype == FERRITE_F16 || dtype == FERRITE_BF16;
}

/// By name what the request gives or an earlier stage made; hidden states by
/// their being floats; a mask as ones. Before a run outputs have no data.
bool Encoder::findInput(size_t index, const FerriteAbiTensor &input,
                        const FerriteTensor *tensors, size_t count,
                        FerriteTensor &found) const {
  for (size_t i = 0; i < count; ++i)
    if (strcmp(tensors[i].name, input.name) == 0) {
      found = tensors[i];
      return true;
    }
  for (size_t s = index; s-- > 0;)
    for (uint32_t o = 0; o < stages[s].entry->output_count; ++o)
      if (strcmp(stages[s].entry->outputs[o].name, input.name) == 0) {
        found = stages[s].outputs[o];
        return true;
      }
  if (index > 0 && isFloat(input.dtype)) {
    const Stage &before = stages[index - 1];
    if (before.entry->outputs[0].dtype != input.dtype ||
        before.entry->outputs[0].rank != input.rank)
      return false;
    found = before.outputs[0];
    return true;
  }
  if (!isMask(input))
    return false;
  // As long as hidden states, or the ids.
  found = {};
  found.dtype = FERRITE_I64;
  found.rank = 2;
  found.shape[0] = 1;
  if (index > 0) {
    found.shape[1] = stages[index - 1].outputs[0].shape[1];
    return true;
  }
  for (size_t i = 0; i < count; ++i)
    if (tensors[i].rank == 2 && !isFloat(tensors[i].dtype)) {
      found.shape[1] = tensors[i].shape[1];
      return true;
    }
  return false;
}

FerriteStatus Encoder::check(const FerriteTensor *tensors, size_t count,
                             FerriteError *error) const {
  for (size_t i = 0; i < count; ++i) {
    const FerriteTensor &tensor = tensors[i];
    if (!tensor.name || tensor.rank < 1 || tensor.rank > FERRITE_MAX_RANK ||
        ferriteDTypeSize(tensor.dtype) == 0)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "tensor %zu of the source has no name, dtype or shape", i);
    int64_t size = static_cast<int64_t>(ferriteDTypeSize(tensor.dtype));
    for (int32_t d = 0; d < tensor.rank; ++d)
      if (tensor.shape[d] < 1 ||
          __builtin_mul_overflow(size, tensor.shape[d], &size))
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "dim %d of '%s', of the source, is %lld", d, tensor.name,
                    ll(tensor.shape[d]));
    if (!tensor.data ||
        (tensor.bytes && tensor.bytes < static_cast<uint64_t>(size)))
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s', of the source, needs %lld bytes", tensor.name,
                  ll(size));
    if (tensor.shape[0] != 1)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s', of the source, is a batch of %lld: a request has one",
                  tensor.name, ll(tensor.shape[0]));
    bool isKnown = false;
    for (const Stage &stage : stages)
      for (uint32_t n = 0; n < stage.entry->input_count; ++n)
        isKnown |= strcmp(stage.entry->inputs[n].name, tensor.name) == 0;
    if (!isKnown)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s', of the source, is no input of the encoder",
                  tensor.name);
  }
  for (size_t s = 0; s < stages.size(); ++s)
    for (uint32_t n = 0; n < stages[s].entry->input_count; ++n) {
      FerriteTensor found;
      if (!findInput(s, stages[s].entry->inputs[n], tensors, count, found))
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "the source has no tensor '%s', which the encoder reads",
                    stages[s].entry->inputs[n].name);
    }
  return FERRITE_OK;
}

//===--- running ----------------------------------------------------------===//

FerriteStatus Encoder::runStage(size_t index, const Source &source,
                                FerriteError *error) {
  Stage &stage = stages[index];
  inputs.shrink(0);
  for (uint32_t n = 0; n < stage.entry->input_count; ++n) {
    const FerriteAbiTensor &input = stage.entry->inputs[n];
    FerriteTensor tensor;
    if (!findInput(index, input, source.tensors.data(), source.tensors.size(),
                   tensor))
      return fail(error, FERRITE_INTERNAL, "'%s' of a source was lost",
                  input.name);
    if (!tensor.data && isMask(input)) {
      auto size = static_cast<size_t>(tensor.shape[1]);
      if (!ones.reserve(size))
        return noMemory(error);
      while (ones.size() < size)
        ones.push(1);
      tensor.data = ones.data();
    }
    tensor.name = input.name;
    inputs.push(tensor);
  }
  for (uint32_t o = 0; o < stage.entry->output_count; ++o)
    stage.outputs[o] = {};
  return ferriteSessionRun(stage.session, inputs.data(), inputs.size(),
                           stage.outputs, stage.entry->output_count, error);
}

FerriteStatus Encoder::run(const Source &source, FerriteSequence **result,
                           FerriteError *error) {
  double begin = gen::seconds();
  for (size_t s = 0; s < stages.size(); ++s)
    if (FerriteStatus status = runStage(s, source, error))
      return status;
  ++runs;
  const Stage &last = stages.back();
  FerriteSequence *sequence;
  if (FerriteStatus status = ferriteSequenceCreate(cache, &sequence, error))
    return status;
  if (FerriteStatus status = ferriteSequenceImport(
          sequence, last.outputs, last.entry->output_count, 0, error)) {
    ferriteSequenceDestroy(sequence);
    return status;
  }
  seconds += gen::seconds() - begin;
  *result = sequence;
  return FERRITE_OK;
}
