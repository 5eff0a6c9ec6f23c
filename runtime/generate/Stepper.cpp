//===- Stepper.cpp - Calls of a step entry --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Stepper.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

using namespace ferrite::gen;

double ferrite::gen::seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) +
         static_cast<double>(now.tv_nsec) * 1e-9;
}

Stepper::~Stepper() {
  ferriteSessionDestroy(session);
  ferriteCacheDestroy(cache);
}

/// Bytes of address space that this process has mapped; 0 where Linux does not
/// say (the first number of /proc/self/statm, in pages).
static int64_t mappedBytes() {
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return 0;
  char text[32] = {};
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  return length > 0 ? strtoll(text, nullptr, 10) * sysconf(_SC_PAGESIZE) : 0;
}

/// Bytes that a cache of no given size may have: half of the machine's memory,
/// and where the address space is limited (ulimit -v), a quarter of what is
/// left of it, so that a process may have several generators. Pages on a GPU
/// (those of `cache` tell) take three quarters of what is left there.
static int64_t defaultCacheBytes(const FerriteCache *cache) {
  if (int64_t room = ferriteCacheRoom(cache); room >= 0)
    return room / 4 * 3;
  int64_t bytes = sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 2);
  rlimit space;
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    int64_t all = space.rlim_cur > INT64_MAX
                      ? INT64_MAX
                      : static_cast<int64_t>(space.rlim_cur);
    int64_t mapped = mappedBytes();
    lower(bytes, mapped < all ? (all - mapped) / 4 : 0);
  }
  return bytes;
}

FerriteStatus Stepper::makeCache(FerriteModel *model,
                                 const StepperOptions &options,
                                 FerriteError *error) {
  const int64_t page = FERRITE_PAGE_TOKENS;
  // A cache of one page tells the size of pages, and that there is an entry.
  FerriteCacheOptions make = {sizeof make,       1, 0,
                              FERRITE_STATE_OWN, 0, options.device};
  if (FerriteStatus status =
          ferriteCacheCreate(model, options.entry, &make, &cache, error))
    return status;
  FerriteCacheUsage usage;
  ferriteCacheUsage(cache, &usage);
  if (FerriteStatus status = readEntry(model, ferriteCacheEntry(cache), error))
    return status;
  int64_t most = positionLimit;
  if (tableLimit < INT64_MAX / page)
    lower(most, tableLimit * page);
  int64_t memory = defaultCacheBytes(cache);
  lower(most, memory / usage.page_bytes * page);
  if (options.maxTokens)
    lower(most, options.maxTokens);
  int64_t whole = options.maxTokens ? options.maxTokens : INT64_MAX / 2;
  lower(whole, positionLimit);
  if (options.kept)
    most = options.kept;
  heldPages = mostHeld(ferriteModelAbi(model)->entries[entryIndex]);
  lower(heldPages, (most + page - 1) / page);
  int64_t pages = options.pages;
  if (pages == 0) {
    int64_t each = heldPages;
    pages = memory / usage.page_bytes;
    if (each < pages / runLimit)
      pages = each * runLimit;
    if (pages > INT32_MAX)
      pages = INT32_MAX;
    if (pages < 1)
      pages = 1;
  }
  ferriteCacheDestroy(cache);
  cache = nullptr;
  make.pages = pages;
  make.max_tokens = most;
  if (FerriteStatus status =
          ferriteCacheCreate(model, options.entry, &make, &cache, error))
    return status;
  maxTokens =
      options.kept || options.endless ? whole : ferriteCacheMaxTokens(cache);
  return FERRITE_OK;
}

/// A cache for the sources of as many requests as there are runs, each of the
/// length that a sequence may have or the entry allows, and what fills it.
FerriteStatus Stepper::makeEncoder(FerriteModel *model,
                                   const StepperOptions &options,
                                   FerriteError *error) {
  FerriteCacheOptions make = {sizeof make,          1, 0,
                              FERRITE_STATE_SOURCE, 0, options.device};
  FerriteCache *sourceCache = nullptr;
  if (FerriteStatus status =
          ferriteCacheCreate(model, options.entry, &make, &sourceCache, error))
    return status;
  FerriteCacheUsage usage;
  ferriteCacheUsage(sourceCache, &usage);
  int64_t bytes = defaultCacheBytes(sourceCache);
  ferriteCacheDestroy(sourceCache);
  const int64_t page = FERRITE_PAGE_TOKENS;
  int64_t memory = bytes / usage.page_bytes;
  int64_t each = memory;
  lower(each, sourceTableLimit);
  // Longer sources than this are no text: 1 Mi tokens.
  lower(each, (INT64_C(1) << 20) / page);
  int64_t pages = each < memory / runLimit ? each * runLimit : memory;
  lower(pages, INT32_MAX);
  make.pages = pages < 1 ? 1 : pages;
  make.max_tokens = (each < 1 ? 1 : each) * page;
  if (FerriteStatus status =
          ferriteCacheCreate(model, options.entry, &make, &sourceCache, error))
    return status;
  if (FerriteStatus status =
          encoder.open(model, options.encoders, options.encoderCount,
                       options.threads, options.device, sourceCache, error))
    return status;
  return ferriteCacheBind(sourceCache, session, error);
}

