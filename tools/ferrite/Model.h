//===- Model.h - A loaded artifact, its inputs and a session ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What run, bench and inspect share: the C API with its statuses made
// exceptions, and inputs from a file or made up from shapes.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_MODEL_H
#define FERRITE_TOOLS_FERRITE_MODEL_H

#include "Error.h"
#include "npz/Npy.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

namespace ferrite::cli {

/// Throws the runtime's message unless `status` is FERRITE_OK.
void check(FerriteStatus status, const FerriteError &error);

struct ModelDeleter {
  void operator()(FerriteModel *model) const { ferriteModelRelease(model); }
};
struct SessionDeleter {
  void operator()(FerriteSession *session) const {
    ferriteSessionDestroy(session);
  }
};
using ModelPtr = std::unique_ptr<FerriteModel, ModelDeleter>;
using SessionPtr = std::unique_ptr<FerriteSession, SessionDeleter>;

/// Which artifact, and how it is loaded.
struct ModelOptions {
  std::string artifact;
  std::string entry;          /* empty: the first */
  std::string level;          /* empty: FERRITE_CPU, else the best */
  std::string weightsPath;    /* empty: the file that the artifact names */
  std::string device = "cpu"; /* or "cuda:N" */
};

/// Where inputs come from: a file, or shapes to make them for.
struct InputOptions {
  std::string file;                /* .npz */
  std::vector<std::string> shapes; /* "input_ids=1x128" */
  std::string fill = "random";     /* or "zeros" */
  uint64_t seed = 0;
};

void addModelOptions(CLI::App &command, ModelOptions &options);
void addDeviceOption(CLI::App &command, ModelOptions &options);
void addInputOptions(CLI::App &command, InputOptions &options);

ModelPtr loadModel(const ModelOptions &options);
/// `options.entry` as an index; throws with the names that there are.
size_t findEntry(const FerriteModel *model, const std::string &name);
SessionPtr createSession(FerriteModel *model, const std::string &entry,
                         int32_t threads, bool profile,
                         const std::string &device = "cpu");

/// What an entry takes or gives, in order.
std::vector<FerriteTensorInfo> listInputs(const FerriteModel *model,
                                          size_t entry);
std::vector<FerriteTensorInfo> listOutputs(const FerriteModel *model,
                                           size_t entry);

/// Inputs in the entry's order. Their checks are the runtime's; only a missing
/// array is found here, so that the message can say what the file has.
std::vector<Array> makeInputs(const FerriteModel *model, size_t entry,
                              const InputOptions &options);
/// The shapes alone, with a null `data`: enough to ask for memory.
std::vector<Array> makeInputShapes(const FerriteModel *model, size_t entry,
                                   const std::vector<std::string> &shapes);

/// All arrays of an .npz file, in its order; none for an empty path.
std::vector<Array> readArrays(const std::string &path);

std::vector<FerriteTensor> tensorsOf(const std::vector<Array> &arrays);

/// All outputs of the last run, valid until the next.
std::vector<FerriteTensor> lastOutputs(FerriteSession *session);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_MODEL_H
