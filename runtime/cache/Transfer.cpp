//===- Transfer.cpp - Between pages and tensors ---------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "cache/Cache.h"
#include "cache/Record.h"

#include <stdlib.h>

using namespace ferrite::rt;

/// For %lld: int64_t is `long` here.
static long long ll(int64_t value) { return value; }

/// Copies `count` tokens from row `row` of [tokens, width] rows to places from
/// `place` on of a page's head, or back. Keys are transposed there: blocks of
/// eight places keep both sides within a few lines.
template <typename T, bool toPage>
static void copyHead(T *page, T *rows, int64_t width, int64_t place,
                     int64_t count, bool isKeys) {
  if (!isKeys) {
    T *values = page + place * width;
    size_t bytes = static_cast<size_t>(count * width) * sizeof(T);
    if (toPage)
      memcpy(values, rows, bytes);
    else
      memcpy(rows, values, bytes);
    return;
  }
  for (int64_t begin = 0; begin < count; begin += 8)
    for (int64_t w = 0; w < width; ++w)
      for (int64_t i = begin; i < count && i < begin + 8; ++i) {
        T &inPage = page[w * pageTokens + place + i];
        T &inRow = rows[i * width + w];
        if (toPage)
          inPage = inRow;
        else
          inRow = inPage;
      }
}

/// Tokens [begin, end) of one head: `rows` is [end - begin, width].
template <typename T, bool toPage>
static void copyTokens(const FerriteSequence &sequence, size_t state,
                       int64_t head, int64_t begin, int64_t end, T *rows) {
  const FerriteAbiState &info = sequence.cache->states[state];
  for (int64_t token = begin; token < end;) {
    int64_t place = token % pageTokens;
    int64_t count = pageTokens - place;
    if (count > end - token)
      count = end - token;
    HeadPage page(*sequence.cache, state, head,
                  sequence.pages[token / pageTokens], toPage);
    copyHead<T, toPage>(reinterpret_cast<T *>(page.data),
                        rows + (token - begin) * info.width, info.width, place,
                        count, info.kind == FERRITE_STATE_KEYS);
    token += count;
  }
}

/// By the size of the elements: their kind does not matter to a copy.
template <bool toPage>
static void copyState(const FerriteSequence &sequence, size_t state,
                      int64_t begin, int64_t end, uint8_t *data) {
  const FerriteAbiState &info = sequence.cache->states[state];
  size_t element = ferriteDTypeSize(info.dtype);
  size_t headBytes = static_cast<size_t>((end - begin) * info.width) * element;
  for (int64_t h = 0; h < info.heads; ++h, data += headBytes)
    switch (element) {
    case 1:
      copyTokens<uint8_t, toPage>(sequence, state, h, begin, end, data);
      break;
    case 2:
      copyTokens<uint16_t, toPage>(sequence, state, h, begin, end,
                                   reinterpret_cast<uint16_t *>(data));
      break;
    case 4:
      copyTokens<uint32_t, toPage>(sequence, state, h, begin, end,
                                   reinterpret_cast<uint32_t *>(data));
      break;
    default:
      copyTokens<uint64_t, toPage>(sequence, state, h, begin, end,
                                   reinterpret_cast<uint64_t *>(data));
      break;
    }
}

/// What tensors have of a token's head: numbers, of which a state of bytes
/// keeps a record.
static int64_t numbersOf(const FerriteAbiState &state) {
  bool isNibbles = state.dtype == FERRITE_U8;
  return isNibbles || state.dtype == FERRITE_I8
             ? ferrite::record::depthOf(isNibbles, state.width)
             : state.width;
}

/// Whether a past of f32 is rounded to what the state keeps.
static bool isRounded(const FerriteAbiState &state,
                      const FerriteTensor &tensor) {
  return tensor.dtype == FERRITE_F32 && state.dtype != FERRITE_F32;
}

/// One row of f32, as the state keeps it.
static void roundRow(const FerriteAbiState &state, const float *numbers,
                     int64_t count, uint8_t *to) {
  if (state.dtype == FERRITE_I8 || state.dtype == FERRITE_U8)
    return ferrite::record::pack(state.dtype == FERRITE_U8, numbers, count, to);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits = state.dtype == FERRITE_BF16
                        ? ferrite::record::toShort(numbers[i])
                        : ferrite::record::toHalf(numbers[i]);
    memcpy(to + 2 * i, &bits, 2);
  }
}

