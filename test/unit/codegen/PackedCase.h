//===- PackedCase.h - A product with weights of few bits --------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Random codes, scales and zero points of a matrix, and rows rounded as
// round_rows says, by plain loops: tests compare bits, benchmarks take the
// memory.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_TEST_UNIT_CODEGEN_PACKEDCASE_H
#define FERRITE_TEST_UNIT_CODEGEN_PACKEDCASE_H

#include "passes/Codegen/CPU/EmitPackedLinear.h"
#include "test/unit/codegen/KernelJit.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace ferrite::test {

struct PackedCase {
  std::string level;
  int64_t bits, depth, columns, block;
  int64_t inputBlock = 0;
  enum Zero { None, Bytes, Floats } zero = None;
  bool shortScales = true; ///< f16; else f32
  bool table = false;
  std::string x = "f32"; ///< of rows that are not rounded
  bool bias = false;

  PackedPanels panels() const {
    return {depth,
            columns,
            bits,
            block,
            shortScales ? 2 : 4,
            zero == None     ? 0
            : zero == Floats ? 4
                             : 1};
  }
  RoundedRows rows() const {
    return {depth, inputBlock, std::min(inputBlock, block)};
  }
};

/// The matrix of a case, packed and as numbers.
class PackedMatrix {
public:
  explicit PackedMatrix(const PackedCase &c);

  const char *data() const { return begin; }
  int64_t code(int64_t k, int64_t n) const { return codes[k * c.columns + n]; }
  float scale(int64_t k, int64_t n) const { return scales[at(k, n)]; }
  float zero(int64_t k, int64_t n) const { return zeros[at(k, n)]; }
  /// What a code stands for, without its scale.
  float number(int64_t k, int64_t n) const;
  const std::vector<float> &table() const { return numbers; }
  int64_t shift() const;

private:
  size_t at(int64_t k, int64_t n) const {
    return k / layout.blockDepth() * c.columns + n;
  }
  PackedCase c;
  PackedPanels layout;
  std::vector<int64_t> codes;
  std::vector<float> scales, zeros, numbers;
  std::vector<char> memory;
  char *begin;
};

/// `rows` rows of x [rows, depth] as bytes, scales and sums.
std::vector<char> roundRows(const std::vector<float> &x, int64_t rows,
                            const RoundedRows &layout);

/// The kernel of a case.
std::unique_ptr<KernelJit> makePackedKernel(const PackedCase &c,
                                            const PackedMatrix &matrix,
                                            bool keepAssembly = false);

} // namespace ferrite::test
#endif // FERRITE_TEST_UNIT_CODEGEN_PACKEDCASE_H
