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
  /// Tokens at the beginning that are not in it, but for sinks.
  int64_t evicted;
  uint64_t bytes; ///< of header and data together
  uint64_t hash;  ///< XXH3 of all that, with 0 here
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

/// Of so many tokens that were evicted, those that were kept all the same. They
/// come first in a snapshot, of all states, and then the rest.
static int64_t sinksOf(const FerriteCache &cache, int64_t evicted) {
  int64_t sinks = cache.sinkPages * pageTokens;
  return sinks < evicted ? sinks : evicted;
}

static uint64_t bytesOfOne(const FerriteSequence *sequence) {
  int64_t evicted = evictedTokens(*sequence);
  int64_t kept =
      sequence->length - evicted + sinksOf(*sequence->cache, evicted);
  return sizeof(Header) +
         static_cast<uint64_t>(kept) * tokenBytes(*sequence->cache);
}

/// Each group is a snapshot of its own, the next at a multiple of 8.
static uint64_t nextPart(uint64_t bytes) { return alignUp(bytes, 8); }

uint64_t ferriteSequenceSnapshotBytes(const FerriteSequence *sequence) {
  uint64_t bytes = bytesOfOne(sequence);
  return sequence->more
             ? nextPart(bytes) + ferriteSequenceSnapshotBytes(sequence->more)
             : bytes;
}

static uint64_t hashOf(Header header, const void *data) {
  header.hash = 0;
  XXH3_state_t hash;
  XXH3_64bits_reset(&hash);
  XXH3_64bits_update(&hash, &header, sizeof header);
  XXH3_64bits_update(&hash, data, header.bytes - sizeof header);
  return XXH3_64bits_digest(&hash);
}

static FerriteStatus snapshotOne(const FerriteSequence *sequence, void *data,
                                 FerriteError *error) {
  const FerriteCache &cache = *sequence->cache;
  uint64_t needed = bytesOfOne(sequence);
  Header header = {magic, cache.identity, sequence->length, 0, needed, 0};
  header.evicted = evictedTokens(*sequence);
  auto *begin = static_cast<uint8_t *>(data) + sizeof header;
  uint8_t *at = begin;
  const int64_t parts[][2] = {{0, sinksOf(cache, header.evicted)},
                              {header.evicted, header.length}};
  for (auto [first, end] : parts)
    for (uint32_t s = 0; s < cache.stateCount && first < end; ++s) {
      uint64_t size = static_cast<uint64_t>(end - first) *
                      static_cast<uint64_t>(cache.states[s].page_bytes) /
                      FERRITE_PAGE_TOKENS;
      if (FerriteStatus status =
              ferriteSequenceExport(sequence, s, first, end, at, size, error))
        return status;
      at += size;
    }
  header.hash = hashOf(header, begin);
  memcpy(data, &header, sizeof header);
  return FERRITE_OK;
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
  auto *at = static_cast<uint8_t *>(data);
  for (; sequence; sequence = sequence->more) {
    if (FerriteStatus status = snapshotOne(sequence, at, error))
      return status;
    uint64_t size = bytesOfOne(sequence);
    if (sequence->more) // equal sequences give equal bytes
      memset(at + size, 0, nextPart(size) - size);
    at += nextPart(size);
  }
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
  int64_t kept =
      header.length - header.evicted + sinksOf(cache, header.evicted);
  uint64_t expected =
      static_cast<uint64_t>(kept) * tokenBytes(cache) + sizeof header;
  if (header.bytes != expected || bytes != expected)
    return broken("its size is not that of its tokens");
  if (hashOf(header, static_cast<const uint8_t *>(data) + sizeof header) !=
      header.hash)
    return broken("its hash differs: it was cut or changed");
  return FERRITE_OK;
}

static FerriteStatus restoreOne(FerriteCache *cache, const void *data,
                                uint64_t bytes, FerriteSequence **result,
                                FerriteError *error) {
  Header header;
  if (FerriteStatus status = checkSnapshot(*cache, data, bytes, header, error))
    return status;
  FerriteSequence *sequence;
  if (FerriteStatus status = createOne(cache, &sequence, error))
    return status;
  if (!reservePages(*sequence, pagesOf(header.length))) {
    ferriteSequenceDestroy(sequence);
    return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory for a page table");
  }
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
  auto read = [&](int64_t tokens) {
    for (uint32_t s = 0; s < cache->stateCount; ++s) {
      const FerriteAbiState &state = cache->states[s];
      FerriteTensor &tensor = tensors[s];
      tensor.data = at;
      tensor.dtype = state.dtype;
      tensor.rank = 4;
      tensor.shape[0] = 1;
      tensor.shape[1] = state.heads;
      tensor.shape[2] = tokens;
      tensor.shape[3] = state.width;
      at += tokens * (state.page_bytes / FERRITE_PAGE_TOKENS);
    }
    return importOne(sequence, tensors, error);
  };
  int64_t sinks = sinksOf(*cache, header.evicted);
  if (!status && sinks > 0)
    status = read(sinks);
  if (!status) {
    // Evicted pages are entries of the table and nothing else.
    while (sequence->pageCount < header.evicted / pageTokens)
      sequence->pages[sequence->pageCount++] = -1;
    sequence->evicted = sequence->pageCount;
    cache->tokens += header.evicted - sequence->length;
    sequence->length = header.evicted;
    status = read(header.length - header.evicted);
  }
  free(tensors);
  if (status) {
    ferriteSequenceDestroy(sequence);
    return status;
  }
  *result = sequence;
  return FERRITE_OK;
}

FerriteStatus ferriteSequenceRestore(FerriteCache *cache, const void *data,
                                     uint64_t bytes, FerriteSequence **result,
                                     FerriteError *error) {
  if (!cache || !data || !result)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the cache, data or sequence pointer is NULL");
  *result = nullptr;
  FerriteSequence **to = result;
  auto *at = static_cast<const uint8_t *>(data);
  FerriteStatus status = FERRITE_OK;
  for (; cache && !status; cache = cache->more) {
    uint64_t size = bytes;
    Header header;
    if (cache->more && bytes >= sizeof header) {
      memcpy(&header, at, sizeof header);
      size = header.bytes < bytes ? header.bytes : bytes;
    }
    status = restoreOne(cache, at, size, to, error);
    if (!status && (*to)->length != (*result)->length)
      status = fail(error, FERRITE_INCOMPATIBLE,
                    "not a snapshot of this model: its parts are of different "
                    "lengths");
    if (status || !cache->more)
      break;
    to = &(*to)->more;
    uint64_t next = nextPart(size) < bytes ? nextPart(size) : bytes;
    at += next;
    bytes -= next;
  }
  if (status) {
    ferriteSequenceDestroy(*result);
    *result = nullptr;
  }
  return status;
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
