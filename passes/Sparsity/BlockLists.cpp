//===- BlockLists.cpp - Lists of patterns, and what lists keep ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Sparsity/BlockLists.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <algorithm>

using namespace mlir;
using namespace ferrite;

/// Numbers that are the same everywhere (splitmix64; Steele et al., OOPSLA
/// 2014), where the distributions of <random> are the library's choice.
static uint64_t nextRandom(uint64_t &state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

BlockLists ferrite::makeLists(const SparsityItem &item, int64_t rows,
                              int64_t heads, bool isCausal) {
  BlockLists lists;
  lists.block = item.block;
  bool isDrawn = item.kind == SparsityItem::Kind::BigBird && item.random > 0;
  bool isShared = !isDrawn && item.heads.isAll();
  for (int64_t head = 0; head < (isShared ? 1 : heads); ++head) {
    BlockRows list(rows);
    uint64_t state = uint64_t(item.seed) * 0x9e3779b97f4a7c15 + head;
    bool isDense = !item.heads.has(head);
    for (int64_t r = 0; r < rows; ++r) {
      int64_t end = isCausal ? r + 1 : rows;
      SmallVector<int32_t> left;
      for (int64_t c = 0; c < end; ++c)
        if (isDense || item.keeps(r, c, isCausal))
          list[r].push_back(c);
        else if (isDrawn)
          left.push_back(c);
      for (int64_t i = 0; i < item.random && !left.empty() && !isDense; ++i) {
        size_t drawn = nextRandom(state) % left.size();
        list[r].push_back(left[drawn]);
        left.erase(left.begin() + drawn);
      }
      llvm::sort(list[r]);
    }
    lists.layouts.push_back(std::move(list));
  }
  return lists;
}

std::optional<BlockLists> ferrite::listsOf(AttentionOp op) {
  DenseElementsAttr rows, columns;
  if (!op.hasBlocks() || !matchPattern(op.getBlockRows(), m_Constant(&rows)) ||
      !matchPattern(op.getBlockColumns(), m_Constant(&columns)) ||
      rows.getType().getDimSize(0) != 1 || columns.getType().getDimSize(0) != 1)
    return std::nullopt;
  auto ends = llvm::to_vector(rows.getValues<int32_t>());
  auto entries = llvm::to_vector(columns.getValues<int32_t>());
  int64_t layouts = rows.getType().getDimSize(1),
          width = rows.getType().getDimSize(2),
          most = columns.getType().getDimSize(2);
  BlockLists lists;
  lists.block = op.getBlock();
  for (int64_t layout = 0; layout < layouts; ++layout) {
    BlockRows list;
    for (int64_t r = 0; r + 1 < width; ++r) {
      const int32_t *end = &ends[layout * width + r];
      list.emplace_back(entries.begin() + layout * most + end[0],
                        entries.begin() + layout * most + end[1]);
    }
    lists.layouts.push_back(std::move(list));
  }
  return lists;
}

void ferrite::setLists(AttentionOp op, const BlockLists &lists) {
  int64_t layouts = lists.layouts.size(), rows = lists.rows();
  size_t most = 0;
  for (const BlockRows &list : lists.layouts) {
    size_t entries = 0;
    for (const auto &row : list)
      entries += row.size();
    most = std::max(most, entries);
  }
  std::vector<int32_t> ends, columns;
  for (const BlockRows &list : lists.layouts) {
    size_t begin = columns.size();
    ends.push_back(0);
    for (const auto &row : list) {
      columns.insert(columns.end(), row.begin(), row.end());
      ends.push_back(columns.size() - begin);
    }
    columns.resize(begin + most, -1); // behind the last row
  }
  OpBuilder builder(op);
  auto constant = [&](ArrayRef<int32_t> values, int64_t size) -> Value {
    auto type = RankedTensorType::get({1, layouts, size}, builder.getI32Type());
    return arith::ConstantOp::create(builder, op.getLoc(),
                                     DenseElementsAttr::get(type, values));
  };
  op.getBlockRowsMutable().assign(constant(ends, rows + 1));
  op.getBlockColumnsMutable().assign(constant(columns, most));
  op.setBlock(lists.block);
}

/// A list of all heads alike is then 128 rows.
static constexpr int64_t kUsualTokens = 8192;

int64_t ferrite::usualTokens(func::FuncOp func, const DimExpr &keys) {
  llvm::StringMap<int64_t> most;
  if (auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr))
    for (auto symbol : symbols.getAsRange<SymbolAttr>())
      most[symbol.getName()] = symbol.getMax();
  for (const std::string &symbol : keys.symbols())
    if (most.lookup(symbol) <= 0 || most.lookup(symbol) > kUsualTokens)
      return kUsualTokens;
  std::optional<int64_t> tokens = keys.evaluate(
      [&](StringRef name) { return std::optional(most.lookup(name)); });
  return tokens && *tokens > 0 ? std::min(*tokens, kUsualTokens) : kUsualTokens;
}

namespace {
/// The keys [begin, end) that a query sees by position; those before `anchors`
/// too.
struct Window {
  AttentionOp op;
  int64_t tokens;

  std::pair<int64_t, int64_t> of(int64_t i) {
    int64_t begin = 0, end = tokens;
    if (op.getLeft() >= 0)
      begin = std::max(begin, i - std::min<int64_t>(op.getLeft(), tokens));
    if (op.getRight() >= 0)
      end = std::min(end, i + std::min<int64_t>(op.getRight(), tokens) + 1);
    if (op.getChunk() > 0) {
      begin = std::max(begin, i / op.getChunk() * op.getChunk());
      end = std::min(end, (i / op.getChunk() + 1) * op.getChunk());
    }
    return {begin, end};
  }
  /// How many of keys [from, to).
  int64_t count(int64_t i, int64_t from, int64_t to) {
    auto [begin, end] = of(i);
    int64_t anchors = std::min(op.getAnchors(), begin);
    auto overlap = [&](int64_t a, int64_t b) {
      return std::max<int64_t>(0, std::min(b, to) - std::max(a, from));
    };
    return overlap(begin, end) + overlap(0, std::min(anchors, end));
  }
};
} // namespace

std::vector<double> ferrite::keptScores(AttentionOp op, int64_t tokens) {
  Window window{op, tokens};
  double all = op.getRight() == 0 ? 0.5 * tokens * (tokens + 1.0)
                                  : double(tokens) * tokens;
  std::optional<BlockLists> lists = listsOf(op);
  int64_t heads = cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2);
  std::vector<double> kept;
  for (int64_t layout = 0; layout < int64_t(lists ? lists->layouts.size() : 1);
       ++layout) {
    double sum = 0;
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t row = lists ? i / lists->block : 0;
      bool isListed = lists && row < lists->rows();
      if (!isListed) {
        sum += window.count(i, 0, tokens);
        continue;
      }
      for (int32_t column : lists->layouts[layout][row])
        sum +=
            window.count(i, column * lists->block, (column + 1) * lists->block);
    }
    kept.push_back(sum / all);
  }
  std::vector<double> result;
  for (int64_t head = 0; head < heads; ++head)
    result.push_back(kept[head % kept.size()]);
  return result;
}
