//===- Arrays.cpp - Python's arrays as the runtime's tensors --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

#include <cstdlib>
#include <new>

namespace ferrite::python {

/// The FerriteDType of a DLPack type; -1 where there is none.
static int dtypeOf(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  if (type.lanes != 1)
    return -1;
  switch (Code(type.code)) {
  case Code::Float:
    return type.bits == 32   ? FERRITE_F32
           : type.bits == 64 ? FERRITE_F64
           : type.bits == 16 ? FERRITE_F16
                             : -1;
  case Code::Bfloat:
    return type.bits == 16 ? FERRITE_BF16 : -1;
  case Code::Bool:
    return type.bits == 8 ? FERRITE_BOOL : -1;
  case Code::Int:
    return type.bits == 64   ? FERRITE_I64
           : type.bits == 32 ? FERRITE_I32
           : type.bits == 16 ? FERRITE_I16
           : type.bits == 8  ? FERRITE_I8
                             : -1;
  case Code::UInt:
    return type.bits == 64   ? FERRITE_U64
           : type.bits == 32 ? FERRITE_U32
           : type.bits == 16 ? FERRITE_U16
           : type.bits == 8  ? FERRITE_U8
                             : -1;
  default:
    return -1;
  }
}

[[noreturn]] static void refuse(const char *role, const std::string &name,
                                const std::string &why) {
  throw nb::type_error((std::string(role) + " '" + name + "' " + why).c_str());
}

static std::string typeName(nb::handle value) {
  return nb::cast<std::string>(nb::type_name(value.type()));
}

template <typename Array>
static Tensor view(const char *role, const std::string &name,
                   const Array &array, int dtype) {
  if (array.device_type() != nb::device::cpu::value)
    refuse(role, name, "is not in the memory of the CPU");
  if (array.ndim() > FERRITE_MAX_RANK)
    refuse(role, name,
           "has " + std::to_string(array.ndim()) + " dimensions, more than 8");
  if (dtype < 0)
    dtype = dtypeOf(array.dtype());
  if (dtype < 0 || ferriteDTypeSize(dtype) != array.itemsize())
    refuse(role, name, "has an element type that no model has");
  std::vector<std::int64_t> shape;
  for (std::size_t i = 0; i < array.ndim(); ++i)
    shape.push_back(std::int64_t(array.shape(i)));
  return Tensor(name.c_str(), const_cast<void *>(array.data()), array.nbytes(),
                dtype, shape);
}

Inputs::Inputs(const std::vector<Named> &named) {
  for (const auto &[name, value, dtype] : named) {
    nb::ndarray<nb::ro, nb::c_contig> array;
    if (!nb::try_cast(value, array))
      refuse("input", name,
             "is a " + typeName(value) + ", from which no array can be made");
    views.push_back(view("input", name, array, dtype));
    arrays.emplace_back(array);
  }
}

CallerOutputs::CallerOutputs(const std::vector<Named> &named) {
  for (const auto &[name, value, dtype] : named) {
    nb::ndarray<nb::c_contig> array;
    // Without conversions: a copy would be written to, and lost.
    if (!nb::try_cast(value, array, /*convert=*/false))
      refuse("output", name,
             "is a " + typeName(value) +
                 ", not an array that is writable and contiguous");
    views.push_back(view("output", name, array, dtype));
    arrays.emplace_back(array);
  }
}

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

void Buffer::Free::operator()(void *data) const { std::free(data); }

/// Results are aligned to a cache line, as the runtime's own are.
static constexpr std::size_t alignment = 64;

Buffer::Buffer(std::size_t bytes) : bytes(bytes) {
  if (bytes > SIZE_MAX - 2 * alignment)
    throw std::bad_alloc();
  std::size_t rounded = (bytes / alignment + 1) * alignment; // never 0
  memory.reset(std::aligned_alloc(alignment, rounded));
  if (!memory)
    throw std::bad_alloc();
}

nb::object Buffer::toNumPy() && {
  void *data = memory.get();
  nb::capsule owner(data, [](void *data) noexcept { std::free(data); });
  (void)memory.release(); // the capsule frees it
  return nb::ndarray<nb::numpy, std::uint8_t>(data, {bytes}, owner).cast();
}

} // namespace ferrite::python
