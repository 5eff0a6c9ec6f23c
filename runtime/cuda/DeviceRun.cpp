//===- DeviceRun.cpp - A run on a GPU -------------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// All sizes are known when a run begins, so nothing waits for the device until
// the results are copied. A run with the same sizes and places as the one
// before only copies and launches.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"
#include "cuda/Device.h"

using namespace ferrite::rt;

static int64_t countUnits(const FerriteAbiCudaVariant &variant,
                          const FerriteArg *args) {
  int64_t units = 1, product = 1;
  for (uint32_t i = 0; i < variant.grid_count; ++i) {
    const FerriteAbiGridStep &step = variant.grid[i];
    if (step.kind == FERRITE_GRID_SIZE) {
      product *= args[step.value].i64;
    } else if (step.kind == FERRITE_GRID_FACTOR) {
      product *= step.value;
    } else {
      units *= (product + step.value - 1) / step.value;
      product = 1;
    }
  }
  return units * product;
}

static FerriteArg deviceArg(const FerriteSession &session,
                            const FerriteAbiArg &arg) {
  const SessionDevice &device = *session.device;
  const int64_t *values = session.values.data();
  CuPointer base = 0;
  int64_t offset = arg.offset;
  switch (arg.kind) {
  case FERRITE_ARG_INPUT:
    base = device.inputAt[arg.index];
    break;
  case FERRITE_ARG_INPUT_AT:
    base = device.inputAt[arg.index];
    offset = values[arg.offset];
    break;
  case FERRITE_ARG_OUTPUT:
    base = device.outputAt[arg.index];
    break;
  case FERRITE_ARG_OUTPUT_AT:
    base = device.outputAt[arg.index];
    offset = values[arg.offset];
    break;
  case FERRITE_ARG_ARENA:
    base = device.arena.data;
    offset += values[arg.index];
    break;
  case FERRITE_ARG_WEIGHT:
    base = device.model->weights;
    break;
  case FERRITE_ARG_WEIGHT_AT:
    base = device.model->weights;
    offset += values[arg.index];
    break;
  case FERRITE_ARG_STATE:
    base = reinterpret_cast<uintptr_t>(session.states[arg.index]);
    break;
  case FERRITE_ARG_VALUE:
    offset = values[arg.index];
    break;
  default: // FERRITE_ARG_CONST
    break;
  }
  FerriteArg made;
  made.i64 = static_cast<int64_t>(base) + offset;
  return made;
}

static FerriteStatus makeTensorMap(const SessionDevice &device,
                                   const FerriteAbiTensorMap &map,
                                   const FerriteArg *args, uint8_t *to,
                                   const char *name, FerriteError *error) {
  const CudaDriver &driver = *device.model->driver;
  if (!driver.tensorMap)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the driver has no tensor maps: it is older than CUDA 12");
  // CUtensorMapDataType: bytes, 16-bit and 32-bit words, whatever they mean.
  int type = map.element_bytes == 1 ? 0 : map.element_bytes == 2 ? 1 : 2;
  int64_t rows = map.row_argument < 0 ? map.rows : args[map.row_argument].i64;
  uint64_t sizes[2] = {static_cast<uint64_t>(map.columns),
                       static_cast<uint64_t>(rows)};
  uint64_t stride = static_cast<uint64_t>(map.row_bytes);
  uint32_t box[2] = {map.box_columns, map.box_rows}, steps[2] = {1, 1};
  constexpr int swizzle128 = 3, l2Promotion256 = 3;
  int result =
      driver.tensorMap(to, type, 2, args[map.argument].ptr, sizes, &stride, box,
                       steps, 0, swizzle128, l2Promotion256, 0);
  return result ? cudaFailure(driver, result, name, error) : FERRITE_OK;
}

/// The copy engine takes what lies at multiples of 16 bytes.
static bool hasMaps(const FerriteAbiCudaVariant &variant,
                    const FerriteArg *args) {
  for (uint32_t i = 0; i < variant.map_count; ++i)
    if (args[variant.maps[i].argument].i64 % 16 != 0)
      return false;
  return true;
}

static const FerriteAbiCudaVariant &
chooseVariant(const FerriteAbiCudaKernel &kernel, const FerriteArg *args,
              uint64_t &index) {
  for (index = 0; index + 1 < kernel.variant_count; ++index) {
    const FerriteAbiCudaVariant &variant = kernel.variants[index];
    if ((variant.guard < 0 || args[variant.guard].i64 <= variant.most) &&
        hasMaps(variant, args))
      break;
  }
  return kernel.variants[index];
}

/// Where the tensor maps of a parameter begin.
static size_t mapsOffset(size_t arguments) {
  return alignUp(arguments * sizeof(FerriteArg) + 3 * sizeof(int64_t), 64);
}

