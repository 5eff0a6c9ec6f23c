//===- EmitGroupedLinear.cpp - Rows times the matrix of their group -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The tiles of EmitLinear on rows that lie anywhere: a unit is one chunk of
// slots of one group times one panel of 64 columns of its matrix. Rows are read
// and written where their slots say, so nothing is gathered beforehand. How
// many chunks there are is known at run time alone; units are as many as there
// may be, and those of chunks without rows do nothing.
//
// Low-bit panels (LowBitMatrix.h) are made f32 in scratch, once a unit: right
// for chunks of many rows. One row or two multiply them as they are unpacked,
// which is what a decoder's step has.
//
//===----------------------------------------------------------------------===//
#include "lib/Support/PanelLayout.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitExperts.h"
#include "passes/Codegen/CPU/LowBitMatrix.h"
#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

namespace {
class GroupedLinearEmitter {
public:
  GroupedLinearEmitter(KernelBuilder &kb, const GroupedLinearSpec &spec)
      : kb(kb), spec(spec),
        packed{spec.depth, spec.columns,
               weightGroup(kb.operand(kWeights).elementType)} {
    unsigned next = kRoute + 1;
    bias = spec.hasBias ? next++ : 0;
    scales = spec.bits ? next++ : 0;
    zeros = spec.hasZeroPoints ? next++ : 0;
    result = next;
  }
  LogicalResult check();
  void emit();

private:
  enum { kInput, kWeights, kRoute };
  /// Rows that multiply a low-bit panel without its copy in f32.
  static constexpr int64_t kDirectRows = 2;
  struct Chunk {
    Value group, begin, rows;
  };
  /// A panel of the group's matrix, ready for tiles.
  struct Panel {
    Value index;
    int64_t width, used; ///< columns in memory, and of the result
    Value b;             ///< null: low bits as they lie
    Type type;
  };

  Value routed(Value i) {
    return kb.load(kb.i64(), kb.gep(kb.ptr(kRoute), kb.i64(), i), 8);
  }
  /// The panel of a group in an operand that has `rows` rows of it.
  Value panelOf(unsigned operand, Type type, Value group, Value panel,
                int64_t rows);
  Value expand(const Chunk &chunk, Value panel, int64_t width);
  LowBitMatrix lowBits(const Chunk &chunk, Value panel, int64_t width);
  void emitDirect(const Chunk &chunk, const Panel &panel, Value slice,
                  const ProductTile &tile);
  bool prefetchesNextPanel(const Panel &panel, unsigned columns);
  Value nextPart(const Chunk &chunk, const Panel &panel, Value tile);
  void emitPanel(const Chunk &chunk, Value panel, int64_t width, int64_t used);
  void emitSlices(const Chunk &chunk, const Panel &panel);
  void emitSlice(const Chunk &chunk, const Panel &panel, Value slice,
                 unsigned columns, int64_t used);
  void finish(const Chunk &chunk, const Panel &panel, Value slice,
              unsigned columns, int64_t used, Value row, Value rows);

  KernelBuilder &kb;
  const GroupedLinearSpec &spec;
  PanelLayout packed;
  unsigned bias, scales, zeros, result;
};
} // namespace

LogicalResult GroupedLinearEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "grouped kernel: "); };
  auto isFloat = [](Type type) {
    return type.isF32() || type.isF16() || type.isBF16();
  };
  if (kb.layout().operands.size() != result + 1)
    return error() << "expects " << result + 1 << " operands, but got "
                   << kb.layout().operands.size();
  if (spec.groups < 1 || spec.depth < 1 || spec.columns < 1 || spec.share < 1 ||
      spec.chunk < 1)
    return error() << "expects sizes of at least 1";
  Type weight = kb.operand(kWeights).elementType;
  if (!isFloat(kb.operand(kInput).elementType) ||
      !isFloat(kb.operand(result).elementType) ||
      (spec.bits == 0 && !isFloat(weight)))
    return error() << "expects f32, f16 or bf16, but got " << weight
                   << " weights and " << kb.operand(kInput).elementType << " x";
  for (unsigned i : {unsigned(kInput), result})
    if (kb.rank(i) != 2 || kb.operand(i).strides[1] != 1)
      return error() << "operand " << i << " is no matrix of rows";
  if (spec.bits &&
      ((spec.bits != 4 && spec.bits != 8) || !weight.isInteger(8) ||
       spec.block < 1 || spec.depth % spec.block != 0 ||
       spec.block * spec.bits % 8 != 0 ||
       !isFloat(kb.operand(scales).elementType)))
    return error() << "expects bytes of 4 or 8 bits and blocks of whole bytes "
                      "that divide "
                   << spec.depth << ", but got " << spec.bits << " bits in "
                   << "blocks of " << spec.block;
  return success();
}

