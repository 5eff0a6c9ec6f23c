//===- NodeBuilder.cpp - Tensors from expressions of elements -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/NodeBuilder.h"

#include "passes/Analysis/Matchers.h"

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

Value NodeBuilder::constant(Type element, double number) {
  auto type = RankedTensorType::get({}, element);
  Attribute value;
  if (auto real = dyn_cast<FloatType>(element)) {
    APFloat rounded(number);
    bool lost;
    rounded.convert(real.getFloatSemantics(), APFloat::rmNearestTiesToEven,
                    &lost);
    value = FloatAttr::get(element, rounded);
  } else {
    value = IntegerAttr::get(element, static_cast<int64_t>(number));
  }
  return arith::ConstantOp::create(builder, loc,
                                   DenseElementsAttr::get(type, value));
}

Value NodeBuilder::view(Value value, const Dims &to) {
  if (dims.getDims(value) == ArrayRef<DimExpr>(to))
    return value;
  return ViewOp::create(builder, loc, getTensorType(to, elementTypeOf(value)),
                        value, getDimsAttr(builder.getContext(), to));
}

//===--- reading ----------------------------------------------------------===//

std::optional<std::pair<DimExpr, SmallVector<DimExpr>>>
NodeBuilder::linear(const DimExpr &index) const {
  DimExpr offset;
  SmallVector<DimExpr> factors(axes.size());
  for (const auto &[monomial, coefficient] : index.terms()) {
    DimExpr factor(coefficient);
    std::optional<unsigned> axis;
    for (const std::string &name : monomial) {
      DimExpr symbol = DimExpr::symbol(name);
      const auto *found = llvm::find_if(
          axes, [&](const NodeAxis &axis) { return axis.coord == symbol; });
      if (found == axes.end()) {
        if (StringRef(name).starts_with(" ")) // a coordinate of another space
          return std::nullopt;
        factor = factor * symbol;
      } else if (axis) {
        return std::nullopt;
      } else {
        axis = found - axes.begin();
      }
    }
    (axis ? factors[*axis] : offset) =
        (axis ? factors[*axis] : offset) + factor;
  }
  return std::make_pair(offset, factors);
}

std::optional<NodeBuilder::DimRead> NodeBuilder::readDim(const DimExpr &index,
                                                         const DimExpr &size) {
  auto parts = linear(index);
  if (!parts)
    return std::nullopt;
  auto &[offset, factors] = *parts;
  DimRead read;
  read.offset = offset;
  size_t used = llvm::count_if(
      factors, [](const DimExpr &factor) { return factor != DimExpr(0); });
  // The innermost axis has a constant factor, and each next one the product of
  // the extents inside of it.
  DimExpr expected(1);
  for (size_t count = 0; count < used; ++count) {
    for (unsigned i = 0; i < axes.size(); ++i) {
      bool fits = used == 1 ? factors[i].constant().value_or(0) > 0
                            : factors[i] == expected;
      if (!fits || llvm::is_contained(read.axes, i))
        continue;
      if (used == 1)
        read.step = *factors[i].constant();
      read.axes.insert(read.axes.begin(), i);
      expected = expected * axes[i].extent;
      break;
    }
    if (read.axes.size() != count + 1)
      return std::nullopt;
  }
  return read;
}

std::optional<SmallVector<NodeBuilder::DimRead>>
NodeBuilder::readDims(const MaskNode *load) {
  ArrayRef<DimExpr> sizes = dims.getDims(load->value);
  SmallVector<DimRead> reads;
  SmallVector<unsigned> seen;
  for (auto [index, size] : llvm::zip_equal(load->coords, sizes)) {
    std::optional<DimRead> read = readDim(index, size);
    if (!read)
      return std::nullopt;
    for (unsigned axis : read->axes) {
      if (llvm::is_contained(seen, axis)) // a diagonal
        return std::nullopt;
      seen.push_back(axis);
    }
    reads.push_back(*read);
  }
  return reads;
}

/// The axes that the graph's value of this expression has as its dims, if it
/// has one.
std::optional<SmallVector<unsigned>> NodeBuilder::axesOf(const MaskNode *node) {
  if (!nodes.findValue(node))
    return std::nullopt;
  SmallVector<unsigned> order;
  unsigned on = nodes.dependencies(node);
  for (auto [i, one] : llvm::enumerate(nodes.getScores().all())) {
    if (!(on & 1u << i))
      continue;
    const auto &coord = one; // a binding may not be captured before C++20
    const auto *found = llvm::find_if(
        axes, [&](const NodeAxis &axis) { return axis.coord == coord; });
    if (found == axes.end())
      return std::nullopt;
    order.push_back(found - axes.begin());
  }
  return order;
}

std::string NodeBuilder::whyNot(const MaskNode *root) {
  llvm::SmallPtrSet<const MaskNode *, 16> visited;
  SmallVector<const MaskNode *> work = {root};
  while (!work.empty()) {
    const MaskNode *node = work.pop_back_val();
    if (!visited.insert(node).second || node->asNumber())
      continue;
    if (axesOf(node))
      continue; // the graph has it
    work.append(node->operands.begin(), node->operands.end());
    if (node->kind == Kind::Load && !readDims(node))
      return "an element is read at a computed position";
    if (node->kind != Kind::Int)
      continue;
    auto parts = linear(node->index);
    if (!parts || !(node->type.isInteger(32) || node->type.isInteger(64)) ||
        llvm::any_of(parts->second,
                     [](const DimExpr &factor) { return !factor.constant(); }))
      return "a position is computed";
  }
  return {};
}

//===--- building ---------------------------------------------------------===//

