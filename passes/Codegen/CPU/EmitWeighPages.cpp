//===- EmitWeighPages.cpp - What keys get of attention --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Scores of a tile of rows and one page of keys are made twice: for the
// maximum and the sum of each row, and then for weights, which are added up as
// integers where the result is. So nothing is as long as the sequence but that,
// and a weight is the same whatever tile its row is in.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPages.h"
#include "passes/Codegen/CPU/KvRecord.h"
#include "passes/Codegen/CPU/MicroKernel.h"
#include "passes/Codegen/CPU/VectorMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cstring>
#include <limits>

using namespace mlir;
using namespace ferrite::cpu;

namespace {
constexpr int64_t kPage = 64;
constexpr unsigned kQuery = 0, kKeys = 1, kBegins = 2, kContexts = 3,
                   kTables = 4, kRuns = 5, kTokens = 6, kResult = 7;
constexpr double kLog2e = 1.4426950408889634;
/// Weights are counted in 1 / kUnit. The other is 1.5 * 2^52: a double that it
/// is added to, of less than 2^51, is rounded to an integer, which its low bits
/// then are.
constexpr double kUnit = 0x1p32, kRound = 0x1.8p52;

class WeighEmitter {
public:
  WeighEmitter(KernelBuilder &kb, const WeighPagesSpec &spec)
      : kb(kb), spec(spec), heads(kb.operand(kQuery).shape[2]),
        keyHeads(kb.operand(kKeys).shape[1]), group(heads / keyHeads),
        depth(kb.operand(kQuery).shape[3]),
        record(KvRecord::of(kb.operand(kKeys).elementType,
                            kb.operand(kKeys).shape[2])),
        lanes(kb.lanes()),
        columns(std::min<unsigned>(kb.level().columns, kPage / kb.lanes())),
        most(tileRows(kb.level(), columns)),
        queryStride(llvm::alignTo(depth, lanes)) {
    auto take = [&](int64_t count) {
      int64_t place = floats;
      floats += llvm::alignTo(count, 16);
      return place;
    };
    queries = take(most * queryStride);
    scores = take(most * kPage);
    highest = take(most * lanes);
    total = take(most * lanes);
    wide = take(record ? depth * kPage : 0);
  }

  void emit() {
    kb.requireScratch(floats * 4);
    kb.defineUnits([&] { return kb.mul(kb.dim(kRuns, 0), keyHeads); });
    kb.defineBody([&] {
      kb.forUnits([&](Value unit) {
        emitUnit(kb.div(unit, keyHeads), kb.rem(unit, keyHeads));
      });
    });
  }

private:
  Value loadInt(unsigned operand, ValueRange at) {
    return arith::ExtSIOp::create(
        kb, kb.i64(), kb.load(kb.getI32Type(), kb.address(operand, at)));
  }
  Value place(int64_t offset, int64_t row, int64_t stride) {
    return kb.gep(kb.scratch(), kb.f32(), offset + row * stride);
  }
  Type keyType() {
    if (record)
      return kb.f32();
    return kb.operand(kKeys).elementType;
  }

  void emitUnit(Value row, Value keyHead) {
    Value run = kb.load(kb.i64(), kb.address(kRuns, {row}));
    Value begin = loadInt(kBegins, {run});
    Value length = kb.sub(loadInt(kBegins, {kb.add(run, 1)}), begin);
    Value count = kb.max(kb.min(loadInt(kTokens, {row}), length), 0);
    Value first = kb.sub(length, count);
    Value context = loadInt(kContexts, {run});
    Value to = kb.address(kResult, {row, keyHead});
    auto integers = kb.vec(kb.i64());
    Value zeros = arith::ConstantOp::create(kb, kb.getZeroAttr(integers));
    kb.forLoop(kb.c(0), kb.dim(kResult, 2), kb.c(lanes),
               [&](Value at) { kb.store(zeros, kb.gep(to, kb.i64(), at), 8); });
    Value table = kb.address(kTables, {run});
    Value pool = kb.address(kKeys, {kb.c(0), keyHead});
    forRowTiles(kb, kb.mul(count, group), most, [&](Value at, unsigned rows) {
      copyQueries(kb.add(begin, first), keyHead, at, rows);
      kb.callPart("tile." + std::to_string(rows),
                  {pool, kb.stride(kKeys, 0), table, kb.add(context, first), at,
                   to, kb.scratch()},
                  [&](ValueRange p) { emitTile(p, rows); });
    });
  }

