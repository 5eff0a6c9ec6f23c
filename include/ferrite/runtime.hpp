//===- runtime.hpp - C++ wrapper of runtime.h -------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Header only, C++17: owning handles, vectors and exceptions over the C API.
//
//   auto model = ferrite::Model::load("minilm.so");
//   ferrite::Session session(model);
//   std::vector<int64_t> ids = ...;
//   auto results = session.run({ferrite::tensor("input_ids", ids, {1, 16})});
//   const float *values = results[0].data<float>();
//
// Each function that can fail throws ferrite::Error. Everything that runtime.h
// says of lifetimes and threads holds here; a Model is copied as a
// shared_ptr is, a Session is moved. It is longer than other headers because
// it wraps all of runtime.h, which is one, too.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_HPP
#define FERRITE_RUNTIME_HPP

#include "ferrite/runtime.h"

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace ferrite {

/// What every function throws: a message and the status behind it.
class Error : public std::runtime_error {
public:
  explicit Error(const FerriteError &error)
      : std::runtime_error(error.message), code(error.status) {}
  FerriteStatus status() const noexcept { return code; }

private:
  FerriteStatus code;
};

namespace detail {
inline void check(FerriteStatus status, const FerriteError &error) {
  if (status != FERRITE_OK)
    throw Error(error);
}
template <typename>
inline constexpr bool unsupported = false;
} // namespace detail

/// The element type of a C++ type. f16 and bf16 have none: name them yourself.
template <typename T>
constexpr FerriteDType dtypeOf() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, bool>)
    return FERRITE_BOOL;
  else if constexpr (std::is_same_v<U, float>)
    return FERRITE_F32;
  else if constexpr (std::is_same_v<U, double>)
    return FERRITE_F64;
  else if constexpr (std::is_integral_v<U>) {
    constexpr bool isSigned = std::is_signed_v<U>;
    if constexpr (sizeof(U) == 1)
      return isSigned ? FERRITE_I8 : FERRITE_U8;
    else if constexpr (sizeof(U) == 2)
      return isSigned ? FERRITE_I16 : FERRITE_U16;
    else if constexpr (sizeof(U) == 4)
      return isSigned ? FERRITE_I32 : FERRITE_U32;
    else
      return isSigned ? FERRITE_I64 : FERRITE_U64;
  } else {
    static_assert(detail::unsupported<T>, "no element type for this C++ type");
    return FERRITE_F32;
  }
}

/// A view of a tensor: it owns neither the elements nor the name.
class Tensor {
public:
  Tensor() = default;
  explicit Tensor(const FerriteTensor &tensor) : raw(tensor) {}
  /// Memory of `bytes` bytes; with `data` null, an output that the session is
  /// to own. `name` may be null: the tensor is then matched by its position.
  Tensor(const char *name, void *data, std::uint64_t bytes, std::int32_t dtype,
         const std::vector<std::int64_t> &shape) {
    if (shape.size() > FERRITE_MAX_RANK)
      throw std::invalid_argument("a tensor has at most 8 dimensions");
    raw.name = name;
    raw.data = data;
    raw.bytes = bytes;
    raw.dtype = dtype;
    raw.rank = static_cast<std::int32_t>(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i)
      raw.shape[i] = shape[i];
  }

  const char *name() const { return raw.name; }
  std::int32_t dtype() const { return raw.dtype; }
  std::vector<std::int64_t> shape() const {
    return std::vector<std::int64_t>(raw.shape, raw.shape + raw.rank);
  }
  std::int64_t size() const {
    std::int64_t product = 1;
    for (std::int32_t i = 0; i < raw.rank; ++i)
      product *= raw.shape[i];
    return product;
  }
  std::uint64_t bytes() const { return raw.bytes; }
  /// Whether the memory is that of the session's GPU.
  bool isOnDevice() const { return raw.location == FERRITE_ON_DEVICE; }
  Tensor &onDevice() {
    raw.location = FERRITE_ON_DEVICE;
    return *this;
  }
  void *data() const { return raw.data; }
  /// The elements; throws when they are not of this type.
  template <typename T>
  T *data() const {
    if (raw.dtype != dtypeOf<T>())
      throw std::invalid_argument(std::string("the tensor holds ") +
                                  ferriteDTypeName(raw.dtype) + ", not " +
                                  ferriteDTypeName(dtypeOf<T>()));
    return static_cast<T *>(raw.data);
  }

