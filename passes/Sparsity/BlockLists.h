//===- BlockLists.h - Which blocks of keys heads keep -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_BLOCKLISTS_H
#define FERRITE_PASSES_SPARSITY_BLOCKLISTS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/Sparsity/Spec.h"
#include "llvm/Support/Error.h"

#include <map>
#include <string>
#include <vector>

namespace ferrite {

/// The kept columns of each row of queries.
using BlockRows = std::vector<std::vector<int32_t>>;

/// One list of each layout: head h has layout h mod their number.
struct BlockLists {
  int64_t block = 64;
  std::vector<BlockRows> layouts;

  int64_t rows() const { return layouts.empty() ? 0 : layouts[0].size(); }
};

/// A file of lists: by layer, then by head ("*": those that are not named).
struct BlockFile {
  int64_t block = 64;
  struct Layer {
    std::map<int64_t, BlockRows> heads;
    BlockRows rest;
    bool hasRest = false, isUsed = false;
  };
  std::map<std::string, Layer> layers; ///< by number, or by the name of a node

  /// Reads JSON; an error names file, layer and head.
  static llvm::Expected<BlockFile> read(llvm::StringRef path);
};

/// The lists of a pattern for so many rows and heads. `isCausal`: no block
/// behind the query's. Equal heads have one layout.
BlockLists makeLists(const SparsityItem &item, int64_t rows, int64_t heads,
                     bool isCausal);

/// Those of constant operands of an attention, or none.
std::optional<BlockLists> listsOf(AttentionOp op);

/// Makes them operands of `op`.
void setLists(AttentionOp op, const BlockLists &lists);

/// What lists are made for and measured by: as many keys as the entry's limits
/// allow, 8192 at most.
int64_t usualTokens(mlir::func::FuncOp func, const DimExpr &keys);

/// The scores that a head of `op` keeps of `tokens` queries over as many keys
/// from position 0, by windows and lists, of those that a causal attention, or
/// one of all keys, has. What depends on data (masks, lengths, segments) counts
/// as kept.
std::vector<double> keptScores(AttentionOp op, int64_t tokens);

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_BLOCKLISTS_H
