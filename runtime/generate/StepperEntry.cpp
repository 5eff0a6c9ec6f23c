//===- StepperEntry.cpp - What a step entry takes -------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Inputs are known by their names: those of texts, of layers with windows, of a
// source. One that is none of them nobody could fill.
//
//===----------------------------------------------------------------------===//
#include "generate/Stepper.h"

using namespace ferrite::gen;

/// The inputs `slots_N` and `page_tables_N`.
bool Stepper::readGroup(const FerriteAbiTensor &input, int64_t limit) {
  bool isSlots = strncmp(input.name, "slots_", 6) == 0;
  if (!isSlots && strncmp(input.name, "page_tables_", 12) != 0)
    return false;
  auto number = static_cast<int32_t>(atoi(strrchr(input.name, '_') + 1));
  int32_t i = 0;
  while (i < groupCount && groups[i].number != number)
    ++i;
  if (i == mostGroups)
    return false;
  if (i == groupCount)
    groups[groupCount++].number = number;
  if (isSlots) {
    groups[i].slotName = input.name;
  } else {
    groups[i].tableName = input.name;
    groups[i].tableLimit = limit;
  }
  return true;
}

/// The inputs `layer_rows_N`, `layer_runs_N` and `layer_begins_N`.
bool Stepper::readBlock(const FerriteAbiTensor &input) {
  const struct {
    const char *name;
    const char *Block::*at;
  } kinds[] = {{"layer_rows_", &Block::rowName},
               {"layer_runs_", &Block::runName},
               {"layer_begins_", &Block::beginName}};
  for (const auto &kind : kinds) {
    if (strncmp(input.name, kind.name, strlen(kind.name)) != 0)
      continue;
    const char *suffix = input.name + strlen(kind.name);
    int32_t i = 0;
    while (i < blockCount && strcmp(blocks[i].suffix, suffix) != 0)
      ++i;
    if (i == mostBlocks)
      return false;
    if (i == blockCount)
      blocks[blockCount++].suffix = suffix;
    blocks[i].*kind.at = input.name;
    return true;
  }
  return false;
}

FerriteStatus Stepper::readEntry(FerriteModel *model, const char *entry,
                                 FerriteError *error) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  while (strcmp(abi.entries[entryIndex].name, entry) != 0)
    ++entryIndex; // the cache found it
  const FerriteAbiEntry &e = abi.entries[entryIndex];
  bool takesTokens = false;
  for (uint32_t i = 0; i < e.input_count; ++i) {
    const FerriteAbiTensor &input = e.inputs[i];
    auto limitOf = [&](int d) {
      int32_t symbol = input.dims[d].symbol;
      return symbol >= 0 ? e.symbols[symbol].max : input.dims[d].size;
    };
    auto is = [&](const char *name) { return strcmp(input.name, name) == 0; };
    bool ofTokens = input.dtype == FERRITE_I64 && input.rank == 1;
    if (is("token_ids") && ofTokens) {
      takesTokens = true;
      idLimit = input.id_limit > 0 ? input.id_limit : INT64_MAX;
      lower(stepTokens, limitOf(0));
    } else if (is("positions") && ofTokens) {
      takesPositions = true;
      if (input.id_limit > 0)
        positionLimit = input.id_limit;
    } else if (is("contexts")) {
      lower(runLimit, limitOf(0));
    } else if (is("run_begins")) {
      lower(runLimit, limitOf(0) - (limitOf(0) != INT64_MAX));
    } else if (is("page_tables")) {
      tableLimit = limitOf(1);
    } else if (is("source_tables")) {
      takesSource = true;
      sourceTableLimit = limitOf(1);
    } else if (is("weigh_runs")) {
      weighs = true;
    } else if (is("logit_rows")) {
      // All tokens of a call may want logits: drafts do.
      lower(stepTokens, limitOf(0));
    } else if (is("embeddings") && input.rank == 2 &&
               input.dims[1].symbol < 0) {
      // Texts are of tokens: no row counts, and none is read.
      embeddingType = input.dtype;
      embeddingSize = input.dims[1].size;
    } else if (readGroup(input, input.rank == 2 ? limitOf(1) : 0) ||
               readBlock(input)) {
      continue;
    } else if (!is("embedded") && !is("slots") && !is("visible") &&
               !is("source_lengths") && !is("weigh_tokens")) {
      return fail(error, FERRITE_INCOMPATIBLE,
                  "the entry '%s' has the input '%s', which is none of a text",
                  entry, input.name);
    }
  }
  if (!takesTokens)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the entry '%s' has no input 'token_ids' of dtype i64", entry);
  const FerriteAbiTensor *output = e.output_count ? e.outputs : nullptr;
  if (!output || output->rank != 2 || output->dims[1].symbol >= 0 ||
      output->dims[1].size < 1 ||
      (output->dtype != FERRITE_F32 && output->dtype != FERRITE_F16 &&
       output->dtype != FERRITE_BF16))
    return fail(error, FERRITE_INCOMPATIBLE,
                "the first output of the entry '%s' is not logits "
                "[rows, vocabulary] of floats",
                entry);
  vocabulary = output->dims[1].size;
  lower(idLimit, vocabulary);
  return readWeights(e, error);
}

/// The pages that a text holds at the most in the middle of a step, where every
/// layer forgets what is behind a window: those are given back.
int64_t Stepper::mostHeld(const FerriteAbiEntry &entry) {
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (entry.states[i].kind == FERRITE_STATE_SUMMARY) {
      selects = true;
      mostAlike = FERRITE_SELECTING_TOKENS;
    }
  int64_t window = 0;
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    const FerriteAbiState &state = entry.states[i];
    if (state.group != FERRITE_STATE_OWN)
      continue;
    if (state.window < 0 || state.window > INT32_MAX)
      return INT64_MAX;
    if (state.window > window)
      window = state.window;
  }
  // Begun pages at both ends.
  return (window + stepTokens) / FERRITE_PAGE_TOKENS + 2;
}