  FerriteTensor raw = {};
};

/// A view of `size` elements, and of a vector. Inputs are never written to.
template <typename T>
Tensor tensor(const char *name, const T *data, std::size_t size,
              const std::vector<std::int64_t> &shape) {
  return Tensor(name, const_cast<std::remove_const_t<T> *>(data),
                size * sizeof(T), dtypeOf<T>(), shape);
}
template <typename T>
Tensor tensor(const char *name, const std::vector<T> &data,
              const std::vector<std::int64_t> &shape) {
  return tensor(name, data.data(), data.size(), shape);
}

struct ModelOptions {
  std::string level;       // empty: FERRITE_CPU, or the best
  std::string weightsPath; // empty: beside the artifact
  bool verifyWeights = false;
};

/// A loaded model. Copies share it.
class Model {
public:
  static Model load(const std::string &path, const ModelOptions &options = {}) {
    return make(options, [&](const FerriteModelOptions *raw, FerriteModel **out,
                             FerriteError *error) {
      return ferriteModelLoadFile(path.c_str(), raw, out, error);
    });
  }
  static Model load(const void *bytes, std::size_t size,
                    const ModelOptions &options = {}) {
    return make(options, [&](const FerriteModelOptions *raw, FerriteModel **out,
                             FerriteError *error) {
      return ferriteModelLoadMemory(bytes, size, raw, out, error);
    });
  }
  static Model open(const FerriteAbiModel &abi,
                    const ModelOptions &options = {}) {
    return make(options, [&](const FerriteModelOptions *raw, FerriteModel **out,
                             FerriteError *error) {
      return ferriteModelOpen(&abi, raw, out, error);
    });
  }