/// Entries of page tables: of as many runs as there can be, where that is not
/// megabytes.
size_t Stepper::tableRoom() const {
  const size_t page = FERRITE_PAGE_TOKENS, most = size_t(1) << 18;
  auto tokens = static_cast<size_t>(ferriteCacheMaxTokens(cache));
  size_t width = (tokens + page - 1) / page + 8; // widths go by eight
  auto runs = static_cast<size_t>(runLimit);
  return width < most / runs ? width * runs : most;
}

bool Stepper::reserve() {
  auto tokens = static_cast<size_t>(stepTokens);
  if (embeddingSize) {
    size_t bytes = tokens * static_cast<size_t>(embeddingSize) *
                   ferriteDTypeSize(embeddingType);
    if (!noEmbeddings.reserve(bytes))
      return false;
    memset(noEmbeddings.data(), 0, bytes);
  }
  auto runs = static_cast<size_t>(runLimit);
  for (int32_t g = 0; g < groupCount; ++g)
    if (!groups[g].slots.reserve(tokens) ||
        !groups[g].tables.reserve(tableRoom()))
      return false;
  for (int32_t b = 0; b < blockCount; ++b)
    if (!blocks[b].rows.reserve(tokens) || !blocks[b].runs.reserve(runs) ||
        !blocks[b].begins.reserve(runs + 1))
      return false;
  return ids.reserve(tokens) && positions.reserve(tokens) &&
         slots.reserve(tokens) && visible.reserve(tokens) &&
         rows.reserve(tokens) && tables.reserve(tableRoom()) &&
         weighRuns.reserve(runs) && weighTokens.reserve(runs) &&
         begins.reserve(runs + 1) && contexts.reserve(runs) &&
         sequences.reserve(runs) && sources.reserve(runs) &&
         sourceLengths.reserve(runs);
}

FerriteStatus Stepper::open(FerriteModel *model, const StepperOptions &options,
                            FerriteError *error) {
  stepTokens = options.stepTokens;
  runLimit = options.runs;
  if (FerriteStatus status = makeCache(model, options, error))
    return status;
  if (runLimit > stepTokens)
    runLimit = stepTokens;
  if (!reserve())
    return noMemory(error);
  FerriteSessionOptions make = {};
  make.size = sizeof make;
  make.threads = options.threads;
  make.device = options.device;
  if (FerriteStatus status = ferriteSessionCreate(
          model, ferriteCacheEntry(cache), &make, &session, error))
    return status;
  if (takesSource)
    if (FerriteStatus status = makeEncoder(model, options, error))
      return status;
  if (options.encoderCount && !takesSource)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the entry '%s' reads nothing of an encoder",
                ferriteCacheEntry(cache));
  return ferriteCacheBind(cache, session, error);
}

void Stepper::begin() {
  ids.shrink(0);
  positions.shrink(0);
  slots.shrink(0);
  for (Group &group : groups)
    group.slots.shrink(0);
  for (int32_t b = 0; b < blockCount; ++b) {
    blocks[b].rows.shrink(0);
    blocks[b].runs.shrink(0);
    blocks[b].begins.shrink(0);
    blocks[b].begins.push(0);
  }
  visible.shrink(0);
  rows.shrink(0);
  weighRuns.shrink(0);
  weighTokens.shrink(0);
  begins.shrink(0);
  contexts.shrink(0);
  sequences.shrink(0);
  sources.shrink(0);
  sourceLengths.shrink(0);
  begins.push(0);
}

size_t Stepper::add(FerriteSequence *sequence, FerriteSequence *source,
                    const int64_t *tokens, int64_t count, int64_t rowCount,
                    const int64_t *bits, int64_t removed, uint64_t leaves) {
  const int64_t page = FERRITE_PAGE_TOKENS;
  int64_t context = ferriteSequenceLength(sequence) - count;
  const int32_t *pages = ferriteSequencePages(sequence, nullptr);
  size_t row = rows.size();
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = context + i;
    if (i >= count - rowCount)
      rows.push(static_cast<int64_t>(ids.size()));
    ids.push(tokens[i]);
    int64_t before = i;
    if (bits)
      before = __builtin_popcountll(static_cast<uint64_t>(bits[i]) &
                                    ((UINT64_C(1) << i) - 1));
    positions.push(removed + context + before);
    slots.push(pages[at / page] * page + at % page);
    visible.push(bits ? bits[i] : 0);
  }
  for (int32_t g = 0; g < groupCount; ++g) {
    const int32_t *own =
        ferriteSequenceGroupPages(sequence, groups[g].number, nullptr);
    for (int64_t at = context; at < context + count; ++at)
      groups[g].slots.push(own[at / page] * page + at % page);
  }
  for (int32_t b = 0; b < blockCount; ++b) {
    if (leaves >> b & 1)
      continue;
    Block &block = blocks[b];
    for (size_t t = ids.size() - static_cast<size_t>(count); t < ids.size();
         ++t)
      block.rows.push(static_cast<int64_t>(t));
    block.runs.push(static_cast<int64_t>(sequences.size()));
    block.begins.push(static_cast<int32_t>(block.rows.size()));
  }
  begins.push(static_cast<int32_t>(ids.size()));
  contexts.push(static_cast<int32_t>(context));
  sequences.push(sequence);
  if (takesSource) {
    sources.push(source);
    sourceLengths.push(static_cast<int32_t>(ferriteSequenceLength(source)));
  }
  return row;
}