  /// In units of a score: in powers of two where nothing bends it.
  void copyQueries(Value firstToken, Value keyHead, Value at, unsigned rows) {
    Type storage = kb.operand(kQuery).elementType;
    double scale =
        spec.softcap == 0 ? spec.scale * kLog2e : spec.scale / spec.softcap;
    for (unsigned r = 0; r < rows; ++r) {
      Value row = kb.add(at, int64_t(r));
      Value head = kb.add(kb.mul(keyHead, group), kb.rem(row, group));
      Value token = kb.add(firstToken, kb.div(row, group));
      Value from = kb.address(kQuery, {kb.c(0), token, head});
      kb.forVectors(kb.c(depth), [&](Value d, Value mask) {
        Value q = kb.loadF32(kb.gep(from, storage, d), storage, mask);
        kb.store(kb.mulF(q, kb.splat(scale)),
                 kb.gep(place(queries, r, queryStride), kb.f32(), d), 4);
      });
    }
  }

  struct Tile {
    Value pool, pageStride, table, firstIndex, firstRow, to, scratch;
    unsigned rows;
  };
  Value at(const Tile &tile, int64_t offset) {
    return kb.gep(tile.scratch, kb.f32(), offset);
  }
  /// Behind the last key that row `r` sees.
  Value endOf(const Tile &tile, unsigned r) {
    return kb.add(kb.add(tile.firstIndex,
                         kb.div(kb.add(tile.firstRow, int64_t(r)), group)),
                  1);
  }

  void emitTile(ValueRange p, unsigned rows) {
    Tile tile{p[0], p[1], p[2], p[3], p[4], p[5], p[6], rows};
    Value none = kb.splat(-std::numeric_limits<double>::infinity());
    for (unsigned r = 0; r < rows; ++r) {
      kb.store(none, at(tile, highest + r * lanes), 4);
      kb.store(kb.splat(0), at(tile, total + r * lanes), 4);
    }
    forPages(tile, [&](Value) {
      for (unsigned r = 0; r < rows; ++r)
        addToSum(tile, r);
    });
    SmallVector<Value> tops, inverses;
    for (unsigned r = 0; r < rows; ++r) {
      tops.push_back(kb.load(kb.vec(), at(tile, highest + r * lanes), 4));
      Value sum =
          kb.reduceAdd(kb.load(kb.vec(), at(tile, total + r * lanes), 4));
      inverses.push_back(kb.broadcast(kb.divF(kb.cf(1), sum)));
    }
    forPages(tile, [&](Value key) {
      for (int64_t i = 0; i < kPage; i += lanes)
        addWeights(tile, tops, inverses, key, i);
    });
  }

  /// Scores of the tile and each page that it sees some of, in scratch; -inf
  /// where a row does not.
  void forPages(const Tile &tile, function_ref<void(Value key)> body) {
    kb.forLoop(kb.c(0), endOf(tile, tile.rows - 1), kb.c(kPage),
               [&](Value key) {
                 Type i32 = kb.getI32Type();
                 Value page = arith::ExtSIOp::create(
                     kb, kb.i64(),
                     kb.load(i32, kb.gep(tile.table, i32, kb.div(key, kPage))));
                 Type storage = kb.operand(kKeys).elementType;
                 if (storage.isUnsignedInteger())
                   storage = kb.getI8Type();
                 Value from =
                     kb.gep(tile.pool, storage, kb.mul(page, tile.pageStride));
                 if (record) {
                   emitUnpackKeys(kb, *record, from, Value(), at(tile, wide));
                   from = at(tile, wide);
                 }
                 ProductTile product;
                 product.rows = tile.rows;
                 product.columns = columns;
                 product.depth = kb.c(depth);
                 product.a = at(tile, queries);
                 product.aType = kb.f32();
                 product.aRow = kb.c(queryStride);
                 product.aDepth = kb.c(1);
                 product.bType = keyType();
                 product.bDepth = kb.c(kPage);
                 kb.forLoop(kb.c(0), kb.c(kPage), kb.c(columns * lanes),
                            [&](Value column) {
                              product.b = kb.gep(from, product.bType, column);
                              emitScores(tile, product, key, column);
                            });
                 body(key);
               });
  }

  void emitScores(const Tile &tile, const ProductTile &product, Value key,
                  Value column) {
    Value none = kb.splat(-std::numeric_limits<double>::infinity());
    for (auto [i, sum] : llvm::enumerate(emitProduct(kb, product))) {
      unsigned r = i / columns;
      int64_t offset = int64_t(i % columns) * lanes;
      if (spec.softcap != 0)
        sum = kb.mulF(emitTanh(kb, kb.getLoc(), sum, kb.level().isAvx512()),
                      kb.splat(spec.softcap * kLog2e));
      Value first = kb.add(kb.add(key, column), offset);
      Value seen =
          kb.tailMask(kb.max(kb.min(kb.sub(endOf(tile, r), first), lanes), 0));
      kb.store(kb.select(seen, sum, none),
               kb.gep(at(tile, scores + r * kPage + offset), kb.f32(), column),
               4);
    }
  }

