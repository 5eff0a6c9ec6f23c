//===- SparsifyAttention.cpp - Windows and block lists on request ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Layers are counted in each function by itself, so that the entries of one
// model get the same. An item that names layers or heads by number must find
// them: a list that is silently nobody's would look like a decision.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/AttentionScores.h"
#include "passes/Sparsity/BlockLists.h"
#include "passes/Sparsity/Candidates.h"
#include "passes/Sparsity/DynamicLists.h"
#include "passes/Sparsity/Passes.h"
#include "passes/Sparsity/SparsifySteps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace ferrite;

namespace ferrite {
#define GEN_PASS_DEF_SPARSIFYATTENTION
#include "passes/Sparsity/Passes.h.inc"
} // namespace ferrite

/// Entries of one attention's lists; more would be a slip of the pen.
static constexpr int64_t kMostEntries = int64_t(1) << 26;
/// Keys of a sequence of a step that lists go to, unless an item says more.
static constexpr int64_t kStepTokens = 8192;

namespace {
class Sparsifier {
public:
  Sparsifier(func::FuncOp func, DimAnalysis &dims) : func(func), dims(dims) {}

  /// Empty, or why the attention cannot.
  std::string apply(const SparsityItem &item, AttentionOp op);
  /// The lists of a layer of the file, whose error names head and row.
  LogicalResult apply(const BlockFile &file, const BlockFile::Layer &layer,
                      const Twine &name, AttentionOp op);

private:
  std::string whyNot(AttentionOp op, bool isList);
  std::string setWindow(const SparsityItem &item, AttentionOp op);
  std::string setPattern(const SparsityItem &item, AttentionOp op);
  std::string setDynamic(const SparsityItem &item, AttentionOp op);
  /// That lists are made for.
  int64_t tokensOf(const SparsityItem &item, AttentionOp op);

  func::FuncOp func;
  DimAnalysis &dims;
};
} // namespace

static int64_t headsOf(AttentionOp op) {
  return cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2);
}

std::string Sparsifier::whyNot(AttentionOp op, bool isList) {
  if (std::string why = whyNotSparse(op, dims); !why.empty())
    return why;
  if (isList && op->hasAttr(kScoresAttr))
    return "its scores are of bytes, and keys of lists are read in floats";
  Type element = getElementTypeOrSelf(op.getQuery());
  if (element != getElementTypeOrSelf(op.getKey()) ||
      element != getElementTypeOrSelf(op.getValue()))
    return "its query, key and value are of different types";
  return "";
}

std::string Sparsifier::setWindow(const SparsityItem &item, AttentionOp op) {
  if (op.getChunk() > 0 || op.getAnchors() > 0)
    return "its window is of more than distances";
  bool isCausal = op.getRight() == 0;
  int64_t left = isCausal ? item.window - 1 : item.window / 2;
  op.setLeft(op.getLeft() < 0 ? left : std::min<int64_t>(op.getLeft(), left));
  if (!isCausal)
    op.setRight(op.getRight() < 0 ? left
                                  : std::min<int64_t>(op.getRight(), left));
  op.setAnchors(item.sinks);
  return "";
}

/// Lists may have at most 2^26 entries; keys are as many blocks as `tokens`.
static std::string whyTooLong(int64_t tokens, int64_t block, int64_t heads) {
  int64_t rows = llvm::divideCeil(tokens, block);
  return rows > kMostEntries / rows / heads
             ? "lists for so many tokens have too many entries"
             : "";
}

int64_t Sparsifier::tokensOf(const SparsityItem &item, AttentionOp op) {
  return item.tokens > 0 ? item.tokens
                         : usualTokens(func, dims.getDims(op.getKey())[1]);
}

std::string Sparsifier::setPattern(const SparsityItem &item, AttentionOp op) {
  bool isCausal = op.getRight() == 0;
  int64_t tokens = tokensOf(item, op);
  int64_t rows = llvm::divideCeil(tokens, item.block);
  if (std::string why = whyTooLong(tokens, item.block, headsOf(op));
      !why.empty())
    return why;
  setLists(op, makeLists(item, rows, headsOf(op), isCausal));
  return "";
}

