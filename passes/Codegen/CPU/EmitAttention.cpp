//===- EmitAttention.cpp - Attention without a score matrix ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// For each block of 512 keys of a chunk of queries:
//
//   K^T into panels; addends that are the same for all queries into one row
//   for each group of 48 queries:
//     scores = fma(Q K^T, scale, addends), row maxima     (register tiles)
//     weights = exp2((scores - maximum) * log2(e)), sums  (row by row)
//     output = output * 2^(old maximum - new) + weights V (register tiles)
//
// The tile of scores and everything packed stay in L2. Rows are padded to an
// even number with rows that are computed and not stored, so there are tiles of
// two sizes instead of one for each rest.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitAttention.h"

#include "passes/Codegen/CPU/AttentionPack.h"
#include "passes/Codegen/CPU/MicroKernel.h"
#include "passes/Codegen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace ferrite::cpu;

// Measured on Zen 4 (codegen.md section 4) and checked on Zen 5.
static constexpr int64_t kChunk = 192; // queries of a unit
static constexpr int64_t kGroup = 48;  // queries of a tile of scores
static constexpr int64_t kBlock = 512; // keys of a tile of scores
// 16 more than a power of two, or rows of the tile share cache sets.
static constexpr int64_t kTileStride = kBlock + 16;
static constexpr int64_t kTailRows = 2;
static constexpr double kLog2e = 1.4426950408889634;
static constexpr double kInf = std::numeric_limits<double>::infinity();

namespace {

/// Where things lie in scratch, in floats.
struct ScratchPlan {
  int64_t queryStride, valueStride; // padded to registers
  int64_t queries, keys, values, keyAddends, scores, output, maxima, sums,
      previous, decay, inverse, total = 0;

  ScratchPlan(int64_t depth, int64_t valueDepth, int64_t lanes) {
    queryStride = llvm::alignTo(depth, lanes);
    valueStride = llvm::alignTo(valueDepth, lanes);
    int64_t rows = kChunk + kTailRows;
    auto take = [&](int64_t &place, int64_t floats) {
      place = total;
      total += llvm::alignTo(floats, 16);
    };
    take(queries, rows * queryStride);
    take(keys, kBlock * llvm::alignTo(depth, KeyPanels::kDepthUnit));
    take(values, kBlock * valueStride);
    take(keyAddends, kBlock);
    take(scores, (kGroup + kTailRows) * kTileStride);
    take(output, rows * valueStride);
    take(maxima, rows * lanes);
    take(sums, rows * lanes);
    take(previous, rows * lanes);
    take(decay, rows);
    take(inverse, rows);
  }
};

class AttentionEmitter {
public:
  AttentionEmitter(KernelBuilder &kb, const AttentionSpec &spec)
      : kb(kb), spec(spec), result(3 + spec.addends.size()),
        depth(kb.operand(0).shape[3]), valueDepth(kb.operand(2).shape[3]),
        lanes(kb.lanes()), plan(depth, valueDepth, lanes) {
    // Storage other than f32, and rests of registers, are handled once per
    // block instead of once per row of the product.
    packValues = !kb.operand(2).elementType.isF32() || valueDepth % lanes != 0;
  }

  void emit();

private:
  void emitUnit(Value unit);
  void emitBlock(Value first);
  void emitKeyAddends();
  void emitScores(Value group, Value rows);
  void emitScoreTile(Value group, Value row, unsigned rows, Value key,
                     unsigned columns);
  void emitWeights(Value group, Value rows);
  void emitOutput(Value group, Value rows);
  void emitOutputTile(Value group, Value row, Value rows, unsigned tileRows,
                      int64_t column, unsigned columns);
  /// Full tiles, then tiles of kTailRows.
  void forRows(Value rows, unsigned full,
               function_ref<void(Value row, unsigned rows)> tile);

  bool sameForAllQueries(unsigned addend);
  Value addendIndex(unsigned addend, unsigned d, Value index);
  /// A register of the addend: f32 values for keys [key, key + lanes).
  Value loadAddend(unsigned addend, Value query, Value key, Value mask);

  Value place(int64_t offset) {
    return kb.gep(kb.scratch(), kb.f32(), offset);
  }
  Value place(int64_t offset, Value index, int64_t stride) {
    return kb.gep(place(offset), kb.f32(), kb.mul(index, stride));
  }
  Value loadVec(Value pointer) { return kb.load(kb.vec(), pointer, 4); }
  void storeVec(Value v, Value pointer) { kb.store(v, pointer, 4); }
  Value exp2(Value t) {
    return emitSoftmaxExp2(kb, kb.getLoc(), t, kb.level().isAvx512());
  }
  /// The maximum to subtract: 0 for a row without any finite score yet.
  Value guarded(Value maximum) {
    Value lowest = kb.splat(-kInf);
    Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, maximum,
                                       lowest);
    return kb.select(none, kb.splat(0), maximum);
  }

