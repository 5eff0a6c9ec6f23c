//===- Measure.cpp - Timed runs, memory and launch profiles ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Measure.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace ferrite::cli {

using Json = nlohmann::ordered_json;

double timedRun(FerriteSession *session,
                const std::vector<FerriteTensor> &inputs) {
  FerriteError error;
  auto begin = std::chrono::steady_clock::now();
  FerriteStatus status = ferriteSessionRun(session, inputs.data(),
                                           inputs.size(), nullptr, 0, &error);
  auto end = std::chrono::steady_clock::now();
  check(status, error);
  return std::chrono::duration<double>(end - begin).count();
}

uint64_t peakRssBytes() {
  // Not getrusage: after exec, its maximum still holds the parent's memory.
  FILE *file = fopen("/proc/self/status", "re");
  if (!file)
    return 0;
  char line[256];
  uint64_t bytes = 0;
  while (fgets(line, sizeof line, file))
    if (!strncmp(line, "VmHWM:", 6))
      bytes = strtoull(line + 6, nullptr, 10) * 1024;
  fclose(file);
  return bytes;
}

static std::vector<FerriteLaunchProfile> profileRows(FerriteSession *session) {
  const FerriteLaunchProfile *rows = nullptr;
  size_t count = 0;
  FerriteError error;
  check(ferriteSessionProfile(session, &rows, &count, &error), error);
  return std::vector<FerriteLaunchProfile>(rows, rows + count);
}

void printProfile(FerriteSession *session) {
  std::vector<FerriteLaunchProfile> rows = profileRows(session);
  int64_t total = 0;
  size_t width = strlen("kernel");
  for (const FerriteLaunchProfile &row : rows) {
    total += row.nanoseconds;
    width = std::max(width, strlen(row.kernel));
  }
  width = std::min<size_t>(width, 40);
  // Times first and names last: names of ONNX nodes are long.
  printf("%12s %6s %8s  %-*s  nodes\n", "us", "%", "units", int(width),
         "kernel");
  std::stable_sort(rows.begin(), rows.end(), [](auto &a, auto &b) {
    return a.nanoseconds > b.nanoseconds;
  });
  for (const FerriteLaunchProfile &row : rows)
    printf("%12.1f %6.1f %8lld  %-*s  %s\n", row.nanoseconds * 1e-3,
           total ? 100.0 * row.nanoseconds / total : 0.0,
           static_cast<long long>(row.units), int(width), row.kernel,
           row.launch);
  printf("%12.1f        all %zu launches\n", total * 1e-3, rows.size());
}

Json profileJson(FerriteSession *session) {
  Json result = Json::array();
  for (const FerriteLaunchProfile &row : profileRows(session))
    result.push_back({{"nodes", row.launch},
                      {"kernel", row.kernel},
                      {"seconds", row.nanoseconds * 1e-9},
                      {"units", row.units}});
  return result;
}

Json tensorsJson(const std::vector<FerriteTensor> &tensors) {
  Json result = Json::array();
  for (const FerriteTensor &tensor : tensors)
    result.push_back(
        {{"name", tensor.name},
         {"dtype", ferriteDTypeName(tensor.dtype)},
         {"shape",
          std::vector<int64_t>(tensor.shape, tensor.shape + tensor.rank)}});
  return result;
}

} // namespace ferrite::cli
