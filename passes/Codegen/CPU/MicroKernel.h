//===- MicroKernel.h - Register tiles of a matrix product -------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A tile of R rows and C registers of columns keeps R*C accumulators in
// registers over the whole of K. Each step of k loads C registers of B and, row
// by row, broadcasts one A and does C FMAs:
//
//              b0   b1   b2   b3      b[k][0..63]
//      a0k ->  acc  acc  acc  acc
//      a1k ->  acc  acc  acc  acc     6 x 4 of 32 registers, 4 for B,
//      ...                            1 for the broadcast
//
// Every accumulator adds its products in the order of k, one FMA each, in every
// tile: an element of the result has the same bits whatever tile it falls in.
// K is therefore never split over accumulators, and rests of rows have tiles of
// their own instead of masks.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_MICROKERNEL_H
#define FERRITE_PASSES_CODEGEN_CPU_MICROKERNEL_H

#include "passes/Codegen/CPU/KernelBuilder.h"

namespace ferrite::cpu {

struct ProductTile {
  unsigned rows = 0;
  unsigned columns = 0; ///< in registers
  mlir::Value depth;    ///< K; of bytes constant, or a multiple of 16

  /// Element (row, k) of A is at a + row * aRow + k * aDepth, in elements.
  mlir::Value a;
  mlir::Type aType;
  mlir::Value aRow, aDepth;
  /// If set, where each row of A begins, instead of `a` and `aRow`: rows that
  /// lie anywhere.
  llvm::SmallVector<mlir::Value> aRows;

  /// Element (k, column) of B is at b + k * bDepth + column; of bytes, which
  /// lie in groups, at b + k / 4 * 4 * bDepth + column * 4 + k % 4. Types are
  /// those of memory: i8 is unsigned in A and signed in B (ProductStep.h).
  /// With pairs of k side by side (bGroup 2, bf16) it is at
  ///   b + k / 2 * 2 * bDepth + 2 * column + k % 2
  /// and a last odd k has a partner of 0.
  mlir::Value b;
  mlir::Type bType;
  mlir::Value bDepth;
  /// If set, what the accumulators of each row begin at, in memory, instead of
  /// zero: `columns` registers.
  mlir::Value start;
  unsigned bGroup = 1;
  /// If set, B has some groups of k alone (ProductStep), `depth` of k in all,
  /// and this is where A has them: an index of a group as u16 for each.
  mlir::Value aIndex;
  /// Pairs of bf16 rows of A (aDepth 1) times pairs of B by dot instructions,
  /// which add k + 1's product before k's, each sum rounded, denormals as 0.
  /// Otherwise both are widened and every k has its FMA.
  bool dots = false;
  /// Twins of f16 rows times f16 columns, in f16 (HalfProduct.h).
  bool halves = false;
  /// One per register, for columns that are not in memory; or empty. Only
  /// emitProduct() takes them.
  llvm::ArrayRef<mlir::Value> bMasks;

  /// B is prefetched so far ahead; 0: not at all.
  int64_t prefetchBytes = 0;
  /// If set, memory that is needed soon: the tile touches its first
  /// K * nextBytes bytes.
  mlir::Value next;
  static constexpr int64_t kNextBytes = 32;
  int64_t nextBytes = kNextBytes;
};

/// The values of k that lie side by side in weights of floats.
inline unsigned weightGroup(mlir::Type type) { return type.isBF16() ? 2 : 1; }

/// The accumulators of rows x columns registers, row by row, begun at `from`,
/// at `tile.start` or at zero; of f32, or i32 for bytes.
llvm::SmallVector<mlir::Value>
emitProduct(KernelBuilder &kb, const ProductTile &tile,
            llvm::ArrayRef<mlir::Value> from = {});

/// The same over pairs: emitProduct() calls it.
llvm::SmallVector<mlir::Value>
emitPairProduct(KernelBuilder &kb, const ProductTile &tile,
                llvm::ArrayRef<mlir::Value> from);

/// The same of bytes, two rows times two columns in an instruction
/// (ByteDot::Blocks): emitProduct() calls it.
llvm::SmallVector<mlir::Value>
emitBlockProduct(KernelBuilder &kb, const ProductTile &tile,
                 llvm::ArrayRef<mlir::Value> from);

/// The same in a function of the kernel, which reads and writes the
/// accumulators of row r and register c at out + r * outRow + c * lanes
/// (elements of 32 bits). `goOn`: begins with what is there instead of zero.
/// Calls with equal `tag`, rows and columns must differ in nothing but the
/// addresses and run-time sizes. A tile is so much work that the call costs
/// nothing, and LLVM's loop strength reduction takes a third of the time when
/// it cannot see how the addresses came about.
void emitProductPart(KernelBuilder &kb, llvm::StringRef tag,
                     const ProductTile &tile, mlir::Value out, int64_t outRow,
                     bool goOn);

/// Makes tile.a an f32 copy of its rows, `copyRow` elements apart at `copy`:
/// one short float after another costs the inner loop more than its FMAs.
/// copyRow is at least K rounded up to a register. For dots the copy is of
/// bf16.
void emitWidenedRows(KernelBuilder &kb, ProductTile &tile, mlir::Value rows,
                     mlir::Value copy, int64_t copyRow);

/// The most rows that a tile of so many registers of columns has. Widened
/// bytes take two registers each.
unsigned tileRows(const CpuLevel &level, unsigned columns,
                  bool isBytes = false);

/// Covers rows [0, count) with tiles of at most `maxRows`. `tile` is emitted
/// once for each size there may be; `after` follows each tile, for what needs
/// no size of its own. The last two tiles share their rows evenly, because a
/// tile of one or two rows waits for B.
void forRowTiles(KernelBuilder &kb, mlir::Value count, unsigned maxRows,
                 llvm::function_ref<void(mlir::Value row, unsigned rows)> tile,
                 llvm::function_ref<void(mlir::Value row, mlir::Value rows)>
                     after = nullptr);

/// What an epilogue reads besides the accumulator: one value for each element
/// of the result.
struct EpilogueSide {
  mlir::Value base; ///< of element (0, 0)
  mlir::Type type;
  mlir::Value rowStride; ///< in elements
  int64_t columnStride;  ///< 0 or 1
};

struct Epilogue {
  /// Arguments (accumulator, sides...), a terminator with one value. Null: the
  /// accumulator is the result.
  mlir::Block *body = nullptr;
  /// Of the accumulators: f32 (null) or i32.
  mlir::Type sumType;
  llvm::SmallVector<EpilogueSide> sides;
  /// Where element (0, 0) of the result is.
  mlir::Value result;
  mlir::Type resultType;
  mlir::Value resultRowStride;
};

/// Finishes a block of accumulators that lies in memory, `columns`
/// registers a row and rows `tileStride` elements apart, as rows [row, row +
/// rows) and columns from `column` of the result. `masks`: one per register,
/// null for a full one; or empty.
llvm::LogicalResult emitEpilogue(KernelBuilder &kb, const Epilogue &epilogue,
                                 mlir::Value tile, mlir::Value tileStride,
                                 mlir::Value row, mlir::Value rows,
                                 mlir::Value column, unsigned columns,
                                 llvm::ArrayRef<mlir::Value> masks);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_MICROKERNEL_H