Value GroupedLinearEmitter::panelOf(unsigned operand, Type type, Value group,
                                    Value panel, int64_t rows) {
  PanelLayout layout{rows, spec.columns,
                     operand == kWeights ? packed.group : 1};
  Value at = kb.add(kb.mul(group, layout.elements()),
                    kb.mul(panel, layout.storedDepth() * PanelLayout::kWidth));
  return kb.gep(kb.ptr(operand), type, at);
}

//===--- low-bit weights --------------------------------------------------===//

LowBitMatrix GroupedLinearEmitter::lowBits(const Chunk &chunk, Value panel,
                                           int64_t width) {
  Type byte = kb.getI8Type();
  int64_t perByte = 8 / spec.bits, blocks = spec.depth / spec.block;
  LowBitMatrix matrix{};
  matrix.depth = spec.depth;
  matrix.block = spec.block;
  matrix.bits = spec.bits;
  matrix.width = width;
  matrix.scaleType = kb.operand(scales).elementType;
  matrix.weights =
      panelOf(kWeights, byte, chunk.group, panel, spec.depth / perByte);
  matrix.scales = panelOf(scales, matrix.scaleType, chunk.group, panel, blocks);
  if (spec.hasZeroPoints)
    matrix.zeros = panelOf(zeros, byte, chunk.group, panel,
                           (blocks + perByte - 1) / perByte);
  return matrix;
}

Value GroupedLinearEmitter::expand(const Chunk &chunk, Value panel,
                                   int64_t width) {
  int64_t sums = int64_t(kb.level().rows) * PanelLayout::kWidth * 4 * 2;
  kb.requireScratch(sums + spec.depth * PanelLayout::kWidth * 4);
  Value to = kb.gep(kb.scratch(), kb.getI8Type(), sums);
  lowBits(chunk, panel, width).expand(kb, to);
  return to;
}

/// Rows that are f32 already, times a slice of a panel as it is unpacked.
void GroupedLinearEmitter::emitDirect(const Chunk &chunk, const Panel &panel,
                                      Value slice, const ProductTile &tile) {
  LowBitMatrix matrix = lowBits(chunk, panel.index, panel.width);
  SmallVector<Value> rows(tile.aRows.begin(), tile.aRows.end());
  for (unsigned r = rows.size(); r < tile.rows; ++r)
    rows.push_back(kb.gep(tile.a, kb.f32(), kb.mul(tile.aRow, int64_t(r))));
  SmallVector<Value> arguments{matrix.weights, matrix.scales, slice,
                               kb.scratch()};
  if (matrix.zeros)
    arguments.push_back(matrix.zeros);
  llvm::append_range(arguments, rows);
  std::string name = "direct" + std::to_string(tile.rows) + "x" +
                     std::to_string(tile.columns) + "ld" +
                     std::to_string(panel.width);
  kb.callPart(name, arguments, [&](ValueRange p) {
    LowBitMatrix inner = matrix;
    inner.weights = p[0];
    inner.scales = p[1];
    if (inner.zeros)
      inner.zeros = p[4];
    ValueRange last = p.take_back(tile.rows);
    SmallVector<Value> own(last.begin(), last.end());
    SmallVector<Value> sums = inner.multiply(kb, own, p[2], tile.columns);
    for (auto [i, sum] : llvm::enumerate(sums))
      kb.store(sum, kb.gep(p[3], kb.f32(), int64_t(i) * kb.lanes()));
  });
}

//===--- tiles ------------------------------------------------------------===//

