//===- MaskExpr.cpp - The value of one element as an expression -----------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The simplifications, all exact. What is true of booleans is carried through
// arithmetic as a choice between constants: cast(c) is c ? 1 : 0, so
// (1 - cast(c)) * -10000 becomes c ? 0 : -10000 without a rule for that chain.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/MaskExpr.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/Format.h"
#include <cmath>

using namespace mlir;
using namespace ferrite;

using Kind = MaskNodeKind;

std::optional<bool> MaskNode::asBool() const {
  if (kind != Kind::Int || !type.isInteger(1) || !index.constant())
    return std::nullopt;
  return *index.constant() != 0;
}

std::optional<double> MaskNode::asNumber() const {
  if (kind == Kind::Float)
    return number;
  if (kind == Kind::Int && index.constant())
    return static_cast<double>(*index.constant());
  return std::nullopt;
}

bool MaskNode::isConstantChoice() const {
  return kind == Kind::Where && operands[1]->asNumber() &&
         operands[2]->asNumber();
}

static double roundTo(FloatType type, double number) {
  llvm::APFloat value(number);
  bool lost;
  value.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven,
                &lost);
  return value.convertToDouble();
}

const MaskNode *MaskExprs::unique(MaskNode node) {
  std::string key;
  llvm::raw_string_ostream text(key);
  text << static_cast<int>(node.kind) << ' ' << node.type.getAsOpaquePointer()
       << ' ' << static_cast<int>(node.predicate) << ' '
       << node.value.getAsOpaquePointer() << ' '
       << llvm::bit_cast<uint64_t>(node.number) << ' ' << node.index.str();
  for (const DimExpr &coord : node.coords)
    text << ';' << coord.str();
  for (const MaskNode *operand : node.operands)
    text << '#' << operand->id;
  const MaskNode *&slot = known[key];
  if (!slot) {
    node.id = nodes.size();
    nodes.push_back(std::make_unique<MaskNode>(std::move(node)));
    slot = nodes.back().get();
  }
  return slot;
}

MaskNode MaskExprs::makeNode(Kind kind, Type type,
                             std::initializer_list<const MaskNode *> operands) {
  MaskNode node;
  node.kind = kind;
  node.type = type;
  node.id = 0;
  node.operands.assign(operands);
  return node;
}

const MaskNode *MaskExprs::getInt(Type type, const DimExpr &index) {
  MaskNode node = makeNode(Kind::Int, type);
  node.index = index;
  return unique(std::move(node));
}

const MaskNode *MaskExprs::getBool(MLIRContext *context, bool value) {
  return getInt(IntegerType::get(context, 1), DimExpr(value));
}

const MaskNode *MaskExprs::getNumber(Type type, double number) {
  if (auto real = dyn_cast<FloatType>(type)) {
    MaskNode node = makeNode(Kind::Float, type);
    node.number = roundTo(real, number);
    return unique(std::move(node));
  }
  if (type.isInteger(1))
    return getInt(type, DimExpr(number != 0));
  return getInt(type, DimExpr(static_cast<int64_t>(number)));
}

const MaskNode *MaskExprs::getLoad(Value value, ArrayRef<DimExpr> coords) {
  MaskNode node = makeNode(
      Kind::Load, cast<RankedTensorType>(value.getType()).getElementType());
  node.value = value;
  node.coords.assign(coords.begin(), coords.end());
  return unique(std::move(node));
}

/// Integers that sizes and positions fit: their arithmetic is taken as exact.
static bool isIndex(Type type) {
  return type.isInteger(32) || type.isInteger(64);
}

/// Whether a constant survives a cast to `type`: truncation of what a type
/// cannot hold is left to the code that runs.
static bool holds(Type type, double number) {
  return isa<FloatType>(type) || type.isInteger(1) ||
         std::abs(number) < 2147483648.0;
}

const MaskNode *MaskExprs::getCast(Type type, const MaskNode *input) {
  if (input->type == type)
    return input;
  std::optional<double> number = input->asNumber();
  if (number && holds(type, *number) && !std::isnan(*number))
    return getNumber(type, *number);
  if (input->kind == Kind::Int && isIndex(type) && isIndex(input->type))
    return getInt(type, input->index);
  if (input->isConstantChoice())
    return getWhere(input->operands[0], getCast(type, input->operands[1]),
                    getCast(type, input->operands[2]));
  if (input->type.isInteger(1))
    return getWhere(input, getNumber(type, 1), getNumber(type, 0));
  // Masks are multiplied as integers; no mask has elements of 2^16 and more,
  // whose product could wrap around to 0.
  if (type.isInteger(1) && input->kind == Kind::Mul && isIndex(input->type))
    return getBinary(Kind::And, getCast(type, input->operands[0]),
                     getCast(type, input->operands[1]));
  return unique(makeNode(Kind::Cast, type, {input}));
}

