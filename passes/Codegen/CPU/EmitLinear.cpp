//===- EmitLinear.cpp - A matrix product with packed weights --------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one chunk of rows times one panel of 64 columns, panels fastest, so
// that a chunk of x stays in the second-level cache while the panels pass.
// Which rows form a chunk never shows in the result: MicroKernel.h says why.
//
// Rows of short floats are widened once a chunk, into scratch, where the panels
// that this worker takes find them.
//
// The file is longer than others because all kinds of tiles share its grid.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitLinear.h"

#include "lib/Support/PanelLayout.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/HalfProduct.h"
#include "passes/Codegen/CPU/SkinnyPanel.h"
#include "passes/Codegen/CPU/TileProduct.h"
#include "passes/Codegen/CPU/WordProduct.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// So many units are wanted: a few for each worker of a large machine.
static constexpr int64_t kWantedUnits = 64;
/// Rows of a chunk. Each chunk reads all panels, from the third-level cache
/// when they are many; 48 rows pay for that, and more were never faster (Zen
/// 5). 24 are better where a panel nearly fills the second level (K = 3072).
static constexpr int64_t kMostRows = 48, kLeastRows = 24;
/// Of panels that crowd the second level (K = 2048 and more): the k of a block,
/// and the rows of a chunk, whose sums wait in scratch meanwhile.
static constexpr int64_t kDeepBlock = 512, kDeepRows = 96;
static constexpr int64_t kDeepPanel = 512 << 10;
/// So many rows pay for bytes that are widened before the product (16 do not,
/// Zen 5), and a chunk has up to so many, because each widens every panel.
static constexpr int64_t kWordRows = 24, kMostWordRows = 96;

namespace {
class LinearEmitter {
public:
  LinearEmitter(KernelBuilder &kb, const LinearSpec &spec)
      : kb(kb), spec(spec), isBytes(isByte(spec.weightType)),
        packed{spec.depth, spec.columns,
               isBytes ? 4 : int64_t(weightGroup(spec.weightType))},
        firstSide(spec.hasZero ? 3 : 2),
        result(kb.layout().operands.size() - 1) {}

  LogicalResult check();
  LogicalResult emit();

private:
  struct Grid {
    Value rows, tiles, chunks;
  };
  int64_t mostRows();
  Grid makeGrid();
  /// Chunks are shares of the tiles, equal but for one.
  Value firstRowOf(const Grid &grid, Value chunk);
  /// Products of two bf16 are what dot instructions are for; f32 x keeps its
  /// precision.
  bool isShort() {
    return spec.weightType.isBF16() && kb.operand(0).elementType.isBF16();
  }
  bool usesHalves() {
    return spec.weightType.isF16() && kb.operand(0).elementType.isF16() &&
           kb.operand(0).strides[1] == 1 && kb.use(Instruction::FmaF16);
  }
  bool usesDots() { return isShort() && kb.use(Instruction::DotBF16); }
  bool usesTiles() {
    return isBytes ? kb.use(Instruction::TileI8)
                   : isShort() && kb.use(Instruction::TileBF16);
  }
  /// Whether the rows of x become signed bytes, whose zero point is less by
  /// 128.
  bool flipsRows() {
    return isBytes && !usesTiles() && kb.level().byteDot() == ByteDot::Signed &&
           kb.use(Instruction::DotI8);
  }
  bool prefetchesNextPanel(int64_t width, unsigned columns);
  Value nextPart(Value panel, Value tile);
  void emitStart(Value panel, int64_t width);
  /// Whether tiles read a copy of a chunk of x: f32, or in order.
  bool copiesRows() {
    // Tiles read rows that are not there, and pairs behind a last odd k.
    if (usesTiles())
      return true;
    if (isBytes)
      return isWide || flipsRows();
    return usesDots() ? kb.operand(0).strides[1] != 1
                      : !kb.operand(0).elementType.isF32();
  }
  void emitCopy(Value firstRow, Value rows);
  LogicalResult emitPanel(Value panel, Value firstRow, Value rows,
                          int64_t width, int64_t usedColumns);
  /// Whether bytes are widened before a product of some rows.
  bool usesWords() {
    return isBytes && !usesTiles() && kb.level().byteDot() == ByteDot::Pairs;
  }
  ProductTile columnTile(Value panel, Value firstRow, int64_t width);
  Epilogue epilogue();
  LogicalResult emitTiles(Value panel, Value firstRow, Value rows,
                          int64_t width, int64_t used);
  LogicalResult emitSkinny(Value panel, Value firstRow, Value rows);
  LogicalResult emitSlice(Value panel, Value firstRow, Value rows,
                          int64_t width, Value slice, unsigned columns,
                          int64_t used);
  /// Whether tiles go through a panel block by block. The same at each level:
  /// the units of the lowest one are those of all, so none may need more.
  bool isDeep() {
    return !isBytes && !copiesRows() && panelBytes() >= kDeepPanel;
  }
  LogicalResult emitDeep(Value panel, Value firstRow, Value rows, int64_t width,
                         int64_t used);
  void emitDeepSlice(const ProductTile &block, int64_t most, Value rows,
                     Value slice, unsigned columns, int64_t width);
  SmallVector<Value> masksOf(unsigned columns, int64_t used);
  void forSlices(
      int64_t used,
      function_ref<void(Value slice, unsigned columns, int64_t left)> body);