/// Tokens [begin, end) of f32 into a state of another type. `row`: memory for
/// one row of it.
static void roundState(const FerriteSequence &sequence, size_t state,
                       int64_t begin, int64_t end, const float *data,
                       uint8_t *row) {
  const FerriteAbiState &info = sequence.cache->states[state];
  int64_t numbers = numbersOf(info);
  for (int64_t h = 0; h < info.heads; ++h)
    for (int64_t token = begin; token < end; ++token, data += numbers) {
      roundRow(info, data, numbers, row);
      if (ferriteDTypeSize(info.dtype) == 1)
        copyTokens<uint8_t, true>(sequence, state, h, token, token + 1, row);
      else
        copyTokens<uint16_t, true>(sequence, state, h, token, token + 1,
                                   reinterpret_cast<uint16_t *>(row));
    }
}

/// `tokens` is the size of the third dimension, -1 before the first tensor.
static FerriteStatus checkPast(const FerriteAbiState &state,
                               const FerriteTensor &tensor, int64_t batch,
                               int64_t &tokens, FerriteError *error) {
  if (tensor.dtype != state.dtype && !isRounded(state, tensor))
    return fail(error, FERRITE_INVALID_ARGUMENT, "'%s' has dtype %s, not %s",
                state.name, ferriteDTypeName(tensor.dtype),
                ferriteDTypeName(state.dtype));
  const int64_t *shape = tensor.shape;
  int64_t width = isRounded(state, tensor) ? numbersOf(state) : state.width;
  if (tensor.rank != 4 || shape[1] != state.heads || shape[3] != width ||
      shape[2] < 0 || batch < 0 || batch >= shape[0]) {
    Text text;
    if (tensor.rank >= 0 && tensor.rank <= FERRITE_MAX_RANK)
      addShape(text, shape, tensor.rank);
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'%s' has the shape %s, expected [batch, %lld, tokens, %lld] "
                "with more than %lld sequences",
                state.name, text.str(), ll(state.heads), ll(width), ll(batch));
  }
  if (tokens >= 0 && shape[2] != tokens)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'%s' has %lld tokens, an earlier one %lld", state.name,
                ll(shape[2]), ll(tokens));
  tokens = shape[2];
  int64_t bytes = static_cast<int64_t>(ferriteDTypeSize(tensor.dtype));
  for (int d = 0; d < 4; ++d)
    if (__builtin_mul_overflow(bytes, shape[d], &bytes))
      return fail(error, FERRITE_INVALID_ARGUMENT, "'%s' is beyond all memory",
                  state.name);
  if ((bytes && !tensor.data) ||
      (tensor.bytes && tensor.bytes < static_cast<uint64_t>(bytes)))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'%s' needs %lld bytes at %p, there are %llu", state.name,
                ll(bytes), tensor.data,
                static_cast<unsigned long long>(tensor.bytes));
  return FERRITE_OK;
}

/// Writes tokens [begin, end) of sequence `batch` of a group's tensors. `row`:
/// memory for a row of any state. Returns the tensor behind the last one.
static const FerriteTensor *copyIn(const FerriteSequence &sequence,
                                   const FerriteTensor *tensors, int64_t batch,
                                   int64_t begin, int64_t end, uint8_t *row,
                                   bool hasSummaries) {
  for (size_t i = 0; i < sequence.cache->stateCount; ++i) {
    const FerriteAbiState &state = sequence.cache->states[i];
    if (isSummary(state) && !hasSummaries)
      continue;
    const FerriteTensor &tensor = *tensors++;
    if (begin == end)
      continue;
    size_t bytes =
        static_cast<size_t>(state.heads * (end - begin) * tensor.shape[3]) *
        ferriteDTypeSize(tensor.dtype);
    auto *data = static_cast<uint8_t *>(tensor.data) +
                 static_cast<size_t>(batch) * bytes;
    if (isRounded(state, tensor))
      roundState(sequence, i, begin, end, reinterpret_cast<const float *>(data),
                 row);
    else if (bytes)
      copyState<true>(sequence, i, begin, end, data);
  }
  return tensors;
}

