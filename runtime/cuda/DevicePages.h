//===- DevicePages.h - The pages of a cache on a GPU ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a cache does to its pages, where those are memory of a GPU: bookkeeping
// stays on the host, and bytes move by the driver. A call is done when it
// returns: runs wait for their end, so nothing else uses the pages then. The
// first failure stays and is told by the next call that can fail.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_CUDA_DEVICEPAGES_H
#define FERRITE_RUNTIME_CUDA_DEVICEPAGES_H

#include "cuda/Driver.h"

namespace ferrite::rt {

struct DevicePages {
  const CudaDriver *driver = nullptr;
  int ordinal = 0, device = 0;
  void *context = nullptr;
  int failure = 0;
  /// Pinned memory for two heads' parts of a page.
  uint8_t *staging[2] = {};
  size_t stagingBytes = 0;
};

/// Sets `made` to null for "cpu" or no name.
FerriteStatus openPages(const char *device, size_t stagingBytes,
                        DevicePages *&made, FerriteError *error);
void closePages(DevicePages *pages);

/// Zeros; null where there is no room.
void *allocatePages(DevicePages &pages, size_t bytes);
void freePages(DevicePages &pages, void *base);
/// What the device has left.
size_t freeBytes(DevicePages &pages);

void clearBytes(DevicePages &pages, void *at, size_t bytes);
void copyBytes(DevicePages &pages, void *to, const void *from, size_t bytes);
/// To memory of the host, and from there.
void readBytes(DevicePages &pages, void *to, const void *from, size_t bytes);
void writeBytes(DevicePages &pages, void *to, const void *from, size_t bytes);

/// The failure of an earlier call as an error.
FerriteStatus pagesStatus(const DevicePages *pages, FerriteError *error);

} // namespace ferrite::rt
#endif // FERRITE_RUNTIME_CUDA_DEVICEPAGES_H