  static bool isByte(Type type) { return type.isInteger(8); }
  int64_t bytesOf(Type type) { return type.getIntOrFloatBitWidth() / 8; }
  int64_t panelBytes() {
    return packed.storedDepth() * PanelLayout::kWidth *
           bytesOf(spec.weightType);
  }
  unsigned rowsOfTile(unsigned columns) {
    return tileRows(kb.level(), columns, isBytes && !isWide);
  }

  KernelBuilder &kb;
  const LinearSpec &spec;
  bool isBytes;
  PanelLayout packed;
  unsigned firstSide, result;
  Value start;         ///< of a row's sums in the panel; null for zero
  bool isWide = false; ///< products are of bytes that were widened
  int64_t wordsAt = 0; ///< where a slice of the panel then lies in scratch
  /// Where the copy of a chunk begins in scratch, behind the sums of the
  /// largest tile; its type, and how far its rows are apart.
  static constexpr int64_t kTilesAt = kTileRows * PanelLayout::kWidth * 4;
  static constexpr int64_t kStartAt = kTilesAt + kTileScratch;
  static constexpr int64_t kCopyAt = kStartAt + PanelLayout::kWidth * 4;
  static_assert(kSkinnyScratch <= kCopyAt);
  Type copyType;
  int64_t copyRow = 0;
};
} // namespace

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
  if (isBytes && kb.operand(0).strides[1] != 1)
    return error() << "expects bytes whose columns are adjacent";
  if (spec.hasZero && (!isBytes || !kb.operand(2).elementType.isInteger(32)))
    return error() << "expects a zero point of i32 for bytes alone, but got "
                   << kb.operand(2).elementType;
  for (unsigned i = 0; i <= result; ++i)
    if (i != 1 && (i != 2 || !spec.hasZero) && kb.rank(i) != 2)
      return error() << "operand " << i << " is not a matrix";
  for (unsigned i = firstSide; i <= result; ++i) {
    int64_t stride = kb.operand(i).strides[1];
    if (stride != 1 && (stride != 0 || i == result))
      return error() << "operand " << i << " has column stride " << stride;
  }
  if (!spec.epilogue && result != firstSide)
    return error() << "has sides but no epilogue";
  if (spec.epilogue &&
      spec.epilogue->getNumArguments() != result - firstSide + 1)
    return error() << "the epilogue has " << spec.epilogue->getNumArguments()
                   << " arguments for " << result - firstSide << " sides";
  return success();
}

/// Rows of a chunk, about.
int64_t LinearEmitter::mostRows() {
  if (isDeep())
    return kDeepRows;
  int64_t tile = rowsOfTile(kb.level().columns);
  if (isWide) {
    // Beside the panel, as bytes and as words.
    int64_t fit = (kb.level().l2Bytes - 3 * panelBytes()) / (2 * spec.depth);
    return std::clamp(fit / tile * tile, kLeastRows, kMostWordRows);
  }
  int64_t left = kb.level().l2Bytes - panelBytes();
  int64_t rowBytes = spec.depth * (isBytes ? 1 : 4);
  return std::clamp(left / rowBytes / tile * tile, kLeastRows, kMostRows);
}

LinearEmitter::Grid LinearEmitter::makeGrid() {
  int64_t tile = rowsOfTile(kb.level().columns), most = mostRows();
  int64_t panels = packed.panels();
  Grid grid;
  grid.rows = kb.dim(0, 0);
  grid.tiles = kb.ceilDiv(grid.rows, tile);
  Value forCache = kb.div(kb.add(grid.rows, most / 2), most);
  Value forWorkers = kb.min(kb.div(grid.rows, kLeastRows),
                            (kWantedUnits + panels - 1) / panels);
  // No rows, no chunks.
  grid.chunks = kb.min(kb.max(kb.max(forCache, forWorkers), 1), grid.tiles);
  return grid;
}

