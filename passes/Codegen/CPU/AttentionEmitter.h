//===- AttentionEmitter.h - The parts of the attention kernel ---*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Private to EmitAttention.cpp (what a unit does), AttentionStages.cpp (what
// happens to one tile of scores), AttentionAddends.cpp (windows and masks),
// AttentionBytes.cpp (scores of bytes), AttentionSeen.cpp (which keys are left
// out) and AttentionBlocks.cpp (lists of blocks).
// For each block of 512 keys of a chunk of queries:
//
//   K^T into panels, V into one array; addends that are the same for all
//   queries into one row
//   for each group of 48 queries:
//     scores = fma(Q K^T, scale, addends), maxima by lane   (register tiles)
//     maxima of rows                                        (16 rows at once)
//     weights = exp2((scores - maximum) * log2(e)), sums by lane
//     sums of rows                                          (16 rows at once)
//     output = output * 2^(old maximum - new) + weights V   (register tiles)
//
// All that is packed, and the tile of scores, stay in L2. Rows are padded to an
// even number with rows that are computed and not stored, so there are tiles of
// two sizes instead of one for each rest.
//
// With `byteScores` queries and keys are bytes instead (AttentionBytes.cpp),
// and a tile of scores becomes f32 right after its product; all else is as it
// was.
//
// With bf16 dots everything lies in the same places, as pairs of bf16 where f32
// would be: queries and weights along their rows (which are then half as long),
// keys along the depth, values of two neighbouring keys.
//
// A row is a query of one head. Heads that read the same keys are rows of one
// unit, query by query, so that a block is packed once for all of them:
//
//   row 0: query 0, head 4    row 1: query 0, head 5    row 2: query 1, head 4
//
// Windows and masks cut twice: a unit walks the blocks between the first and
// the last that its rows can see, and a group of rows the keys that one of the
// group sees, from the first to the last; a block that no group sees is not
// packed. What is left of the others has a score of -inf, or one with a fill:
// an exact 0 in every sum.
//
// That is wrong for a row that sees no key at all if the fill was finite: such
// rows are found by their maxima, after the last block, and the same code runs
// once more without the cuts (`opened`), for groups that have one. What it
// computes of other rows is not stored.
//
// Over block lists (AttentionBlocks.cpp) a unit is some queries of one head,
// and what a visit of 512 keys is there is the next so many kept blocks of the
// list, wherever they lie: keys and values come packed, from a kernel before
// this one.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_ATTENTIONEMITTER_H
#define FERRITE_PASSES_CODEGEN_CPU_ATTENTIONEMITTER_H

#include "passes/Codegen/CPU/AttentionPack.h"
#include "passes/Codegen/CPU/EmitAttention.h"
#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <limits>

namespace ferrite::cpu {

// Measured on Zen 4 (codegen.md section 4) and on Zen 5.
// Queries of a unit, each of which packs all keys anew: 768 take 1 to 2 percent
// less time than 384 (d = 64, S = 1024 and more, Zen 5). Wide heads would not
// leave room for the keys in the second-level cache.
inline constexpr int64_t kNarrowChunk = 768, kWideChunk = 384;
inline constexpr int64_t kFewChunk = 192, kFewQueries = 768;
inline constexpr int64_t chunkRows(int64_t depth, int64_t valueDepth) {
  return depth + valueDepth <= 128 ? kNarrowChunk : kWideChunk;
}
inline constexpr int64_t kGroup = 48;  // queries of a tile of scores
inline constexpr int64_t kBlock = 512; // keys of a tile of scores
// 16 more than a power of two, or rows of the tile share cache sets.
inline constexpr int64_t kTileStride = kBlock + 16;
inline constexpr int64_t kTailRows = 2;
// Queries of a unit over block lists, and the most blocks of 16 in a visit.
inline constexpr int64_t kListedRows = 64;
inline constexpr int64_t kListedBlocks = kBlock / 16;
// Windows and positions beyond it are as good as unbounded, and sums of a few
// stay far from overflow.
inline constexpr int64_t kFar = int64_t(1) << 60;

/// Where things lie in scratch, in floats.
struct ScratchPlan {
  int64_t queryStride, valueStride; // padded to registers
  int64_t queries, keys, values, keyAddends, scores, output;
  int64_t maxima, sums;                               // a register per query
  int64_t highest, subtracted, decay, total, inverse; // a float per query
  int64_t sinks, redone;                              // likewise
  int64_t ranges; // of a group: its keys from and to, and whether it has any
  // Of scores of bytes: keys before they are panels, a float or an i32 per key,
  // floats per query, and what was subtracted from the keys of the block.
  int64_t keyBytes, keyScales, keyStarts, queryScales, centers, center;
  int64_t visited; // with lists: the first key of each block of a visit
  int64_t floats = 0;

