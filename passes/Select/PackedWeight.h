//===- PackedWeight.h - Whether a weight can lie in few bits ----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_SELECT_PACKEDWEIGHT_H
#define FERRITE_PASSES_SELECT_PACKEDWEIGHT_H

#include "dialects/Ferrite/IR/Ferrite.h"

namespace ferrite {

/// Whether a source of `weight` is scaled: only then is there a question.
bool isScaledWeight(mlir::Value weight);

/// How the matrix `weight`, whose sources are all scaled, lies in panels of few
/// bits; or null, and why not in `reason`.
PackedAttr packedLayoutOf(WeightOp weight, std::string &reason);

/// Whether rows rounded in groups of `inputBlock` are multiplied with it as
/// bytes: its codes are whole numbers, and one of both blocks is a multiple of
/// the other.
bool multipliesBytes(PackedAttr packed, int64_t inputBlock);

} // namespace ferrite
#endif // FERRITE_PASSES_SELECT_PACKEDWEIGHT_H
