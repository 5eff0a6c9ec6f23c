//===- MicroKernel.cpp - Register tiles of a matrix product ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The order in which operations are emitted here is the schedule: LLVM keeps it
// within reason (codegen.md 2.5), so each broadcast stands beside its FMAs.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/MicroKernel.h"
#include "passes/Codegen/CPU/BodyEvaluator.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/HalfProduct.h"
#include "passes/Codegen/CPU/OuterProduct.h"
#include "passes/Codegen/CPU/ProductStep.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite::cpu;

static constexpr int64_t kCacheLine = 64;

unsigned ferrite::cpu::tileRows(const CpuLevel &level, unsigned columns,
                                bool isBytes) {
  // Twice the registers of B, two of A and one for the pairs' products; where
  // each byte is widened, one more of each column.
  if (isBytes && level.byteDot() == ByteDot::Pairs)
    return std::min((level.registers - 2 * columns - 3) / columns, 8u);
  if (isBytes && level.byteDot() == ByteDot::Ones)
    return std::min((level.registers - 3 * columns - 3) / columns, 8u);
  // rows * columns accumulators, `columns` of B, two broadcasts in flight.
  unsigned fit = (level.registers - columns - 2) / columns;
  // More rows than 8 make more tails than they save loads.
  return columns >= level.columns ? level.rows : std::min(fit, 8u);
}

SmallVector<Value> ferrite::cpu::emitProduct(KernelBuilder &kb,
                                             const ProductTile &tile,
                                             ArrayRef<Value> from) {
  if (tile.bGroup == 2)
    return emitPairProduct(kb, tile, from);
  if (tile.halves)
    return emitHalfProduct(kb, tile);
  if (isByteProduct(tile.aType, tile.bType) &&
      kb.level().byteDot() == ByteDot::Blocks)
    return emitBlockProduct(kb, tile, from);
  // Pointers to the rows of A, so that the loop has one index.
  SmallVector<Value> rows;
  for (unsigned r = 0; r < tile.rows; ++r)
    rows.push_back(tile.aRows.empty()
                       ? kb.gep(tile.a, tile.aType, kb.mul(tile.aRow, r))
                       : tile.aRows[r]);

  std::unique_ptr<ProductStep> arithmetic =
      ProductStep::make(kb, tile.aType, tile.bType);
  int64_t group = arithmetic->group(), unroll = arithmetic->unroll();
  std::optional<int64_t> depth = KernelBuilder::constantOf(tile.depth);
  int64_t bytes = tile.columns * kb.lanes() * group *
                  tile.bType.getIntOrFloatBitWidth() / 8;
  auto step = [&](Value k, int64_t ahead, int64_t count,
                  SmallVector<Value> &sums) {
    Value at = kb.add(k, ahead * group);
    Value b = kb.gep(tile.b, tile.bType, kb.mul(at, tile.bDepth));
    if (tile.prefetchBytes)
      for (int64_t line = 0; line < bytes; line += kCacheLine)
        kb.prefetch(kb.gep(b, kb.getI8Type(), tile.prefetchBytes + line));
    auto loadB = [&](unsigned c) {
      return arithmetic->loadColumns(
          kb.gep(b, tile.bType, int64_t(c) * kb.lanes() * group),
          tile.bMasks.empty() ? Value() : tile.bMasks[c]);
    };
    Value inA = at;
    if (tile.aIndex) {
      Type i16 = kb.getI16Type();
      Value place = kb.gep(tile.aIndex, i16, kb.div(at, group));
      inA = kb.mul(
          arith::ExtUIOp::create(kb, kb.getI64Type(), kb.load(i16, place)),
          group);
    }
    Value aOffset = kb.mul(inA, tile.aDepth);
    auto broadcastA = [&](unsigned r) {
      return arithmetic->loadRow(kb.gep(rows[r], tile.aType, aOffset), count,
                                 depth.value_or(0));
    };
    auto multiplyAdd = [&](const ProductStep::Registers &row,
                           const ProductStep::Registers &columns, Value sum) {
      return arithmetic->multiplyAdd(row, columns, sum);
    };
    emitOuterProduct(tile, loadB, broadcastA, multiplyAdd, sums);
  };

  auto prefetchNext = [&](Value k) {
    Value place = kb.gep(tile.next, kb.getI8Type(), kb.mul(k, tile.nextBytes));
    for (int64_t line = 0; line < unroll * group * tile.nextBytes;
         line += kCacheLine)
      kb.prefetch(kb.gep(place, kb.getI8Type(), line));
  };

  auto sumVector = kb.vec(arithmetic->sumType());
  SmallVector<Value> sums(from.begin(), from.end());
  for (unsigned c = 0; tile.start && c < tile.columns; ++c)
    sums.push_back(
        kb.load(sumVector, kb.gep(tile.start, sumVector.getElementType(),
                                  c * kb.lanes())));
  for (unsigned i = tile.columns; tile.start && i < tile.rows * tile.columns;
       ++i)
    sums.push_back(sums[i - tile.columns]);
  if (sums.empty())
    sums.assign(tile.rows * tile.columns,
                arith::ConstantOp::create(kb, kb.getZeroAttr(sumVector)));
  int64_t most = unroll * group;
  Value unrolled = kb.sub(tile.depth, kb.rem(tile.depth, most));
  Value whole = kb.sub(tile.depth, kb.rem(tile.depth, group));
  sums = kb.forLoop(kb.c(0), unrolled, kb.c(most), sums,
                    [&](Value k, ValueRange carried) {
                      SmallVector<Value> next(carried.begin(), carried.end());
                      if (tile.next)
                        prefetchNext(k);
                      for (int64_t ahead = 0; ahead < unroll; ++ahead)
                        step(k, ahead, group, next);
                      return next;
                    });
  sums = kb.forLoop(unrolled, whole, kb.c(group), sums,
                    [&](Value k, ValueRange carried) {
                      SmallVector<Value> next(carried.begin(), carried.end());
                      step(k, 0, group, next);
                      return next;
                    });
  if (int64_t rest = depth.value_or(0) % group)
    step(whole, 0, rest, sums);
  return sums;
}

