//===- SkinnyPanel.cpp - Few rows times a panel of weights ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/SkinnyPanel.h"

#include "lib/Support/PanelLayout.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

/// The most k of a block: 16 KiB of f32, so that it and the next lie in L1. Of
/// 32, 48, 64, 96, 128 and 256 on Zen 5 (avx512, 8 and 16 rows, weights in DRAM
/// 79 and 84 % with 64, 66 and 74 with 128; in L3 93 and 92, 83 and 90).
static constexpr int64_t kBlock = 64;
static constexpr int64_t kWidth = PanelLayout::kWidth;

/// Registers of columns in a tile of so many rows: enough sums for two FMA
/// pipes of latency 4 (eight, better twelve), and as few slices as may be.
static unsigned sliceRegisters(const CpuLevel &level, unsigned rows) {
  unsigned panel = kWidth / level.lanes;
  if (level.registers >= 32)
    return panel;
  return rows == 1 ? panel : rows <= 3 ? panel / 2 : level.columns;
}

namespace {
class SkinnyPanel {
public:
  SkinnyPanel(KernelBuilder &kb, const ProductTile &panel, Value rows,
              Value scratch)
      : kb(kb), panel(panel), rows(rows), sums(scratch),
        depth(*KernelBuilder::constantOf(panel.depth)),
        rowBytes(kWidth * panel.bType.getIntOrFloatBitWidth() / 8) {
    // As even as may be, in whole steps of the loop.
    int64_t blocks = llvm::divideCeil(depth, kBlock);
    blockDepth = llvm::alignTo(llvm::divideCeil(depth, blocks), 4);
  }

  void emit();

private:
  /// Several tiles share each block.
  using Tiles = llvm::function_ref<void(const ProductTile &block, Value k)>;
  void forBlocks(Tiles tiles);
  void emitSlices(const ProductTile &block, Value k, Value firstRow,
                  unsigned count, Value tile, Value tiles);
  /// `emit(n)` for the n in [least, most] that `count` is.
  void choose(Value count, unsigned least, unsigned most,
              llvm::function_ref<void(unsigned)> emit);

  KernelBuilder &kb;
  const ProductTile &panel;
  Value rows, sums;
  int64_t depth, rowBytes, blockDepth;
};
} // namespace

void SkinnyPanel::choose(Value count, unsigned least, unsigned most,
                         function_ref<void(unsigned)> emit) {
  if (least == most)
    return emit(least);
  kb.ifElse(
      kb.eq(count, int64_t(most)), [&] { emit(most); },
      [&] { choose(count, least, most - 1, emit); });
}

void SkinnyPanel::forBlocks(Tiles tiles) {
  kb.forLoop(kb.c(0), kb.mul(rows, kWidth), kb.c(kb.lanes()), [&](Value i) {
    kb.store(kb.splat(0), kb.gep(sums, kb.f32(), i));
  });
  kb.forLoop(kb.c(0), kb.c(depth), kb.c(blockDepth), [&](Value k) {
    ProductTile block = panel;
    block.depth = depth % blockDepth == 0
                      ? kb.c(blockDepth)
                      : kb.min(kb.c(blockDepth), kb.sub(kb.c(depth), k));
    block.a = kb.gep(panel.a, panel.aType, kb.mul(k, panel.aDepth));
    block.b = kb.gep(panel.b, panel.bType, kb.mul(k, kWidth));
    tiles(block, k);
  });
}

/// Tile number `tile` of `tiles`, which have `count` rows from `firstRow`, in
/// each slice of columns.
void SkinnyPanel::emitSlices(const ProductTile &block, Value k, Value firstRow,
                             unsigned count, Value tile, Value tiles) {
  unsigned all = kWidth / kb.lanes();
  unsigned columns = sliceRegisters(kb.level(), count);
  int64_t slices = all / columns;
  // Each tile fetches an even part of the next block, which lies right behind
  // this one; two tiles of the same columns as half of it, more the same again.
  bool shared = KernelBuilder::constantOf(tiles) != 1;
  ProductTile product = block;
  product.rows = count;
  product.columns = columns;
  product.nextBytes = std::max<int64_t>(
      rowBytes / (slices * (shared && slices == 1 ? 2 : 1)), 16);
  int64_t parts = rowBytes / product.nextBytes;
  product.a = kb.gep(block.a, block.aType, kb.mul(firstRow, block.aRow));
  Value next = kb.gep(block.b, kb.getI8Type(), kb.mul(block.depth, rowBytes));
  std::string tag = "skinny" + std::to_string(product.nextBytes) + "_";
  if (!KernelBuilder::constantOf(block.depth))
    tag += "any_";
  kb.forLoop(kb.c(0), kb.c(slices), kb.c(1), [&](Value slice) {
    Value column = kb.mul(slice, int64_t(columns) * kb.lanes());
    ProductTile inner = product;
    inner.b =
        kb.gep(block.b, block.bType, kb.mul(column, int64_t(block.bGroup)));
    Value part = kb.div(kb.mul(kb.add(kb.mul(slice, tiles), tile), parts),
                        kb.mul(tiles, slices));
    inner.next = kb.gep(next, kb.getI8Type(),
                        kb.mul(part, product.nextBytes * blockDepth));
    Value out =
        kb.gep(sums, kb.f32(), kb.add(kb.mul(firstRow, kWidth), column));
    emitProductPart(kb, tag, inner, out, kWidth, /*goOn=*/true);
  });
}

/// Rows that are one tile of the whole panel: it fetches its own stream, some
/// distance ahead.
static void emitAlone(KernelBuilder &kb, ProductTile tile, unsigned count,
                      Value sums) {
  tile.rows = count;
  tile.columns = kWidth / kb.lanes();
  tile.prefetchBytes = kb.level().prefetchBytes;
  // The rests of many rows are such tiles too: one function for both.
  bool isRest = count < kb.level().rows && tile.columns == kb.level().columns;
  emitProductPart(kb, isRest ? "" : "skinny", tile, sums, kWidth,
                  /*goOn=*/false);
}

void SkinnyPanel::emit() {
  unsigned most = kb.level().rows;
  // Rows that one tile holds.
  auto few = [&] {
    choose(rows, 1, most, [&](unsigned count) {
      bool alone = sliceRegisters(kb.level(), count) * kb.lanes() == kWidth;
      if (alone)
        return emitAlone(kb, panel, count, sums);
      forBlocks([&](const ProductTile &block, Value k) {
        emitSlices(block, k, kb.c(0), count, kb.c(0), kb.c(1));
      });
    });
  };
  // The fewest tiles, of even sizes.
  auto more = [&] {
    Value tiles = kb.ceilDiv(rows, most);
    Value least = kb.div(rows, tiles), larger = kb.rem(rows, tiles);
    forBlocks([&](const ProductTile &block, Value k) {
      kb.forLoop(kb.c(0), tiles, kb.c(1), [&](Value tile) {
        Value before = kb.add(kb.mul(tile, least), kb.min(tile, larger));
        Value count =
            kb.add(least, kb.select(kb.lt(tile, larger), kb.c(1), kb.c(0)));
        // The smallest is half of one more than a tile holds.
        choose(count, (most + 1) / 2, most, [&](unsigned n) {
          emitSlices(block, k, before, n, tile, tiles);
        });
      });
    });
  };
  kb.ifElse(kb.le(rows, most), few, more);
}

void ferrite::cpu::emitSkinnyPanel(KernelBuilder &kb, const ProductTile &panel,
                                   Value rows, Value scratch) {
  SkinnyPanel(kb, panel, rows, scratch).emit();
}
