//===- UnpackCodes.h - Codes of few bits in registers -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From the words of lib/Support/PackedPanels.h, a register of them at a time
// (one column a lane), to numbers or to bytes. Nothing is moved between lanes:
//
//   numbers  a mask leaves code k in the mantissa of a power of two, which is
//            subtracted; or a shift brings it to the low bits of each lane, and
//            a table of registers makes f32 of it (vpermps; elsewhere a mask
//            and a conversion)
//   bytes    a shift and a mask make the codes of four neighbours along k, as
//            products of bytes take them
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_UNPACKCODES_H
#define FERRITE_PASSES_CODEGEN_CPU_UNPACKCODES_H

#include "lib/Support/PackedPanels.h"
#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// What codes of a matrix stand for (#ferrite.packed).
struct PackedSpec {
  PackedPanels panels;
  mlir::Type scaleType;
  int64_t shift = 0;
  llvm::ArrayRef<float> codes; ///< empty: none
};

class UnpackCodes {
public:
  using Value = mlir::Value;
  using Words = llvm::SmallVector<Value, 3>;

  UnpackCodes(KernelBuilder &kb, const PackedSpec &spec)
      : kb(kb), spec(spec), bits(spec.panels.bits) {}

  /// The words of a step for the lanes() columns at `pointer`.
  Words load(Value pointer);
  /// Of `spec.panels.bits`, what the code of the i-th k of a step stands for
  /// without scale: code - shift, or what the table has.
  Value number(const Words &words, int64_t i);
  /// The same less `zero`, of f32: zero points are exact and so is this where
  /// they are whole numbers.
  Value number(const Words &words, int64_t i, Value zero);
  /// The codes of the i-th four k of a step, a byte each, as i32 lanes.
  Value fours(const Words &words, int64_t i);

  /// Scales of the lanes() columns from `column` on, of a block at `block`.
  Value scales(Value block, Value column);
  /// Zero points likewise, as f32 or i32; null where there are none.
  Value zerosF32(Value block, Value column);
  Value zerosI32(Value block, Value column);

private:
  Value ints(int64_t value);
  Value shifted(Value word, int64_t by);
  Value masked(Value word, int64_t mask);
  /// Lanes whose low bits are the code; others are what they are.
  Value lowCode(const Words &words, int64_t i);
  Value lookUp(Value index);
  Value fromMantissa(const Words &words, int64_t i);

  KernelBuilder &kb;
  const PackedSpec &spec;
  int64_t bits;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_UNPACKCODES_H