  ScratchPlan(int64_t depth, int64_t valueDepth, int64_t lanes, bool byteScores,
              bool isListed = false) {
    queryStride = llvm::alignTo(depth, lanes);
    valueStride = llvm::alignTo(valueDepth, lanes);
    // Whole registers of queries are reduced at once.
    int64_t rows =
        (isListed ? kListedRows : chunkRows(depth, valueDepth)) + lanes;
    int64_t groupRows = isListed ? kListedRows : kGroup;
    int64_t packed = isListed ? 0 : kBlock;
    auto take = [&](int64_t &place, int64_t count) {
      place = floats;
      floats += llvm::alignTo(count, 16);
    };
    take(queries, rows * queryStride);
    take(keys, packed * llvm::alignTo(depth, KeyPanels::kDepthUnit));
    take(values, packed * valueStride);
    take(keyAddends, kBlock);
    take(scores, groupRows * kTileStride);
    take(output, rows * valueStride);
    take(maxima, rows * lanes);
    take(sums, (groupRows + lanes) * lanes);
    for (int64_t *row :
         {&highest, &subtracted, &decay, &total, &inverse, &sinks, &redone})
      take(*row, rows);
    take(ranges, llvm::divideCeil(rows, kGroup) * kRangeFloats);
    take(visited, isListed ? 2 * kListedBlocks : 0);
    if (!byteScores)
      return;
    take(keyBytes, kBlock * byteDepth(depth) / 4);
    for (int64_t *row : {&keyScales, &keyStarts})
      take(*row, kBlock + kMostPanel);
    for (int64_t *row : {&queryScales, &centers})
      take(*row, rows);
    take(center, queryStride);
  }
  static constexpr int64_t kRangeFloats = 8; // three i64 and one to spare
  static constexpr int64_t kMostPanel = 64;  // keys of a panel
  /// Rows of bytes end with whole steps of every product.
  static int64_t byteDepth(int64_t depth) { return llvm::alignTo(depth, 16); }
};

class AttentionEmitter {
public:
  AttentionEmitter(KernelBuilder &kb, const AttentionSpec &spec)
      : kb(kb), spec(spec), result(spec.operands() - 1),
        depth(kb.operand(0).shape[3]), valueDepth(kb.operand(2).shape[3]),
        lanes(kb.lanes()),
        rowHeads(spec.block > 0 ? 1 : rowHeadsOf(kb.layout())),
        dots(usesDots(kb)), plan(depth, valueDepth, lanes, spec.byteScores,
                                 /*isListed=*/spec.block > 0) {}

  void emit();

private:
  /// Rows [first, first + count) of the unit, and the keys of the block that
  /// one of them sees.
  struct Group {
    mlir::Value first, count, lower, upper;
  };

