//===- TensorData.cpp - Types, sizes and elements of ONNX tensors ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ModelFile.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>

using llvm::createStringError;
using llvm::Expected;
using llvm::StringRef;
using onnx::TensorProto;

namespace ferrite::frontend {

unsigned getElementBits(int32_t type) {
  switch (type) {
  case TensorProto::FLOAT:
  case TensorProto::INT32:
  case TensorProto::UINT32:
    return 32;
  case TensorProto::DOUBLE:
  case TensorProto::INT64:
  case TensorProto::UINT64:
  case TensorProto::COMPLEX64:
    return 64;
  case TensorProto::COMPLEX128:
    return 128;
  case TensorProto::FLOAT16:
  case TensorProto::BFLOAT16:
  case TensorProto::INT16:
  case TensorProto::UINT16:
    return 16;
  case TensorProto::BOOL:
  case TensorProto::INT8:
  case TensorProto::UINT8:
  case TensorProto::FLOAT8E4M3FN:
  case TensorProto::FLOAT8E4M3FNUZ:
  case TensorProto::FLOAT8E5M2:
  case TensorProto::FLOAT8E5M2FNUZ:
  case TensorProto::FLOAT8E8M0:
    return 8;
  case TensorProto::FLOAT6E2M3:
  case TensorProto::FLOAT6E3M2:
    return 6;
  case TensorProto::INT4:
  case TensorProto::UINT4:
  case TensorProto::FLOAT4E2M1:
    return 4;
  case TensorProto::INT2:
  case TensorProto::UINT2:
    return 2;
  default:
    return 0;
  }
}

std::string getTypeName(int32_t type) {
  static const char *const names[] = {
      "undefined",      "float32",      "uint8",          "int8",
      "uint16",         "int16",        "int32",          "int64",
      "string",         "bool",         "float16",        "float64",
      "uint32",         "uint64",       "complex64",      "complex128",
      "bfloat16",       "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
      "float8e5m2fnuz", "uint4",        "int4",           "float4e2m1",
      "float8e8m0",     "uint2",        "int2",           "float6e2m3",
      "float6e3m2"};
  if (type < 0 || static_cast<size_t>(type) >= std::size(names))
    return "type " + std::to_string(type);
  return names[type];
}

bool isStandardType(int32_t type) {
  return type > 0 && !StringRef(getTypeName(type)).starts_with("type ");
}

Expected<int64_t> countElements(const TensorProto &tensor) {
  // 2^48 elements are more than any file holds; far from overflowing bytes.
  constexpr int64_t kMaxElements = int64_t(1) << 48;
  std::string shown;
  for (int64_t dim : tensor.dims().size() > 32
                         ? google::protobuf::RepeatedField<int64_t>()
                         : tensor.dims())
    shown += (shown.empty() ? "" : ", ") + std::to_string(dim);
  auto reject = [&](const char *what) {
    return createStringError(llvm::formatv("tensor '{0}' of shape [{1}] {2}",
                                           tensor.name(), shown, what)
                                 .str());
  };
  if (tensor.dims().size() > 32)
    return reject("has more than 32 dimensions");
  int64_t count = 1;
  bool empty = false;
  for (int64_t dim : tensor.dims()) {
    if (dim < 0)
      return reject("has a negative dimension");
    empty |= dim == 0;
    if (dim != 0 &&
        (llvm::MulOverflow(count, dim, count) || count > kMaxElements))
      return reject("has more elements than any file can hold");
  }
  return empty ? 0 : count;
}

/// Elements of a repeated field, each stored as a To.
template <typename To, typename Field>
static void append(const Field &field, std::string &storage) {
  storage.reserve(storage.size() + field.size() * sizeof(To));
  for (auto element : field) {
    To value = static_cast<To>(element);
    storage.append(reinterpret_cast<const char *>(&value), sizeof(To));
  }
}

Expected<StringRef> ModelFile::getElements(const TensorProto &tensor,
                                           std::string &storage) const {
  if (const TensorSource *source = getSource(tensor))
    return getBytes(*source);
  Expected<int64_t> count = countElements(tensor);
  if (!count)
    return count.takeError();
  unsigned bits = getElementBits(tensor.data_type());
  auto reject = [&](llvm::Twine what) {
    return createStringError("tensor '" + tensor.name() + "' of type " +
                             getTypeName(tensor.data_type()) + " " +
                             what.str());
  };
  if (bits == 0)
    return reject("has no fixed element size");
  uint64_t expected = llvm::divideCeil(static_cast<uint64_t>(*count) * bits, 8);

  bool typed = tensor.float_data_size() || tensor.int32_data_size() ||
               tensor.int64_data_size() || tensor.double_data_size() ||
               tensor.uint64_data_size();
  if (tensor.has_raw_data() && typed)
    return reject("has data in two fields");
  storage.clear();
  if (tensor.has_raw_data()) {
    storage = tensor.raw_data();
  } else {
    switch (tensor.data_type()) {
    case TensorProto::FLOAT:
    case TensorProto::COMPLEX64:
      append<float>(tensor.float_data(), storage);
      break;
    case TensorProto::DOUBLE:
    case TensorProto::COMPLEX128:
      append<double>(tensor.double_data(), storage);
      break;
    case TensorProto::INT64:
      append<int64_t>(tensor.int64_data(), storage);
      break;
    case TensorProto::UINT64:
      append<uint64_t>(tensor.uint64_data(), storage);
      break;
    case TensorProto::UINT32:
      append<uint32_t>(tensor.uint64_data(), storage);
      break;
    case TensorProto::INT32:
      append<int32_t>(tensor.int32_data(), storage);
      break;
    default: // Bit patterns, one per int32; sub-byte types come packed.
      if (bits == 16)
        append<uint16_t>(tensor.int32_data(), storage);
      else
        append<uint8_t>(tensor.int32_data(), storage);
      break;
    }
  }
  if (storage.size() != expected)
    return reject("has " + llvm::Twine(storage.size()) +
                  " bytes of data, but its shape needs " +
                  llvm::Twine(expected));
  return StringRef(storage);
}

static void walkGraph(onnx::GraphProto &graph,
                      llvm::function_ref<void(TensorProto &)> visit);

static void walkSparse(onnx::SparseTensorProto &tensor,
                       llvm::function_ref<void(TensorProto &)> visit) {
  if (tensor.has_values())
    visit(*tensor.mutable_values());
  if (tensor.has_indices())
    visit(*tensor.mutable_indices());
}

static void walkAttribute(onnx::AttributeProto &attribute,
                          llvm::function_ref<void(TensorProto &)> visit) {
  if (attribute.has_t())
    visit(*attribute.mutable_t());
  for (TensorProto &tensor : *attribute.mutable_tensors())
    visit(tensor);
  // Depth is bounded by the scanner and by the parser.
  if (attribute.has_g())
    walkGraph(*attribute.mutable_g(), visit);
  for (onnx::GraphProto &graph : *attribute.mutable_graphs())
    walkGraph(graph, visit);
  if (attribute.has_sparse_tensor())
    walkSparse(*attribute.mutable_sparse_tensor(), visit);
  for (onnx::SparseTensorProto &tensor : *attribute.mutable_sparse_tensors())
    walkSparse(tensor, visit);
}

static void walkGraph(onnx::GraphProto &graph,
                      llvm::function_ref<void(TensorProto &)> visit) {
  for (TensorProto &tensor : *graph.mutable_initializer())
    visit(tensor);
  for (onnx::SparseTensorProto &tensor : *graph.mutable_sparse_initializer())
    walkSparse(tensor, visit);
  for (onnx::NodeProto &node : *graph.mutable_node())
    for (onnx::AttributeProto &attribute : *node.mutable_attribute())
      walkAttribute(attribute, visit);
}

void walkTensors(onnx::ModelProto &model,
                 llvm::function_ref<void(TensorProto &)> visit) {
  walkGraph(*model.mutable_graph(), visit);
  for (onnx::FunctionProto &function : *model.mutable_functions()) {
    for (onnx::AttributeProto &attribute : *function.mutable_attribute_proto())
      walkAttribute(attribute, visit);
    for (onnx::NodeProto &node : *function.mutable_node())
      for (onnx::AttributeProto &attribute : *node.mutable_attribute())
        walkAttribute(attribute, visit);
  }
}

} // namespace ferrite::frontend
