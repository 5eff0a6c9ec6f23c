//===- probe.c - A model that tells where its memory lies -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Entry "address": the addresses of the input and of the output that the kernel
// was given, so that a test can tell a copy. Entry "meet": waits until a second
// run of it is under way, and returns how many met; runs that exclude each
// other give up after ten seconds. Entry "ones": the bytes of an empty or large
// output.
//
//===----------------------------------------------------------------------===//
#include "ferrite/abi.h"

#include <stddef.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void address(const FerriteArg *args, int64_t begin, int64_t end,
                    void *scratch) {
  int64_t *out = args[1].ptr;
  (void)scratch;
  if (begin < end) {
    out[0] = (int64_t)args[0].ptr;
    out[1] = (int64_t)out;
  }
}

static int64_t arrived;
static void meet(const FerriteArg *args, int64_t begin, int64_t end,
                 void *scratch) {
  int64_t *out = args[1].ptr;
  (void)scratch;
  if (begin == end)
    return;
  __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 10000 && __atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < 2;
       ++i)
    usleep(1000);
  *out = __atomic_load_n(&arrived, __ATOMIC_SEQ_CST);
}

static void ones(const FerriteArg *args, int64_t begin, int64_t end,
                 void *scratch) {
  float *out = args[1].ptr;
  (void)scratch;
  for (int64_t i = begin; i < end; ++i)
    out[i] = 1.0f;
}

static int64_t one(const FerriteArg *args) {
  (void)args;
  return 1;
}
static int64_t size(const FerriteArg *args) { return args[2].i64; }

static const FerriteKernelFn functions[] = {address, meet, ones};
static const FerriteAbiKernel kernels[] = {
    {"address", one}, {"meet", one}, {"ones", size}};
static const FerriteAbiLevel levels[] = {{"plain", 0, functions}};

static const FerriteAbiSymbol symbols[] = {{"n", 0, INT64_MAX}};
static const FerriteAbiDim anyLength[] = {{-1, 0, 0}};
static const FerriteAbiDim two[] = {{2, -1, 0}};
static const FerriteAbiTensor floats[] = {{"x", FERRITE_F32, 1, anyLength, 0}};
static const FerriteAbiTensor halves[] = {{"x", FERRITE_BF16, 1, anyLength, 0}};
static const FerriteAbiTensor scalar[] = {{"y", FERRITE_I64, 0, NULL, 0}};
static const FerriteAbiTensor pair[] = {{"y", FERRITE_I64, 1, two, 0}};
static const FerriteAbiTensor copies[] = {{"y", FERRITE_F32, 1, anyLength, 0}};
static const FerriteAbiArg arguments[] = {{FERRITE_ARG_INPUT, 0, 0},
                                          {FERRITE_ARG_OUTPUT, 0, 0},
                                          {FERRITE_ARG_VALUE, 0, 0}};
static const FerriteAbiLaunch launches[] = {
    {0, 0, 3, 0, "/address"}, {1, 0, 3, 0, "/meet"}, {2, 0, 3, 0, "/ones"}};
static void setup(const int64_t *sizes, int64_t *values) {
  values[0] = sizes[0]; // its place is that of the dimension of "copies"
  values[1] = 0;        // of the arena
}

#define ENTRY(entry, in, out, index)                                           \
  {.name = entry,                                                              \
   .symbols = symbols,                                                         \
   .inputs = in,                                                               \
   .outputs = out,                                                             \
   .launches = launches + index,                                               \
   .arguments = arguments,                                                     \
   .setup = setup,                                                             \
   .symbol_count = 1,                                                          \
   .input_count = 1,                                                           \
   .output_count = 1,                                                          \
   .launch_count = 1,                                                          \
   .argument_count = COUNT(arguments),                                         \
   .value_count = 2,                                                           \
   .arena_value = 1}
static const FerriteAbiEntry entries[] = {
    ENTRY("address", floats, pair, 0), ENTRY("meet", floats, scalar, 1),
    ENTRY("ones", floats, copies, 2), ENTRY("address_bf16", halves, pair, 0)};

__attribute__((visibility("default")))
const FerriteAbiModel ferrite_model = {.magic = FERRITE_ABI_MAGIC,
                                       .version = FERRITE_ABI_VERSION,
                                       .size = sizeof(FerriteAbiModel),
                                       .compiler = "by hand",
                                       .name = "probe",
                                       .entries = entries,
                                       .kernels = kernels,
                                       .levels = levels,
                                       .entry_count = COUNT(entries),
                                       .kernel_count = COUNT(kernels),
                                       .level_count = COUNT(levels)};
