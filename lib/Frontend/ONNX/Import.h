//===- Import.h - From an ONNX model to the ferrite dialect -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_FRONTEND_ONNX_IMPORT_H
#define FERRITE_LIB_FRONTEND_ONNX_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringMap.h"
#include <optional>
#include <string>
#include <vector>

namespace ferrite {

/// The value of an input that becomes a constant.
struct InputBinding {
  std::string name;
  /// Numbers separated by commas, as many as the input's shape says.
  std::optional<std::string> text;
  /// Otherwise: elements of a FerriteDType, row-major.
  int32_t dtype = 0;
  std::vector<int64_t> shape;
  std::string bytes;
};

struct ImportOptions {
  /// Report every node that cannot be imported, not the first alone.
  bool collectAll = false;
  /// Sizes of named input dims, inclusive: `--dim batch=1..8`. Equal bounds
  /// make the dim static; a maximum of 0 or INT64_MAX is none.
  llvm::StringMap<std::pair<int64_t, int64_t>> dims;
  std::vector<InputBinding> bindings;
  /// Of the output `logits` [batch, sequence, vocabulary] the last position
  /// alone: [batch, 1, vocabulary].
  bool lastLogits = false;
  /// Every value of the graph becomes an output, behind the graph's own, with
  /// its ONNX name: for `ferrite verify --taps=all`.
  bool taps = false;
};

/// What was found on the way; `ferrite check` prints it.
struct ImportSummary {
  int opset = 0;
  unsigned nodes = 0;
  /// Ops by number of nodes, e.g. {"MatMul", 36}; other domains as
  /// "domain::Op".
  llvm::StringMap<unsigned> ops;
  /// Ops that were replaced by the standard's function body.
  llvm::StringMap<unsigned> expanded;
  /// Errors by whose they are: the model's, or what Ferrite cannot do (yet). A
  /// failed import without either is a bug.
  unsigned faults = 0;
  unsigned limitations = 0;
};

/// Discardable attribute of the module: the path of the model file. Sources of
/// weights are relative to its folder.
inline constexpr llvm::StringLiteral kModelPathAttr = "ferrite.model_path";

/// Of a result of the entry: it is a value of the graph, no output.
inline constexpr llvm::StringLiteral kTapAttr = "ferrite.tap";

/// Reads the model at `path` into a module with one entry, `func.func @main`;
/// of a merged decoder, whose graph is an If of an input FLAG, with two:
/// @FLAG_false and @FLAG_true, which do not take that input.
/// Errors are diagnostics of one line; those about a node are at a NameLoc with
/// its name. No weight is read.
mlir::FailureOr<mlir::OwningOpRef<mlir::ModuleOp>>
importOnnxModel(mlir::MLIRContext *context, const std::string &path,
                const ImportOptions &options = {},
                ImportSummary *summary = nullptr);

} // namespace ferrite

#endif // FERRITE_LIB_FRONTEND_ONNX_IMPORT_H
