//===- TestModel.c - A small artifact for the loader's tests --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Built as shared libraries that differ in one thing each, see CMakeLists.txt:
// y[n] = x[n] + weight, where the weight is the second float of the weights.
//
//===----------------------------------------------------------------------===//
#include "ferrite/abi.h"

#ifndef TEST_VERSION
#define TEST_VERSION FERRITE_ABI_VERSION
#endif
#ifndef TEST_WEIGHT
#define TEST_WEIGHT 0.5f
#endif
#ifndef TEST_SYMBOL
#define TEST_SYMBOL ferrite_model
#endif

static int64_t units(const FerriteArg *args) { return args[3].i64; }

static void add(const FerriteArg *args, int64_t begin, int64_t end,
                void *scratch) {
  (void)scratch;
  for (int64_t i = begin; i < end; ++i)
    ((float *)args[1].ptr)[i] =
        ((const float *)args[0].ptr)[i] + *(const float *)args[2].ptr;
}

static void setup(const int64_t *symbols, int64_t *values) {
  values[0] = symbols[0];
  values[1] = 0;
}

static const FerriteAbiDim dims[] = {{0, 0, 0}};
static const FerriteAbiSymbol symbols[] = {{"n", 1, INT64_MAX}};
static const FerriteAbiTensor input = {"x", FERRITE_F32, 1, dims, 0};
static const FerriteAbiTensor output = {"y", FERRITE_F32, 1, dims, 0};
static const FerriteAbiArg arguments[] = {{FERRITE_ARG_INPUT, 0, 0},
                                          {FERRITE_ARG_OUTPUT, 0, 0},
                                          {FERRITE_ARG_WEIGHT, 0, 4},
                                          {FERRITE_ARG_VALUE, 0, 0}};
static const FerriteAbiLaunch launches[] = {{0, 0, 4, 0, "/Add"}};
static const FerriteAbiKernel kernels[] = {{"add", units}};
static const FerriteKernelFn functions[] = {add};
static const FerriteAbiLevel levels[] = {
    {"future", UINT64_C(1) << 63, functions},
    {"generic", 0, functions},
    {"slow", 0, functions}};
static const FerriteAbiEntry entry = {.name = "main",
                                      .symbols = symbols,
                                      .inputs = &input,
                                      .outputs = &output,
                                      .launches = launches,
                                      .arguments = arguments,
                                      .setup = setup,
                                      .symbol_count = 1,
                                      .input_count = 1,
                                      .output_count = 1,
                                      .launch_count = 1,
                                      .argument_count = 4,
                                      .value_count = 2,
                                      .arena_value = 1};
#ifndef TEST_WEIGHTS_FILE
static const float weights[2] = {100, TEST_WEIGHT};
#else
// XXH3-128 of the file that the test writes: floats 100 and 0.5.
static const uint8_t hash[16] = {TEST_WEIGHTS_HASH};
#endif

__attribute__((visibility("default")))
const FerriteAbiModel TEST_SYMBOL = {FERRITE_ABI_MAGIC,
                                     TEST_VERSION,
                                     sizeof(FerriteAbiModel),
                                     "test 1.0",
                                     "test",
                                     &entry,
                                     kernels,
                                     levels,
#ifndef TEST_WEIGHTS_FILE
                                     weights,
                                     8,
                                     0,
                                     0,
#else
                                     0,
                                     8,
                                     TEST_WEIGHTS_FILE,
                                     hash,
#endif
                                     0,
                                     0,
                                     1,
                                     1,
                                     3,
                                     0,
                                     0};
