//===- KvRecord.h - Keys and values as bytes, in kernels --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Records are what runtime/cache/Record.h says, and the bits the same. In a
// page of keys byte w of token t is at w * 64 + t, in one of values at t *
// width + w.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_KVRECORD_H
#define FERRITE_PASSES_CODEGEN_CPU_KVRECORD_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct KvRecord {
  bool isNibbles;
  int64_t depth; ///< numbers
  int64_t width; ///< bytes

  /// Of the elements of a pool; none: it holds floats. A depth of 0 is no
  /// record.
  static std::optional<KvRecord> of(mlir::Type element, int64_t width);
};

/// The `depth` floats at `row` as a record at `to`, byte after byte.
void emitPackRecord(KernelBuilder &kb, const KvRecord &record, mlir::Value row,
                    mlir::Type storage, mlir::Value to);

/// The first `tokens` of a head's page of keys as f32 [depth][64] at `to`,
/// while the bytes at `ahead` (another page, or null) are fetched.
void emitUnpackKeys(KernelBuilder &kb, const KvRecord &record, mlir::Value page,
                    mlir::Value ahead, mlir::Value to, int64_t tokens = 64);

/// The first `count` tokens of a head's page of values as f32 rows, `stride`
/// floats apart and padded to registers.
void emitUnpackValues(KernelBuilder &kb, const KvRecord &record,
                      mlir::Value page, mlir::Value ahead, mlir::Value to,
                      mlir::Value count, int64_t stride);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_KVRECORD_H
