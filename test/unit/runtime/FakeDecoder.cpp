//===- FakeDecoder.cpp - A decoder by hand --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeDecoder.h"

#include <algorithm>
#include <cmath>

using namespace ferrite::test;

namespace {

constexpr int64_t V = FakeDecoder::vocabulary, H = FakeDecoder::heads,
                  D = FakeDecoder::width, P = FERRITE_PAGE_TOKENS;

/// A number in [-1, 1) that looks random.
float mix(int64_t a, int64_t b, int64_t c) {
  auto z = static_cast<uint64_t>(a * 1000003 + b * 10007 + c) *
           UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
  return static_cast<float>(static_cast<int64_t>(z >> 40)) * 0x1p-23f - 1;
}

float keyOf(int64_t token, int64_t position, int64_t h, int64_t d) {
  return mix(token, h * D + d, 1) + 0.1f * mix(position, h * D + d, 2);
}
float valueOf(int64_t token, int64_t h, int64_t d) {
  return mix(token, h * D + d, 3);
}
float queryOf(int64_t token, int64_t position, int64_t h, int64_t d) {
  return mix(token, h * D + d, 4) + 0.1f * mix(position, h * D + d, 5);
}

/// `key(j, h, d)` and `value(j, h, d)` for the keys with `sees(j, h)`, in
/// order.
template <typename Sees, typename Key, typename Value>
void computeLogits(int64_t token, int64_t position, int64_t keys, float noise,
                   Sees sees, Key key, Value value, float *logits) {
  float features[H * D];
  for (int64_t h = 0; h < H; ++h) {
    float sum[D] = {}, total = 0;
    for (int64_t j = 0; j < keys; ++j) {
      if (!sees(j, h))
        continue;
      float score = 0;
      for (int64_t d = 0; d < D; ++d)
        score += queryOf(token, position, h, d) * key(j, h, d);
      float weight = std::exp(score);
      total += weight;
      for (int64_t d = 0; d < D; ++d)
        sum[d] += weight * value(j, h, d);
    }
    for (int64_t d = 0; d < D; ++d)
      features[h * D + d] = sum[d] / total;
  }
  for (int64_t v = 0; v < V; ++v) {
    float logit = 0;
    for (int64_t i = 0; i < H * D; ++i)
      logit += features[i] * mix(v, i, 6);
    logits[v] = 2 * logit + noise * mix(v, token, 7);
  }
  // A habit, so that texts repeat themselves now and then.
  logits[(token * 7 + 3) % V] += 2;
}

enum Arg {
  TokenIds,
  Positions,
  Slots,
  RunBegins,
  Contexts,
  Visible,
  PageTables,
  LogitRows,
  Logits,
  Keys,
  Values,
  Noise,
  TokenCount,
  RunCount,
  TableWidth,
  RowCount,
  Window,
  // Of a mixed one:
  SlotsMore,
  TablesMore,
  KeysMore,
  ValuesMore,
  WidthMore
};

template <typename T>
T *at(const FerriteArg *args, Arg which) {
  return static_cast<T *>(args[which].ptr);
}

void countSharers(const FerriteArg *args) {
  const int32_t *begins = at<int32_t>(args, RunBegins);
  auto pageOf = [&](int64_t run) {
    return at<int32_t>(args, PageTables)[run * args[TableWidth].i64];
  };
  for (int64_t run = 1; run < args[RunCount].i64; ++run)
    for (int64_t before = run; before-- > 0;)
      if (begins[run + 1] - begins[run] == 1 &&
          begins[before + 1] - begins[before] == 1 &&
          pageOf(run) == pageOf(before)) {
        ++FakeDecoder::sharers;
        FakeDecoder::neighbours += before == run - 1;
        break;
      }
}

void append(const FerriteArg *args, Arg slots, Arg keys, Arg values) {
  for (int64_t t = 0; t < args[TokenCount].i64; ++t) {
    int64_t slot = at<int64_t>(args, slots)[t];
    int64_t page = slot / P, place = slot % P;
    int64_t token = at<int64_t>(args, TokenIds)[t];
    int64_t position = at<int64_t>(args, Positions)[t];
    for (int64_t h = 0; h < H; ++h)
      for (int64_t d = 0; d < D; ++d) {
        at<float>(args, keys)[((page * H + h) * D + d) * P + place] =
            keyOf(token, position, h, d);
        at<float>(args, values)[((page * H + h) * P + place) * D + d] =
            valueOf(token, h, d);
      }
  }
}

template <bool isMixed>
void rowOf(const FerriteArg *args, int64_t row) {
  int64_t t = at<int64_t>(args, LogitRows)[row], run = 0;
  const int32_t *begins = at<int32_t>(args, RunBegins);
  while (begins[run + 1] <= t)
    ++run;
  int64_t context = at<int32_t>(args, Contexts)[run];
  int64_t own = t - begins[run], window = args[Window].i64;
  int64_t mask = at<int64_t>(args, Visible)[t];
  // What a token does not see of its run is no place for it.
  auto placeOf = [&](int64_t j) {
    if (mask == 0 || j < context)
      return j;
    uint64_t before = (UINT64_C(1) << (j - context)) - 1;
    return context + __builtin_popcountll(static_cast<uint64_t>(mask) & before);
  };
  int64_t index = placeOf(context + own);
  const int32_t *table =
      at<int32_t>(args, PageTables) + run * args[TableWidth].i64;
  const int32_t *tableMore = table;
  const float *keys = at<float>(args, Keys), *values = at<float>(args, Values);
  const float *keysMore = keys, *valuesMore = values;
  if (isMixed) {
    tableMore = at<int32_t>(args, TablesMore) + run * args[WidthMore].i64;
    keysMore = at<float>(args, KeysMore);
    valuesMore = at<float>(args, ValuesMore);
  }
  int64_t length = begins[run + 1] - begins[run];
  auto sees = [&](int64_t j, int64_t h) {
    if (window > 0 && (!isMixed || h == 1) && placeOf(j) <= index - window)
      return false;
    if (mask == 0 || j < context)
      return j <= index;
    return (mask >> (j - context) & 1) != 0;
  };
  computeLogits(
      at<int64_t>(args, TokenIds)[t], at<int64_t>(args, Positions)[t],
      context + length, *at<float>(args, Noise), sees,
      [&](int64_t j, int64_t h, int64_t d) {
        int64_t page = (isMixed && h == 1 ? tableMore : table)[j / P];
        return (isMixed && h == 1 ? keysMore
                                  : keys)[((page * H + h) * D + d) * P + j % P];
      },
      [&](int64_t j, int64_t h, int64_t d) {
        int64_t page = (isMixed && h == 1 ? tableMore : table)[j / P];
        return (isMixed && h == 1
                    ? valuesMore
                    : values)[((page * H + h) * P + j % P) * D + d];
      },
      at<float>(args, Logits) + row * V);
}

int64_t oneUnit(const FerriteArg *) { return 1; }

template <bool isMixed>
void step(const FerriteArg *args, int64_t, int64_t, void *) {
  countSharers(args);
  append(args, Slots, Keys, Values);
  if (isMixed)
    append(args, SlotsMore, KeysMore, ValuesMore);
  for (int64_t row = 0; row < args[RowCount].i64; ++row)
    rowOf<isMixed>(args, row);
}

} // namespace

