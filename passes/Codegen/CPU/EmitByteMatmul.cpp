//===- EmitByteMatmul.cpp - A product of two activations of bytes ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one matrix of the batch, a chunk of rows and a panel of 64 columns,
// which is packed in groups of four along k as signed bytes: unsigned ones less
// 128, so that their zero point is less by 128 too. With b' and zb' so meant,
//
//   sum((a - za) * (b - zb)) =
//       sum(a * b') - za * sum(b') - zb' * (sum(a) - K * za)
//
// where a column's sum is one more row of the product, of ones, and a row's is
// added up beside it. What is subtracted is what sums begin with. K goes in
// blocks, because scratch has a fixed size; sums of integers have no order.
//
// The file is longer than others because both ways of packing, both zero points
// and the blocks share the scratch of a unit.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitByteMatmul.h"

#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/ProductFrame.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Columns and rows of a unit, and the k of a block: 32 KiB of b.
static constexpr int64_t kPanel = 64, kChunk = 48, kBlock = 512;
/// Rows of a's copy and all of b end with whole steps of every product.
static constexpr int64_t kWhole = 16, kGroup = 4;
/// No power of two, or rows would share cache sets.
static constexpr int64_t kCopyRow = kBlock + 64;

namespace {
class ByteMatmulEmitter {
public:
  ByteMatmulEmitter(KernelBuilder &kb, const ByteMatmulSpec &spec)
      : kb(kb), spec(spec), firstSide(2 + spec.hasZeroA + spec.hasZeroB),
        result(kb.layout().operands.size() - 1),
        rank(kb.layout().operands.size() > firstSide ? kb.rank(result) : 0) {}
  LogicalResult check();
  LogicalResult emit();

private:
  Value columns() { return kb.dim(result, rank - 1); }
  Value depth() { return kb.dim(0, rank - 1); }
  bool flipsA() { return kb.level().byteDot() == ByteDot::Signed; }
  bool flipsB() { return kb.operand(1).elementType.isUnsignedInteger(); }
  /// Whether tiles read a where it lies: its rows end with whole steps.
  bool readsA() {
    std::optional<int64_t> known = KernelBuilder::constantOf(depth());
    return known && *known % kWhole == 0 && !flipsA();
  }
  Value place(int64_t bytes) {
    return kb.gep(kb.scratch(), kb.getI8Type(), bytes);
  }
  Value splat(int64_t value) { return toLanes(kb, i32(value), kb.lanes()); }
  Value i32(int64_t value) {
    return arith::ConstantOp::create(
        kb, kb.getIntegerAttr(kb.getI32Type(),
                              APInt(32, static_cast<uint32_t>(value))));
  }
  LogicalResult emitUnit(ArrayRef<Value> index);
  void packB(Value b, Value depth, Value padded, Value columns);
  void packTransposed(Value b, Value depth, Value padded, Value columns);
  void copyRows(Value a, Value rows, Value depth, Value padded);
  void flipRows(Value rows, Value padded);
  Value rowSum(Value row, Value depth);
  void begin(Value a, Value rows, Value depth, Value padded, Value first);
  void multiply(Value a, Value aRow, Value rows, Value padded, Value out,
                StringRef tag);

  KernelBuilder &kb;
  const ByteMatmulSpec &spec;
  unsigned firstSide, result, rank;
  Value zeroA, zeroB; ///< i32, of bytes as they are multiplied; null for 0
  Value sums, columnSums, ones, panel, copy; ///< in scratch
};
} // namespace

LogicalResult ByteMatmulEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "product of bytes: "); };
  if (kb.layout().operands.size() <= firstSide)
    return error() << "expects a, b and a result";
  if (rank < 2)
    return error() << "expects matrices, but got rank " << rank;
  for (unsigned i = 0; i <= result; ++i)
    if ((i < 2 || i >= firstSide) && kb.rank(i) != rank)
      return error() << "operand " << i << " has rank " << kb.rank(i)
                     << " beside a result of rank " << rank;
  Type a = kb.operand(0).elementType, b = kb.operand(1).elementType;
  if (!a.isUnsignedInteger(8) || !isa<IntegerType>(b) ||
      b.getIntOrFloatBitWidth() != 8)
    return error() << "expects unsigned bytes times bytes, but got " << a
                   << " and " << b;
  if (kb.operand(0).strides[rank - 1] != 1)
    return error() << "expects rows of a that are adjacent";
  for (unsigned i = 2; i < firstSide; ++i)
    if (!kb.operand(i).elementType.isInteger(32))
      return error() << "expects zero points of i32, but got "
                     << kb.operand(i).elementType;
  return checkEpilogue(kb, "product of bytes", spec.epilogue, firstSide,
                       result);
}

