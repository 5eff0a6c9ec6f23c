//===- EmitLinear.cpp - A matrix product with packed weights --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one part of a chunk of rows times one panel of 64 columns: parts
// fastest, then panels, so that a chunk of x stays in the second-level cache
// while the panels pass. A worker takes the parts that follow each other in its
// share as one, so that it reads each panel once for the whole chunk: weights
// of a model come from main memory. Which rows form a chunk or a part never
// shows in the result: MicroKernel.h says why.
//
// Rows of short floats are widened once a chunk, into scratch, where the panels
// that this worker takes find them.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinear.h"

#include "passes/Codegen/CPU/HalfProduct.h"
#include "passes/Codegen/CPU/LinearEmitter.h"
#include "passes/Codegen/CPU/WordProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// So many units are wanted: a few for each worker of a large machine.
static constexpr int64_t kWantedUnits = 64;
/// So many rows pay for bytes that are widened before the product (16 do not,
/// Zen 5).
static constexpr int64_t kWordRows = 24;
/// Rows of a chunk of bytes, a multiple of kByteTiles rows: where they are
/// widened, each chunk widens every panel.
static constexpr int64_t kMostByteRows = 96, kByteTiles = 12;

LogicalResult LinearEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "linear kernel: "); };
  if (result < firstSide)
    return error() << "expects x, weights and a result";
  if (spec.depth < 1 || spec.columns < 1)
    return error() << "expects K and N of at least 1, but got " << spec.depth
                   << " and " << spec.columns;
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  Type x = kb.operand(0).elementType;
  if (isBytes &&
      (!x.isUnsignedInteger(8) || spec.weightType.isUnsignedInteger()))
    return error() << "expects unsigned bytes times signed ones, but got "
                   << spec.weightType << " weights and " << x << " x";
  if (!isBytes && (!isFloat(spec.weightType) || !isFloat(x)))
    return error() << "expects f32, f16 or bf16, but got " << spec.weightType
                   << " weights and " << x << " x";
  if (isSparse() &&
      (!sparse.isValid() || kb.level().byteDot() == ByteDot::Blocks ||
       !(isBytes || (x.isF32() && spec.weightType.isF32()))))
    return error() << "expects strips of bytes or f32 whose blocks of k an "
                      "instruction takes, but got "
                   << spec.weightType << " weights and " << x << " x at "
                   << kb.level().name;
  if (isBytes && kb.operand(0).strides[1] != 1)
    return error() << "expects bytes whose columns are adjacent";
  if (spec.hasZero && (!isBytes || !kb.operand(2).elementType.isInteger(32)))
    return error() << "expects a zero point of i32 for bytes alone, but got "
                   << kb.operand(2).elementType;
  for (unsigned i = 0; i <= result; ++i)
    if (i != 1 && (i != 2 || !spec.hasZero) && kb.rank(i) != 2)
      return error() << "operand " << i << " is not a matrix";
  return checkEpilogue(kb, "linear kernel", spec.epilogue, firstSide, result);
}

/// Rows of a chunk, about: the same at each level of a machine, because the
/// units of the lowest one are counted for all.
int64_t LinearEmitter::mostRows() {
  if (isBytes) {
    // Beside the panel, as bytes and as words.
    int64_t fit = (kLinearCache - 3 * panelBytes()) / (2 * spec.depth);
    return std::clamp(fit / kByteTiles * kByteTiles, kLeastRows, kMostByteRows);
  }
  if (panelBytes() >= kDeepPanel)
    return kDeepRows;
  return std::clamp(fittingRows(), kLeastRows, kMostRows);
}

/// So many rows lie beside a panel and the next.
int64_t LinearEmitter::fittingRows() {
  return (kLinearCache - 2 * panelBytes()) / (spec.depth * 4);
}

/// So many rows are one chunk.
int64_t LinearEmitter::wholeRows() {
  int64_t most = mostRows() * 3 / 2;
  if (isBytes || panelBytes() >= kDeepPanel)
    return most;
  return std::clamp(fittingRows(), most, kWholeRows);
}

LinearEmitter::Grid LinearEmitter::makeGrid() {
  int64_t tile = rowsOfTile(kb.level().columns), most = mostRows();
  int64_t panels = packed.panels();
  Grid grid;
  grid.rows = kb.dim(0, 0);
  grid.tiles = kb.ceilDiv(grid.rows, tile);
  // No rows, no chunks.
  Value several = kb.max(kb.div(kb.add(grid.rows, most / 2), most), 1);
  Value isOne = kb.le(grid.rows, kb.c(wholeRows()));
  grid.chunks = kb.min(kb.select(isOne, kb.c(1), several), grid.tiles);
  Value forWorkers = kb.min(kb.div(grid.rows, kLeastRows),
                            (kWantedUnits + panels - 1) / panels);
  grid.parts = kb.max(kb.ceilDiv(forWorkers, kb.max(grid.chunks, 1)), kb.c(1));
  return grid;
}

