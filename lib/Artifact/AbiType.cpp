//===- AbiType.cpp - Element types in the ABI -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Artifact/AbiType.h"

#include "ferrite/abi.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

FailureOr<int32_t> ferrite::abiType(Type type, Location loc) {
  if (type.isF32())
    return FERRITE_F32;
  if (type.isF16())
    return FERRITE_F16;
  if (type.isBF16())
    return FERRITE_BF16;
  if (type.isF64())
    return FERRITE_F64;
  if (type.isInteger(1))
    return FERRITE_BOOL;
  if (isa<Float8E4M3FNType>(type))
    return FERRITE_F8E4M3FN;
  if (isa<Float8E4M3FNUZType>(type))
    return FERRITE_F8E4M3FNUZ;
  if (isa<Float8E5M2Type>(type))
    return FERRITE_F8E5M2;
  if (isa<Float8E5M2FNUZType>(type))
    return FERRITE_F8E5M2FNUZ;
  if (isa<Float8E8M0FNUType>(type))
    return FERRITE_F8E8M0FNU;
  if (isa<Float4E2M1FNType>(type))
    return FERRITE_F4E2M1FN;
  if (auto integer = dyn_cast<IntegerType>(type)) {
    if (integer.getWidth() == 2)
      return integer.isUnsigned() ? FERRITE_U2 : FERRITE_I2;
    if (integer.getWidth() == 4)
      return integer.isUnsigned() ? FERRITE_U4 : FERRITE_I4;
    int base = integer.isUnsigned() ? FERRITE_U8 : FERRITE_I8;
    switch (integer.getWidth()) {
    case 8:
      return base;
    case 16:
      return base + 1;
    case 32:
      return base + 2;
    case 64:
      return base + 3;
    }
  }
  return emitError(loc) << "element type " << type
                        << " has no place in the ABI";
}