  KernelBuilder &kb;
  const AttentionSpec &spec;
  unsigned result;
  int64_t depth, valueDepth, lanes;
  ScratchPlan plan;
  bool packValues;

  // Of the unit.
  Value batch, head, keyHead, firstQuery, queryCount, keyCount;
  // Of the block of keys.
  Value firstKey, blockKeys, isFirst, isLast, values, valueStride;
};

} // namespace

/// The queries of each unit, as even as may be.
static std::pair<Value, Value> chunks(KernelBuilder &kb) {
  Value queries = kb.dim(0, 1);
  Value count = kb.max(kb.ceilDiv(queries, kChunk), 1);
  Value size = kb.mul(kb.ceilDiv(kb.ceilDiv(queries, count), 8), 8);
  return {count, size};
}

void AttentionEmitter::emit() {
  kb.requireScratch(plan.total * 4);
  kb.defineUnits([&] {
    return kb.mul(kb.mul(kb.dim(0, 0), kb.dim(0, 2)), chunks(kb).first);
  });
  kb.defineBody([&] { kb.forUnits([&](Value unit) { emitUnit(unit); }); });
}

void AttentionEmitter::emitUnit(Value unit) {
  auto [count, size] = chunks(kb);
  SmallVector<Value> at =
      kb.delinearize(unit, {kb.dim(0, 0), kb.dim(0, 2), count});
  batch = at[0];
  head = at[1];
  keyHead = kb.div(head, kb.div(kb.dim(0, 2), kb.dim(1, 2)));
  firstQuery = kb.mul(at[2], size);
  // Rounding of the chunks may leave none for the last.
  queryCount = kb.max(kb.min(size, kb.sub(kb.dim(0, 1), firstQuery)), 0);
  keyCount = kb.dim(1, 1);

  Type storage = kb.operand(0).elementType;
  Value source = kb.address(0, {batch, firstQuery, head});
  kb.forLoop(kb.c(0), queryCount, kb.c(1), [&](Value row) {
    emitCopyRow(kb, place(plan.queries, row, plan.queryStride),
                kb.gep(source, storage, kb.mul(row, kb.stride(0, 1))), storage,
                depth);
    storeVec(kb.splat(-kInf), place(plan.maxima, row, lanes));
    storeVec(kb.splat(-kInf), place(plan.previous, row, lanes));
    storeVec(kb.splat(0), place(plan.sums, row, lanes));
  });
  // The row that makes their number even.
  kb.forLoop(kb.c(0), kb.c(plan.queryStride), kb.c(lanes), [&](Value i) {
    storeVec(kb.splat(0),
             kb.gep(place(plan.queries, queryCount, plan.queryStride), kb.f32(),
                    i));
  });
  kb.forLoop(kb.c(0), keyCount, kb.c(kBlock),
             [&](Value key) { emitBlock(key); });
}

void AttentionEmitter::emitBlock(Value first) {
  firstKey = first;
  blockKeys = kb.min(kb.sub(keyCount, first), kBlock);
  isFirst = kb.eq(first, 0);
  isLast = kb.le(keyCount, kb.add(first, kBlock));

  KeyPanels panels{place(plan.keys), int64_t(kb.level().columns) * lanes,
                   depth};
  emitPackKeys(kb, panels, kb.address(1, {batch, firstKey, keyHead}),
               kb.operand(1).elementType, kb.stride(1, 1), blockKeys);
  values = kb.address(2, {batch, firstKey, keyHead});
  valueStride = kb.stride(2, 1);
  if (packValues) {
    Value source = values;
    Type storage = kb.operand(2).elementType;
    kb.forLoop(kb.c(0), blockKeys, kb.c(1), [&](Value key) {
      emitCopyRow(kb, place(plan.values, key, plan.valueStride),
                  kb.gep(source, storage, kb.mul(key, kb.stride(2, 1))),
                  storage, valueDepth);
    });
    values = place(plan.values);
    valueStride = kb.c(plan.valueStride);
  }
  emitKeyAddends();
  kb.forLoop(kb.c(0), queryCount, kb.c(kGroup), [&](Value group) {
    Value rows = kb.min(kb.sub(queryCount, group), kGroup);
    emitScores(group, rows);
    emitWeights(group, rows);
    emitOutput(group, rows);
  });
}

