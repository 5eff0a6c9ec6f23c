//===- FuseAttentionOperand.cpp - Queries, keys, values -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/FuseAttentionOperand.h"

#include "mlir/IR/Matchers.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

// A chain of one operand has ten nodes at most in real exports.
static constexpr unsigned kMaxChain = 64;

std::optional<double> ferrite::getScale(Value value, unsigned depth) {
  if (std::optional<double> splat = getSplat(value))
    return splat;
  Operation *op = value.getDefiningOp();
  // Constants that nobody folded, as TorchScript leaves them: div(1, sqrt(32)).
  if (depth > 8 || !op || op->getNumOperands() == 0 ||
      !isa<SqrtOp, ReciprocalOp, CastOp, MulOp, DivOp, ViewOp>(op))
    return std::nullopt;
  std::optional<double> a = getScale(op->getOperand(0), depth + 1);
  std::optional<double> b = op->getNumOperands() == 2
                                ? getScale(op->getOperand(1), depth + 1)
                                : std::nullopt;
  if (!a || (op->getNumOperands() == 2 && !b))
    return std::nullopt;
  if (!isa<FloatType>(elementTypeOf(value)) && !isa<ViewOp>(op))
    return std::nullopt; // integers round otherwise
  if (isa<SqrtOp>(op))
    return std::sqrt(*a);
  if (isa<ReciprocalOp>(op))
    return 1 / *a;
  if (isa<MulOp>(op))
    return *a * *b;
  return isa<DivOp>(op) ? *a / *b : *a;
}

std::optional<Scaling> ferrite::getScaling(Operation *op) {
  if (auto mul = dyn_cast<MulOp>(op)) {
    if (std::optional<double> factor = getScale(mul.getRhs()))
      return Scaling{mul.getLhs(), *factor};
    if (std::optional<double> factor = getScale(mul.getLhs()))
      return Scaling{mul.getRhs(), *factor};
  } else if (auto div = dyn_cast<DivOp>(op)) {
    std::optional<double> divisor = getScale(div.getRhs());
    if (divisor && *divisor != 0)
      return Scaling{div.getLhs(), 1 / *divisor};
  }
  return std::nullopt;
}

namespace {
using Role = OperandRoles::Role;

/// A value as an operand, and how good it is: 0 is best.
struct Candidate {
  AttentionOperand operand;
  unsigned cost;
  /// How many heads it has: each time fewer halves what is read.
  int64_t heads;

  bool isBetterThan(const Candidate &other) const {
    return heads != other.heads ? heads < other.heads : cost <= other.cost;
  }
};

class CandidateFinder {
public:
  CandidateFinder(const CoordSpace &space, const OperandRoles &roles)
      : space(space), roles(roles) {}

  std::optional<Candidate> find(Value value, ArrayRef<DimExpr> coords);

private:
  bool isRole(Role role, const DimExpr &coord, const DimExpr &size) const;
  bool addMissing();

  const CoordSpace &space;
  const OperandRoles &roles;
  /// The roles found so far, in the order of the dims, and their sizes.
  SmallVector<Role, 4> order;
  Dims sizes;
};
} // namespace

bool CandidateFinder::isRole(Role role, const DimExpr &coord,
                             const DimExpr &size) const {
  if (llvm::is_contained(order, role))
    return false;
  if (coord == roles.coords[role] && size == roles.extents[role])
    return true;
  if (role != OperandRoles::Head || !roles.grouped)
    return false;
  if (coord.isConstant(0) && size.isConstant(1)) // one head for all
    return true;
  return llvm::any_of(space.splits(), [&](const CoordSpace::Split &split) {
    return split.of == roles.coords[role] && split.quotient == coord &&
           size * split.divisor == roles.extents[role];
  });
}

/// Puts roles without a dim of their own where they least disturb the order.
bool CandidateFinder::addMissing() {
  for (Role role : {OperandRoles::Batch, OperandRoles::Token,
                    OperandRoles::Head, OperandRoles::Size}) {
    if (llvm::is_contained(order, role))
      continue;
    bool isOne = roles.extents[role].isConstant(1) ||
                 (role == OperandRoles::Head && roles.grouped);
    if (!isOne)
      return false;
    size_t at = role == OperandRoles::Batch ? 0
                : role == OperandRoles::Head
                    ? llvm::find(order, OperandRoles::Size) - order.begin()
                    : order.size();
    order.insert(order.begin() + at, role);
    sizes.insert(sizes.begin() + at, DimExpr(1));
  }
  return true;
}

