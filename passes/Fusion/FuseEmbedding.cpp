//===- FuseEmbedding.cpp - Sum and normalize table rows in one op ---------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/IR/Matchers.h"

#define DEBUG_TYPE "ferrite-fuse-embedding"

namespace ferrite {
#define GEN_PASS_DEF_FUSEEMBEDDING
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
struct Table {
  Value rows, ids;   // ids null: positions
  int64_t first = 0; // of the positions
};
struct Sum {
  SmallVector<Table> tables;
  SmallVector<Value> leaves;
};

/// The integers of a constant that count up by one along the innermost dim and
/// are equal along the others: the first of them.
std::optional<int64_t> firstOfCount(DenseElementsAttr attr) {
  auto type = cast<RankedTensorType>(attr.getType());
  if (!isa<IntegerType>(type.getElementType()) || type.getRank() == 0 ||
      type.getNumElements() == 0)
    return std::nullopt;
  int64_t row = type.getShape().back(), i = 0, first = 0;
  for (APInt value : attr.getValues<APInt>()) {
    if (i == 0)
      first = value.getSExtValue();
    if (value.getSExtValue() != first + i % row)
      return std::nullopt;
    ++i;
  }
  return first;
}

/// p where `ids` is s + p at [.., s], for `tokens` of s; or nothing.
std::optional<int64_t> firstPosition(Value ids, const DimExpr &tokens,
                                     DimAnalysis &dims) {
  ArrayRef<DimExpr> shape = dims.getDims(ids);
  Operation *op = ids.getDefiningOp();
  if (!op || shape.empty() || shape.back() != tokens)
    return std::nullopt;
  if (auto iota = dyn_cast<IotaOp>(op))
    return iota.getStep() == 1 ? std::optional<int64_t>(iota.getStart())
                               : std::nullopt;
  if (auto cast = dyn_cast<CastOp>(op))
    return isa<IntegerType>(elementTypeOf(cast.getInput()))
               ? firstPosition(cast.getInput(), tokens, dims)
               : std::nullopt;
  if (isa<ViewOp, BroadcastOp>(op)) {
    // A view may add dims in front, but must leave the count innermost.
    Value input = op->getOperand(0);
    if (isa<ViewOp>(op) && product(dims.getDims(input)) != tokens)
      return std::nullopt;
    return firstPosition(input, tokens, dims);
  }
  if (auto add = dyn_cast<AddOp>(op)) {
    for (Value one : {add.getLhs(), add.getRhs()}) {
      std::optional<double> offset = getSplat(otherOperand(add, one));
      std::optional<int64_t> first =
          offset ? firstPosition(one, tokens, dims) : std::nullopt;
      if (first)
        return *first + static_cast<int64_t>(*offset);
    }
    return std::nullopt;
  }
  DenseElementsAttr attr;
  if (matchPattern(ids, m_Constant(&attr)))
    return firstOfCount(attr);
  auto slice = dyn_cast<SliceOp>(op);
  if (!slice || !matchPattern(slice.getInput(), m_Constant(&attr)))
    return std::nullopt;
  std::optional<int64_t> first = firstOfCount(attr);
  std::optional<int64_t> offset =
      parseDims(slice.getOffsets())->back().constant();
  if (!first || !offset || slice.getSteps().back() != 1)
    return std::nullopt;
  return *first + *offset;
}

/// Adds the tables of `value`, a sum of gathers for tokens of `shape`.
LogicalResult collect(Value value, ArrayRef<DimExpr> shape, DimAnalysis &dims,
                      Sum &sum, bool isRoot, Reject reject) {
  if (auto add = value.getDefiningOp<AddOp>();
      add && (isRoot || add->hasOneUse())) {
    for (Value one : add->getOperands())
      if (LogicalResult found = collect(one, shape, dims, sum, false, reject);
          failed(found))
        return found;
    return success();
  }
  Value rows = value;
  if (auto broadcast = rows.getDefiningOp<BroadcastOp>())
    rows = broadcast.getInput();
  auto gather = rows.getDefiningOp<GatherOp>();
  if (!gather || gather.getAxis() != 0 ||
      typeOf(gather.getData()).getRank() != 2)
    return reject("a summand is no row of a table" + whichNode(value));
  Table table;
  table.rows = gather.getData();
  if (elementTypeOf(table.rows) != elementTypeOf(value))
    return reject("a table has another element type" + whichNode(value));
  if (std::optional<int64_t> first =
          firstPosition(gather.getIndices(), shape[1], dims)) {
    table.first = *first;
    sum.leaves.push_back(gather.getIndices());
  } else {
    table.ids = gather.getIndices();
    ArrayRef<DimExpr> ids = dims.getDims(table.ids);
    if (ids.size() != 2 || ids[1] != shape[1] ||
        (ids[0] != shape[0] && !ids[0].isConstant(1)))
      return reject("ids are not those of [batch, tokens]" +
                    whichNode(table.ids));
    sum.leaves.push_back(table.ids);
  }
  sum.leaves.push_back(table.rows);
  sum.tables.push_back(table);
  return success();
}

class Fuser {
public:
  Fuser(DimAnalysis &dims) : dims(dims) {}
  /// `norm` may be null: a sum without one.
  LogicalResult fuse(Value summed, NormOp norm, Reject reject);

private:
  DimAnalysis &dims;
};
} // namespace

