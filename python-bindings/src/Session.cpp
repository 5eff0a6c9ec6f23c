//===- Session.cpp - ferrite._runtime.Session -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace ferrite::python {

/// Log lines go to Python's logging. Called by the thread that creates or runs
/// a session, which has given the interpreter's lock away.
static void log(FerriteLogLevel level, const char *message) {
  nb::gil_scoped_acquire acquire;
  try {
    nb::module_::import_("ferrite._model").attr("_log")(int(level), message);
  } catch (nb::python_error &error) {
    error.discard_as_unraisable("ferrite: logging");
  }
}

static void create(DeviceSession *self, const Model &model,
                   const std::optional<std::string> &entry, int threads,
                   bool profile, const std::string &device,
                   std::uintptr_t stream) {
  SessionOptions options;
  options.entry = entry.value_or("");
  options.threads = threads;
  options.profile = profile;
  options.log = log;
  options.device = device;
  options.stream = reinterpret_cast<void *>(stream);
  int ordinal = -1; // the runtime checks what follows "cuda:"
  if (device.rfind("cuda", 0) == 0)
    ordinal = device.size() > 5 ? std::atoi(device.c_str() + 5) : 0;
  nb::gil_scoped_release release;
  new (self) DeviceSession(model, std::move(options), ordinal);
}

static nb::tuple describe(const Tensor &tensor) {
  nb::list shape;
  for (std::int64_t size : tensor.shape())
    shape.append(size);
  return nb::make_tuple(tensor.name(), tensor.dtype(), nb::tuple(shape));
}

/// An array that is larger than the result, or of another type, would come
/// back with elements that mean nothing.
static void checkFits(const Tensor &given, const Tensor &result) {
  if (given.dtype() == result.dtype() && given.shape() == result.shape())
    return;
  auto text = [](const Tensor &tensor) {
    std::string text = ferriteDTypeName(tensor.dtype());
    text += " [";
    for (int i = 0; i < tensor.raw.rank; ++i)
      text += (i ? ", " : "") + std::to_string(tensor.raw.shape[i]);
    return text + "]";
  };
  FerriteError error = {};
  error.status = FERRITE_INVALID_ARGUMENT;
  std::snprintf(error.message, sizeof error.message,
                "output '%s' is %s, but the array for it is %s", result.name(),
                text(result).c_str(), text(given).c_str());
  throw Error(error);
}

/// Every output as (name, dtype, shape, bytes), those that the caller gave an
/// array for first, with None for their bytes. The others get memory of their
/// own, which an array then owns: nothing is copied, and the next run leaves
/// earlier results alone.
static nb::list run(DeviceSession &session, const std::vector<Named> &named,
                    const std::vector<Named> &given) {
  GpuArrays gpu = session.gpu();
  Inputs inputs(named, gpu);
  CallerOutputs caller(given, gpu);
  std::vector<Tensor> outputs = caller.tensors();
  std::vector<Buffer> buffers;
  {
    nb::gil_scoped_release release;
    for (Tensor &result : session.outputShapes(inputs.tensors())) {
      auto mine =
          std::find_if(caller.tensors().begin(), caller.tensors().end(),
                       [&](const Tensor &tensor) {
                         return !std::strcmp(tensor.name(), result.name());
                       });
      if (mine != caller.tensors().end()) {
        checkFits(*mine, result);
        continue;
      }
      buffers.emplace_back(result.bytes());
      result.raw.data = buffers.back().data();
      outputs.push_back(result);
    }
    for (void *stream : gpu.streams)
      session.await(stream);
    session.run(inputs.tensors(), &outputs);
  }
  nb::list results;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    nb::object bytes = nb::none();
    if (i >= given.size())
      bytes = std::move(buffers[i - given.size()]).toNumPy();
    results.append(describe(outputs[i]) + nb::make_tuple(bytes));
  }
  return results;
}

static nb::list outputShapes(DeviceSession &session,
                             const std::vector<Named> &named) {
  GpuArrays gpu = session.gpu();
  Inputs inputs(named, gpu);
  nb::list results;
  for (const Tensor &output : session.outputShapes(inputs.tensors()))
    results.append(describe(output));
  return results;
}

/// (arena, scratch, outputs, weights) in bytes.
static nb::tuple memory(DeviceSession &session,
                        const std::vector<Named> &named) {
  GpuArrays gpu = session.gpu();
  Inputs inputs(named, gpu);
  FerriteMemory memory = session.memory(inputs.tensors());
  return nb::make_tuple(memory.arena_bytes, memory.scratch_bytes,
                        memory.output_bytes, memory.weights_bytes);
}

/// (launch, kernel, nanoseconds, units) of each launch of the last run.
static nb::list profile(DeviceSession &session) {
  nb::list rows;
  for (const FerriteLaunchProfile &row : session.profile())
    rows.append(
        nb::make_tuple(row.launch, row.kernel, row.nanoseconds, row.units));
  return rows;
}

void defineSession(nb::module_ &module) {
  nb::class_<DeviceSession>(module, "Session")
      .def("__init__", create, nb::arg("model"), nb::arg("entry").none(),
           nb::arg("threads"), nb::arg("profile"), nb::arg("device"),
           nb::arg("stream"))
      .def_prop_ro("threads", &DeviceSession::threads)
      .def_prop_ro("stream",
                   [](const DeviceSession &session) {
                     return reinterpret_cast<std::uintptr_t>(session.stream());
                   })
      .def("run", run, nb::arg("inputs"), nb::arg("outputs"))
      .def("output_shapes", outputShapes, nb::arg("inputs"))
      .def("memory", memory, nb::arg("inputs"))
      .def("trim", &DeviceSession::trim)
      .def("cancel", &DeviceSession::cancel)
      .def("clear_cancel", &DeviceSession::clearCancel)
      .def("set_profiling", &DeviceSession::setProfiling, nb::arg("enabled"))
      .def("profile", profile);
}

} // namespace ferrite::python
