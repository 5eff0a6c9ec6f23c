//===- FuseRope.cpp - Raise rotary position embeddings --------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters turn the pairs of a head by slices, negations and concatenations,
// by splits, or by strided slices. None of that is matched: two elements of the
// result, a pair, are read as expressions of the elements of a value x, and
// must be those of a rotation:
//
//   result[.., i]        = x[.., i] * C - x[.., i + R/2] * S
//   result[.., i + R/2]  = x[.., i + R/2] * C + x[.., i] * S
//
// (or 2i and 2i + 1). C and S are what they are, as long as they are the same
// for all heads: they are written anew as tables of half the width, and equal
// ones become one by CSE.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/NodeBuilder.h"
#include "passes/Fusion/Passes.h"

#define DEBUG_TYPE "ferrite-fuse-rope"

namespace ferrite {
#define GEN_PASS_DEF_FUSEROPE
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

namespace {
/// sign * x[coords] * factor.
struct Term {
  bool negative = false;
  const MaskNode *x = nullptr;
  const MaskNode *factor = nullptr;
};

/// One attempt: is `root` a rotation of `x`?
class RopeMatcher {
public:
  RopeMatcher(Operation *root, Value x, bool interleaved, DimAnalysis &dims,
              ArrayAttr symbols);
  LogicalResult match(Reject reject);
  FailureOr<Value> build(OpBuilder &builder, Value whole, Reject reject);

private:
  std::optional<SmallVector<Term, 2>> termsOf(const MaskNode *node);
  std::optional<Term> termOf(const MaskNode *node, bool negative);
  Coords at(bool second) const;