LogicalResult Fuser::fuse(Value summed, NormOp norm, Reject reject) {
  Dims shape(dims.getDims(summed));
  if (shape.size() != 3)
    return reject("the sum is not of [batch, tokens, width]");
  Sum sum;
  if (LogicalResult found =
          collect(summed, shape, dims, sum, /*isRoot=*/true, reject);
      failed(found))
    return found;
  SmallVector<Value> ids, tables;
  SmallVector<int64_t> index, positions;
  bool wholeBatch = false;
  for (const Table &table : sum.tables) {
    tables.push_back(table.rows);
    positions.push_back(table.first);
    index.push_back(table.ids ? llvm::find(ids, table.ids) - ids.begin() : -1);
    if (table.ids && index.back() == static_cast<int64_t>(ids.size()))
      ids.push_back(table.ids);
    wholeBatch |= table.ids && dims.getDims(table.ids)[0] == shape[0];
  }
  if (!wholeBatch) // the dims of the result are those of the ids
    return reject("no ids are of the whole batch");
  Operation *root = norm ? norm.getOperation() : summed.getDefiningOp();
  if (norm) {
    sum.leaves.push_back(norm.getWeight());
    sum.leaves.push_back(norm.getBias());
  }
  Location loc = locOf(root, sum.leaves);
  OpBuilder builder(root);
  auto embedding = EmbeddingOp::create(
      builder, loc, root->getResult(0).getType(), ids, tables,
      norm ? norm.getWeight() : Value(), norm ? norm.getBias() : Value(), index,
      positions, norm ? norm.getEpsilon() : APFloat(0.0f));
  root->getResult(0).replaceAllUsesWith(embedding);
  reportPassed(loc, DEBUG_TYPE, "fused into ferrite.embedding");
  return success();
}

/// A sum that has rows gathered from a table, for it alone, among its summands.
static bool hasGather(Value value, bool isRoot = true) {
  if (auto add = value.getDefiningOp<AddOp>())
    return (isRoot || add->hasOneUse()) &&
           (hasGather(add.getLhs(), false) || hasGather(add.getRhs(), false));
  auto gather = value.getDefiningOp<GatherOp>();
  return gather && gather.getAxis() == 0 && gather->hasOneUse() &&
         isWeightOrConstant(gather.getData());
}

/// Whether the op computes the norm of a sum as well: that of an encoder. One
/// of a decoder reads a sum that is its first residual too.
static bool canNormalize(NormOp norm) {
  return norm && norm.getInput().hasOneUse() &&
         norm.getKind() == NormKind::Layer && norm.getBias() &&
         !norm.getResidual() && !norm.getAfter();
}

namespace {
struct FuseEmbeddingPass final
    : ferrite::impl::FuseEmbeddingBase<FuseEmbeddingPass> {
  void runOnOperation() override {
    FailureOr<DimAnalysis> dims = DimAnalysis::compute(getOperation());
    if (failed(dims))
      return signalPassFailure();
    Fuser fuser(*dims);
    SmallVector<Operation *> roots;
    getOperation().walk([&](Operation *op) {
      auto norm = dyn_cast<NormOp>(op);
      bool normOfSum = canNormalize(norm) && hasGather(norm.getInput());
      // A sum under such a norm or under another sum is part of that.
      Operation *user = op->hasOneUse() ? *op->user_begin() : nullptr;
      bool bareSum = isa<AddOp>(op) && hasGather(op->getResult(0)) &&
                     !isa_and_present<AddOp>(user) &&
                     !canNormalize(dyn_cast_if_present<NormOp>(user));
      if (normOfSum || bareSum)
        roots.push_back(op);
    });
    for (Operation *op : roots) {
      auto norm = dyn_cast<NormOp>(op);
      (void)fuser.fuse(norm ? Value(norm.getInput()) : Value(op->getResult(0)),
                       norm, [&](const Twine &reason) -> LogicalResult {
                         reportMissed(op, DEBUG_TYPE, reason);
                         return failure();
                       });
    }
    eraseDeadOps();
  }

  /// Bottom up, what fused has no use any more.
  void eraseDeadOps() {
    for (Block &block : getOperation().getBody())
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
        if (isOpTriviallyDead(&op))
          op.erase();
  }
};
} // namespace
