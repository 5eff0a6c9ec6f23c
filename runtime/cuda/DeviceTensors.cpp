//===- DeviceTensors.cpp - Inputs and results of a run on a GPU -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "cuda/Device.h"

using namespace ferrite::rt;

/// What the driver's own memory is aligned to: kernels take it from all of
/// theirs, for wide loads and tensor maps.
static constexpr size_t deviceAlignment = 256;

/// Copies of the host's memory that is not page-locked wait for the driver,
/// which copies it to memory that is. Ours is as large as a run needs, up to
/// this; what is beyond it goes the slow way, as does what a machine would not
/// lock.
static constexpr size_t mostStaging = size_t(32) << 20;

FerriteStatus ferrite::rt::grow(const FerriteSession &session,
                                DeviceBlock &block, uint64_t wanted,
                                const char *what, FerriteError *error) {
  const CudaDriver &driver = *session.device->model->driver;
  const FerriteSessionOptions &options = session.options;
  if (wanted == 0)
    wanted = 1; // so that it has an address
  if (wanted <= block.bytes)
    return FERRITE_OK;
  release(session, block);
  if (options.device_allocate) {
    void *memory = options.device_allocate(options.device_allocator_data,
                                           wanted, deviceAlignment);
    block.data = reinterpret_cast<uintptr_t>(memory);
    if (!memory || block.data % deviceAlignment) {
      block.data = 0;
      return fail(error, FERRITE_OUT_OF_MEMORY,
                  "%s: device_allocate gave %p for %llu bytes", what, memory,
                  static_cast<unsigned long long>(wanted));
    }
  } else if (int result = driver.allocate(&block.data, wanted)) {
    block.data = 0;
    return cudaFailure(driver, result, what, error);
  }
  block.bytes = wanted;
  return FERRITE_OK;
}

void ferrite::rt::release(const FerriteSession &session, DeviceBlock &block) {
  const FerriteSessionOptions &options = session.options;
  if (block.data && options.device_deallocate)
    options.device_deallocate(options.device_allocator_data,
                              reinterpret_cast<void *>(block.data), block.bytes,
                              deviceAlignment);
  else if (block.data)
    session.device->model->driver->release(block.data);
  block = {};
}

static CuPointer addressOf(const FerriteTensor &tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data);
}

/// Whether kernels can have the tensor where it lies.
static bool isInPlace(const FerriteTensor &tensor) {
  return tensor.location == FERRITE_ON_DEVICE && tensor.data &&
         addressOf(tensor) % deviceAlignment == 0;
}

static uint64_t bytesOf(const FerriteTensor &tensor) {
  uint64_t bytes = 0;
  tensorBytes(tensor, bytes);
  return bytes;
}

FerriteStatus ferrite::rt::seeInput(FerriteSession &session, uint32_t index,
                                    uint64_t bytes, FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  const FerriteTensor &given = *session.boundInputs[index];
  bool isControl = entry.role == FERRITE_ENTRY_STEP &&
                   (given.dtype == FERRITE_I32 || given.dtype == FERRITE_I64);
  if (entry.inputs[index].id_limit <= 0 && !isControl)
    return FERRITE_OK;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  Block &block = device.seen[index];
  // At least a line: an empty tensor has an address too.
  if (!block.grow(session.allocator, bytes > lineBytes ? bytes : lineBytes))
    return fail(error, FERRITE_OUT_OF_MEMORY,
                "out of memory: input '%s' is looked at on the host",
                entry.inputs[index].name);
  session.seenInputs[index] = block.data;
  if (!bytes)
    return FERRITE_OK;
  DeviceScope scope(*device.model);
  int result =
      driver.copyToHost(block.data, addressOf(given), bytes, device.stream);
  if (!result)
    result = driver.streamWait(device.stream);
  return result ? cudaFailure(driver, result, entry.inputs[index].name, error)
                : FERRITE_OK;
}

FerriteStatus ferrite::rt::placeEdges(FerriteSession &session,
                                      FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  auto move = [&](CuPointer &place, CuPointer to) {
    device.isLaunchable &= place == to;
    place = to;
  };
  for (uint32_t i = 0; i < entry.output_count; ++i) {
    FerriteTensor &result = session.results[i];
    DeviceBlock &block = device.outputs[i];
    if (isInPlace(result)) {
      move(device.outputAt[i], addressOf(result));
      continue;
    }
    FerriteStatus status = checkOwned(
        session, i, reinterpret_cast<void *>(block.data), block.bytes, error);
    if (!status)
      status = grow(session, block, result.bytes,
                    "no room for an output on the GPU", error);
    if (status)
      return status;
    if (!result.data)
      result.data = reinterpret_cast<void *>(block.data);
    move(device.outputAt[i], block.data);
  }
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteTensor &input = *session.boundInputs[i];
    if (isInPlace(input)) {
      move(device.inputAt[i], addressOf(input));
      continue;
    }
    if (FerriteStatus status = grow(session, device.inputs[i], bytesOf(input),
                                    "no room for an input on the GPU", error))
      return status;
    move(device.inputAt[i], device.inputs[i].data);
  }
  return FERRITE_OK;
}