/// Rows of b as the panel [padded / 4][64][4], zeros behind K: four rows are
/// widened and put together.
void ByteMatmulEmitter::packB(Value b, Value depth, Value padded,
                              Value columns) {
  Type i8 = kb.getI8Type();
  auto bytes = kb.vec(i8), words = kb.vec(kb.getI32Type());
  Value kStride = kb.stride(1, rank - 2), nStride = kb.stride(1, rank - 1);
  bool adjacent = kb.operand(1).strides[rank - 1] == 1;
  int64_t lanes = kb.lanes();
  auto pack = [&](Value k, bool isWhole) {
    Value target = kb.gep(panel, i8, kb.mul(k, kPanel));
    for (int64_t n = 0; n < kPanel; n += lanes) {
      Value word;
      for (int64_t i = 0; i < kGroup; ++i) {
        Value row = kb.add(k, i);
        Value left = kb.max(kb.sub(columns, n), int64_t(0));
        Value isRow;
        if (!isWhole) {
          isRow = kb.lt(row, depth);
          left = kb.select(isRow, left, kb.c(0));
        }
        Value source =
            kb.gep(b, i8, kb.add(kb.mul(row, kStride), kb.mul(nStride, n)));
        Value loaded;
        if (adjacent) {
          loaded = kb.loadMasked(bytes, source, kb.tailMask(left), {}, 1);
        } else {
          // Any strides, one byte after another through memory.
          Value line = copy;
          kb.store(arith::ConstantOp::create(kb, kb.getZeroAttr(bytes)), line);
          kb.forLoop(kb.c(0), kb.min(left, lanes), kb.c(1), [&](Value c) {
            kb.store(kb.load(i8, kb.gep(source, i8, kb.mul(c, nStride))),
                     kb.gep(line, i8, c));
          });
          loaded = kb.load(bytes, line);
        }
        Value wide = arith::ExtUIOp::create(kb, words, loaded);
        if (flipsB()) {
          Value flip = splat(0x80);
          if (isRow) // what is not there stays 0
            flip = toLanes(
                kb, arith::SelectOp::create(kb, isRow, i32(0x80), i32(0)),
                lanes);
          wide = arith::XOrIOp::create(kb, wide, flip);
        }
        if (i > 0)
          wide = arith::ShLIOp::create(kb, wide, splat(8 * i));
        word = word ? Value(arith::OrIOp::create(kb, word, wide)) : wide;
      }
      kb.store(word, kb.gep(target, i8, n * kGroup));
    }
  };
  Value whole = kb.sub(depth, kb.rem(depth, kGroup));
  kb.forLoop(kb.c(0), whole, kb.c(kGroup), [&](Value k) { pack(k, true); });
  kb.forLoop(whole, padded, kb.c(kGroup), [&](Value k) { pack(k, false); });
}

