//===- BlockSelector.h - The parts of block selection -----------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to EmitSelectBlocks.cpp (units), SelectEstimate.cpp (what each block
// gets) and SelectLists.cpp (which are kept).
//
// Lane `l` of a unit is group `firstGroup + l` of queries. Sums that say what a
// row of the list gets go lane by lane, and each lane by absolute position, so
// that a list has the same bits in any batch.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_BLOCKSELECTOR_H
#define FERRITE_PASSES_CODEGEN_CPU_BLOCKSELECTOR_H

#include "passes/Codegen/CPU/EmitSelectBlocks.h"
#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>
#include <numeric>

namespace ferrite::cpu {

/// Groups of a unit, at every level, for units are counted by the lowest; more
/// where rows of the list would begin in the middle.
inline constexpr int64_t kUnitGroups = 64;
/// Tokens of a page. Runs of fewer than kLeastTokens have no list
/// (SelectRunPagesOp::kLeastTokens).
inline constexpr int64_t kListedPage = 64, kLeastTokens = 65;
/// Positions and windows beyond it are as good as unbounded.
inline constexpr int64_t kMostPosition = int64_t(1) << 60;

class BlockSelector {
public:
  BlockSelector(KernelBuilder &kb, const SelectBlocksSpec &spec)
      : kb(kb), spec(spec), lanes(kb.lanes()),
        width(int64_t(kb.level().columns) * lanes),
        depth(kb.operand(0).shape[3]), padded(llvm::alignTo(depth, lanes)),
        groups(spec.block / spec.stride),
        unitGroups(std::lcm(kUnitGroups, groups)),
        unitRows(unitGroups / groups),
        steps(spec.pooled ? padded : spec.stride * padded),
        columns(llvm::alignTo(spec.blocks, 16)) {
    auto take = [&](int64_t &place, int64_t count) {
      place = floats;
      floats += llvm::alignTo(count, 16);
    };
    take(queries, unitGroups * steps);
    take(panels, unitGroups * steps);
    take(keys, spec.block * padded);
    take(means, spec.pooled ? groups * padded : 0);
    take(addends, groups);
    take(tile, groups * width);
    take(highest, unitGroups);
    take(total, unitGroups);
    take(sums, columns * unitGroups);
    take(maxima, columns * unitGroups);
    take(shares, unitRows * columns);
    take(ranks, columns);
    take(flags, columns);
  }

  void emit() {
    kb.requireScratch(floats * 4);
    spec.isPaged ? emitRuns() : emitBatches();
  }
  bool fits() const { return unitGroups % width == 0; }

private:
  using Value = mlir::Value;

  //===--- where things are ----------------------------------------------===//
  Value place(int64_t offset) { return kb.gep(kb.scratch(), kb.f32(), offset); }
  Value place(int64_t offset, Value row, int64_t stride) {
    return kb.gep(place(offset), kb.f32(), kb.mul(row, stride));
  }
  Value loadVec(Value pointer) { return kb.load(kb.vec(), pointer, 4); }
  void storeVec(Value v, Value pointer) { kb.store(v, pointer, 4); }
  Value clamp(Value x, Value low, Value high) {
    return kb.min(kb.max(x, low), high);
  }
  Value number(float value) {
    return mlir::arith::ConstantOp::create(kb, kb.getF32FloatAttr(value));
  }
  Value isBoth(Value a, Value b) {
    return mlir::arith::AndIOp::create(kb, a, b);
  }
  Value loadInteger(unsigned operand, mlir::ValueRange at) {
    mlir::Type type = kb.operand(operand).elementType;
    Value loaded = kb.load(type, kb.address(operand, at));
    return type.isInteger(64)
               ? loaded
               : mlir::arith::ExtSIOp::create(kb, kb.i64(), loaded);
  }
  Value loadOfBatch(unsigned operand) {
    const OperandLayout &layout = kb.operand(operand);
    bool isOne = layout.shape[0] == 1 || layout.strides[0] == 0;
    Value at = isOne ? kb.c(0) : batch;
    return clamp(loadInteger(operand, {at}), kb.c(-kMostPosition),
                 kb.c(kMostPosition));
  }

  //===--- units ---------------------------------------------------------===//
  void emitBatches();
  void emitRuns();
  void emitUnit();
  Value queryAt(Value position);
  void copyKeys(Value block);
  void copyPage(Value block);
  void zeroKeys(Value from);

  //===--- the estimate --------------------------------------------------===//
  void emitQueries();
  void emitPanels();
  void emitMeans(Value rows, Value count, Value out);
  void emitAddends(Value block);
  void emitBlock(Value block);
  void emitScores(Value block, Value panel);
  void emitWeights(Value block, Value panel);
  void emitShares();
  /// e^(x - maximum), at most 1.
  Value power(Value x, Value maximum);
  /// A maximum, 0 where nothing was seen.
  Value orZero(Value maximum);

  //===--- the list ------------------------------------------------------===//
  void emitRow(Value row);
  void emitChoice(Value row, Value count);
  void emitList(Value row, Value count);
  void emitPageList(Value row, Value count);

  KernelBuilder &kb;
  const SelectBlocksSpec &spec;
  int64_t lanes, width, depth, padded;
  /// Of a block; of a unit, and its rows of the list.
  int64_t groups, unitGroups, unitRows;
  int64_t steps, columns;
  // In scratch, in floats.
  int64_t queries, panels, keys, means, addends, tile, highest, total, sums,
      maxima, shares, ranks, flags, floats = 0;

  // Of the unit. Queries have positions [begin, end); `origin` is that of query
  // `firstToken`. Lanes [low, high) are groups with a query.
  Value batch, head, keyHead, begin, end, origin, firstToken, firstGroup, low,
      high;
  /// Keys there are, those that count, and their blocks: all, and of a list.
  Value keyCount, keyEnd, allBlocks, blocks;
  Value run, table, threshold, keepsAll;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_BLOCKSELECTOR_H
