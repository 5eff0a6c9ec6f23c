//===- PackedBytes.cpp - Rounded rows times a panel of few bits -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Codes are unsigned bytes, x is signed ones. The k that share a scale of both
// sides add up in i32, begun at -zero times the sum of x; then
//
//   acc = fma(float(sum) * weight scale, x scale, acc)
//
// Both kinds of sums are in registers: 6 rows x 2 registers of i32 and as many
// of f32 fit 32 of them, and f32 sums in memory would cost 10 to 35 points
// (codegen.md 3.4).
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/MicroKernel.h"
#include "passes/Codegen/CPU/PackedProduct.h"
#include "passes/Codegen/CPU/ProductStep.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

static constexpr int64_t kWidth = PackedPanels::kWidth;
static constexpr int64_t kCacheLine = 64;

namespace {
class PackedBytes final : public PackedProduct {
public:
  PackedBytes(KernelBuilder &kb, const PackedLinearSpec &spec)
      : PackedProduct(kb, spec), rows{panels.depth, spec.inputBlock,
                                      std::min(spec.inputBlock, panels.block)},
        step(ProductStep::makeSigned(kb)) {}

  int64_t scratchBytes() const override {
    return panels.bits == 8 ? 0 : (most() + panels.stepDepth()) * kWidth;
  }

private:
  /// The k that are bytes at a time: 32 KiB, or a block that is larger.
  static constexpr int64_t kDepth = 512;
  int64_t most() const {
    int64_t depth = panels.blockDepth();
    return std::max(depth, kDepth / depth * depth);
  }
  bool isWide() const { return kb.level().registers >= 32; }
  bool isDot() const { return kb.level().mixedDot() == ByteDot::Fours; }
  unsigned directRows() const override { return 3; }
  bool keepsTotals(unsigned rows) const override { return rows <= 2; }
  unsigned directRegisters(unsigned rows) const override {
    // A step of three bits has three words of each.
    unsigned most = isWide()               ? (rows <= 2 && isDot() ? 4 : 2)
                    : rows == 1 && isDot() ? 4
                    : rows == 1 || isDot() ? 2
                                           : 1;
    return panels.bits == 3 ? std::max(most / 2, 1u) : most;
  }
  /// Of an expanded tile: what the registers hold, twice.
  unsigned tileRegisters() const { return isWide() || isDot() ? 2 : 1; }
  unsigned tileRows() const {
    if (isWide())
      return isDot() ? 6 : 5;
    return isDot() ? 3 : 4;
  }

  /// What each slice of columns fetches of a block, whole lines.
  int64_t shareBytes() const {
    int64_t slices = kWidth / (int64_t(tileRegisters()) * kb.lanes());
    return llvm::alignTo(PackedPanels::ceilDiv(panels.blockBytes(), slices),
                         kCacheLine);
  }

  /// Columns from `column` on, in the register c, of the i-th four k of a step.
  using Fours = function_ref<Value(unsigned c, int64_t i)>;
  /// One sum of x's: `depth` k from `k` on, of which `within` are behind the
  /// block's begin. `load` is told of each step and gives its fours.
  void emitSum(const PackedPanel &panel, unsigned count, Value block, Value k,
               Value within, int64_t depth, Value column, unsigned registers,
               Totals &totals,
               function_ref<void(Value step, function_ref<void(Fours)>)> load);
  void emitBlock(const PackedPanel &panel, unsigned count, Value block, Value k,
                 int64_t depth, Value column, unsigned registers,
                 Totals &totals) override;
  /// The sums of a block one after another, of `depth` k.
  Values forSums(
      Value k, int64_t depth, Values sums,
      function_ref<Values(Value k, Value within, int64_t depth, Values)> visit);
  void emitExpanded(const PackedPanel &panel) override;
  void expand(Value block, int64_t depth, Value to);
  void emitTile(const PackedPanel &panel, unsigned count, unsigned registers,
                Value x, Value block, Value bytes, Value k, Value blocks,
                int64_t depth, Value column, Value sums, Value next,
                Value fetches);
  /// Fetches a share of the block at `next`, as much as each slice of columns
  /// has to.
  void fetchShare(Value next);

  RoundedRows rows;
  std::unique_ptr<ProductStep> step;
};
} // namespace