  /// Products of bf16 go through dot instructions where all three are bf16;
  /// scores and weights are f32 before and after.
  static bool usesDots(KernelBuilder &kb) {
    for (unsigned i : {0u, 1u, 2u})
      if (!kb.operand(i).elementType.isBF16())
        return false;
    return kb.use(Instruction::DotBF16);
  }
  /// The steps of a product along the depth of keys: values, or pairs of them.
  int64_t depthSteps() const {
    return dots ? llvm::divideCeil(depth, 2) : depth;
  }
  /// How many heads that read the same keys are rows of one unit.
  static int64_t rowHeadsOf(const KernelLayout &layout);
  /// The number of chunks and the queries of each.
  std::pair<mlir::Value, mlir::Value> chunks();
  void emitUnit(mlir::Value unit);
  /// Where query 0 and the prefix are.
  void locateQueries();
  /// With block lists: a unit, its queries in one row of the list, what that
  /// row keeps, so many blocks of it.
  void emitListedUnit(mlir::Value unit);
  void emitListedPart(mlir::Value first, mlir::Value end);
  void readList(mlir::Value listRow);
  void emitVisits();
  /// Behind block `last`; returns its own last one.
  mlir::Value emitVisit(mlir::Value entry, mlir::Value last);
  /// The packed values from a key on.
  mlir::Value packedValue(mlir::Value key);
  mlir::Value columnOf(mlir::Value entry);
  /// The lowest column of the row above `last`, or none: kFar.
  mlir::Value nextColumn(mlir::Value last);
  void emitListedScores(const Group &group);
  llvm::SmallVector<mlir::Value>
  emitListedProduct(ProductTile tile, mlir::Value weights, mlir::Value row,
                    int64_t column, llvm::ArrayRef<mlir::Value> start);
  void emitRows();
  mlir::Value leastScore(mlir::Value row);
  void emitEmptyRows();
  void emitBlocks();
  void emitOpened(mlir::Value end);
  void emitBlock(mlir::Value first);
  void emitGroups();
  void emitPack(mlir::Value lower, mlir::Value upper);
  void emitStages(const Group &group);
  /// For columns [from, to) of the tile of scores.
  void emitKeyAddends(mlir::Value from, mlir::Value to);
  /// A row of floats, less `center` (null: 0), as bytes at `to`.
  struct ByteRow {
    mlir::Value scale, sum;
  };
  ByteRow emitByteRow(mlir::Value from, mlir::Type storage, mlir::Value to,
                      mlir::Value center, bool isUnsigned);
  void emitQueryBytes(mlir::Value row, mlir::Value from);
  void emitKeyBytes(mlir::Value lower, mlir::Value upper);
  void emitCenter();
  void emitCenters(const Group &group);
  /// Sums of bytes as what they stand for: products of queries and keys.
  void emitByteSums(llvm::MutableArrayRef<mlir::Value> sums, mlir::Value row,
                    mlir::Value key, unsigned columns);
  /// Instructions that take unsigned rows get queries greater by 128.
  bool raisesQueries() const { return kb.level().byteDot() != ByteDot::Signed; }
  unsigned scoreRows(unsigned columns) const;
  void emitScores(const Group &group);
  /// A product of rows that lie so many floats apart.
  ProductTile makeTile(unsigned rows, unsigned columns, int64_t rowFloats);
  void emitScoreTile(const Group &group, mlir::Value row, unsigned rows,
                     mlir::Value key, unsigned columns);
  void emitWeights(const Group &group);
  void emitOutput(const Group &group);
  void emitOutputTile(const Group &group, mlir::Value row, unsigned tileRows,
                      int64_t column, unsigned columns);
  /// Full tiles, then tiles of kTailRows.
  void forRows(mlir::Value rows, unsigned full,
               llvm::function_ref<void(mlir::Value row, unsigned rows)> tile);

  bool hasDistance() const {
    return spec.left >= 0 || spec.right >= 0 || spec.chunk > 0;
  }
  bool hasWindow() const { return hasDistance() || spec.hasSegments; }
  bool cutsWindow() const {
    return hasWindow() && !(opened && std::isfinite(spec.windowFill));
  }
  bool cutsLeft() const {
    return (spec.left >= 0 || spec.chunk > 0) && cutsWindow();
  }
  bool cutsRight() const {
    return (spec.right >= 0 || spec.chunk > 0) && cutsWindow();
  }
  bool cutsSegments() const;
  /// Whether keys that the mask drops need not be computed.
  bool cutsMask(unsigned addend);
  bool cutsAny();
  /// Rows of no higher score are computed without cuts; none: no row is.
  std::optional<float> redoneBelow();
  bool isSoft() { return redoneBelow().has_value(); }
  bool keepsOneForAll();
  void emitAllDropped();
  /// Sets the keys of the block that a row of the group sees.
  void cutGroup(Group &group, int64_t width);
  void cutToWindow(Group &group);
  void cutToData(Group &group, int64_t width);
  mlir::Value isAnySet(mlir::Value bytes);
  mlir::Value isAnyLane(mlir::Value lanesSet);
  mlir::Value maskRow(unsigned addend, mlir::Value query, mlir::Value head);
  mlir::Value isKept(unsigned addend, const Group &group, mlir::Value key,
                     int64_t count);
  mlir::Value querySegment(mlir::Value query);
  mlir::Value keySegments(mlir::Value key, mlir::Value mask);
  std::pair<mlir::Value, mlir::Value> segmentsOf(const Group &group);
  mlir::Value countRedone(const Group &group);
  /// Whether the row is one that sees no key.
  mlir::Value isRedone(mlir::Value row);
  /// The query and head of a row of the unit, from the start of the operands.
  mlir::Value queryOf(mlir::Value row);
  mlir::Value headOf(mlir::Value row);
  /// The first position of the query's chunk.
  mlir::Value chunkBegin(mlir::Value position);
  /// The first key that the query sees, anchors aside, and the one behind the
  /// last, relative to `origin`; not yet cut to the keys there are.
  mlir::Value windowBegin(mlir::Value query, mlir::Value origin);
  mlir::Value windowEnd(mlir::Value query, mlir::Value origin);
  mlir::Value clamp(mlir::Value x, mlir::Value low, mlir::Value high) {
    return kb.min(kb.max(x, low), high);
  }
  /// Element `batch` of an integer operand, between -2^60 and 2^60.
  mlir::Value loadPosition(unsigned operand);
  /// Lanes of a register of keys from `key` on that the row sees, or null.
  /// `exists`: the lanes that are keys of the block.
  mlir::Value windowMask(mlir::Value row, mlir::Value key, mlir::Value exists);

