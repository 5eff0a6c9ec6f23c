//===- EmitPackedLinear.cpp - A product with weights of few bits ----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A unit is one chunk of rows times one panel of 64 columns, panels fastest: a
// worker's units are one stream of weights. Which rows form a chunk never shows
// in the result (PackedProduct.h).
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPackedLinear.h"

#include "passes/Codegen/CPU/PackedProduct.h"
#include "passes/Codegen/CPU/ProductFrame.h"
#include "passes/Codegen/CPU/RowKernel.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

static constexpr int64_t kWidth = PackedPanels::kWidth;
/// So many units are wanted: a few for each worker of a large machine.
static constexpr int64_t kWantedUnits = 64;
/// Rows of a chunk. A panel is unpacked once a chunk, which costs as much as 1
/// to 2 rows: more rows would win little and leave the second-level cache.
static constexpr int64_t kMostRows = 96, kLeastRows = 24;

namespace {
class PackedLinearEmitter {
public:
  PackedLinearEmitter(KernelBuilder &kb, const PackedLinearSpec &spec)
      : kb(kb), spec(spec), panels(spec.packed.panels),
        result(kb.layout().operands.size() - 1),
        product(spec.inputBlock ? makePackedBytes(kb, spec)
                                : makePackedFloats(kb, spec)) {}
  LogicalResult check();
  LogicalResult emit();

private:
  enum { kInput, kWeights, kSides };
  struct Grid {
    Value rows, chunks, each; ///< rows of a chunk, but for the last
  };
  Grid makeGrid();
  bool copiesRows() {
    return !spec.inputBlock && (!kb.operand(kInput).elementType.isF32() ||
                                kb.operand(kInput).strides[1] != 1);
  }
  void copyRows(Value firstRow, Value rows);
  LogicalResult emitUnit(const Grid &grid, Value chunk, Value panel,
                         Value lastChunk);
  LogicalResult finish(Value panel, Value firstRow, Value rows, int64_t used);

  /// Scratch: sums, what the product expands, the copy of rows.
  int64_t sumBytes() const { return (kMostRows + 8) * kWidth * 4; }
  int64_t copyAt() const {
    return llvm::alignTo(sumBytes() + product->scratchBytes(), 64);
  }
  /// Not a power of two, or rows would share cache sets (codegen.md 2.5).
  int64_t copyRow() const { return llvm::alignTo(panels.depth, 16) + 16; }

  KernelBuilder &kb;
  const PackedLinearSpec &spec;
  const PackedPanels &panels;
  unsigned result;
  std::unique_ptr<PackedProduct> product;
};
} // namespace

LogicalResult PackedLinearEmitter::check() {
  auto error = [&] { return emitError(kb.getLoc(), "packed kernel: "); };
  if (result < kSides)
    return error() << "expects x, weights and a result";
  if (!panels.isValid())
    return error() << "expects 2, 3, 4 or 8 bits in blocks of whole words, but "
                      "got "
                   << panels.bits << " bits in blocks of " << panels.block;
  if (!isFloatStorage(spec.packed.scaleType) ||
      panels.scaleBytes != spec.packed.scaleType.getIntOrFloatBitWidth() / 8 ||
      (panels.zeroBytes != 0 && panels.zeroBytes != 1 &&
       panels.zeroBytes != 4) ||
      (!spec.packed.codes.empty() &&
       (panels.bits > 4 || spec.inputBlock ||
        spec.packed.codes.size() != size_t(1) << panels.bits)))
    return error() << "expects scales of floats, and a table of codes only of "
                      "4 bits or fewer and for floats";
  Type x = kb.operand(kInput).elementType;
  int64_t block = spec.inputBlock;
  if (block < 0 || (block ? !x.isUnsignedInteger(8) : !isFloatStorage(x)))
    return error() << "expects floats, or rounded rows as bytes, but got " << x;
  if (block && ((block < panels.depth && block % panels.stepDepth() != 0) ||
                (block < panels.depth && panels.block < panels.depth &&
                 block % panels.block != 0 && panels.block % block != 0)))
    return error() << "expects groups of x that fit blocks of " << panels.block
                   << ", but got " << block;
  for (unsigned i = 0; i <= result; ++i)
    if (i != kWeights && kb.rank(i) != 2)
      return error() << "operand " << i << " is not a matrix";
  if (block && kb.operand(kInput).strides[1] != 1)
    return error() << "expects bytes whose columns are adjacent";
  return checkEpilogue(kb, "packed kernel", spec.epilogue, kSides, result);
}

PackedLinearEmitter::Grid PackedLinearEmitter::makeGrid() {
  Grid grid;
  grid.rows = kb.dim(kInput, 0);
  Value forCache = kb.ceilDiv(grid.rows, kMostRows);
  Value forWorkers =
      kb.min(kb.div(grid.rows, kLeastRows),
             (kWantedUnits + panels.panels() - 1) / panels.panels());
  Value wanted = kb.max(kb.max(forCache, forWorkers), 1);
  // Whole tiles of 6.
  grid.each = kb.mul(kb.ceilDiv(kb.ceilDiv(grid.rows, wanted), 6), 6);
  grid.chunks = kb.ceilDiv(grid.rows, kb.max(grid.each, 1));
  return grid;
}