Value LinearEmitter::firstRowOf(const Grid &grid, Value chunk) {
  Value tiles = kb.div(kb.mul(chunk, grid.tiles), kb.max(grid.chunks, 1));
  return kb.min(kb.mul(tiles, rowsOfTile(kb.level().columns)), grid.rows);
}

/// Whether the full tiles of a panel fetch the next panel meanwhile: it does
/// not lie in the second-level cache already, and fits there beside this one.
/// Worth 3 to 10 points of the peak at K = 768, N = 3072 (README.md). Bytes
/// are used four times as fast, and of a model of 85 MB they come from DRAM.
bool LinearEmitter::prefetchesNextPanel(int64_t width, unsigned columns) {
  int64_t bytes = bytesOf(spec.weightType);
  return width == int64_t(columns) * kb.lanes() &&
         (isBytes || packed.elements() * bytes > 2 * kb.level().l2Bytes) &&
         2 * panelBytes() + kMostRows * spec.depth * (isBytes ? 1 : 4) <=
             kb.level().l2Bytes;
}

/// What the tile-th tile of a chunk fetches of the panel after `panel`. The
/// first tiles of a chunk of kMostRows share it; those after them find it.
Value LinearEmitter::nextPart(Value panel, Value tile) {
  int64_t rowBytes = PanelLayout::kWidth * bytesOf(spec.weightType);
  int64_t parts = rowBytes / ProductTile::kNextBytes;
  Value next = kb.min(kb.add(panel, 1), packed.panels() - 1);
  Value offset = kb.add(
      kb.mul(next, panelBytes()),
      kb.mul(kb.min(tile, parts - 1), spec.depth * ProductTile::kNextBytes));
  return kb.gep(kb.ptr(1), kb.getI8Type(), offset);
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
  Epilogue epilogue;
  epilogue.body = spec.epilogue;
  epilogue.sumType = isBytes ? Type(kb.getI32Type()) : kb.f32();
  for (unsigned i = firstSide; i < result; ++i)
    epilogue.sides.push_back({kb.ptr(i), kb.operand(i).elementType,
                              kb.stride(i, 0), kb.operand(i).strides[1]});
  epilogue.result = kb.ptr(result);
  epilogue.resultType = kb.operand(result).elementType;
  epilogue.resultRowStride = kb.stride(result, 0);
  return epilogue;
}

LogicalResult LinearEmitter::emitTiles(Value panel, Value firstRow, Value rows,
                                       int64_t width, int64_t used) {
  int64_t columns = width / kb.lanes();
  SmallVector<Value> masks = masksOf(columns, used);
  ProductTile whole = columnTile(panel, firstRow, width);
  LogicalResult status = success();
  kb.forLoop(kb.c(0), rows, kb.c(kTileRows), [&](Value row) {
    Value count = kb.min(kb.c(kTileRows), kb.sub(rows, row));
    TileProduct product{kb.gep(whole.a, whole.aType, kb.mul(row, whole.aRow)),
                        copyRow,
                        spec.depth,
                        whole.b,
                        width,
                        isBytes,
                        start};
    auto tiles = [&](unsigned rowTiles) {
      emitTileProduct(kb, product, rowTiles, kb.scratch(), width,
                      kb.gep(kb.scratch(), kb.getI8Type(), kTilesAt));
    };
    kb.ifElse(
        kb.le(count, kTileRows / 2), [&] { tiles(1); }, [&] { tiles(2); });
    status = emitEpilogue(kb, epilogue(), kb.scratch(), kb.c(width),
                          kb.add(firstRow, row), count,
                          kb.mul(panel, PanelLayout::kWidth), columns, masks);
  });
  return status;
}

LogicalResult LinearEmitter::emitSkinny(Value panel, Value firstRow,
                                        Value rows) {
  kb.requireScratch(kSkinnyScratch);
  emitSkinnyPanel(kb, columnTile(panel, firstRow, PanelLayout::kWidth), rows,
                  kb.scratch());
  LogicalResult status = success();
  int64_t slice = int64_t(kb.level().columns) * kb.lanes();
  kb.forLoop(kb.c(0), kb.c(PanelLayout::kWidth), kb.c(slice), [&](Value at) {
    Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), at);
    status = emitEpilogue(kb, epilogue(), kb.gep(kb.scratch(), kb.f32(), at),
                          kb.c(PanelLayout::kWidth), firstRow, rows, column,
                          kb.level().columns, {});
  });
  return status;
}

