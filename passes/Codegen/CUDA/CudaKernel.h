//===- CudaKernel.h - The text of one CUDA kernel ---------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every CUDA emitter writes through this class. A kernel is a function of one
// parameter, ferrite::Params of Skeletons/kernel.cuh: the FerriteArgs that the
// CPU's kernel gets too, and the number of its units. A unit is what one block
// computes; a grid that is smaller than the units loops:
//
//   FERRITE_KERNEL(softmax_64, 256, 5, 0) {
//     const float *const x0 = ...;                 from the layout
//     for (i64 unit = blockIdx.x; unit < p.units; unit += gridDim.x)
//       ferrite::softmaxRow(...);                   from a skeleton
//   }
//
// The emitter says in `grid` how the host counts units: sizes are multiplied,
// and a step Ceil divides what was multiplied since the last one, rounding up.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CUDA_CUDAKERNEL_H
#define FERRITE_PASSES_CODEGEN_CUDA_CUDAKERNEL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

#include <string>
#include <vector>

namespace ferrite::cuda {

using cpu::KernelArgs;
using cpu::KernelLayout;
using cpu::OperandLayout;

/// An architecture that code is made for.
struct Arch {
  std::string name; ///< "sm_90a", or "compute_80" of PTX
  unsigned major = 8, minor = 0;
  bool exact = false; ///< an "a" target: runs on this architecture alone
  bool isPtx = false; ///< text that the driver compiles for later ones
  /// wgmma, TMA, setmaxnreg.
  bool hasWarpgroups() const { return major == 9 && exact; }
};

/// A step of FerriteAbiGridStep.
struct GridStep {
  enum Kind { Size = 0, Factor = 1, Ceil = 2 } kind;
  int64_t value; ///< the argument, the factor, or the divisor
};

/// A row of FerriteAbiTensorMap: a matrix that is copied in tiles.
struct TensorMap {
  unsigned argument = 0; ///< of the pointer
  unsigned elementBytes = 2;
  /// The number of rows: an argument, or when that is -1 `rowCount`.
  int64_t rowArgument = -1, rowCount = 0;
  int64_t columns = 0, rowBytes = 0;
  unsigned boxRows = 0, boxColumns = 0;
};

/// One function, and the launches it is for.
struct CudaVariant {
  std::string symbol;
  unsigned threads = 256;
  int64_t sharedBytes = 0;
  unsigned blocksPerSm = 0; ///< 0: a block for each unit
  /// Taken when argument `guard` is at most `most`; -1: always.
  int64_t guard = -1, most = 0;
  std::vector<GridStep> grid;
  std::vector<TensorMap> maps;
};

struct CudaKernel {
  std::string text;
  std::vector<CudaVariant> variants; ///< in the order they are tried
};

/// "float", "ferrite::bf16", ...; empty for a type that no kernel knows.
std::string storageName(mlir::Type type);
/// The type of a value of it in a body: short floats are floats that are
/// rounded, integers are signed.
std::string valueName(mlir::Type type);

class KernelText {
public:
  KernelText(llvm::StringRef symbol, const KernelLayout &layout,
             const Arch &arch, bool hasPairs, mlir::Location loc)
      : layout(layout), args(layout), arch(arch), loc(loc), symbol(symbol),
        hasPairs(hasPairs) {}

  const KernelLayout &layout;
  const KernelArgs args;
  const Arch &arch;
  const mlir::Location loc;

  const OperandLayout &operand(unsigned i) const { return layout.operands[i]; }
  unsigned operands() const { return layout.operands.size(); }
  unsigned result() const { return operands() - 1; }
  mlir::Type element(unsigned i) const { return operand(i).elementType; }
  std::string storage(unsigned i) const { return storageName(element(i)); }

  /// The values of k that panels of `type` have side by side
  /// (lib/Support/PanelLayout.h).
  int64_t panelGroup(mlir::Type type) const {
    return type.isInteger(8) ? 4 : type.isBF16() && hasPairs ? 2 : 1;
  }

  // Expressions of the text.
  std::string ptr(unsigned i) const { return "x" + std::to_string(i); }
  std::string dim(unsigned i, unsigned d) const;
  std::string stride(unsigned i, unsigned d) const;
  /// Strides as "{s0, s1}" and sizes alike.
  std::string strides(unsigned i) const;
  std::string dims(unsigned i) const;
  /// The offset of an element of operand i.
  std::string offset(unsigned i, llvm::ArrayRef<std::string> index) const;

  /// A size as steps of a grid.
  GridStep sizeStep(unsigned i, unsigned d) const;

  /// Adds a function whose body is `body`, after the declarations of pointers
  /// and sizes.
  void define(CudaVariant variant, llvm::StringRef body);
  /// Text in front of the functions.
  void preamble(llvm::StringRef text) { kernel.text += text.str(); }

  std::string name() const { return symbol; }
  mlir::InFlightDiagnostic error() const {
    return mlir::emitError(loc) << "CUDA kernel: ";
  }
  CudaKernel take() { return std::move(kernel); }

private:
  std::string symbol;
  const bool hasPairs;
  CudaKernel kernel;
};

/// Lines of a body, indented by two spaces a level.
std::string indent(llvm::StringRef text, unsigned levels = 1);

} // namespace ferrite::cuda
#endif // FERRITE_PASSES_CODEGEN_CUDA_CUDAKERNEL_H
