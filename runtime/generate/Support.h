//===- Support.h - Lists and messages ---------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The library does without libstdc++, as the runtime does: out of memory is a
// status, never an exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_RUNTIME_GENERATE_SUPPORT_H
#define FERRITE_RUNTIME_GENERATE_SUPPORT_H

#include "ferrite/generate.h"

#include <new>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>

namespace ferrite::gen {

__attribute__((format(printf, 3, 4))) inline FerriteStatus
fail(FerriteError *error, FerriteStatus status, const char *format, ...) {
  if (!error)
    return status;
  error->status = status;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return status;
}

inline FerriteStatus noMemory(FerriteError *error) {
  return fail(error, FERRITE_OUT_OF_MEMORY, "out of memory");
}

/// For %lld: int64_t is `long` here.
inline long long ll(int64_t value) { return value; }

/// A list of trivial elements that only grows. Nothing is freed but by its end.
template <typename T>
class List {
  static_assert(std::is_trivially_copyable<T>::value, "moved by realloc");

public:
  List() = default;
  ~List() { free(items); }
  List(const List &) = delete;
  List &operator=(const List &) = delete;

  /// Room for so many in all; false: out of memory, nothing changed.
  bool reserve(size_t wanted) {
    if (wanted <= capacity)
      return true;
    size_t size =
        wanted < capacity + capacity / 2 ? capacity + capacity / 2 : wanted;
    if (size > SIZE_MAX / sizeof(T))
      return false;
    void *grown = realloc(static_cast<void *>(items), size * sizeof(T));
    if (!grown)
      return false;
    items = static_cast<T *>(grown);
    capacity = size;
    return true;
  }
  /// There must be room.
  void push(const T &item) { new (&items[count++]) T(item); }
  bool add(const T &item) {
    if (!reserve(count + 1))
      return false;
    push(item);
    return true;
  }
  bool assign(const T *from, size_t size) {
    if (!reserve(size))
      return false;
    if (size)
      memcpy(static_cast<void *>(items), from, size * sizeof(T));
    count = size;
    return true;
  }
  void remove(size_t at) {
    memmove(static_cast<void *>(items + at), items + at + 1,
            (count - at - 1) * sizeof(T));
    --count;
  }
  void shrink(size_t size) { count = size; }
  /// Empty, and without memory.
  void release() {
    free(items);
    items = nullptr;
    count = capacity = 0;
  }
  void swap(List &other) {
    T *i = items;
    items = other.items;
    other.items = i;
    size_t n = count;
    count = other.count;
    other.count = n;
    n = capacity;
    capacity = other.capacity;
    other.capacity = n;
  }
  size_t size() const { return count; }
  bool empty() const { return count == 0; }
  T *data() { return items; }
  const T *data() const { return items; }
  T &operator[](size_t i) { return items[i]; }
  const T &operator[](size_t i) const { return items[i]; }
  T &back() { return items[count - 1]; }
  T *begin() { return items; }
  T *end() { return items + count; }
  const T *begin() const { return items; }
  const T *end() const { return items + count; }

private:
  T *items = nullptr;
  size_t count = 0;
  size_t capacity = 0;
};

} // namespace ferrite::gen
#endif // FERRITE_RUNTIME_GENERATE_SUPPORT_H
