//===- Pages.cpp - The memory of the pages of a cache ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Pages are address space of this process that gets memory when it is touched,
// or memory of a GPU.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"

#include "core/Session.h"
#include "cuda/Device.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

using namespace ferrite::rt;

static size_t reservedBytes(const FerriteCache &cache, uint32_t state) {
  return alignUp(static_cast<size_t>(cache.pages) *
                     static_cast<size_t>(cache.states[state].page_bytes),
                 4096);
}

void *ferrite::rt::reserveState(const FerriteCache &cache, uint32_t state) {
  size_t bytes = reservedBytes(cache, state);
  return cache.device ? allocatePages(*cache.device, bytes)
                      : mapPages(bytes, /*reserve=*/true);
}

void ferrite::rt::releaseState(const FerriteCache &cache, uint32_t state) {
  void *base = cache.bases[state];
  if (base && cache.device)
    freePages(*cache.device, base);
  else if (base)
    munmap(base, reservedBytes(cache, state));
}

void ferrite::rt::clearPage(const FerriteCache &cache, uint32_t state,
                            int64_t page) {
  auto bytes = static_cast<size_t>(cache.states[state].page_bytes);
  if (cache.device)
    clearBytes(*cache.device, pageAt(cache, state, page), bytes);
  else
    memset(pageAt(cache, state, page), 0, bytes);
}

HeadPage::HeadPage(const FerriteCache &cache, size_t state, int64_t head,
                   int64_t page, bool writes, int which)
    : device(cache.device), bytes(headBytes(cache.states[state])),
      writes(writes) {
  place = pageAt(cache, state, page) + static_cast<size_t>(head) * bytes;
  data = device ? device->staging[which] : place;
  if (device)
    readBytes(*device, data, place, bytes);
}

HeadPage::~HeadPage() {
  if (device && writes)
    writeBytes(*device, place, data, bytes);
}

/// Pages and kernels are on one device.
static FerriteStatus checkDevice(const FerriteSession &session,
                                 const DevicePages *pages,
                                 FerriteError *error) {
  auto nameOf = [](int ordinal, char (&name)[16]) {
    if (ordinal < 0)
      strcpy(name, "the CPU");
    else
      snprintf(name, sizeof name, "cuda:%d", ordinal);
    return name;
  };
  int of = session.device ? session.device->model->ordinal : -1,
      on = pages ? pages->ordinal : -1;
  char ofName[16], onName[16];
  return of == on ? FERRITE_OK
                  : fail(error, FERRITE_INVALID_ARGUMENT,
                         "the cache has its pages on %s, and the session runs "
                         "on %s",
                         nameOf(on, onName), nameOf(of, ofName));
}

FerriteStatus ferriteCacheBind(FerriteCache *cache, FerriteSession *session,
                               FerriteError *error) {
  if (!cache || !session)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the cache or session is NULL");
  const FerriteAbiModel *abi = ferriteModelAbi(ferriteSessionModel(session));
  if (&abi->entries[ferriteSessionEntry(session)] != cache->entry)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the session is of another entry than the cache, '%s'",
                cache->entry->name);
  if (FerriteStatus status = checkDevice(*session, cache->device, error))
    return status;
  for (; cache; cache = cache->more)
    if (FerriteStatus status =
            ferriteSessionBindGroup(session, cache->group, cache->bases,
                                    cache->stateCount, cache->pages, error))
      return status;
  return FERRITE_OK;
}

int64_t ferriteCacheRoom(const FerriteCache *cache) {
  return cache->device ? static_cast<int64_t>(freeBytes(*cache->device)) : -1;
}