  Operation *root;
  Value x;
  bool interleaved;
  DimAnalysis &dims;
  Dims sizes;
  DimExpr half;
  CoordSpace space;
  ScoreCoords place;
  MaskAnalysis nodes;
  const MaskNode *cos = nullptr, *sin = nullptr;
  bool tokenMajor = false;
  BuiltNodes built;
};
} // namespace

RopeMatcher::RopeMatcher(Operation *root, Value x, bool interleaved,
                         DimAnalysis &dims, ArrayAttr symbols)
    : root(root), x(x), interleaved(interleaved), dims(dims),
      sizes(dims.getDims(root->getResult(0))), half(*sizes[3].constant() / 2),
      space([&dims](Value v) { return Dims(dims.getDims(v)); }, symbols),
      place(ScoreCoords::make(space, sizes[0], sizes[1], sizes[2], half)),
      nodes(space, place) {
  nodes.addLeaf(x);
}

/// The first or the second element of a pair.
Coords RopeMatcher::at(bool second) const {
  Coords coords = place.all();
  if (interleaved)
    coords[3] = coords[3] * DimExpr(2) + DimExpr(second);
  else if (second)
    coords[3] = coords[3] + half;
  return coords;
}

std::optional<Term> RopeMatcher::termOf(const MaskNode *node, bool negative) {
  auto unwrap = [&](const MaskNode *&inner) {
    while (inner->kind == Kind::Sub && inner->operands[0]->asNumber() == 0.0) {
      negative = !negative;
      inner = inner->operands[1];
    }
  };
  unwrap(node);
  if (node->kind != Kind::Mul)
    return std::nullopt;
  for (unsigned i : {0, 1}) {
    const MaskNode *element = node->operands[i];
    bool before = negative;
    unwrap(element);
    if (element->kind == Kind::Load && element->value == x)
      return Term{negative, element, node->operands[1 - i]};
    negative = before;
  }
  return std::nullopt;
}

std::optional<SmallVector<Term, 2>> RopeMatcher::termsOf(const MaskNode *node) {
  if (node->kind != Kind::Add && node->kind != Kind::Sub)
    return std::nullopt;
  std::optional<Term> a = termOf(node->operands[0], false);
  std::optional<Term> b = termOf(node->operands[1], node->kind == Kind::Sub);
  if (!a || !b)
    return std::nullopt;
  return SmallVector<Term, 2>{*a, *b};
}

LogicalResult RopeMatcher::match(Reject reject) {
  Coords first = at(false), second = at(true);
  Value result = root->getResult(0);
  const MaskNode *rotated[2][2] = {}; // [element][of x]: its factor
  for (bool element : {false, true}) {
    auto terms = termsOf(nodes.evaluate(result, element ? second : first));
    if (!terms)
      return reject("an element is no sum of two products");
    for (const Term &term : *terms) {
      bool ofSecond = term.x->coords == second;
      if (!ofSecond && term.x->coords != first)
        return reject("an element is read that is not of its pair");
      if (term.negative != (!element && ofSecond))
        return reject("the signs are not those of a rotation");
      rotated[element][ofSecond] = term.factor;
    }
    if (!rotated[element][0] || !rotated[element][1])
      return reject("an element is not made of both of its pair");
  }
  cos = rotated[0][0];
  sin = rotated[0][1];
  if (rotated[1][1] != cos || rotated[1][0] != sin)
    return reject("the two elements of a pair are turned by different angles");
  constexpr unsigned dim1 = 2, dim2 = 4;
  unsigned on = nodes.dependencies(cos) | nodes.dependencies(sin);
  if ((on & dim1) && (on & dim2))
    return reject("the angles depend on the head");
  tokenMajor = (on & dim1) != 0;
  return success();
}

/// The rotation of `whole`, which is x or has x as its first elements.
FailureOr<Value> RopeMatcher::build(OpBuilder &builder, Value whole,
                                    Reject reject) {
  Location loc = root->getLoc();
  NodeAxis token = tokenMajor ? NodeAxis{place.head, place.heads}
                              : NodeAxis{place.query, place.queries};
  NodeBuilder writer(
      builder, loc, dims, nodes,
      {{place.batch, place.batches}, token, {place.key, place.keys}}, built);
  Value tables[2];
  const MaskNode *angles[] = {cos, sin};
  for (auto [table, node] : llvm::zip_equal(tables, angles)) {
    if (std::string reason = writer.whyNot(node); !reason.empty())
      return reject("of the angles, " + reason);
    table = writer.buildRanked(node);
    Dims full(dims.getDims(table));
    full.back() = half;
    if (dims.getDims(table) != ArrayRef<DimExpr>(full))
      table = BroadcastOp::create(
          builder, loc, getTensorType(full, elementTypeOf(table)), table,
          getDimsAttr(builder.getContext(), full));
  }
  auto swapped = [&](Value value) -> Value {
    if (tokenMajor)
      return value;
    Dims to(dims.getDims(value));
    std::swap(to[1], to[2]);
    return TransposeOp::create(builder, loc,
                               getTensorType(to, elementTypeOf(value)), value,
                               ArrayRef<int64_t>{0, 2, 1, 3});
  };
  Value input = swapped(whole);
  return swapped(RopeOp::create(builder, loc, input.getType(), input, tables[0],
                                tables[1], interleaved));
}

/// x where `part` is its first elements along the last dim, or null.
static Value wholeOf(Value part, DimAnalysis &dims) {
  auto slice = part.getDefiningOp<SliceOp>();
  if (!slice || typeOf(part).getRank() != 4)
    return {};
  Dims offsets = *parseDims(slice.getOffsets());
  bool leads = llvm::all_of(slice.getSteps(), [](int64_t s) { return s == 1; });
  for (size_t i = 0; i < 4; ++i)
    leads &=
        offsets[i] == DimExpr(0) &&
        (i == 3 || dims.getDims(part)[i] == dims.getDims(slice.getInput())[i]);
  return leads ? slice.getInput() : Value();
}

/// The concatenation of what was rotated with the rest of `whole`, or null.
static ConcatOp joinedWithRest(Operation *root, Value whole,
                               DimAnalysis &dims) {
  Value part = root->getResult(0);
  auto concat =
      part.hasOneUse() ? dyn_cast<ConcatOp>(*part.user_begin()) : ConcatOp();
  if (!concat || concat.getAxis() != 3 || concat.getInputs().size() != 2 ||
      concat.getInputs()[0] != part || !dims.haveSameDims(concat, whole))
    return {};
  auto rest = concat.getInputs()[1].getDefiningOp<SliceOp>();
  if (!rest || rest.getInput() != whole ||
      !llvm::all_of(rest.getSteps(), [](int64_t s) { return s == 1; }))
    return {};
  Dims offsets = *parseDims(rest.getOffsets());
  bool behind = offsets[3] == dims.getDims(part)[3];
  for (size_t i = 0; i < 3; ++i)
    behind &= offsets[i] == DimExpr(0);
  return behind ? concat : ConcatOp();
}

/// Values of which `root` may be a rotation: factors of its products, and what
/// those are slices of.
static SmallVector<Value> sourcesOf(Operation *root) {
  SmallVector<Value> sources;
  SmallVector<Operation *> sums = {root};
  if (isa<ConcatOp>(root)) {
    sums.clear();
    for (Value input : root->getOperands())
      if (Operation *op = input.getDefiningOp())
        sums.push_back(op);
  }
  auto add = [&](Value value) {
    if (value.getType() == root->getResult(0).getType() &&
        !llvm::is_contained(sources, value))
      sources.push_back(value);
  };
  for (Operation *sum : sums) {
    if (!isa<AddOp, SubOp>(sum))
      return {};
    for (Value term : sum->getOperands()) {
      auto product = term.getDefiningOp<MulOp>();
      if (!product)
        return {};
      for (Value factor : product->getOperands()) {
        add(factor);
        if (auto slice = factor.getDefiningOp<SliceOp>())
          add(slice.getInput());
      }
    }
  }
  return sources;
}

/// Whether `root` multiplies a concatenation that has a negated part: what
/// looks like a rotation is reported when it is none.
static bool negatesPart(Operation *root) {
  for (Value term : root->getOperands())
    if (auto product = term.getDefiningOp<MulOp>())
      for (Value factor : product->getOperands())
        if (auto concat = factor.getDefiningOp<ConcatOp>())
          for (Value part : concat.getInputs())
            if (part.getDefiningOp<NegOp>())
              return true;
  return false;
}

namespace {
struct FuseRopePass final : ferrite::impl::FuseRopeBase<FuseRopePass> {
  void runOnOperation() override;
  bool fuse(Operation *root, DimAnalysis &dims, ArrayAttr symbols);
};
} // namespace

bool FuseRopePass::fuse(Operation *root, DimAnalysis &dims, ArrayAttr symbols) {
  RankedTensorType type = typeOf(root->getResult(0));
  if (type.getRank() != 4 || type.isDynamicDim(3) || type.getDimSize(3) < 2 ||
      type.getDimSize(3) % 2 != 0 ||
      !(type.getElementType().isF32() || isShortFloat(type.getElementType()))) {
    if (negatesPart(root))
      reportMissed(root, DEBUG_TYPE,
                   "what is rotated has not four dims, the last of them even");
    return false;
  }
  std::string reason = "no factor is what is rotated";
  auto reject = [&](const Twine &why) -> LogicalResult {
    reason = why.str();
    return failure();
  };
  for (Value x : sourcesOf(root))
    for (bool interleaved : {false, true}) {
      RopeMatcher matcher(root, x, interleaved, dims, symbols);
      if (failed(matcher.match(reject)))
        continue;
      Value whole = wholeOf(x, dims);
      ConcatOp joined = whole ? joinedWithRest(root, whole, dims) : ConcatOp();
      OpBuilder builder(joined ? joined.getOperation() : root);
      FailureOr<Value> rotated =
          matcher.build(builder, joined ? whole : x, reject);
      if (failed(rotated))
        continue;
      Operation *replaced = joined ? joined.getOperation() : root;
      replaced->getResult(0).replaceAllUsesWith(*rotated);
      reportPassed(root->getLoc(), DEBUG_TYPE,
                   interleaved ? "raised to ferrite.rope of adjacent pairs"
                               : "raised to ferrite.rope of halves");
      return true;
    }
  if (negatesPart(root))
    reportMissed(root, DEBUG_TYPE, reason);
  return false;
}

void FuseRopePass::runOnOperation() {
  func::FuncOp func = getOperation();
  FailureOr<DimAnalysis> dims = DimAnalysis::compute(func);
  if (failed(dims))
    return signalPassFailure();
  auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
  SmallVector<Operation *> roots;
  for (Operation &op : func.getBody().front())
    if (isa<AddOp, ConcatOp>(op))
      roots.push_back(&op);
  for (Operation *root : roots)
    fuse(root, *dims, symbols);
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(func.getBody().front())))
    if (isOpTriviallyDead(&op))
      op.erase();
}