  Value scoresOf(const Tile &tile, unsigned r, int64_t column) {
    return kb.load(kb.vec(), at(tile, scores + r * kPage + column), 4);
  }
  Value power(Value x) {
    return emitSoftmaxExp2(kb, kb.getLoc(), x, kb.level().isAvx512());
  }

  void addToSum(const Tile &tile, unsigned r) {
    Value topAt = at(tile, highest + r * lanes),
          sumAt = at(tile, total + r * lanes);
    Value before = kb.load(kb.vec(), topAt, 4),
          sum = kb.load(kb.vec(), sumAt, 4);
    Value top = scoresOf(tile, r, 0);
    for (int64_t i = lanes; i < kPage; i += lanes)
      top = kb.maxF(scoresOf(tile, r, i), top);
    // Each row sees the first page, so there is one from then on.
    top = kb.maxF(kb.broadcast(kb.reduceMax(top)), before);
    sum = kb.mulF(sum, power(kb.subF(before, top)));
    for (int64_t i = 0; i < kPage; i += lanes)
      sum = kb.addF(sum, power(kb.subF(scoresOf(tile, r, i), top)));
    kb.store(top, topAt, 4);
    kb.store(sum, sumAt, 4);
  }

  void addWeights(const Tile &tile, ArrayRef<Value> tops,
                  ArrayRef<Value> inverses, Value key, int64_t column) {
    VectorType integers = kb.vec(kb.i64()), doubles = kb.vec(kb.getF64Type());
    auto splat = [&](double value) -> Value {
      return arith::ConstantOp::create(kb,
                                       DenseElementsAttr::get(doubles, value));
    };
    Value to = kb.gep(kb.gep(tile.to, kb.i64(), key), kb.i64(), column);
    Value sum = kb.load(integers, to, 8);
    int64_t zero;
    double round = kRound;
    std::memcpy(&zero, &round, sizeof zero);
    Value zeros =
        arith::ConstantOp::create(kb, DenseElementsAttr::get(integers, zero));
    for (unsigned r = 0; r < tile.rows; ++r) {
      Value weight = kb.mulF(power(kb.subF(scoresOf(tile, r, column), tops[r])),
                             inverses[r]);
      Value exact = arith::ExtFOp::create(kb, doubles, weight);
      exact = arith::MulFOp::create(kb, exact, splat(kUnit));
      exact = arith::AddFOp::create(kb, exact, splat(kRound));
      Value bits = arith::BitcastOp::create(kb, integers, exact);
      sum = arith::AddIOp::create(kb, sum,
                                  arith::SubIOp::create(kb, bits, zeros));
    }
    kb.store(sum, to, 8);
  }

  KernelBuilder &kb;
  const WeighPagesSpec &spec;
  int64_t heads, keyHeads, group, depth;
  std::optional<KvRecord> record; ///< of pools of bytes
  int64_t lanes;
  unsigned columns, most;
  int64_t queryStride;
  // In scratch, in floats.
  int64_t queries, scores, highest, total, wide, floats = 0;
};
} // namespace

LogicalResult ferrite::cpu::emitWeighPages(KernelBuilder &kb,
                                           const WeighPagesSpec &spec) {
  auto fail = [&](const Twine &why) {
    return mlir::emitError(kb.getLoc()) << "kernel that weighs keys: " << why;
  };
  if (kb.layout().operands.size() != 8)
    return fail("expects queries, keys, begins, contexts, page tables, runs, "
                "their tokens and the result");
  const OperandLayout &q = kb.operand(kQuery), &keys = kb.operand(kKeys);
  if (q.shape.size() != 4 || ShapedType::isDynamic(q.shape[2]) ||
      ShapedType::isDynamic(q.shape[3]) || q.strides[3] != 1)
    return fail("expects queries of [1, tokens, heads, size] with static heads "
                "and size of stride 1");
  auto record = keys.shape.size() == 4
                    ? KvRecord::of(keys.elementType, keys.shape[2])
                    : std::nullopt;
  if (keys.shape.size() != 4 || ShapedType::isDynamic(keys.shape[1]) ||
      q.shape[2] % keys.shape[1] != 0 || keys.shape[3] != kPage ||
      keys.strides[3] != 1 || keys.strides[2] != kPage ||
      (record ? record->depth : keys.shape[2]) != q.shape[3])
    return fail("expects pages of keys that fit the queries");
  for (unsigned i : {kBegins, kContexts, kTables, kTokens})
    if (!kb.operand(i).elementType.isInteger(32) ||
        kb.operand(i).strides.back() != 1)
      return fail("expects begins, contexts, page tables and tokens as "
                  "adjacent i32");
  for (unsigned i : {kRuns, kResult})
    if (!kb.operand(i).elementType.isInteger(64) ||
        kb.operand(i).strides.back() != 1)
      return fail("expects runs and the result as adjacent i64");
  WeighEmitter(kb, spec).emit();
  return success();
}
