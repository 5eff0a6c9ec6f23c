//===- StepperResults.cpp - What a call of a step gives -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Stepper.h"

using namespace ferrite::gen;

FerriteStatus Stepper::convert(const FerriteTensor &output,
                               FerriteError *error) {
  if (output.dtype == FERRITE_F32) {
    logits = static_cast<const float *>(output.data);
    return FERRITE_OK;
  }
  size_t count = rows.size() * static_cast<size_t>(vocabulary);
  if (!converted.reserve(count))
    return noMemory(error);
  const void *data = output.data;
  for (size_t i = 0; i < count; ++i)
    if (output.dtype == FERRITE_F16) {
      converted.data()[i] =
          static_cast<float>(static_cast<const _Float16 *>(data)[i]);
    } else {
      uint32_t bits =
          static_cast<uint32_t>(static_cast<const uint16_t *>(data)[i]) << 16;
      memcpy(&converted.data()[i], &bits, sizeof bits);
    }
  logits = converted.data();
  return FERRITE_OK;
}

//===--- what keys get ----------------------------------------------------===//

/// The outputs `key_weights.LAYER`, and which heads they are of.
FerriteStatus Stepper::readWeights(const FerriteAbiEntry &entry,
                                   FerriteError *error) {
  const char *prefix = "key_weights.";
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (entry.states[i].kind == FERRITE_STATE_KEYS &&
        entry.states[i].group == FERRITE_STATE_OWN)
      keyHeads += entry.states[i].heads;
  for (uint32_t o = 0; weighs && o < entry.output_count; ++o) {
    const FerriteAbiTensor &output = entry.outputs[o];
    if (strncmp(output.name, prefix, strlen(prefix)) != 0)
      continue;
    auto layer = static_cast<int32_t>(atoi(output.name + strlen(prefix)));
    Weights found = {o, 0, -1, 0, nullptr, 0};
    for (uint32_t i = 0; i < entry.state_count && found.heads < 0; ++i) {
      const FerriteAbiState &state = entry.states[i];
      if (state.kind != FERRITE_STATE_KEYS || state.group != FERRITE_STATE_OWN)
        continue;
      if (state.layer == layer)
        found.heads = state.heads;
      else
        found.firstHead += state.heads;
    }
    for (const Weights &other : weights)
      found.reader += other.firstHead == found.firstHead;
    if (found.heads < 0 || output.dtype != FERRITE_I64 || output.rank != 3 ||
        output.dims[1].symbol >= 0 || output.dims[1].size != found.heads)
      return fail(error, FERRITE_INCOMPATIBLE,
                  "the output '%s' of the entry '%s' is of no keys that a text "
                  "has",
                  output.name, entry.name);
    if (!weights.add(found))
      return noMemory(error);
  }
  return FERRITE_OK;
}

bool Stepper::hasWeights(int64_t head) const {
  for (const Weights &of : weights)
    if (head >= of.firstHead && head < of.firstHead + of.heads)
      return true;
  return false;
}

int32_t Stepper::weigh(int64_t count) {
  weighRuns.push(static_cast<int64_t>(sequences.size()) - 1);
  weighTokens.push(static_cast<int32_t>(count));
  return static_cast<int32_t>(weighRuns.size()) - 1;
}

FerriteStatus Stepper::takeWeights(FerriteError *error) {
  for (Weights &of : weights) {
    FerriteTensor output;
    if (FerriteStatus status =
            ferriteSessionOutput(session, of.output, &output, error))
      return status;
    of.data = static_cast<const int64_t *>(output.data);
    of.width = output.shape[2];
  }
  return FERRITE_OK;
}

const int64_t *Stepper::weightsOf(int32_t weighed, int64_t head,
                                  int32_t reader) const {
  for (const Weights &of : weights)
    if (of.reader == reader && head >= of.firstHead &&
        head < of.firstHead + of.heads)
      return of.data + (weighed * of.heads + head - of.firstHead) * of.width;
  return nullptr;
}