void PackedBytes::emitSum(
    const PackedPanel &panel, unsigned count, Value block, Value k,
    Value within, int64_t depth, Value column, unsigned registers,
    Totals &totals, function_ref<void(Value, function_ref<void(Fours)>)> load) {
  Type i32 = kb.getI32Type(), i8 = kb.getI8Type();
  auto ints = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(
        kb, DenseElementsAttr::get(kb.vec(i32), llvm::APInt(32, value)));
  };
  Values x, ofRows;
  Value zeroSum = ints(0);
  for (unsigned r = 0; r < count; ++r) {
    Value row = kb.gep(panel.x, i8, kb.mul(panel.xRow, int64_t(r)));
    x.push_back(kb.gep(row, i8, k));
    ofRows.push_back(kb.load(i32, kb.gep(kb.gep(row, i8, rows.sumsOffset()),
                                         i32, kb.div(k, rows.sumDepth()))));
  }
  Values parts;
  Values zeros(registers);
  for (unsigned c = 0; c < registers; ++c)
    zeros[c] = unpack.zerosI32(block, columnOf(column, c));
  for (unsigned r = 0; r < count; ++r) {
    Value begin = zeroSum;
    if (zeros[0] || spec.packed.shift) {
      Value less = arith::SubIOp::create(
          kb, arith::ConstantOp::create(kb, kb.getI32IntegerAttr(0)),
          ofRows[r]);
      if (!zeros[0])
        less = arith::MulIOp::create(
            kb, less,
            arith::ConstantOp::create(kb,
                                      kb.getI32IntegerAttr(spec.packed.shift)));
      begin = kb.broadcast(less);
    }
    for (unsigned c = 0; c < registers; ++c)
      parts.push_back(
          zeros[0] ? arith::MulIOp::create(kb, zeros[c], begin).getResult()
                   : begin);
  }
  int64_t each = panels.stepDepth();
  Value firstStep = kb.div(within, each);
  parts = kb.forLoop(
      kb.c(0), kb.c(PackedPanels::ceilDiv(depth, each)), kb.c(1), parts,
      [&](Value s, ValueRange carried) {
        Values next(carried.begin(), carried.end());
        load(kb.add(firstStep, s), [&](Fours fours) {
          for (int64_t i = 0; i < each / 4; ++i) {
            SmallVector<ProductStep::Registers> row;
            for (unsigned r = 0; r < count; ++r)
              row.push_back(step->loadRow(
                  kb.gep(x[r], i8, kb.add(kb.mul(s, each), i * 4)), 4, 4));
            for (unsigned c = 0; c < registers; ++c) {
              ProductStep::Registers wide = step->columnsOf(fours(c, i));
              for (unsigned r = 0; r < count; ++r) {
                Value &sum = next[r * registers + c];
                sum = step->multiplyAdd(row[r], wide, sum);
              }
            }
          }
        });
        return next;
      });
  Values scales(registers), points(registers);
  for (unsigned c = 0; c < registers; ++c) {
    scales[c] = unpack.scales(block, columnOf(column, c));
    if (panels.zeroBytes == 4)
      points[c] = unpack.zerosF32(block, columnOf(column, c));
  }
  for (unsigned r = 0; r < count; ++r) {
    Value row = kb.gep(panel.x, i8, kb.mul(panel.xRow, int64_t(r)));
    Value scale = kb.broadcast(
        kb.load(kb.f32(), kb.gep(kb.gep(row, i8, rows.scalesOffset()), kb.f32(),
                                 kb.div(k, rows.blockDepth()))));
    Value total;
    if (points[0])
      total = kb.broadcast(
          arith::SIToFPOp::create(kb, kb.f32(), ofRows[r]).getResult());
    for (unsigned c = 0; c < registers; ++c) {
      Value number =
          arith::SIToFPOp::create(kb, kb.vec(), parts[r * registers + c]);
      if (points[c])
        number = kb.subF(number, kb.mulF(points[c], total));
      update(totals, r * registers + c, [&](Value sum) {
        return kb.fma(kb.mulF(number, scales[c]), scale, sum);
      });
    }
  }
}

PackedProduct::Values PackedBytes::forSums(
    Value k, int64_t depth, Values sums,
    function_ref<Values(Value, Value, int64_t, Values)> visit) {
  int64_t each = std::min(rows.sumDepth(), depth), whole = depth / each * each;
  if (whole == each)
    sums = visit(k, kb.c(0), each, sums);
  else
    sums = kb.forLoop(kb.c(0), kb.c(whole), kb.c(each), sums,
                      [&](Value at, ValueRange carried) {
                        return visit(kb.add(k, at), at, each,
                                     Values(carried.begin(), carried.end()));
                      });
  if (whole < depth)
    sums = visit(kb.add(k, whole), kb.c(whole), depth - whole, sums);
  return sums;
}