void ferrite::cpu::emitWidenedRows(KernelBuilder &kb, ProductTile &tile,
                                   Value rows, Value copy, int64_t copyRow) {
  bool inOrder = KernelBuilder::constantOf(tile.aDepth) == 1;
  Type to = tile.dots ? tile.aType : kb.f32();
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value from = kb.gep(tile.a, tile.aType, kb.mul(row, tile.aRow));
    Value out = kb.gep(copy, to, kb.mul(row, copyRow));
    if (inOrder)
      return kb.forVectors(tile.depth, [&](Value k, Value mask) {
        if (tile.dots) {
          Type i16 = kb.getI16Type();
          return kb.store(
              kb.loadMasked(kb.vec(i16), kb.gep(from, i16, k), mask),
              kb.gep(out, i16, k));
        }
        kb.store(kb.loadF32(kb.gep(from, tile.aType, k), tile.aType, mask),
                 kb.gep(out, to, k));
      });
    kb.forLoop(kb.c(0), tile.depth, kb.c(1), [&](Value k) {
      Value at = kb.gep(from, tile.aType, kb.mul(k, tile.aDepth));
      if (tile.dots)
        kb.store(kb.load(kb.getI16Type(), at), kb.gep(out, to, k));
      else
        kb.storeScalarF32(kb.loadScalarF32(at, tile.aType), kb.gep(out, to, k),
                          to);
    });
    // The partner of a last odd k.
    if (tile.dots)
      kb.store(arith::ConstantOp::create(kb, kb.getI16IntegerAttr(0)),
               kb.gep(out, to, tile.depth));
  });
  tile.a = copy;
  tile.aType = to;
  tile.aRow = kb.c(copyRow);
  tile.aDepth = kb.c(1);
}

void ferrite::cpu::emitProductPart(KernelBuilder &kb, StringRef tag,
                                   const ProductTile &tile, Value out,
                                   int64_t outRow, bool goOn) {
  assert(tile.bMasks.empty() && "a part takes no masks");
  ProductTile inner = tile;
  SmallVector<Value> arguments{tile.aRows.empty() ? tile.a : tile.aRows[0],
                               tile.b, out};
  SmallVector<std::pair<Value *, size_t>> passed;
  for (Value &row : MutableArrayRef(inner.aRows)) {
    passed.push_back({&row, arguments.size()});
    arguments.push_back(row);
  }
  for (auto [value, place] :
       {std::pair(tile.next, &inner.next), std::pair(tile.start, &inner.start),
        std::pair(tile.aIndex, &inner.aIndex)})
    if (value) {
      passed.push_back({place, arguments.size()});
      arguments.push_back(value);
    }
  for (auto [value, place] :
       {std::pair(tile.depth, &inner.depth), std::pair(tile.aRow, &inner.aRow),
        std::pair(tile.aDepth, &inner.aDepth),
        std::pair(tile.bDepth, &inner.bDepth)})
    if (value && !KernelBuilder::constantOf(value)) {
      passed.push_back({place, arguments.size()});
      arguments.push_back(value);
    }
  std::string name = (tag + llvm::Twine(tile.rows) + "x" +
                      llvm::Twine(tile.columns * kb.lanes()))
                         .str();
  kb.callPart(name, arguments, [&](ValueRange parameters) {
    // What is constant is constant again, in this function.
    for (Value *size :
         {&inner.depth, &inner.aRow, &inner.aDepth, &inner.bDepth})
      if (auto known = *size ? KernelBuilder::constantOf(*size) : std::nullopt)
        *size = kb.c(*known);
    for (auto [place, index] : passed)
      *place = parameters[index];
    inner.a = parameters[0];
    inner.b = parameters[1];
    auto place = [&](unsigned i) {
      return kb.gep(parameters[2], kb.f32(),
                    int64_t(i / tile.columns) * outRow +
                        int64_t(i % tile.columns) * kb.lanes());
    };
    auto sums =
        kb.vec(isByteProduct(tile.aType, tile.bType) ? Type(kb.getI32Type())
                                                     : kb.f32());
    SmallVector<Value> from;
    for (unsigned i = 0; goOn && i < tile.rows * tile.columns; ++i)
      from.push_back(kb.load(sums, place(i)));
    for (auto [i, sum] : llvm::enumerate(emitProduct(kb, inner, from)))
      kb.store(sum, place(i));
  });
}

