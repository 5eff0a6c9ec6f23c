//===- EmitMatmul.cpp - A matrix product of two activations ---------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one matrix of the batch, one chunk of rows and one panel of 64
// columns. A panel of b is read in place when its columns are adjacent and all
// 64 are there; otherwise it is packed, with zeros where columns are missing,
// because masks would take the registers of the inner loop. Tiles of a narrow
// panel have no more registers than it has columns, and more rows instead, and
// it is packed no wider: heads of 16 or 32 columns. K is blocked only for
// packing: scratch has a fixed size and K has none. Accumulators then go on
// where they stopped, so the order of sums is k's all the same (MicroKernel.h).
// Short floats of a are widened block by block, so they too take this way.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitMatmul.h"

#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/ProductFrame.h"

using namespace mlir;
using namespace ferrite::cpu;

/// Columns of a unit, as in the weight layout.
static constexpr int64_t kPanel = 64;
/// Rows of a unit: they share the packing of one panel of b. 24 KiB of
/// accumulators.
static constexpr int64_t kChunk = 96;
/// The k of one packed block: 64 KiB, a sixteenth of a usual L2.
static constexpr int64_t kBlock = 256;

namespace {
class MatmulEmitter {
public:
  MatmulEmitter(KernelBuilder &kb, const MatmulSpec &spec)
      : kb(kb), spec(spec), result(kb.layout().operands.size() - 1),
        rank(result >= 2 ? kb.rank(result) : 0) {}

  LogicalResult check();
  LogicalResult emit();

private:
  Value rows() { return kb.dim(result, rank - 2); }
  Value columns() { return kb.dim(result, rank - 1); }
  Value depth() { return kb.dim(0, rank - 1); }
  bool widensA() { return !kb.operand(0).elementType.isF32(); }
  bool columnsAdjacent() { return kb.operand(1).strides[rank - 1] == 1; }

  LogicalResult emitUnit(ArrayRef<Value> index);
  void emitPacking(Value b, Value firstK, Value depth, Value columns,
                   unsigned registers);
  void emitPacked(Value a, Value b, Value chunkRows, Value columns,
                  unsigned registers);
  void emitProducts(Value a, Value b, Value bDepth, Type bType, Value depth,
                    Value chunkRows, Value width, unsigned registers,
                    bool isPacked, bool goOn);
  /// Emits what `width` columns need: the registers they fit in, if few, or
  /// those of a whole panel.
  void forWidth(Value width, function_ref<void(unsigned registers)> emit);
  unsigned panelRegisters() { return kPanel / kb.lanes(); }

  KernelBuilder &kb;
  const MatmulSpec &spec;
  unsigned result, rank;
  Value sums, packed, widened; // in scratch
};
} // namespace

LogicalResult MatmulEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "matmul kernel: "); };
  if (result < 2)
    return error() << "expects a, b and a result";
  if (rank < 2)
    return error() << "expects matrices, but got rank " << rank;
  for (unsigned i = 0; i <= result; ++i)
    if (kb.rank(i) != rank)
      return error() << "operand " << i << " has rank " << kb.rank(i)
                     << " beside a result of rank " << rank;
  for (unsigned i : {0u, 1u}) {
    Type type = kb.operand(i).elementType;
    if (!type.isF32() && !type.isF16() && !type.isBF16())
      return error() << "expects f32, f16 or bf16, but got " << type;
  }
  return checkEpilogue(kb, "matmul kernel", spec.epilogue, 2, result);
}

void MatmulEmitter::forWidth(Value width,
                             function_ref<void(unsigned registers)> emit) {
  // Of as many registers as tiles have, or fewer, but not of whole panels.
  unsigned most = std::min(kb.level().columns, panelRegisters() - 1);
  SmallVector<unsigned> few;
  for (unsigned registers = 1; registers <= most; ++registers)
    few.push_back(registers);
  if (std::optional<int64_t> known = KernelBuilder::constantOf(columns())) {
    // All panels are whole, or there is one, or the last one is narrower.
    unsigned last = llvm::divideCeil(*known % kPanel, kb.lanes());
    if (last == 0 || last > most)
      return emit(panelRegisters());
    if (*known < kPanel)
      return emit(last);
    few = {last};
  }
  auto choose = [&](ArrayRef<unsigned> few, auto &&self) -> void {
    if (few.empty())
      return emit(panelRegisters());
    kb.ifElse(
        kb.le(width, int64_t(few[0]) * kb.lanes()), [&] { emit(few[0]); },
        [&] { self(few.drop_front(), self); });
  };
  choose(few, choose);
}

