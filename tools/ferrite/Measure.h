//===- Measure.h - Timed runs, memory and launch profiles -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TOOLS_FERRITE_MEASURE_H
#define FERRITE_TOOLS_FERRITE_MEASURE_H

#include "Model.h"

#include <nlohmann/json_fwd.hpp>

namespace ferrite::cli {

/// Runs once and returns the seconds that the call took. The outputs stay the
/// session's.
double timedRun(FerriteSession *session,
                const std::vector<FerriteTensor> &inputs);

/// The most memory that was ever resident, of this program alone; 0 when the
/// system does not tell.
uint64_t peakRssBytes();

/// The launches of the last, profiled run: a table, and as JSON rows.
void printProfile(FerriteSession *session);
nlohmann::ordered_json profileJson(FerriteSession *session);

/// {"name", "dtype", "shape"} of each tensor.
nlohmann::ordered_json tensorsJson(const std::vector<FerriteTensor> &tensors);

} // namespace ferrite::cli
#endif // FERRITE_TOOLS_FERRITE_MEASURE_H
