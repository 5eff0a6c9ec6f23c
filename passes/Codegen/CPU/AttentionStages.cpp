//===- AttentionStages.cpp - What happens to a tile of scores -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A row of the tile never meets another row, and goes through the same
// operations whatever tile it is in: its result has the same bits.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionEmitter.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/MicroKernel.h"
#include "passes/Codegen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kLog2e = 1.4426950408889634;
static constexpr double kInf = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitScores(const Group &group) {
  unsigned columns = kb.level().columns;
  int64_t width = columns * lanes;
  if (spec.byteScores)
    emitCenters(group);
  // Whole panels, where the last may be partly empty; a small rest register by
  // register.
  Value rest = kb.rem(group.upper, width);
  Value small = kb.le(rest, kb.c(width / 2));
  Value whole = kb.sub(group.upper, kb.select(small, rest, kb.c(0)));
  kb.forLoop(group.lower, whole, kb.c(width), [&](Value key) {
    forRows(group.count, scoreRows(columns), [&](Value row, unsigned n) {
      emitScoreTile(group, row, n, key, columns);
    });
  });
  kb.forLoop(whole, group.upper, kb.c(lanes), [&](Value key) {
    forRows(group.count, 8, [&](Value row, unsigned n) {
      emitScoreTile(group, row, n, key, 1);
    });
  });
}

ProductTile AttentionEmitter::makeTile(unsigned rows, unsigned columns,
                                       int64_t rowFloats) {
  ProductTile tile;
  tile.rows = rows;
  tile.columns = columns;
  tile.aType = tile.bType = dots ? Type(kb.getBF16Type()) : kb.f32();
  tile.aRow = kb.c(dots ? 2 * rowFloats : rowFloats);
  tile.aDepth = kb.c(1);
  tile.bGroup = dots ? 2 : 1;
  tile.dots = dots;
  return tile;
}

void AttentionEmitter::emitScoreTile(const Group &group, Value row,
                                     unsigned rows, Value key,
                                     unsigned columns) {
  int64_t width = kb.level().columns * lanes;
  int64_t bytes = ScratchPlan::byteDepth(depth);
  int64_t padded = spec.byteScores
                       ? bytes / 4
                       : llvm::alignTo(depthSteps(), KeyPanels::kDepthUnit);
  ProductTile tile = makeTile(rows, columns, plan.queryStride);
  tile.depth = kb.c(dots ? 2 * padded : padded);
  if (spec.byteScores) {
    tile.depth = kb.c(bytes);
    tile.aType = tile.bType = kb.getI8Type();
    tile.aRow = kb.c(4 * plan.queryStride);
    tile.bGroup = 4;
    tile.dots = false;
    if (raisesQueries())
      tile.start = place(plan.keyStarts, key, 1);
  }
  tile.a = place(plan.queries, kb.add(group.first, row), plan.queryStride);
  Value packed = spec.block > 0 ? kb.add(firstKey, key) : key;
  Value panel = kb.mul(kb.div(packed, width), width * padded);
  tile.b = kb.gep(spec.block > 0 ? panels : place(plan.keys), kb.f32(),
                  kb.add(panel, kb.rem(packed, width)));
  tile.bDepth = kb.c(width);
  if (nextPacked) {
    int64_t bytes = (dots ? 2 * padded : padded) * tile.nextBytes;
    tile.next = kb.gep(nextPacked, kb.getI8Type(),
                       kb.mul(kb.div(row, kb.level().rows), bytes));
  }
  SmallVector<Value> sums = emitProduct(kb, tile);
  if (spec.byteScores)
    emitByteSums(sums, kb.add(group.first, row), key, columns);

  Value scale = kb.splat(spec.scale);
  SmallVector<Value> shared, masks;
  bool perRow = spec.hasSegments;
  for (unsigned i = 0; i < spec.addends.size(); ++i)
    perRow |= !sameForAllRows(i);
  for (unsigned c = 0; c < columns; ++c) {
    Value at = kb.add(key, c * lanes);
    shared.push_back(loadVec(place(plan.keyAddends, at, 1)));
    if (perRow)
      masks.push_back(kb.tailMask(kb.max(kb.sub(blockKeys, at), 0)));
  }
  Value scores = kb.gep(place(plan.scores, row, kTileStride), kb.f32(), key);
  Value maxima = place(plan.maxima, kb.add(group.first, row), lanes);
  for (unsigned r = 0; r < rows; ++r) {
    // A padding row reads the addends of the last one.
    Value at = kb.min(kb.add(kb.add(group.first, row), r), kb.sub(rowCount, 1));
    Value maximum = loadVec(kb.gep(maxima, kb.f32(), r * lanes));
    for (unsigned c = 0; c < columns; ++c) {
      Value addend = shared[c], keys = kb.add(key, c * lanes);
      Value seen = windowMask(at, keys, perRow ? masks[c] : Value());
      for (unsigned i = 0; i < spec.addends.size(); ++i)
        if (!sameForAllRows(i))
          addend = kb.addF(addend, loadAddend(i, queryOf(at), headOf(at), keys,
                                              masks[c], seen));
      Value score = cappedScore(sums[r * columns + c], scale, addend);
      if (seen && cutsWindow())
        score = kb.select(seen, score, kb.splat(-kInf));
      else if (seen && !spec.joined)
        score =
            kb.select(seen, score, kb.addF(score, kb.splat(spec.windowFill)));
      storeVec(score,
               kb.gep(scores, kb.f32(), int64_t(r * kTileStride + c * lanes)));
      maximum = kb.maxF(score, maximum);
    }
    storeVec(maximum, kb.gep(maxima, kb.f32(), r * lanes));
  }
}

