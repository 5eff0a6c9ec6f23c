//===- PagedEmitter.h - The parts of paged attention ------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to EmitPagedAttention.cpp (units and what they do), PagedDecode.cpp
// (those of partials), PagedShared.cpp (those of several runs), PagedListed.cpp
// (those with lists), PagedStages.cpp (products), PagedRows.cpp (weights) and
// PagedMerge.cpp (blocks).
//
// Row `r` of a run is its token `r / group` and, of the heads that share a key
// head, the one `r % group`. A block's keys are counted from its first one,
// others from the first of the sequence.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_PAGEDEMITTER_H
#define FERRITE_PASSES_CODEGEN_CPU_PAGEDEMITTER_H

#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/KvRecord.h"
#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <limits>
#include <tuple>

namespace ferrite::cpu {

class PagedEmitter {
public:
  PagedEmitter(KernelBuilder &kb, const PagedSpec &spec);
  void emit();

  static constexpr int64_t kPage = 64, kBlock = 512, kMostGroup = 256;
  /// Runs of fewer tokens have no lists: they may be trees.
  static constexpr int64_t kListedTokens = 65;
  /// Of `selected`: most tokens of a run that have lists, where these begin in
  /// their rows, and the tokens of a part.
  static constexpr int64_t kSelecting = 16, kHeader = 16, kPart = 16,
                           kParts = kPage / kPart;

private:
  using Value = mlir::Value;

  // Measured for the other attention kernel (AttentionEmitter.h).
  static constexpr int64_t kChunk = 384, kSmallChunk = 192, kFewRows = 768,
                           kGroupRows = 48, kTileStride = kBlock + 16,
                           kTailRows = 2, kMostUnits = 128, kManyBlocks = 16;

  /// Columns of so many registers, for so many rows, in one pass.
  struct Tile {
    int64_t first;
    unsigned count;
  };

  /// A row's state after some blocks, or what is needed to add one: all of them
  /// registers, a row in each lane or in all.
  struct Merged {
    Value highest, total, decay, gain;
  };

  //===--- EmitPagedAttention.cpp ----------------------------------------===//
  Value units();
  /// Sets what is known of a run.
  void enterRun(Value run);
  /// Makes the parts that token `token` of the run selected its pages, where
  /// `selects`.
  void enterSelection(Value token, Value selects);
  /// The pages of a block in `table`, of key head 0.
  Value pagesOf(Value block);
  /// Work items of the run: (head, block) or (head, chunk).
  Value blocksOfRun();
  Value itemsOfRun();
  void emitItem(Value item);
  void emitDenseItem(Value item);
  void emitPartial(Value item);
  /// One block of the run alone.
  void emitOwn(Value index, Value firstHead, Value headEnd);
  void fetchValues(Value pages, Value lower, Value row);
  /// In how many parts the key heads are dealt out.
  Value headParts();
  void emitChunk(Value item);
  /// Rows [first, first + rows) of the run, `rows` at most a chunk.
  void emitChunkRows(Value first, Value rows);
  //===--- PagedListed.cpp -----------------------------------------------===//
  /// Of a run with lists: how many rows of 64 positions it is in, and one of
  /// them in one head, as attention to its list.
  Value isListed() { return kb.le(kb.c(kListedTokens), length); }
  Value listedRows();
  void emitListedRow(Value item);
  /// Scores of rows [row, row + count) of scratch and keys [lower, upper) of a
  /// block; `weigh` makes them weights and says how the sums are merged; sums.
  void emitBlockOfRows(Value pages, Value row, Value count, Value lower,
                       Value upper, llvm::function_ref<void()> weigh);
  Value isSingle() { return kb.eq(length, int64_t(1)); }
  std::pair<Value, Value> chunks();
  std::pair<Value, Value> blocksOfSingle();
  Value loadIndex(unsigned operand, mlir::ValueRange at);

  //===--- PagedShared.cpp -----------------------------------------------===//
  /// The blocks of the run, which has one token, whose keys are the same memory
  /// for the run before it: the first so many.
  Value sharedBlocks();
  bool mayShare() const;
  /// The run and those behind it that share block `index`.
  Value sharersOf(Value index);
  /// The partials of so many runs, and key heads [firstHead, headEnd).
  void emitShared(Value index, Value sharers, Value firstHead, Value headEnd);

  //===--- rows
  //------------------------------------------------------------===//
  Value tokenOf(Value row) { return rowHead ? row : kb.div(row, group); }
  /// Where the row's token lies in its sequence: of the run, behind those that
  /// it sees.
  Value indexOf(Value row);
  Value headOf(Value row) {
    if (rowHead)
      return rowHead;
    return kb.add(kb.mul(keyHead, group), kb.rem(row, group));
  }
  /// Bits of the run's tokens that the row sees; 0: causal.
  Value visibleOf(Value row);
  /// The first key that the row may see, and the one behind the last.
  Value beginOf(Value row);
  Value endOf(Value row);
  /// Of a part of the sequence: no key from here on is seen.
  Value lastEndOf(Value row, Value isCausal);
  bool hasBegin() const { return spec.left >= 0 || spec.from > 0; }
  bool hasPart() const {
    return spec.from > 0 || spec.until > 0 || spec.gap > 0;
  }
  /// From the first key of a row to the last, of rows [first, first + count).
  std::pair<Value, Value> rangeOf(Value first, Value count);