/// Where fewer columns are used than the registers hold; else none.
SmallVector<Value> LinearEmitter::masksOf(unsigned columns, int64_t used) {
  int64_t lanes = kb.lanes();
  SmallVector<Value> masks;
  for (unsigned c = 0; used < columns * lanes && c < columns; ++c)
    masks.push_back(used - c * lanes >= lanes
                        ? Value()
                        : kb.tailMask(kb.c(used - c * lanes)));
  return masks;
}

/// Tells tiles of the last, narrower panel apart.
static std::string tagOf(int64_t width) {
  return width == PanelLayout::kWidth ? "" : "ld" + std::to_string(width) + "_";
}

LogicalResult LinearEmitter::emitSlice(Value panel, Value firstRow, Value rows,
                                       int64_t width, Value slice,
                                       unsigned columns, int64_t used) {
  int64_t lanes = kb.lanes();
  SmallVector<Value> masks = masksOf(columns, used);
  ProductTile columnTile = this->columnTile(panel, firstRow, width);
  columnTile.columns = columns;
  columnTile.b =
      kb.gep(columnTile.b, columnTile.bType, kb.mul(slice, packed.group));
  if (isWide) {
    Value words = kb.gep(kb.scratch(), kb.getI8Type(), wordsAt);
    emitWordColumns(kb, columnTile.b, width, columns, spec.depth, words);
    columnTile.b = words;
    columnTile.bType = copyType;
    columnTile.bDepth = kb.c(columns * lanes);
    columnTile.depth = kb.c(wordDepth(kb.level(), spec.depth));
    width = columns * lanes;
  }
  if (start)
    columnTile.start = kb.gep(start, kb.f32(), slice);
  Value x = columnTile.a;
  Epilogue epilogue = this->epilogue();

  unsigned maxRows = rowsOfTile(columns);
  // Behind the sums that a row begins with.
  int64_t startBytes = start ? PanelLayout::kWidth * 4 : 0;
  int64_t sumBytes = startBytes + maxRows * columns * lanes * 4;
  Value sums = kb.gep(kb.scratch(), kb.getI8Type(), startBytes);
  assert(sumBytes <= kCopyAt && "the copy would be overwritten");
  kb.requireScratch(sumBytes);
  LogicalResult status = success();
  forRowTiles(
      kb, rows, maxRows,
      [&](Value row, unsigned count) {
        ProductTile tile = columnTile;
        tile.rows = count;
        // Few rows wait for B. So do slices of a panel, because the machine's
        // own prefetcher does not follow their stride. Elsewhere it costs a
        // little (Zen 5, README.md).
        bool waits = count < maxRows || columns * lanes < width;
        tile.prefetchBytes = waits ? kb.level().prefetchBytes : 0;
        if (isWide)
          tile.prefetchBytes = 0; // widening fetched it all
        else if (count == maxRows && prefetchesNextPanel(width, columns))
          tile.next = nextPart(panel, kb.div(row, maxRows));
        tile.a = kb.gep(x, tile.aType, kb.mul(row, tile.aRow));
        emitProductPart(kb, isWide ? "words" : tagOf(width), tile, sums,
                        columns * lanes,
                        /*goOn=*/false);
      },
      [&](Value row, Value count) {
        Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), slice);
        if (failed(emitEpilogue(kb, epilogue, sums, kb.c(columns * lanes),
                                kb.add(firstRow, row), count, column, columns,
                                masks)))
          status = failure();
      });
  return status;
}

/// One block of k, all rows of the chunk, some registers of columns.
void LinearEmitter::emitDeepSlice(const ProductTile &block, int64_t most,
                                  Value rows, Value slice, unsigned columns,
                                  int64_t width) {
  unsigned maxRows = rowsOfTile(columns);
  int64_t lineBytes = width * bytesOf(spec.weightType);
  bool isWhole = int64_t(columns) * kb.lanes() == width;
  Value next = kb.gep(block.b, kb.getI8Type(), most * lineBytes);
  forRowTiles(kb, rows, maxRows, [&](Value row, unsigned count) {
    ProductTile tile = block;
    tile.rows = count;
    tile.columns = columns;
    tile.b = kb.gep(block.b, block.bType, kb.mul(slice, packed.group));
    tile.a = kb.gep(block.a, tile.aType, kb.mul(row, tile.aRow));
    // The next block lies right behind this one. Slices of it are fetched as
    // they are read, because they do not follow each other.
    if (isWhole) {
      Value part =
          kb.min(kb.div(row, maxRows),
                 std::max<int64_t>(lineBytes / ProductTile::kNextBytes, 1) - 1);
      tile.next = kb.gep(next, kb.getI8Type(),
                         kb.mul(part, most * ProductTile::kNextBytes));
    } else {
      tile.prefetchBytes = kb.level().prefetchBytes;
    }
    Value out =
        kb.gep(kb.scratch(), kb.f32(), kb.add(kb.mul(row, width), slice));
    emitProductPart(kb, "deep" + tagOf(width), tile, out, width, /*goOn=*/true);
  });
}

