//===- DeviceGraph.cpp - The launches of a run ----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A launch costs the host some microseconds, of which a step of a decoder has
// hundreds; a graph of all of them costs one. Grids and parameters are part of
// a graph, so it serves runs in which all of them are the same: of a step,
// those whose runs are as many and whose page tables as wide. What changes from
// step to step (tokens, lengths, page numbers) is memory that is copied before.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "cuda/Device.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace ferrite::rt;

static FerriteStatus launchEach(FerriteSession &session, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  for (uint32_t i = 0; i < entry.launch_count; ++i) {
    if (session.cancel.load(std::memory_order_relaxed)) {
      driver.streamWait(device.stream);
      session.cancel.store(0, std::memory_order_relaxed);
      return fail(error, FERRITE_CANCELLED, "the run was cancelled");
    }
    if (session.profiling)
      driver.eventRecord(device.events[i], device.stream);
    const DeviceLaunch &launch = device.launches[i];
    if (launch.units == 0)
      continue;
    void *parameter = device.parameters.data() + launch.parameters;
    if (int result = driver.launch(launch.function, launch.grid, 1, 1,
                                   launch.threads, 1, 1, launch.sharedBytes,
                                   device.stream, &parameter, nullptr))
      return cudaFailure(driver, result, entry.launches[i].name, error);
  }
  if (session.profiling)
    driver.eventRecord(device.events[entry.launch_count], device.stream);
  return FERRITE_OK;
}

void ferrite::rt::keyLaunches(SessionDevice &device, size_t bytes) {
  XXH3_state_t hash;
  XXH3_128bits_reset(&hash);
  for (size_t i = 0; i < device.launches.count; ++i) {
    const DeviceLaunch &launch = device.launches[i];
    const uint64_t fields[] = {reinterpret_cast<uintptr_t>(launch.function),
                               launch.grid, launch.threads, launch.sharedBytes,
                               launch.parameters};
    XXH3_128bits_update(&hash, fields, sizeof fields);
  }
  XXH3_128bits_update(&hash, device.parameters.data(), bytes);
  XXH128_hash_t digest = XXH3_128bits_digest(&hash);
  device.key[0] = digest.low64;
  device.key[1] = digest.high64;
}

static void drop(const CudaDriver &driver, DeviceGraph &graph) {
  if (graph.executable)
    driver.executableDestroy(graph.executable);
  graph = {};
}

void ferrite::rt::releaseGraphs(SessionDevice &device) {
  for (DeviceGraph &graph : device.graphs)
    drop(*device.model->driver, graph);
}

static FerriteStatus capture(FerriteSession &session, void *&executable,
                             FerriteError *error) {
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  constexpr int threadLocal = 1; // other threads may do what they like
  void *graph = nullptr;
  if (int result = driver.captureBegin(device.stream, threadLocal))
    return cudaFailure(driver, result, "a graph of launches", error);
  FerriteStatus status = launchEach(session, error);
  int result = driver.captureEnd(device.stream, &graph);
  if (!status && !result)
    result = driver.graphInstantiate(&executable, graph, 0);
  if (graph)
    driver.graphDestroy(graph);
  if (!status && result)
    status = cudaFailure(driver, result, "a graph of launches", error);
  return status;
}

FerriteStatus ferrite::rt::launchAll(FerriteSession &session,
                                     FerriteError *error) {
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  // CU_STREAM_LEGACY, the one stream that nothing can be captured from.
  auto *legacy = reinterpret_cast<void *>(1);
  if (session.profiling || device.stream == legacy ||
      session.cancel.load(std::memory_order_relaxed))
    return launchEach(session, error);
  DeviceGraph *found = nullptr, *oldest = &device.graphs[0];
  for (DeviceGraph &graph : device.graphs) {
    if (graph.lastUse && graph.key[0] == device.key[0] &&
        graph.key[1] == device.key[1])
      found = &graph;
    if (graph.lastUse < oldest->lastUse)
      oldest = &graph;
  }
  if (!found) { // there may never be another run like this
    drop(driver, *oldest);
    memcpy(oldest->key, device.key, sizeof device.key);
    oldest->lastUse = ++device.runs;
    return launchEach(session, error);
  }
  found->lastUse = ++device.runs;
  if (!found->executable)
    if (FerriteStatus status = capture(session, found->executable, error))
      return status;
  if (int result = driver.graphLaunch(found->executable, device.stream))
    return cudaFailure(driver, result, "a graph of launches", error);
  return FERRITE_OK;
}
