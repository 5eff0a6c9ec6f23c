//===- KernelJit.h - Runs one emitted kernel in the test --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Builds a kernel with an emitter, compiles it for a level as the compiler
// does, links the object with LLVM's JIT and calls it through the ABI:
//
//   KernelJit jit("avx512", {{operand(f32, {kDynamic, 64})}, ...},
//                 [&](KernelBuilder &kb) { return emitX(kb, spec); });
//   jit.run({x, y});             // all units, one call
//   jit.runSplit({x, y}, 3);     // in pieces, last piece first
//
// Scratch is filled with NaNs before each call, and a guard behind it is
// checked after, so that a kernel that trusts or outgrows its scratch fails.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_KERNELJIT_H
#define FERRITE_TEST_UNIT_CODEGEN_KERNELJIT_H

#include "ferrite/abi.h"
#include "passes/Codegen/CPU/CpuLevel.h"
#include "passes/Codegen/CPU/KernelBuilder.h"

#include "mlir/IR/MLIRContext.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace llvm::orc {
class LLJIT;
}

namespace ferrite::test {

/// A tensor in the test's memory. Strides default to contiguous.
struct JitTensor {
  void *data = nullptr;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;

  JitTensor(const void *data, std::vector<int64_t> shape,
            std::vector<int64_t> strides = {});
};

class KernelJit {
public:
  using Emit = std::function<llvm::LogicalResult(cpu::KernelBuilder &)>;
  using Layout = std::function<cpu::KernelLayout(mlir::MLIRContext &)>;

  /// With "~" before the level's name, its tiles are loops for plain AVX-512.
  /// ok() is false, with the diagnostics in error(), when it does not compile.
  KernelJit(llvm::StringRef level, const Layout &layout, const Emit &emit,
            bool keepAssembly = false);
  ~KernelJit();

  bool ok() const { return kernel != nullptr; }
  const std::string &error() const { return diagnostics; }
  const std::string &assembly() const { return assemblyText; }
  const std::string &mlir() const { return moduleText; }
  size_t objectBytes() const { return objectSize; }
  double compileSeconds() const { return seconds; }
  int64_t scratchBytes() const { return scratch; }
  /// An index that the last runSplit found outside of what it indexes.
  std::optional<int64_t> outsideIndex() const {
    return hasOutside ? std::optional(outside) : std::nullopt;
  }

  /// The number of units for these arguments.
  int64_t units(const std::vector<JitTensor> &tensors) const;
  void run(const std::vector<JitTensor> &tensors) const {
    runSplit(tensors, 1);
  }
  /// Splits the units into `pieces` ranges, each with fresh scratch, and runs
  /// them from the last to the first.
  void runSplit(const std::vector<JitTensor> &tensors, int64_t pieces) const;

  /// For benchmarks: the packed arguments, and the function itself.
  std::vector<FerriteArg>
  arguments(const std::vector<JitTensor> &tensors) const;
  FerriteKernelFn function() const { return kernel; }
  FerriteUnitsFn unitsFunction() const { return unitsOf; }

private:
  void build(llvm::StringRef level, const Layout &layout, const Emit &emit,
             bool keepAssembly);

  mlir::MLIRContext context;
  cpu::KernelLayout layout;
  cpu::CpuLevel imitated;
  std::unique_ptr<llvm::orc::LLJIT> jit;
  FerriteKernelFn kernel = nullptr;
  FerriteUnitsFn unitsOf = nullptr;
  std::string diagnostics, assemblyText, moduleText;
  size_t objectSize = 0;
  int64_t scratch = 0;
  mutable bool hasOutside = false;
  mutable int64_t outside = 0;
  double seconds = 0;
};

/// The levels this machine can run, worst first, but for those that only have
/// other products of few bits.
std::vector<std::string> hostLevels();
/// All that this machine can run.
std::vector<std::string> hostDotLevels();

/// A layout whose strides are those of a contiguous tensor, dynamic where the
/// sizes inside are.
cpu::OperandLayout contiguous(mlir::Type type, llvm::ArrayRef<int64_t> shape);
/// Every size and stride as given.
cpu::OperandLayout strided(mlir::Type type, llvm::ArrayRef<int64_t> shape,
                           llvm::ArrayRef<int64_t> strides);

/// `count` values of a fixed sequence in [-1, 1), different for each seed.
std::vector<float> randomFloats(size_t count, uint32_t seed);
uint16_t toBF16(float value); ///< nearest even
float fromBF16(uint16_t bits);
uint16_t toF16(float value); ///< nearest even
float fromF16(uint16_t bits);

/// What is wrong with the innermost loops of `assembly`, or "": a call of
/// anything but the kernel's own parts, or a vector register in the stack frame
/// (in loops with FMAs or dots, or in all of them).
std::string checkInnerLoops(llvm::StringRef assembly, bool all = false);

/// The same for all loops, and "no WANTED" for each wanted instruction that no
/// innermost loop has.
std::string checkAllLoops(llvm::StringRef assembly,
                          llvm::ArrayRef<llvm::StringRef> wanted);

/// The same of code with AMX: tiles are loaded and multiplied by `product`, and
/// none goes through the stack frame.
std::string checkTiles(llvm::StringRef assembly, llvm::StringRef product);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_KERNELJIT_H
