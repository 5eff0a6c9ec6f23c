//===- ProductFrame.cpp - What kernels of products have around ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/ProductFrame.h"

using namespace mlir;
using namespace ferrite::cpu;

LogicalResult ferrite::cpu::checkEpilogue(KernelBuilder &kb, StringRef kernel,
                                          Block *body, unsigned firstSide,
                                          unsigned result) {
  auto error = [&] { return emitError(kb.getLoc(), kernel) << ": "; };
  for (unsigned i = firstSide; i <= result; ++i) {
    int64_t stride = kb.operand(i).strides.back();
    if (stride != 1 && (stride != 0 || i == result))
      return error() << "operand " << i << " has column stride " << stride;
  }
  if (!body && result != firstSide)
    return error() << "has sides but no epilogue";
  if (body && body->getNumArguments() != result - firstSide + 1)
    return error() << "the epilogue has " << body->getNumArguments()
                   << " arguments for " << result - firstSide << " sides";
  return success();
}

Epilogue ferrite::cpu::makeEpilogue(KernelBuilder &kb, Block *body,
                                    unsigned firstSide, unsigned result,
                                    ValueRange batch) {
  unsigned row = batch.size();
  Epilogue epilogue;
  epilogue.body = body;
  for (unsigned i = firstSide; i < result; ++i)
    epilogue.sides.push_back({kb.address(i, batch), kb.operand(i).elementType,
                              kb.stride(i, row),
                              kb.operand(i).strides[row + 1]});
  epilogue.result = kb.address(result, batch);
  epilogue.resultType = kb.operand(result).elementType;
  epilogue.resultRowStride = kb.stride(result, row);
  return epilogue;
}

void ferrite::cpu::emitMatrixUnits(
    KernelBuilder &kb, unsigned result, int64_t rows, int64_t columns,
    function_ref<void()> begin,
    function_ref<void(ArrayRef<Value> index)> emit) {
  unsigned batch = kb.rank(result) - 2;
  auto sizes = [&] {
    SmallVector<Value> sizes;
    for (unsigned d = 0; d < batch; ++d)
      sizes.push_back(kb.dim(result, d));
    sizes.push_back(kb.ceilDiv(kb.dim(result, batch), rows));
    sizes.push_back(kb.ceilDiv(kb.dim(result, batch + 1), columns));
    return sizes;
  };
  kb.defineUnits([&] {
    Value units = kb.c(1);
    for (Value size : sizes())
      units = kb.mul(units, size);
    return units;
  });
  kb.defineBody([&] {
    begin();
    kb.forUnits([&](Value unit) { emit(kb.delinearize(unit, sizes())); });
  });
}