Value AttentionEmitter::cappedScore(Value sum, Value scale, Value addend) {
  if (spec.softcap == 0)
    return kb.fma(sum, scale, addend);
  Value ratio = kb.mulF(sum, kb.splat(spec.scale / spec.softcap));
  Value tanh = emitTanh(kb, kb.getLoc(), ratio, kb.level().isAvx512());
  return kb.fma(tanh, kb.splat(spec.softcap), addend);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

Value AttentionEmitter::reduceRows(Value rows,
                                   function_ref<Value(Value, Value)> combine) {
  SmallVector<Value> registers;
  for (int64_t i = 0; i < lanes; ++i)
    registers.push_back(loadVec(kb.gep(rows, kb.f32(), i * lanes)));
  registers = transposeRegisters(kb, registers);
  for (int64_t half = lanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i)
      registers[i] = combine(registers[i], registers[i + half]);
  return registers[0];
}

Value AttentionEmitter::weight(Value score, Value maximum) {
  // Subtracted before it is scaled: a fill near -3.4e38 would overflow.
  Value t = kb.mulF(kb.subF(score, maximum), kb.splat(kLog2e));
  return emitSoftmaxExp2(kb, kb.getLoc(), t, kb.level().isAvx512());
}

void AttentionEmitter::emitWeights(const Group &group) {
  // Sixteen rows at once: a horizontal maximum of each would take longer than
  // its weights when there are few keys. Rows behind the last are garbage that
  // nobody reads.
  kb.forLoop(kb.c(0), group.count, kb.c(lanes), [&](Value row) {
    Value query = kb.add(group.first, row);
    Value highest = reduceRows(place(plan.maxima, query, lanes),
                               [&](Value a, Value b) { return kb.maxF(a, b); });
    // 0 for a row without a score above -inf: its weights are then 0, not NaN.
    Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, highest,
                                       kb.splat(-kInf));
    Value subtracted = kb.select(none, kb.splat(0), highest);
    storeVec(subtracted, place(plan.subtracted, query, 1));
    Value before = place(plan.highest, query, 1);
    kb.ifElse(
        isFirst, [] {},
        [&] {
          // 2^-inf where all before was -inf.
          storeVec(weight(loadVec(before), subtracted),
                   place(plan.decay, query, 1));
        });
    storeVec(highest, before);
  });
  kb.forLoop(kb.c(0), group.count, kb.c(1), [&](Value row) {
    Value maximum = kb.broadcast(
        kb.load(kb.f32(), place(plan.subtracted, kb.add(group.first, row), 1)));
    Value scores = place(plan.scores, row, kTileStride);
    Value sum = kb.forLoop(
        group.lower, group.upper, kb.c(lanes), ValueRange{kb.splat(0)},
        [&](Value key, ValueRange carried) {
          Value at = kb.gep(scores, kb.f32(), key);
          Value w = weight(loadVec(at), maximum);
          // Shorter weights never catch up with the scores.
          if (dots)
            kb.store(kb.roundBF16(w), kb.gep(scores, kb.getBF16Type(), key), 2);
          else
            storeVec(w, at);
          return SmallVector<Value>{kb.addF(carried[0], w)};
        })[0];
    storeVec(sum, place(plan.sums, row, lanes));
  });
  kb.forLoop(kb.c(0), group.count, kb.c(lanes), [&](Value row) {
    Value query = kb.add(group.first, row);
    Value sum = reduceRows(place(plan.sums, row, lanes),
                           [&](Value a, Value b) { return kb.addF(a, b); });
    Value total = place(plan.total, query, 1);
    sum = kb.ifElse(
        isFirst, TypeRange{kb.vec()}, [&] { return SmallVector<Value>{sum}; },
        [&] {
          Value decay = loadVec(place(plan.decay, query, 1));
          return SmallVector<Value>{kb.fma(loadVec(total), decay, sum)};
        })[0];
    storeVec(sum, total);
    if (spec.hasSinks)
      sum = kb.addF(sum, weight(loadVec(place(plan.sinks, query, 1)),
                                loadVec(place(plan.subtracted, query, 1))));
    Value inverse = kb.divF(kb.splat(1), sum);
    if (spec.zeroFullyMasked) {
      Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, sum,
                                         kb.splat(0));
      inverse = kb.select(none, kb.splat(0), inverse);
    }
    storeVec(inverse, place(plan.inverse, query, 1));
  });
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitOutput(const Group &group) {
  int64_t registers = llvm::divideCeil(valueDepth, lanes);
  int64_t most = kb.level().columns;
  int64_t panels = llvm::divideCeil(registers, most);
  for (int64_t p = 0, at = 0; p < panels; ++p) {
    int64_t columns = llvm::divideCeil(registers - at, panels - p);
    forRows(group.count, tileRows(kb.level(), columns),
            [&](Value row, unsigned n) {
              emitOutputTile(group, row, n, at * lanes, columns);
            });
    at += columns;
  }
}

