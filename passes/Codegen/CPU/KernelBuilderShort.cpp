//===- KernelBuilderShort.cpp - Instructions of bf16 ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/KernelBuilder.h"

using namespace mlir;
using namespace ferrite::cpu;

Value KernelBuilder::dotBF16(Value sum, Value a, Value b) {
  // The other widths have AVX512_BF16 instructions too, and no caller.
  assert(lanes() == 16 && "bf16 dots are of 512 bits");
  return LLVM::CallIntrinsicOp::create(
             *this, sum.getType(),
             getStringAttr("llvm.x86.avx512bf16.dpbf16ps.512"),
             ValueRange{sum, a, b})
      .getResult(0);
}

Value KernelBuilder::bitcast(Value v, Type type) {
  return LLVM::BitcastOp::create(*this, type, v);
}

Value KernelBuilder::roundBF16(Value v) {
  assert(lanes() == 16 && "a register of 512 bits");
  return LLVM::CallIntrinsicOp::create(
             *this, vec(getBF16Type()),
             getStringAttr("llvm.x86.avx512bf16.cvtneps2bf16.512"),
             ValueRange{v})
      .getResult(0);
}