void GroupedLinearEmitter::finish(const Chunk &chunk, const Panel &panel,
                                  Value slice, unsigned columns, int64_t used,
                                  Value row, Value rows) {
  int64_t lanes = kb.lanes();
  Type type = kb.operand(result).elementType;
  Value column = kb.add(kb.mul(panel.index, PanelLayout::kWidth), slice);
  SmallVector<Value> masks(columns), added;
  for (unsigned c = 0; c < columns; ++c)
    if (used - int64_t(c) * lanes < lanes)
      masks[c] = kb.tailMask(kb.c(used - int64_t(c) * lanes));
  if (spec.hasBias) {
    Type biasType = kb.operand(bias).elementType;
    Value base = kb.gep(kb.ptr(bias), biasType,
                        kb.add(kb.mul(chunk.group, spec.columns), column));
    for (unsigned c = 0; c < columns; ++c)
      added.push_back(kb.loadF32(kb.gep(base, biasType, int64_t(c) * lanes),
                                 biasType, masks[c]));
  }
  Value places = kb.add(kb.mul(kb.dim(result, 0), 3), chunk.begin);
  kb.forLoop(kb.c(0), rows, kb.c(1), [&](Value r) {
    Value slot = routed(kb.add(places, kb.add(row, r)));
    Value source =
        kb.gep(kb.scratch(), kb.f32(), kb.mul(r, int64_t(columns) * lanes));
    Value target = kb.gep(kb.ptr(result), type,
                          kb.add(kb.mul(slot, kb.stride(result, 0)), column));
    for (unsigned c = 0; c < columns; ++c) {
      int64_t offset = int64_t(c) * lanes;
      Value value = kb.load(kb.vec(), kb.gep(source, kb.f32(), offset));
      if (spec.hasBias)
        value = kb.addF(value, added[c]);
      kb.storeF32(value, kb.gep(target, type, offset), type, masks[c]);
    }
  });
}

/// As in EmitLinear: full tiles fetch the next panel of their matrix when the
/// matrices do not lie in the second-level cache, and it fits there.
bool GroupedLinearEmitter::prefetchesNextPanel(const Panel &panel,
                                               unsigned columns) {
  int64_t bytes = panel.type.getIntOrFloatBitWidth() / 8;
  int64_t panelBytes = packed.storedDepth() * PanelLayout::kWidth * bytes;
  return spec.bits == 0 && panel.width == int64_t(columns) * kb.lanes() &&
         panel.width == PanelLayout::kWidth &&
         spec.groups * packed.elements() * bytes > 2 * kb.level().l2Bytes &&
         2 * panelBytes + spec.chunk * spec.depth * 4 <= kb.level().l2Bytes;
}

Value GroupedLinearEmitter::nextPart(const Chunk &chunk, const Panel &panel,
                                     Value tile) {
  int64_t bytes = panel.type.getIntOrFloatBitWidth() / 8;
  int64_t parts = PanelLayout::kWidth * bytes / ProductTile::kNextBytes;
  Value next = kb.min(kb.add(panel.index, 1), packed.panels() - 1);
  Value begin = panelOf(kWeights, panel.type, chunk.group, next, spec.depth);
  return kb.gep(
      begin, kb.getI8Type(),
      kb.mul(kb.min(tile, parts - 1), spec.depth * ProductTile::kNextBytes));
}

void GroupedLinearEmitter::emitSlice(const Chunk &chunk, const Panel &panel,
                                     Value slice, unsigned columns,
                                     int64_t used) {
  int64_t lanes = kb.lanes();
  Type xType = kb.operand(kInput).elementType;
  ProductTile columnTile;
  columnTile.columns = columns;
  columnTile.depth = kb.c(spec.depth);
  columnTile.aType = xType;
  columnTile.aDepth = kb.c(1);
  columnTile.bType = panel.type;
  columnTile.bDepth = kb.c(panel.width);
  columnTile.bGroup = weightGroup(panel.type);
  columnTile.dots =
      panel.type.isBF16() && xType.isBF16() && kb.use(Instruction::DotBF16);
  if (panel.b)
    columnTile.b =
        kb.gep(panel.b, panel.type, kb.mul(slice, int64_t(columnTile.bGroup)));

  unsigned maxRows =
      panel.b ? tileRows(kb.level(), columns) : unsigned(kDirectRows);
  int64_t sumBytes = int64_t(maxRows) * columns * lanes * 4;
  // Behind the sums and, where there is one, the expanded panel.
  int64_t copyAt = spec.bits
                       ? int64_t(kb.level().rows) * PanelLayout::kWidth * 8 +
                             spec.depth * PanelLayout::kWidth * 4
                       : sumBytes;
  int64_t copyRow = llvm::alignTo(spec.depth, lanes);
  bool widens = !xType.isF32() && !columnTile.dots;
  kb.requireScratch(copyAt + (widens ? maxRows * copyRow * 4 : 0));
  Value places = kb.add(kb.mul(kb.dim(result, 0), 3), chunk.begin);
  forRowTiles(
      kb, chunk.rows, maxRows,
      [&](Value row, unsigned count) {
        ProductTile tile = columnTile;
        tile.rows = count;
        bool waits = count < maxRows || columns * lanes < panel.width;
        tile.prefetchBytes = waits && !spec.bits ? kb.level().prefetchBytes : 0;
        if (count == maxRows && prefetchesNextPanel(panel, columns))
          tile.next = nextPart(chunk, panel, kb.div(row, maxRows));
        for (unsigned r = 0; r < count; ++r) {
          Value slot = routed(kb.add(places, kb.add(row, r)));
          tile.aRows.push_back(
              kb.gep(kb.ptr(kInput), xType,
                     kb.mul(kb.div(slot, spec.share), kb.stride(kInput, 0))));
        }
        if (widens) {
          tile.a = kb.gep(kb.scratch(), kb.getI8Type(), copyAt);
          for (unsigned r = 0; r < count; ++r) {
            Value to = kb.gep(tile.a, kb.f32(), int64_t(r) * copyRow);
            kb.forVectors(tile.depth, [&](Value k, Value mask) {
              kb.store(kb.loadF32(kb.gep(tile.aRows[r], xType, k), xType, mask),
                       kb.gep(to, kb.f32(), k));
            });
          }
          tile.aRows.clear();
          tile.aType = kb.f32();
          tile.aRow = kb.c(copyRow);
        }
        if (!panel.b)
          return emitDirect(chunk, panel, slice, tile);
        std::string tag = panel.width == PanelLayout::kWidth
                              ? ""
                              : "ld" + std::to_string(panel.width) + "_";
        emitProductPart(kb, tag, tile, kb.scratch(), columns * lanes,
                        /*goOn=*/false);
      },
      [&](Value row, Value count) {
        finish(chunk, panel, slice, columns, used, row, count);
      });
}

