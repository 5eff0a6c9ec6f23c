//===- FakeModel.cpp - Models built by hand -------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "FakeModel.h"

using namespace ferrite::test;

namespace {

// sums: values are batch, sequence, offset of `weighted`, bytes of the arena.
void sumsSetup(const int64_t *symbols, int64_t *values) {
  values[0] = symbols[0];
  values[1] = symbols[1];
  values[2] = 64;
  int64_t bytes;
  if (__builtin_mul_overflow(symbols[0] * 4, symbols[1], &bytes))
    bytes = -1;
  values[3] = bytes < 0 ? -1 : 64 + (bytes + 63) / 64 * 64;
}

// weighted[i] = (ids[i] + weight) * mask[i]; units are elements.
// args: ids, mask, weight, weighted, batch, sequence
int64_t weightUnits(const FerriteArg *args) {
  return args[4].i64 * args[5].i64;
}
void weightKernel(const FerriteArg *args, int64_t begin, int64_t end,
                  void *scratch) {
  const int64_t *ids = static_cast<const int64_t *>(args[0].ptr);
  const float *mask = static_cast<const float *>(args[1].ptr);
  const float *weight = static_cast<const float *>(args[2].ptr);
  float *weighted = static_cast<float *>(args[3].ptr);
  // Through scratch, so that two workers with one block would be seen.
  float *copy = static_cast<float *>(scratch);
  for (int64_t i = begin; i < end; ++i) {
    copy[i % 16] = static_cast<float>(ids[i]) + weight[0];
    weighted[i] = copy[i % 16] * mask[i];
  }
}

// sums[b][k] = gain[k] * sum of weighted[b]; units are rows.
// args: weighted, gain, sums, columns (constant), batch, sequence
int64_t sumUnits(const FerriteArg *args) { return args[4].i64; }
void sumKernel(const FerriteArg *args, int64_t begin, int64_t end, void *) {
  const float *weighted = static_cast<const float *>(args[0].ptr);
  const float *gain = static_cast<const float *>(args[1].ptr);
  float *sums = static_cast<float *>(args[2].ptr);
  int64_t columns = args[3].i64, sequence = args[5].i64;
  for (int64_t b = begin; b < end; ++b) {
    float sum = 0;
    for (int64_t s = 0; s < sequence; ++s)
      sum += weighted[b * sequence + s];
    for (int64_t k = 0; k < columns; ++k)
      sums[b * columns + k] = gain[k] * sum;
  }
}

int64_t oneUnit(const FerriteArg *) { return 1; }
void lengthKernel(const FerriteArg *args, int64_t begin, int64_t end, void *) {
  for (int64_t i = begin; i < end; ++i)
    static_cast<int64_t *>(args[0].ptr)[i] = args[1].i64;
}

// stages: values are n, and offsets of two buffers, and the arena.
void stagesSetup(const int64_t *symbols, int64_t *values) {
  int64_t bytes = (symbols[0] * 8 + 63) / 64 * 64;
  values[0] = symbols[0];
  values[1] = 0;
  values[2] = bytes;
  values[3] = 2 * bytes;
}

/// Where element i of a stage reads: a permutation, as 7919 is prime.
int64_t source(int64_t i, int64_t stage, int64_t n) {
  return n % 7919 == 0 ? i : (i * 7919 + stage) % n;
}
void stageElements(const FerriteArg *args, int64_t begin, int64_t end) {
  const int64_t *from = static_cast<const int64_t *>(args[0].ptr);
  int64_t *to = static_cast<int64_t *>(args[1].ptr);
  int64_t n = args[2].i64, stage = args[3].i64;
  for (int64_t i = begin; i < end; ++i)
    to[i] = (3 * from[source(i, stage, n)] + stage) & 0xffffffff;
}

// args: from, to, n, stage. One unit is an element, eight, or all of them.
int64_t evenUnits(const FerriteArg *args) { return args[2].i64; }
void evenKernel(const FerriteArg *args, int64_t begin, int64_t end, void *) {
  stageElements(args, begin, end);
}
int64_t blockUnits(const FerriteArg *args) { return (args[2].i64 + 7) / 8; }
void blockKernel(const FerriteArg *args, int64_t begin, int64_t end, void *) {
  int64_t n = args[2].i64;
  stageElements(args, begin * 8, end * 8 < n ? end * 8 : n);
}
void wholeKernel(const FerriteArg *args, int64_t begin, int64_t end, void *) {
  for (int64_t i = begin; i < end; ++i)
    stageElements(args, 0, args[2].i64);
}

} // namespace