void ferrite::cpu::forRowTiles(KernelBuilder &kb, Value count, unsigned maxRows,
                               function_ref<void(Value, unsigned)> tile,
                               function_ref<void(Value, Value)> after) {
  Value most = kb.c(maxRows);
  Value rest = kb.rem(count, most);
  Value fullTiles = kb.div(count, most);
  // A rest of maxRows - 1 is as good as a full tile; a smaller one takes a full
  // tile's rows and gives half back.
  if (maxRows > 2) {
    Value shared = kb.select(
        kb.lt(kb.c(0), fullTiles),
        kb.select(kb.lt(rest, maxRows - 1), kb.c(1), kb.c(0)), kb.c(0));
    shared = kb.select(kb.eq(rest, int64_t(0)), kb.c(0), shared);
    fullTiles = kb.sub(fullTiles, shared);
  }
  Value full = kb.mul(fullTiles, most);
  kb.forLoop(kb.c(0), full, most, [&](Value row) {
    tile(row, maxRows);
    if (after)
      after(row, most);
  });
  rest = kb.sub(count, full);
  if (maxRows == 1 || KernelBuilder::constantOf(rest) == 0)
    return;
  // At most two tiles, of sizes below maxRows.
  Value size = kb.select(kb.lt(rest, maxRows), rest, kb.ceilDiv(rest, 2));
  // An empty rest has no tile: its size must not stop the loop.
  kb.forLoop(full, count, kb.max(size, 1), [&](Value row) {
    Value rows = kb.min(size, kb.sub(count, row));
    std::function<void(unsigned)> choose = [&](unsigned n) {
      if (n == 1)
        return tile(row, 1);
      kb.ifElse(kb.eq(rows, n), [&] { tile(row, n); }, [&] { choose(n - 1); });
    };
    choose(maxRows - 1);
    if (after)
      after(row, rows);
  });
}

LogicalResult ferrite::cpu::emitEpilogue(KernelBuilder &kb,
                                         const Epilogue &epilogue, Value tile,
                                         Value tileStride, Value row,
                                         Value rows, Value column,
                                         unsigned columns,
                                         ArrayRef<Value> masks) {
  auto mask = [&](unsigned c) { return masks.empty() ? Value() : masks[c]; };
  // What is the same for all rows is read once.
  SmallVector<SmallVector<Value>> shared(epilogue.sides.size());
  auto loadSide = [&](unsigned i, Value r, unsigned c) {
    const EpilogueSide &side = epilogue.sides[i];
    Type type = epilogue.body->getArgument(i + 1).getType();
    Type memory = memoryType(side.type);
    Value start = kb.gep(side.base, memory, kb.mul(r, side.rowStride));
    if (side.columnStride == 0)
      return kb.broadcast(loadElements(kb, start, side.type, type, 1));
    start = kb.gep(start, memory, column);
    return loadElements(kb, kb.gep(start, memory, int64_t(c) * kb.lanes()),
                        side.type, type, kb.lanes(), mask(c));
  };
  for (auto [i, side] : llvm::enumerate(epilogue.sides))
    if (KernelBuilder::constantOf(side.rowStride) == 0)
      for (unsigned c = 0; c < columns; ++c)
        shared[i].push_back(loadSide(i, row, c));

  LogicalResult status = success();
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value r) {
    Value source = kb.gep(tile, kb.f32(), kb.mul(r, tileStride));
    Value target = kb.gep(
        epilogue.result, memoryType(epilogue.resultType),
        kb.add(kb.mul(kb.add(row, r), epilogue.resultRowStride), column));
    for (unsigned c = 0; c < columns; ++c) {
      int64_t offset = int64_t(c) * kb.lanes();
      Value value =
          kb.load(kb.vec(epilogue.sumType ? epilogue.sumType : kb.f32()),
                  kb.gep(source, kb.f32(), offset));
      if (epilogue.body) {
        SmallVector<Value> arguments{value};
        for (unsigned i = 0; i < epilogue.sides.size(); ++i)
          arguments.push_back(shared[i].empty() ? loadSide(i, kb.add(row, r), c)
                                                : shared[i][c]);
        FailureOr<SmallVector<Value>> computed =
            emitBody(kb, *epilogue.body, arguments);
        if (failed(computed)) {
          status = failure();
          return;
        }
        value = computed->front();
      }
      storeElements(kb, value,
                    kb.gep(target, memoryType(epilogue.resultType), offset),
                    epilogue.resultType, mask(c));
    }
  });
  return status;
}