void PackedBytes::emitBlock(const PackedPanel &panel, unsigned count,
                            Value block, Value k, int64_t depth, Value column,
                            unsigned registers, Totals &totals) {
  Value codes = kb.gep(block, kb.getI8Type(), panels.codesOffset());
  auto load = [&](Value s, function_ref<void(Fours)> use) {
    Value words = kb.gep(codes, kb.getI8Type(), kb.mul(s, panels.stepBytes()));
    prefetchStep(words, column, registers);
    SmallVector<UnpackCodes::Words> loaded;
    for (unsigned c = 0; c < registers; ++c)
      loaded.push_back(
          unpack.load(kb.gep(words, kb.getI32Type(), columnOf(column, c))));
    use([&](unsigned c, int64_t i) { return unpack.fours(loaded[c], i); });
  };
  totals.sums =
      forSums(k, depth, totals.sums,
              [&](Value at, Value within, int64_t own, Values carried) {
                Totals inner{carried, totals.place};
                emitSum(panel, count, block, at, within, own, column, registers,
                        inner, load);
                return inner.sums;
              });
}

//===--- expanded ---------------------------------------------------------===//

/// The codes of `depth` k of a block as bytes, [k / 4][64][4].
void PackedBytes::expand(Value block, int64_t depth, Value to) {
  kb.callPart("expand" + std::to_string(depth), {block, to}, [&](ValueRange p) {
    Value codes = kb.gep(p[0], kb.getI8Type(), panels.codesOffset());
    Type i32 = kb.getI32Type();
    int64_t steps = PackedPanels::ceilDiv(depth, panels.stepDepth());
    kb.forLoop(kb.c(0), kb.c(steps), kb.c(1), [&](Value s) {
      Value words =
          kb.gep(codes, kb.getI8Type(), kb.mul(s, panels.stepBytes()));
      prefetchStep(words, kb.c(0), kWidth / kb.lanes());
      Value out =
          kb.gep(p[1], kb.getI8Type(), kb.mul(s, panels.stepDepth() * kWidth));
      for (int64_t c = 0; c < kWidth; c += kb.lanes()) {
        UnpackCodes::Words loaded = unpack.load(kb.gep(words, i32, c));
        for (int64_t i = 0; i < panels.stepDepth() / 4; ++i)
          kb.store(unpack.fours(loaded, i), kb.gep(out, i32, i * kWidth + c),
                   4);
      }
    });
  });
}

void PackedBytes::fetchShare(Value next) {
  for (int64_t at = 0; at < shareBytes(); at += kCacheLine)
    kb.prefetch(kb.gep(next, kb.getI8Type(), at));
}