  bool sameForAllRows(unsigned addend);
  mlir::Value addendIndex(unsigned addend, unsigned d, mlir::Value index);
  /// A register of the addend: f32 values for keys [key, key + lanes).
  mlir::Value loadAddend(unsigned addend, mlir::Value query, mlir::Value head,
                         mlir::Value key, mlir::Value mask, mlir::Value seen);

  mlir::Value number(float value) {
    return mlir::arith::ConstantOp::create(kb, kb.getF32FloatAttr(value));
  }
  int64_t panelWidth() const { return int64_t(kb.level().columns) * lanes; }
  mlir::Value place(int64_t offset) {
    return kb.gep(kb.scratch(), kb.f32(), offset);
  }
  mlir::Value place(int64_t offset, mlir::Value index, int64_t stride) {
    return kb.gep(place(offset), kb.f32(), kb.mul(index, stride));
  }
  mlir::Value loadVec(mlir::Value pointer) {
    return kb.load(kb.vec(), pointer, 4);
  }
  void storeVec(mlir::Value v, mlir::Value pointer) { kb.store(v, pointer, 4); }
  /// Lane q: the sum or the maximum of register q of a row of registers.
  mlir::Value
  reduceRows(mlir::Value rows,
             llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);
  /// scale * sum, capped, + addend.
  mlir::Value cappedScore(mlir::Value sum, mlir::Value scale,
                          mlir::Value addend);
  /// e^(score - maximum).
  mlir::Value weight(mlir::Value score, mlir::Value maximum);

  KernelBuilder &kb;
  const AttentionSpec &spec;
  unsigned result;
  int64_t depth, valueDepth, lanes, rowHeads;
  bool dots;
  ScratchPlan plan;
  /// Keys outside of the window are there too, with its fill; in a second pass,
  /// for rows that need it alone.
  bool opened = false, redoing = false;

  // Of the unit. Keys [keyBegin, keyEnd) are all that its rows see; `start` is
  // the position of query 0.
  mlir::Value batch, firstHead, keyHead, firstQuery, rowCount, start;
  mlir::Value keyBegin, keyEnd, firstBlock, prefixEnd;
  /// Whether the mask drops all keys alike: then none is left out. Null: it is
  /// not known, or does not matter.
  mlir::Value allDropped;
  // Of the block of keys. Column c of the tile of scores is key firstKey + c;
  // with lists that is so for one block of a visit at a time.
  mlir::Value firstKey, blockKeys, isFirst, isLast;
  // Of a row of a block list: entries [entryBegin, entryEnd) are visited in
  // steps from firstEntry, and are the blocks themselves where it keeps all.
  mlir::Value columns, keepsAll, firstEntry, entryBegin, entryEnd;
  // The row's entries, and whether they ascend: if not, entries are counted in
  // the order of their columns, each once.
  mlir::Value rowBegin, rowEnd, ascends;
  mlir::Value panels, panelValues;
  // Of a visit: its blocks that count.
  mlir::Value visitBegin, visitEnd;
  // Keys or values that scores need next: their tiles fetch them.
  mlir::Value nextPacked;
};

/// Whether all indices of dimension d name the same element.
inline bool isBroadcast(const OperandLayout &operand, unsigned d) {
  return operand.shape[d] == 1 || operand.strides[d] == 0;
}

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_ATTENTIONEMITTER_H