const MaskNode *MaskExprs::getNot(const MaskNode *input) {
  if (std::optional<bool> value = input->asBool())
    return getBool(input->type.getContext(), !*value);
  if (input->kind == Kind::Not)
    return input->operands[0];
  // Of a float comparison it is no negation: a NaN fails both.
  if (input->kind == Kind::Compare && !isa<FloatType>(input->operands[0]->type))
    return getCompare(negate(input->predicate), input->operands[0],
                      input->operands[1]);
  if (input->kind == Kind::Where)
    return getWhere(input->operands[0], getNot(input->operands[1]),
                    getNot(input->operands[2]));
  return unique(makeNode(Kind::Not, input->type, {input}));
}

const MaskNode *MaskExprs::foldLogic(Kind kind, const MaskNode *lhs,
                                     const MaskNode *rhs) {
  std::optional<bool> left = lhs->asBool(), right = rhs->asBool();
  if (left && !right) {
    std::swap(lhs, rhs);
    std::swap(left, right);
  }
  if (right) {
    if (kind == Kind::And)
      return *right ? lhs : rhs;
    if (kind == Kind::Or)
      return *right ? rhs : lhs;
    return *right ? getNot(lhs) : lhs;
  }
  if (lhs == rhs && kind != Kind::Xor)
    return lhs;
  if (kind == Kind::Xor)
    return nullptr;
  // c && (c ? a : b) is c && a, and c || (c ? a : b) is c || b; with !c the
  // other one.
  for (auto [c, choice] : {std::pair(lhs, rhs), std::pair(rhs, lhs)})
    if (choice->kind == Kind::Where)
      for (bool negated : {false, true})
        if (c == (negated ? getNot(choice->operands[0]) : choice->operands[0]))
          return getBinary(
              kind, c,
              choice->operands[(kind == Kind::And) != negated ? 1 : 2]);
  return foldImplied(kind, lhs, rhs);
}

/// (c ? a : 0) * (d ? b : 0) is c && d ? a * b : 0, and the lesser of (c ? x :
/// y) and (d ? x : y), x > y, is c && d ? x : y: what is true of booleans that
/// were made numbers.
const MaskNode *MaskExprs::foldChoices(Kind kind, const MaskNode *lhs,
                                       const MaskNode *rhs) {
  if (!lhs->isConstantChoice() || !rhs->isConstantChoice())
    return nullptr;
  double a = *lhs->operands[1]->asNumber(), b = *rhs->operands[1]->asNumber();
  double x = *lhs->operands[2]->asNumber(), y = *rhs->operands[2]->asNumber();
  if (kind == Kind::Mul && x == 0 && y == 0 && std::isfinite(a * b))
    return getWhere(getBinary(Kind::And, lhs->operands[0], rhs->operands[0]),
                    getBinary(Kind::Mul, lhs->operands[1], rhs->operands[1]),
                    lhs->operands[2]);
  if ((kind == Kind::Min || kind == Kind::Max) &&
      lhs->operands[1] == rhs->operands[1] &&
      lhs->operands[2] == rhs->operands[2] && a != x) {
    bool both = (kind == Kind::Min) == (a > x);
    return getWhere(getBinary(both ? Kind::And : Kind::Or, lhs->operands[0],
                              rhs->operands[0]),
                    lhs->operands[1], lhs->operands[2]);
  }
  return nullptr;
}

/// Whether it is worth going on with: squared again and again, an index of a
/// hostile model would fill the memory.
static bool isSmall(const DimExpr &index) {
  return index.isValid() && index.terms().size() <= 32 &&
         llvm::all_of(index.terms(),
                      [](const auto &t) { return t.first.size() <= 8; });
}

const MaskNode *MaskExprs::foldArithmetic(Kind kind, const MaskNode *lhs,
                                          const MaskNode *rhs) {
  Type type = lhs->type;
  if (lhs->kind == Kind::Int && rhs->kind == Kind::Int && isIndex(type)) {
    DimExpr difference = lhs->index - rhs->index;
    if (kind == Kind::Div) // the quotient of a coordinate is not one
      return rhs->index.isConstant(1) ? lhs : nullptr;
    DimExpr index = kind == Kind::Add   ? lhs->index + rhs->index
                    : kind == Kind::Sub ? difference
                                        : lhs->index * rhs->index;
    if (kind == Kind::Min || kind == Kind::Max) {
      if (space.isNonNegative(difference))
        return kind == Kind::Max ? lhs : rhs;
      if (space.isNonNegative(rhs->index - lhs->index))
        return kind == Kind::Max ? rhs : lhs;
      return nullptr;
    }
    return isSmall(index) ? getInt(type, index) : nullptr;
  }
  std::optional<double> a = lhs->asNumber(), b = rhs->asNumber();
  if (!a || !b || !isa<FloatType>(type))
    return nullptr;
  switch (kind) {
  case Kind::Add:
    return getNumber(type, *a + *b);
  case Kind::Sub:
    return getNumber(type, *a - *b);
  case Kind::Mul:
    return getNumber(type, *a * *b);
  case Kind::Div:
    return getNumber(type, *a / *b);
  default: // a NaN wins
    if (std::isnan(*a) || std::isnan(*b))
      return getNumber(type, *a + *b);
    return getNumber(type,
                     kind == Kind::Min ? std::min(*a, *b) : std::max(*a, *b));
  }
}

