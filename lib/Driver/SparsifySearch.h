//===- SparsifySearch.h - What heads need, from data ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_DRIVER_SPARSIFYSEARCH_H
#define FERRITE_LIB_DRIVER_SPARSIFYSEARCH_H

#include "lib/Driver/Compile.h"
#include "lib/Driver/PatternSearch.h"
#include "passes/Analysis/DimAnalysis.h"

namespace ferrite {

/// Queries of a row of blocks that are looked at.
inline constexpr int64_t kSampled = 8;

/// An attention of the entry that takes the data.
struct SearchedLayer {
  AttentionOp op;
  int64_t number; ///< of the attentions of the entry
  size_t index;   ///< of those searched

  int64_t heads() const {
    AttentionOp attention = op;
    return llvm::cast<mlir::RankedTensorType>(attention.getQuery().getType())
        .getDimSize(2);
  }
};

using WhyNot = llvm::function_ref<std::string(AttentionOp, DimAnalysis &)>;
/// Heads of a layer come at the same time, sequences one behind the other.
using LayerVisitor = llvm::function_ref<void(const SearchedLayer &,
                                             int64_t head, const HeadOfData &)>;

/// Why the queries and keys of an attention cannot be looked at, or nothing.
std::string whyNotMeasured(AttentionOp op, DimAnalysis &dims);

/// Runs float code of the model on options.calib, and visits the queries, keys
/// and values of the attentions that the item is for: `layers`.
mlir::LogicalResult visitLayers(mlir::ModuleOp module, const SparsityItem &item,
                                const DriverOptions &options,
                                mlir::Location loc, WhyNot whyNot,
                                LayerVisitor visit,
                                std::vector<SearchedLayer> &layers);

/// What a dynamic item keeps of the data, and the thresholds of one that has
/// none, as attributes of its attentions.
mlir::LogicalResult searchThresholds(mlir::ModuleOp module,
                                     const SparsityItem &item,
                                     const DriverOptions &options,
                                     CompileRecord &record, mlir::Location loc);

/// Whether an item is a window or a pattern by name, and what such keeps of
/// attention on the data, for the report.
bool isEstimated(const SparsityItem &item);
mlir::LogicalResult estimateKept(mlir::ModuleOp module,
                                 const SparsityItem &item,
                                 const DriverOptions &options,
                                 CompileRecord &record, mlir::Location loc);

} // namespace ferrite
#endif // FERRITE_LIB_DRIVER_SPARSIFYSEARCH_H