void AttentionEmitter::forRows(Value rows, unsigned full,
                               function_ref<void(Value, unsigned)> tile) {
  Value whole = kb.sub(rows, kb.rem(rows, full));
  kb.forLoop(kb.c(0), whole, kb.c(full), [&](Value row) { tile(row, full); });
  kb.forLoop(whole, rows, kb.c(kTailRows),
             [&](Value row) { tile(row, kTailRows); });
}

//===----------------------------------------------------------------------===//
// Addends
//===----------------------------------------------------------------------===//

/// Whether all indices of dimension d name the same element.
static bool isBroadcast(const OperandLayout &operand, unsigned d) {
  return operand.shape[d] == 1 || operand.strides[d] == 0;
}

bool AttentionEmitter::sameForAllQueries(unsigned addend) {
  const OperandLayout &operand = kb.operand(3 + addend);
  return operand.shape.size() == 2 || isBroadcast(operand, 2);
}

Value AttentionEmitter::addendIndex(unsigned addend, unsigned d, Value index) {
  return isBroadcast(kb.operand(3 + addend), d) ? kb.c(0) : index;
}

Value AttentionEmitter::loadAddend(unsigned addend, Value query, Value key,
                                   Value mask) {
  unsigned i = 3 + addend;
  const OperandLayout &operand = kb.operand(i);
  SmallVector<Value> indices = {addendIndex(addend, 0, batch)};
  if (operand.shape.size() == 4) {
    indices.push_back(addendIndex(addend, 1, head));
    indices.push_back(addendIndex(addend, 2, query));
  }
  bool one = isBroadcast(operand, indices.size());
  indices.push_back(one ? kb.c(0) : kb.add(firstKey, key));
  Value pointer = kb.address(i, indices);
  if (spec.addends[addend].kind == AttentionAddend::Kind::Bias)
    return one ? kb.broadcast(kb.loadScalarF32(pointer, operand.elementType))
               : kb.loadF32(pointer, operand.elementType, mask);
  Type byte = kb.getI8Type();
  Value kept = one ? kb.broadcast(kb.load(byte, pointer))
                   : kb.loadMasked(kb.vec(byte), pointer, mask);
  Value zero = arith::ConstantOp::create(kb, kb.getZeroAttr(kb.vec(byte)));
  Value keeps =
      arith::CmpIOp::create(kb, arith::CmpIPredicate::ne, kept, zero);
  return kb.select(keeps, kb.splat(0), kb.splat(spec.addends[addend].fill));
}

