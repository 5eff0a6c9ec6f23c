//===- SelectEstimate.cpp - What each block of keys gets ------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/AttentionPack.h"
#include "passes/Codegen/CPU/BlockSelector.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/VectorMath.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr double kLog2e = 1.4426950408889634;
static constexpr double kInf = std::numeric_limits<double>::infinity();

Value BlockSelector::power(Value x, Value maximum) {
  Value t = kb.mulF(kb.subF(x, maximum), kb.splat(kLog2e));
  return emitSoftmaxExp2(kb, kb.getLoc(), kb.minF(t, kb.splat(0)),
                         kb.level().isAvx512());
}

Value BlockSelector::orZero(Value maximum) {
  Value none = arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, maximum,
                                     kb.splat(-kInf));
  return kb.select(none, kb.splat(0), maximum);
}

//===----------------------------------------------------------------------===//
// Queries and keys
//===----------------------------------------------------------------------===//

Value BlockSelector::queryAt(Value position) {
  return kb.address(
      0, {batch, kb.add(firstToken, kb.sub(position, origin)), head});
}

/// Those of all lanes as f32, zeros where there is none; or the means of each
/// group.
void BlockSelector::emitQueries() {
  Type storage = kb.operand(0).elementType;
  int64_t stride = spec.stride;
  Value first = kb.mul(firstGroup, stride);
  if (!spec.pooled) {
    kb.forLoop(kb.c(0), kb.c(unitGroups * stride), kb.c(1), [&](Value i) {
      Value position = kb.add(first, i);
      Value to = place(queries, i, padded);
      kb.ifElse(
          isBoth(kb.le(begin, position), kb.lt(position, end)),
          [&] { emitCopyRow(kb, to, queryAt(position), storage, depth); },
          [&] {
            kb.forLoop(kb.c(0), kb.c(padded), kb.c(lanes), [&](Value d) {
              storeVec(kb.splat(0), kb.gep(to, kb.f32(), d));
            });
          });
    });
    return;
  }
  kb.forLoop(kb.c(0), kb.c(unitGroups), kb.c(1), [&](Value group) {
    Value from = kb.add(first, kb.mul(group, stride));
    Value to = kb.min(kb.add(from, stride), end);
    kb.forVectors(kb.c(depth), [&](Value d, Value mask) {
      Value sum =
          kb.forLoop(kb.max(from, begin), to, kb.c(1), ValueRange{kb.splat(0)},
                     [&](Value position, ValueRange carried) {
                       Value row = kb.gep(queryAt(position), storage, d);
                       return SmallVector<Value>{
                           kb.addF(carried[0], kb.loadF32(row, storage, mask))};
                     })[0];
      storeVec(kb.mulF(sum, kb.splat(1.0 / stride)),
               kb.gep(place(queries, group, padded), kb.f32(), d));
    });
  });
}

/// Panels of `width` lanes: element `k` of a lane's group. Groups of queries
/// are in reverse order, so that a product adds an antidiagonal.
void BlockSelector::emitPanels() {
  int64_t tokens = spec.pooled ? 1 : spec.stride;
  kb.forLoop(kb.c(0), kb.c(unitGroups), kb.c(lanes), [&](Value lane) {
    Value panel = kb.mul(kb.div(lane, width), width * steps);
    Value to =
        kb.gep(place(panels), kb.f32(), kb.add(panel, kb.rem(lane, width)));
    kb.forLoop(kb.c(0), kb.c(tokens), kb.c(1), [&](Value t) {
      Value source = kb.sub(kb.c(tokens - 1), t);
      kb.forLoop(kb.c(0), kb.c(padded), kb.c(lanes), [&](Value d) {
        SmallVector<Value> rows;
        for (int64_t i = 0; i < lanes; ++i) {
          Value row = kb.add(kb.mul(kb.add(lane, i), tokens), source);
          rows.push_back(
              loadVec(kb.gep(place(queries, row, padded), kb.f32(), d)));
        }
        rows = transposeRegisters(kb, rows);
        Value k = kb.add(kb.mul(t, padded), d);
        for (int64_t i = 0; i < lanes; ++i)
          storeVec(rows[i], kb.gep(to, kb.f32(), kb.mul(kb.add(k, i), width)));
      });
    });
  });
}

