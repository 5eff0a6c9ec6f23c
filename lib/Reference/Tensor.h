//===- Tensor.h - Values of the reference evaluator -------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_TENSOR_H
#define FERRITE_LIB_REFERENCE_TENSOR_H

#include "dialects/Ferrite/IR/Elements.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace ferrite::reference {

using Sizes = llvm::SmallVector<int64_t, 6>;

/// The number of elements, or nothing when a size is negative or the product
/// is more than any memory has.
std::optional<int64_t> countOf(llvm::ArrayRef<int64_t> shape);
/// Row-major strides, in elements.
Sizes stridesOf(llvm::ArrayRef<int64_t> shape);

/// Dense and row-major. Copies share the elements, which nothing changes once
/// the op that makes them is done.
class Tensor {
public:
  Tensor() = default;
  /// Zeros; nothing when memory is short.
  static std::optional<Tensor> make(Kind kind, llvm::ArrayRef<int64_t> shape);
  /// Elements of the caller, who keeps them longer than every copy.
  static Tensor borrow(Kind kind, llvm::ArrayRef<int64_t> shape,
                       const void *data);

  explicit operator bool() const { return elements != nullptr; }
  Kind kind() const { return type; }
  llvm::ArrayRef<int64_t> shape() const { return sizes; }
  int64_t rank() const { return sizes.size(); }
  int64_t dim(int64_t i) const { return sizes[i]; }
  int64_t count() const { return total; }
  int64_t bytes() const { return total * bytesOf(type); }
  const char *data() const { return elements; }
  /// While the tensor is made, by its maker.
  char *mutableData() { return owned.get(); }
  /// The same elements under another shape of as many.
  Tensor viewed(llvm::ArrayRef<int64_t> shape) const;

  double number(int64_t i) const { return readFloat(type, elements, i); }
  int64_t integer(int64_t i) const { return readInteger(type, elements, i); }
  void setNumber(int64_t i, double value) {
    writeFloat(type, owned.get(), i, value);
  }
  void setInteger(int64_t i, int64_t value) {
    writeInteger(type, owned.get(), i, value);
  }
  Element element(int64_t i) const { return readElement(type, elements, i); }
  void setElement(int64_t i, Element value) {
    writeElement(type, owned.get(), i, value);
  }
  /// An element as a double, whatever its type.
  double asDouble(int64_t i) const;
  /// All elements as doubles.
  void readAll(int64_t begin, int64_t size, double *to) const;

private:
  Kind type = Kind::F32;
  Sizes sizes;
  int64_t total = 0;
  std::shared_ptr<char> owned;
  const char *elements = nullptr;
};

} // namespace ferrite::reference

#endif // FERRITE_LIB_REFERENCE_TENSOR_H