std::string Sparsifier::setDynamic(const SparsityItem &item, AttentionOp op) {
  if (std::string why = whyNotDynamic(op); !why.empty())
    return why;
  auto found = op->getAttrOfType<DenseF32ArrayAttr>(kThresholdsAttr);
  if (item.needsData() && !found)
    return "no thresholds were found for it: data that reaches it gives some";
  int64_t tokens = tokensOf(item, op), heads = headsOf(op);
  if (std::string why = whyTooLong(tokens, item.block, heads); !why.empty())
    return why;
  setDynamicLists(op, item, tokens, thresholdsOf(item, heads, found), dims);
  return "";
}

std::string Sparsifier::apply(const SparsityItem &item, AttentionOp op) {
  if (std::string why = whyNot(op, item.isList()); !why.empty())
    return why;
  if (item.heads.largest() >= headsOf(op))
    return "it has no head " + std::to_string(item.heads.largest());
  if (item.isDynamic())
    return setDynamic(item, op);
  return item.isList() ? setPattern(item, op) : setWindow(item, op);
}

LogicalResult Sparsifier::apply(const BlockFile &file,
                                const BlockFile::Layer &layer,
                                const Twine &name, AttentionOp op) {
  auto fail = [&](const Twine &why) {
    return emitError(op.getLoc())
           << "--sparsify: layer " << name.str() << why.str();
  };
  if (std::string why = whyNot(op, /*isList=*/true); !why.empty())
    return fail(": " + why);
  int64_t heads = headsOf(op);
  bool isCausal = op.getRight() == 0;
  const BlockRows *first =
      layer.hasRest ? &layer.rest : &layer.heads.begin()->second;
  int64_t rows = first->size();
  BlockLists lists;
  lists.block = file.block;
  for (const auto &[head, list] : layer.heads)
    if (head >= heads)
      return fail(", head " + Twine(head) + ": the layer has " + Twine(heads) +
                  " heads");
  // Heads that are in no list see all: such a row, written out.
  BlockRows all;
  for (int64_t r = 0; r < rows && !layer.hasRest; ++r) {
    all.emplace_back();
    for (int64_t c = 0; c < (isCausal ? r + 1 : rows); ++c)
      all.back().push_back(c);
  }
  for (int64_t head = 0; head < heads; ++head) {
    auto found = layer.heads.find(head);
    const BlockRows &list = found != layer.heads.end() ? found->second
                            : layer.hasRest            ? layer.rest
                                                       : all;
    std::string at = ", head " + std::to_string(head);
    if (static_cast<int64_t>(list.size()) != rows)
      return fail(at + ": it has " + Twine(list.size()) +
                  " rows of queries, others have " + Twine(rows));
    for (int64_t r = 0; r < rows; ++r) {
      if (list[r].back() >= rows)
        return fail(at + ": row " + Twine(r) + " has block " +
                    Twine(list[r].back()) + " of keys, but there are " +
                    Twine(rows));
      if (isCausal && list[r].front() > r)
        return fail(at + ": row " + Twine(r) +
                    " keeps no block that a causal attention sees");
      // A window that ends on the left leaves blocks that begin before it.
      int64_t last = (r + 1) * file.block - 1;
      bool sees = llvm::any_of(list[r], [&](int64_t c) {
        return c <= r &&
               (op.getLeft() < 0 || (c + 1) * file.block > last - op.getLeft());
      });
      if (isCausal && !sees)
        return fail(at + ": row " + Twine(r) +
                    " keeps no block in the window of its last query");
    }
    lists.layouts.push_back(list);
    if (layer.heads.empty())
      break; // one list for all
  }
  setLists(op, lists);
  return success();
}

/// Whether one of the nodes that it was made of is called that.
static bool isNamed(AttentionOp op, StringRef name) {
  return op.getLoc()
      ->walk([&](Location at) {
        auto named = dyn_cast<NameLoc>(at);
        return named && named.getName() == name ? WalkResult::interrupt()
                                                : WalkResult::advance();
      })
      .wasInterrupted();
}