static FerriteStatus makeLaunches(FerriteSession &session,
                                  FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  size_t bytes = 0;
  constexpr size_t mapBytes = 128;
  for (uint32_t i = 0; i < entry.argument_count; ++i)
    session.args[i] = deviceArg(session, entry.arguments[i]);
  for (uint32_t i = 0; i < entry.launch_count; ++i) {
    const FerriteAbiLaunch &launch = entry.launches[i];
    uint64_t v;
    const FerriteAbiCudaVariant &variant =
        chooseVariant(device.model->code->kernels[launch.kernel],
                      session.args.data() + launch.argument_begin, v);
    bytes += mapsOffset(launch.argument_count) + mapBytes * variant.map_count;
  }
  if (bytes > device.parameters.count) {
    device.parameters.block.release(session.allocator);
    if (!device.parameters.make(session.allocator, bytes))
      return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a run");
  }
  memset(device.parameters.data(), 0, bytes); // what lies between is hashed
  size_t at = 0;
  for (uint32_t i = 0; i < entry.launch_count; ++i) {
    const FerriteAbiLaunch &launch = entry.launches[i];
    const FerriteArg *args = session.args.data() + launch.argument_begin;
    uint64_t v;
    const FerriteAbiCudaVariant &variant =
        chooseVariant(device.model->code->kernels[launch.kernel], args, v);
    int64_t units = countUnits(variant, args);
    if (units < 0)
      return fail(error, FERRITE_INTERNAL,
                  "kernel '%s' of launch '%s' has %lld units (a bug of the "
                  "model's compiler)",
                  variant.name, launch.name, static_cast<long long>(units));
    uint8_t *to = device.parameters.data() + at;
    size_t argBytes = launch.argument_count * sizeof(FerriteArg);
    memcpy(to, args, argBytes);
    int64_t behind[3] = {static_cast<int64_t>(device.fault.data),
                         static_cast<int64_t>(i) + 1, units};
    memcpy(to + argBytes, behind, sizeof behind);
    size_t maps = mapsOffset(launch.argument_count);
    for (uint32_t m = 0; m < variant.map_count && units; ++m)
      if (FerriteStatus status =
              makeTensorMap(device, variant.maps[m], args,
                            to + maps + mapBytes * m, launch.name, error))
        return status;
    int64_t most = INT32_MAX;
    if (variant.blocks_per_sm)
      most = int64_t(variant.blocks_per_sm) * device.model->multiprocessors;
    device.launches[i] = {
        device.functions[device.firstVariant[launch.kernel] + v],
        static_cast<uint32_t>(units < most ? units : most),
        variant.threads,
        variant.shared_bytes,
        at,
        units};
    session.stages[i].units = units;
    at += maps + mapBytes * variant.map_count;
  }
  keyLaunches(device, bytes);
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::prepareDevice(FerriteSession &session,
                                         FerriteError *error) {
  SessionDevice &device = *session.device;
  DeviceScope scope(*device.model);
  device.isLaunchable = false;
  return grow(session, device.arena, arenaBytes(session, session.values.data()),
              "no room for intermediate results on the GPU", error);
}

static FerriteStatus makeEvents(FerriteSession &session, FerriteError *error) {
  SessionDevice &device = *session.device;
  if (device.events.count)
    return FERRITE_OK;
  if (!device.events.make(session.allocator, session.entry->launch_count + 1))
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a profile");
  for (size_t i = 0; i < device.events.count; ++i)
    if (int result = device.model->driver->eventCreate(&device.events[i], 0))
      return cudaFailure(*device.model->driver, result, "a profile", error);
  return FERRITE_OK;
}

static void readProfile(FerriteSession &session) {
  const CudaDriver &driver = *session.device->model->driver;
  for (uint32_t i = 0; i < session.entry->launch_count; ++i) {
    float milliseconds = 0;
    driver.eventElapsed(&milliseconds, session.device->events[i],
                        session.device->events[i + 1]);
    session.nanoseconds[i] = static_cast<int64_t>(milliseconds * 1e6f);
  }
}

FerriteStatus ferrite::rt::runOnDevice(FerriteSession &session,
                                       FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  SessionDevice &device = *session.device;
  const CudaDriver &driver = *device.model->driver;
  DeviceScope scope(*device.model);
  session.profiled = false;
  if (session.profiling)
    if (FerriteStatus status = makeEvents(session, error))
      return status;
  if (FerriteStatus status = placeEdges(session, error))
    return status;
  if (!device.isLaunchable)
    if (FerriteStatus status = makeLaunches(session, error))
      return status;
  device.isLaunchable = true;
  if (int result = driver.fill(device.fault.data, 0, 16, device.stream))
    return cudaFailure(driver, result, "the run cannot begin", error);
  if (FerriteStatus status = copyInputs(session, error))
    return status;
  if (FerriteStatus status = launchAll(session, error))
    return status;
  int64_t fault[2] = {};
  if (FerriteStatus status = copyOutputs(session, fault, error))
    return status;
  if (fault[0] > 0 && fault[0] <= entry.launch_count)
    return fail(
        error, FERRITE_INVALID_ARGUMENT,
        "node '%s': the index %lld, which the model computed, is outside "
        "of what it indexes",
        entry.launches[fault[0] - 1].name, static_cast<long long>(fault[1]));
  if (session.profiling) {
    readProfile(session);
    session.profiled = true;
  }
  return FERRITE_OK;
}
