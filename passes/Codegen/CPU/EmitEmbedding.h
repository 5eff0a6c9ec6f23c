//===- EmitEmbedding.h - Sums of table rows, normalized or not --*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITEMBEDDING_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITEMBEDDING_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// Which row of a table a token (b, s) adds.
struct EmbeddingSource {
  /// An operand of ids, or -1 for the row s + offset.
  int64_t ids = -1;
  int64_t offset = 0;
};

/// The operands, in this order:
///   ids [B, S] (i64 or i32) idsCount times; one table [V, D] per source;
///   weight [D] and bias [D] if hasNorm; result [B, S, D].
/// Tables, weight, bias and result are f32, f16 or bf16, of innermost stride 1.
/// Ids are broadcast where their size is static 1 or their stride is 0. The sum
/// runs in order of the sources in f32; a layer norm follows with hasNorm.
///
/// Ids are taken as KernelBuilder::checkedIndex does. Those of inputs the
/// runtime has checked before, so it is only computed ones that fail a run.
struct EmbeddingSpec {
  unsigned idsCount = 0;
  llvm::SmallVector<EmbeddingSource, 3> sources;
  bool hasNorm = false;
  double epsilon = 0;
};

llvm::LogicalResult emitEmbedding(KernelBuilder &kb, const EmbeddingSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITEMBEDDING_H
