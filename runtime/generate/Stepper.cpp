//===- Stepper.cpp - Calls of a step entry --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "generate/Stepper.h"

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

static void lower(int64_t &limit, int64_t to) {
  if (to < limit)
    limit = to;
}

FerriteStatus Stepper::readEntry(FerriteModel *model, const char *entry,
                                 FerriteError *error) {
  const FerriteAbiModel &abi = *ferriteModelAbi(model);
  while (strcmp(abi.entries[entryIndex].name, entry) != 0)
    ++entryIndex; // the cache found it
  const FerriteAbiEntry &e = abi.entries[entryIndex];
  bool takesTokens = false;
  for (uint32_t i = 0; i < e.input_count; ++i) {
    const FerriteAbiTensor &input = e.inputs[i];
    auto limitOf = [&](int d) {
      int32_t symbol = input.dims[d].symbol;
      return symbol >= 0 ? e.symbols[symbol].max : input.dims[d].size;
    };
    auto is = [&](const char *name) { return strcmp(input.name, name) == 0; };
    bool ofTokens = input.dtype == FERRITE_I64 && input.rank == 1;
    if (is("token_ids") && ofTokens) {
      takesTokens = true;
      idLimit = input.id_limit > 0 ? input.id_limit : INT64_MAX;
      lower(stepTokens, limitOf(0));
    } else if (is("positions") && ofTokens) {
      takesPositions = true;
      if (input.id_limit > 0)
        positionLimit = input.id_limit;
    } else if (is("contexts")) {
      lower(runLimit, limitOf(0));
    } else if (is("run_begins")) {
      lower(runLimit, limitOf(0) - (limitOf(0) != INT64_MAX));
    } else if (is("page_tables")) {
      tableLimit = limitOf(1);
    } else if (is("source_tables")) {
      takesSource = true;
      sourceTableLimit = limitOf(1);
    } else if (is("logit_rows")) {
      // All tokens of a call may want logits: drafts do.
      lower(stepTokens, limitOf(0));
    } else if (!is("slots") && !is("visible") && !is("source_lengths")) {
      return fail(error, FERRITE_INCOMPATIBLE,
                  "the entry '%s' has the input '%s', which is none of a text",
                  entry, input.name);
    }
  }
  if (!takesTokens)
    return fail(error, FERRITE_INCOMPATIBLE,
                "the entry '%s' has no input 'token_ids' of dtype i64", entry);
  const FerriteAbiTensor *output = e.output_count ? e.outputs : nullptr;
  if (!output || output->rank != 2 || output->dims[1].symbol >= 0 ||
      output->dims[1].size < 1 ||
      (output->dtype != FERRITE_F32 && output->dtype != FERRITE_F16 &&
       output->dtype != FERRITE_BF16))
    return fail(error, FERRITE_INCOMPATIBLE,
                "the first output of the entry '%s' is not logits "
                "[rows, vocabulary] of floats",
                entry);
  vocabulary = output->dims[1].size;
  lower(idLimit, vocabulary);
  return FERRITE_OK;
}

/// Bytes that a cache of no given size may have: half of the machine's memory,
/// and where the address space is limited (ulimit -v), a quarter of that.
static int64_t defaultCacheBytes() {
  int64_t bytes = sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 2);
  rlimit space;
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
    lower(bytes, static_cast<int64_t>(space.rlim_cur / 4));
  return bytes;
}

FerriteStatus Stepper::makeCache(FerriteModel *model,
                                 const StepperOptions &options,
                                 FerriteError *error) {
  const int64_t page = FERRITE_PAGE_TOKENS;
  // A cache of one page tells the size of pages, and that there is an entry.
  FerriteCacheOptions make = {sizeof make, 1, 0, FERRITE_STATE_OWN, 0};
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
  int64_t memory = defaultCacheBytes();
  lower(most, memory / usage.page_bytes * page);
  if (options.maxTokens)
    lower(most, options.maxTokens);
  int64_t pages = options.pages;
  if (pages == 0) {
    int64_t each = (most + page - 1) / page;
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
  maxTokens = ferriteCacheMaxTokens(cache);
  return FERRITE_OK;
}

/// A cache for the sources of as many requests as there are runs, each of the
/// length that a sequence may have or the entry allows, and what fills it.
FerriteStatus Stepper::makeEncoder(FerriteModel *model,
                                   const StepperOptions &options,
                                   FerriteError *error) {
  FerriteCacheOptions make = {sizeof make, 1, 0, FERRITE_STATE_SOURCE, 0};
  FerriteCache *sourceCache = nullptr;
  if (FerriteStatus status =
          ferriteCacheCreate(model, options.entry, &make, &sourceCache, error))
    return status;
  FerriteCacheUsage usage;
  ferriteCacheUsage(sourceCache, &usage);
  ferriteCacheDestroy(sourceCache);
  const int64_t page = FERRITE_PAGE_TOKENS;
  int64_t memory = defaultCacheBytes() / usage.page_bytes;
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
                       options.threads, sourceCache, error))
    return status;
  return ferriteCacheBind(sourceCache, session, error);
}

