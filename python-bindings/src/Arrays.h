//===- Arrays.h - Python's arrays as the runtime's tensors ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PYTHON_ARRAYS_H
#define FERRITE_PYTHON_ARRAYS_H

#include "ferrite/runtime.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace ferrite::python {

namespace nb = nanobind;

/// One tensor as Python hands it over: its name, an array of any library that
/// knows DLPack or the buffer protocol, and its element type where the array
/// cannot say it (bf16 as 16-bit integers), else -1.
using Named = std::tuple<std::string, nb::object, int>;

/// The GPU whose arrays are taken, and the streams that made some of them.
struct GpuArrays {
  int ordinal = -1; ///< of "cuda:N"; -1: none are
  std::vector<void *> streams;
};

/// Views of Python's arrays. They keep the arrays, not the names, alive.
class Inputs {
public:
  /// Throws nb::type_error for what is no array in this machine's memory or, if
  /// `gpu` says so, in that of the GPU. An array that is not contiguous is
  /// copied by its own library.
  Inputs(const std::vector<Named> &named, GpuArrays &gpu);
  const std::vector<Tensor> &tensors() const { return views; }

private:
  std::vector<nb::ndarray<nb::ro>> arrays;
  std::vector<Tensor> views;
};

/// The same for arrays to write to: they must be writable and contiguous.
class CallerOutputs {
public:
  CallerOutputs(const std::vector<Named> &named, GpuArrays &gpu);
  const std::vector<Tensor> &tensors() const { return views; }

private:
  std::vector<nb::ndarray<>> arrays;
  std::vector<Tensor> views;
};

/// Memory for one result, until an array of Python owns it.
class Buffer {
public:
  explicit Buffer(std::size_t bytes);
  void *data() const { return memory.get(); }
  /// A one-dimensional array of bytes: NumPy gives it type and shape.
  nb::object toNumPy() &&;

private:
  struct Free {
    void operator()(void *data) const;
  };
  std::unique_ptr<void, Free> memory;
  std::size_t bytes;
};

/// A session, and the number of its GPU.
struct DeviceSession : Session {
  DeviceSession(const Model &model, SessionOptions options, int ordinal)
      : Session(model, std::move(options)), ordinal(ordinal) {}
  GpuArrays gpu() const { return {ordinal, {}}; }
  int ordinal; ///< -1: it runs on the CPU
};

void defineCache(nb::module_ &module);
void defineGenerator(nb::module_ &module);
void defineModel(nb::module_ &module);
void defineSession(nb::module_ &module);

} // namespace ferrite::python
#endif // FERRITE_PYTHON_ARRAYS_H