namespace {
/// Hands out the staging memory, in the same order to all who go through it.
class Staging {
public:
  explicit Staging(const SessionDevice &device) : device(device) {}
  /// Null: no room.
  uint8_t *take(uint64_t bytes) {
    size_t end = at + alignUp(bytes, lineBytes);
    if (end > device.stagingBytes)
      return nullptr;
    uint8_t *place = static_cast<uint8_t *>(device.staging) + at;
    at = end;
    return place;
  }

private:
  const SessionDevice &device;
  size_t at = 0;
};
} // namespace

static void growStaging(FerriteSession &session) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  size_t wanted = lineBytes; // for the fault
  auto add = [&](const FerriteTensor &tensor) {
    uint64_t bytes = bytesOf(tensor);
    if (tensor.location == FERRITE_ON_HOST && bytes <= mostStaging &&
        wanted + bytes <= mostStaging)
      wanted += alignUp(bytes, lineBytes);
  };
  for (uint32_t i = 0; i < entry.input_count; ++i)
    add(*session.boundInputs[i]);
  for (uint32_t i = 0; i < entry.output_count; ++i)
    add(session.results[i]);
  if (wanted <= device.stagingBytes)
    return;
  if (device.staging)
    driver.hostRelease(device.staging);
  device.stagingBytes = 0;
  if (driver.hostAllocate(&device.staging, wanted, 0)) {
    device.staging = nullptr;
    log(session, FERRITE_LOG_DEBUG,
        "entry '%s': %zu bytes cannot be page-locked", entry.name, wanted);
    return;
  }
  device.stagingBytes = wanted;
}

FerriteStatus ferrite::rt::copyInputs(FerriteSession &session,
                                      FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  growStaging(session);
  Staging staging(device);
  staging.take(sizeof(int64_t[2]));
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    const FerriteTensor &input = *session.boundInputs[i];
    uint64_t bytes = bytesOf(input);
    if (!bytes || isInPlace(input))
      continue;
    int result = 0;
    if (input.location == FERRITE_ON_DEVICE) {
      result = driver.copyOnDevice(device.inputAt[i], addressOf(input), bytes,
                                   device.stream);
    } else {
      const void *from = input.data;
      if (uint8_t *place = staging.take(bytes))
        from = memcpy(place, input.data, bytes);
      result =
          driver.copyToDevice(device.inputAt[i], from, bytes, device.stream);
    }
    if (result)
      return cudaFailure(driver, result, "the inputs cannot be copied", error);
  }
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::copyOutputs(FerriteSession &session,
                                       int64_t fault[2], FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  constexpr size_t faultBytes = sizeof(int64_t[2]);
  int result = 0;
  // Once to put copies into the stream, and once to take what came.
  for (int pass = 0; pass < 2; ++pass) {
    bool isDone = pass == 1;
    Staging staging(device);
    void *place = staging.take(faultBytes);
    if (isDone && place)
      memcpy(fault, place, faultBytes);
    else if (!isDone)
      result = driver.copyToHost(place ? place : fault, device.fault.data,
                                 faultBytes, device.stream);
    for (uint32_t i = 0; i < entry.output_count && !result; ++i) {
      const FerriteTensor &output = session.results[i];
      CuPointer from = device.outputAt[i];
      if (!output.bytes || addressOf(output) == from)
        continue;
      if (output.location == FERRITE_ON_DEVICE) {
        if (!isDone)
          result = driver.copyOnDevice(addressOf(output), from, output.bytes,
                                       device.stream);
        continue;
      }
      void *staged = staging.take(output.bytes);
      if (isDone && staged)
        memcpy(output.data, staged, output.bytes);
      else if (!isDone)
        result = driver.copyToHost(staged ? staged : output.data, from,
                                   output.bytes, device.stream);
    }
    // An error of a kernel shows here.
    if (int waited = isDone ? 0 : driver.streamWait(device.stream))
      result = waited;
    if (result)
      return cudaFailure(driver, result, "the run failed on the GPU", error);
  }
  return FERRITE_OK;
}

void *ferriteSessionStream(const FerriteSession *session) {
  return session->device ? session->device->stream : nullptr;
}

FerriteStatus ferriteSessionAwait(FerriteSession *session, void *stream,
                                  FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  if (!session->device)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the session runs on the CPU, which no stream is of");
  SessionDevice &device = *session->device;
  const CudaDriver &driver = *device.model->driver;
  DeviceScope scope(*device.model);
  constexpr unsigned withoutTime = 2;
  void *event = nullptr;
  int result = driver.eventCreate(&event, withoutTime);
  if (!result) {
    result = driver.eventRecord(event, stream);
    if (!result)
      result = driver.streamAwait(device.stream, event, 0);
    driver.eventDestroy(event);
  }
  return result ? cudaFailure(driver, result, "the stream is not there", error)
                : FERRITE_OK;
}
