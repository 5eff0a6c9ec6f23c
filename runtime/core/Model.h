//===- Model.h - A loaded model ---------------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CORE_MODEL_H
#define FERRITE_RUNTIME_CORE_MODEL_H

#include "core/Error.h"

#include <atomic>

namespace ferrite::rt {
struct ModelDevice;
} // namespace ferrite::rt

/// Immutable once it is loaded, but for the count of references.
struct FerriteModel {
  std::atomic<uint32_t> references{1};
  const FerriteAbiModel *abi = nullptr;
  const FerriteAbiLevel *level = nullptr; /* null: GPUs alone */
  const uint8_t *weights = nullptr;

  void *library = nullptr; /* of dlopen */
  int memoryFile = -1;     /* behind the library, for LoadMemory */
  void *mapping = nullptr; /* of the weights file */
  size_t mappingBytes = 0;
  char *weightsPath = nullptr;
  ferrite::rt::ModelDevice *devices = nullptr; /* that sessions put it on */
};

namespace ferrite::rt {

/// More windows than models have: groups are FERRITE_STATE_OWN and _SOURCE, and
/// from 2 on those of narrower windows.
constexpr int32_t stateGroups = 8;

/// Inputs of a step for each block of layers that runs may leave out.
enum ChosenKind { chosenRows, chosenRuns, chosenBegins, chosenKinds };
/// What stands behind `layer_rows_` or the like in `name`; null: it is no such.
const char *chosenSuffix(const char *name, int32_t *kind);

/// Checks the header of a table: magic, version, size. `what` names the model
/// in messages ("'minilm.so'").
FerriteStatus checkHeader(uint64_t magic, uint32_t version, uint32_t size,
                          const char *what, FerriteError *error);

/// Checks that the tables of a model agree with one another. They are trusted
/// as code is; this finds a broken compiler or linker before it runs wild.
FerriteStatus checkTables(const FerriteAbiModel &abi, const char *what,
                          FerriteError *error);

/// Checks that `size` bytes are a whole ELF library for this machine with a
/// model of our version in it, without running any of it.
FerriteStatus checkArtifact(const uint8_t *bytes, size_t size, const char *what,
                            FerriteError *error);

/// Sets model.level.
FerriteStatus chooseLevel(FerriteModel &model,
                          const FerriteModelOptions &options, const char *what,
                          FerriteError *error);

/// Sets model.weights, from the artifact or from its file. `folder` is where
/// that file lies unless the options say otherwise.
FerriteStatus findWeights(FerriteModel &model,
                          const FerriteModelOptions &options,
                          const char *folder, const char *what,
                          FerriteError *error);

} // namespace ferrite::rt

#endif // FERRITE_RUNTIME_CORE_MODEL_H