  Model(const Model &other) : handle(ferriteModelRetain(other.handle)) {}
  Model(Model &&other) noexcept
      : handle(std::exchange(other.handle, nullptr)) {}
  Model &operator=(Model other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Model() { ferriteModelRelease(handle); }

  FerriteModel *get() const { return handle; }
  std::string name() const { return ferriteModelName(handle); }
  std::string compiler() const { return ferriteModelCompiler(handle); }
  std::string level() const { return ferriteModelLevel(handle); }
  std::uint64_t weightsBytes() const {
    return ferriteModelWeightsBytes(handle);
  }
  /// Valid as long as the model.
  std::string_view description() const {
    std::size_t size = 0;
    const char *text = ferriteModelDescription(handle, &size);
    return std::string_view(text ? text : "", size);
  }
  std::size_t entryCount() const { return ferriteModelEntryCount(handle); }
  FerriteEntryInfo entry(std::size_t index = 0) const {
    FerriteEntryInfo info;
    FerriteError error;
    detail::check(ferriteModelEntry(handle, index, &info, &error), error);
    return info;
  }
  std::vector<FerriteSymbolInfo> symbols(std::size_t index = 0) const {
    return list<FerriteSymbolInfo>(entry(index).symbol_count,
                                   ferriteModelSymbol, index);
  }
  std::vector<FerriteTensorInfo> inputs(std::size_t index = 0) const {
    return list<FerriteTensorInfo>(entry(index).input_count, ferriteModelInput,
                                   index);
  }
  std::vector<FerriteTensorInfo> outputs(std::size_t index = 0) const {
    return list<FerriteTensorInfo>(entry(index).output_count,
                                   ferriteModelOutput, index);
  }

private:
  explicit Model(FerriteModel *model) : handle(model) {}

  template <typename Load>
  static Model make(const ModelOptions &options, const Load &load) {
    FerriteModelOptions raw = {};
    raw.size = sizeof raw;
    raw.level = options.level.empty() ? nullptr : options.level.c_str();
    raw.weights_path =
        options.weightsPath.empty() ? nullptr : options.weightsPath.c_str();
    raw.verify_weights = options.verifyWeights;
    FerriteModel *model = nullptr;
    FerriteError error;
    detail::check(load(&raw, &model, &error), error);
    return Model(model);
  }
  template <typename Info, typename Get>
  std::vector<Info> list(std::size_t count, const Get &get,
                         std::size_t index) const {
    std::vector<Info> infos(count);
    FerriteError error;
    for (std::size_t i = 0; i < count; ++i)
      detail::check(get(handle, index, i, &infos[i], &error), error);
    return infos;
  }

  FerriteModel *handle;
};

struct SessionOptions {
  std::string entry; // empty: the first
  int threads = 0;   // 0: ferriteDefaultThreads()
  bool profile = false;
  /// parallelFor(count, task) runs task(0) ... task(count - 1), see
  /// FerriteParallelFor. Empty: the runtime's own team. Must not throw.
  std::function<void(int, const std::function<void(int)> &)> parallelFor;
  /// Must not throw.
  std::function<void(FerriteLogLevel, const char *)> log;
  std::string device;     // "cuda:N"; empty: the CPU
  void *stream = nullptr; // a CUstream of that GPU; null: one of its own
  /// Device memory, aligned to 256 bytes; null when there is none. Empty, both:
  /// the driver's. Must not throw.
  std::function<void *(std::size_t bytes)> deviceAllocate;
  std::function<void(void *memory, std::size_t bytes)> deviceDeallocate;
};

/// Runs a model; one for each thread that does.
class Session {
public:
  explicit Session(const Model &model, SessionOptions options = {})
      : callbacks(new SessionOptions(std::move(options))) {
    FerriteSessionOptions raw = {};
    raw.size = sizeof raw;
    raw.threads = callbacks->threads;
    raw.profile = callbacks->profile;
    if (callbacks->parallelFor) {
      raw.parallel_for = parallelFor;
      raw.parallel_for_data = callbacks;
    }
    if (callbacks->log) {
      raw.log = log;
      raw.log_data = callbacks;
    }
    if (!callbacks->device.empty())
      raw.device = callbacks->device.c_str();
    raw.stream = callbacks->stream;
    if (callbacks->deviceAllocate)
      raw.device_allocate = deviceAllocate;
    if (callbacks->deviceDeallocate)
      raw.device_deallocate = deviceDeallocate;
    raw.device_allocator_data = callbacks;
    const std::string &entry = callbacks->entry;
    FerriteError error;
    FerriteStatus status = ferriteSessionCreate(
        model.get(), entry.empty() ? nullptr : entry.c_str(), &raw, &handle,
        &error);
    if (status != FERRITE_OK) {
      delete callbacks; // no destructor runs after a constructor threw
      throw Error(error);
    }
  }
  Session(Session &&other) noexcept
      : handle(std::exchange(other.handle, nullptr)),
        callbacks(std::exchange(other.callbacks, nullptr)) {}
  Session &operator=(Session &&other) noexcept {
    std::swap(handle, other.handle);
    std::swap(callbacks, other.callbacks);
    return *this;
  }
  ~Session() {
    ferriteSessionDestroy(handle);
    delete callbacks;
  }

  FerriteSession *get() const { return handle; }
  int threads() const { return ferriteSessionThreads(handle); }
  /// The CUstream of a session on a GPU; null on the CPU.
  void *stream() const { return ferriteSessionStream(handle); }
  /// Lets the next runs begin when all is done that is in `stream` now.
  void await(void *stream) {
    FerriteError error;
    detail::check(ferriteSessionAwait(handle, stream, &error), error);
  }