namespace {
struct SparsifyAttentionPass final
    : ferrite::impl::SparsifyAttentionBase<SparsifyAttentionPass> {
  using SparsifyAttentionBase::SparsifyAttentionBase;

  void runOnOperation() override {
    if (spec.empty())
      return;
    llvm::Expected<std::vector<SparsityItem>> items = parseSparsity(spec);
    if (!items)
      return fail(llvm::toString(items.takeError()));
    for (const SparsityItem &item : *items)
      if (failed(run(item)))
        return signalPassFailure();
    getOperation().walk([](Operation *op) { op->removeAttr(kThresholdsAttr); });
  }

private:
  void fail(const Twine &why) {
    emitError(getOperation().getLoc()) << why;
    signalPassFailure();
  }

  /// A window narrows what the step reads too; lists are for one sequence.
  void narrowSteps(const SparsityItem &item) {
    // There the pages of a source have no distances.
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (func->hasAttr(kEncodeAttr))
        return;
    int64_t layer = 0;
    getOperation().walk([&](PagedAttentionOp op) {
      if (item.layers.has(layer++) && item.sinks == 0)
        op.setLeft(op.getLeft() < 0
                       ? item.window - 1
                       : std::min<int64_t>(op.getLeft(), item.window - 1));
    });
  }

  /// Runs of a step choose pages, as the attention of the same number does.
  void chooseInSteps(const SparsityItem &item) {
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      int64_t layer = 0;
      for (auto op : func.getOps<PagedAttentionOp>()) {
        if (!item.layers.has(layer++))
          continue;
        auto found = op->getAttrOfType<DenseF32ArrayAttr>(kThresholdsAttr);
        std::string why = whyNotDynamic(op, item);
        if (why.empty() && item.needsData() && !found)
          why = "no thresholds were found for it";
        if (why.empty()) {
          int64_t heads =
              cast<RankedTensorType>(op.getQuery().getType()).getDimSize(2);
          setDynamicLists(op, item, item.tokens > 0 ? item.tokens : kStepTokens,
                          thresholdsOf(item, heads, found));
        }
        reportItem(op, "sparsify", item.text, why);
      }
    }
  }

  LogicalResult run(const SparsityItem &item) {
    if (item.kind == SparsityItem::Kind::Weights)
      return emitError(getOperation().getLoc())
             << "--sparsify: '" << item.text
             << "' is for ferrite compile, which prunes before this pass";
    if (item.kind == SparsityItem::Kind::Search)
      return emitError(getOperation().getLoc())
             << "--sparsify: '" << item.text
             << "' needs data: that of --calib of ferrite compile";
    if (item.kind == SparsityItem::Kind::Quest)
      return selectPages(getOperation(), item);
    if (item.kind == SparsityItem::Kind::Merge)
      return success(); // --ferrite-merge-tokens takes it
    if (item.kind == SparsityItem::Kind::Weigh)
      return weighPages(getOperation(), item);
    std::optional<BlockFile> file;
    if (item.kind == SparsityItem::Kind::Blocks) {
      llvm::Expected<BlockFile> read = BlockFile::read(item.file);
      if (!read)
        return emitError(getOperation().getLoc())
               << llvm::toString(read.takeError());
      file = std::move(*read);
    }
    int64_t taken = 0, most = 0;
    for (auto func : getOperation().getOps<func::FuncOp>()) {
      SmallVector<AttentionOp> ops(func.getOps<AttentionOp>());
      most = std::max<int64_t>(most, ops.size());
      if (ops.empty())
        continue;
      FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
      if (failed(dims))
        return failure();
      Sparsifier sparsifier(func, *dims);
      for (auto [number, op] : llvm::enumerate(ops)) {
        if (file) {
          if (failed(applyFile(sparsifier, *file, number, op, taken)))
            return failure();
          continue;
        }
        if (!item.layers.has(number))
          continue;
        std::string why = sparsifier.apply(item, op);
        taken += why.empty();
        reportItem(op, "sparsify", item.text, why);
      }
    }
    if (file)
      for (const auto &[name, layer] : file->layers)
        if (!layer.isUsed)
          return emitError(getOperation().getLoc())
                 << "--sparsify: '" << item.file << "' has lists for layer "
                 << name << ", but the model has " << most
                 << " attentions, and none of that name";
    if (failed(checkItem(getOperation().getLoc(), item, most, taken > 0)))
      return failure();
    if (!item.isList())
      narrowSteps(item);
    if (item.isDynamic())
      chooseInSteps(item);
    return success();
  }

  LogicalResult applyFile(Sparsifier &sparsifier, BlockFile &file,
                          int64_t number, AttentionOp op, int64_t &taken) {
    for (auto &[name, layer] : file.layers) {
      if (name != std::to_string(number) && !isNamed(op, name))
        continue;
      layer.isUsed = true;
      if (failed(sparsifier.apply(file, layer, name, op)))
        return failure();
      reportItem(op, "sparsify", "blocks", "");
      ++taken;
    }
    return success();
  }
};
} // namespace
