//===- ArenaPlan.h - Offsets of buffers of symbolic size --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Sizes are polynomials of the symbols, so "greedy by size" has no order for
// all shapes at once. But the buffers of a transformer come in few classes:
// almost all are multiples of batch*sequence. Within a class sizes compare as
// numbers:
//
//   class batch*sequence     1536 at 0        1536 at 1536      -> 4608 bytes
//                            4608 (later) at 0
//   class 1                  64 at 0                            -> 64 bytes
//
// so each class is planned as numbers, once, and the classes follow each other:
// an offset is `unit * class + bytes of the classes before`, exact for every
// shape. Classes are told apart by alignment, too. What this cannot do: a
// buffer of one class in a gap of another.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_PLANNING_ARENAPLAN_H
#define FERRITE_PASSES_PLANNING_ARENAPLAN_H

#include "dialects/Ferrite/IR/DimExpr.h"

namespace ferrite {

/// Offsets of buffers of at least so many bytes (times their class) are
/// multiples of this: a cache line, and the widest vector. Those of smaller
/// ones follow all others, at multiples of the power of two in their size, at
/// most kLeastAlignment: to round 4 bytes for each of batch*sequence up to 64
/// would take 16 times the memory, and a kernel expects no more alignment of
/// its operands than of an element, since it may get the caller's.
inline constexpr int64_t kArenaAlignment = 64;
inline constexpr int64_t kLeastAlignment = 8;

struct ArenaBuffer {
  DimExpr bytes;
  /// The first and the last launch that names it.
  int64_t first = 0, last = 0;
  DimExpr offset; ///< found by planArena
  /// How many values it holds, one written over the other.
  int64_t values = 1;
};

/// Places the buffers so that none that live at once overlap; returns the bytes
/// of the arena.
DimExpr planArena(llvm::MutableArrayRef<ArenaBuffer> buffers);

struct ArenaBytes {
  int64_t naive = 0;      ///< every value its own
  int64_t planned = 0;    ///< of the arena
  int64_t lowerBound = 0; ///< the most that lives at any launch
};

/// What a plan costs at given sizes of the symbols. Nothing on overflow.
std::optional<ArenaBytes> measureArena(
    llvm::ArrayRef<ArenaBuffer> buffers, const DimExpr &total,
    llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> symbols);

} // namespace ferrite
#endif // FERRITE_PASSES_PLANNING_ARENAPLAN_H
