//===- PackedProduct.cpp - Rows times a panel of few bits -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/PackedProduct.h"

#include "passes/Codegen/CPU/MicroKernel.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

static constexpr int64_t kCacheLine = 64;
static constexpr int64_t kWidth = PackedPanels::kWidth;

void PackedProduct::prefetchStep(Value step, Value column, unsigned registers) {
  int64_t ahead = kb.level().prefetchBytes;
  Value place = kb.gep(step, kb.getI32Type(), column);
  for (int64_t word = 0; word < panels.wordsPerStep(); ++word)
    for (int64_t line = 0; line < int64_t(registers) * kb.lanes() * 4;
         line += kCacheLine)
      kb.prefetch(
          kb.gep(place, kb.getI8Type(), ahead + word * kWidth * 4 + line));
}

void PackedProduct::clear(Value sums, Value rows) {
  kb.forLoop(kb.c(0), kb.mul(rows, kWidth), kb.c(kb.lanes()), [&](Value i) {
    kb.store(kb.splat(0), kb.gep(sums, kb.f32(), i));
  });
}

PackedProduct::Values PackedProduct::forBlocks(
    const PackedPanel &panel, Values sums,
    function_ref<Values(Value, Value, int64_t, Values)> visit) {
  int64_t depth = panels.blockDepth(), whole = panels.depth / depth;
  Type i8 = kb.getI8Type();
  sums = kb.forLoop(
      kb.c(0), kb.c(whole), kb.c(1), sums, [&](Value i, ValueRange carried) {
        return visit(kb.gep(panel.codes, i8, kb.mul(i, panels.blockBytes())),
                     kb.mul(i, depth), depth,
                     Values(carried.begin(), carried.end()));
      });
  if (int64_t rest = panels.depth - whole * depth)
    sums = visit(kb.gep(panel.codes, i8, whole * panels.blockBytes()),
                 kb.c(whole * depth), rest, sums);
  return sums;
}

/// A function of the kernel, so that its loops are compiled for themselves.
void PackedProduct::emitDirect(const PackedPanel &panel, unsigned rows) {
  unsigned registers = directRegisters(rows);
  int64_t slice = int64_t(registers) * kb.lanes();
  SmallVector<Value> arguments{panel.x, panel.codes, panel.sums};
  bool isOpen = !KernelBuilder::constantOf(panel.xRow);
  if (isOpen)
    arguments.push_back(panel.xRow);
  kb.callPart(
      "direct" + std::to_string(rows), arguments, [&](ValueRange parameters) {
        PackedPanel inner = panel;
        inner.x = parameters[0];
        inner.codes = parameters[1];
        inner.sums = parameters[2];
        inner.xRow = isOpen ? Value(parameters[3])
                            : kb.c(*KernelBuilder::constantOf(panel.xRow));
        auto place = [&](Value column, unsigned i) {
          Value at = kb.add(column, int64_t(i / registers) * kWidth +
                                        int64_t(i % registers) * kb.lanes());
          return kb.gep(inner.sums, kb.f32(), at);
        };
        unsigned count = rows * registers;
        if (slice == kWidth && keepsTotals(rows)) {
          Values sums(count, kb.splat(0));
          auto none = [](unsigned) { return Value(); };
          sums = forBlocks(inner, sums,
                           [&](Value block, Value k, int64_t depth, Values s) {
                             Totals totals{s, none};
                             emitBlock(inner, rows, block, k, depth, kb.c(0),
                                       registers, totals);
                             return totals.sums;
                           });
          for (unsigned i = 0; i < count; ++i)
            kb.store(sums[i], place(kb.c(0), i));
          return;
        }
        // Slices of a block follow one another, so that the panel is one
        // stream.
        clear(inner.sums, kb.c(rows));
        forBlocks(inner, {}, [&](Value block, Value k, int64_t depth, Values) {
          kb.forLoop(kb.c(0), kb.c(kWidth), kb.c(slice), [&](Value column) {
            auto at = [&](unsigned i) { return place(column, i); };
            Totals totals{{}, at};
            emitBlock(inner, rows, block, k, depth, column, registers, totals);
          });
          return Values();
        });
      });
}