  /// Runs with results that the session owns: all of them, in order, valid
  /// until its next run.
  std::vector<Tensor> run(const std::vector<Tensor> &inputs) {
    run(inputs, nullptr);
    FerriteEntryInfo info = entryInfo();
    std::vector<Tensor> outputs(info.output_count);
    FerriteError error;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      detail::check(ferriteSessionOutput(handle, i, &outputs[i].raw, &error),
                    error);
    return outputs;
  }
  /// Runs into `outputs`; see ferriteSessionRun. Null: the results are left for
  /// ferriteSessionOutput.
  void run(const std::vector<Tensor> &inputs, std::vector<Tensor> *outputs) {
    rawInputs.clear();
    for (const Tensor &input : inputs)
      rawInputs.push_back(input.raw);
    rawOutputs.clear();
    if (outputs)
      for (const Tensor &output : *outputs)
        rawOutputs.push_back(output.raw);
    FerriteError error;
    detail::check(ferriteSessionRun(handle, rawInputs.data(), rawInputs.size(),
                                    rawOutputs.data(), rawOutputs.size(),
                                    &error),
                  error);
    if (outputs)
      for (std::size_t i = 0; i < outputs->size(); ++i)
        (*outputs)[i].raw = rawOutputs[i];
  }
  /// The shapes of all outputs for inputs of these shapes.
  std::vector<Tensor> outputShapes(const std::vector<Tensor> &inputs) {
    std::vector<FerriteTensor> raw = rawOf(inputs);
    std::vector<FerriteTensor> shapes(entryInfo().output_count);
    FerriteError error;
    detail::check(ferriteSessionOutputShapes(handle, raw.data(), raw.size(),
                                             shapes.data(), shapes.size(),
                                             &error),
                  error);
    std::vector<Tensor> outputs;
    for (const FerriteTensor &shape : shapes)
      outputs.emplace_back(shape);
    return outputs;
  }
  /// What a run with inputs of these shapes needs; without inputs, what is
  /// held.
  FerriteMemory memory(const std::vector<Tensor> &inputs = {}) {
    std::vector<FerriteTensor> raw = rawOf(inputs);
    FerriteMemory memory;
    FerriteError error;
    detail::check(ferriteSessionMemory(handle,
                                       raw.empty() ? nullptr : raw.data(),
                                       raw.size(), &memory, &error),
                  error);
    return memory;
  }
  void trim() {
    FerriteError error;
    detail::check(ferriteSessionTrim(handle, &error), error);
  }
  /// From any thread.
  void cancel() { ferriteSessionCancel(handle); }
  void clearCancel() { ferriteSessionClearCancel(handle); }
  void setProfiling(bool enabled) {
    FerriteError error;
    detail::check(ferriteSessionSetProfiling(handle, enabled, &error), error);
  }
  std::vector<FerriteLaunchProfile> profile() {
    const FerriteLaunchProfile *rows = nullptr;
    std::size_t count = 0;
    FerriteError error;
    detail::check(ferriteSessionProfile(handle, &rows, &count, &error), error);
    return std::vector<FerriteLaunchProfile>(rows, rows + count);
  }

private:
  static std::vector<FerriteTensor> rawOf(const std::vector<Tensor> &tensors) {
    std::vector<FerriteTensor> raw;
    for (const Tensor &tensor : tensors)
      raw.push_back(tensor.raw);
    return raw;
  }
  FerriteEntryInfo entryInfo() const {
    FerriteEntryInfo info;
    FerriteError error;
    detail::check(ferriteModelEntry(ferriteSessionModel(handle),
                                    ferriteSessionEntry(handle), &info, &error),
                  error);
    return info;
  }
  static void parallelFor(void *data, std::int32_t count,
                          void (*task)(void *, std::int32_t), void *context) {
    static_cast<SessionOptions *>(data)->parallelFor(
        count, [=](int index) { task(context, index); });
  }
  static void *deviceAllocate(void *data, std::size_t bytes, std::size_t) {
    return static_cast<SessionOptions *>(data)->deviceAllocate(bytes);
  }
  static void deviceDeallocate(void *data, void *memory, std::size_t bytes,
                               std::size_t) {
    static_cast<SessionOptions *>(data)->deviceDeallocate(memory, bytes);
  }
  static void log(void *data, FerriteLogLevel level, const char *message) {
    static_cast<SessionOptions *>(data)->log(level, message);
  }

  FerriteSession *handle = nullptr;
  SessionOptions *callbacks = nullptr; // at an address that a move keeps
  std::vector<FerriteTensor> rawInputs, rawOutputs;
};

} // namespace ferrite

#endif // FERRITE_RUNTIME_HPP