/// The same where k is adjacent: squares of groups are transposed. The last
/// group may be shorter.
void ByteMatmulEmitter::packTransposed(Value b, Value depth, Value padded,
                                       Value columns) {
  Type i8 = kb.getI8Type(), i32Type = kb.getI32Type();
  auto words = kb.vec(i32Type);
  Value nStride = kb.stride(1, rank - 1);
  int64_t lanes = kb.lanes();
  Value groups = kb.div(depth, kGroup);
  Value none = arith::ConstantOp::create(kb, kb.getZeroAttr(words));
  kb.forLoop(kb.c(0), kb.c(kPanel), kb.c(lanes), [&](Value n) {
    kb.forLoop(kb.c(0), kb.div(padded, kGroup), kb.c(lanes), [&](Value g) {
      SmallVector<Value> square;
      Value left = kb.max(kb.sub(groups, g), int64_t(0));
      for (int64_t i = 0; i < lanes; ++i) {
        Value column = kb.add(n, i);
        Value mask =
            kb.tailMask(kb.select(kb.lt(column, columns), left, kb.c(0)));
        Value source =
            kb.gep(b, i8, kb.add(kb.mul(column, nStride), kb.mul(g, kGroup)));
        Value word = kb.loadMasked(words, source, mask, {}, 1);
        if (flipsB())
          word = arith::SelectOp::create(
              kb, mask, arith::XOrIOp::create(kb, word, splat(0x80808080)),
              none);
        square.push_back(kb.bitcast(word, kb.vec()));
      }
      square = transposeRegisters(kb, square);
      for (int64_t i = 0; i < lanes; ++i)
        kb.store(
            square[i],
            kb.gep(panel, i8,
                   kb.mul(kb.add(kb.mul(kb.add(g, i), kPanel), n), kGroup)));
    });
  });
  std::optional<int64_t> known = KernelBuilder::constantOf(this->depth());
  if (known && *known % kGroup == 0)
    return;
  Value whole = kb.mul(groups, kGroup);
  kb.forLoop(whole, depth, kb.c(1), [&](Value k) {
    kb.forLoop(kb.c(0), columns, kb.c(1), [&](Value n) {
      Value byte = kb.load(i8, kb.gep(b, i8, kb.add(kb.mul(n, nStride), k)));
      if (flipsB())
        byte = arith::XOrIOp::create(
            kb, byte, arith::ConstantOp::create(kb, kb.getI8IntegerAttr(-128)));
      Value at = kb.add(kb.mul(kb.add(kb.mul(groups, kPanel), n), kGroup),
                        kb.sub(k, whole));
      kb.store(byte, kb.gep(panel, i8, at));
    });
  });
}

/// Rows of a with zeros up to `padded`.
void ByteMatmulEmitter::copyRows(Value a, Value rows, Value depth,
                                 Value padded) {
  Type i8 = kb.getI8Type(), i32Type = kb.getI32Type();
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value source = kb.gep(a, i8, kb.mul(row, kb.stride(0, rank - 2)));
    Value target = kb.gep(copy, i8, kb.mul(row, kCopyRow));
    Value groups = kb.div(depth, kGroup);
    kb.forVectors(groups, [&](Value g, Value mask) {
      Value from = kb.gep(source, i8, kb.mul(g, kGroup));
      kb.store(kb.loadMasked(kb.vec(i32Type), from, mask, {}, 1),
               kb.gep(target, i32Type, g));
    });
    kb.forLoop(groups, kb.div(padded, kGroup), kb.c(1),
               [&](Value g) { kb.store(i32(0), kb.gep(target, i32Type, g)); });
    kb.forLoop(kb.mul(groups, kGroup), depth, kb.c(1), [&](Value k) {
      kb.store(kb.load(i8, kb.gep(source, i8, k)), kb.gep(target, i8, k));
    });
  });
}

/// The copy as signed bytes.
void ByteMatmulEmitter::flipRows(Value rows, Value padded) {
  Type i32Type = kb.getI32Type();
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value line = kb.gep(copy, kb.getI8Type(), kb.mul(row, kCopyRow));
    kb.forLoop(kb.c(0), kb.div(padded, kGroup), kb.c(kb.lanes()), [&](Value g) {
      Value at = kb.gep(line, i32Type, g);
      kb.store(arith::XOrIOp::create(kb, kb.load(kb.vec(i32Type), at),
                                     splat(0x80808080)),
               at);
    });
  });
}

/// The sum of `padded` unsigned bytes, as i32.
Value ByteMatmulEmitter::rowSum(Value row, Value padded) {
  Type i32Type = kb.getI32Type();
  auto words = kb.vec(i32Type);
  Value groups = kb.div(padded, kGroup);
  auto mask = [&](int64_t value) { return splat(value); };
  auto added = kb.forLoop(
      kb.c(0), groups, kb.c(kb.lanes()),
      ValueRange{arith::ConstantOp::create(kb, kb.getZeroAttr(words))},
      [&](Value g, ValueRange carried) {
        Value bits = kb.loadMasked(words, kb.gep(row, i32Type, g),
                                   kb.tailMask(kb.sub(groups, g)), {}, 1);
        Value odd = arith::ShRUIOp::create(kb, bits, splat(8));
        Value pairs = arith::AddIOp::create(
            kb, arith::AndIOp::create(kb, bits, mask(0x00ff00ff)),
            arith::AndIOp::create(kb, odd, mask(0x00ff00ff)));
        Value fours = arith::AddIOp::create(
            kb, arith::AndIOp::create(kb, pairs, mask(0xffff)),
            arith::ShRUIOp::create(kb, pairs, splat(16)));
        return SmallVector<Value>{arith::AddIOp::create(kb, carried[0], fours)};
      });
  return vector::ReductionOp::create(kb, vector::CombiningKind::ADD, added[0]);
}

