//===- PackedCase.cpp - A product with weights of few bits ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "test/unit/codegen/PackedCase.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <cstring>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

static constexpr int64_t any = ShapedType::kDynamic;

PackedMatrix::PackedMatrix(const PackedCase &c)
    : c(c), layout(c.panels()), codes(c.depth * c.columns),
      scales(layout.blocks() * c.columns), zeros(scales.size()) {
  uint32_t state = 12345;
  auto next = [&] {
    state = state * 1664525 + 1013904223;
    return state >> 16;
  };
  int64_t most = int64_t(1) << c.bits;
  for (int64_t &code : codes)
    code = next() % most;
  for (size_t i = 0; i < scales.size(); ++i) {
    scales[i] = fromF16(toF16(float(next() % 1000 + 1) * 1e-4f));
    zeros[i] = c.zero == PackedCase::Floats  ? float(next() % 64) * 0.13f
               : c.zero == PackedCase::Bytes ? float(next() % most)
                                             : float(shift());
  }
  if (c.table)
    for (int64_t i = 0; i < most; ++i)
      numbers.push_back(float(i * i) * 0.01f - 1.0f);
  memory.resize(layout.bytes() + 64);
  begin =
      memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
  auto *bytes = reinterpret_cast<unsigned char *>(begin);
  for (int64_t n = 0; n < c.columns; ++n)
    for (int64_t k = 0; k < c.depth; ++k) {
      layout.write(bytes, k, n, unsigned(code(k, n)));
      if (k % layout.blockDepth())
        continue;
      char *block = begin + layout.blockOffset(k, n);
      int64_t place = n % PackedPanels::kWidth;
      float own = scale(k, n), point = zero(k, n);
      uint16_t narrow = toF16(own);
      if (c.shortScales)
        std::memcpy(block + place * 2, &narrow, 2);
      else
        std::memcpy(block + place * 4, &own, 4);
      char *points = block + layout.zerosOffset();
      if (c.zero == PackedCase::Bytes)
        points[place] = static_cast<char>(static_cast<uint8_t>(point));
      else if (c.zero == PackedCase::Floats)
        std::memcpy(points + place * 4, &point, 4);
    }
}

int64_t PackedMatrix::shift() const {
  return c.table || c.zero != PackedCase::None ? 0 : int64_t(1) << (c.bits - 1);
}

float PackedMatrix::number(int64_t k, int64_t n) const {
  if (c.table)
    return numbers[code(k, n)];
  return float(code(k, n)) - zero(k, n);
}

std::vector<char> ferrite::test::roundRows(const std::vector<float> &x,
                                           int64_t rows,
                                           const RoundedRows &layout) {
  std::vector<char> out(rows * layout.bytes());
  for (int64_t m = 0; m < rows; ++m) {
    const float *row = x.data() + m * layout.columns;
    char *to = out.data() + m * layout.bytes();
    for (int64_t g = 0; g < layout.blocks(); ++g) {
      int64_t first = g * layout.blockDepth(),
              end = std::min(layout.columns, first + layout.blockDepth());
      float most = 0;
      for (int64_t k = first; k < end; ++k)
        most = std::fmax(most, std::fabs(row[k]));
      float factor = most == 0 ? 0 : 127.0f / most, scale = most / 127.0f;
      std::memcpy(to + layout.scalesOffset() + g * 4, &scale, 4);
      for (int64_t k = first; k < end; ++k) {
        float q = std::fmin(std::fmax(row[k] * factor, -127.0f), 127.0f);
        to[k] = static_cast<char>(std::nearbyint(q));
        int32_t sum;
        char *place = to + layout.sumsOffset() + k / layout.sumDepth() * 4;
        std::memcpy(&sum, place, 4);
        sum += to[k];
        std::memcpy(place, &sum, 4);
      }
    }
  }
  return out;
}

std::unique_ptr<KernelJit>
ferrite::test::makePackedKernel(const PackedCase &c, const PackedMatrix &matrix,
                                bool keepAssembly) {
  return std::make_unique<KernelJit>(
      c.level,
      [&](mlir::MLIRContext &context) {
        mlir::Builder b(&context);
        mlir::Type u8 = b.getIntegerType(8, /*isSigned=*/false),
                   f32 = b.getF32Type();
        mlir::Type x = c.x == "f16"    ? mlir::Type(b.getF16Type())
                       : c.x == "bf16" ? mlir::Type(b.getBF16Type())
                                       : f32;
        cpu::KernelLayout layout;
        layout.operands = {c.inputBlock
                               ? contiguous(u8, {any, c.rows().bytes()})
                               : contiguous(x, {any, c.depth}),
                           contiguous(u8, {1})};
        if (c.bias)
          layout.operands.push_back(strided(f32, {any, c.columns}, {0, 1}));
        layout.operands.push_back(contiguous(f32, {any, c.columns}));
        return layout;
      },
      [&](cpu::KernelBuilder &kb) {
        cpu::PackedLinearSpec spec;
        spec.packed = {c.panels(),
                       c.shortScales ? mlir::Type(kb.getF16Type()) : kb.f32(),
                       matrix.shift(), matrix.table()};
        spec.inputBlock = c.inputBlock;
        mlir::Block body;
        if (c.bias) {
          mlir::OpBuilder b(kb.getContext());
          mlir::Location loc = kb.getLoc();
          mlir::Value acc = body.addArgument(kb.f32(), loc),
                      bias = body.addArgument(kb.f32(), loc);
          b.setInsertionPointToEnd(&body);
          mlir::LLVM::ReturnOp::create(
              b, loc,
              mlir::arith::AddFOp::create(b, loc, acc, bias).getResult());
          spec.epilogue = &body;
        }
        return emitPackedLinear(kb, spec);
      },
      keepAssembly);
}
