// A decoder as `ferrite compile` would write it, by hand: a step entry over 23
// tokens. Its one state of keys holds the tokens themselves, and the best next
// token is the sum of token * (index + 1) over all that a token sees, modulo
// 23; the others follow by distance. So each text can be told in advance, and a
// wrong page, slot or length shows.
#include "ferrite/abi.h"

#include <stddef.h>

#define COUNT(list) (sizeof(list) / sizeof(list[0]))
#define VOCABULARY 23
#define PAGE FERRITE_PAGE_TOKENS

enum {
  IDS,
  SLOTS,
  BEGINS,
  CONTEXTS,
  VISIBLE,
  TABLES,
  ROWS,
  LOGITS,
  KEYS,
  VALUES,
  TOKENS,
  TABLE,
  ROW_COUNT
};

static int64_t one(const FerriteArg *args) {
  (void)args;
  return 1;
}

static void step(const FerriteArg *args, int64_t begin, int64_t end,
                 void *scratch) {
  (void)begin, (void)end, (void)scratch;
  const int64_t *ids = args[IDS].ptr, *slots = args[SLOTS].ptr,
                *visible = args[VISIBLE].ptr, *rows = args[ROWS].ptr;
  const int32_t *begins = args[BEGINS].ptr, *contexts = args[CONTEXTS].ptr,
                *tables = args[TABLES].ptr;
  float *keys = args[KEYS].ptr, *values = args[VALUES].ptr,
        *logits = args[LOGITS].ptr;
  for (int64_t t = 0; t < args[TOKENS].i64; ++t) {
    keys[slots[t]] = (float)ids[t];
    values[slots[t]] = -(float)ids[t];
  }
  for (int64_t row = 0; row < args[ROW_COUNT].i64; ++row) {
    int64_t token = rows[row], run = 0, sum = 0;
    while (begins[run + 1] <= token)
      ++run;
    int64_t context = contexts[run], last = context + token - begins[run];
    for (int64_t j = 0; j <= last; ++j) {
      int64_t mask = visible[token];
      if (mask && j >= context && !(mask >> (j - context) & 1))
        continue;
      int64_t slot =
          (int64_t)tables[run * args[TABLE].i64 + j / PAGE] * PAGE + j % PAGE;
      sum += (int64_t)(keys[slot] - values[slot]) / 2 * (j + 1);
    }
    for (int64_t v = 0; v < VOCABULARY; ++v) {
      int64_t distance = (v - sum % VOCABULARY + VOCABULARY) % VOCABULARY;
      logits[row * VOCABULARY + v] = -(float)distance;
    }
  }
}

static void setup(const int64_t *symbols, int64_t *values) {
  values[0] = symbols[0]; // tokens
  values[1] = symbols[3]; // table
  values[2] = symbols[4]; // logits
  values[3] = 0;
}

static const FerriteAbiSymbol symbols[] = {{"tokens", 1, INT64_MAX},
                                           {"runs", 1, INT64_MAX},
                                           {"bounds", 2, INT64_MAX},
                                           {"table", 1, INT64_MAX},
                                           {"logits", 0, INT64_MAX}};
static const FerriteAbiDim tokens[] = {{0, 0, 0}}, bounds[] = {{0, 2, 0}},
                           runs[] = {{0, 1, 0}},
                           table[] = {{0, 1, 0}, {0, 3, 0}},
                           rows[] = {{0, 4, 0}},
                           logits[] = {{0, 2, 0}, {VOCABULARY, -1, 0}};
static const FerriteAbiTensor inputs[] = {
    {"token_ids", FERRITE_I64, 1, tokens, VOCABULARY},
    {"slots", FERRITE_I64, 1, tokens, 0},
    {"run_begins", FERRITE_I32, 1, bounds, 0},
    {"contexts", FERRITE_I32, 1, runs, 0},
    {"visible", FERRITE_I64, 1, tokens, 0},
    {"page_tables", FERRITE_I32, 2, table, 0},
    {"logit_rows", FERRITE_I64, 1, rows, 0}};
static const FerriteAbiTensor outputs[] = {
    {"logits", FERRITE_F32, 2, logits, 0}};
static const FerriteAbiState states[] = {
    {"past_key_values.0.key", FERRITE_F32, FERRITE_STATE_KEYS, 0, 0, 1, 1, PAGE,
     4 * PAGE, -1, 0},
    {"past_key_values.0.value", FERRITE_F32, FERRITE_STATE_VALUES, 0, 0, 1, 1,
     PAGE, 4 * PAGE, -1, 0}};
static const FerriteAbiArg arguments[] = {
    {FERRITE_ARG_INPUT, 0, 0}, {FERRITE_ARG_INPUT, 1, 0},
    {FERRITE_ARG_INPUT, 2, 0}, {FERRITE_ARG_INPUT, 3, 0},
    {FERRITE_ARG_INPUT, 4, 0}, {FERRITE_ARG_INPUT, 5, 0},
    {FERRITE_ARG_INPUT, 6, 0}, {FERRITE_ARG_OUTPUT, 0, 0},
    {FERRITE_ARG_STATE, 0, 0}, {FERRITE_ARG_STATE, 1, 0},
    {FERRITE_ARG_VALUE, 0, 0}, {FERRITE_ARG_VALUE, 1, 0},
    {FERRITE_ARG_VALUE, 2, 0}};
static const FerriteAbiLaunch launches[] = {
    {0, 0, COUNT(arguments), 0, "/step"}};
static const FerriteAbiKernel kernels[] = {{"step", one}};
static const FerriteKernelFn functions[] = {step};
static const FerriteAbiLevel levels[] = {{"plain", 0, functions}};
static const FerriteAbiEntry entries[] = {{.name = "step",
                                           .symbols = symbols,
                                           .inputs = inputs,
                                           .outputs = outputs,
                                           .launches = launches,
                                           .arguments = arguments,
                                           .states = states,
                                           .setup = setup,
                                           .symbol_count = COUNT(symbols),
                                           .input_count = COUNT(inputs),
                                           .output_count = COUNT(outputs),
                                           .launch_count = COUNT(launches),
                                           .argument_count = COUNT(arguments),
                                           .value_count = 4,
                                           .arena_value = 3,
                                           .state_count = COUNT(states),
                                           .role = FERRITE_ENTRY_STEP}};

__attribute__((visibility("default")))
const FerriteAbiModel ferrite_model = {.magic = FERRITE_ABI_MAGIC,
                                       .version = FERRITE_ABI_VERSION,
                                       .size = sizeof(FerriteAbiModel),
                                       .compiler = "by hand",
                                       .name = "decoder",
                                       .entries = entries,
                                       .kernels = kernels,
                                       .levels = levels,
                                       .entry_count = COUNT(entries),
                                       .kernel_count = COUNT(kernels),
                                       .level_count = COUNT(levels)};
