//===- ArenaPlan.cpp - Offsets of buffers of symbolic size ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Planning/ArenaPlan.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <numeric>

using namespace ferrite;

namespace {
struct Placed {
  ArenaBuffer *buffer;
  int64_t unit;       ///< size in multiples of the class
  int64_t offset = 0; ///< likewise
};
} // namespace

/// The greatest common factor of the coefficients: `12*b*s + 4*b` is 4 times
/// the class `3*b*s + b`.
static int64_t factorOf(const DimExpr &bytes) {
  int64_t factor = 0;
  for (const auto &[monomial, coefficient] : bytes.terms())
    factor = std::gcd(factor, coefficient);
  return factor == 0 ? 1 : factor;
}

/// Greedy by size, each into the smallest gap that holds it; returns the units
/// of the class.
static int64_t place(llvm::SmallVectorImpl<Placed> &buffers) {
  llvm::sort(buffers, [](const Placed &a, const Placed &b) {
    return std::tie(b.unit, a.buffer) < std::tie(a.unit, b.buffer);
  });
  int64_t total = 0;
  llvm::SmallVector<const Placed *> done; // by offset
  for (Placed &next : buffers) {
    int64_t end = 0, best = -1, bestGap = INT64_MAX;
    for (const Placed *other : done) {
      if (other->buffer->last < next.buffer->first ||
          next.buffer->last < other->buffer->first)
        continue;
      int64_t gap = other->offset - end;
      if (gap >= next.unit && gap < bestGap) {
        best = end;
        bestGap = gap;
      }
      end = std::max(end, other->offset + other->unit);
    }
    next.offset = best >= 0 ? best : end;
    total = std::max(total, next.offset + next.unit);
    auto after =
        llvm::upper_bound(done, &next, [](const Placed *a, const Placed *b) {
          return a->offset < b->offset;
        });
    done.insert(after, &next);
  }
  return total;
}

/// The power of two that offsets of a buffer of `factor` bytes times its class
/// are multiples of.
static int64_t alignmentOf(int64_t factor) {
  // Rounding a large size up to a whole line costs an eighth at most.
  if (factor % kArenaAlignment == 0 || factor > 8 * kArenaAlignment)
    return kArenaAlignment;
  return std::min(factor & -factor, kLeastAlignment);
}

DimExpr ferrite::planArena(llvm::MutableArrayRef<ArenaBuffer> buffers) {
  // By alignment, the greatest first: where a class ends the next, which wants
  // no more, can begin.
  std::map<std::pair<int64_t, DimExpr>, llvm::SmallVector<Placed>> classes;
  for (ArenaBuffer &buffer : buffers) {
    int64_t factor = factorOf(buffer.bytes);
    DimExpr key =
        buffer.bytes.dividedBy(DimExpr(factor)).value_or(buffer.bytes);
    // A size that does not depend on the shape is rounded once.
    int64_t alignment = key.constant() ? kArenaAlignment : alignmentOf(factor);
    int64_t units = llvm::alignTo(factor, alignment);
    classes[{-alignment, key}].push_back({&buffer, units});
  }
  DimExpr total(0);
  for (auto &[alignmentAndKey, members] : classes) {
    const DimExpr &key = alignmentAndKey.second;
    int64_t units = place(members);
    for (const Placed &placed : members)
      placed.buffer->offset = total + key * DimExpr(placed.offset);
    total = total + key * DimExpr(units);
  }
  return total;
}

std::optional<ArenaBytes> ferrite::measureArena(
    llvm::ArrayRef<ArenaBuffer> buffers, const DimExpr &total,
    llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> symbols) {
  ArenaBytes bytes;
  std::map<int64_t, int64_t> change; // of live bytes, at each launch
  for (const ArenaBuffer &buffer : buffers) {
    std::optional<int64_t> size = buffer.bytes.evaluate(symbols);
    if (!size)
      return std::nullopt;
    bytes.naive += *size * buffer.values;
    change[buffer.first] += *size;
    change[buffer.last + 1] -= *size;
  }
  int64_t live = 0;
  for (auto [launch, difference] : change)
    bytes.lowerBound = std::max(bytes.lowerBound, live += difference);
  std::optional<int64_t> planned = total.evaluate(symbols);
  if (!planned)
    return std::nullopt;
  bytes.planned = *planned;
  return bytes;
}
