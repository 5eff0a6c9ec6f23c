//===- Arrays.cpp - Python's arrays as the runtime's tensors --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "Arrays.h"

#include <cstdlib>
#include <cstring>
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
                   const Array &array, int dtype, const GpuArrays &gpu) {
  bool onGpu = gpu.ordinal >= 0 &&
               array.device_type() == nb::device::cuda::value &&
               array.device_id() == gpu.ordinal;
  if (!onGpu && array.device_type() != nb::device::cpu::value)
    refuse(role, name,
           "is not in the memory of the CPU" +
               (gpu.ordinal < 0
                    ? std::string()
                    : " or of cuda:" + std::to_string(gpu.ordinal)));
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
  Tensor tensor(name.c_str(), const_cast<void *>(array.data()), array.nbytes(),
                dtype, shape);
  return onGpu ? tensor.onDevice() : tensor;
}

/// A FerriteDType of a typestr, "<f4"; -1 where there is none.
static int dtypeOf(const std::string &type) {
  const char *kinds = "fiub";
  using Code = nb::dlpack::dtype_code;
  const Code codes[] = {Code::Float, Code::Int, Code::UInt, Code::Bool};
  const char *kind = type.size() == 3 && type[0] != '>'
                         ? std::strchr(kinds, type[1])
                         : nullptr;
  if (!kind || type[2] < '1' || type[2] > '8')
    return -1;
  return dtypeOf(nb::dlpack::dtype{std::uint8_t(codes[kind - kinds]),
                                   std::uint8_t((type[2] - '0') * 8), 1});
}

/// What has the CUDA array interface (version 3) and no DLPack. False: not
/// this.
static bool viewOfInterface(const char *role, const std::string &name,
                            const nb::object &value, bool isWritten, int dtype,
                            GpuArrays &gpu, std::vector<Tensor> &views) {
  if (gpu.ordinal < 0 || nb::hasattr(value, "__dlpack__") ||
      !nb::hasattr(value, "__cuda_array_interface__"))
    return false;
  auto fields = nb::cast<nb::dict>(value.attr("__cuda_array_interface__"));
  auto shape = nb::cast<std::vector<std::int64_t>>(fields["shape"]);
  auto [address, isReadOnly] =
      nb::cast<std::tuple<std::uintptr_t, bool>>(fields["data"]);
  int found = dtypeOf(nb::cast<std::string>(fields["typestr"]));
  if (found < 0 ||
      (dtype >= 0 && ferriteDTypeSize(dtype) != ferriteDTypeSize(found)))
    refuse(role, name, "has an element type that no model has");
  if (shape.size() > FERRITE_MAX_RANK)
    refuse(role, name,
           "has " + std::to_string(shape.size()) + " dimensions, more than 8");
  if (isReadOnly && isWritten)
    refuse(role, name, "is not an array that is writable");
  auto bytes = std::int64_t(ferriteDTypeSize(found));
  nb::object strides = fields.get("strides", nb::none());
  std::vector<std::int64_t> steps(shape.size(), 0);
  if (!strides.is_none())
    steps = nb::cast<std::vector<std::int64_t>>(strides);
  for (std::size_t i = shape.size(); i-- > 0; bytes *= shape[i])
    if (!strides.is_none() && shape[i] > 1 && steps.at(i) != bytes)
      refuse(role, name, "is not contiguous");
  nb::object stream = fields.get("stream", nb::none());
  if (!stream.is_none())
    gpu.streams.push_back(
        reinterpret_cast<void *>(nb::cast<std::uintptr_t>(stream)));
  views.push_back(Tensor(name.c_str(), reinterpret_cast<void *>(address),
                         std::uint64_t(bytes), dtype < 0 ? found : dtype, shape)
                      .onDevice());
  return true;
}

Inputs::Inputs(const std::vector<Named> &named, GpuArrays &gpu) {
  for (const auto &[name, value, dtype] : named) {
    if (viewOfInterface("input", name, value, false, dtype, gpu, views))
      continue;
    nb::ndarray<nb::ro, nb::c_contig> array;
    if (!nb::try_cast(value, array))
      refuse("input", name,
             "is a " + typeName(value) + ", from which no array can be made");
    views.push_back(view("input", name, array, dtype, gpu));
    arrays.emplace_back(array);
  }
}

CallerOutputs::CallerOutputs(const std::vector<Named> &named, GpuArrays &gpu) {
  for (const auto &[name, value, dtype] : named) {
    if (viewOfInterface("output", name, value, true, dtype, gpu, views))
      continue;
    nb::ndarray<nb::c_contig> array;
    // Without conversions: a copy would be written to, and lost.
    if (!nb::try_cast(value, array, /*convert=*/false))
      refuse("output", name,
             "is a " + typeName(value) +
                 ", not an array that is writable and contiguous");
    views.push_back(view("output", name, array, dtype, gpu));
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
