//===- Roofline.h - Launches beside what the machine can do -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_ROOFLINE_H
#define FERRITE_TOOLS_FERRITE_ROOFLINE_H

#include "Model.h"

#include <nlohmann/json_fwd.hpp>

#include <functional>

namespace ferrite::cli {

/// One launch of profiled runs.
struct StageProfile {
  std::string nodes, kernel, arithmetic;
  double seconds = 0; ///< the least of all runs
  int64_t units = 0;
  /// From the artifact's description; less than 0: it does not say.
  double operations = -1, bytes = -1, weightBytes = -1;
  /// Of the peak that was measured; 0: no products, or none that we probe.
  double peakShare = 0;
  /// The least time that peak and read rates allow, by the time taken.
  double rooflineShare = 0;
};

/// What one thread did of one launch, in seconds from the run's begin.
struct WorkerTrack {
  size_t worker, stage;
  double begin, end, busy;
  int64_t units;
};

struct Roofline {
  std::vector<StageProfile> stages;
  std::vector<WorkerTrack> tracks; ///< of the fastest run
  double wallSeconds = 0;          ///< of the fastest run
  double f32Peak = 0, readRate = 0, cacheRate = 0;
  int64_t allWeights = 0;
};

/// Calls `run`, which runs the session with tensors of these shapes and returns
/// the seconds, some times with profiling on; then measures peaks and read
/// rates with as many threads.
Roofline profileStages(FerriteSession *session,
                       const std::vector<FerriteTensor> &inputs,
                       const std::function<double()> &run);

void printRoofline(const Roofline &roofline);
nlohmann::ordered_json rooflineJson(const Roofline &roofline);

/// Chrome's trace format, which ui.perfetto.dev reads: the launches of a run,
/// one after another, with the least time of each; and, as another process, a
/// track for each thread of the fastest run. Throws when it cannot be written.
void writeTrace(const std::string &path, const std::string &model,
                const Roofline &roofline);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_ROOFLINE_H
