//===- Spec.h - What --sparsify asks for ------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SPARSITY_SPEC_H
#define FERRITE_PASSES_SPARSITY_SPEC_H

#include "mlir/Support/LLVM.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace ferrite {

/// Numbers of layers or heads: "0-3+7".
struct NumberSet {
  std::vector<std::pair<int64_t, int64_t>> ranges; ///< empty: all

  bool isAll() const { return ranges.empty(); }
  bool has(int64_t number) const;
  int64_t largest() const;
  static llvm::Expected<NumberSet> parse(llvm::StringRef text);
};

/// One item of the option.
struct SparsityItem {
  enum class Kind {
    Blocks,
    Window,
    BigBird,
    Longformer,
    Dilated,
    Strided,
    Search,
    /// Chosen at run time, by sums of antidiagonals or by means.
    XAttention,
    Pooled,
    Quest,
    Merge, ///< tokens, by MergeTokens.cpp
    /// Steps tell what their keys get of attention.
    Weigh,
    Weights ///< WeightSpec.h has what it says
  };

  Kind kind;
  std::string text; ///< as it was given
  std::string file; ///< of Blocks
  /// In tokens, but for BigBird, which counts blocks as its paper does.
  int64_t window = 0, global = 0, random = 0, dilation = 0, stride = 0,
          sinks = 0, seed = 0;
  double mass = 0; ///< of Search: what a head keeps at least, in (0, 1]
  /// Of dynamic ones: the share of the estimate that is kept, above 0 up to 1;
  /// 0: one for each head, by data (`auto`), which keeps `mass` of attention,
  /// or where `density` is not 0 so much of the scores. Scores of the estimate
  /// are divided by `norm`.
  double threshold = 0, density = 0, norm = 0.5;
  /// Of Quest: what a token of a step reads, in (0, 1] of what it sees; or,
  /// where that is 0, so many tokens (`window`).
  /// Of Merge: how many tokens each layer merges, alike; and how many of the
  /// first do not.
  double share = 0;
  int64_t fixed = 1;
  int64_t block = 64;
  int64_t tokens = 0; ///< that lists are made for; 0: by the model's limits
  NumberSet layers, heads;

  bool isList() const {
    return kind != Kind::Window && kind != Kind::Quest && kind != Kind::Merge &&
           kind != Kind::Weigh;
  }
  bool isDynamic() const {
    return kind == Kind::XAttention || kind == Kind::Pooled;
  }
  /// Whether it means nothing without data.
  bool needsData() const {
    return kind == Kind::Search || (isDynamic() && threshold == 0);
  }
  /// Whether the driver does it, in float, and no pass.
  bool isOfDriver() const {
    return kind == Kind::Search || kind == Kind::Weights;
  }
  /// Whether a query of block row `r` keeps block `c`, of `rows`, in a head;
  /// `isCausal`: of those before it. BigBird's draws are separate.
  bool keeps(int64_t r, int64_t c, bool isCausal) const;
};

/// `window:512;longformer:window=256,global=64,layers=0-3`. An error says what
/// is wrong with which item.
llvm::Expected<std::vector<SparsityItem>> parseSparsity(llvm::StringRef text);

} // namespace ferrite
#endif // FERRITE_PASSES_SPARSITY_SPEC_H