void AttentionEmitter::emitOutputTile(const Group &group, Value row,
                                      unsigned count, int64_t column,
                                      unsigned columns) {
  Value query = kb.add(group.first, row);
  Value output =
      kb.gep(place(plan.output, query, plan.valueStride), kb.f32(), column);
  auto cell = [&](unsigned r, unsigned c) {
    return kb.gep(output, kb.f32(), int64_t(r * plan.valueStride + c * lanes));
  };
  unsigned cells = count * columns;
  SmallVector<Value> start = kb.ifElse(
      isFirst, SmallVector<Type>(cells, kb.vec()),
      [&] { return SmallVector<Value>(cells, kb.splat(0)); },
      [&] {
        SmallVector<Value> decayed;
        for (unsigned r = 0; r < count; ++r) {
          Value decay = kb.broadcast(
              kb.load(kb.f32(), place(plan.decay, kb.add(query, r), 1)));
          for (unsigned c = 0; c < columns; ++c)
            decayed.push_back(kb.mulF(loadVec(cell(r, c)), decay));
        }
        return decayed;
      });
  ProductTile tile = makeTile(count, columns, kTileStride);
  tile.bDepth = kb.c(plan.valueStride);
  Value weights = place(plan.scores, row, kTileStride);
  SmallVector<Value> sums;
  if (spec.block > 0) {
    sums = emitListedProduct(tile, weights, row, column, start);
  } else {
    tile.depth = kb.sub(group.upper, group.lower);
    tile.a = kb.gep(weights, tile.aType, group.lower);
    // `lower` begins a panel, so it is even.
    Value first = dots ? kb.div(group.lower, 2) : group.lower;
    tile.b =
        kb.gep(place(plan.values, first, plan.valueStride), kb.f32(), column);
    sums = emitProduct(kb, tile, start);
  }

  Type storage = kb.operand(result).elementType;
  auto store = [&](unsigned r) {
    Value inverse = kb.broadcast(
        kb.load(kb.f32(), place(plan.inverse, kb.add(query, r), 1)));
    Value at = kb.add(query, r);
    Value to = kb.address(result, {batch, queryOf(at), headOf(at)});
    for (unsigned c = 0; c < columns; ++c) {
      int64_t d = column + c * lanes;
      Value mask =
          valueDepth - d < lanes ? kb.tailMask(kb.c(valueDepth - d)) : Value();
      kb.storeF32(kb.mulF(sums[r * columns + c], inverse),
                  kb.gep(to, storage, d), storage, mask);
    }
  };
  auto finish = [&](unsigned r) {
    if (redoing)
      kb.ifThen(isRedone(kb.add(query, r)), [&] { store(r); });
    else
      store(r);
  };
  kb.ifElse(
      isLast,
      [&] {
        finish(0);
        // Only tiles of the rest have a row too many.
        for (unsigned r = 1; r < count; ++r) {
          if (count != kTailRows)
            finish(r);
          else
            kb.ifThen(kb.lt(kb.add(row, r), group.count), [&] { finish(r); });
        }
      },
      [&] {
        for (unsigned r = 0; r < count; ++r)
          for (unsigned c = 0; c < columns; ++c)
            storeVec(sums[r * columns + c], cell(r, c));
      });
}