/// One row for the block: what does not depend on the query, and -inf behind
/// the last key.
void AttentionEmitter::emitKeyAddends() {
  kb.forLoop(kb.c(0), kb.c(kBlock), kb.c(lanes), [&](Value key) {
    Value mask = kb.tailMask(kb.max(kb.sub(blockKeys, key), 0));
    Value sum = kb.splat(0);
    for (unsigned i = 0; i < spec.addends.size(); ++i)
      if (sameForAllQueries(i))
        sum = kb.addF(sum, loadAddend(i, kb.c(0), key, mask));
    storeVec(kb.select(mask, sum, kb.splat(-kInf)),
             place(plan.keyAddends, key, 1));
  });
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitScores(Value group, Value rows) {
  unsigned columns = kb.level().columns;
  int64_t width = columns * lanes;
  // Whole panels, where the last may be partly empty; a small rest register by
  // register.
  Value rest = kb.rem(blockKeys, width);
  Value small = kb.le(rest, kb.c(width / 2));
  Value whole = kb.sub(blockKeys, kb.select(small, rest, kb.c(0)));
  kb.forLoop(kb.c(0), whole, kb.c(width), [&](Value key) {
    forRows(rows, kb.level().rows, [&](Value row, unsigned n) {
      emitScoreTile(group, row, n, key, columns);
    });
  });
  kb.forLoop(whole, blockKeys, kb.c(lanes), [&](Value key) {
    forRows(rows, 8, [&](Value row, unsigned n) {
      emitScoreTile(group, row, n, key, 1);
    });
  });
}

void AttentionEmitter::emitScoreTile(Value group, Value row, unsigned rows,
                                     Value key, unsigned columns) {
  int64_t width = kb.level().columns * lanes;
  int64_t padded = llvm::alignTo(depth, KeyPanels::kDepthUnit);
  ProductTile tile;
  tile.rows = rows;
  tile.columns = columns;
  tile.depth = kb.c(padded);
  tile.a = place(plan.queries, kb.add(group, row), plan.queryStride);
  tile.aType = tile.bType = kb.f32();
  tile.aRow = kb.c(plan.queryStride);
  tile.aDepth = kb.c(1);
  Value panel = kb.mul(kb.div(key, width), width * padded);
  tile.b = kb.gep(place(plan.keys), kb.f32(),
                  kb.add(panel, kb.rem(key, width)));
  tile.bDepth = kb.c(width);
  SmallVector<Value> sums = emitProduct(kb, tile);

  Value scale = kb.splat(spec.scale);
  SmallVector<Value> shared, masks;
  bool perQuery = false;
  for (unsigned i = 0; i < spec.addends.size(); ++i)
    perQuery |= !sameForAllQueries(i);
  for (unsigned c = 0; c < columns; ++c) {
    Value at = kb.add(key, c * lanes);
    shared.push_back(loadVec(place(plan.keyAddends, at, 1)));
    if (perQuery)
      masks.push_back(kb.tailMask(kb.max(kb.sub(blockKeys, at), 0)));
  }
  Value scores = kb.gep(place(plan.scores, row, kTileStride), kb.f32(), key);
  Value maxima = place(plan.maxima, kb.add(group, row), lanes);
  for (unsigned r = 0; r < rows; ++r) {
    // A padding row reads the addends of the last query.
    Value query = kb.min(kb.add(kb.add(group, row), r), kb.sub(queryCount, 1));
    query = kb.add(firstQuery, query);
    Value maximum = loadVec(kb.gep(maxima, kb.f32(), r * lanes));
    for (unsigned c = 0; c < columns; ++c) {
      Value addend = shared[c];
      for (unsigned i = 0; i < spec.addends.size(); ++i)
        if (!sameForAllQueries(i))
          addend = kb.addF(addend, loadAddend(i, query,
                                              kb.add(key, c * lanes), masks[c]));
      Value score = kb.fma(sums[r * columns + c], scale, addend);
      storeVec(score,
               kb.gep(scores, kb.f32(), int64_t(r * kTileStride + c * lanes)));
      maximum = kb.maxF(score, maximum);
    }
    storeVec(maximum, kb.gep(maxima, kb.f32(), r * lanes));
  }
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitWeights(Value group, Value rows) {
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value query = kb.add(group, row);
    Value highest = kb.broadcast(
        kb.reduceMax(loadVec(place(plan.maxima, query, lanes))));
    Value maximum = guarded(highest);
    Value log2e = kb.splat(kLog2e);
    // Subtracted before it is scaled: a fill near -3.4e38 would overflow.
    auto weight = [&](Value score) {
      return exp2(kb.mulF(kb.subF(score, maximum), log2e));
    };
    Value scores = place(plan.scores, row, kTileStride);
    Value sum = kb.forLoop(kb.c(0), blockKeys, kb.c(lanes),
                           ValueRange{kb.splat(0)},
                           [&](Value key, ValueRange carried) {
                             Value at = kb.gep(scores, kb.f32(), key);
                             Value w = weight(loadVec(at));
                             storeVec(w, at);
                             return SmallVector<Value>{
                                 kb.addF(carried[0], w)};
                           })[0];
    Value sums = place(plan.sums, query, lanes);
    Value total = kb.ifElse(
        isFirst, TypeRange{kb.vec()}, [&] { return SmallVector<Value>{sum}; },
        [&] {
          // 2^-inf where all before was -inf.
          Value decay = weight(loadVec(place(plan.previous, query, lanes)));
          kb.storeScalarF32(
              vector::ExtractOp::create(kb, decay, ArrayRef<int64_t>{0}),
              place(plan.decay, query, 1), kb.f32());
          return SmallVector<Value>{kb.fma(loadVec(sums), decay, sum)};
        })[0];
    kb.ifElse(
        isLast,
        [&] {
          Value all = kb.reduceAdd(total);
          Value inverse = kb.divF(kb.cf(1), all);
          if (spec.zeroFullyMasked) {
            Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ,
                                               all, kb.cf(0));
            inverse = kb.select(none, kb.cf(0), inverse);
          }
          kb.storeScalarF32(inverse, place(plan.inverse, query, 1), kb.f32());
        },
        [&] {
          storeVec(total, sums);
          storeVec(highest, place(plan.previous, query, lanes));
        });
  });
}

