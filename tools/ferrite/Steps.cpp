//===- Steps.cpp - Single calls of a decoder's step -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Steps.h"
#include "CommandLine.h"
#include "npz/Npz.h"

#include <algorithm>
#include <chrono>

namespace ferrite::cli {

static const FerriteAbiEntry &findStep(const FerriteModel *model,
                                       const char *option) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  for (uint32_t i = 0; i < abi.entry_count; ++i)
    if (const FerriteAbiEntry &entry = abi.entries[i];
        entry.role == FERRITE_ENTRY_STEP) {
      for (uint32_t s = 0; s < entry.state_count; ++s)
        if (entry.states[s].group == FERRITE_STATE_SOURCE)
          throw Error(format("%s: '%s' reads an encoder, which this option "
                             "does not time: generate --bench does",
                             option, abi.name),
                      FERRITE_COMPILE_UNSUPPORTED);
      return entry;
    }
  throw Error(format("%s: '%s' is not a decoder: no entry of it keeps a state "
                     "between calls",
                     option, abi.name),
              FERRITE_COMPILE_UNSUPPORTED);
}

static Array readArray(NpzReader &reader, const std::string &path,
                       const char *name, int32_t dtype, int32_t rank) {
  if (!reader.contains(name))
    throw Error(format("'%s' has no array '%s'; it has %s", path.c_str(), name,
                       quotedList(reader.names()).c_str()));
  Array array = reader.read(name);
  if (array.dtype == dtype && array.rank == rank)
    return array;
  throw Error(format("'%s' of '%s' is %s of rank %d, expected %s of rank %d",
                     name, path.c_str(), ferriteDTypeName(array.dtype),
                     array.rank, ferriteDTypeName(dtype), rank));
}

/// The step has no padding: every token is one.
static void checkMask(NpzReader &reader, const std::string &path) {
  if (!reader.contains("attention_mask"))
    return;
  Array mask = readArray(reader, path, "attention_mask", FERRITE_I64, 2);
  const auto *values = static_cast<const int64_t *>(mask.data.get());
  for (uint64_t i = 0; i < mask.bytes / sizeof(int64_t); ++i)
    if (values[i] != 1)
      throw Error(format("'attention_mask' of '%s' has padding, which a step "
                         "over prompts has not: give each prompt its own file",
                         path.c_str()),
                  FERRITE_COMPILE_UNSUPPORTED);
}

Steps::Steps(FerriteModel *model, const std::string &path, bool decode,
             int32_t threads) {
  const FerriteAbiEntry &entry =
      findStep(model, decode ? "--decode" : "--prefill");
  stepSession = createSession(model, entry.name, threads, /*profile=*/false);
  NpzReader reader(path);
  Array prompt = readArray(reader, path, "input_ids", FERRITE_I64, 2);
  checkMask(reader, path);
  int64_t batch = prompt.shape[0];
  tokens = prompt.shape[1];
  if (batch < 1 || tokens < 1 || (decode && tokens != 1))
    throw Error(format("'input_ids' of '%s' is %s, expected %s", path.c_str(),
                       shapeString(prompt.rank, prompt.shape).c_str(),
                       decode ? "[batch, 1]" : "[batch, tokens]"));
  std::vector<Array> pasts;
  std::vector<FerriteTensor> tensors;
  for (uint32_t i = 0; decode && i < entry.state_count; ++i) {
    const FerriteAbiState &state = entry.states[i];
    if (state.kind == FERRITE_STATE_SUMMARY)
      continue; // is computed, of the keys
    // What the model gives may be rounded to what its states keep.
    bool isKept = reader.contains(state.name) &&
                  reader.read(state.name).dtype == state.dtype;
    pasts.push_back(readArray(reader, path, state.name,
                              isKept ? state.dtype : int32_t(FERRITE_F32), 4));
    context = pasts.back().shape[2];
    if (pasts.back().shape[0] != batch)
      throw Error(format("'%s' of '%s' has %lld sequences, 'input_ids' %lld",
                         state.name, path.c_str(),
                         static_cast<long long>(pasts.back().shape[0]),
                         static_cast<long long>(batch)));
  }
  tensors = tensorsOf(pasts);
  FerriteError error;
  FerriteCacheOptions options = {};
  options.size = sizeof options;
  int64_t each =
      (context + tokens + FERRITE_PAGE_TOKENS - 1) / FERRITE_PAGE_TOKENS;
  options.pages = batch * each;
  check(ferriteCacheCreate(model, entry.name, &options, &cache, &error), error);
  check(ferriteCacheBind(cache, stepSession.get(), &error), error);
  const auto *data = static_cast<const int64_t *>(prompt.data.get());
  ids.assign(data, data + batch * tokens);
  for (int64_t b = 0; b < batch; ++b) {
    FerriteSequence *sequence = nullptr;
    check(ferriteSequenceCreate(cache, &sequence, &error), error);
    sequences.push_back(sequence);
    if (decode)
      check(ferriteSequenceImport(sequence, tensors.data(), tensors.size(), b,
                                  &error),
            error);
    begins.push_back(int32_t(b * tokens));
    contexts.push_back(int32_t(context));
    rows.push_back((b + 1) * tokens - 1);
    for (int64_t t = 0; t < tokens; ++t)
      positions.push_back(context + t);
  }
  begins.push_back(int32_t(batch * tokens));
  slots.resize(ids.size());
  visible.resize(ids.size());
  tables.resize(size_t(batch * each));
}

