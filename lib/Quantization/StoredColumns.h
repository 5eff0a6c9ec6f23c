//===- StoredColumns.h - The columns of a stored weight ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_QUANTIZATION_STOREDCOLUMNS_H
#define FERRITE_LIB_QUANTIZATION_STOREDCOLUMNS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "lib/Artifact/SourceReader.h"
#include "mlir/IR/Value.h"

#include <vector>

namespace ferrite {

/// A matrix [K, N] of numbers, a `ferrite.weight` or a constant, read column by
/// column where the model's files are mapped. Threads may read at once.
class StoredColumns {
public:
  static mlir::FailureOr<StoredColumns> open(mlir::Value weight,
                                             ModelFolder &folder);
  /// The rows of a table [N, K] that lies in one piece, not turned, as columns.
  static mlir::FailureOr<StoredColumns> openRows(WeightOp table,
                                                 ModelFolder &folder);
  int64_t depth() const { return rows; }
  int64_t count() const { return columns; }
  /// The `depth()` elements of a column.
  void read(int64_t column, float *to) const { read(column, 0, rows, to); }
  /// Elements [first, first + count) of a column.
  void read(int64_t column, int64_t first, int64_t count, float *to) const;

private:
  struct Part {
    std::optional<SourceReader> reader;
    const char *constant = nullptr;
    Kind kind = Kind::F32;
    bool isSplat = false;
    int64_t firstRow = 0, firstColumn = 0, rows = 0, columns = 0;
    int64_t rowStride = 0, columnStride = 0;
  };
  std::vector<Part> parts;
  int64_t rows = 0, columns = 0;
};

} // namespace ferrite
#endif // FERRITE_LIB_QUANTIZATION_STOREDCOLUMNS_H
