//===- AttentionPack.h - Operands of attention into scratch -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_ATTENTIONPACK_H
#define FERRITE_PASSES_CODEGEN_CPU_ATTENTIONPACK_H

#include "passes/Codegen/CPU/KernelBuilder.h"

#include "llvm/Support/MathExtras.h"

namespace ferrite::cpu {

/// `count` floats of any storage as f32, filled up with zeros to whole
/// registers.
void emitCopyRow(KernelBuilder &kb, mlir::Value to, mlir::Value from,
                 mlir::Type storage, int64_t count);

/// The same, bf16 as it is.
void emitCopyShortRow(KernelBuilder &kb, mlir::Value to, mlir::Value from,
                      int64_t count);

/// Rows of keys and values are short and far apart: no prefetcher of a machine
/// follows them. Those that so many rows later are read get fetched meanwhile,
/// past the end of the block, too: the next one begins there.
inline constexpr int64_t kRowsAhead = 32;

/// Keys that a unit of the packing kernel packs: panels of every width end
/// there.
inline constexpr int64_t kPackedRows = 64;
void emitPrefetchRow(KernelBuilder &kb, mlir::Value row, mlir::Type storage,
                     int64_t count);

/// Keys as panels [keys / width][depth][width], the depth filled up with zeros.
/// With `pairs` an element is two bf16, and depth counts those.
struct KeyPanels {
  mlir::Value base;
  int64_t width, depth;
  bool pairs = false;
  /// Products take this many steps at once.
  static constexpr int64_t kDepthUnit = 4;
  int64_t paddedDepth() const { return llvm::alignTo(depth, kDepthUnit); }
};

/// Packs `keys` >= 1 rows of `source`; the columns of the panels are written up
/// to a whole register.
/// `sourceDepth`: elements of a row.
void emitPackKeys(KernelBuilder &kb, const KeyPanels &panels,
                  mlir::Value source, mlir::Type storage, mlir::Value rowStride,
                  int64_t sourceDepth, mlir::Value keys);

/// Row `pair` of 32-bit lanes: bf16 of `low` in the lower halves and of `high`
/// in the upper ones, or 0 where `isHigh` is false.
void emitPairRows(KernelBuilder &kb, mlir::Value to, mlir::Value low,
                  mlir::Value high, mlir::Value isHigh, int64_t count);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_ATTENTIONPACK_H