//===----------------------------------------------------------------------===//
// Output
//===----------------------------------------------------------------------===//

void AttentionEmitter::emitOutput(Value group, Value rows) {
  int64_t registers = llvm::divideCeil(valueDepth, lanes);
  int64_t most = kb.level().columns;
  int64_t panels = llvm::divideCeil(registers, most);
  for (int64_t p = 0, at = 0; p < panels; ++p) {
    int64_t columns = llvm::divideCeil(registers - at, panels - p);
    forRows(rows, tileRows(kb.level(), columns), [&](Value row, unsigned n) {
      emitOutputTile(group, row, rows, n, at * lanes, columns);
    });
    at += columns;
  }
}

void AttentionEmitter::emitOutputTile(Value group, Value row, Value rows,
                                      unsigned count, int64_t column,
                                      unsigned columns) {
  Value query = kb.add(group, row);
  Value output = kb.gep(place(plan.output, query, plan.valueStride), kb.f32(),
                        column);
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
  ProductTile tile;
  tile.rows = count;
  tile.columns = columns;
  tile.depth = blockKeys;
  tile.a = place(plan.scores, row, kTileStride);
  tile.aType = tile.bType = kb.f32();
  tile.aRow = kb.c(kTileStride);
  tile.aDepth = kb.c(1);
  tile.b = kb.gep(values, kb.f32(), column);
  tile.bDepth = valueStride;
  SmallVector<Value> sums = emitProduct(kb, tile, start);

  Type storage = kb.operand(result).elementType;
  auto finish = [&](unsigned r) {
    Value inverse = kb.broadcast(
        kb.load(kb.f32(), place(plan.inverse, kb.add(query, r), 1)));
    Value to = kb.address(
        result, {batch, kb.add(kb.add(firstQuery, query), r), head});
    for (unsigned c = 0; c < columns; ++c) {
      int64_t at = column + c * lanes;
      Value mask = valueDepth - at < lanes
                       ? kb.tailMask(kb.c(valueDepth - at))
                       : Value();
      kb.storeF32(kb.mulF(sums[r * columns + c], inverse),
                  kb.gep(to, storage, at), storage, mask);
    }
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
            kb.ifThen(kb.lt(kb.add(row, r), rows), [&] { finish(r); });
        }
      },
      [&] {
        for (unsigned r = 0; r < count; ++r)
          for (unsigned c = 0; c < columns; ++c)
            storeVec(sums[r * columns + c], cell(r, c));
      });
}

//===----------------------------------------------------------------------===//
// Entry
//===----------------------------------------------------------------------===//

int64_t ferrite::cpu::attentionScratchBytes(const KernelLayout &layout,
                                            const CpuLevel &level) {
  return 4 * ScratchPlan(layout.operands[0].shape[3],
                         layout.operands[2].shape[3], level.lanes)
                 .total;
}

static LogicalResult verifyLayout(KernelBuilder &kb,
                                  const AttentionSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "attention kernel: " << why;
  };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  unsigned addends = spec.addends.size();
  if (kb.layout().operands.size() != 4 + addends)
    return fail("expects q, k, v, one operand per addend and the result");
  for (unsigned i : {0u, 1u, 2u, 3 + addends}) {
    const OperandLayout &operand = kb.operand(i);
    if (operand.shape.size() != 4 || !isFloat(operand.elementType) ||
        ShapedType::isDynamic(operand.shape[3]) || operand.strides[3] != 1)
      return fail("expects q, k, v and the result as floats of rank 4 with a "
                  "static innermost size of stride 1");
  }
  for (unsigned i = 0; i < addends; ++i) {
    const OperandLayout &operand = kb.operand(3 + i);
    unsigned rank = operand.shape.size();
    if (rank != 2 && rank != 4)
      return fail("expects addends of rank 2 or 4");
    if (operand.strides.back() != 1 && !isBroadcast(operand, rank - 1))
      return fail("expects addends of innermost stride 1 or 0");
    bool bias = spec.addends[i].kind == AttentionAddend::Kind::Bias;
    if (bias ? !isFloat(operand.elementType)
             : !operand.elementType.isInteger(8) &&
                   !operand.elementType.isInteger(1))
      return fail("expects a bias of floats, a mask of bools or bytes");
  }
  return success();
}

LogicalResult ferrite::cpu::emitAttention(KernelBuilder &kb,
                                          const AttentionSpec &spec) {
  if (failed(verifyLayout(kb, spec)))
    return failure();
  AttentionEmitter(kb, spec).emit();
  return success();
}
