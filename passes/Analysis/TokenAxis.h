//===- TokenAxis.h - Which dim of a value counts tokens ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Tokens of several sequences may share a call only where each is computed by
// itself. That is a property of dims: in a graph of one sequence whose number
// of tokens is a symbol of its own, a value has that symbol in one dim or in
// none, and an op that leaves the elements of a token in the place of that
// token does not mix them. Worked example: a view from [1, tokens, 64] to [1,
// tokens, 4, 16] keeps 64 elements from token to token; one to [4, tokens, 16]
// would not.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_ANALYSIS_TOKENAXIS_H
#define FERRITE_PASSES_ANALYSIS_TOKENAXIS_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include <functional>

namespace ferrite {

/// Dim `axis` is tokens * `inner`, the token being the slower factor.
struct TokenDim {
  int64_t axis = -1; ///< -1: the value is the same for all tokens
  int64_t inner = 1;

  bool exists() const { return axis >= 0; }
  bool operator==(const TokenDim &other) const {
    return axis == other.axis && inner == other.inner;
  }
  bool operator!=(const TokenDim &other) const { return !(*this == other); }
};

class TokenAxis {
public:
  /// `symbols` are names of numbers of tokens.
  TokenAxis(std::function<llvm::ArrayRef<DimExpr>(mlir::Value)> dims,
            llvm::ArrayRef<llvm::StringRef> symbols)
      : dims(std::move(dims)), symbols(symbols) {}

  /// Nothing: the number of tokens occurs otherwise than in one dim.
  std::optional<TokenDim> find(mlir::Value value) const;
  /// Empty: what `op` computes for a token it computes from elements of this
  /// token, and from what is the same for all. Else what it does instead.
  std::string whyNot(mlir::Operation *op) const;

private:
  bool mentions(const DimExpr &dim) const;
  std::string whyNotLayout(mlir::Operation *op, TokenDim in,
                           TokenDim out) const;
  std::string whyNotIndexing(mlir::Operation *op, TokenDim out) const;
  std::string whyNotProduct(MatmulOp op, TokenDim out) const;
  bool isAligned(mlir::Value operand, mlir::Value result) const;

  std::function<llvm::ArrayRef<DimExpr>(mlir::Value)> dims;
  llvm::ArrayRef<llvm::StringRef> symbols;
};

} // namespace ferrite
#endif // FERRITE_PASSES_ANALYSIS_TOKENAXIS_H