Steps::~Steps() { ferriteCacheDestroy(cache); }

static FerriteTensor tensorOf(const char *name, FerriteDType dtype,
                              const void *data, size_t size) {
  FerriteTensor tensor = {};
  tensor.name = name;
  tensor.data = const_cast<void *>(data);
  tensor.dtype = dtype;
  tensor.rank = 1;
  tensor.shape[0] = int64_t(size);
  return tensor;
}

std::vector<FerriteTensor> Steps::inputs() const {
  auto wide = [](const char *name, const std::vector<int64_t> &v) {
    return tensorOf(name, FERRITE_I64, v.data(), v.size());
  };
  auto narrow = [](const char *name, const std::vector<int32_t> &v) {
    return tensorOf(name, FERRITE_I32, v.data(), v.size());
  };
  FerriteTensor table = narrow("page_tables", tables);
  table.rank = 2;
  table.shape[0] = int64_t(contexts.size());
  table.shape[1] = int64_t(tables.size() / contexts.size());
  std::vector<FerriteTensor> all = {
      wide("token_ids", ids),       wide("positions", positions),
      wide("slots", slots),         narrow("run_begins", begins),
      narrow("contexts", contexts), wide("visible", visible),
      wide("logit_rows", rows),     table};
  // Nothing is evicted, so nobody asks what keys get.
  static const int64_t none = 0;
  all.push_back(tensorOf("weigh_runs", FERRITE_I64, &none, 0));
  all.push_back(tensorOf("weigh_tokens", FERRITE_I32, &none, 0));
  // An entry that needs no positions has no such input.
  std::vector<FerriteTensor> result;
  for (const FerriteTensorInfo &info :
       listInputs(ferriteSessionModel(stepSession.get()),
                  ferriteSessionEntry(stepSession.get())))
    for (const FerriteTensor &tensor : all) {
      // Nothing is evicted here, so groups of windows ("slots_2") have pages of
      // the same numbers.
      std::string name = info.name;
      if (name.rfind("slots_", 0) == 0 || name.rfind("page_tables_", 0) == 0)
        name.resize(name.rfind('_'));
      if (name != tensor.name)
        continue;
      result.push_back(tensor);
      result.back().name = info.name;
    }
  return result;
}

double Steps::run() {
  FerriteError error;
  auto begin = std::chrono::steady_clock::now();
  size_t width = tables.size() / sequences.size();
  for (size_t b = 0; b < sequences.size(); ++b) {
    check(ferriteSequenceAppend(sequences[b], tokens,
                                slots.data() + b * size_t(tokens), &error),
          error);
    const int32_t *pages = ferriteSequencePages(sequences[b], nullptr);
    std::copy(pages, pages + width, tables.data() + b * width);
  }
  std::vector<FerriteTensor> given = inputs();
  check(ferriteSessionRun(stepSession.get(), given.data(), given.size(),
                          nullptr, 0, &error),
        error);
  for (FerriteSequence *sequence : sequences)
    check(ferriteSequenceTruncate(sequence, context, &error), error);
  auto end = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(end - begin).count();
}

std::vector<FerriteTensor> Steps::outputs() const {
  std::vector<FerriteTensor> result = lastOutputs(stepSession.get());
  FerriteTensor &logits = result.at(0);
  if (logits.rank == 2) { // as the model has them: [batch, tokens, vocabulary]
    logits.rank = 3;
    logits.shape[2] = logits.shape[1];
    logits.shape[1] = 1;
  }
  return result;
}

} // namespace ferrite::cli