/// b[firstK .. firstK + depth][0 .. columns) as f32 rows of some registers,
/// zeros behind.
void MatmulEmitter::emitPacking(Value b, Value firstK, Value depth,
                                Value columns, unsigned registers) {
  int64_t panel = int64_t(registers) * kb.lanes();
  Type type = kb.operand(1).elementType;
  Value kStride = kb.stride(1, rank - 2), nStride = kb.stride(1, rank - 1);
  b = kb.gep(b, type, kb.mul(firstK, kStride));
  int64_t lanes = kb.lanes();
  if (kb.operand(1).strides[rank - 2] == 1) {
    // A transposed matrix: squares of registers.
    kb.forLoop(kb.c(0), kb.c(panel), kb.c(lanes), [&](Value n) {
      kb.forLoop(kb.c(0), depth, kb.c(lanes), [&](Value k) {
        SmallVector<Value> square;
        for (int64_t i = 0; i < lanes; ++i) {
          Value column = kb.add(n, i);
          Value count =
              kb.select(kb.lt(column, columns), kb.sub(depth, k), kb.c(0));
          Value source = kb.gep(b, type, kb.add(kb.mul(column, nStride), k));
          square.push_back(kb.loadF32(source, type, kb.tailMask(count)));
        }
        square = transposeRegisters(kb, square);
        // Rows past `depth` hold zeros and are never read: kBlock is a multiple
        // of every register.
        for (int64_t i = 0; i < lanes; ++i)
          kb.store(square[i], kb.gep(packed, kb.f32(),
                                     kb.add(kb.mul(kb.add(k, i), panel), n)));
      });
    });
    return;
  }
  SmallVector<Value> masks;
  for (int64_t n = 0; columnsAdjacent() && n < panel; n += lanes)
    masks.push_back(kb.tailMask(kb.max(kb.sub(columns, n), int64_t(0))));
  kb.forLoop(kb.c(0), depth, kb.c(1), [&](Value k) {
    Value target = kb.gep(packed, kb.f32(), kb.mul(k, panel));
    Value line = kb.gep(b, type, kb.mul(k, kStride));
    for (auto [i, mask] : llvm::enumerate(masks))
      kb.store(kb.loadF32(kb.gep(line, type, int64_t(i) * lanes), type, mask),
               kb.gep(target, kb.f32(), int64_t(i) * lanes));
    if (!masks.empty())
      return;
    kb.forLoop(kb.c(0), kb.c(panel), kb.c(1), [&](Value n) {
      Value source = kb.gep(line, type, kb.mul(n, nStride));
      auto value = kb.ifElse(
          kb.lt(n, columns), TypeRange{kb.f32()},
          [&] { return SmallVector<Value>{kb.loadScalarF32(source, type)}; },
          [&] { return SmallVector<Value>{kb.cf(0)}; });
      kb.store(value[0], kb.gep(target, kb.f32(), n));
    });
  });
}

/// sums[row][0 .. width) = or += a * b for the rows of the chunk; columns
/// behind the width, up to a whole tile, are those of zeros.
void MatmulEmitter::emitProducts(Value a, Value b, Value bDepth, Type bType,
                                 Value depth, Value chunkRows, Value width,
                                 unsigned registers, bool isPacked, bool goOn) {
  unsigned columns = std::min(registers, kb.level().columns);
  int64_t slice = int64_t(columns) * kb.lanes();
  // Panels of other widths lie with other strides.
  std::string tag = isPacked ? "packed" + std::to_string(registers) + "_" : "";
  kb.forLoop(kb.c(0), width, kb.c(slice), [&](Value at) {
    ProductTile columnTile;
    columnTile.columns = columns;
    columnTile.depth = depth;
    columnTile.aType = kb.operand(0).elementType;
    columnTile.aRow = kb.stride(0, rank - 2);
    columnTile.aDepth = kb.stride(0, rank - 1);
    columnTile.b = kb.gep(b, bType, at);
    columnTile.bType = bType;
    columnTile.bDepth = bDepth;
    unsigned maxRows = tileRows(kb.level(), columns);
    forRowTiles(kb, chunkRows, maxRows, [&](Value row, unsigned count) {
      ProductTile tile = columnTile;
      tile.rows = count;
      tile.a = kb.gep(a, tile.aType, kb.mul(row, tile.aRow));
      if (widensA())
        emitWidenedRows(kb, tile, kb.c(count), widened, kBlock);
      Value out = kb.gep(sums, kb.f32(), kb.add(kb.mul(row, kPanel), at));
      emitProductPart(kb, tag, tile, out, kPanel, goOn);
    });
  });
}

