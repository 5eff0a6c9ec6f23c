//===- artifact.c - A model written by hand, to run the program on --------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Entry "lookup": score[b, s] = table[ids[b, s]] * mask[b, s], so that an
// answer shows whether ids, masks and their order arrived. Entry "copy": an
// input of every element type, returned as it came.
//
//===----------------------------------------------------------------------===//
#include "ferrite/abi.h"

#include <stddef.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const float table[4] = {0.5f, 1.5f, 2.5f, -3.5f};

static void lookup(const FerriteArg *args, int64_t begin, int64_t end,
                   void *scratch) {
  const int64_t *ids = args[0].ptr;
  const float *mask = args[1].ptr;
  const float *weights = args[2].ptr;
  float *score = args[3].ptr;
  (void)scratch;
  for (int64_t i = begin; i < end; ++i) {
    int64_t id = ids[i] < 0 ? ids[i] + 4 : ids[i];
    score[i] = weights[id] * mask[i];
  }
}
static int64_t lookupUnits(const FerriteArg *args) { return args[4].i64; }

/// args: from, to, bytes.
static void copy(const FerriteArg *args, int64_t begin, int64_t end,
                 void *scratch) {
  (void)scratch;
  if (begin < end)
    memcpy(args[1].ptr, args[0].ptr, (size_t)args[2].i64);
}
static int64_t copyUnits(const FerriteArg *args) {
  (void)args;
  return 1;
}

static const FerriteKernelFn functions[] = {lookup, copy};
static const FerriteAbiKernel kernels[] = {{"k0_lookup", lookupUnits},
                                           {"k1_copy", copyUnits}};
// The first needs a feature that no processor has.
static const FerriteAbiLevel levels[] = {
    {"avx9000", UINT64_C(1) << 63, functions}, {"plain", 0, functions}};

//===----------------------------------------------------------------------===//
// lookup
//===----------------------------------------------------------------------===//

static const FerriteAbiSymbol symbols[] = {{"batch", 1, INT64_MAX},
                                           {"sequence", 1, 64}};
static const FerriteAbiDim inputDims[] = {{-1, 0, 0}, {-1, 1, 0}};
static const FerriteAbiDim outputDims[] = {{-1, 0, 0}, {-1, 1, 0}};
static const FerriteAbiTensor lookupInputs[] = {
    {"ids", FERRITE_I64, 2, inputDims, 4},
    {"mask", FERRITE_F32, 2, inputDims, 0}};
static const FerriteAbiTensor lookupOutputs[] = {
    {"score", FERRITE_F32, 2, outputDims, 0}};
/// values: batch, sequence, their product, bytes of the arena.
static void lookupSetup(const int64_t *sizes, int64_t *values) {
  values[0] = sizes[0];
  values[1] = sizes[1];
  values[2] = sizes[0] * sizes[1];
  values[3] = 64 * sizes[0];
}
static const FerriteAbiArg lookupArguments[] = {{FERRITE_ARG_INPUT, 0, 0},
                                                {FERRITE_ARG_INPUT, 1, 0},
                                                {FERRITE_ARG_WEIGHT, 0, 0},
                                                {FERRITE_ARG_OUTPUT, 0, 0},
                                                {FERRITE_ARG_VALUE, 2, 0}};
static const FerriteAbiLaunch lookupLaunches[] = {
    {0, 0, COUNT(lookupArguments), 0, "/embed/Gather, /embed/Mul"}};

//===----------------------------------------------------------------------===//
// copy: every element type, [3] each
//===----------------------------------------------------------------------===//

static const FerriteAbiDim three[] = {{3, -1, 0}};
#define TENSOR(name, dtype) {name, dtype, 1, three, 0}
static const FerriteAbiTensor copyTensors[] = {
    TENSOR("f32", FERRITE_F32),   TENSOR("f16", FERRITE_F16),
    TENSOR("bf16", FERRITE_BF16), TENSOR("f64", FERRITE_F64),
    TENSOR("i8", FERRITE_I8),     TENSOR("i16", FERRITE_I16),
    TENSOR("i32", FERRITE_I32),   TENSOR("i64", FERRITE_I64),
    TENSOR("u8", FERRITE_U8),     TENSOR("u16", FERRITE_U16),
    TENSOR("u32", FERRITE_U32),   TENSOR("u64", FERRITE_U64),
    TENSOR("bool", FERRITE_BOOL)};
