//===- Snapshot.cpp - A sequence as bytes ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A header, then for each state its tokens as [heads, tokens, width] rows: no
// page is in it, so it can be restored into another pool, and two snapshots of
// the same tokens are the same bytes. The hash finds accidents; somebody who
// means harm can make a right one, so the sizes are checked besides, and what
// is left to choose are numbers that the model multiplies.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ferrite::rt;

namespace {
struct Header {
  uint64_t magic;    ///< "FERRKV01"
  uint64_t identity; ///< of model and entry: FerriteCache
  int64_t length;
  int64_t evicted; ///< tokens at the beginning that are not in it
  uint64_t bytes;  ///< of header and data together
  uint64_t hash;   ///< XXH3 of all that, with 0 here
};
constexpr uint64_t magic = UINT64_C(0x3130564b52524546);
} // namespace

/// The bytes of one token in all states.
static uint64_t tokenBytes(const FerriteCache &cache) {
  return static_cast<uint64_t>(cache.pageBytes) / FERRITE_PAGE_TOKENS;
}

static int64_t evictedTokens(const FerriteSequence &sequence) {
  int64_t tokens = sequence.evicted * pageTokens;
  return tokens < sequence.length ? tokens : sequence.length;
}

uint64_t ferriteSequenceSnapshotBytes(const FerriteSequence *sequence) {
  int64_t kept = sequence->length - evictedTokens(*sequence);
  return sizeof(Header) +
         static_cast<uint64_t>(kept) * tokenBytes(*sequence->cache);
}

static uint64_t hashOf(Header header, const void *data) {
  header.hash = 0;
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  XXH3_64bits_update(&hash, &header, sizeof header);
  XXH3_64bits_update(&hash, data, header.bytes - sizeof header);
  return XXH3_64bits_digest(&hash);
}

FerriteStatus ferriteSequenceSnapshot(const FerriteSequence *sequence,
                                      void *data, uint64_t bytes,
                                      FerriteError *error) {
  if (!sequence || !data)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the sequence or the data is NULL");
  uint64_t needed = ferriteSequenceSnapshotBytes(sequence);
  if (bytes < needed)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%llu bytes: the snapshot needs %llu",
                static_cast<unsigned long long>(bytes),
                static_cast<unsigned long long>(needed));
  const FerriteCache &cache = *sequence->cache;
  Header header = {magic, cache.identity, sequence->length, 0, needed, 0};
  header.evicted = evictedTokens(*sequence);
  int64_t kept = header.length - header.evicted;
  auto *begin = static_cast<uint8_t *>(data) + sizeof header;
  uint8_t *at = begin;
  for (uint32_t s = 0; s < cache.stateCount; ++s) {
    uint64_t size = static_cast<uint64_t>(kept) *
                    static_cast<uint64_t>(cache.states[s].page_bytes) /
                    FERRITE_PAGE_TOKENS;
    if (FerriteStatus status = ferriteSequenceExport(
            sequence, s, header.evicted, header.length, at, size, error))
      return status;
    at += size;
  }
  header.hash = hashOf(header, begin);
  memcpy(data, &header, sizeof header);
  return FERRITE_OK;
}

