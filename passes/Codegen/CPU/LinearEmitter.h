//===- LinearEmitter.h - The parts of a product with panels -----*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// What the tiles of a linear kernel share: its grid, the scratch of a chunk and
// the ways through a panel. EmitLinear.cpp has the grid, LinearTiles.cpp tiles
// over the whole of K, LinearDeep.cpp those over its blocks.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_LINEAREMITTER_H
#define FERRITE_PASSES_CODEGEN_CPU_LINEAREMITTER_H

#include "lib/Support/PanelLayout.h"
#include "lib/Support/SparsePanels.h"
#include "passes/Codegen/CPU/ElementAccess.h"
#include "passes/Codegen/CPU/EmitLinear.h"
#include "passes/Codegen/CPU/ProductFrame.h"
#include "passes/Codegen/CPU/SkinnyPanel.h"
#include "passes/Codegen/CPU/TileProduct.h"

namespace ferrite::cpu {

/// Rows of a chunk, half as many again before there are two. Each chunk reads
/// all panels, from the third-level cache when they are many; 48 rows pay for
/// that (Zen 5). 24 are better where a panel nearly fills the second level.
constexpr int64_t kMostRows = 48, kLeastRows = 24;
/// So many rows are one chunk where they fit beside two panels in a cache of so
/// many bytes: in a model the first chunk of each product waits for main memory
/// (BERT of 128 tokens takes 5 to 8 % less time than with three chunks). That
/// cache is no level's own, as chunks must be the same at all levels: units are
/// counted once.
constexpr int64_t kWholeRows = 144, kLinearCache = 1 << 20;
/// Of panels that crowd the second level (K = 2048 and more): rows of a chunk,
/// whose sums wait in scratch while it goes through the blocks of k.
constexpr int64_t kDeepRows = 96, kDeepPanel = 512 << 10;

class LinearEmitter {
public:
  LinearEmitter(KernelBuilder &kb, const LinearSpec &spec)
      : kb(kb), spec(spec), isBytes(isByte(spec.weightType)),
        packed{spec.depth, spec.columns,
               isBytes ? 4 : int64_t(weightGroup(spec.weightType))},
        sparse{spec.depth, spec.columns, spec.stripColumns, isBytes ? 4 : 1},
        firstSide(spec.hasZero ? 3 : 2),
        result(kb.layout().operands.size() - 1) {}

  llvm::LogicalResult check();
  llvm::LogicalResult emit();

private:
  struct Grid {
    mlir::Value rows, tiles, chunks;
    mlir::Value parts; ///< of each chunk
  };
  int64_t mostRows();
  int64_t fittingRows();
  int64_t wholeRows();
  Grid makeGrid();
  /// Parts of chunks are shares of the tiles, equal but for one.
  mlir::Value firstRowOf(const Grid &grid, mlir::Value part);
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
  bool isSparse() const { return spec.stripColumns > 0; }
  bool usesTiles() {
    if (isSparse())
      return false;
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
  mlir::Value nextPart(mlir::Value panel, mlir::Value tile);
  void emitStart(mlir::Value panel, int64_t width);
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
  void emitCopy(mlir::Value firstRow, mlir::Value rows);
  llvm::LogicalResult emitPanel(mlir::Value panel, mlir::Value firstRow,
                                mlir::Value rows, int64_t width,
                                int64_t usedColumns);
  /// Whether bytes are widened before a product of some rows.
  bool usesWords() {
    return isBytes && !usesTiles() && !isSparse() &&
           kb.level().byteDot() == ByteDot::Pairs;
  }
  ProductTile columnTile(mlir::Value panel, mlir::Value firstRow,
                         int64_t width);
  Epilogue epilogue();
  llvm::LogicalResult emitTiles(mlir::Value panel, mlir::Value firstRow,
                                mlir::Value rows, int64_t width, int64_t used);
  llvm::LogicalResult emitSkinny(mlir::Value panel, mlir::Value firstRow,
                                 mlir::Value rows);
  llvm::LogicalResult emitSlice(mlir::Value panel, mlir::Value firstRow,
                                mlir::Value rows, int64_t width,
                                mlir::Value slice, unsigned columns,
                                int64_t used);
  /// Whether tiles go through a panel block by block.
  bool isDeep() {
    return !isBytes && !copiesRows() && !isSparse() &&
           panelBytes() >= kDeepPanel;
  }
  llvm::LogicalResult emitDeep(mlir::Value panel, mlir::Value firstRow,
                               mlir::Value rows, int64_t width, int64_t used);
  void emitDeepSlice(const ProductTile &block, int64_t most, mlir::Value rows,
                     mlir::Value slice, unsigned columns, int64_t width);
  /// The blocks that a strip of columns keeps.
  struct Strip {
    mlir::Value depth; ///< how many k they have together
    mlir::Value index, values;
  };
  unsigned rowsOfStrip(unsigned columns);
  llvm::LogicalResult emitStripSlice(const Strip &strip, mlir::Value panel,
                                     mlir::Value firstRow, mlir::Value rows,
                                     mlir::Value at, int64_t inStrip,
                                     unsigned columns, int64_t used);
  llvm::LogicalResult emitStrips(mlir::Value panel, mlir::Value firstRow,
                                 mlir::Value rows, int64_t used);
  llvm::SmallVector<mlir::Value> masksOf(unsigned columns, int64_t used);
  void forSlices(int64_t used,
                 llvm::function_ref<void(mlir::Value slice, unsigned columns,
                                         int64_t left)>
                     body);

  static bool isByte(mlir::Type type) { return type.isInteger(8); }
  int64_t bytesOf(mlir::Type type) { return type.getIntOrFloatBitWidth() / 8; }
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
  SparsePanels sparse; ///< but for its count of blocks
  unsigned firstSide, result;
  mlir::Value start;   ///< of a row's sums in the panel; null for zero
  bool isWide = false; ///< products are of bytes that were widened
  int64_t wordsAt = 0; ///< where a slice of the panel then lies in scratch
  /// Where the copy of a chunk begins in scratch, behind the sums of the
  /// largest tile; its type, and how far its rows are apart.
  static constexpr int64_t kTilesAt = kTileRows * PanelLayout::kWidth * 4;
  static constexpr int64_t kStartAt = kTilesAt + kTileScratch;
  static constexpr int64_t kCopyAt = kStartAt + PanelLayout::kWidth * 4;
  static_assert(kSkinnyScratch <= kCopyAt);
  mlir::Type copyType;
  int64_t copyRow = 0;
};

/// Tells tiles of the last, narrower panel apart.
inline std::string tagOf(int64_t width) {
  return width == PanelLayout::kWidth ? "" : "ld" + std::to_string(width) + "_";
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_LINEAREMITTER_H