/// Values of an entry from the sizes of its symbols; the arena is empty.
static void setSizes(const int64_t *sizes, int64_t *values) {
  values[0] = sizes[0];
  values[1] = sizes[1];
  values[2] = sizes[3];
  values[3] = sizes[4];
  values[4] = 0;
}

std::atomic<int64_t> FakeDecoder::sharers{0}, FakeDecoder::neighbours{0};

FakeDecoder::FakeDecoder(float noise, int64_t window, bool isMixed)
    : isMixed(isMixed) {
  role = FERRITE_ENTRY_STEP;
  symbols = {{"tokens", 1, INT64_MAX},
             {"runs", 1, INT64_MAX},
             {"bounds", 2, INT64_MAX},
             {"table", 1, INT64_MAX},
             {"logits", 0, INT64_MAX}};
  inputs = {tensor("token_ids", FERRITE_I64, {symbolic(0)}, V),
            tensor("positions", FERRITE_I64, {symbolic(0)}),
            tensor("slots", FERRITE_I64, {symbolic(0)}),
            tensor("run_begins", FERRITE_I32, {symbolic(2)}),
            tensor("contexts", FERRITE_I32, {symbolic(1)}),
            tensor("visible", FERRITE_I64, {symbolic(0)}),
            tensor("page_tables", FERRITE_I32, {symbolic(1), symbolic(3)}),
            tensor("logit_rows", FERRITE_I64, {symbolic(4)})};
  outputs = {tensor("logits", FERRITE_F32, {symbolic(3), constant(V)})};
  const int64_t bytes = H * D * P * static_cast<int64_t>(sizeof(float));
  states = {{"past.key", FERRITE_F32, FERRITE_STATE_KEYS, 0, 0, H, D, P, bytes,
             isMixed ? -1 : window, 0},
            {"past.value", FERRITE_F32, FERRITE_STATE_VALUES, 0, 0, H, D, P,
             bytes, isMixed ? -1 : window, 0}};
  if (isMixed) {
    inputs.push_back(tensor("slots_2", FERRITE_I64, {symbolic(0)}));
    inputs.push_back(
        tensor("page_tables_2", FERRITE_I32, {symbolic(1), symbolic(5)}));
    symbols.push_back({"table_2", 1, INT64_MAX});
    for (int32_t kind : {FERRITE_STATE_KEYS, FERRITE_STATE_VALUES})
      states.push_back({kind ? "past.1.value" : "past.1.key", FERRITE_F32, kind,
                        1, 2, H, D, P, bytes, window, 0});
  }
  weights = {noise};
  setup = setSizes;
  if (isMixed)
    setup = [](const int64_t *sizes, int64_t *values) {
      setSizes(sizes, values);
      values[5] = sizes[5];
    };
  valueCount = isMixed ? 6 : 5;
  arenaValue = 4;
  std::vector<FerriteAbiArg> args;
  for (uint32_t i = 0; i < 8; ++i)
    args.push_back({FERRITE_ARG_INPUT, i, 0});
  args.push_back({FERRITE_ARG_OUTPUT, 0, 0});
  args.push_back({FERRITE_ARG_STATE, 0, 0});
  args.push_back({FERRITE_ARG_STATE, 1, 0});
  args.push_back({FERRITE_ARG_WEIGHT, 0, 0});
  for (uint32_t i = 0; i < 4; ++i)
    args.push_back({FERRITE_ARG_VALUE, i, 0});
  args.push_back({FERRITE_ARG_CONST, 0, window});
  if (isMixed) {
    args.push_back({FERRITE_ARG_INPUT, 8, 0});
    args.push_back({FERRITE_ARG_INPUT, 9, 0});
    args.push_back({FERRITE_ARG_STATE, 2, 0});
    args.push_back({FERRITE_ARG_STATE, 3, 0});
    args.push_back({FERRITE_ARG_VALUE, 5, 0});
  }
  launch("/step", kernel("step", oneUnit, isMixed ? step<true> : step<false>),
         args);
}

