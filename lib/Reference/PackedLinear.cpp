//===- PackedLinear.cpp - Weights and rows of few bits --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

namespace {
/// A group of a row, rounded as the op says: all of it in f32.
struct RoundedGroup {
  std::vector<int8_t> bytes;
  float scale = 0;
};
} // namespace

static RoundedGroup roundGroup(ArrayRef<float> group) {
  RoundedGroup result;
  // By their bits, so that a NaN is the most there is.
  uint32_t bits = 0;
  for (float number : group) {
    uint32_t own;
    std::memcpy(&own, &number, 4);
    bits = std::max(bits, own & 0x7fffffffu);
  }
  float most;
  std::memcpy(&most, &bits, 4);
  float factor = bits == 0 ? 0.0f : 127.0f / most;
  result.scale = most / 127.0f;
  for (float number : group) {
    float quotient = number * factor;
    // A NaN becomes the least: its scale is a NaN too, or infinite.
    quotient = quotient > -127.0f ? quotient : -127.0f;
    quotient = quotient < 127.0f ? quotient : 127.0f;
    result.bytes.push_back(static_cast<int8_t>(std::nearbyint(quotient)));
  }
  return result;
}

/// All groups of the rows of `tensor`, in order: visit(row, first k, group).
static void
forGroups(const Tensor &tensor, int64_t block,
          function_ref<void(int64_t, int64_t, const RoundedGroup &)> visit) {
  int64_t columns = tensor.shape().back();
  if (columns == 0)
    return;
  for (int64_t row = 0, rows = tensor.count() / columns; row < rows; ++row)
    for (int64_t k = 0; k < columns; k += std::min(block, columns)) {
      std::vector<float> group;
      for (int64_t i = k; i < std::min(columns, k + block); ++i)
        group.push_back(static_cast<float>(tensor.number(row * columns + i)));
      visit(row, k, roundGroup(group));
    }
}

Tensor ferrite::reference::roundedRows(const Tensor &tensor, int64_t block) {
  Tensor result = *Tensor::make(Kind::F32, tensor.shape());
  int64_t columns = tensor.shape().back();
  forGroups(tensor, std::min(block, std::max<int64_t>(columns, 1)),
            [&](int64_t row, int64_t k, const RoundedGroup &group) {
              for (auto [i, byte] : llvm::enumerate(group.bytes))
                result.setNumber(row * columns + k + i,
                                 static_cast<float>(byte) * group.scale);
            });
  return result;
}

LogicalResult ferrite::reference::evaluateRoundRows(RoundRowsOp op,
                                                    Frame &frame, Tensor &out) {
  const Tensor &in = frame[op.getInput()];
  RoundedRows layout{in.dim(1), int64_t(op.getBlock()),
                     int64_t(op.getSumBlock())};
  if (failed(expectSize(op, "the rows of the result", out.dim(0), in.dim(0))))
    return failure();
  if (out.kind() == Kind::F32) {
    out = roundedRows(in, op.getBlock());
    return success();
  }
  forGroups(in, layout.blockDepth(),
            [&](int64_t row, int64_t k, const RoundedGroup &group) {
              char *to = out.mutableData() + row * layout.bytes();
              std::memcpy(to + k, group.bytes.data(), group.bytes.size());
              for (auto [i, byte] : llvm::enumerate(group.bytes)) {
                int64_t at = (k + i) / layout.sumDepth() * 4;
                char *place = to + layout.sumsOffset() + at;
                int32_t sum;
                std::memcpy(&sum, place, 4);
                sum += byte;
                std::memcpy(place, &sum, 4);
              }
              std::memcpy(to + layout.scalesOffset() +
                              k / layout.blockDepth() * 4,
                          &group.scale, 4);
            });
  return success();
}

void ferrite::reference::unroundRows(const RoundedRows &layout,
                                     const Tensor &rows, Tensor &to) {
  int64_t columns = to.dim(1);
  for (int64_t i = 0; i < to.count(); ++i) {
    if (layout.block == 0) {
      to.setNumber(i, rows.number(i));
      continue;
    }
    const char *row = rows.data() + i / columns * layout.bytes();
    float scale;
    std::memcpy(
        &scale,
        row + layout.scalesOffset() + i % columns / layout.blockDepth() * 4, 4);
    to.setNumber(
        i,
        static_cast<float>(static_cast<signed char>(row[i % columns])) * scale);
  }
}

void ferrite::reference::unpackMatrix(PackedAttr packed, const char *bytes,
                                      Tensor &to) {
  PackedPanels panels = packed.getPanels();
  const auto *data = reinterpret_cast<const unsigned char *>(bytes);
  Kind scaleKind = *kindOf(packed.getScale());
  for (int64_t k = 0; k < panels.depth; ++k)
    for (int64_t n = 0; n < panels.columns; ++n) {
      const char *block = bytes + panels.blockOffset(k, n);
      int64_t column = n % PackedPanels::kWidth;
      double scale = readFloat(scaleKind, block, column);
      const char *zeros = block + panels.zerosOffset();
      int64_t code = panels.read(data, k, n);
      float number;
      if (packed.getCodes())
        number = packed.getCodes()[code];
      else if (panels.zeroBytes == 1)
        number = static_cast<float>(code -
                                    static_cast<unsigned char>(zeros[column]));
      else
        number = static_cast<float>(code - packed.getShift());
      if (panels.zeroBytes == 4)
        number -= static_cast<float>(readFloat(Kind::F32, zeros, column));
      to.setNumber(k * panels.columns + n, number * static_cast<float>(scale));
    }
}