Value NodeBuilder::place(Value value, ArrayRef<unsigned> order) {
  if (order.empty() && dims.getDims(value).empty())
    return value;
  SmallVector<unsigned> sorted(order);
  llvm::sort(sorted);
  SmallVector<int64_t> perm;
  Dims from, to, all;
  for (unsigned axis : order)
    from.push_back(axes[axis].extent);
  for (unsigned axis : sorted) {
    perm.push_back(llvm::find(order, axis) - order.begin());
    to.push_back(axes[axis].extent);
  }
  for (unsigned i = 0; i < axes.size(); ++i)
    all.push_back(llvm::is_contained(order, i) ? axes[i].extent : DimExpr(1));
  if (!llvm::is_sorted(order)) {
    value = view(value, from);
    value = TransposeOp::create(
        builder, loc, getTensorType(to, elementTypeOf(value)), value, perm);
  }
  return view(value, all);
}

Value NodeBuilder::buildLoad(const MaskNode *node) {
  SmallVector<DimRead> reads = *readDims(node);
  Dims sizes(dims.getDims(node->value)), offsets, parts;
  SmallVector<int64_t> steps;
  SmallVector<unsigned> order;
  for (const DimRead &read : reads) {
    DimExpr size(1);
    for (unsigned axis : read.axes)
      size = size * axes[axis].extent;
    parts.push_back(size);
    offsets.push_back(read.offset);
    steps.push_back(read.step);
    order.append(read.axes.begin(), read.axes.end());
  }
  Value value = node->value;
  bool whole = parts == sizes &&
               llvm::all_of(steps, [](int64_t step) { return step == 1; }) &&
               llvm::all_of(offsets, [](const DimExpr &offset) {
                 return offset == DimExpr(0);
               });
  MLIRContext *context = builder.getContext();
  if (!whole)
    value = SliceOp::create(builder, loc, getTensorType(parts, node->type),
                            value, getDimsAttr(context, offsets), steps,
                            getDimsAttr(context, parts));
  return place(value, order);
}

Value NodeBuilder::buildIndex(const MaskNode *node) {
  auto [offset, factors] = *linear(node->index);
  MLIRContext *context = builder.getContext();
  Value sum;
  for (unsigned i = 0; i < axes.size(); ++i) {
    int64_t factor = *factors[i].constant();
    if (factor == 0)
      continue;
    // A constant offset is where the first sequence starts.
    int64_t start = sum ? 0 : offset.constant().value_or(0);
    if (!sum && offset.constant())
      offset = DimExpr(0);
    Dims size = {axes[i].extent};
    Value iota = IotaOp::create(builder, loc, getTensorType(size, node->type),
                                start, factor, getDimsAttr(context, size));
    if (i + 1 != axes.size())
      iota = place(iota, {i});
    sum = sum ? broadcasting<AddOp>(node->type, {sum, iota}) : iota;
  }
  if (offset == DimExpr(0))
    return sum;
  Value size =
      DimValuesOp::create(builder, loc, RankedTensorType::get({}, node->type),
                          getDimsAttr(context, {offset}));
  return sum ? broadcasting<AddOp>(node->type, {sum, size}) : size;
}

Value NodeBuilder::buildOp(const MaskNode *node, ValueRange in) {
  switch (node->kind) {
  case Kind::Cast:
    return broadcasting<CastOp>(node->type, in);
  case Kind::Not:
    return broadcasting<NotOp>(node->type, in);
  case Kind::And:
    return broadcasting<AndOp>(node->type, in);
  case Kind::Or:
    return broadcasting<OrOp>(node->type, in);
  case Kind::Xor:
    return broadcasting<XorOp>(node->type, in);
  case Kind::Add:
    return broadcasting<AddOp>(node->type, in);
  case Kind::Sub:
    return broadcasting<SubOp>(node->type, in);
  case Kind::Mul:
    return broadcasting<MulOp>(node->type, in);
  case Kind::Div:
    return broadcasting<DivOp>(node->type, in);
  case Kind::Min:
    return broadcasting<MinOp>(node->type, in);
  case Kind::Max:
    return broadcasting<MaxOp>(node->type, in);
  case Kind::Cos:
    return broadcasting<CosOp>(node->type, in);
  case Kind::Sin:
    return broadcasting<SinOp>(node->type, in);
  case Kind::Compare:
    return broadcasting<CompareOp>(node->type, in, node->predicate);
  case Kind::Where:
    return broadcasting<WhereOp>(node->type, in);
  case Kind::Int:
  case Kind::Float:
  case Kind::Load:
    break;
  }
  llvm_unreachable("leaves are built by build()");
}

Value NodeBuilder::build(const MaskNode *node) {
  auto known = built.find(node);
  if (known != built.end())
    return known->second;
  Value value;
  std::optional<double> number = node->asNumber();
  auto found = axesOf(node);
  if (number) {
    value = constant(node->type, *number);
  } else if (found) {
    value = place(nodes.findValue(node), *found);
  } else if (node->kind == Kind::Int) {
    value = buildIndex(node);
  } else if (node->kind == Kind::Load) {
    value = buildLoad(node);
  } else {
    SmallVector<Value> in;
    for (const MaskNode *operand : node->operands)
      in.push_back(build(operand));
    value = buildOp(node, in);
  }
  built[node] = value;
  return value;
}

Value NodeBuilder::buildRanked(const MaskNode *node) {
  Value value = build(node);
  Dims sizes(dims.getDims(value));
  while (sizes.size() < axes.size())
    sizes.insert(sizes.begin(), DimExpr(1));
  return view(value, sizes);
}
