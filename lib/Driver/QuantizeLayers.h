//===- QuantizeLayers.h - Weights on their way to few bits ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZELAYERS_H
#define FERRITE_LIB_DRIVER_QUANTIZELAYERS_H

#include "lib/Driver/Compile.h"
#include "lib/Quantization/Gptq.h"
#include "lib/Quantization/SideFile.h"
#include "lib/Quantization/StoredColumns.h"
#include "passes/Quantization/Rewrite.h"

namespace ferrite {

/// What changes in a weight before it is rounded, column by column; the model
/// was changed so that its product stays what it was.
struct WeightChange {
  std::vector<float> rowScale; ///< row k times this; empty: none
  /// Changes a column of `depth` elements in place, or undoes it; null: none.
  std::function<void(float *column, bool undo)> rotateRows;
  /// Changes all columns, [count][depth], in place, or undoes it; null: none.
  std::function<void(float *columns, int64_t count, int64_t depth, bool undo)>
      mixColumns;

  bool isNone() const { return rowScale.empty() && !rotateRows && !mixColumns; }
  /// Makes changed columns, [count][depth] of the whole weight, what they were.
  void undo(std::vector<float> &columns, int64_t count, int64_t depth) const;
};

/// One stored weight, and the products of it: those of other entries read the
/// same bytes.
struct QuantLayer {
  QuantFormat format;
  mlir::SmallVector<LinearOp, 2> ops;
  std::string node, name; ///< for people
  StoredCodes stored;
  /// Of the input, from calibration: the largest magnitude.
  double inputMost = 0;
  double error = 0;    ///< relative, of the product where moments are known
  double kld = -1;     ///< of the predictions with it alone; below 0: unknown
  std::string why;     ///< it has another format than was asked for
  WeightChange change; ///< of the weight that `stored` is of
  int64_t storedBytes = 0, wideBytes = 0;

  mlir::Value weight() const { return LinearOp(ops.front()).getWeight(); }
  int64_t depth() const;
};

/// What people call a stored weight or constant.
std::string weightName(mlir::Value weight);

/// The products that --ferrite-choose-formats has marked, those of one weight
/// together, in the order of the module.
std::vector<QuantLayer> findLayers(mlir::ModuleOp module);

/// Rounds the weight of `layer`, changed as it says, into `file`, whose name in
/// sources is `fileName`; a wide one is stored if it was changed, in the type
/// that the model has. `factor`: of the inputs' moments, for GPTQ; null: to the
/// nearest. `importance`: of each row; null: all alike.
mlir::LogicalResult storeLayer(QuantLayer &layer, const double *factor,
                               const float *importance, ModelFolder &folder,
                               SideFile &file, mlir::StringRef fileName,
                               unsigned threads);

/// Columns as `storeLayer` sees them, to [count][depth]; an error that names
/// the weight where one is not finite.
mlir::LogicalResult readColumns(const QuantLayer &layer,
                                const StoredColumns &columns,
                                const WeightChange &change, int64_t first,
                                int64_t count, float *to);

/// What the codes of `layer` stand for, in f32 to the end of `file`, as columns
/// of the weight that the model has: without the change.
mlir::FailureOr<SourceAttr> storeMeaning(const QuantLayer &layer,
                                         ModelFolder &folder, SideFile &file,
                                         mlir::StringRef fileName);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZELAYERS_H
