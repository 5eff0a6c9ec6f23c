//===- FuseGelu.cpp - Raise the Gaussian error linear unit ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Exporters write the same few factors in a dozen orders, so the order is not
// matched: the expression is expanded to a polynomial in x and in T, its one
// erf or tanh, and the coefficients are compared. `0.5 * x * (1 + erf(x
// / 1.4142))`:
//
//   argument of T      {x: 0.70711}
//   the expression     {x: 0.5, x*T: 0.5}
//
// x is the value under which that holds; there is no telling from below which
// of `linear + bias` it is, so each value under the argument is tried.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/Passes.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/Format.h"
#include <map>

#define DEBUG_TYPE "ferrite-fuse-gelu"

namespace ferrite {
#define GEN_PASS_DEF_FUSEGELU
#include "passes/Fusion/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

namespace {
/// {power of x, power of T} -> coefficient.
using Polynomial = std::map<std::pair<int, int>, double>;

/// Depth and size limits: a gelu has degree 4 and at most nine ops.
constexpr unsigned kDepth = 8;
constexpr int kDegree = 4;

std::optional<Polynomial> multiply(const Polynomial &a, const Polynomial &b) {
  Polynomial result;
  for (const auto &[m, p] : a)
    for (const auto &[n, q] : b) {
      std::pair<int, int> powers(m.first + n.first, m.second + n.second);
      if (powers.first > kDegree || powers.second > 1)
        return std::nullopt;
      result[powers] += p * q;
    }
  return result;
}

/// `value` as a polynomial of `x` and `t`.
std::optional<Polynomial> expand(Value value, Value x, Value t,
                                 unsigned depth = 0) {
  if (value == x)
    return Polynomial{{{1, 0}, 1.0}};
  if (value == t)
    return Polynomial{{{0, 1}, 1.0}};
  if (std::optional<double> splat = getSplat(value))
    return Polynomial{{{0, 0}, *splat}};
  Operation *op = value.getDefiningOp();
  if (!op || depth == kDepth ||
      !isa<AddOp, SubOp, MulOp, DivOp, PowOp, NegOp>(op))
    return std::nullopt;
  std::optional<Polynomial> lhs = expand(op->getOperand(0), x, t, depth + 1);
  if (!lhs)
    return std::nullopt;
  if (isa<NegOp>(op))
    return multiply(*lhs, {{{0, 0}, -1.0}});
  std::optional<Polynomial> rhs = expand(op->getOperand(1), x, t, depth + 1);
  if (!rhs)
    return std::nullopt;
  if (isa<MulOp>(op))
    return multiply(*lhs, *rhs);
  if (isa<AddOp, SubOp>(op)) {
    for (const auto &[powers, coefficient] : *rhs)
      (*lhs)[powers] += isa<AddOp>(op) ? coefficient : -coefficient;
    return lhs;
  }
  std::optional<double> constant = getSplat(op->getOperand(1));
  if (isa<DivOp>(op) && constant && *constant != 0)
    return multiply(*lhs, {{{0, 0}, 1.0 / *constant}});
  if (isa<PowOp>(op) && constant && (*constant == 2 || *constant == 3)) {
    std::optional<Polynomial> square = multiply(*lhs, *lhs);
    return *constant == 2 || !square ? square : multiply(*square, *lhs);
  }
  return std::nullopt;
}

bool isPolynomial(const Polynomial &actual, const Polynomial &expected,
                  Type element) {
  // Constants of bf16 are rounded to 1 part in 500, and two are multiplied.
  double tolerance = isShortFloat(element) ? 4e-3 : 1e-3;
  for (const auto &[powers, coefficient] : expected) {
    auto found = actual.find(powers);
    if (found == actual.end() || !isNear(found->second, coefficient, tolerance))
      return false;
  }
  for (const auto &[powers, coefficient] : actual)
    if (coefficient != 0 && !expected.count(powers))
      return false;
  return true;
}

const Polynomial kErfArgument = {{{1, 0}, 0.70710678118654752}};
const Polynomial kTanhArgument = {{{1, 0}, 0.79788456080286536},
                                  {{3, 0}, 0.79788456080286536 * 0.044715}};
const Polynomial kGelu = {{{1, 0}, 0.5}, {{1, 1}, 0.5}};

/// Values that `value` is computed from by the ops that expand() knows.
SmallVector<Value> valuesUnder(Value value) {
  SetVector<Value> values;
  values.insert(value);
  for (size_t i = 0; i < values.size() && i < 24; ++i)
    if (Operation *op = values[i].getDefiningOp();
        isa_and_nonnull<AddOp, SubOp, MulOp, DivOp, PowOp>(op))
      values.insert(op->operand_begin(), op->operand_end());
  return values.takeVector();
}

/// Whether two polynomials are of the same powers.
bool haveSamePowers(const Polynomial &a, const Polynomial &b) {
  return a.size() == b.size() &&
         llvm::all_of(a, [&](const auto &term) { return b.count(term.first); });
}

/// "0.797885 x + 0.0356774 x^3", of a polynomial of x alone.
std::string print(const Polynomial &polynomial) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  for (const auto &[powers, coefficient] : polynomial) {
    stream << (text.empty() ? "" : " + ") << llvm::format("%g", coefficient);
    stream << (powers.first > 0 ? " x" : "");
    if (powers.first > 1)
      stream << "^" << powers.first;
  }
  return text;
}

/// Why the argument of an erf or tanh is not that of a gelu: the nearest
/// polynomial, that of the right powers, where there is one.
std::string whyNotArgument(Operation *op, const Polynomial &expected) {
  for (Value x : valuesUnder(op->getOperand(0)))
    if (std::optional<Polynomial> p = expand(op->getOperand(0), x, Value());
        p && haveSamePowers(*p, expected) && x != op->getOperand(0))
      return "its argument is " + print(*p) + ", that of a gelu is " +
             print(expected);
  return "its argument is not that of a gelu" + whichNode(op->getOperand(0));
}

struct Match {
  Value input;
  Operation *root = nullptr;
};

LogicalResult match(Operation *op, Match &match, Reject reject) {
  Value t = op->getResult(0), argument = op->getOperand(0);
  const Polynomial &expected = isa<ErfOp>(op) ? kErfArgument : kTanhArgument;
  for (Value x : valuesUnder(argument)) {
    std::optional<Polynomial> p = expand(argument, x, Value());
    if (!p || !isPolynomial(*p, expected, elementTypeOf(x)))
      continue;
    match.input = x;
    // Upwards through the users: the first value that is a gelu is the root.
    SetVector<Operation *> above(op->user_begin(), op->user_end());
    for (size_t i = 0; i < above.size() && i < 24; ++i) {
      if (!isa<AddOp, SubOp, MulOp, DivOp>(above[i]))
        continue;
      std::optional<Polynomial> q = expand(above[i]->getResult(0), x, t);
      if (!q)
        continue;
      if (isPolynomial(*q, kGelu, elementTypeOf(x))) {
        match.root = above[i];
        if (match.root->getResult(0).getType() != x.getType())
          return reject("the result has another type than the input");
        return success();
      }
      above.insert(above[i]->user_begin(), above[i]->user_end());
    }
    std::string where = above.empty() ? "" : whichNode(above.back());
    return reject("what follows is not x/2 + x/2 times it" + where);
  }
  return reject(whyNotArgument(op, expected));
}

/// Terminates: each application leaves one root less.
template <typename OpTy>
struct RaiseGelu final : OpRewritePattern<OpTy> {
  using OpRewritePattern<OpTy>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    auto reject = [&](const Twine &reason) -> LogicalResult {
      return rewriter.notifyMatchFailure(op, reason);
    };
    Match found;
    if (LogicalResult matched = match(op, found, reject); failed(matched))
      return matched;
    Location loc = locOf(found.root, found.input);
    Approximate kind =
        std::is_same_v<OpTy, ErfOp> ? Approximate::None : Approximate::Tanh;
    rewriter.setInsertionPoint(found.root);
    auto gelu =
        GeluOp::create(rewriter, loc, found.input.getType(), found.input, kind);
    rewriter.replaceOp(found.root, gelu);
    reportPassed(loc, DEBUG_TYPE, "raised to ferrite.gelu");
    return success();
  }
};

/// A tanh on its own is an activation, and no candidate: one that 1 is added
/// to, or of x + x^3, is.
bool isCandidate(Operation *op) {
  if (!isa<TanhOp>(op))
    return isa<ErfOp>(op);
  bool isShifted = llvm::any_of(op->getUsers(), [](Operation *user) {
    return isa<AddOp>(user) && (isSplatNear(user->getOperand(0), 1.0) ||
                                isSplatNear(user->getOperand(1), 1.0));
  });
  Value argument = op->getOperand(0);
  return isShifted || llvm::any_of(valuesUnder(argument), [&](Value x) {
           std::optional<Polynomial> p = expand(argument, x, Value());
           return p && haveSamePowers(*p, kTanhArgument);
         });
}

struct FuseGeluPass final : ferrite::impl::FuseGeluBase<FuseGeluPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<RaiseGelu<ErfOp>, RaiseGelu<TanhOp>>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    getOperation().walk([&](Operation *op) {
      if (!isCandidate(op))
        return;
      Match unused;
      (void)match(op, unused, [&](const Twine &reason) -> LogicalResult {
        reportMissed(op, DEBUG_TYPE, reason);
        return failure();
      });
    });
  }
};
} // namespace
