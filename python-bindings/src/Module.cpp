//===- Module.cpp - The extension module ferrite._runtime -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

namespace ferrite::python {

/// The runtime's errors become ferrite.Error, which is written in Python.
static void translate(const std::exception_ptr &thrown, void *) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error &error) {
    nb::object type = nb::module_::import_("ferrite._errors").attr("Error");
    nb::object value = type(error.what(), int(error.status()));
    PyErr_SetObject(type.ptr(), value.ptr());
  }
}

NB_MODULE(_runtime, module) {
  nb::register_exception_translator(translate);
  defineCache(module);
  defineGenerator(module);
  defineModel(module);
  defineSession(module);
  module.def("version", ferriteRuntimeVersion);
  module.def("abi_version", ferriteRuntimeAbiVersion);
  module.def("default_threads", ferriteDefaultThreads);
  module.def("dtype_name", ferriteDTypeName, nb::arg("dtype"));
}

} // namespace ferrite::python