Value LinearEmitter::firstRowOf(const Grid &grid, Value part) {
  Value parts = kb.mul(kb.max(grid.chunks, 1), grid.parts);
  Value tiles = kb.div(kb.mul(part, grid.tiles), parts);
  return kb.min(kb.mul(tiles, rowsOfTile(kb.level().columns)), grid.rows);
}

/// The panel and the rows from `firstRow` on, as a tile without a size.
ProductTile LinearEmitter::columnTile(Value panel, Value firstRow,
                                      int64_t width) {
  ProductTile tile;
  tile.depth = kb.c(spec.depth);
  // Bytes as they are read, without signs; floats as they are stored.
  auto typeOf = [&](Type stored) {
    return isBytes ? memoryType(stored) : stored;
  };
  tile.aType = typeOf(kb.operand(0).elementType);
  tile.a = kb.gep(kb.ptr(0), tile.aType, kb.mul(firstRow, kb.stride(0, 0)));
  tile.aRow = kb.stride(0, 0);
  tile.aDepth = kb.stride(0, 1);
  if (copiesRows()) {
    tile.a = kb.gep(kb.scratch(), kb.getI8Type(), kCopyAt);
    tile.aType = copyType;
    tile.aRow = kb.c(copyRow);
    tile.aDepth = kb.c(1);
  }
  tile.b = kb.gep(kb.ptr(1), kb.getI8Type(), kb.mul(panel, panelBytes()));
  tile.bType = typeOf(spec.weightType);
  tile.bDepth = kb.c(width);
  tile.bGroup = packed.group;
  tile.dots = usesDots();
  tile.halves = usesHalves();
  return tile;
}

Epilogue LinearEmitter::epilogue() {
  Epilogue epilogue = makeEpilogue(kb, spec.epilogue, firstSide, result);
  epilogue.sumType = isBytes ? Type(kb.getI32Type()) : kb.f32();
  return epilogue;
}

/// Full slices of a panel, then what is left; `left` of its columns are used.
void LinearEmitter::forSlices(
    int64_t used,
    function_ref<void(Value slice, unsigned columns, int64_t left)> body) {
  int64_t slice = int64_t(kb.level().columns) * kb.lanes();
  int64_t full = used / slice * slice;
  if (full > 0)
    kb.forLoop(kb.c(0), kb.c(full), kb.c(slice),
               [&](Value at) { body(at, kb.level().columns, slice); });
  if (full < used)
    body(kb.c(full), (used - full + kb.lanes() - 1) / kb.lanes(), used - full);
}

/// Makes `start` the sums that each row of the panel begins with: -zero times
/// those of the columns. Behind the sums of tiles, before those of other rows.
void LinearEmitter::emitStart(Value panel, int64_t width) {
  Type i32 = kb.getI32Type();
  int64_t sumsAt = isSparse()
                       ? sparse.sumsOffset()
                       : BytePanels(spec.depth, spec.columns).sumsOffset();
  Value sums = kb.gep(kb.gep(kb.ptr(1), kb.getI8Type(), sumsAt), i32,
                      kb.mul(panel, PanelLayout::kWidth));
  Value factor = arith::ConstantOp::create(
      kb, kb.getI32IntegerAttr(flipsRows() ? 128 : 0));
  if (spec.hasZero)
    factor = arith::SubIOp::create(kb, factor, kb.load(i32, kb.ptr(2)));
  factor = toLanes(kb, factor, kb.lanes());
  start = usesTiles() ? kb.gep(kb.scratch(), kb.getI8Type(), kStartAt)
                      : kb.scratch();
  for (int64_t c = 0; c < width; c += kb.lanes()) {
    Value sum = kb.load(kb.vec(i32), kb.gep(sums, i32, c));
    kb.store(arith::MulIOp::create(kb, factor, sum), kb.gep(start, i32, c));
  }
}

LogicalResult LinearEmitter::emitPanel(Value panel, Value firstRow, Value rows,
                                       int64_t width, int64_t used) {
  start = {};
  if (spec.hasZero || flipsRows())
    emitStart(panel, width);
  if (isSparse())
    return emitStrips(panel, firstRow, rows, used);
  if (usesTiles())
    return emitTiles(panel, firstRow, rows, width, used);
  if (isDeep())
    return emitDeep(panel, firstRow, rows, width, used);
  LogicalResult status = success();
  forSlices(used, [&](Value slice, unsigned columns, int64_t left) {
    if (failed(emitSlice(panel, firstRow, rows, width, slice, columns, left)))
      status = failure();
  });
  return status;
}