void BlockSelector::zeroKeys(Value from) {
  kb.forLoop(kb.max(from, 0), kb.c(spec.block), kb.c(1), [&](Value row) {
    kb.forLoop(kb.c(0), kb.c(padded), kb.c(lanes), [&](Value d) {
      storeVec(kb.splat(0), kb.gep(place(keys, row, padded), kb.f32(), d));
    });
  });
}

/// The keys of a block as f32, one behind the other, zeros where there is none.
void BlockSelector::copyKeys(Value block) {
  Value first = kb.mul(block, spec.block);
  Value count = kb.min(kb.sub(keyCount, first), spec.block);
  if (spec.isPaged) {
    copyPage(block);
  } else {
    Type storage = kb.operand(1).elementType;
    auto row = [&](Value key) {
      return kb.address(1, {batch, kb.add(first, key), keyHead});
    };
    kb.forLoop(kb.c(0), count, kb.c(1), [&](Value key) {
      emitPrefetchRow(kb, row(kb.add(key, kRowsAhead)), storage, depth);
      emitCopyRow(kb, place(keys, key, padded), row(key), storage, depth);
    });
  }
  zeroKeys(count);
}

/// Of a page, which has a key in a column.
void BlockSelector::copyPage(Value block) {
  Type storage = kb.operand(1).elementType, i32 = kb.getI32Type();
  Value number = arith::ExtSIOp::create(
      kb, kb.i64(), kb.load(i32, kb.gep(table, i32, block)));
  Value page = kb.address(1, {number, keyHead});
  auto part = [&](Value d, int64_t count) {
    kb.forLoop(kb.c(0), kb.c(kListedPage), kb.c(lanes), [&](Value key) {
      SmallVector<Value> rows(lanes, kb.splat(0));
      for (int64_t i = 0; i < count; ++i)
        rows[i] =
            kb.loadF32(kb.gep(page, storage,
                              kb.add(kb.mul(kb.add(d, i), kListedPage), key)),
                       storage);
      rows = transposeRegisters(kb, rows);
      for (int64_t i = 0; i < lanes; ++i)
        storeVec(rows[i],
                 kb.gep(place(keys, kb.add(key, i), padded), kb.f32(), d));
    });
  };
  int64_t whole = depth / lanes * lanes;
  kb.forLoop(kb.c(0), kb.c(whole), kb.c(lanes),
             [&](Value d) { part(d, lanes); });
  if (whole < depth)
    part(kb.c(whole), depth - whole);
}

/// Of `stride` rows each.
void BlockSelector::emitMeans(Value rows, Value count, Value out) {
  kb.forLoop(kb.c(0), count, kb.c(1), [&](Value group) {
    kb.forLoop(kb.c(0), kb.c(padded), kb.c(lanes), [&](Value d) {
      Value sum = kb.forLoop(
          kb.c(0), kb.c(spec.stride), kb.c(1), ValueRange{kb.splat(0)},
          [&](Value i, ValueRange carried) {
            Value row = kb.add(kb.mul(group, spec.stride), i);
            Value at = kb.gep(rows, kb.f32(), kb.add(kb.mul(row, padded), d));
            return SmallVector<Value>{kb.addF(carried[0], loadVec(at))};
          })[0];
      storeVec(kb.mulF(sum, kb.splat(1.0 / spec.stride)),
               kb.gep(out, kb.f32(), kb.add(kb.mul(group, padded), d)));
    });
  });
}

//===----------------------------------------------------------------------===//
// The estimate
//===----------------------------------------------------------------------===//

