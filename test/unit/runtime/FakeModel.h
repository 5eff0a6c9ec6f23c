//===- FakeModel.h - Models built by hand -----------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The tables that the compiler would write, with kernels in C++ that compute
// real results: the runtime cannot tell the difference.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_RUNTIME_FAKEMODEL_H
#define FERRITE_TEST_UNIT_RUNTIME_FAKEMODEL_H

#include "ferrite/runtime.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FERRITE_TEST_TSAN 1
#endif
#endif

namespace ferrite::test {

/// One entry "main" that a test fills; `link` makes the tables.
class FakeModel {
public:
  std::vector<FerriteAbiSymbol> symbols;
  std::vector<FerriteAbiTensor> inputs, outputs;
  std::vector<FerriteAbiKernel> kernels;
  std::vector<FerriteKernelFn> functions;
  std::vector<FerriteAbiLaunch> launches;
  std::vector<FerriteAbiArg> arguments;
  std::vector<FerriteAbiLevel> levels;
  std::vector<float> weights;
  std::vector<FerriteAbiState> states;
  FerriteEntryRole role = FERRITE_ENTRY_TENSORS;
  void (*setup)(const int64_t *, int64_t *) = nullptr;
  uint32_t valueCount = 0;
  uint32_t arenaValue = 0;
  int64_t scratchBytes = 0;

  FakeModel() = default;
  FakeModel(const FakeModel &) = delete;
  FakeModel &operator=(const FakeModel &) = delete;
  ~FakeModel() { ferriteModelRelease(handle); }

  /// A dimension that is a symbol (input) or a value (output), or a constant.
  static FerriteAbiDim symbolic(int32_t index) { return {0, index, 0}; }
  static FerriteAbiDim constant(int64_t size) { return {size, -1, 0}; }

  FerriteAbiTensor tensor(const char *name, FerriteDType dtype,
                          std::vector<FerriteAbiDim> dims,
                          int64_t idLimit = 0) {
    dimLists.push_back(std::move(dims));
    return {name, dtype, static_cast<int32_t>(dimLists.back().size()),
            dimLists.back().data(), idLimit};
  }
  uint32_t kernel(const char *name, FerriteUnitsFn units,
                  FerriteKernelFn function) {
    kernels.push_back({name, units});
    functions.push_back(function);
    return static_cast<uint32_t>(kernels.size() - 1);
  }
  void launch(const char *name, uint32_t kernelIndex,
              const std::vector<FerriteAbiArg> &args, uint32_t flags = 0) {
    launches.push_back({kernelIndex, static_cast<uint32_t>(arguments.size()),
                        static_cast<uint32_t>(args.size()), flags, name});
    arguments.insert(arguments.end(), args.begin(), args.end());
  }

  const FerriteAbiModel &link() {
    if (levels.empty())
      levels.push_back({"generic", 0, nullptr});
    for (FerriteAbiLevel &level : levels)
      level.functions = functions.data();
    entry = {};
    entry.name = "main";
    entry.symbols = symbols.data();
    entry.inputs = inputs.data();
    entry.outputs = outputs.data();
    entry.launches = launches.data();
    entry.arguments = arguments.data();
    entry.states = states.data();
    entry.state_count = static_cast<uint32_t>(states.size());
    entry.role = role;
    entry.setup = setup;
    entry.symbol_count = static_cast<uint32_t>(symbols.size());
    entry.input_count = static_cast<uint32_t>(inputs.size());
    entry.output_count = static_cast<uint32_t>(outputs.size());
    entry.launch_count = static_cast<uint32_t>(launches.size());
    entry.argument_count = static_cast<uint32_t>(arguments.size());
    entry.value_count = valueCount;
    entry.arena_value = arenaValue;
    entry.scratch_bytes = scratchBytes;
    abi = {};
    abi.magic = FERRITE_ABI_MAGIC;
    abi.version = FERRITE_ABI_VERSION;
    abi.size = sizeof(FerriteAbiModel);
    abi.compiler = "fake 1.0";
    abi.name = "fake";
    abi.entries = &entry;
    abi.kernels = kernels.data();
    abi.levels = levels.data();
    abi.weights = weights.empty() ? nullptr : weights.data();
    abi.weights_bytes = weights.size() * sizeof(float);
    abi.description = "{\"plan\": []}";
    abi.description_bytes = 12;
    abi.entry_count = 1;
    abi.kernel_count = static_cast<uint32_t>(kernels.size());
    abi.level_count = static_cast<uint32_t>(levels.size());
    return abi;
  }

