//===- StridedViewTest.cpp - Values as strided memory ---------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The random test keeps beside each view the address of every element, worked
// out without strides; strides must agree with all of them, and where a view is
// refused no strides may exist.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/StridedView.h"

#include "dialects/Plan/IR/Plan.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

#include <random>

using namespace ferrite;

namespace {
using Sizes = llvm::SmallVector<int64_t, 4>;

/// All elements in row-major order, each by its address.
struct Elements {
  Sizes dims;
  std::vector<int64_t> addresses;
};

Dims toDims(llvm::ArrayRef<int64_t> sizes) {
  return Dims(sizes.begin(), sizes.end());
}

int64_t count(llvm::ArrayRef<int64_t> dims) {
  int64_t result = 1;
  for (int64_t dim : dims)
    result *= dim;
  return result;
}

/// The index of the i-th element.
Sizes indexOf(llvm::ArrayRef<int64_t> dims, int64_t i) {
  Sizes index(dims.size());
  for (size_t d = dims.size(); d-- > 0; i /= dims[d])
    index[d] = i % dims[d];
  return index;
}

int64_t flat(llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> index) {
  int64_t i = 0;
  for (size_t d = 0; d < dims.size(); ++d)
    i = i * dims[d] + index[d];
  return i;
}

Elements remap(const Elements &from, Sizes dims,
               llvm::function_ref<Sizes(llvm::ArrayRef<int64_t>)> source) {
  Elements result{dims, {}};
  for (int64_t i = 0; i < count(dims); ++i)
    result.addresses.push_back(
        from.addresses[flat(from.dims, source(indexOf(dims, i)))]);
  return result;
}

int64_t number(const DimExpr &expr) { return *expr.constant(); }

void expectEqual(const StridedView &view, const Elements &elements) {
  ASSERT_EQ(view.dims, toDims(elements.dims));
  ASSERT_EQ(view.strides.size(), view.dims.size());
  for (int64_t i = 0; i < count(elements.dims); ++i) {
    Sizes index = indexOf(elements.dims, i);
    int64_t address = number(view.offset);
    for (size_t d = 0; d < index.size(); ++d)
      address += index[d] * number(view.strides[d]);
    ASSERT_EQ(address, elements.addresses[i]);
  }
}

/// Whether any strides give these addresses.
bool hasStrides(const Elements &elements) {
  Sizes strides(elements.dims.size(), 0);
  for (size_t d = 0; d < strides.size(); ++d)
    if (elements.dims[d] > 1) {
      Sizes one(strides.size(), 0);
      one[d] = 1;
      strides[d] =
          elements.addresses[flat(elements.dims, one)] - elements.addresses[0];
    }
  for (int64_t i = 0; i < count(elements.dims); ++i) {
    Sizes index = indexOf(elements.dims, i);
    int64_t address = elements.addresses[0];
    for (size_t d = 0; d < index.size(); ++d)
      address += index[d] * strides[d];
    if (address != elements.addresses[i])
      return false;
  }
  return true;
}

/// Other dims of the same number of elements.
Sizes regroup(std::mt19937 &random, int64_t elements) {
  Sizes dims;
  while (elements > 1 && dims.size() < 4) {
    Sizes divisors;
    for (int64_t d = 2; d <= elements; ++d)
      if (elements % d == 0)
        divisors.push_back(d);
    dims.push_back(divisors[random() % divisors.size()]);
    elements /= dims.back();
    if (random() % 6 == 0)
      dims.push_back(1);
  }
  if (elements > 1)
    dims.back() *= elements;
  return dims;
}

class StridedViewTest : public testing::Test {
protected:
  mlir::MLIRContext context;
  mlir::Type f32 = mlir::Float32Type::get(&context);

  StridedView contiguous(Dims dims) {
    return StridedView::contiguous(mlir::Value(), f32, std::move(dims));
  }
};
} // namespace