void GroupedLinearEmitter::emitPanel(const Chunk &chunk, Value index,
                                     int64_t width, int64_t used) {
  Type stored = kb.operand(kWeights).elementType;
  Panel panel{index, width, used, {}, spec.bits ? kb.f32() : stored};
  if (spec.bits == 0) {
    panel.b = panelOf(kWeights, stored, chunk.group, index, spec.depth);
    return emitSlices(chunk, panel);
  }
  kb.ifElse(
      kb.le(chunk.rows, int64_t(kDirectRows)),
      [&] { emitSlices(chunk, panel); },
      [&] {
        panel.b = expand(chunk, index, width);
        emitSlices(chunk, panel);
      });
}

void GroupedLinearEmitter::emitSlices(const Chunk &chunk, const Panel &panel) {
  int64_t used = panel.used;
  int64_t slice = int64_t(kb.level().columns) * kb.lanes();
  int64_t full = used / slice * slice;
  if (full > 0)
    kb.forLoop(kb.c(0), kb.c(full), kb.c(slice), [&](Value at) {
      emitSlice(chunk, panel, at, kb.level().columns, slice);
    });
  if (full < used)
    emitSlice(chunk, panel, kb.c(full),
              (used - full + kb.lanes() - 1) / kb.lanes(), used - full);
}

void GroupedLinearEmitter::emit() {
  int64_t panels = packed.panels();
  kb.defineUnits([&] {
    Value slots = kb.dim(result, 0);
    Value chunks =
        kb.min(slots, kb.add(kb.div(slots, spec.chunk), spec.groups));
    return kb.mul(chunks, panels);
  });
  kb.defineBody([&] {
    int64_t fullPanels = spec.columns / PanelLayout::kWidth;
    kb.forUnits([&](Value unit) {
      Value at = kb.mul(kb.div(unit, panels), 3), panel = kb.rem(unit, panels);
      Chunk chunk{routed(at), routed(kb.add(at, 1)), routed(kb.add(at, 2))};
      auto emitFull = [&] {
        emitPanel(chunk, panel, PanelLayout::kWidth, PanelLayout::kWidth);
      };
      auto emitLast = [&] {
        emitPanel(chunk, kb.c(fullPanels), packed.width(fullPanels),
                  spec.columns - fullPanels * PanelLayout::kWidth);
      };
      kb.ifThen(kb.lt(kb.c(0), chunk.rows), [&] {
        if (fullPanels == panels)
          emitFull();
        else if (fullPanels == 0)
          emitLast();
        else
          kb.ifElse(kb.lt(panel, fullPanels), emitFull, emitLast);
      });
    });
  });
}

LogicalResult ferrite::cpu::emitGroupedLinear(KernelBuilder &kb,
                                              const GroupedLinearSpec &spec) {
  GroupedLinearEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  emitter.emit();
  return success();
}
