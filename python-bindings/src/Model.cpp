//===- Model.cpp - ferrite._runtime.Model ---------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a model says of itself, as tuples and strings: the classes that users
// see are written in Python, over these.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

namespace ferrite::python {

static ModelOptions options(const std::optional<std::string> &level,
                            const std::optional<std::string> &weights,
                            bool verifyWeights) {
  return {level.value_or(""), weights.value_or(""), verifyWeights};
}

static Model loadFile(const std::string &path,
                      const std::optional<std::string> &level,
                      const std::optional<std::string> &weights,
                      bool verifyWeights) {
  ModelOptions chosen = options(level, weights, verifyWeights);
  nb::gil_scoped_release release;
  return Model::load(path, chosen);
}

static Model loadBytes(const nb::bytes &bytes,
                       const std::optional<std::string> &level,
                       const std::optional<std::string> &weights,
                       bool verifyWeights) {
  ModelOptions chosen = options(level, weights, verifyWeights);
  const void *data = bytes.data();
  std::size_t size = bytes.size();
  nb::gil_scoped_release release; // `bytes` never changes
  return Model::load(data, size, chosen);
}

/// (name, usable) for each level, best first.
static nb::list levels(const Model &model) {
  nb::list result;
  for (std::size_t i = 0; i < ferriteModelLevelCount(model.get()); ++i)
    result.append(nb::make_tuple(ferriteModelLevelName(model.get(), i),
                                 ferriteModelLevelUsable(model.get(), i) != 0));
  return result;
}

/// (name, dtype, shape, limit of ids). A dimension is a size, the name of a
/// symbol, or None where it is computed.
static nb::list tensors(const std::vector<FerriteTensorInfo> &infos) {
  nb::list result;
  for (const FerriteTensorInfo &info : infos) {
    nb::list shape;
    for (int i = 0; i < info.rank; ++i) {
      const FerriteDimInfo &dim = info.dims[i];
      if (dim.symbol)
        shape.append(nb::str(dim.symbol));
      else if (dim.size >= 0)
        shape.append(nb::int_(dim.size));
      else
        shape.append(nb::none());
    }
    result.append(
        nb::make_tuple(info.name, info.dtype, nb::tuple(shape), info.id_limit));
  }
  return result;
}

/// (name, symbols, inputs, outputs) for each entry.
static nb::list entries(const Model &model) {
  nb::list result;
  for (std::size_t i = 0; i < model.entryCount(); ++i) {
    nb::list symbols;
    for (const FerriteSymbolInfo &symbol : model.symbols(i))
      symbols.append(nb::make_tuple(symbol.name, symbol.min, symbol.max));
    result.append(nb::make_tuple(model.entry(i).name, symbols,
                                 tensors(model.inputs(i)),
                                 tensors(model.outputs(i))));
  }
  return result;
}

void defineModel(nb::module_ &module) {
  nb::class_<Model>(module, "Model")
      .def_static("load", loadFile, nb::arg("path"), nb::arg("level").none(),
                  nb::arg("weights").none(), nb::arg("verify_weights"))
      .def_static("load_bytes", loadBytes, nb::arg("data"),
                  nb::arg("level").none(), nb::arg("weights").none(),
                  nb::arg("verify_weights"))
      .def_prop_ro("name", &Model::name)
      .def_prop_ro("compiler", &Model::compiler)
      .def_prop_ro("level", &Model::level)
      .def_prop_ro("levels", levels)
      .def_prop_ro("weights_bytes", &Model::weightsBytes)
      .def_prop_ro("weights_path",
                   [](const Model &model) -> std::optional<std::string> {
                     const char *path = ferriteModelWeightsPath(model.get());
                     return path ? std::optional<std::string>(path)
                                 : std::nullopt;
                   })
      .def_prop_ro("entries", entries)
      .def_prop_ro("description", [](const Model &model) {
        return std::string(model.description());
      });
}

} // namespace ferrite::python