void MatmulEmitter::emitPacked(Value a, Value b, Value chunkRows, Value columns,
                               unsigned registers) {
  int64_t panel = int64_t(registers) * kb.lanes();
  auto block = [&](Value k, Value size, bool goOn) {
    emitPacking(b, k, size, columns, registers);
    emitProducts(
        kb.gep(a, kb.operand(0).elementType, kb.mul(k, kb.stride(0, rank - 1))),
        packed, kb.c(panel), kb.f32(), size, chunkRows, columns, registers,
        /*isPacked=*/true, goOn);
  };
  std::optional<int64_t> known = KernelBuilder::constantOf(depth());
  if (known && *known <= kBlock)
    return block(kb.c(0), depth(), /*goOn=*/false);
  kb.forLoop(kb.c(0), chunkRows, kb.c(1), [&](Value row) {
    Value line = kb.gep(sums, kb.f32(), kb.mul(row, kPanel));
    for (int64_t n = 0; n < panel; n += kb.lanes())
      kb.store(kb.splat(0), kb.gep(line, kb.f32(), n));
  });
  kb.forLoop(kb.c(0), depth(), kb.c(kBlock), [&](Value k) {
    block(k, kb.min(kb.c(kBlock), kb.sub(depth(), k)), /*goOn=*/true);
  });
}

LogicalResult MatmulEmitter::emitUnit(ArrayRef<Value> index) {
  ArrayRef<Value> batch = index.drop_back(2);
  Value firstRow = kb.mul(index[rank - 2], kChunk);
  Value firstColumn = kb.mul(index[rank - 1], kPanel);
  Value chunkRows = kb.min(kb.c(kChunk), kb.sub(rows(), firstRow));
  Value width = kb.min(kb.sub(columns(), firstColumn), kPanel);
  Type aType = kb.operand(0).elementType, bType = kb.operand(1).elementType;
  Value a = kb.gep(kb.address(0, batch), aType,
                   kb.mul(firstRow, kb.stride(0, rank - 2)));
  Value b = kb.gep(kb.address(1, batch), bType,
                   kb.mul(firstColumn, kb.stride(1, rank - 1)));

  // Emits what differs between full and partial panels.
  auto byWidth = [&](function_ref<void(bool partial)> emit) {
    std::optional<int64_t> known = KernelBuilder::constantOf(columns());
    if (known && *known % kPanel == 0)
      return emit(false);
    if (known && *known < kPanel)
      return emit(true);
    kb.ifElse(kb.lt(width, kPanel), [&] { emit(true); }, [&] { emit(false); });
  };

  auto emitNarrow = [&] {
    forWidth(width, [&](unsigned registers) {
      emitPacked(a, b, chunkRows, width, registers);
    });
  };
  if (columnsAdjacent() && !widensA())
    byWidth([&](bool partial) {
      if (partial)
        emitNarrow();
      else
        emitProducts(a, b, kb.stride(1, rank - 2), bType, depth(), chunkRows,
                     kb.c(kPanel), panelRegisters(), /*isPacked=*/false,
                     /*goOn=*/false);
    });
  else
    emitNarrow();

  Epilogue epilogue = makeEpilogue(kb, spec.epilogue, 2, result, batch);
  LogicalResult status = success();
  byWidth([&](bool partial) {
    unsigned registers = kPanel / kb.lanes();
    SmallVector<Value> masks;
    for (unsigned c = 0; partial && c < registers; ++c)
      masks.push_back(kb.tailMask(
          kb.max(kb.sub(width, int64_t(c) * kb.lanes()), int64_t(0))));
    if (failed(emitEpilogue(kb, epilogue, sums, kb.c(kPanel), firstRow,
                            chunkRows, firstColumn, registers, masks)))
      status = failure();
  });
  return status;
}

LogicalResult MatmulEmitter::emit() {
  int64_t sumBytes = kChunk * kPanel * 4;
  int64_t packedBytes = kBlock * kPanel * 4;
  kb.requireScratch(sumBytes + packedBytes +
                    (widensA() ? tileRows(kb.level(), 1) * kBlock * 4 : 0));
  LogicalResult status = success();
  auto begin = [&] {
    sums = kb.scratch();
    packed = kb.gep(kb.scratch(), kb.getI8Type(), sumBytes);
    widened = kb.gep(packed, kb.getI8Type(), packedBytes);
  };
  emitMatrixUnits(kb, result, kChunk, kPanel, begin,
                  [&](ArrayRef<Value> index) { status = emitUnit(index); });
  return status;
}

LogicalResult ferrite::cpu::emitMatmul(KernelBuilder &kb,
                                       const MatmulSpec &spec) {
  MatmulEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  return emitter.emit();
}