FerriteStatus ferrite::rt::importOne(FerriteSequence *sequence,
                                     const FerriteTensor *tensors,
                                     FerriteError *error) {
  int64_t tokens = tensors[0].shape[2], begin = sequence->length;
  if (FerriteStatus status = appendOne(sequence, tokens, nullptr, error))
    return status;
  // Of the states' own dtypes: nothing is rounded.
  copyIn(*sequence, tensors, 0, begin, begin + tokens, nullptr,
         /*hasSummaries=*/true);
  return pagesStatus(sequence->cache->device, error);
}

FerriteStatus ferriteSequenceImport(FerriteSequence *sequence,
                                    const FerriteTensor *tensors, size_t count,
                                    int64_t batch, FerriteError *error) {
  if (!sequence || !tensors)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "the sequence or tensors are NULL");
  size_t states = 0;
  for (const FerriteCache *c = sequence->cache; c; c = c->more)
    for (size_t i = 0; i < c->stateCount; ++i)
      states += !isSummary(c->states[i]);
  if (count != states)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%zu tensors: the entry '%s' has %zu states to import", count,
                sequence->cache->entry->name, states);
  int64_t tokens = -1;
  const FerriteTensor *given = tensors;
  for (const FerriteCache *c = sequence->cache; c; c = c->more)
    for (size_t i = 0; i < c->stateCount; ++i)
      if (isSummary(c->states[i]))
        continue;
      else if (FerriteStatus status =
                   checkPast(c->states[i], *given++, batch, tokens, error))
        return status;
  size_t rowBytes = 1;
  for (const FerriteCache *c = sequence->cache; c; c = c->more)
    for (size_t i = 0; i < c->stateCount; ++i) {
      size_t bytes = static_cast<size_t>(c->states[i].width) *
                     ferriteDTypeSize(c->states[i].dtype);
      rowBytes = bytes > rowBytes ? bytes : rowBytes;
    }
  auto *row = static_cast<uint8_t *>(malloc(rowBytes));
  if (!row)
    return fail(error, FERRITE_OUT_OF_MEMORY, "no memory for a row of a past");
  int64_t begin = sequence->length;
  const DevicePages *device = sequence->cache->device;
  FerriteStatus status =
      ferriteSequenceAppend(sequence, tokens, nullptr, error);
  for (; status == FERRITE_OK && sequence; sequence = sequence->more) {
    tensors = copyIn(*sequence, tensors, batch, begin, begin + tokens, row,
                     /*hasSummaries=*/false);
    summarize(*sequence, begin);
  }
  free(row);
  return status ? status : pagesStatus(device, error);
}

FerriteStatus ferriteSequenceExport(const FerriteSequence *sequence,
                                    size_t state, int64_t begin, int64_t end,
                                    void *data, uint64_t bytes,
                                    FerriteError *error) {
  while (sequence && sequence->more && state >= sequence->cache->stateCount) {
    state -= sequence->cache->stateCount;
    sequence = sequence->more;
  }
  if (!sequence || state >= sequence->cache->stateCount)
    return fail(error, FERRITE_INVALID_ARGUMENT, "state %zu of %s", state,
                sequence ? "an entry that has fewer" : "NULL");
  const FerriteAbiState &info = sequence->cache->states[state];
  bool isSink = end <= sequence->cache->sinkPages * pageTokens;
  if (begin < 0 || (begin < sequence->evicted * pageTokens && !isSink) ||
      end < begin || end > sequence->length)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "tokens %lld to %lld of a sequence that has %lld to %lld",
                ll(begin), ll(end), ll(sequence->evicted * pageTokens),
                ll(sequence->length));
  uint64_t needed =
      static_cast<uint64_t>(info.heads * (end - begin) * info.width) *
      ferriteDTypeSize(info.dtype);
  if (bytes < needed || (needed && !data))
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%llu bytes: the tokens need %llu",
                static_cast<unsigned long long>(bytes),
                static_cast<unsigned long long>(needed));
  if (needed)
    copyState<false>(*sequence, state, begin, end,
                     static_cast<uint8_t *>(data));
  return pagesStatus(sequence->cache->device, error);
}