static FerriteStatus checkSnapshot(const FerriteCache &cache, const void *data,
                                   uint64_t bytes, Header &header,
                                   FerriteError *error) {
  auto broken = [&](const char *why) {
    return fail(error, FERRITE_INCOMPATIBLE, "not a snapshot of this model: %s",
                why);
  };
  if (bytes < sizeof header)
    return broken("it is shorter than a header");
  memcpy(&header, data, sizeof header);
  if (header.magic != magic)
    return broken("it does not begin as one");
  if (header.identity != cache.identity)
    return broken("it is of another model or entry");
  if (header.length < 0 || header.length > cache.maxTokens)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "a snapshot of %lld tokens: the most is %lld",
                static_cast<long long>(header.length),
                static_cast<long long>(cache.maxTokens));
  // What is missing must be whole pages that no state can see.
  bool mayMiss = cache.window != INT64_MAX &&
                 header.evicted % pageTokens == 0 &&
                 header.evicted <= header.length &&
                 header.evicted <= header.length - cache.window + 1;
  if (header.evicted != 0 && (header.evicted < 0 || !mayMiss))
    return broken("tokens are missing that the model looks back at");
  uint64_t expected = static_cast<uint64_t>(header.length - header.evicted) *
                          tokenBytes(cache) +
                      sizeof header;
  if (header.bytes != expected || bytes != expected)
    return broken("its size is not that of its tokens");
  if (hashOf(header, static_cast<const uint8_t *>(data) + sizeof header) !=
      header.hash)
    return broken("its hash differs: it was cut or changed");
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceRestore(FerriteCache *cache, const void *data,
                                     uint64_t bytes, FerriteSequence **result,
                                     FerriteError *error) {
  if (!cache || !data || !result)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the cache, data or sequence pointer is NULL");
  *result = nullptr;
  Header header;
  if (FerriteStatus status = checkSnapshot(*cache, data, bytes, header, error))
    return status;
  FerriteSequence *sequence;
  if (FerriteStatus status = ferriteSequenceCreate(cache, &sequence, error))
    return status;
  // Evicted pages are entries of the table and nothing else.
  int64_t missing = header.evicted / pageTokens;
  if (!reservePages(*sequence, pagesOf(header.length))) {
    ferriteSequenceDestroy(sequence);
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a page table");
  }
  for (int64_t p = 0; p < missing; ++p)
    sequence->pages[p] = -1;
  sequence->pageCount = sequence->evicted = missing;
  sequence->length = header.evicted;
  cache->tokens += header.evicted;

  auto *tensors = static_cast<FerriteTensor *>(
      calloc(cache->stateCount, sizeof(FerriteTensor)));
  FerriteStatus status = FERRITE_OK;
  if (!tensors)
    status = fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for tensors");
  // Read only: FerriteTensor has no pointer to const.
  auto *at =
      const_cast<uint8_t *>(static_cast<const uint8_t *>(data)) + sizeof header;
  // Elements may lie at any address of a file: they are read as they are when
  // aligned, which malloc and mmap see to.
  if (!status && reinterpret_cast<uintptr_t>(at) % 8)
    status = fail(error, FERRITE_INVALID_ARGUMENT,
                  "the data of a snapshot must be aligned to 8 bytes");
  int64_t kept = header.length - header.evicted;
  for (uint32_t s = 0; !status && s < cache->stateCount; ++s) {
    const FerriteAbiState &state = cache->states[s];
    FerriteTensor &tensor = tensors[s];
    tensor.data = at;
    tensor.dtype = state.dtype;
    tensor.rank = 4;
    tensor.shape[0] = 1;
    tensor.shape[1] = state.heads;
    tensor.shape[2] = kept;
    tensor.shape[3] = state.width;
    at += kept * (state.page_bytes / FERRITE_PAGE_TOKENS);
  }
  if (!status)
    status =
        ferriteSequenceImport(sequence, tensors, cache->stateCount, 0, error);
  free(tensors);
  if (status) {
    ferriteSequenceDestroy(sequence);
    return status;
  }
  *result = sequence;
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceSave(const FerriteSequence *sequence,
                                  const char *path, FerriteError *error) {
  if (!sequence || !path)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the sequence or path is NULL");
  uint64_t bytes = ferriteSequenceSnapshotBytes(sequence);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0)
    return fail(error, FERRITE_IO, "cannot write '%s': %s", path,
                strerror(errno));
  // Space first: writing to a mapping beyond a full disk would be a signal.
  int failed = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  void *mapping = MAP_FAILED;
  FerriteStatus status = FERRITE_OK;
  if (!failed) {
    mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    failed = mapping == MAP_FAILED ? errno : 0;
  }
  if (failed)
    status = fail(error, FERRITE_IO, "cannot write '%s': %s", path,
                  strerror(failed));
  else
    status = ferriteSequenceSnapshot(sequence, mapping, bytes, error);
  if (mapping != MAP_FAILED)
    munmap(mapping, bytes);
  if (close(fd) != 0 && !status)
    status =
        fail(error, FERRITE_IO, "cannot write '%s': %s", path, strerror(errno));
  if (status)
    unlink(path);
  return status;
}

FerriteStatus ferriteSequenceLoad(FerriteCache *cache, const char *path,
                                  FerriteSequence **sequence,
                                  FerriteError *error) {
  if (!cache || !path || !sequence)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the cache, path or sequence pointer is NULL");
  *sequence = nullptr;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(error, errno == ENOENT ? FERRITE_NOT_FOUND : FERRITE_IO,
                "cannot read '%s': %s", path, strerror(errno));
  struct stat info;
  FerriteStatus status = FERRITE_OK;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0)
    status = fail(error, FERRITE_INCOMPATIBLE, "'%s' is no snapshot", path);
  void *mapping = MAP_FAILED;
  auto bytes = static_cast<size_t>(info.st_size);
  if (!status) {
    mapping = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED)
      status = fail(error, FERRITE_IO, "cannot read '%s': %s", path,
                    strerror(errno));
  }
  close(fd);
  if (status)
    return status;
  status = ferriteSequenceRestore(cache, mapping, bytes, sequence, error);
  munmap(mapping, bytes);
  return status;
}