/// -inf for groups of keys none of which counts.
void BlockSelector::emitAddends(Value block) {
  kb.forLoop(kb.c(0), kb.c(groups), kb.c(1), [&](Value group) {
    Value key = kb.add(kb.mul(block, spec.block), kb.mul(group, spec.stride));
    Value to = kb.min(kb.add(key, spec.stride), keyEnd);
    Value counts = kb.lt(key, to);
    if (spec.hasMask) {
      unsigned mask = spec.maskOperand();
      Type i8 = kb.getI8Type();
      Value any = kb.forLoop(
          key, to, kb.c(1), ValueRange{kb.c(0)},
          [&](Value j, ValueRange carried) {
            Value keep = kb.load(i8, kb.address(mask, {batch, j}));
            Value isSet = arith::CmpIOp::create(
                kb, arith::CmpIPredicate::ne, keep,
                arith::ConstantOp::create(kb, kb.getI8IntegerAttr(0)));
            return SmallVector<Value>{kb.select(isSet, kb.c(1), carried[0])};
          })[0];
      counts = kb.eq(any, int64_t(1));
    }
    kb.store(kb.select(counts, number(0), number(-kInf)),
             place(addends, group, 1));
  });
}

void BlockSelector::emitBlock(Value block) {
  copyKeys(block);
  if (spec.pooled)
    emitMeans(place(keys), kb.c(groups), place(means));
  emitAddends(block);
  kb.forLoop(kb.c(0), kb.c(unitGroups / width), kb.c(1), [&](Value panel) {
    emitScores(block, panel);
    emitWeights(block, panel);
  });
}

/// The tile of a block's groups and a panel's lanes.
void BlockSelector::emitScores(Value block, Value panel) {
  // As many rows as divide them all: one size of tile.
  int64_t rows = kb.level().rows;
  while (groups % rows != 0)
    --rows;
  unsigned registers = kb.level().columns;
  Value to = place(tile), from = place(spec.pooled ? means : keys);
  Value b = kb.gep(place(panels), kb.f32(), kb.mul(panel, width * steps));
  Value firstLane = kb.add(firstGroup, kb.mul(panel, width));
  Value firstKey = kb.mul(block, groups);
  kb.callPart(
      "scores", {from, b, to, place(addends), firstLane, firstKey},
      [&](ValueRange p) {
        kb.forLoop(kb.c(0), kb.c(groups), kb.c(rows), [&](Value row) {
          ProductTile product;
          product.rows = rows;
          product.columns = registers;
          product.depth = kb.c(steps);
          product.a = kb.gep(p[0], kb.f32(), kb.mul(row, steps));
          product.aType = product.bType = kb.f32();
          product.aRow = kb.c(steps);
          product.aDepth = kb.c(1);
          product.b = p[1];
          product.bDepth = kb.c(width);
          double scale = spec.scale / (spec.pooled ? 1 : spec.stride);
          for (auto [i, sum] : llvm::enumerate(emitProduct(kb, product))) {
            int64_t r = i / registers, column = i % registers * lanes;
            Value score;
            if (spec.softcap == 0) {
              score = kb.mulF(sum, kb.splat(scale));
            } else {
              Value ratio = kb.mulF(sum, kb.splat(scale / spec.softcap));
              score = kb.mulF(
                  emitTanh(kb, kb.getLoc(), ratio, kb.level().isAvx512()),
                  kb.splat(spec.softcap));
            }
            Value group = kb.add(row, r);
            score = kb.addF(
                score,
                kb.broadcast(kb.load(kb.f32(), kb.gep(p[3], kb.f32(), group))));
            Value key = kb.add(p[5], group);
            Value lane = kb.add(p[4], column);
            auto drop = [&](Value mask, bool inside) {
              Value none = kb.splat(-kInf);
              score = inside ? kb.select(mask, none, score)
                             : kb.select(mask, score, none);
            };
            if (spec.causal)
              drop(kb.tailMask(clamp(kb.sub(key, lane), kb.c(0), kb.c(lanes))),
                   /*inside=*/true);
            if (spec.left >= 0) {
              // The last group of queries that reaches the group's last key.
              Value last =
                  kb.div(kb.add(kb.mul(kb.add(key, 1), spec.stride),
                                std::min(spec.left, kMostPosition) - 1),
                         kb.c(spec.stride));
              drop(kb.tailMask(clamp(kb.sub(kb.add(last, 1), lane), kb.c(0),
                                     kb.c(lanes))),
                   /*inside=*/false);
            }
            storeVec(score, kb.gep(p[2], kb.f32(),
                                   kb.add(kb.mul(group, width), column)));
          }
        });
      });
}