void PackedProduct::update(Totals &totals, unsigned i,
                           function_ref<Value(Value)> change) {
  if (!totals.sums.empty()) {
    totals.sums[i] = change(totals.sums[i]);
    return;
  }
  Value place = totals.place(i);
  kb.store(change(kb.load(kb.vec(), place)), place);
}

void PackedProduct::emit(const PackedPanel &panel) {
  std::function<void(unsigned)> direct = [&](unsigned rows) {
    if (rows == 1)
      return emitDirect(panel, 1);
    kb.ifElse(
        kb.eq(panel.rows, int64_t(rows)), [&] { emitDirect(panel, rows); },
        [&] { direct(rows - 1); });
  };
  kb.ifElse(
      kb.le(panel.rows, int64_t(directRows())), [&] { direct(directRows()); },
      [&] {
        clear(panel.sums, panel.rows);
        emitExpanded(panel);
      });
}

//===--- f32 --------------------------------------------------------------===//

namespace {
class PackedFloats final : public PackedProduct {
public:
  using PackedProduct::PackedProduct;
  int64_t scratchBytes() const override {
    return partsAt() + (isLong() ? kMostSums * kWidth * 4 : 0);
  }

private:
  /// The k that are f32 at a time: 64 KiB, which the second level has beside
  /// the rows.
  static constexpr int64_t kDepth = 256;
  /// Blocks that are longer have their sums in scratch between the parts.
  bool isLong() const { return panels.blockDepth() > kDepth; }
  int64_t most() const {
    int64_t depth = panels.blockDepth();
    return isLong() ? kDepth : kDepth / depth * depth;
  }
  int64_t partsAt() const { return (most() + panels.stepDepth()) * kWidth * 4; }
  bool isWide() const { return kb.level().registers >= 32; }
  unsigned directRows() const override { return isWide() ? 4 : 2; }
  unsigned directRegisters(unsigned rows) const override {
    // A step of three bits has three words of each.
    unsigned most = isWide() || rows == 1 ? 4 : 2;
    return panels.bits == 3 ? most / 2 : most;
  }
  bool keepsTotals(unsigned rows) const override { return rows <= 2; }
  void emitBlock(const PackedPanel &panel, unsigned rows, Value block, Value k,
                 int64_t depth, Value column, unsigned registers,
                 Totals &totals) override;
  void emitExpanded(const PackedPanel &panel) override;
  /// `count` steps of a block from `step` on, as f32 without scales at `to`.
  void expand(Value block, Value step, Value count, Value to);
  /// All rows times `depth` k from `k` on, which lie at `b`: parts of a block
  /// at `block`, or (null) sums that go on at `sums`.
  void multiply(const PackedPanel &panel, Value k, Value depth, Value b,
                Value block, Value sums);
  void multiplyBlock(const ProductTile &tile, Value block, Value column,
                     Value sums);
  void emitLong(const PackedPanel &panel);
};
} // namespace

void PackedFloats::emitBlock(const PackedPanel &panel, unsigned rows,
                             Value block, Value k, int64_t depth, Value column,
                             unsigned registers, Totals &totals) {
  Values zeros, x;
  for (unsigned c = 0; c < registers; ++c)
    zeros.push_back(unpack.zerosF32(block, columnOf(column, c)));
  for (unsigned r = 0; r < rows; ++r)
    x.push_back(
        kb.gep(panel.x, kb.f32(), kb.add(kb.mul(panel.xRow, int64_t(r)), k)));
  Value codes = kb.gep(block, kb.getI8Type(), panels.codesOffset());
  auto emitStep = [&](Value step, int64_t count, Values &sums) {
    Value words =
        kb.gep(codes, kb.getI8Type(), kb.mul(step, panels.stepBytes()));
    prefetchStep(words, column, registers);
    SmallVector<UnpackCodes::Words> loaded;
    for (unsigned c = 0; c < registers; ++c)
      loaded.push_back(
          unpack.load(kb.gep(words, kb.getI32Type(), columnOf(column, c))));
    Value first = kb.mul(step, panels.stepDepth());
    for (int64_t i = 0; i < count; ++i) {
      Values row;
      for (unsigned r = 0; r < rows; ++r)
        row.push_back(kb.broadcast(
            kb.load(kb.f32(), kb.gep(x[r], kb.f32(), kb.add(first, i)))));
      for (unsigned c = 0; c < registers; ++c) {
        Value number = unpack.number(loaded[c], i, zeros[c]);
        for (unsigned r = 0; r < rows; ++r) {
          Value &sum = sums[r * registers + c];
          sum = kb.fma(row[r], number, sum);
        }
      }
    }
  };
  int64_t each = panels.stepDepth(), steps = depth / each;
  Values sums(rows * registers, kb.splat(0));
  sums = kb.forLoop(kb.c(0), kb.c(steps), kb.c(1), sums,
                    [&](Value step, ValueRange carried) {
                      Values next(carried.begin(), carried.end());
                      emitStep(step, each, next);
                      return next;
                    });
  if (depth % each)
    emitStep(kb.c(steps), depth % each, sums);
  for (unsigned c = 0; c < registers; ++c) {
    Value scale = unpack.scales(block, columnOf(column, c));
    for (unsigned r = 0; r < rows; ++r)
      update(totals, r * registers + c, [&](Value total) {
        return kb.fma(sums[r * registers + c], scale, total);
      });
  }
}

