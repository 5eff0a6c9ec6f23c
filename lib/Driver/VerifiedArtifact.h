//===- VerifiedArtifact.h - The artifact that is verified -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_VERIFIEDARTIFACT_H
#define FERRITE_LIB_DRIVER_VERIFIEDARTIFACT_H

#include "ferrite/compiler.h"
#include "ferrite/runtime.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/JSON.h"

namespace ferrite {
/// The model and the session that the options of a verification name, freed
/// with this.
struct VerifiedArtifact {
  VerifiedArtifact() = default;
  VerifiedArtifact(const VerifiedArtifact &) = delete;
  ~VerifiedArtifact() {
    ferriteSessionDestroy(session);
    ferriteModelRelease(model);
  }

  /// Loads `options.artifact` and writes the level that it runs at into
  /// `summary`. Fails, with an error at `loc`, where it cannot be run.
  mlir::LogicalResult open(const FerriteVerifyOptions &options,
                           mlir::Location loc, llvm::json::Object &summary) {
    FerriteError error;
    FerriteModelOptions modelOptions = {};
    modelOptions.size = sizeof modelOptions;
    modelOptions.level = options.level;
    modelOptions.weights_path = options.weights_path;
    FerriteSessionOptions sessionOptions = {};
    sessionOptions.size = sizeof sessionOptions;
    sessionOptions.threads = options.threads;
    if (ferriteModelLoadFile(options.artifact, &modelOptions, &model, &error) ||
        ferriteSessionCreate(model, options.entry, &sessionOptions, &session,
                             &error))
      return mlir::emitError(loc) << error.message;
    entry = ferriteSessionEntry(session);
    summary["level"] = std::string(ferriteModelLevel(model)); // freed before it
    return mlir::success();
  }
  const FerriteAbiEntry &abi() const {
    return ferriteModelAbi(model)->entries[entry];
  }

  FerriteModel *model = nullptr;
  FerriteSession *session = nullptr;
  size_t entry = 0; ///< the session's
};

/// Tells the caller how far the verification is. Fails where it says stop.
inline mlir::LogicalResult reportProgress(const FerriteVerifyOptions &options,
                                          mlir::Location loc, const char *phase,
                                          uint64_t done, uint64_t total) {
  if (options.progress &&
      options.progress(options.progress_data, phase, done, total) != 0)
    return mlir::emitError(loc) << "stopped";
  return mlir::success();
}
} // namespace ferrite

#endif // FERRITE_LIB_DRIVER_VERIFIEDARTIFACT_H
