//===- Device.h - A model on a GPU, and a session's part of it --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A model is put on a device once, by the first session that asks: its code
// and its weights, which all sessions there share. A session has a stream, an
// arena, and a place for each input and output that is not on the device; a run
// copies those inputs there, launches the table of stages, and copies those
// results back, by way of memory that the device reads by itself.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CUDA_DEVICE_H
#define FERRITE_RUNTIME_CUDA_DEVICE_H

#include "core/Memory.h"
#include "cuda/Driver.h"

namespace ferrite::rt {

/// A model on one device. The list of a model is freed with it.
struct ModelDevice {
  ModelDevice *next = nullptr;
  const CudaDriver *driver = nullptr;
  int ordinal = 0, device = 0;
  void *context = nullptr;
  void *module = nullptr;
  const FerriteAbiCudaCode *code = nullptr;
  CuPointer weights = 0;
  int multiprocessors = 0, sharedPerBlock = 0;
};

/// Device memory that grows; what was there is lost then.
struct DeviceBlock {
  CuPointer data = 0;
  size_t bytes = 0;
};

/// A launch as the driver takes it.
struct DeviceLaunch {
  void *function;
  uint32_t grid, threads, sharedBytes;
  size_t parameters; ///< where its one parameter lies in `parameters`
  int64_t units;
};

/// The launches of a run as the driver keeps them, for runs that have the same:
/// one with other sizes or other memory has another key.
struct DeviceGraph {
  uint64_t key[2];
  void *executable; ///< null: seen once
  uint64_t lastUse; ///< 0: there is none
};

struct SessionDevice {
  /// As many as a decoder's buckets of runs and pages in use at a time.
  static constexpr int graphCount = 16;

  ModelDevice *model = nullptr;
  void *stream = nullptr;
  DeviceBlock arena;
  DeviceBlock fault; ///< two int64, as abi.h says
  Array<DeviceBlock> inputs, outputs;
  Array<CuPointer> inputAt, outputAt; ///< that the launches have
  Array<Block> seen;       ///< what lies in inputs on the device, to be checked
  void *staging = nullptr; ///< of the host, page-locked
  size_t stagingBytes = 0;
  bool ownsStream = true;
  bool isLaunchable = false; ///< `launches` are those of these places
  Array<DeviceLaunch> launches;
  Array<uint8_t> parameters;
  Array<void *> functions; ///< of each variant of each kernel, found once
  Array<uint32_t> firstVariant;
  DeviceGraph graphs[graphCount] = {};
  uint64_t key[2] = {}; ///< of the launches as they are
  uint64_t runs = 0;
  Array<void *> events; ///< with profiling: before each launch, and the end
};

/// Makes a context current for a scope.
class DeviceScope {
public:
  DeviceScope(const CudaDriver &driver, void *context) : driver(driver) {
    driver.contextPush(context);
  }
  explicit DeviceScope(const ModelDevice &model)
      : DeviceScope(*model.driver, model.context) {}
  ~DeviceScope() {
    void *old;
    driver.contextPop(&old);
  }
  DeviceScope(const DeviceScope &) = delete;
  DeviceScope &operator=(const DeviceScope &) = delete;

private:
  const CudaDriver &driver;
};

} // namespace ferrite::rt

struct FerriteModel;
struct FerriteSession;

namespace ferrite::rt {

/// Whether `name` is a GPU ("cuda", "cuda:1"); its number in `ordinal`.
bool isCudaDevice(const char *name, int &ordinal);

/// Puts the session on a device: sets session.device.
FerriteStatus openDevice(FerriteSession &session, int ordinal,
                         FerriteError *error);
void closeDevice(FerriteSession &session);
/// Frees what a model has on devices.
void releaseDevices(FerriteModel &model);
/// Gives the arena back.
void trimDevice(FerriteSession &session);

/// Makes room for `wanted` bytes; an error is of `what`.
FerriteStatus grow(const FerriteSession &session, DeviceBlock &block,
                   uint64_t wanted, const char *what, FerriteError *error);
void release(const FerriteSession &session, DeviceBlock &block);

/// Copies input `index` from the device if what it holds must be checked: sets
/// session.seenInputs.
FerriteStatus seeInput(FerriteSession &session, uint32_t index, uint64_t bytes,
                       FerriteError *error);
/// Finds the places of inputs and outputs; `isLaunchable` falls if one moved.
FerriteStatus placeEdges(FerriteSession &session, FerriteError *error);
FerriteStatus copyInputs(FerriteSession &session, FerriteError *error);
/// Copies results and the fault, and waits for the device.
FerriteStatus copyOutputs(FerriteSession &session, int64_t fault[2],
                          FerriteError *error);

/// prepare() and the run of a session on a device.
FerriteStatus prepareDevice(FerriteSession &session, FerriteError *error);
FerriteStatus runOnDevice(FerriteSession &session, FerriteError *error);
/// All launches of a run in the session's stream: as a graph where a run before
/// had the same ones.
FerriteStatus launchAll(FerriteSession &session, FerriteError *error);
void releaseGraphs(SessionDevice &device);
/// Sets device.key when launches were made, with so many bytes of parameters.
void keyLaunches(SessionDevice &device, size_t bytes);

} // namespace ferrite::rt
#endif // FERRITE_RUNTIME_CUDA_DEVICE_H