TEST_F(StridedViewTest, AgreesWithEveryAddress) {
  int refused = 0, viewed = 0;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t sizes[] = {1, 2, 3, 4, 6};
    Elements elements;
    for (unsigned d = 0; d < 1 + random() % 4; ++d)
      elements.dims.push_back(sizes[random() % 5]);
    for (int64_t i = 0; i < count(elements.dims); ++i)
      elements.addresses.push_back(i);
    StridedView view = contiguous(toDims(elements.dims));
    for (int step = 0; step < 5; ++step) {
      size_t rank = elements.dims.size();
      switch (random() % 4) {
      case 0: {
        llvm::SmallVector<int64_t> perm;
        for (size_t d = 0; d < rank; ++d)
          perm.push_back(d);
        std::shuffle(perm.begin(), perm.end(), random);
        Sizes dims;
        for (int64_t from : perm)
          dims.push_back(elements.dims[from]);
        elements = remap(elements, dims, [&](llvm::ArrayRef<int64_t> index) {
          Sizes source(rank);
          for (size_t d = 0; d < rank; ++d)
            source[perm[d]] = index[d];
          return source;
        });
        view = view.transposed(perm);
        break;
      }
      case 1: {
        Sizes offsets, dims;
        llvm::SmallVector<int64_t> steps;
        for (int64_t size : elements.dims) {
          int64_t stride = 1 + random() % 2;
          int64_t first = random() % size,
                  most = (size - 1 - first) / stride + 1;
          dims.push_back(1 + random() % most);
          // Backwards over the same elements, now and then.
          bool back = random() % 4 == 0;
          steps.push_back(back ? -stride : stride);
          offsets.push_back(back ? first + (dims.back() - 1) * stride : first);
        }
        elements = remap(elements, dims, [&](llvm::ArrayRef<int64_t> index) {
          Sizes source;
          for (size_t d = 0; d < rank; ++d)
            source.push_back(offsets[d] + steps[d] * index[d]);
          return source;
        });
        view = view.sliced(toDims(offsets), steps, toDims(dims));
        break;
      }
      case 2: {
        Sizes dims(elements.dims);
        for (int64_t &size : dims)
          if (size == 1 && random() % 2)
            size = 3;
        if (random() % 2)
          dims.insert(dims.begin(), 2);
        if (count(dims) > 2000)
          break;
        size_t lead = dims.size() - rank;
        Elements before = elements;
        elements = remap(elements, dims, [&](llvm::ArrayRef<int64_t> index) {
          Sizes source;
          for (size_t d = 0; d < rank; ++d)
            source.push_back(before.dims[d] == 1 ? 0 : index[lead + d]);
          return source;
        });
        view = view.broadcast(toDims(dims));
        break;
      }
      case 3: {
        Elements other{regroup(random, count(elements.dims)),
                       elements.addresses};
        std::optional<StridedView> to = view.viewed(toDims(other.dims));
        if (!to) {
          ++refused;
          EXPECT_FALSE(hasStrides(other)) << "a copy that is not needed";
          break;
        }
        ++viewed;
        elements = other;
        view = *to;
        break;
      }
      }
      expectEqual(view, elements);
      if (HasFatalFailure())
        return;
      bool dense = true;
      for (size_t i = 0; i < elements.addresses.size(); ++i)
        dense &= elements.addresses[i] ==
                 elements.addresses[0] + static_cast<int64_t>(i);
      EXPECT_EQ(view.isContiguous(), dense);
      if (elements.dims.empty())
        continue;
      Sizes matrix = {count(llvm::ArrayRef<int64_t>(elements.dims).drop_back()),
                      elements.dims.back()};
      Elements rows{matrix, elements.addresses};
      std::optional<StridedView> asRows = view.asRows();
      EXPECT_EQ(asRows.has_value(), hasStrides(rows));
      if (asRows)
        expectEqual(*asRows, rows);
    }
  }
  // Both ways were taken often: the test would say little otherwise.
  EXPECT_GT(viewed, 200);
  EXPECT_GT(refused, 50);
}

// The picture of StridedView.h: three views of one product, for every shape.
TEST_F(StridedViewTest, ThirdsOfAProductAreViews) {
  DimExpr b = DimExpr::symbol("batch"), s = DimExpr::symbol("sequence");
  StridedView product = contiguous({b, s, DimExpr(1152)});
  StridedView key = product.sliced({DimExpr(0), DimExpr(0), DimExpr(384)},
                                   {1, 1, 1}, {b, s, DimExpr(384)});
  EXPECT_EQ(key.offset, DimExpr(384));
  EXPECT_FALSE(key.isContiguous());
  std::optional<StridedView> heads =
      key.viewed({b, s, DimExpr(12), DimExpr(32)});
  ASSERT_TRUE(heads);
  EXPECT_EQ(heads->strides,
            (Dims{s * 1152, DimExpr(1152), DimExpr(32), DimExpr(1)}));
  EXPECT_TRUE(heads->hasUnitInnerStride());
  std::optional<StridedView> rows = key.asRows();
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->dims, (Dims{b * s, DimExpr(384)}));
  EXPECT_EQ(rows->strides, (Dims{DimExpr(1152), DimExpr(1)}));
  std::optional<StridedView> back = heads->viewed({b * s, DimExpr(384)});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->strides, rows->strides);
}

TEST_F(StridedViewTest, SymbolsMergeAndSplit) {
  DimExpr b = DimExpr::symbol("batch"), s = DimExpr::symbol("sequence");
  StridedView x = contiguous({b, s, DimExpr(64)});
  std::optional<StridedView> flat = x.viewed({b * s * 64});
  ASSERT_TRUE(flat);
  std::optional<StridedView> again = flat->viewed({b, s, DimExpr(64)});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->strides, x.strides);
  // The first token of each sequence: rows s*64 apart; two tokens are no rows.
  StridedView first = x.sliced({DimExpr(0), DimExpr(0), DimExpr(0)}, {1, 1, 1},
                               {b, DimExpr(1), DimExpr(64)});
  ASSERT_TRUE(first.asRows());
  EXPECT_EQ(first.asRows()->strides, (Dims{s * 64, DimExpr(1)}));
  StridedView two = x.sliced({DimExpr(0), DimExpr(0), DimExpr(0)}, {1, 1, 1},
                             {b, DimExpr(2), DimExpr(64)});
  EXPECT_FALSE(two.asRows());
  // Not contiguous, split where a symbol is a factor of one.
  StridedView wide =
      contiguous({b * s, DimExpr(128)})
          .sliced({DimExpr(0), DimExpr(64)}, {1, 1}, {b * s, DimExpr(64)});
  std::optional<StridedView> split =
      wide.viewed({b, s, DimExpr(4), DimExpr(16)});
  ASSERT_TRUE(split);
  EXPECT_EQ(split->strides,
            (Dims{s * 128, DimExpr(128), DimExpr(16), DimExpr(1)}));
}

TEST_F(StridedViewTest, ElementsHaveWholeBytes) {
  mlir::Builder builder(&context);
  EXPECT_EQ(elementBytes(builder.getI1Type()), 1);
  EXPECT_EQ(elementBytes(builder.getF16Type()), 2);
  EXPECT_EQ(elementBytes(f32), 4);
  EXPECT_EQ(elementBytes(builder.getI64Type()), 8);
}
