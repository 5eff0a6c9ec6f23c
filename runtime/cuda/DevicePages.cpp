//===- DevicePages.cpp - The pages of a cache on a GPU --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cuda/DevicePages.h"

#include "cuda/Device.h"

#include <stdlib.h>
#include <string.h>

using namespace ferrite::rt;

static CuPointer pointerOf(const void *address) {
  return reinterpret_cast<uintptr_t>(address);
}

FerriteStatus ferrite::rt::openPages(const char *name, size_t stagingBytes,
                                     DevicePages *&made, FerriteError *error) {
  made = nullptr;
  int ordinal = 0;
  if (!name || strcmp(name, "cpu") == 0)
    return FERRITE_OK;
  if (!isCudaDevice(name, ordinal))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the device is '%s', expected cpu, cuda or cuda:N", name);
  const CudaDriver *driver = nullptr;
  if (FerriteStatus status = openDriver(ordinal, driver, error))
    return status;
  void *memory = malloc(sizeof(DevicePages));
  if (!memory)
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a cache");
  auto *pages = new (memory) DevicePages;
  pages->driver = driver;
  pages->ordinal = ordinal;
  pages->stagingBytes = stagingBytes;
  int result = driver->deviceGet(&pages->device, ordinal);
  if (!result &&
      (result = driver->contextRetain(&pages->context, pages->device)) != 0)
    pages->context = nullptr;
  if (!result) {
    DeviceScope scope(*driver, pages->context);
    for (uint8_t *&staging : pages->staging) {
      void *pinned = nullptr;
      if (!result && !(result = driver->hostAllocate(&pinned, stagingBytes, 0)))
        staging = static_cast<uint8_t *>(pinned);
    }
  }
  if (result) {
    closePages(pages);
    return cudaFailure(*driver, result, "a cache on the GPU", error);
  }
  made = pages;
  return FERRITE_OK;
}

void ferrite::rt::closePages(DevicePages *pages) {
  if (!pages)
    return;
  if (pages->context) {
    {
      DeviceScope scope(*pages->driver, pages->context);
      for (uint8_t *staging : pages->staging)
        if (staging)
          pages->driver->hostRelease(staging);
    }
    pages->driver->contextRelease(pages->device);
  }
  free(pages);
}

/// Runs `call`, waits for it, and keeps the first failure.
template <typename Call>
static void issue(DevicePages &pages, Call call) {
  DeviceScope scope(*pages.driver, pages.context);
  int result = call(*pages.driver);
  if (!result)
    result = pages.driver->streamWait(nullptr);
  if (result && !pages.failure)
    pages.failure = result;
}

void *ferrite::rt::allocatePages(DevicePages &pages, size_t bytes) {
  CuPointer base = 0;
  {
    DeviceScope scope(*pages.driver, pages.context);
    if (pages.driver->allocate(&base, bytes))
      return nullptr;
  }
  void *address = reinterpret_cast<void *>(static_cast<uintptr_t>(base));
  clearBytes(pages, address, bytes);
  return address;
}

void ferrite::rt::freePages(DevicePages &pages, void *base) {
  DeviceScope scope(*pages.driver, pages.context);
  pages.driver->release(pointerOf(base));
}

size_t ferrite::rt::freeBytes(DevicePages &pages) {
  DeviceScope scope(*pages.driver, pages.context);
  size_t left = 0, all = 0;
  return pages.driver->memoryInfo(&left, &all) ? 0 : left;
}

void ferrite::rt::clearBytes(DevicePages &pages, void *at, size_t bytes) {
  issue(pages, [&](const CudaDriver &driver) {
    return driver.fill(pointerOf(at), 0, bytes, nullptr);
  });
}

void ferrite::rt::copyBytes(DevicePages &pages, void *to, const void *from,
                            size_t bytes) {
  issue(pages, [&](const CudaDriver &driver) {
    return driver.copyOnDevice(pointerOf(to), pointerOf(from), bytes, nullptr);
  });
}

void ferrite::rt::readBytes(DevicePages &pages, void *to, const void *from,
                            size_t bytes) {
  issue(pages, [&](const CudaDriver &driver) {
    return driver.copyToHost(to, pointerOf(from), bytes, nullptr);
  });
}

void ferrite::rt::writeBytes(DevicePages &pages, void *to, const void *from,
                             size_t bytes) {
  issue(pages, [&](const CudaDriver &driver) {
    return driver.copyToDevice(pointerOf(to), from, bytes, nullptr);
  });
}

FerriteStatus ferrite::rt::pagesStatus(const DevicePages *pages,
                                       FerriteError *error) {
  return pages && pages->failure
             ? cudaFailure(*pages->driver, pages->failure,
                           "the pages of a cache on the GPU", error)
             : FERRITE_OK;
}
