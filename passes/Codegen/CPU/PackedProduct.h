//===- PackedProduct.h - Rows times a panel of few bits ---------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Two ways through one panel, with the same bits as result:
//
//   direct     few rows: the panel is one stream, unpacked in registers beside
//              each row's sums
//   expanded   more rows: some k of the panel are unpacked into scratch, which
//              stays in the first or second level of caches while tiles of rows
//              pass, and then the next k
//
// In f32 every element adds the products of a block in the order of k, one FMA
// each with what the codes stand for; those sums then join in order, each times
// its scale. To scale every weight would take as many multiplications as there
// are FMAs, on the same two pipes. Of bytes, the k that share both scales add
// up exactly, and those sums join in order.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_PASSES_CODEGEN_CPU_PACKEDPRODUCT_H
#define FERRITE_PASSES_CODEGEN_CPU_PACKEDPRODUCT_H

#include "passes/Codegen/CPU/EmitPackedLinear.h"

namespace ferrite::cpu {

/// Rows of x, one panel, and where the sums go: 64 floats a row.
struct PackedPanel {
  mlir::Value x;    ///< f32, or rounded rows
  mlir::Value xRow; ///< between rows, in elements (bytes of rounded rows)
  mlir::Value rows;
  mlir::Value codes; ///< where the panel begins
  mlir::Value sums;
  mlir::Value scratch; ///< for expanded k
};

/// What one function of a product needs to walk blocks of a panel.
class PackedProduct {
public:
  /// Rows of a panel at the most.
  static constexpr int64_t kMostSums = 104;
  using Value = mlir::Value;
  using Values = llvm::SmallVector<Value>;

  PackedProduct(KernelBuilder &kb, const PackedLinearSpec &spec)
      : kb(kb), spec(spec), panels(spec.packed.panels),
        unpack(kb, spec.packed) {}
  virtual ~PackedProduct() = default;

  void emit(const PackedPanel &panel);
  virtual int64_t scratchBytes() const = 0;

protected:
  /// The most rows that go direct.
  virtual unsigned directRows() const = 0;
  /// Registers of columns that `rows` rows take at a time when direct.
  virtual unsigned directRegisters(unsigned rows) const = 0;
  /// Whether so many rows' sums of a whole panel stay in registers.
  virtual bool keepsTotals(unsigned rows) const = 0;
  /// Sums of rows x registers in `sums`, or, where that is empty, in memory:
  /// those of a loop that carries many do not all fit registers.
  struct Totals {
    Values sums;
    llvm::function_ref<Value(unsigned i)> place;
  };
  void update(Totals &totals, unsigned i,
              llvm::function_ref<Value(Value sum)> change);
  /// Adds the block at `block`, which begins at `k` and has `depth` of it, for
  /// the columns from `column` on. direct.
  virtual void emitBlock(const PackedPanel &panel, unsigned rows, Value block,
                         Value k, int64_t depth, Value column,
                         unsigned registers, Totals &totals) = 0;
  virtual void emitExpanded(const PackedPanel &panel) = 0;

  Value columnOf(Value column, unsigned c) {
    return kb.add(column, int64_t(c) * kb.lanes());
  }
  /// Fetches what lies `ahead` of a step's words of some registers.
  void prefetchStep(Value step, Value column, unsigned registers);
  void clear(Value sums, Value rows);
  /// visit(block, k, depth) for each block from `first` on, `count` of them;
  /// the last of the panel by itself where it is shorter. sums are carried.
  Values forBlocks(
      const PackedPanel &panel, Values sums,
      llvm::function_ref<Values(Value block, Value k, int64_t depth, Values)>
          visit);

  KernelBuilder &kb;
  const PackedLinearSpec &spec;
  const PackedPanels &panels;
  UnpackCodes unpack;

private:
  void emitDirect(const PackedPanel &panel, unsigned rows);
};

std::unique_ptr<PackedProduct> makePackedFloats(KernelBuilder &kb,
                                                const PackedLinearSpec &spec);
std::unique_ptr<PackedProduct> makePackedBytes(KernelBuilder &kb,
                                               const PackedLinearSpec &spec);

} // namespace ferrite::cpu
#endif // FERRITE_PASSES_CODEGEN_CPU_PACKEDPRODUCT_H
