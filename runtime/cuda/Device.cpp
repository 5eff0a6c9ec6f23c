//===- Device.cpp - Putting models and sessions on a GPU ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cuda/Device.h"

#include "core/Session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

using namespace ferrite::rt;

/// Guards the list of devices of every model.
static pthread_mutex_t devicesMutex = PTHREAD_MUTEX_INITIALIZER;

bool ferrite::rt::isCudaDevice(const char *name, int &ordinal) {
  ordinal = 0;
  if (strncmp(name, "cuda", 4) != 0)
    return false;
  if (name[4] == 0)
    return true;
  if (name[4] != ':' || !name[5])
    return false;
  for (const char *digit = name + 5; *digit; ++digit) {
    if (*digit < '0' || *digit > '9' || ordinal > 9999)
      return false;
    ordinal = ordinal * 10 + (*digit - '0');
  }
  return true;
}

/// The code for a device: of its own capability, or of a lower one of the same
/// generation; else text for a lower one, which the driver compiles.
static const FerriteAbiCudaCode *chooseCode(const FerriteAbiModel &abi,
                                            int major, int minor) {
  for (uint32_t i = 0; i < abi.cuda_count; ++i) {
    const FerriteAbiCudaCode &code = abi.cuda[i];
    int codeMajor = static_cast<int>(code.major),
        codeMinor = static_cast<int>(code.minor);
    bool isLater =
        codeMajor < major || (codeMajor == major && codeMinor <= minor);
    bool isSame = codeMajor == major && codeMinor == minor;
    // PTX is behind all others.
    if (code.exact == FERRITE_CUDA_PTX     ? isLater
        : code.exact == FERRITE_CUDA_EXACT ? isSame
                                           : isLater && codeMajor == major)
      return &code;
  }
  return nullptr;
}

static FerriteStatus findCode(const FerriteModel &model, ModelDevice &made,
                              FerriteError *error) {
  const CudaDriver &driver = *made.driver;
  int major = 0, minor = 0;
  driver.deviceAttribute(&major, kCuMajor, made.device);
  driver.deviceAttribute(&minor, kCuMinor, made.device);
  driver.deviceAttribute(&made.multiprocessors, kCuMultiprocessors,
                         made.device);
  driver.deviceAttribute(&made.sharedPerBlock, kCuSharedPerBlock, made.device);
  made.code = chooseCode(*model.abi, major, minor);
  if (made.code)
    return FERRITE_OK;
  Text names;
  for (uint32_t i = 0; i < model.abi->cuda_count; ++i)
    names.add("%s%s", i ? ", " : "", model.abi->cuda[i].name);
  char name[128] = "?";
  driver.deviceName(name, sizeof name, made.device);
  return fail(error, FERRITE_INCOMPATIBLE,
              "the model has GPU code for %s, and device cuda:%d (%s) is "
              "sm_%d%d: compile it with --gpu=sm_%d%d",
              names.str(), made.ordinal, name, major, minor, major, minor);
}

static void destroy(ModelDevice *made) {
  const CudaDriver &driver = *made->driver;
  if (made->context) {
    {
      DeviceScope scope(*made);
      if (made->weights)
        driver.release(made->weights);
      if (made->module)
        driver.moduleUnload(made->module);
    }
    driver.contextRelease(made->device);
  }
  free(made);
}

static FerriteStatus upload(const FerriteModel &model, ModelDevice &made,
                            FerriteError *error) {
  const CudaDriver &driver = *made.driver;
  DeviceScope scope(made);
  if (int result = driver.moduleLoad(&made.module, made.code->image))
    return cudaFailure(driver, result, "the driver does not take the GPU code",
                       error);
  size_t bytes = model.abi->weights_bytes;
  if (bytes == 0)
    return FERRITE_OK;
  if (int result = driver.allocate(&made.weights, bytes)) {
    Text what;
    what.add("no room for %llu bytes of weights on cuda:%d",
             static_cast<unsigned long long>(bytes), made.ordinal);
    return cudaFailure(driver, result, what.str(), error);
  }
  int result = driver.copyToDevice(made.weights, model.weights, bytes, nullptr);
  if (!result)
    result = driver.streamWait(nullptr);
  return result ? cudaFailure(driver, result,
                              "the weights cannot be copied to the GPU", error)
                : FERRITE_OK;
}

static FerriteStatus makeDevice(const FerriteModel &model, int ordinal,
                                ModelDevice *&result, FerriteError *error) {
  if (model.abi->cuda_count == 0)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the model has no GPU code: compile it with "
                "--target=cpu+cuda");
  const CudaDriver *driver = nullptr;
  if (FerriteStatus status = openDriver(ordinal, driver, error))
    return status;
  void *memory = malloc(sizeof(ModelDevice));
  if (!memory)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a device");
  auto *made = new (memory) ModelDevice;
  made->driver = driver;
  made->ordinal = ordinal;
  FerriteStatus status = FERRITE_OK;
  if (int failed = driver->deviceGet(&made->device, ordinal))
    status = cudaFailure(*driver, failed, "the device is not there", error);
  if (!status)
    status = findCode(model, *made, error);
  if (!status)
    if (int failed = driver->contextRetain(&made->context, made->device)) {
      made->context = nullptr;
      status = cudaFailure(*driver, failed, "the device has no context", error);
    }
  if (!status)
    status = upload(model, *made, error);
  if (status)
    destroy(made);
  else
    result = made;
  return status;
}