/// `blocks` blocks of `depth` k each from `block` on, whose codes lie at
/// `bytes`: the sums of `count` rows go on. Where `fetches` is not 0, a share
/// of the blocks at `next` is fetched meanwhile: expanding reads in bursts, and
/// would wait for main memory.
void PackedBytes::emitTile(const PackedPanel &panel, unsigned count,
                           unsigned registers, Value x, Value block,
                           Value bytes, Value k, Value blocks, int64_t depth,
                           Value column, Value sums, Value next,
                           Value fetches) {
  // Codes of 8 bits lie as bytes already, each block behind its scales.
  int64_t pitch = panels.bits == 8 ? panels.blockBytes() : depth * kWidth;
  std::string name = "bytes" + std::to_string(count) + "x" +
                     std::to_string(registers) + "_" + std::to_string(depth);
  SmallVector<Value> arguments{x,      block,  bytes, sums,   k,
                               blocks, column, next,  fetches};
  bool isOpen = !KernelBuilder::constantOf(panel.xRow);
  if (isOpen)
    arguments.push_back(panel.xRow);
  kb.callPart(name, arguments, [&](ValueRange p) {
    PackedPanel inner = panel;
    inner.x = p[0];
    inner.xRow =
        isOpen ? Value(p[9]) : kb.c(*KernelBuilder::constantOf(panel.xRow));
    Type i8 = kb.getI8Type(), i32 = kb.getI32Type();
    auto place = [&](unsigned i) {
      return kb.gep(p[3], kb.f32(),
                    int64_t(i / registers) * kWidth +
                        int64_t(i % registers) * kb.lanes());
    };
    Values all;
    for (unsigned i = 0; i < count * registers; ++i)
      all.push_back(kb.load(kb.vec(), place(i)));
    auto none = [](unsigned) { return Value(); };
    all = kb.forLoop(
        kb.c(0), p[5], kb.c(1), all, [&](Value b, ValueRange carried) {
          Value own = kb.gep(p[1], i8, kb.mul(b, panels.blockBytes()));
          Value codes = kb.gep(p[2], i8, kb.mul(b, pitch));
          kb.ifThen(kb.ne(p[8], kb.c(0)), [&] {
            fetchShare(kb.gep(p[7], i8, kb.mul(b, panels.blockBytes())));
          });
          auto load = [&](Value s, function_ref<void(Fours)> use) {
            Value from = kb.gep(
                kb.gep(codes, i8, kb.mul(s, panels.stepDepth() * kWidth)), i32,
                p[6]);
            use([&](unsigned c, int64_t i) {
              return kb.load(
                  kb.vec(i32),
                  kb.gep(from, i32, i * kWidth + int64_t(c) * kb.lanes()), 4);
            });
          };
          return forSums(
              kb.add(p[4], kb.mul(b, depth)), depth,
              Values(carried.begin(), carried.end()),
              [&](Value at, Value within, int64_t size, Values carried) {
                Totals totals{carried, none};
                emitSum(inner, count, own, at, within, size, p[6], registers,
                        totals, load);
                return totals.sums;
              });
        });
    for (unsigned i = 0; i < count * registers; ++i)
      kb.store(all[i], place(i));
  });
}

void PackedBytes::emitExpanded(const PackedPanel &panel) {
  int64_t depth = panels.blockDepth(), whole = panels.depth / depth;
  unsigned registers = tileRegisters();
  int64_t slice = int64_t(registers) * kb.lanes();
  Type i8 = kb.getI8Type();
  auto multiply = [&](Value block, Value k, Value blocks, int64_t depth) {
    Value bytes = panel.scratch;
    if (panels.bits == 8)
      bytes = kb.gep(block, i8, panels.codesOffset());
    // Of this panel or of the one behind it.
    Value after = kb.gep(block, i8, kb.mul(blocks, panels.blockBytes()));
    kb.forLoop(kb.c(0), kb.c(kWidth), kb.c(slice), [&](Value column) {
      Value next =
          kb.gep(after, i8, kb.mul(kb.div(column, slice), shareBytes()));
      forRowTiles(kb, panel.rows, tileRows(), [&](Value row, unsigned count) {
        emitTile(
            panel, count, registers,
            kb.gep(panel.x, i8, kb.mul(row, panel.xRow)), block, bytes, k,
            blocks, depth, column,
            kb.gep(panel.sums, kb.f32(), kb.add(kb.mul(row, kWidth), column)),
            next, kb.select(kb.eq(row, int64_t(0)), kb.c(1), kb.c(0)));
      });
    });
  };
  auto blockAt = [&](Value i) {
    return kb.gep(panel.codes, i8, kb.mul(i, panels.blockBytes()));
  };
  int64_t most = this->most() / depth;
  kb.forLoop(kb.c(0), kb.c(whole), kb.c(most), [&](Value first) {
    Value blocks =
        whole % most ? kb.min(kb.sub(kb.c(whole), first), most) : kb.c(most);
    if (panels.bits != 8)
      kb.forLoop(kb.c(0), blocks, kb.c(1), [&](Value i) {
        expand(blockAt(kb.add(first, i)), depth,
               kb.gep(panel.scratch, i8, kb.mul(i, depth * kWidth)));
      });
    multiply(blockAt(first), kb.mul(first, depth), blocks, depth);
  });
  if (int64_t rest = panels.depth - whole * depth) {
    if (panels.bits != 8)
      expand(blockAt(kb.c(whole)), rest, panel.scratch);
    multiply(blockAt(kb.c(whole)), kb.c(whole * depth), kb.c(1), rest);
  }
}

std::unique_ptr<PackedProduct>
ferrite::cpu::makePackedBytes(KernelBuilder &kb, const PackedLinearSpec &spec) {
  return std::make_unique<PackedBytes>(kb, spec);
}