std::optional<Candidate> CandidateFinder::find(Value value,
                                               ArrayRef<DimExpr> coords) {
  std::optional<Dims> dims = space.dimsOf(value);
  if (!dims || dims->size() > 4)
    return std::nullopt;
  order.clear();
  sizes.clear();
  const DimExpr &b = roles.coords[OperandRoles::Batch];
  const DimExpr &h = roles.coords[OperandRoles::Head];
  const DimExpr &batches = roles.extents[OperandRoles::Batch];
  const DimExpr &heads = roles.extents[OperandRoles::Head];
  for (size_t i = 0; i < dims->size(); ++i) {
    const DimExpr &coord = coords[i], &size = (*dims)[i];
    // [batch * heads, ..], as older exporters multiply.
    if (!heads.isConstant(1) && !batches.isConstant(1) &&
        size == batches * heads && coord == b * heads + h && order.empty()) {
      order = {OperandRoles::Batch, OperandRoles::Head};
      sizes = {batches, heads};
      continue;
    }
    // Dims of size 1 may have several roles: the one that is in place first.
    SmallVector<Role> choices = {OperandRoles::Batch, OperandRoles::Token,
                                 OperandRoles::Head, OperandRoles::Size};
    if (dims->size() == 4)
      choices.insert(choices.begin(), choices[i]);
    const auto *role =
        llvm::find_if(choices, [&](Role r) { return isRole(r, coord, size); });
    if (role == choices.end())
      return std::nullopt;
    order.push_back(*role);
    sizes.push_back(size);
  }
  if (!addMissing() || order.size() != 4)
    return std::nullopt;
  Candidate result;
  result.operand.source = value;
  if (sizes != *dims)
    result.operand.view = sizes;
  bool inPlace = true;
  for (int64_t i = 0; i < 4; ++i) {
    int64_t from = llvm::find(order, static_cast<Role>(i)) - order.begin();
    inPlace &= from == i;
    result.operand.perm.push_back(from);
  }
  if (inPlace)
    result.operand.perm.clear();
  result.cost = inPlace ? !result.operand.view.empty() : 2;
  if (elementTypeOf(value) != roles.element)
    result.cost += 3;
  size_t head = llvm::find(order, OperandRoles::Head) - order.begin();
  result.heads = sizes[head].constant().value_or(0);
  return result;
}

/// Whether a cast loses nothing, so that reading its input is as good.
static bool widens(CastOp op) {
  auto from = dyn_cast<FloatType>(elementTypeOf(op.getInput()));
  auto to = dyn_cast<FloatType>(elementTypeOf(op.getResult()));
  return from && to && from.getWidth() < to.getWidth();
}

/// Heads repeated by a gather of 0, 0, 0, 1, 1, 1, or as a stack of copies:
/// what element of its input an element is.
static std::optional<Coords> throughRepeat(CoordSpace &space, Operation *op,
                                           ArrayRef<DimExpr> coords) {
  Coords from(coords);
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    std::optional<Dims> dims = space.dimsOf(concat.getInputs()[0]);
    if (!dims || !(*dims)[concat.getAxis()].isConstant(1) ||
        !llvm::all_equal(concat.getInputs()))
      return std::nullopt;
    from[concat.getAxis()] = DimExpr(0);
    return from;
  }
  auto gather = cast<GatherOp>(op);
  DenseIntElementsAttr indices;
  if (!matchPattern(gather.getIndices(), m_Constant(&indices)) ||
      indices.getType().getRank() != 1 || indices.empty())
    return std::nullopt;
  SmallVector<int64_t> heads;
  for (const APInt &index : indices.getValues<APInt>())
    heads.push_back(index.getSExtValue());
  int64_t group =
      llvm::find_if(heads, [](int64_t h) { return h != 0; }) - heads.begin();
  if (group == 0 || heads.size() % group != 0)
    return std::nullopt;
  for (auto [i, head] : llvm::enumerate(heads))
    if (head != static_cast<int64_t>(i) / group)
      return std::nullopt;
  DimExpr &head = from[gather.getAxis()];
  auto parts = space.divide(head, DimExpr(group));
  if (!parts)
    return std::nullopt;
  head = parts->first;
  return from;
}

std::optional<AttentionOperand>
ferrite::traceOperand(CoordSpace &space, Value value, Coords coords,
                      const OperandRoles &roles,
                      SmallVectorImpl<Location> &locs) {
  CandidateFinder finder(space, roles);
  std::optional<Candidate> best;
  SmallVector<Location> passed, used;
  double scale = 1;
  for (unsigned step = 0; step < kMaxChain; ++step) {
    std::optional<Candidate> here = finder.find(value, coords);
    // Further up is better: less was done to it.
    if (here && (!best || here->isBetterThan(*best))) {
      here->operand.scale = scale;
      best = here;
      used = passed;
    }
    Operation *op = value.getDefiningOp();
    if (!op)
      break;
    std::optional<Coords> next;
    Value from;
    if (isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op)) {
      next = space.throughLayout(op, coords);
      from = op->getOperand(0);
    } else if (isa<ConcatOp, GatherOp>(op)) {
      if (roles.grouped)
        next = throughRepeat(space, op, coords);
      from = op->getOperand(0);
    } else if (auto cast = dyn_cast<CastOp>(op)) {
      if (widens(cast))
        next = coords;
      from = cast.getInput();
    } else if (roles.scalable) {
      if (std::optional<Scaling> scaling = getScaling(op)) {
        from = scaling->scaled;
        next = space.throughBroadcast(from, coords);
        scale *= scaling->factor;
      }
    }
    if (!next)
      break;
    passed.push_back(op->getLoc());
    value = from;
    coords = *next;
  }
  if (!best)
    return std::nullopt;
  locs.append(used.begin(), used.end());
  return best->operand;
}

Value ferrite::buildOperand(OpBuilder &builder, Location loc, DimAnalysis &dims,
                            const AttentionOperand &operand) {
  Value value = operand.source;
  Type element = elementTypeOf(value);
  Dims sizes = operand.view.empty() ? Dims(dims.getDims(value)) : operand.view;
  RankedTensorType type = getTensorType(sizes, element);
  if (value.getType() != type)
    value = ViewOp::create(builder, loc, type, value,
                           getDimsAttr(builder.getContext(), sizes));
  if (operand.perm.empty())
    return value;
  Dims permuted;
  for (int64_t from : operand.perm)
    permuted.push_back(sizes[from]);
  return TransposeOp::create(builder, loc, getTensorType(permuted, element),
                             value, operand.perm);
}
