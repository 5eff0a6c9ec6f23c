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

static void create(Session *self, const Model &model,
                   const std::optional<std::string> &entry, int threads,
                   bool profile) {
  SessionOptions options;
  options.entry = entry.value_or("");
  options.threads = threads;
  options.profile = profile;
  options.log = log;
  nb::gil_scoped_release release;
  new (self) Session(model, std::move(options));
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
static nb::list run(Session &session, const std::vector<Named> &named,
                    const std::vector<Named> &given) {
  Inputs inputs(named);
  CallerOutputs caller(given);
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

static nb::list outputShapes(Session &session,
                             const std::vector<Named> &named) {
  Inputs inputs(named);
  nb::list results;
  for (const Tensor &output : session.outputShapes(inputs.tensors()))
    results.append(describe(output));
  return results;
}

/// (arena, scratch, outputs, weights) in bytes.
static nb::tuple memory(Session &session, const std::vector<Named> &named) {
  Inputs inputs(named);
  FerriteMemory memory = session.memory(inputs.tensors());
  return nb::make_tuple(memory.arena_bytes, memory.scratch_bytes,
                        memory.output_bytes, memory.weights_bytes);
}

/// (launch, kernel, nanoseconds, units) of each launch of the last run.
static nb::list profile(Session &session) {
  nb::list rows;
  for (const FerriteLaunchProfile &row : session.profile())
    rows.append(
        nb::make_tuple(row.launch, row.kernel, row.nanoseconds, row.units));
  return rows;
}

void defineSession(nb::module_ &module) {
  nb::class_<Session>(module, "Session")
      .def("__init__", create, nb::arg("model"), nb::arg("entry").none(),
           nb::arg("threads"), nb::arg("profile"))
      .def_prop_ro("threads", &Session::threads)
      .def("run", run, nb::arg("inputs"), nb::arg("outputs"))
      .def("output_shapes", outputShapes, nb::arg("inputs"))
      .def("memory", memory, nb::arg("inputs"))
      .def("trim", &Session::trim)
      .def("cancel", &Session::cancel)
      .def("clear_cancel", &Session::clearCancel)
      .def("set_profiling", &Session::setProfiling, nb::arg("enabled"))
      .def("profile", profile);
}

} // namespace ferrite::python