/// What the block gets of each lane, relative to the maximum so far.
void BlockSelector::emitWeights(Value block, Value panel) {
  kb.forLoop(kb.c(0), kb.c(width), kb.c(lanes), [&](Value column) {
    Value lane = kb.add(kb.mul(panel, width), column);
    auto score = [&](Value group) {
      return loadVec(kb.gep(place(tile, group, width), kb.f32(), column));
    };
    Value before = loadVec(place(highest, lane, 1));
    Value top = kb.forLoop(kb.c(0), kb.c(groups), kb.c(1), ValueRange{before},
                           [&](Value group, ValueRange carried) {
                             return SmallVector<Value>{
                                 kb.maxF(score(group), carried[0])};
                           })[0];
    Value subtracted = orZero(top);
    Value sum =
        kb.forLoop(kb.c(0), kb.c(groups), kb.c(1), ValueRange{kb.splat(0)},
                   [&](Value group, ValueRange carried) {
                     return SmallVector<Value>{
                         kb.addF(carried[0], power(score(group), subtracted))};
                   })[0];
    storeVec(top, place(highest, lane, 1));
    storeVec(
        kb.fma(loadVec(place(total, lane, 1)), power(before, subtracted), sum),
        place(total, lane, 1));
    storeVec(sum, kb.gep(place(sums, block, unitGroups), kb.f32(), lane));
    storeVec(subtracted,
             kb.gep(place(maxima, block, unitGroups), kb.f32(), lane));
  });
}

/// What each block gets of each row of the unit.
void BlockSelector::emitShares() {
  emitQueries();
  emitPanels();
  kb.forLoop(kb.c(0), kb.c(unitGroups), kb.c(lanes), [&](Value lane) {
    storeVec(kb.splat(-kInf), place(highest, lane, 1));
    storeVec(kb.splat(0), place(total, lane, 1));
  });
  kb.forLoop(kb.c(0), kb.c(unitRows * columns), kb.c(lanes),
             [&](Value i) { storeVec(kb.splat(0), place(shares, i, 1)); });
  Value first = kb.c(0), last = blocks;
  if (spec.left >= 0)
    first = kb.div(kb.max(kb.sub(kb.mul(firstGroup, spec.stride),
                                 std::min(spec.left, kMostPosition)),
                          0),
                   spec.block);
  if (spec.causal)
    last =
        kb.min(last, kb.ceilDiv(kb.mul(kb.add(firstGroup, high), spec.stride),
                                spec.block));
  kb.forLoop(first, last, kb.c(1), [&](Value block) { emitBlock(block); });
  kb.forLoop(kb.c(0), kb.c(unitGroups), kb.c(lanes), [&](Value lane) {
    Value top = orZero(loadVec(place(highest, lane, 1)));
    Value all = loadVec(place(total, lane, 1));
    Value none =
        arith::CmpFOp::create(kb, arith::CmpFPredicate::OEQ, all, kb.splat(0));
    Value inverse = kb.select(none, kb.splat(0), kb.divF(kb.splat(1), all));
    kb.forLoop(first, last, kb.c(1), [&](Value block) {
      auto at = [&](int64_t rows) {
        return kb.gep(place(rows, block, unitGroups), kb.f32(), lane);
      };
      Value share = kb.mulF(loadVec(at(sums)), power(loadVec(at(maxima)), top));
      storeVec(kb.mulF(share, inverse), at(sums));
    });
  });
  kb.forLoop(low, high, kb.c(1), [&](Value lane) {
    Value row = place(shares, kb.div(lane, groups), columns);
    kb.forLoop(first, last, kb.c(1), [&](Value block) {
      Value from = kb.gep(place(sums, block, unitGroups), kb.f32(), lane);
      Value to = kb.gep(row, kb.f32(), block);
      kb.store(kb.addF(kb.load(kb.f32(), to), kb.load(kb.f32(), from)), to);
    });
  });
}