/// The rows of a chunk, for all its panels.
void LinearEmitter::emitCopy(Value firstRow, Value rows) {
  Value copy = kb.gep(kb.scratch(), kb.getI8Type(), kCopyAt);
  if (isWide)
    return emitWordRows(
        kb,
        kb.gep(kb.ptr(0), kb.getI8Type(), kb.mul(firstRow, kb.stride(0, 0))),
        kb.stride(0, 0), rows, spec.depth, copy, copyRow);
  if (isBytes)
    return emitByteRows(
        kb,
        kb.gep(kb.ptr(0), kb.getI8Type(), kb.mul(firstRow, kb.stride(0, 0))),
        kb.stride(0, 0), rows, spec.depth, copy, copyRow, flipsRows());
  if (usesHalves())
    return emitTwinRows(
        kb,
        kb.gep(kb.ptr(0), kb.getI16Type(), kb.mul(firstRow, kb.stride(0, 0))),
        kb.stride(0, 0), rows, spec.depth, copy, copyRow);
  ProductTile tile;
  tile.aType = kb.operand(0).elementType;
  tile.aRow = kb.stride(0, 0);
  tile.aDepth = kb.stride(0, 1);
  tile.a = kb.gep(kb.ptr(0), tile.aType, kb.mul(firstRow, tile.aRow));
  tile.depth = kb.c(spec.depth);
  tile.dots = usesDots() || usesTiles();
  emitWidenedRows(kb, tile, rows, copy, copyRow);
}

LogicalResult LinearEmitter::emit() {
  int64_t panels = packed.panels();
  isWide = usesWords();
  if (copiesRows()) {
    copyType = usesHalves()                ? kb.getI32Type()
               : isWide                    ? kb.getI16Type()
               : isBytes                   ? kb.getI8Type()
               : usesDots() || usesTiles() ? kb.operand(0).elementType
                                           : kb.f32();
    int64_t depth = isWide ? wordDepth(kb.level(), spec.depth) : spec.depth;
    // Not a power of two, or rows would share cache sets (codegen.md 2.5).
    copyRow = llvm::alignTo(depth, 16) + 16;
    // As many as a chunk may have, and whole tiles.
    int64_t rows = wholeRows() + (usesTiles() ? kTileRows : kb.level().rows);
    wordsAt = kCopyAt + rows * copyRow * copyType.getIntOrFloatBitWidth() / 8;
    int64_t slice = int64_t(kb.level().columns) * kb.lanes();
    kb.requireScratch(wordsAt + (isWide ? 2 * depth * slice : 0));
  }
  kb.defineUnits([&] {
    Grid grid = makeGrid();
    return kb.mul(kb.mul(grid.chunks, grid.parts), panels);
  });

  LogicalResult status = success();
  kb.defineBody([&] {
    Grid grid = makeGrid();
    int64_t fullPanels = spec.columns / PanelLayout::kWidth;
    // Parts of a chunk and one panel, as many as this worker has of them.
    auto emitUnits = [&](Value place, Value lastRows) {
      Value chunk = kb.div(place, panels), panel = kb.rem(place, panels);
      Value before = kb.mul(place, grid.parts);
      Value from = kb.max(kb.sub(kb.begin(), before), 0);
      Value to = kb.min(kb.sub(kb.end(), before), grid.parts);
      Value first = kb.mul(chunk, grid.parts);
      Value firstRow = firstRowOf(grid, kb.add(first, from));
      Value endRow = firstRowOf(grid, kb.add(first, to));
      Value rows = kb.sub(endRow, firstRow);
      // What the copy holds, if not those rows.
      Value these = kb.add(kb.mul(firstRow, kb.add(grid.rows, 1)), endRow);
      // Few rows have no copy.
      Value known = lastRows;
      if (isWide)
        known = kb.select(kb.lt(rows, kWordRows), these, known);
      if (copiesRows())
        kb.ifThen(kb.ne(these, known), [&] { emitCopy(firstRow, rows); });
      auto emitWhole = [&](Value panel, int64_t width, int64_t used) {
        auto emit = [&] {
          if (failed(emitPanel(panel, firstRow, rows, width, used)))
            status = failure();
        };
        if (!isWide)
          return emit();
        auto few = [&] {
          isWide = false;
          emit();
          isWide = true;
        };
        kb.ifElse(kb.lt(rows, kWordRows), few, emit);
      };
      auto emitFull = [&] {
        auto many = [&] {
          emitWhole(panel, PanelLayout::kWidth, PanelLayout::kWidth);
        };
        auto few = [&] {
          if (failed(emitSkinny(panel, firstRow, rows)))
            status = failure();
        };
        // Bytes come from memory as fast as tiles of few rows use them.
        // Nor may few rows have other sums than many.
        isBytes || usesTiles() || usesHalves() || isSparse()
            ? many()
            : kb.ifElse(kb.le(rows, kSkinnyRows), few, many);
      };
      auto emitLast = [&] {
        emitWhole(kb.c(fullPanels), packed.width(fullPanels),
                  spec.columns - fullPanels * PanelLayout::kWidth);
      };
      if (fullPanels == panels)
        emitFull();
      else if (fullPanels == 0)
        emitLast();
      else
        kb.ifElse(kb.lt(panel, fullPanels), emitFull, emitLast);
      return these;
    };
    kb.forLoop(kb.div(kb.begin(), grid.parts), kb.ceilDiv(kb.end(), grid.parts),
               kb.c(1), ValueRange{kb.c(-1)},
               [&](Value place, ValueRange carried) {
                 return SmallVector<Value>{emitUnits(place, carried[0])};
               });
  });
  return status;
}

LogicalResult ferrite::cpu::emitLinear(KernelBuilder &kb,
                                       const LinearSpec &spec) {
  LinearEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  return emitter.emit();
}