#define COPY(index, bytes)                                                     \
  {FERRITE_ARG_INPUT, index, 0}, {FERRITE_ARG_OUTPUT, index, 0}, {             \
    FERRITE_ARG_CONST, 0, bytes                                                \
  }
static const FerriteAbiArg copyArguments[] = {
    COPY(0, 12),  COPY(1, 6),   COPY(2, 6),  COPY(3, 24), COPY(4, 3),
    COPY(5, 6),   COPY(6, 12),  COPY(7, 24), COPY(8, 3),  COPY(9, 6),
    COPY(10, 12), COPY(11, 24), COPY(12, 3)};
#define LAUNCH(index) {1, 3 * index, 3, 0, "/copy"}
static const FerriteAbiLaunch copyLaunches[] = {
    LAUNCH(0),  LAUNCH(1),  LAUNCH(2), LAUNCH(3), LAUNCH(4),
    LAUNCH(5),  LAUNCH(6),  LAUNCH(7), LAUNCH(8), LAUNCH(9),
    LAUNCH(10), LAUNCH(11), LAUNCH(12)};
static void copySetup(const int64_t *sizes, int64_t *values) {
  (void)sizes;
  values[0] = 0;
}

static const FerriteAbiEntry entries[] = {
    {.name = "lookup",
     .symbols = symbols,
     .inputs = lookupInputs,
     .outputs = lookupOutputs,
     .launches = lookupLaunches,
     .arguments = lookupArguments,
     .setup = lookupSetup,
     .symbol_count = COUNT(symbols),
     .input_count = COUNT(lookupInputs),
     .output_count = COUNT(lookupOutputs),
     .launch_count = COUNT(lookupLaunches),
     .argument_count = COUNT(lookupArguments),
     .value_count = 4,
     .arena_value = 3},
    {.name = "copy",
     .inputs = copyTensors,
     .outputs = copyTensors,
     .launches = copyLaunches,
     .arguments = copyArguments,
     .setup = copySetup,
     .input_count = COUNT(copyTensors),
     .output_count = COUNT(copyTensors),
     .launch_count = COUNT(copyLaunches),
     .argument_count = COUNT(copyArguments),
     .value_count = 1}};

static const char description[] =
    "{\"fusions\": [{\"kind\": \"attention\", \"fused\": 1, \"candidates\": 3,"
    " \"records\": [{\"node\": \"/1/Softmax\", \"fused\": false,"
    " \"reason\": \"the scale is not a constant\"}, {\"node\": \"/2/Softmax\","
    " \"fused\": false, \"reason\": \"the scale is not a constant\"}]}],"
    " \"kernels\": [{\"name\": \"k0_lookup\", \"kernel\": \"lookup f32\","
    " \"launches\": 1}],"
    " \"arena\": [{\"shape\": {\"batch\": 1, \"sequence\": 16},"
    " \"naive\": 4096, \"planned\": 2048, \"lower_bound\": 1024}],"
    " \"entries\": [{\"name\": \"lookup\", \"buffers\": [{\"value\": "
    "\"/e/out\","
    " \"offset\": \"0\", \"bytes\": \"batch*64\", \"first\": 0,"
    " \"last\": 0}]}]}";

__attribute__((visibility("default"))) const FerriteAbiModel ferrite_model = {
    .magic = FERRITE_ABI_MAGIC,
    .version = FERRITE_ABI_VERSION,
    .size = sizeof(FerriteAbiModel),
    .compiler = "by hand",
    .name = "handmade",
    .entries = entries,
    .kernels = kernels,
    .levels = levels,
    .weights = table,
    .weights_bytes = sizeof table,
    .description = description,
    .description_bytes = sizeof description - 1,
    .entry_count = COUNT(entries),
    .kernel_count = COUNT(kernels),
    .level_count = COUNT(levels)};