/// Sums of all rows of the chunk, one block of k after the other: a block is in
/// the second level while the tiles pass. A sum that waits in memory is the
/// same number.
LogicalResult LinearEmitter::emitDeep(Value panel, Value firstRow, Value rows,
                                      int64_t width, int64_t used) {
  int64_t blocks = llvm::divideCeil(spec.depth, kDeepBlock);
  int64_t most = llvm::alignTo(llvm::divideCeil(spec.depth, blocks), 8);
  kb.requireScratch((kDeepRows * 3 / 2 + kb.level().rows) *
                    PanelLayout::kWidth * 4);
  kb.forLoop(kb.c(0), kb.mul(rows, width), kb.c(kb.lanes()), [&](Value i) {
    kb.store(kb.splat(0), kb.gep(kb.scratch(), kb.f32(), i));
  });
  ProductTile whole = columnTile(panel, firstRow, width);
  kb.forLoop(kb.c(0), kb.c(spec.depth), kb.c(most), [&](Value k) {
    ProductTile block = whole;
    block.depth = spec.depth % most == 0
                      ? kb.c(most)
                      : kb.min(kb.c(most), kb.sub(kb.c(spec.depth), k));
    block.a = kb.gep(whole.a, whole.aType, kb.mul(k, whole.aDepth));
    block.b = kb.gep(whole.b, whole.bType, kb.mul(k, whole.bDepth));
    forSlices(used, [&](Value slice, unsigned columns, int64_t) {
      emitDeepSlice(block, most, rows, slice, columns, width);
    });
  });
  LogicalResult status = success();
  forSlices(used, [&](Value slice, unsigned columns, int64_t left) {
    Value column = kb.add(kb.mul(panel, PanelLayout::kWidth), slice);
    if (failed(emitEpilogue(
            kb, epilogue(), kb.gep(kb.scratch(), kb.f32(), slice), kb.c(width),
            firstRow, rows, column, columns, masksOf(columns, left))))
      status = failure();
  });
  return status;
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
  BytePanels bytes(spec.depth, spec.columns);
  Value sums = kb.gep(kb.gep(kb.ptr(1), kb.getI8Type(), bytes.sumsOffset()),
                      i32, kb.mul(panel, PanelLayout::kWidth));
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
    // Half as many again before there are two chunks, and whole tiles.
    int64_t rows =
        mostRows() * 3 / 2 + (usesTiles() ? kTileRows : kb.level().rows);
    wordsAt = kCopyAt + rows * copyRow * copyType.getIntOrFloatBitWidth() / 8;
    int64_t slice = int64_t(kb.level().columns) * kb.lanes();
    kb.requireScratch(wordsAt + (isWide ? 2 * depth * slice : 0));
  }
  kb.defineUnits([&] { return kb.mul(makeGrid().chunks, panels); });

  LogicalResult status = success();
  kb.defineBody([&] {
    Grid grid = makeGrid();
    int64_t fullPanels = spec.columns / PanelLayout::kWidth;
    auto emitUnit = [&](Value unit, Value lastChunk) {
      Value chunk = kb.div(unit, panels), panel = kb.rem(unit, panels);
      Value firstRow = firstRowOf(grid, chunk);
      Value rows = kb.sub(firstRowOf(grid, kb.add(chunk, 1)), firstRow);
      // Few rows have no copy.
      Value known = lastChunk;
      if (isWide)
        known = kb.select(kb.lt(rows, kWordRows), chunk, known);
      if (copiesRows())
        kb.ifThen(kb.ne(chunk, known), [&] { emitCopy(firstRow, rows); });
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
        isBytes || usesTiles() || usesHalves()
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
      return chunk;
    };
    kb.forLoop(kb.begin(), kb.end(), kb.c(1), ValueRange{kb.c(-1)},
               [&](Value unit, ValueRange carried) {
                 return SmallVector<Value>{emitUnit(unit, carried[0])};
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