/// Makes the sums of the rows what they begin this block with.
void ByteMatmulEmitter::begin(Value a, Value rows, Value depth, Value padded,
                              Value first) {
  Type i8 = kb.getI8Type(), i32Type = kb.getI32Type();
  auto words = kb.vec(i32Type);
  Value aRow = readsA() ? kb.stride(0, rank - 2) : kb.c(kCopyRow);
  Value none = arith::ConstantOp::create(kb, kb.getZeroAttr(words));
  SmallVector<Value> ofColumns;
  for (int64_t n = 0; n < kPanel; n += kb.lanes()) {
    Value sum = none;
    if (zeroA)
      sum = arith::MulIOp::create(
          kb, kb.load(words, kb.gep(columnSums, i32Type, n)),
          toLanes(kb, zeroA, kb.lanes()));
    ofColumns.push_back(sum);
  }
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value row) {
    Value ofRow = none;
    if (zeroB) {
      Value sum = rowSum(kb.gep(a, i8, kb.mul(row, aRow)), padded);
      if (spec.hasZeroA) {
        Value count = arith::TruncIOp::create(kb, i32Type, depth);
        sum = arith::SubIOp::create(
            kb, sum,
            arith::MulIOp::create(kb, count, kb.load(i32Type, kb.ptr(2))));
      }
      ofRow = toLanes(kb, arith::MulIOp::create(kb, sum, zeroB), kb.lanes());
    }
    for (auto [i, ofColumn] : llvm::enumerate(ofColumns)) {
      Value at = kb.gep(sums, i32Type,
                        kb.add(kb.mul(row, kPanel), int64_t(i) * kb.lanes()));
      Value before =
          kb.ifElse(
                first, TypeRange{words},
                [&] { return SmallVector<Value>{none}; },
                [&] { return SmallVector<Value>{kb.load(words, at)}; })
              .front();
      Value less = arith::AddIOp::create(kb, ofColumn, ofRow);
      kb.store(arith::SubIOp::create(kb, before, less), at);
    }
  });
}

/// out[row][0 .. 64) += a * panel for the rows.
void ByteMatmulEmitter::multiply(Value a, Value aRow, Value rows, Value padded,
                                 Value out, StringRef tag) {
  Type i8 = kb.getI8Type();
  unsigned registers = kb.level().columns;
  int64_t slice = int64_t(registers) * kb.lanes();
  kb.forLoop(kb.c(0), kb.c(kPanel), kb.c(slice), [&](Value at) {
    ProductTile columns;
    columns.columns = registers;
    columns.depth = padded;
    columns.aType = columns.bType = i8;
    columns.aRow = aRow;
    columns.aDepth = kb.c(1);
    columns.b = kb.gep(panel, i8, kb.mul(at, kGroup));
    columns.bDepth = kb.c(kPanel);
    auto emit = [&](Value row, unsigned count) {
      ProductTile tile = columns;
      tile.rows = count;
      tile.a = kb.gep(a, i8, kb.mul(row, aRow));
      emitProductPart(
          kb, tag, tile,
          kb.gep(out, kb.getI32Type(), kb.add(kb.mul(row, kPanel), at)), kPanel,
          /*goOn=*/true);
    };
    if (KernelBuilder::constantOf(rows) == 1)
      return emit(kb.c(0), 1);
    forRowTiles(kb, rows, tileRows(kb.level(), registers, /*isBytes=*/true),
                emit);
  });
}

