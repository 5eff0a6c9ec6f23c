//===- QuantizeRotate.h - Rotate a model around its weights -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The residual stream of a model with rms norms can be multiplied with any
// orthogonal matrix Q, when what is read from it is multiplied back: norms see
// the same lengths, and their weights move into the products that follow. Q
// then lies in stored weights alone, those of the table, and of the products
// before and after the stream. Where inputs of products are rounded and are not
// of the stream, a product with a small Hadamard matrix rotates them as the
// model runs.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_QUANTIZEROTATE_H
#define FERRITE_LIB_DRIVER_QUANTIZEROTATE_H

#include "lib/Driver/QuantizeLayers.h"
#include "lib/Quantization/Orthogonal.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ferrite {

class ModelRotation {
public:
  /// Finds the stream in every function, or says in a remark why there is none
  /// that can be rotated.
  ModelRotation(mlir::ModuleOp module, llvm::ArrayRef<QuantLayer> layers);

  /// What becomes of a layer's weight.
  WeightChange changeOf(const QuantLayer &layer) const;
  /// Rows of the input of a layer as its rotated weight meets them.
  void changeInput(const QuantLayer &layer, float *rows, int64_t count) const;
  /// Changes the model: norms, biases, tables, and products of single inputs.
  /// Rotated tables go to `file`.
  mlir::LogicalResult apply(ModelFolder &folder, SideFile &file,
                            mlir::StringRef fileName, unsigned threads);

private:
  struct Stream {
    llvm::SetVector<mlir::Value> values;
    llvm::SetVector<mlir::Operation *> norms, producers, tables;
  };
  const char *visit(mlir::Value value, Stream &stream);
  const char *findStream(mlir::func::FuncOp func, Stream &stream);
  mlir::LogicalResult rotateTable(mlir::Operation *gather, ModelFolder &folder,
                                  SideFile &file, mlir::StringRef fileName,
                                  unsigned threads);

  llvm::ArrayRef<QuantLayer> layers;
  llvm::DenseMap<mlir::Operation *, const QuantLayer *> layerOf;
  std::vector<Stream> streams;
  std::optional<Orthogonal> matrix; ///< of the stream; none: it is not rotated
  llvm::DenseSet<const QuantLayer *> readers, writers;
  /// Whose inputs are rotated as the model runs, also where a budget makes the
  /// layer wide later.
  llvm::DenseSet<const QuantLayer *> turned;
  llvm::DenseMap<const QuantLayer *, std::vector<float>> normOf;
};

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_QUANTIZEROTATE_H