void ferrite::test::buildSums(FakeModel &m) {
  m.symbols = {{"batch", 1, INT64_MAX}, {"sequence", 2, 512}};
  m.inputs = {m.tensor("ids", FERRITE_I64, {m.symbolic(0), m.symbolic(1)}, 100),
              m.tensor("mask", FERRITE_F32, {m.symbolic(0), m.symbolic(1)}),
              m.tensor("gain", FERRITE_F32, {m.constant(4)})};
  m.outputs = {m.tensor("sums", FERRITE_F32, {m.symbolic(0), m.constant(4)}),
               m.tensor("length", FERRITE_I64, {m.constant(1)})};
  m.setup = sumsSetup;
  m.valueCount = 4;
  m.arenaValue = 3;
  m.scratchBytes = 16 * sizeof(float);
  m.weights = {100, 0.5f};
  uint32_t weight = m.kernel("weight", weightUnits, weightKernel);
  uint32_t sum = m.kernel("sum", sumUnits, sumKernel);
  uint32_t length = m.kernel("length", oneUnit, lengthKernel);
  FerriteAbiArg batch = {FERRITE_ARG_VALUE, 0, 0};
  FerriteAbiArg sequence = {FERRITE_ARG_VALUE, 1, 0};
  m.launch("/weight/Mul", weight,
           {{FERRITE_ARG_INPUT, 0, 0},
            {FERRITE_ARG_INPUT, 1, 0},
            {FERRITE_ARG_WEIGHT, 0, sizeof(float)},
            {FERRITE_ARG_ARENA, 2, 0},
            batch,
            sequence});
  m.launch("/sum/ReduceSum", sum,
           {{FERRITE_ARG_ARENA, 2, 0},
            {FERRITE_ARG_INPUT, 2, 0},
            {FERRITE_ARG_OUTPUT, 0, 0},
            {FERRITE_ARG_CONST, 0, 4},
            batch,
            sequence},
           FERRITE_LAUNCH_CLAIMED);
  m.launch("/length/Shape", length, {{FERRITE_ARG_OUTPUT, 1, 0}, sequence});
}

std::vector<float> ferrite::test::expectedSums(const std::vector<int64_t> &ids,
                                               const std::vector<float> &mask,
                                               const std::vector<float> &gain,
                                               int64_t batch,
                                               int64_t sequence) {
  std::vector<float> sums;
  for (int64_t b = 0; b < batch; ++b) {
    float sum = 0;
    for (int64_t s = 0; s < sequence; ++s) {
      size_t i = static_cast<size_t>(b * sequence + s);
      sum += (static_cast<float>(ids[i]) + 0.5f) * mask[i];
    }
    for (float g : gain)
      sums.push_back(g * sum);
  }
  return sums;
}

void ferrite::test::buildStages(FakeModel &m, int count) {
  m.symbols = {{"n", 1, INT64_MAX}};
  m.inputs = {m.tensor("start", FERRITE_I64, {m.symbolic(0)})};
  m.outputs = {m.tensor("result", FERRITE_I64, {m.symbolic(0)})};
  m.setup = stagesSetup;
  m.valueCount = 4;
  m.arenaValue = 3;
  uint32_t kernels[] = {m.kernel("even", evenUnits, evenKernel),
                        m.kernel("block", blockUnits, blockKernel),
                        m.kernel("whole", oneUnit, wholeKernel)};
  for (int i = 0; i < count; ++i) {
    FerriteAbiArg from = {FERRITE_ARG_ARENA, static_cast<uint32_t>(1 + i % 2),
                          0};
    FerriteAbiArg to = {FERRITE_ARG_ARENA,
                        static_cast<uint32_t>(1 + (i + 1) % 2), 0};
    if (i == 0)
      from = {FERRITE_ARG_INPUT, 0, 0};
    if (i == count - 1)
      to = {FERRITE_ARG_OUTPUT, 0, 0};
    // Two even stages follow each other, so do two claimed ones.
    int kind = (i / 2) % 3;
    m.launch("stage", kernels[kind],
             {from, to, {FERRITE_ARG_VALUE, 0, 0}, {FERRITE_ARG_CONST, 0, i}},
             kind == 1 ? FERRITE_LAUNCH_CLAIMED : 0u);
  }
}

std::vector<int64_t> ferrite::test::expectedStages(std::vector<int64_t> values,
                                                   int count) {
  int64_t n = static_cast<int64_t>(values.size());
  std::vector<int64_t> next(values.size());
  for (int stage = 0; stage < count; ++stage) {
    for (int64_t i = 0; i < n; ++i)
      next[static_cast<size_t>(i)] =
          (3 * values[static_cast<size_t>(source(i, stage, n))] + stage) &
          0xffffffff;
    values.swap(next);
  }
  return values;
}

SumsInputs::SumsInputs(int64_t batchSize, int64_t length)
    : batch(batchSize), sequence(length) {
  for (int64_t i = 0; i < batch * sequence; ++i) {
    ids.push_back(i * 37 % 200 - 100);
    mask.push_back(i % 5 == 4 ? 0.0f : 1.0f);
  }
  gain = {1, 2, -1, 0.25f};
}
