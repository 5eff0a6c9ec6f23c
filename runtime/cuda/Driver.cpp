//===- Driver.cpp - NVIDIA's driver, if it is there -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cuda/Driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

using namespace ferrite::rt;

namespace {
struct Loaded {
  CudaDriver driver;
  bool tried, ok;
  int initResult;
  char reason[256];
};
} // namespace

static Loaded loaded;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

template <typename Function>
static bool find(void *library, Function &function, const char *name) {
  void *symbol = dlsym(library, name);
  memcpy(&function, &symbol, sizeof symbol);
  return symbol != nullptr;
}

static void remember(const char *reason) {
  strncpy(loaded.reason, reason ? reason : "", sizeof loaded.reason - 1);
}

/// Names of functions end in the version of their interface that we declare.
static void load() {
  const char *named = getenv("FERRITE_LIBCUDA");
  void *library =
      dlopen(named && *named ? named : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return remember(dlerror());
  CudaDriver &d = loaded.driver;
  bool ok = find(library, d.init, "cuInit");
  ok &= find(library, d.driverVersion, "cuDriverGetVersion");
  ok &= find(library, d.deviceCount, "cuDeviceGetCount");
  ok &= find(library, d.deviceGet, "cuDeviceGet");
  ok &= find(library, d.deviceName, "cuDeviceGetName");
  ok &= find(library, d.deviceAttribute, "cuDeviceGetAttribute");
  ok &= find(library, d.contextRetain, "cuDevicePrimaryCtxRetain");
  ok &= find(library, d.contextRelease, "cuDevicePrimaryCtxRelease_v2");
  ok &= find(library, d.contextPush, "cuCtxPushCurrent_v2");
  ok &= find(library, d.contextPop, "cuCtxPopCurrent_v2");
  ok &= find(library, d.moduleLoad, "cuModuleLoadData");
  ok &= find(library, d.moduleUnload, "cuModuleUnload");
  ok &= find(library, d.moduleFunction, "cuModuleGetFunction");
  ok &= find(library, d.functionAttribute, "cuFuncSetAttribute");
  ok &= find(library, d.allocate, "cuMemAlloc_v2");
  ok &= find(library, d.release, "cuMemFree_v2");
  ok &= find(library, d.copyToDevice, "cuMemcpyHtoDAsync_v2");
  ok &= find(library, d.copyToHost, "cuMemcpyDtoHAsync_v2");
  ok &= find(library, d.copyOnDevice, "cuMemcpyDtoDAsync_v2");
  ok &= find(library, d.hostAllocate, "cuMemHostAlloc");
  ok &= find(library, d.hostRelease, "cuMemFreeHost");
  ok &= find(library, d.memoryInfo, "cuMemGetInfo_v2");
  ok &= find(library, d.fill, "cuMemsetD8Async");
  ok &= find(library, d.streamCreate, "cuStreamCreate");
  ok &= find(library, d.streamDestroy, "cuStreamDestroy_v2");
  ok &= find(library, d.streamWait, "cuStreamSynchronize");
  ok &= find(library, d.streamAwait, "cuStreamWaitEvent");
  ok &= find(library, d.launch, "cuLaunchKernel");
  ok &= find(library, d.captureBegin, "cuStreamBeginCapture_v2");
  ok &= find(library, d.captureEnd, "cuStreamEndCapture");
  ok &= find(library, d.graphInstantiate, "cuGraphInstantiateWithFlags");
  ok &= find(library, d.graphLaunch, "cuGraphLaunch");
  ok &= find(library, d.graphDestroy, "cuGraphDestroy");
  ok &= find(library, d.executableDestroy, "cuGraphExecDestroy");
  ok &= find(library, d.eventCreate, "cuEventCreate");
  ok &= find(library, d.eventDestroy, "cuEventDestroy_v2");
  ok &= find(library, d.eventRecord, "cuEventRecord");
  ok &= find(library, d.eventElapsed, "cuEventElapsedTime");
  ok &= find(library, d.errorName, "cuGetErrorName");
  ok &= find(library, d.errorText, "cuGetErrorString");
  // Of CUDA 12; asked for where a kernel has tensor maps.
  find(library, d.tensorMap, "cuTensorMapEncodeTiled");
  if (!ok)
    return remember("it lacks functions of the driver API");
  loaded.initResult = d.init(0);
  loaded.ok = loaded.initResult == 0;
}

static const CudaDriver *findDriver(FerriteError *error) {
  pthread_mutex_lock(&mutex);
  if (!loaded.tried)
    load();
  loaded.tried = true;
  pthread_mutex_unlock(&mutex);
  if (loaded.ok)
    return &loaded.driver;
  if (loaded.initResult)
    cudaFailure(loaded.driver, loaded.initResult, "the driver cannot start",
                error);
  else
    fail(error, FERRITE_NOT_FOUND,
         "there is no NVIDIA driver (libcuda.so.1) on this machine: %s",
         loaded.reason);
  return nullptr;
}

FerriteStatus ferrite::rt::openDriver(int ordinal, const CudaDriver *&driver,
                                      FerriteError *error) {
  driver = findDriver(error);
  if (!driver)
    return FERRITE_NOT_FOUND;
  int count = 0;
  driver->deviceCount(&count);
  return ordinal < count
             ? FERRITE_OK
             : fail(error, FERRITE_NOT_FOUND, "no device cuda:%d: there are %d",
                    ordinal, count);
}

FerriteStatus ferrite::rt::cudaFailure(const CudaDriver &driver, int result,
                                       const char *what, FerriteError *error) {
  const char *name = nullptr, *text = nullptr;
  driver.errorName(result, &name);
  driver.errorText(result, &text);
  constexpr int outOfMemory = 2;
  return fail(
      error, result == outOfMemory ? FERRITE_OUT_OF_MEMORY : FERRITE_INTERNAL,
      "%s: %s (%s)", what, text ? text : "unknown error", name ? name : "CUDA");
}
