//===- Level.cpp - The code to use on this CPU ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Model.h"
#include "cpu/Features.h"

#include <stdlib.h>
#include <string.h>

using namespace ferrite::rt;

static void addLevels(Text &text, const FerriteAbiModel &abi) {
  for (uint32_t i = 0; i < abi.level_count; ++i)
    text.add("%s%s", i ? ", " : "", abi.levels[i].name);
}

FerriteStatus ferrite::rt::chooseLevel(FerriteModel &model,
                                       const FerriteModelOptions &options,
                                       const char *what, FerriteError *error) {
  const FerriteAbiModel &abi = *model.abi;
  const char *wanted = options.level;
  const char *source = "the option level";
  if (!wanted) {
    wanted = getenv("FERRITE_CPU");
    source = "FERRITE_CPU";
  }
  if (wanted && !*wanted)
    wanted = nullptr;
  if (abi.level_count == 0 && !options.level)
    return FERRITE_OK; // code for GPUs alone
  for (uint32_t i = 0; i < abi.level_count; ++i) {
    const FerriteAbiLevel &level = abi.levels[i];
    if (wanted && strcmp(wanted, level.name) != 0)
      continue;
    if (usableFeatures(level.features)) {
      model.level = &level;
      return FERRITE_OK;
    }
    if (!wanted)
      continue;
    Text missing;
    uint64_t lacking = level.features & ~ferriteCpuFeatures();
    addFeatures(missing, lacking ? lacking : level.features);
    return fail(error, FERRITE_INCOMPATIBLE,
                "%s is '%s', but this CPU or operating system lacks: %s",
                source, wanted, missing.str());
  }
  Text levels;
  addLevels(levels, abi);
  if (wanted)
    return fail(error, FERRITE_NOT_FOUND, "%s is '%s', but %s has code for: %s",
                source, wanted, what, levels.str());
  Text features;
  addFeatures(features, ferriteCpuFeatures());
  return fail(error, FERRITE_INCOMPATIBLE,
              "%s has code for %s, and this CPU has features: %s", what,
              levels.str(), features.str());
}

const char *ferriteModelLevel(const FerriteModel *model) {
  return model->level ? model->level->name : "cuda";
}

size_t ferriteModelLevelCount(const FerriteModel *model) {
  return model->abi->level_count;
}

const char *ferriteModelLevelName(const FerriteModel *model, size_t index) {
  if (index >= model->abi->level_count)
    return nullptr;
  return model->abi->levels[index].name;
}

int32_t ferriteModelLevelUsable(const FerriteModel *model, size_t index) {
  return index < model->abi->level_count &&
         usableFeatures(model->abi->levels[index].features);
}