const MaskNode *MaskExprs::getBinary(Kind kind, const MaskNode *lhs,
                                     const MaskNode *rhs) {
  bool logic = kind == Kind::And || kind == Kind::Or || kind == Kind::Xor;
  const MaskNode *folded =
      logic ? foldLogic(kind, lhs, rhs) : foldArithmetic(kind, lhs, rhs);
  if (folded)
    return folded;
  if (const MaskNode *choice = foldChoices(kind, lhs, rhs))
    return choice;
  if (lhs->isConstantChoice() && rhs->asNumber())
    return getWhere(lhs->operands[0], getBinary(kind, lhs->operands[1], rhs),
                    getBinary(kind, lhs->operands[2], rhs));
  if (rhs->isConstantChoice() && lhs->asNumber())
    return getWhere(rhs->operands[0], getBinary(kind, lhs, rhs->operands[1]),
                    getBinary(kind, lhs, rhs->operands[2]));
  // x + 0 is x, and x * 1: what is left of a mask that is always true.
  if (kind == Kind::Add || kind == Kind::Mul) {
    double neutral = kind == Kind::Mul;
    if (rhs->asNumber() == neutral)
      return lhs;
    if (lhs->asNumber() == neutral)
      return rhs;
  }
  // One order, so that a & b and b & a are one node.
  if (kind != Kind::Sub && kind != Kind::Div && lhs->id > rhs->id)
    std::swap(lhs, rhs);
  return unique(makeNode(kind, lhs->type, {lhs, rhs}));
}

const MaskNode *MaskExprs::getWhere(const MaskNode *condition,
                                    const MaskNode *lhs, const MaskNode *rhs) {
  if (lhs == rhs)
    return lhs;
  if (std::optional<bool> value = condition->asBool())
    return *value ? lhs : rhs;
  std::optional<bool> a = lhs->asBool(), b = rhs->asBool();
  if (a && b) // different constants, else lhs == rhs
    return *a ? condition : getNot(condition);
  if (a)
    return *a ? getBinary(Kind::Or, condition, rhs)
              : getBinary(Kind::And, getNot(condition), rhs);
  if (b)
    return *b ? getBinary(Kind::Or, getNot(condition), lhs)
              : getBinary(Kind::And, condition, lhs);
  // c ? (d ? x : y) : y is c && d ? x : y, and so for the other three.
  if (lhs->kind == Kind::Where && lhs->operands[2] == rhs)
    return getWhere(getBinary(Kind::And, condition, lhs->operands[0]),
                    lhs->operands[1], rhs);
  if (lhs->kind == Kind::Where && lhs->operands[1] == rhs)
    return getWhere(getBinary(Kind::And, condition, getNot(lhs->operands[0])),
                    lhs->operands[2], rhs);
  if (rhs->kind == Kind::Where && rhs->operands[1] == lhs)
    return getWhere(getBinary(Kind::Or, condition, rhs->operands[0]), lhs,
                    rhs->operands[2]);
  if (rhs->kind == Kind::Where && rhs->operands[2] == lhs)
    return getWhere(getBinary(Kind::Or, condition, getNot(rhs->operands[0])),
                    lhs, rhs->operands[1]);
  if (condition->kind == Kind::Not)
    return getWhere(condition->operands[0], rhs, lhs);
  return unique(makeNode(Kind::Where, lhs->type, {condition, lhs, rhs}));
}

const MaskNode *MaskExprs::getUnary(Kind kind, const MaskNode *input) {
  return unique(makeNode(kind, input->type, {input}));
}

std::string MaskNode::str() const {
  static constexpr llvm::StringLiteral names[] = {
      "",    "",    "",    "cast", "not", "and", "or",  "xor",     "add",
      "sub", "mul", "div", "min",  "max", "cos", "sin", "compare", "where"};
  std::string text;
  llvm::raw_string_ostream out(text);
  if (kind == Kind::Int) {
    out << index.str();
  } else if (kind == Kind::Float) {
    out << llvm::format("%g", number);
  } else if (kind == Kind::Load) {
    if (auto argument = dyn_cast<BlockArgument>(value))
      out << "arg" << argument.getArgNumber();
    else
      out << value.getDefiningOp()->getName().getStringRef();
    out << '[';
    llvm::interleaveComma(coords, out,
                          [&](const DimExpr &c) { out << c.str(); });
    out << ']';
  } else {
    out << names[static_cast<int>(kind)] << '(';
    if (kind == Kind::Compare)
      out << stringifyPredicate(predicate) << ", ";
    llvm::interleaveComma(operands, out,
                          [&](const MaskNode *o) { out << o->str(); });
    out << ')';
  }
  return text;
}