void PackedFloats::expand(Value block, Value step, Value count, Value to) {
  kb.callPart("expand", {block, step, count, to}, [&](ValueRange p) {
    constexpr unsigned registers = 4;
    int64_t slice = int64_t(registers) * kb.lanes();
    Type i32 = kb.getI32Type();
    kb.forLoop(kb.c(0), kb.c(kWidth), kb.c(slice), [&](Value column) {
      Values zeros;
      for (unsigned c = 0; c < registers; ++c)
        zeros.push_back(unpack.zerosF32(p[0], columnOf(column, c)));
      Value codes = kb.gep(kb.gep(p[0], kb.getI8Type(), panels.codesOffset()),
                           kb.getI8Type(), kb.mul(p[1], panels.stepBytes()));
      kb.forLoop(kb.c(0), p[2], kb.c(1), [&](Value s) {
        Value words =
            kb.gep(codes, kb.getI8Type(), kb.mul(s, panels.stepBytes()));
        prefetchStep(words, column, registers);
        for (unsigned c = 0; c < registers; ++c) {
          Value at = columnOf(column, c);
          UnpackCodes::Words loaded = unpack.load(kb.gep(words, i32, at));
          Value out = kb.gep(
              kb.gep(p[3], kb.f32(), kb.mul(s, panels.stepDepth() * kWidth)),
              kb.f32(), at);
          for (int64_t i = 0; i < panels.stepDepth(); ++i)
            kb.store(unpack.number(loaded, i, zeros[c]),
                     kb.gep(out, kb.f32(), i * kWidth));
        }
      });
    });
  });
}

/// A tile of a whole block: its sums times the scales join those at `sums`.
void PackedFloats::multiplyBlock(const ProductTile &tile, Value block,
                                 Value column, Value sums) {
  SmallVector<Value> arguments{tile.a, tile.b, block, column, sums};
  int64_t depth = *KernelBuilder::constantOf(tile.depth);
  bool isOpen = !KernelBuilder::constantOf(tile.aRow);
  if (isOpen)
    arguments.push_back(tile.aRow);
  std::string name =
      "block" + std::to_string(depth) + "_" + std::to_string(tile.rows);
  kb.callPart(name, arguments, [&](ValueRange p) {
    ProductTile inner = tile;
    inner.a = p[0];
    inner.b = p[1];
    inner.depth = kb.c(depth);
    inner.aRow =
        isOpen ? Value(p.back()) : kb.c(*KernelBuilder::constantOf(tile.aRow));
    inner.aDepth = kb.c(1);
    inner.bDepth = kb.c(kWidth);
    Values parts = emitProduct(kb, inner);
    for (unsigned c = 0; c < tile.columns; ++c) {
      Value scale = unpack.scales(p[2], columnOf(p[3], c));
      for (unsigned r = 0; r < tile.rows; ++r) {
        Value place = kb.gep(p[4], kb.f32(),
                             int64_t(r) * kWidth + int64_t(c) * kb.lanes());
        kb.store(kb.fma(parts[r * tile.columns + c], scale,
                        kb.load(kb.vec(), place)),
                 place);
      }
    }
  });
}

