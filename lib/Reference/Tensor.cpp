//===- Tensor.cpp - Values of the reference evaluator ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Tensor.h"

#include "llvm/Support/MathExtras.h"

#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

template <typename T>
static T load(const char *data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

//===--- tensors ----------------------------------------------------------===//

std::optional<int64_t> ferrite::reference::countOf(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  bool isEmpty = llvm::is_contained(shape, 0);
  for (int64_t size : shape)
    if (size < 0 || (!isEmpty && llvm::MulOverflow(count, size, count)))
      return std::nullopt;
  if (isEmpty)
    return 0;
  return count > (int64_t(1) << 50) ? std::nullopt : std::optional(count);
}

Sizes ferrite::reference::stridesOf(ArrayRef<int64_t> shape) {
  Sizes strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

std::optional<Tensor> Tensor::make(Kind kind, ArrayRef<int64_t> shape) {
  std::optional<int64_t> count = countOf(shape);
  if (!count)
    return std::nullopt;
  Tensor tensor;
  tensor.type = kind;
  tensor.sizes.assign(shape.begin(), shape.end());
  tensor.total = *count;
  auto *memory = static_cast<char *>(std::calloc(*count + 1, bytesOf(kind)));
  if (!memory)
    return std::nullopt;
  tensor.owned.reset(memory, std::free);
  tensor.elements = memory;
  return tensor;
}

Tensor Tensor::borrow(Kind kind, ArrayRef<int64_t> shape, const void *data) {
  Tensor tensor;
  tensor.type = kind;
  tensor.sizes.assign(shape.begin(), shape.end());
  tensor.total = countOf(shape).value_or(0);
  tensor.elements = static_cast<const char *>(data ? data : "");
  return tensor;
}

Tensor Tensor::viewed(ArrayRef<int64_t> shape) const {
  Tensor tensor = *this;
  tensor.sizes.assign(shape.begin(), shape.end());
  return tensor;
}

double Tensor::asDouble(int64_t i) const { return toDouble(type, element(i)); }

void Tensor::readAll(int64_t begin, int64_t size, double *to) const {
  if (type == Kind::F32) { // the common case, as a loop that vectorizes
    for (int64_t i = 0; i < size; ++i)
      to[i] = load<float>(elements, begin + i);
    return;
  }
  for (int64_t i = 0; i < size; ++i)
    to[i] = asDouble(begin + i);
}
