//===- FusedCase.h - Fused kernels against loops in double ------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A case says what a fused kernel computes twice: as MLIR text and as a C++
// function of doubles. It is compiled for every level of the machine, with
// static and with dynamic sizes, run whole and in pieces (which must give the
// same bits), and compared element by element, including the elements of the
// result's memory that it must not touch.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_FUSEDCASE_H
#define FERRITE_TEST_UNIT_CODEGEN_FUSEDCASE_H

#include "passes/Codegen/CPU/EmitFused.h"
#include "test/unit/codegen/KernelJit.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include "gtest/gtest.h"

namespace ferrite::test {

/// "f32", "f16", "bf16", "f64", "i64", "i32", "i8", "u8" or "bool".
mlir::Type elementType(mlir::MLIRContext &context, llvm::StringRef name);
/// Memory of such elements, read and written as double.
class Elements {
public:
  Elements(llvm::StringRef type, size_t count);
  double get(size_t i) const;
  void set(size_t i, double value);
  void *data() { return bytes.data(); }
  const void *data() const { return bytes.data(); }
  size_t size() const { return count; }
  /// Values that the type has: floats in [-2, 2), integers in [-8, 8) or
  /// [0, 16), bools.
  void fill(uint32_t seed);
  bool operator==(const Elements &other) const { return bytes == other.bytes; }

private:
  std::string type;
  size_t count;
  unsigned width;
  std::vector<uint8_t> bytes;
};

struct CaseOperand {
  std::string type;
  /// Its loops, outermost in memory first; it does not move along the others.
  std::vector<unsigned> order;
  /// Elements between neighbours along the last of them.
  int64_t step = 1;
  /// Elements behind each row along the last of them.
  int64_t gap = 0;
};

using Point = std::vector<double>;

struct FusedCase {
  /// A block each: "^bb0(%a: f32): ... "test.yield"(%x) : (f32) -> ()".
  std::string body, finish;
  std::vector<CaseOperand> inputs, results;
  std::vector<int64_t> sizes;
  std::vector<bool> reduction;
  std::vector<cpu::Combine> combines;
  std::function<Point(const Point &inputs, const std::vector<int64_t> &at)>
      point;
  /// From the combined values and the inputs at position 0.
  std::function<Point(const Point &combined, const Point &inputs)> end;
  double tolerance = 0; ///< times 1 + |expected|
  /// There are more values, or invariants of the loops beside a square of rows,
  /// than a level has registers.
  bool maySpill = false;
  /// More sizes for the kernel with dynamic ones.
  std::vector<std::vector<int64_t>> moreSizes;
};

/// Fails the test that runs where the kernel is wrong, calls something, or has
/// vectors on the stack in a loop. Returns the assembly of the last level with
/// static sizes.
std::string check(const FusedCase &c);

/// A region of one block, kept alive with its module.
struct ParsedBlock {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::Block *block = nullptr;
};
ParsedBlock parseBlock(mlir::MLIRContext &context, llvm::StringRef text);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_FUSEDCASE_H
