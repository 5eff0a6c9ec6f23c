//===- KvAppendTest.cpp - Rows of new tokens into pages -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Every place is compared: those of the tokens hold their rows, all others what
// was there.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "runtime/cache/Record.h"
#include "test/unit/codegen/AttentionCase.h"

#include "gtest/gtest.h"

#include <map>
#include <numeric>
#include <random>

using namespace ferrite;
using namespace ferrite::test;
using mlir::ShapedType;

namespace {

class KvAppend : public testing::TestWithParam<std::string> {};

constexpr int64_t kPage = 64, dyn = ShapedType::kDynamic;

struct AppendCase {
  int64_t heads = 3, depth = 64, pages = 6;
  bool keys = true;
  Storage rows = Storage::F32, pool = Storage::F32;
};

mlir::Type typeOf(mlir::MLIRContext &context, Storage storage) {
  if (storage == Storage::F32)
    return mlir::Float32Type::get(&context);
  return storage == Storage::F16 ? mlir::Type(mlir::Float16Type::get(&context))
                                 : mlir::BFloat16Type::get(&context);
}

/// Bits of a value in two bytes, or in four.
uint32_t bitsOf(float value, Storage storage) {
  if (storage == Storage::F16)
    return toF16(value);
  if (storage == Storage::BF16)
    return toBF16(value);
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

std::vector<uint8_t> bytesOf(const std::vector<uint32_t> &bits,
                             Storage storage) {
  size_t width = storage == Storage::F32 ? 4 : 2;
  std::vector<uint8_t> bytes(bits.size() * width);
  for (size_t i = 0; i < bits.size(); ++i)
    std::memcpy(&bytes[i * width], &bits[i], width);
  return bytes;
}

void check(const std::string &level, const AppendCase &c,
           const std::vector<int64_t> &slots) {
  int64_t tokens = slots.size(), row = c.heads * c.depth;
  KernelJit jit(
      level,
      [&](mlir::MLIRContext &context) {
        mlir::Type pool = typeOf(context, c.pool);
        auto memory = c.keys ? contiguous(pool, {dyn, c.heads, c.depth, kPage})
                             : contiguous(pool, {dyn, c.heads, kPage, c.depth});
        memory.mayAlias = true;
        // Of one projection of all three.
        return cpu::KernelLayout{
            {strided(typeOf(context, c.rows), {1, dyn, c.heads, c.depth},
                     {dyn, dyn, c.depth, 1}),
             contiguous(mlir::IntegerType::get(&context, 64), {dyn}), memory,
             memory}};
      },
      [&](cpu::KernelBuilder &kb) { return emitKvAppend(kb, c.keys); }, true);
  ASSERT_TRUE(jit.ok()) << jit.error();
  EXPECT_EQ("", checkInnerLoops(jit.assembly()));
  std::vector<float> values = randomFloats(tokens * 3 * row, 4);
  std::vector<uint32_t> rowBits, before(c.pages * row * kPage);
  for (float value : values)
    rowBits.push_back(bitsOf(value, c.rows));
  std::iota(before.begin(), before.end(), 1u);
  for (int64_t pieces : {1, 4}) {
    std::vector<uint32_t> want = before;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t d = 0; d < c.depth; ++d) {
          float value = values[t * 3 * row + row + h * c.depth + d];
          if (c.rows != Storage::F32)
            value = c.rows == Storage::F16 ? fromF16(toF16(value))
                                           : fromBF16(toBF16(value));
          int64_t page = slots[t] / kPage * c.heads + h, at = slots[t] % kPage;
          want[c.keys ? (page * c.depth + d) * kPage + at
                      : (page * kPage + at) * c.depth + d] =
              bitsOf(value, c.pool);
        }
    std::vector<uint8_t> source = bytesOf(rowBits, c.rows),
                         pool = bytesOf(before, c.pool);
    size_t width = c.rows == Storage::F32 ? 4 : 2;
    std::vector<int64_t> shape = {c.pages, c.heads, c.keys ? c.depth : kPage,
                                  c.keys ? kPage : c.depth};
    std::vector<JitTensor> tensors = {{source.data() + row * width,
                                       {1, tokens, c.heads, c.depth},
                                       {tokens * 3 * row, 3 * row, c.depth, 1}},
                                      {slots.data(), {tokens}},
                                      {pool.data(), shape},
                                      {pool.data(), shape}};
    jit.runSplit(tensors, std::min(pieces, jit.units(tensors)));
    EXPECT_EQ(bytesOf(want, c.pool), pool) << pieces << " pieces";
  }
}

/// A prefill from the middle of a page over scattered pages, decodes, and
/// tokens in no order.
std::vector<int64_t> slotsOf() {
  std::vector<int64_t> slots;
  for (int64_t j = 37; j < 150; ++j)
    slots.push_back((j < 64 ? 4 : j < 128 ? 1 : 3) * kPage + j % kPage);
  for (int64_t slot : {5, 7, 6, 0, 63, 1, 383, 320})
    slots.push_back(slot);
  return slots;
}

TEST_P(KvAppend, Places) {
  for (bool keys : {true, false})
    for (int64_t depth : {16, 64, 80, 72, 5}) {
      AppendCase c;
      c.keys = keys;
      c.depth = depth;
      check(GetParam(), c, slotsOf());
      check(GetParam(), c, {9});
    }
}

TEST_P(KvAppend, Types) {
  for (bool keys : {true, false})
    for (Storage rows : {Storage::F32, Storage::F16, Storage::BF16})
      for (Storage pool : {Storage::F32, Storage::F16, Storage::BF16}) {
        AppendCase c;
        c.keys = keys;
        c.depth = 40;
        c.rows = rows;
        c.pool = pool;
        check(GetParam(), c, slotsOf());
      }
}

// The bits of records are those of plain C++; rows of zeros and of one number
// too, and no other byte is touched.
TEST_P(KvAppend, Records) {
  constexpr int64_t heads = 2, pages = 6;
  std::vector<int64_t> slots = slotsOf();
  int64_t tokens = slots.size();
  for (bool keys : {true, false})
    for (auto [isNibbles, depth] :
         {std::pair<bool, int64_t>{false, 64}, {false, 21}, {true, 96}}) {
      int64_t width = record::widthOf(isNibbles, depth);
      KernelJit jit(
          GetParam(),
          [&, isNibbles = isNibbles, depth = depth](mlir::MLIRContext &m) {
            auto pool =
                mlir::IntegerType::get(&m, 8,
                                       isNibbles ? mlir::IntegerType::Unsigned
                                                 : mlir::IntegerType::Signless);
            auto memory = keys ? contiguous(pool, {dyn, heads, width, kPage})
                               : contiguous(pool, {dyn, heads, kPage, width});
            memory.mayAlias = true;
            return cpu::KernelLayout{
                {contiguous(mlir::Float32Type::get(&m), {1, dyn, heads, depth}),
                 contiguous(mlir::IntegerType::get(&m, 64), {dyn}), memory,
                 memory}};
          },
          [&](cpu::KernelBuilder &kb) { return emitKvAppend(kb, keys); }, true);
      ASSERT_TRUE(jit.ok()) << jit.error();
      std::vector<float> rows = randomFloats(tokens * heads * depth, 4);
      std::fill_n(rows.begin() + depth, depth, 0.0f);
      std::fill_n(rows.begin() + 2 * depth, depth, -0.75f);
      std::vector<uint8_t> pool(pages * heads * width * kPage);
      std::iota(pool.begin(), pool.end(), uint8_t(1));
      std::vector<uint8_t> want = pool, bytes(width);
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < heads; ++h) {
          record::pack(isNibbles, &rows[(t * heads + h) * depth], depth,
                       bytes.data());
          int64_t page = slots[t] / kPage * heads + h, at = slots[t] % kPage;
          for (int64_t w = 0; w < width; ++w)
            want[keys ? (page * width + w) * kPage + at
                      : (page * kPage + at) * width + w] = bytes[w];
        }
      std::vector<int64_t> shape = {pages, heads, keys ? width : kPage,
                                    keys ? kPage : width};
      std::vector<JitTensor> tensors = {
          {rows.data(), {1, tokens, heads, depth}},
          {slots.data(), {tokens}},
          {pool.data(), shape},
          {pool.data(), shape}};
      jit.runSplit(tensors, std::min<int64_t>(3, jit.units(tensors)));
      EXPECT_EQ(want, pool) << keys << isNibbles << depth;
      // Half a step of the codes, and what the rounded factors lose.
      for (int64_t d = 0; d < depth; ++d) {
        record::pack(isNibbles, rows.data(), depth, bytes.data());
        EXPECT_NEAR(record::numberOf(isNibbles, bytes.data(), 1, depth, d),
                    rows[d], isNibbles ? 0.075 : 0.004);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Levels, KvAppend, testing::ValuesIn(hostLevels()));

} // namespace
