//===- Driver.h - NVIDIA's driver, if it is there ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// libcuda.so.1 is opened when the first session asks for a GPU, and never
// linked: a machine without it loads the same artifact and uses its CPU code.
// FERRITE_LIBCUDA names another library to open.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CUDA_DRIVER_H
#define FERRITE_RUNTIME_CUDA_DRIVER_H

#include "core/Error.h"

#include <stddef.h>
#include <stdint.h>

namespace ferrite::rt {

using CuPointer = unsigned long long; // CUdeviceptr

/// The functions that are used, declared as cuda.h does.
struct CudaDriver {
  int (*init)(unsigned flags);
  int (*driverVersion)(int *version);
  int (*deviceCount)(int *count);
  int (*deviceGet)(int *device, int ordinal);
  int (*deviceName)(char *name, int length, int device);
  int (*deviceAttribute)(int *value, int attribute, int device);
  int (*contextRetain)(void **context, int device);
  int (*contextRelease)(int device);
  int (*contextPush)(void *context);
  int (*contextPop)(void **context);
  int (*moduleLoad)(void **module, const void *image);
  int (*moduleUnload)(void *module);
  int (*moduleFunction)(void **function, void *module, const char *name);
  int (*functionAttribute)(void *function, int attribute, int value);
  int (*allocate)(CuPointer *pointer, size_t bytes);
  int (*release)(CuPointer pointer);
  int (*copyToDevice)(CuPointer to, const void *from, size_t bytes,
                      void *stream);
  int (*copyToHost)(void *to, CuPointer from, size_t bytes, void *stream);
  int (*copyOnDevice)(CuPointer to, CuPointer from, size_t bytes, void *stream);
  int (*hostAllocate)(void **pointer, size_t bytes, unsigned flags);
  int (*hostRelease)(void *pointer);
  int (*memoryInfo)(size_t *left, size_t *all);
  int (*fill)(CuPointer to, unsigned char value, size_t bytes, void *stream);
  int (*streamCreate)(void **stream, unsigned flags);
  int (*streamDestroy)(void *stream);
  int (*streamWait)(void *stream);
  int (*streamAwait)(void *stream, void *event, unsigned flags);
  int (*launch)(void *function, unsigned gridX, unsigned gridY, unsigned gridZ,
                unsigned blockX, unsigned blockY, unsigned blockZ,
                unsigned sharedBytes, void *stream, void **parameters,
                void **extra);
  int (*captureBegin)(void *stream, int mode);
  int (*captureEnd)(void *stream, void **graph);
  int (*graphInstantiate)(void **executable, void *graph,
                          unsigned long long flags);
  int (*graphLaunch)(void *executable, void *stream);
  int (*graphDestroy)(void *graph);
  int (*executableDestroy)(void *executable);
  int (*tensorMap)(void *map, int type, unsigned rank, void *address,
                   const uint64_t *sizes, const uint64_t *strides,
                   const uint32_t *box, const uint32_t *elementStrides,
                   int interleave, int swizzle, int l2Promotion, int fill);
  int (*eventCreate)(void **event, unsigned flags);
  int (*eventDestroy)(void *event);
  int (*eventRecord)(void *event, void *stream);
  int (*eventElapsed)(float *milliseconds, void *begin, void *end);
  int (*errorName)(int error, const char **name);
  int (*errorText)(int error, const char **text);
};

/// CUdevice_attribute and CUfunction_attribute of cuda.h.
enum {
  kCuMultiprocessors = 16,
  kCuMajor = 75,
  kCuMinor = 76,
  kCuSharedPerBlock = 97, // with the opt-in
  kCuFunctionShared = 8
};

/// The driver, for a device that must be there.
FerriteStatus openDriver(int ordinal, const CudaDriver *&driver,
                         FerriteError *error);

/// An error for a call that did not give 0.
FerriteStatus cudaFailure(const CudaDriver &driver, int result,
                          const char *what, FerriteError *error);

} // namespace ferrite::rt
#endif // FERRITE_RUNTIME_CUDA_DRIVER_H