Tokens ferrite::test::text(size_t count, int64_t seed) {
  Tokens result;
  auto state = static_cast<uint64_t>(seed) * 7919 + 17;
  while (result.size() < count) {
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    result.push_back(
        static_cast<int64_t>((state >> 33) % FakeDecoder::vocabulary));
  }
  return result;
}

std::vector<float>
FakeDecoder::logitsOf(const std::vector<int64_t> &tokens) const {
  auto last = static_cast<int64_t>(tokens.size()) - 1;
  int64_t window = states.back().window;
  std::vector<float> logits(V);
  computeLogits(
      tokens.back(), last, last + 1, weights[0],
      [&](int64_t j, int64_t h) {
        if (windowPages && j / P >= sinkPages && j / P < last / P - windowPages)
          return false;
        return window < 0 || (isMixed && h == 0) || j > last - window;
      },
      [&](int64_t j, int64_t h, int64_t d) {
        return keyOf(tokens[static_cast<size_t>(j)], j, h, d);
      },
      [&](int64_t j, int64_t h, int64_t d) {
        return valueOf(tokens[static_cast<size_t>(j)], h, d);
      },
      logits.data());
  return logits;
}

int64_t ferrite::test::argmax(const std::vector<float> &values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

std::vector<int64_t> FakeDecoder::greedy(std::vector<int64_t> prompt,
                                         size_t count) const {
  std::vector<int64_t> result;
  for (; count; --count) {
    result.push_back(argmax(logitsOf(prompt)));
    prompt.push_back(result.back());
  }
  return result;
}
