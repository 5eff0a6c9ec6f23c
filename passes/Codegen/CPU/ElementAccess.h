//===- ElementAccess.h - Elements in and out of memory ----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What a tensor's element type means in memory and in a register: bool is one
// byte in memory and i1 in a register, ui8 and si8 are i8, and a float may be
// wider in the register than in memory. Registers here have as many lanes as
// f32 has, so a vector of i64 is two or four machine registers.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_ELEMENTACCESS_H
#define FERRITE_PASSES_CODEGEN_CPU_ELEMENTACCESS_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

/// The type that memory is read as: i8 for bool, signless for ui8, i16 for
/// short floats.
mlir::Type memoryType(mlir::Type storage);
/// The type of the value in a body: i1 for bool, signless for ui8.
mlir::Type valueType(mlir::Type storage);
/// The type that kernels compute in: f32 for the narrow floats, else valueType.
mlir::Type wideType(mlir::Type storage);
/// Whether a value of type `value` can be read from and written to `storage`:
/// the same type, or both floats.
bool canAccessAs(mlir::Type storage, mlir::Type value);

/// Reads `lanes` adjacent elements (1: a scalar) as values of type `value`.
/// Lanes outside the mask are zero.
mlir::Value loadElements(KernelBuilder &kb, mlir::Value pointer,
                         mlir::Type storage, mlir::Type value, unsigned lanes,
                         mlir::Value mask = {});
/// Writes a register, or a scalar.
void storeElements(KernelBuilder &kb, mlir::Value elements, mlir::Value pointer,
                   mlir::Type storage, mlir::Value mask = {});

/// Between the types above, on scalars and registers.
mlir::Value fromMemory(KernelBuilder &kb, mlir::Value v, mlir::Type storage,
                       mlir::Type value);
mlir::Value toMemory(KernelBuilder &kb, mlir::Value v, mlir::Type storage);

/// Between float types, through f32 for the short ones.
mlir::Value convertFloat(KernelBuilder &kb, mlir::Value v, mlir::Type to);

/// `v`, or a register of it.
mlir::Value toLanes(KernelBuilder &kb, mlir::Value v, unsigned lanes);
/// `type`, or a register of it.
mlir::Type withLanes(mlir::Type type, unsigned lanes);
/// 0, 1, 2, ... as i64.
mlir::Value laneNumbers(KernelBuilder &kb, unsigned lanes);
/// One register whose lane i is lane order[i] of `a` followed by `b`.
mlir::Value shuffle(KernelBuilder &kb, mlir::Value a, mlir::Value b,
                    llvm::ArrayRef<int64_t> order);

/// The n x n transpose of n registers of n lanes of 32 bits, n = 8 or 16.
llvm::SmallVector<mlir::Value>
transposeRegisters(KernelBuilder &kb, llvm::ArrayRef<mlir::Value> rows);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_ELEMENTACCESS_H