  /// Links and opens the model; it stays open as long as this object.
  FerriteModel *open() {
    if (!handle) {
      FerriteError error = {};
      EXPECT_EQ(FERRITE_OK, ferriteModelOpen(&link(), nullptr, &handle, &error))
          << error.message;
    }
    return handle;
  }

  FerriteAbiModel abi = {};
  FerriteAbiEntry entry = {};

private:
  std::deque<std::vector<FerriteAbiDim>> dimLists;
  FerriteModel *handle = nullptr;
};

/// ids [batch, sequence] (i64, ids of a table of 100 rows), mask [batch,
/// sequence] (f32), gain [4] (f32) -> sums [batch, 4] and length [1]: the sum
/// over the sequence of (ids + weight) * mask, times the gain. Goes through the
/// arena, weights, values and constants.
void buildSums(FakeModel &model);
/// What it computes, at weight 0.5.
std::vector<float> expectedSums(const std::vector<int64_t> &ids,
                                const std::vector<float> &mask,
                                const std::vector<float> &gain, int64_t batch,
                                int64_t sequence);

/// start [n] (i64) -> result [n] (i64), through `count` stages. Each reads, at
/// shuffled places, all that the one before wrote: a stage that begins too
/// early, or a unit computed twice or never, changes the result. Stages are
/// even, claimed, and of one unit in turn.
void buildStages(FakeModel &model, int count);
std::vector<int64_t> expectedStages(std::vector<int64_t> values, int count);

/// The elements of a tensor of floats.
inline std::vector<float> floats(const FerriteTensor &tensor) {
  const float *data = static_cast<const float *>(tensor.data);
  return std::vector<float>(data, data + tensor.bytes / sizeof(float));
}

/// A session with its options, destroyed with its scope.
class Scoped {
public:
  explicit Scoped(FerriteModel *model, int32_t threads = 1,
                  std::function<void(FerriteSessionOptions &)> more = {}) {
    FerriteSessionOptions options = {};
    options.size = sizeof options;
    options.threads = threads;
    if (more)
      more(options);
    FerriteError error = {};
    EXPECT_EQ(FERRITE_OK,
              ferriteSessionCreate(model, nullptr, &options, &session, &error))
        << error.message;
  }
  ~Scoped() { ferriteSessionDestroy(session); }
  Scoped(const Scoped &) = delete;
  Scoped &operator=(const Scoped &) = delete;
  operator FerriteSession *() const { return session; }

private:
  FerriteSession *session = nullptr;
};

template <typename T>
FerriteTensor view(FerriteDType dtype, std::vector<T> &data,
                   const std::vector<int64_t> &shape,
                   const char *name = nullptr) {
  FerriteTensor tensor = {};
  tensor.data = data.data();
  tensor.bytes = data.size() * sizeof(T);
  tensor.name = name;
  tensor.dtype = dtype;
  tensor.rank = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i)
    tensor.shape[i] = shape[i];
  return tensor;
}

/// Inputs of the sums model.
struct SumsInputs {
  SumsInputs(int64_t batch, int64_t sequence);
  std::vector<FerriteTensor> tensors() {
    return {view(FERRITE_I64, ids, {batch, sequence}),
            view(FERRITE_F32, mask, {batch, sequence}),
            view(FERRITE_F32, gain, {4})};
  }
  std::vector<float> expected() const {
    return expectedSums(ids, mask, gain, batch, sequence);
  }
  int64_t batch, sequence;
  std::vector<int64_t> ids;
  std::vector<float> mask, gain;
};

} // namespace ferrite::test

#endif // FERRITE_TEST_UNIT_RUNTIME_FAKEMODEL_H