LogicalResult ByteMatmulEmitter::emitUnit(ArrayRef<Value> index) {
  ArrayRef<Value> batch = index.drop_back(2);
  Type i8 = kb.getI8Type(), i32Type = kb.getI32Type();
  Value firstRow = kb.mul(index[rank - 2], kChunk);
  Value firstColumn = kb.mul(index[rank - 1], kPanel);
  Value rows = kb.min(kb.c(kChunk), kb.sub(kb.dim(result, rank - 2), firstRow));
  Value width = kb.min(kb.sub(columns(), firstColumn), kPanel);
  Value a = kb.gep(kb.address(0, batch), i8,
                   kb.mul(firstRow, kb.stride(0, rank - 2)));
  Value b = kb.gep(kb.address(1, batch), i8,
                   kb.mul(firstColumn, kb.stride(1, rank - 1)));
  bool transposed = kb.operand(1).strides[rank - 2] == 1 &&
                    kb.operand(1).strides[rank - 1] != 1;
  auto block = [&](Value k, Value depth, Value padded) {
    Value left = kb.gep(a, i8, k);
    Value right = kb.gep(b, i8, kb.mul(k, kb.stride(1, rank - 2)));
    if (transposed)
      packTransposed(right, depth, padded, width);
    else
      packB(right, depth, padded, width);
    Value aRow = kb.stride(0, rank - 2);
    if (!readsA()) {
      copyRows(left, rows, depth, padded);
      left = copy;
      aRow = kb.c(kCopyRow);
    }
    if (zeroA) {
      for (int64_t n = 0; n < kPanel; n += kb.lanes())
        kb.store(splat(0), kb.gep(columnSums, i32Type, n));
      multiply(ones, kb.c(0), kb.c(1), padded, columnSums, "ones");
    }
    begin(left, rows, depth, padded, kb.eq(k, int64_t(0)));
    if (flipsA())
      flipRows(rows, padded);
    multiply(left, aRow, rows, padded, sums, "bytes");
  };
  std::optional<int64_t> known = KernelBuilder::constantOf(depth());
  if (known && *known <= kBlock)
    block(kb.c(0), depth(), kb.c(llvm::alignTo(*known, kWhole)));
  else
    kb.forLoop(kb.c(0), depth(), kb.c(kBlock), [&](Value k) {
      Value size = kb.min(kb.c(kBlock), kb.sub(depth(), k));
      block(k, size, kb.mul(kb.ceilDiv(size, kWhole), kWhole));
    });

  Epilogue epilogue = makeEpilogue(kb, spec.epilogue, firstSide, result, batch);
  epilogue.sumType = i32Type;
  LogicalResult status = success();
  auto finish = [&](bool partial) {
    unsigned registers = kPanel / kb.lanes();
    SmallVector<Value> masks;
    for (unsigned c = 0; partial && c < registers; ++c)
      masks.push_back(kb.tailMask(
          kb.max(kb.sub(width, int64_t(c) * kb.lanes()), int64_t(0))));
    if (failed(emitEpilogue(kb, epilogue, sums, kb.c(kPanel), firstRow, rows,
                            firstColumn, registers, masks)))
      status = failure();
  };
  std::optional<int64_t> all = KernelBuilder::constantOf(columns());
  if (all && *all % kPanel == 0)
    finish(false);
  else
    kb.ifElse(
        kb.lt(width, kPanel), [&] { finish(true); }, [&] { finish(false); });
  return status;
}

LogicalResult ByteMatmulEmitter::emit() {
  constexpr int64_t sumsAt = 0, columnsAt = kChunk * kPanel * 4,
                    onesAt = columnsAt + kPanel * 4,
                    // A transposed square may end behind the block.
      panelAt = onesAt + kBlock, copyAt = panelAt + (kBlock + 64) * kPanel,
                    bytes = copyAt + kChunk * kCopyRow;
  kb.requireScratch(bytes);
  LogicalResult status = success();
  auto begin = [&] {
    Type i32Type = kb.getI32Type();
    sums = place(sumsAt);
    columnSums = place(columnsAt);
    ones = place(onesAt);
    panel = place(panelAt);
    copy = place(copyAt);
    for (int64_t at = 0; at < kBlock; at += 4 * kb.lanes())
      kb.store(splat(0x01010101), kb.gep(ones, kb.getI8Type(), at));
    auto less = [&](Value zero, int64_t shift) -> Value {
      if (shift == 0)
        return zero;
      return zero ? Value(arith::SubIOp::create(kb, zero, i32(shift)))
                  : i32(-shift);
    };
    auto load = [&](unsigned i) { return kb.load(i32Type, kb.ptr(i)); };
    zeroA = less(spec.hasZeroA ? load(2) : Value(), flipsA() ? 128 : 0);
    zeroB = less(spec.hasZeroB ? load(2 + spec.hasZeroA) : Value(),
                 flipsB() ? 128 : 0);
  };
  emitMatrixUnits(kb, result, kChunk, kPanel, begin,
                  [&](ArrayRef<Value> index) { status = emitUnit(index); });
  return status;
}

LogicalResult ferrite::cpu::emitByteMatmul(KernelBuilder &kb,
                                           const ByteMatmulSpec &spec) {
  ByteMatmulEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  return emitter.emit();
}
