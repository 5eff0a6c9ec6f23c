//===- EmitMergeTokens.h - Kernels that make tokens one ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The ops of FerriteMergeOps.td, whose text has the rules. All but the keys are
// contiguous; floats are f32, f16 or bf16, numbers of tokens i32.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_EMITMERGETOKENS_H
#define FERRITE_PASSES_CODEGEN_CPU_EMITMERGETOKENS_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// keys [B, T, H, D], innermost stride 1, to f32 [B, T, D]. A unit is a token.
llvm::LogicalResult emitTokenMetric(KernelBuilder &kb);

/// f32 [B, T, D] to i32 [B, T]. A unit is a sequence.
llvm::LogicalResult emitMatchTokens(KernelBuilder &kb, int64_t removed,
                                    int64_t fixed);

/// [B, T, C], i32 [B, T] and, with sizes, f32 [B, T] to [B, N, C]. A unit is a
/// token of the result.
llvm::LogicalResult emitMergeTokens(KernelBuilder &kb, bool hasSizes, bool sum);

/// [B, N, C] and i32 [B, T] to [B, T, C]. A unit is a token of the result.
llvm::LogicalResult emitUnmergeTokens(KernelBuilder &kb);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_EMITMERGETOKENS_H
