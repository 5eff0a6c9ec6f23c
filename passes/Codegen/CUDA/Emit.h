//===- Emit.h - The CUDA emitters -------------------------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// One function an op. Each writes the kernel of a plan.kernel's op from its
// attributes and the layouts of its operands, which are those that the CPU's
// emitters get (their headers in ../CPU say what lies where). Each fails, with
// an error, where it cannot do what the op says.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CUDA_EMIT_H
#define FERRITE_PASSES_CODEGEN_CUDA_EMIT_H

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Codegen/CUDA/CudaKernel.h"

namespace ferrite::cuda {

mlir::LogicalResult emit(KernelText &kt, FusedOp op);
mlir::LogicalResult emit(KernelText &kt, NormOp op);
mlir::LogicalResult emit(KernelText &kt, SoftmaxOp op);
mlir::LogicalResult emit(KernelText &kt, EmbeddingOp op);
mlir::LogicalResult emit(KernelText &kt, RopeOp op);
mlir::LogicalResult emit(KernelText &kt, LinearOp op);
mlir::LogicalResult emit(KernelText &kt, MatmulOp op);
mlir::LogicalResult emit(KernelText &kt, AttentionOp op);
mlir::LogicalResult emit(KernelText &kt, GatherOp op);
mlir::LogicalResult emit(KernelText &kt, GatherNDOp op);
mlir::LogicalResult emit(KernelText &kt, GatherElementsOp op);
mlir::LogicalResult emit(KernelText &kt, ScatterNDOp op);
mlir::LogicalResult emit(KernelText &kt, ScatterElementsOp op);
mlir::LogicalResult emit(KernelText &kt, CumSumOp op);
mlir::LogicalResult emit(KernelText &kt, CumProdOp op);
mlir::LogicalResult emit(KernelText &kt, ArgReduceOp op);
mlir::LogicalResult emit(KernelText &kt, TopKOp op);
mlir::LogicalResult emit(KernelText &kt, LinearAttentionOp op);
mlir::LogicalResult emit(KernelText &kt, KvAppendOp op);
mlir::LogicalResult emit(KernelText &kt, PagedAttentionOp op);
mlir::LogicalResult emit(KernelText &kt, PagedPartialsOp op);
mlir::LogicalResult emit(KernelText &kt, RouteOp op);
mlir::LogicalResult emit(KernelText &kt, GroupedLinearOp op);
mlir::LogicalResult emit(KernelText &kt, PackedLinearOp op);
mlir::LogicalResult emit(KernelText &kt, RoundRowsOp op);
/// Only CPUs read what this makes: it has no units.
mlir::LogicalResult emit(KernelText &kt, PackKeysOp op);

/// A linear whose sides are both computed: [.., m, k] of unsigned bytes times
/// [.., k, n] of bytes, with as many leading dims as the result.
mlir::LogicalResult emitByteMatmul(KernelText &kt, LinearOp op);

/// The sides of an epilogue at (m, n), as arguments behind `acc`; they are the
/// operands from `firstSide` on.
std::string sideArguments(KernelText &kt, mlir::Block &epilogue,
                          unsigned firstSide);
/// Lines that split `linear` into an index per size, last size fastest; the
/// indices are named `names`.
std::string delinearize(llvm::StringRef linear,
                        llvm::ArrayRef<std::string> sizes,
                        llvm::ArrayRef<std::string> names);
/// A product of sizes as text; "1" of none.
std::string productOf(llvm::ArrayRef<std::string> sizes);
/// Whether all elements of dim `d` are one: its size is 1 or its stride 0.
bool isBroadcast(const OperandLayout &operand, unsigned d);
/// That no type of an operand is unknown to CUDA kernels.
mlir::LogicalResult checkTypes(KernelText &kt);

/// The function of runtime headers that joins two points of a reduction of
/// `element`.
std::string combinerOf(CombineKind kind, mlir::Type element);

/// Each thread has an item of the product of `sizes`, which `grid` counts, with
/// indices of these names; `body` computes it.
void defineItems(KernelText &kt, std::vector<GridStep> grid,
                 llvm::ArrayRef<std::string> sizes,
                 llvm::ArrayRef<std::string> names, llvm::StringRef body);
/// The items are those of the first `count` dims of `operand`, whose indices
/// are i0, i1, ...
void defineItems(KernelText &kt, unsigned operand, unsigned count,
                 llvm::StringRef body);
/// Each warp has a row: an item of the first `count` dims of `operand`.
void defineRows(KernelText &kt, unsigned operand, unsigned count,
                llvm::StringRef body);

} // namespace ferrite::cuda
#endif // FERRITE_PASSES_CODEGEN_CUDA_EMIT_H