void ferrite::rt::releaseDevices(FerriteModel &model) {
  while (ModelDevice *device = model.devices) {
    model.devices = device->next;
    destroy(device);
  }
}

/// Finds each function once, and allows it its shared memory.
static FerriteStatus findFunctions(FerriteSession &session,
                                   SessionDevice &device, FerriteError *error) {
  const FerriteAbiModel &abi = *session.model->abi;
  const ModelDevice &model = *device.model;
  const CudaDriver &driver = *model.driver;
  size_t count = 0;
  for (uint32_t k = 0; k < abi.kernel_count; ++k)
    count += model.code->kernels[k].variant_count;
  if (!device.firstVariant.make(session.allocator, abi.kernel_count) ||
      !device.functions.make(session.allocator, count))
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a session");
  count = 0;
  for (uint32_t k = 0; k < abi.kernel_count; ++k) {
    const FerriteAbiCudaKernel &kernel = model.code->kernels[k];
    device.firstVariant[k] = static_cast<uint32_t>(count);
    for (uint64_t v = 0; v < kernel.variant_count; ++v) {
      const FerriteAbiCudaVariant &variant = kernel.variants[v];
      void *&function = device.functions[count++];
      int result = driver.moduleFunction(&function, model.module, variant.name);
      if (!result && variant.shared_bytes > 48 * 1024) {
        if (variant.shared_bytes > static_cast<uint32_t>(model.sharedPerBlock))
          return fail(error, FERRITE_INCOMPATIBLE,
                      "kernel '%s' needs %u bytes of shared memory, and a "
                      "block of cuda:%d has %d",
                      variant.name, variant.shared_bytes, model.ordinal,
                      model.sharedPerBlock);
        result =
            driver.functionAttribute(function, kCuFunctionShared,
                                     static_cast<int>(variant.shared_bytes));
      }
      if (result)
        return cudaFailure(driver, result, variant.name, error);
    }
  }
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::openDevice(FerriteSession &session, int ordinal,
                                      FerriteError *error) {
  FerriteModel &model = *session.model;
  ModelDevice *found = nullptr;
  pthread_mutex_lock(&devicesMutex);
  for (ModelDevice *device = model.devices; device; device = device->next)
    if (device->ordinal == ordinal)
      found = device;
  FerriteStatus status = FERRITE_OK;
  if (!found) {
    status = makeDevice(model, ordinal, found, error);
    if (!status) {
      found->next = model.devices;
      model.devices = found;
    }
  }
  pthread_mutex_unlock(&devicesMutex);
  if (status)
    return status;
  void *memory = session.allocator.get(sizeof(SessionDevice), lineBytes);
  if (!memory)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a session");
  auto *device = new (memory) SessionDevice;
  session.device = device;
  device->model = found;
  const FerriteAbiEntry &entry = *session.entry;
  if (!device->inputs.make(session.allocator, entry.input_count) ||
      !device->outputs.make(session.allocator, entry.output_count) ||
      !device->inputAt.make(session.allocator, entry.input_count) ||
      !device->outputAt.make(session.allocator, entry.output_count) ||
      !device->seen.make(session.allocator, entry.input_count) ||
      !device->launches.make(session.allocator, entry.launch_count))
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a session");
  DeviceScope scope(*found);
  constexpr unsigned nonBlocking = 1;
  device->stream = session.options.stream;
  device->ownsStream = !device->stream;
  if (device->ownsStream)
    if (int result =
            found->driver->streamCreate(&device->stream, nonBlocking)) {
      device->stream = nullptr;
      return cudaFailure(*found->driver, result, "a session on the GPU", error);
    }
  status = grow(session, device->fault, 16, "a session on the GPU", error);
  return status ? status : findFunctions(session, *device, error);
}

void ferrite::rt::trimDevice(FerriteSession &session) {
  SessionDevice &device = *session.device;
  DeviceScope scope(*device.model);
  release(session, device.arena);
  for (size_t i = 0; i < device.inputs.count; ++i)
    release(session, device.inputs[i]);
  for (size_t i = 0; i < device.outputs.count; ++i)
    release(session, device.outputs[i]);
}

void ferrite::rt::closeDevice(FerriteSession &session) {
  SessionDevice *device = session.device;
  if (!device)
    return;
  {
    DeviceScope scope(*device->model);
    const CudaDriver &driver = *device->model->driver;
    if (device->stream)
      driver.streamWait(device->stream);
    releaseGraphs(*device);
    trimDevice(session);
    release(session, device->fault);
    for (size_t i = 0; i < device->events.count; ++i)
      if (device->events[i])
        driver.eventDestroy(device->events[i]);
    if (device->staging)
      driver.hostRelease(device->staging);
    if (device->stream && device->ownsStream)
      driver.streamDestroy(device->stream);
  }
  for (size_t i = 0; i < device->seen.count; ++i)
    device->seen[i].release(session.allocator);
  Block *blocks[] = {&device->inputAt.block,      &device->outputAt.block,
                     &device->seen.block,         &device->inputs.block,
                     &device->outputs.block,      &device->launches.block,
                     &device->parameters.block,   &device->functions.block,
                     &device->firstVariant.block, &device->events.block};
  for (Block *block : blocks)
    block->release(session.allocator);
  device->~SessionDevice();
  session.allocator.put(device, sizeof(SessionDevice), lineBytes);
  session.device = nullptr;
}
