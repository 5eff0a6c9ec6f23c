//===- FusedLoops.h - Which loops a fused kernel has ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Decides, from layouts alone and before anything is emitted, how the points of
// a fused op are walked: which loops of the spec are one loop in memory, which
// loop goes along the lanes of a register, and whether some inputs are read
// through register transposes. Both functions of a kernel (its units and its
// body) are made from this one decision.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_FUSEDLOOPS_H
#define FERRITE_PASSES_CODEGEN_CPU_FUSEDLOOPS_H

#include "passes/Codegen/CPU/EmitFused.h"

namespace ferrite::cpu {

/// Whether the spec fits the layout, with an error at kb's location if not.
mlir::LogicalResult verifyFused(KernelBuilder &kb, const FusedSpec &spec);

class FusedLoops {
public:
  FusedLoops(const KernelLayout &layout, const FusedSpec &spec, unsigned lanes);

  /// One loop over adjacent dims of the spec, outermost first.
  struct Loop {
    llvm::SmallVector<unsigned> dims;
    bool reduction = false;
    unsigned innermost() const { return dims.back(); }
  };
  unsigned numLoops() const { return loops.size(); }
  const Loop &loop(unsigned l) const { return loops[l]; }
  /// The size, kDynamic when it is not known.
  int64_t size(unsigned l) const;
  /// The stride of an operand, kDynamic when it is not known.
  int64_t stride(unsigned operand, unsigned l) const;

  /// The loop along the lanes.
  unsigned vectorLoop = 0;
  /// The loop along the other side of the register transposes, if any, and the
  /// inputs that are read through them.
  std::optional<unsigned> tileLoop;
  llvm::SmallVector<unsigned> transposed;
  /// All other loops, outermost first.
  llvm::SmallVector<unsigned> parallel, reduced;
  /// Registers that one step along the vector loop fills.
  unsigned unroll = 1;

  bool reducesLanes() const { return loops[vectorLoop].reduction; }
  unsigned step() const { return unroll * lanes; }

private:
  int64_t dimSize(unsigned d) const;
  int64_t dimStride(unsigned operand, unsigned d) const;
  bool adjacent(unsigned outer, unsigned inner) const;
  void mergeDims();
  void chooseVectorLoop();
  bool chooseTransposes();
  void chooseUnroll();

  const KernelLayout &layout;
  const FusedSpec &spec;
  unsigned lanes;
  llvm::SmallVector<Loop> loops;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_FUSEDLOOPS_H