bool Stepper::reserve() {
  auto tokens = static_cast<size_t>(stepTokens);
  auto runs = static_cast<size_t>(runLimit);
  return ids.reserve(tokens) && positions.reserve(tokens) &&
         slots.reserve(tokens) && visible.reserve(tokens) &&
         rows.reserve(tokens) && begins.reserve(runs + 1) &&
         contexts.reserve(runs) && sequences.reserve(runs) &&
         sources.reserve(runs) && sourceLengths.reserve(runs);
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
  visible.shrink(0);
  rows.shrink(0);
  begins.shrink(0);
  contexts.shrink(0);
  sequences.shrink(0);
  sources.shrink(0);
  sourceLengths.shrink(0);
  begins.push(0);
}

size_t Stepper::add(FerriteSequence *sequence, FerriteSequence *source,
                    const int64_t *tokens, int64_t count, int64_t rowCount) {
  const int64_t page = FERRITE_PAGE_TOKENS;
  int64_t context = ferriteSequenceLength(sequence) - count;
  const int32_t *pages = ferriteSequencePages(sequence, nullptr);
  size_t row = rows.size();
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = context + i;
    if (i >= count - rowCount)
      rows.push(static_cast<int64_t>(ids.size()));
    ids.push(tokens[i]);
    positions.push(at);
    slots.push(pages[at / page] * page + at % page);
    visible.push(0);
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

static FerriteTensor vectorOf(const char *name, List<int64_t> &list) {
  FerriteTensor tensor = {};
  tensor.data = list.data();
  tensor.name = name;
  tensor.dtype = FERRITE_I64;
  tensor.rank = 1;
  tensor.shape[0] = static_cast<int64_t>(list.size());
  return tensor;
}

static FerriteTensor vectorOf(const char *name, List<int32_t> &list) {
  FerriteTensor tensor = {};
  tensor.data = list.data();
  tensor.name = name;
  tensor.dtype = FERRITE_I32;
  tensor.rank = 1;
  tensor.shape[0] = static_cast<int64_t>(list.size());
  return tensor;
}

/// Pages of each sequence. Widths in steps of 8 pages: sizes of calls then
/// repeat, and what depends on them is made again every 512 tokens only.
bool Stepper::fillTables(List<FerriteSequence *> &of, int64_t limit,
                         List<int32_t> &pagesOfAll, FerriteTensor &tensor) {
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
    const int32_t *pages = ferriteSequencePages(sequence, &count);
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
  if (!fillTables(sequences, tableLimit, tables, table) ||
      (takesSource &&
       !fillTables(sources, sourceTableLimit, sourceTables, sourceTable)))
    return noMemory(error);
  FerriteTensor inputs[10] = {
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
  FerriteTensor output = {};
  double start = gen::seconds();
  FerriteStatus status =
      ferriteSessionRun(session, inputs, count, &output, 1, error);
  seconds += gen::seconds() - start;
  ++calls;
  return status ? status : convert(output, error);
}

FerriteStatus Stepper::convert(const FerriteTensor &output,
                               FerriteError *error) {
  if (output.dtype == FERRITE_F32) {
    logits = static_cast<const float *>(output.data);
    return FERRITE_OK;
  }
  size_t count = rows.size() * static_cast<size_t>(vocabulary);
  if (!converted.reserve(count))
    return noMemory(error);
  const void *data = output.data;
  for (size_t i = 0; i < count; ++i)
    if (output.dtype == FERRITE_F16) {
      converted.data()[i] =
          static_cast<float>(static_cast<const _Float16 *>(data)[i]);
    } else {
      uint32_t bits =
          static_cast<uint32_t>(static_cast<const uint16_t *>(data)[i]) << 16;
      memcpy(&converted.data()[i], &bits, sizeof bits);
    }
  logits = converted.data();
  return FERRITE_OK;
}
