//===- Model.cpp - A loaded artifact, its inputs and a session ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Model.h"
#include "Main.h"

#include <CLI/CLI.hpp>

#include <climits>
#include <unistd.h>

namespace ferrite::cli {

void check(FerriteStatus status, const FerriteError &error) {
  if (status == FERRITE_OK)
    return;
  throw Error(error.message, status == FERRITE_INTERNAL
                                 ? FERRITE_COMPILE_BUG
                                 : FERRITE_COMPILE_USER_ERROR);
}

/// The file of this program: where the model's code and symbols are.
static std::string programPath() {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return std::string(path, length > 0 ? size_t(length) : 0);
}

void addModelOptions(CLI::App &command, ModelOptions &options) {
  if (program().model)
    options.artifact = programPath();
  else
    command
        .add_option("ARTIFACT", options.artifact, "a file of `ferrite compile`")
        ->required();
  command.add_option("--entry", options.entry,
                     "the entry (default: the first)");
  command.add_option("--cpu", options.level,
                     "the CPU level to use (default: $FERRITE_CPU, else the "
                     "best that this machine has)");
  command.add_option("--weights", options.weightsPath,
                     "the weights file, where it was moved or renamed");
}

void addDeviceOption(CLI::App &command, ModelOptions &options) {
  command
      .add_option("--device", options.device,
                  "cpu, or a GPU: cuda:0 (the model must have code for it: "
                  "compile --target=cpu+cuda)")
      ->capture_default_str();
}

ModelPtr loadModel(const ModelOptions &options) {
  FerriteModelOptions load = {};
  load.size = sizeof load;
  load.level = options.level.empty() ? nullptr : options.level.c_str();
  load.weights_path =
      options.weightsPath.empty() ? nullptr : options.weightsPath.c_str();
  FerriteModel *model = nullptr;
  FerriteError error;
  const FerriteAbiModel *linked = program().model;
  check(linked ? ferriteModelOpen(linked, &load, &model, &error)
               : ferriteModelLoadFile(options.artifact.c_str(), &load, &model,
                                      &error),
        error);
  return ModelPtr(model);
}

size_t findEntry(const FerriteModel *model, const std::string &name) {
  std::string known;
  for (size_t i = 0; i < ferriteModelEntryCount(model); ++i) {
    FerriteEntryInfo info;
    FerriteError error;
    check(ferriteModelEntry(model, i, &info, &error), error);
    if (name.empty() || name == info.name)
      return i;
    known += (i ? ", '" : "'") + std::string(info.name) + "'";
  }
  throw Error(
      format("no entry '%s': the model has %s", name.c_str(), known.c_str()));
}

SessionPtr createSession(FerriteModel *model, const std::string &entry,
                         int32_t threads, bool profile,
                         const std::string &device) {
  FerriteSessionOptions options = {};
  options.size = sizeof options;
  options.threads = threads;
  options.profile = profile;
  options.device = device.c_str();
  options.log = [](void *, FerriteLogLevel level, const char *message) {
    if (level >= FERRITE_LOG_WARNING)
      fprintf(stderr, "%s: warning: %s\n", program().name.c_str(), message);
  };
  FerriteSession *session = nullptr;
  FerriteError error;
  check(ferriteSessionCreate(model, entry.empty() ? nullptr : entry.c_str(),
                             &options, &session, &error),
        error);
  return SessionPtr(session);
}

using InfoFunction = FerriteStatus (*)(const FerriteModel *, size_t, size_t,
                                       FerriteTensorInfo *, FerriteError *);

static std::vector<FerriteTensorInfo> listTensors(const FerriteModel *model,
                                                  size_t entry, size_t count,
                                                  InfoFunction function) {
  std::vector<FerriteTensorInfo> result(count);
  FerriteError error;
  for (size_t i = 0; i < count; ++i)
    check(function(model, entry, i, &result[i], &error), error);
  return result;
}

static FerriteEntryInfo entryInfo(const FerriteModel *model, size_t entry) {
  FerriteEntryInfo info;
  FerriteError error;
  check(ferriteModelEntry(model, entry, &info, &error), error);
  return info;
}

std::vector<FerriteTensorInfo> listInputs(const FerriteModel *model,
                                          size_t entry) {
  return listTensors(model, entry, entryInfo(model, entry).input_count,
                     ferriteModelInput);
}

std::vector<FerriteTensorInfo> listOutputs(const FerriteModel *model,
                                           size_t entry) {
  return listTensors(model, entry, entryInfo(model, entry).output_count,
                     ferriteModelOutput);
}

std::vector<FerriteTensor> tensorsOf(const std::vector<Array> &arrays) {
  std::vector<FerriteTensor> result;
  for (const Array &array : arrays)
    result.push_back(array.tensor());
  return result;
}

std::vector<FerriteTensor> lastOutputs(FerriteSession *session) {
  auto infos =
      listOutputs(ferriteSessionModel(session), ferriteSessionEntry(session));
  std::vector<FerriteTensor> result(infos.size());
  FerriteError error;
  for (size_t i = 0; i < infos.size(); ++i) {
    check(ferriteSessionOutput(session, i, &result[i], &error), error);
    result[i].name = infos[i].name;
  }
  return result;
}

} // namespace ferrite::cli