  //===--- PagedStages.cpp
  //-------------------------------------------------===//
  /// Where page `pages[page]` of the key head begins in a pool.
  Value pageOf(unsigned pool, Value pages, Value page);
  /// Pages of bytes become f32 in scratch: those of the chunk's block, or one.
  void unpackBlock(Value pages, Value lower, Value upper);
  Value unpackKeys(Value page, Value ahead, Value to);
  Value unpackValues(Value page, Value ahead, Value to, Value count);
  /// Pages that selected parts make up, in scratch as f32.
  Value partOf(Value pages, Value index);
  /// Those of page `ahead` are fetched meanwhile.
  void gatherKeys(Value pages, Value page, Value ahead, Value to);
  void gatherValues(Value pages, Value page, Value ahead, Value to);
  void fetchPart(Value from, int64_t bytes);
  void copyQuery(Value row, Value to);
  /// Scores of rows and one page of keys.
  void emitKeyTile(const ProductTile &tile, Value out);
  void emitKeys(unsigned rows, Value queries, Value page, Value scores);
  void emitKeyStream(Value queries, Value page, Value ahead, Value scores);
  /// Scores to weights: of one row, its maximum, total.
  void emitRow(Value row, Value scores, Value block, Value lower, Value upper,
               Value highest, Value total);
  void emitAddends(mlir::ValueRange p);
  void emitMask(mlir::ValueRange p, Value lowEnd);
  /// Of a row that names what it sees of its run: scores of that alone, one
  /// behind the other, and back. Returns how many there are.
  Value emitCompact(mlir::ValueRange p);
  void emitSpread(mlir::ValueRange p, Value count);
  /// Weights times values. `finish` gets the sums of a tile's row.
  ProductTile valueTile(unsigned rows, const Tile &columns);
  void emitValues(unsigned rows, Value weights, Value pages, Value lower,
                  Value upper, Value row);
  void emitValueStream(Value weights, Value page, Value ahead, Value keys,
                       Value out, Value outRow);
  /// `count` in as few parts of at most `most` as may be, evenly.
  static llvm::SmallVector<Tile> cut(int64_t count, int64_t most);
  /// Most rows and registers of columns of a tile that reads memory once.
  unsigned streamRows(unsigned columns) const;
  unsigned streamColumns(unsigned rows, unsigned most, bool divides) const;

  //===--- PagedMerge.cpp
  //--------------------------------------------------===//
  Value weight(Value score, Value maximum);
  Merged merge(Value highest, Value total, Value blockHighest,
               Value blockTotal);
  Value inverseOf(Value total);
  Value addBlock(Value output, Value sums, const Merged &merged) {
    return kb.fma(sums, merged.gain, kb.mulF(output, merged.decay));
  }
  /// Of a row before its first block.
  std::pair<Value, Value> startOf(Value row);
  void startRows(Value count, Value first);
  void mergeRows(Value first, Value count);
  void storeResult(Value row, Value sums, Value highest, Value total);
  void finishRows(Value first, Value count);
  void emitMergeOfPartials(Value row);
  Value partialOf(unsigned operand, Value head, Value block);

  Value number(float value) {
    return mlir::arith::ConstantOp::create(kb, kb.getF32FloatAttr(value));
  }
  Value negative() {
    return kb.splat(-std::numeric_limits<double>::infinity());
  }
  Value place(int64_t offset) { return kb.gep(kb.scratch(), kb.f32(), offset); }
  Value place(int64_t offset, Value index, int64_t stride) {
    return kb.gep(place(offset), kb.f32(), kb.mul(index, stride));
  }
  Value loadVec(Value pointer) { return kb.load(kb.vec(), pointer, 4); }
  void storeVec(Value v, Value pointer) { kb.store(v, pointer, 4); }
  Value clamp(Value x, Value low, Value high) {
    return kb.min(kb.max(x, low), high);
  }
  mlir::Type elementOf(unsigned operand) {
    mlir::Type element = kb.operand(operand).elementType;
    return element.isUnsignedInteger() ? kb.getI8Type() : element;
  }
  /// Of pages as products read them.
  mlir::Type keyType() {
    return isWide(keyRecord) ? kb.f32() : elementOf(PagedSpec::kKeys);
  }
  mlir::Type valueType() {
    return isWide(valueRecord) ? kb.f32() : elementOf(PagedSpec::kValues);
  }
  /// How far rows of values are apart there.
  int64_t valueRow() const {
    return isWide(valueRecord) ? valueStride : valueDepth;
  }
  /// Whether products read copies in scratch: of records, or selected parts.
  bool isWide(const std::optional<KvRecord> &record) const {
    return record || spec.hasSelected;
  }

  KernelBuilder &kb;
  const PagedSpec &spec;
  int64_t heads, keyHeads, group, depth;
  std::optional<KvRecord> keyRecord, valueRecord; ///< of pools of bytes
  int64_t valueDepth, lanes;
  int64_t queryStride, valueStride, partialWidth;
  unsigned valueRegisters;
  // In scratch, in floats.
  int64_t queries, scores, output, highest, total, decay, gain, blockHighest,
      blockTotal, wideKeys, wideValues, floats = 0;

  // Of the run, and the item.
  struct Run {
    Value run, firstToken, length, context, table, tableStride, isSelecting,
        leftOut;
  };
  Run current() const {
    return {run,   firstToken,  length,      context,
            table, tableStride, isSelecting, leftOut};
  }
  /// After a loop that entered other runs.
  void goBack(const Run &to) {
    std::tie(run, firstToken, length, context, table, tableStride, isSelecting,
             leftOut) =
        std::tie(to.run, to.firstToken, to.length, to.context, to.table,
                 to.tableStride, to.isSelecting, to.leftOut);
  }
  Value run, firstToken, length, context, table, keyHead;
  /// Where rows are tokens of one head: that one.
  Value rowHead;
  // With selected parts: from head to head in `table`, 0 where it is one for
  // all; whether it is a list of parts; and the tokens left out.
  Value tableStride, isSelecting, leftOut;
  // Blocks of all runs of one token.
  Value allBlocks;
};

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_PAGEDEMITTER_H