template <typename T>
static FerriteTensor vectorOf(const char *name, List<T> &list) {
  static_assert(std::is_same<T, int64_t>::value ||
                    std::is_same<T, int32_t>::value,
                "what inputs of a step are made of");
  FerriteTensor tensor = {};
  tensor.data = list.data();
  tensor.name = name;
  tensor.dtype = sizeof(T) == 8 ? FERRITE_I64 : FERRITE_I32;
  tensor.rank = 1;
  tensor.shape[0] = static_cast<int64_t>(list.size());
  return tensor;
}

/// Pages of each sequence. Widths in steps of 8 pages: sizes of calls then
/// repeat, and what depends on them is made again every 512 tokens only.
bool Stepper::fillTables(List<FerriteSequence *> &of, int32_t group,
                         int64_t limit, List<int32_t> &pagesOfAll,
                         FerriteTensor &tensor) {
  size_t width = 1, count = 0;
  for (FerriteSequence *sequence : of) {
    ferriteSequencePages(sequence, &count);
    if (count > width)
      width = count;
  }
  width = (width + 7) / 8 * 8;
  if (width > static_cast<size_t>(limit))
    width = static_cast<size_t>(limit);
  if (!pagesOfAll.reserve(width * of.size()))
    return false;
  pagesOfAll.shrink(0);
  for (FerriteSequence *sequence : of) {
    const int32_t *pages = ferriteSequenceGroupPages(sequence, group, &count);
    for (size_t i = 0; i < width; ++i)
      pagesOfAll.push(i < count ? pages[i] : -1);
  }
  tensor.data = pagesOfAll.data();
  tensor.rank = 2;
  tensor.shape[0] = static_cast<int64_t>(of.size());
  tensor.shape[1] = static_cast<int64_t>(width);
  return true;
}

FerriteStatus Stepper::run(FerriteError *error) {
  FerriteTensor table = vectorOf("page_tables", tables),
                sourceTable = vectorOf("source_tables", sourceTables);
  if (!fillTables(sequences, FERRITE_STATE_OWN, tableLimit, tables, table) ||
      (takesSource && !fillTables(sources, FERRITE_STATE_SOURCE,
                                  sourceTableLimit, sourceTables, sourceTable)))
    return noMemory(error);
  FerriteTensor inputs[14 + 2 * mostGroups + 3 * mostBlocks] = {
      vectorOf("token_ids", ids),     vectorOf("slots", slots),
      vectorOf("run_begins", begins), vectorOf("contexts", contexts),
      vectorOf("visible", visible),   table,
      vectorOf("logit_rows", rows)};
  size_t count = 7;
  if (takesPositions)
    inputs[count++] = vectorOf("positions", positions);
  if (takesSource) {
    inputs[count++] = vectorOf("source_lengths", sourceLengths);
    inputs[count++] = sourceTable;
  }
  for (int32_t g = 0; g < groupCount; ++g) {
    Group &group = groups[g];
    inputs[count++] = vectorOf(group.slotName, group.slots);
    FerriteTensor &of = inputs[count++] =
        vectorOf(group.tableName, group.tables);
    if (!fillTables(sequences, group.number, group.tableLimit, group.tables,
                    of))
      return noMemory(error);
  }
  for (int32_t b = 0; b < blockCount; ++b) {
    inputs[count++] = vectorOf(blocks[b].rowName, blocks[b].rows);
    inputs[count++] = vectorOf(blocks[b].runName, blocks[b].runs);
    inputs[count++] = vectorOf(blocks[b].beginName, blocks[b].begins);
  }
  if (embeddingSize) {
    FerriteTensor &given = inputs[count++] = {}, &chosen = inputs[count++] = {};
    given.name = "embeddings";
    given.data = noEmbeddings.data();
    given.dtype = embeddingType;
    given.rank = 2;
    given.shape[1] = embeddingSize;
    chosen.name = "embedded";
    chosen.data = noEmbeddings.data(); // zeros, too
    chosen.dtype = FERRITE_BOOL;
    chosen.rank = 1;
    given.shape[0] = chosen.shape[0] = static_cast<int64_t>(ids.size());
  }
  if (weighs) {
    inputs[count++] = vectorOf("weigh_runs", weighRuns);
    inputs[count++] = vectorOf("weigh_tokens", weighTokens);
  }
  FerriteTensor output = {};
  double start = gen::seconds();
  FerriteStatus status =
      ferriteSessionRun(session, inputs, count, &output, 1, error);
  seconds += gen::seconds() - start;
  ++calls;
  if (!status)
    status = takeWeights(error);
  return status ? status : convert(output, error);
}