void PackedLinearEmitter::copyRows(Value firstRow, Value rows) {
  ProductTile tile;
  tile.aType = kb.operand(kInput).elementType;
  tile.aRow = kb.stride(kInput, 0);
  tile.aDepth = kb.stride(kInput, 1);
  tile.a = kb.gep(kb.ptr(kInput), tile.aType, kb.mul(firstRow, tile.aRow));
  tile.depth = kb.c(panels.depth);
  emitWidenedRows(kb, tile, rows,
                  kb.gep(kb.scratch(), kb.getI8Type(), copyAt()), copyRow());
}

/// The epilogue of `used` columns of a panel.
LogicalResult PackedLinearEmitter::finish(Value panel, Value firstRow,
                                          Value rows, int64_t used) {
  Epilogue epilogue = makeEpilogue(kb, spec.epilogue, kSides, result);
  int64_t columns = kb.level().columns, slice = columns * kb.lanes(),
          full = used / slice * slice;
  LogicalResult status = success();
  auto emit = [&](Value at, unsigned count, ArrayRef<Value> masks) {
    if (failed(emitEpilogue(kb, epilogue, kb.gep(kb.scratch(), kb.f32(), at),
                            kb.c(kWidth), firstRow, rows,
                            kb.add(kb.mul(panel, kWidth), at), count, masks)))
      status = failure();
  };
  kb.forLoop(kb.c(0), kb.c(full), kb.c(slice),
             [&](Value at) { emit(at, columns, {}); });
  if (full == used)
    return status;
  SmallVector<Value> masks;
  for (int64_t at = full; at < used; at += kb.lanes())
    masks.push_back(used - at >= int64_t(kb.lanes())
                        ? Value()
                        : kb.tailMask(kb.c(used - at)));
  emit(kb.c(full), masks.size(), masks);
  return status;
}

LogicalResult PackedLinearEmitter::emitUnit(const Grid &grid, Value chunk,
                                            Value index, Value lastChunk) {
  Value firstRow = kb.mul(chunk, grid.each);
  PackedPanel panel;
  panel.rows = kb.min(grid.each, kb.sub(grid.rows, firstRow));
  panel.codes = kb.gep(kb.ptr(kWeights), kb.getI8Type(),
                       kb.mul(index, panels.panelBytes()));
  panel.sums = kb.scratch();
  panel.scratch = kb.gep(kb.scratch(), kb.getI8Type(), sumBytes());
  if (copiesRows()) {
    kb.ifThen(kb.ne(chunk, lastChunk), [&] { copyRows(firstRow, panel.rows); });
    panel.x = kb.gep(kb.scratch(), kb.getI8Type(), copyAt());
    panel.xRow = kb.c(copyRow());
  } else {
    Type type = spec.inputBlock ? Type(kb.getI8Type()) : kb.f32();
    panel.xRow = kb.stride(kInput, 0);
    panel.x = kb.gep(kb.ptr(kInput), type, kb.mul(firstRow, panel.xRow));
  }
  product->emit(panel);
  int64_t full = panels.columns / kWidth, rest = panels.columns % kWidth;
  LogicalResult status = success();
  auto end = [&](int64_t used) {
    if (failed(finish(index, firstRow, panel.rows, used)))
      status = failure();
  };
  if (rest == 0)
    end(kWidth);
  else if (full == 0)
    end(rest);
  else
    kb.ifElse(kb.lt(index, full), [&] { end(kWidth); }, [&] { end(rest); });
  return status;
}

LogicalResult PackedLinearEmitter::emit() {
  kb.requireScratch(copyAt() +
                    (copiesRows() ? (kMostRows + 8) * copyRow() * 4 : 0));
  int64_t count = panels.panels();
  kb.defineUnits([&] { return kb.mul(makeGrid().chunks, count); });
  LogicalResult status = success();
  kb.defineBody([&] {
    Grid grid = makeGrid();
    kb.forLoop(
        kb.begin(), kb.end(), kb.c(1), ValueRange{kb.c(-1)},
        [&](Value unit, ValueRange carried) {
          Value chunk = kb.div(unit, count);
          if (failed(emitUnit(grid, chunk, kb.rem(unit, count), carried[0])))
            status = failure();
          return SmallVector<Value>{chunk};
        });
  });
  return status;
}

LogicalResult ferrite::cpu::emitPackedLinear(KernelBuilder &kb,
                                             const PackedLinearSpec &spec) {
  PackedLinearEmitter emitter(kb, spec);
  if (failed(emitter.check()))
    return failure();
  return emitter.emit();
}