void PackedFloats::multiply(const PackedPanel &panel, Value k, Value depth,
                            Value b, Value block, Value sums) {
  unsigned columns = kb.level().columns, most = tileRows(kb.level(), columns);
  int64_t slice = int64_t(columns) * kb.lanes();
  std::string tag =
      "part" + std::to_string(*KernelBuilder::constantOf(depth)) + "_";
  kb.forLoop(kb.c(0), kb.c(kWidth), kb.c(slice), [&](Value column) {
    forRowTiles(kb, panel.rows, most, [&](Value row, unsigned count) {
      ProductTile tile;
      tile.rows = count;
      tile.columns = columns;
      tile.depth = depth;
      tile.a = kb.gep(panel.x, kb.f32(), kb.add(kb.mul(row, panel.xRow), k));
      tile.aType = kb.f32();
      tile.aRow = panel.xRow;
      tile.aDepth = kb.c(1);
      tile.b = kb.gep(b, kb.f32(), column);
      tile.bType = kb.f32();
      tile.bDepth = kb.c(kWidth);
      Value out = kb.gep(sums, kb.f32(), kb.add(kb.mul(row, kWidth), column));
      if (block)
        multiplyBlock(tile, block, column, out);
      else
        emitProductPart(kb, tag, tile, out, kWidth, /*goOn=*/true);
    });
  });
}

/// Blocks that do not fit scratch: part after part.
void PackedFloats::emitLong(const PackedPanel &panel) {
  Value parts = kb.gep(panel.scratch, kb.getI8Type(), partsAt());
  forBlocks(panel, {}, [&](Value block, Value k, int64_t depth, Values) {
    clear(parts, panel.rows);
    auto part = [&](Value at, Value count) {
      expand(block, kb.div(at, panels.stepDepth()),
             kb.ceilDiv(count, panels.stepDepth()), panel.scratch);
      multiply(panel, kb.add(k, at), count, panel.scratch, Value(), parts);
    };
    int64_t whole = depth / kDepth * kDepth;
    kb.forLoop(kb.c(0), kb.c(whole), kb.c(kDepth),
               [&](Value at) { part(at, kb.c(kDepth)); });
    if (whole < depth)
      part(kb.c(whole), kb.c(depth - whole));
    kb.forLoop(kb.c(0), kb.c(kWidth), kb.c(kb.lanes()), [&](Value column) {
      Value scale = unpack.scales(block, column);
      kb.forLoop(kb.c(0), panel.rows, kb.c(1), [&](Value row) {
        Value at = kb.add(kb.mul(row, kWidth), column);
        Value place = kb.gep(panel.sums, kb.f32(), at);
        kb.store(kb.fma(kb.load(kb.vec(), kb.gep(parts, kb.f32(), at)), scale,
                        kb.load(kb.vec(), place)),
                 place);
      });
    });
    return Values();
  });
}

void PackedFloats::emitExpanded(const PackedPanel &panel) {
  if (isLong())
    return emitLong(panel);
  int64_t depth = panels.blockDepth(), whole = panels.depth / depth * depth;
  auto blocks = [&](Value k, Value count, Value own) {
    auto each = [&](function_ref<void(Value block, Value k, Value b)> visit) {
      kb.forLoop(kb.c(0), count, kb.c(1), [&](Value i) {
        Value at = kb.add(k, kb.mul(i, depth));
        visit(kb.gep(panel.codes, kb.getI8Type(),
                     kb.mul(kb.div(at, depth), panels.blockBytes())),
              at, kb.gep(panel.scratch, kb.f32(), kb.mul(i, depth * kWidth)));
      });
    };
    each([&](Value block, Value, Value b) {
      expand(block, kb.c(0), kb.ceilDiv(own, panels.stepDepth()), b);
    });
    each([&](Value block, Value at, Value b) {
      multiply(panel, at, own, b, block, panel.sums);
    });
  };
  int64_t together = most() / depth;
  kb.forLoop(kb.c(0), kb.c(whole), kb.c(most()), [&](Value k) {
    Value left = kb.div(kb.sub(kb.c(whole), k), depth);
    blocks(k, kb.min(left, together), kb.c(depth));
  });
  if (whole < panels.depth)
    blocks(kb.c(whole), kb.c(1), kb.c(panels.depth - whole));
}

std::unique_ptr<PackedProduct>
ferrite::cpu::makePackedFloats(KernelBuilder &kb,
                               const PackedLinearSpec &spec) {
  return std::make_unique<PackedFloats>(kb, spec);
}
