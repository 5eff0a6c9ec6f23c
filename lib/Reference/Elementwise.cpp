//===- Elementwise.cpp - One point in, one point out ----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Each op is a function of doubles or of 64-bit integers, chosen once.
//
//===----------------------------------------------------------------------===//
#include "lib/Reference/Frame.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace ferrite;
using namespace ferrite::reference;

using FloatUnary = double (*)(double);
using FloatBinary = double (*)(double, double);
using IntegerBinary = int64_t (*)(int64_t, int64_t);

static FloatUnary floatUnary(Operation *op) {
  return llvm::TypeSwitch<Operation *, FloatUnary>(op)
      .Case([](AbsOp) { return [](double x) { return std::abs(x); }; })
      .Case([](NegOp) { return [](double x) { return -x; }; })
      .Case([](SignOp) {
        return [](double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x; };
      })
      .Case([](FloorOp) { return [](double x) { return std::floor(x); }; })
      .Case([](CeilOp) { return [](double x) { return std::ceil(x); }; })
      .Case([](RoundOp) { return [](double x) { return std::nearbyint(x); }; })
      .Case([](SqrtOp) { return [](double x) { return std::sqrt(x); }; })
      .Case([](ReciprocalOp) { return [](double x) { return 1.0 / x; }; })
      .Case([](ExpOp) { return [](double x) { return std::exp(x); }; })
      .Case([](LogOp) { return [](double x) { return std::log(x); }; })
      .Case([](ErfOp) { return [](double x) { return std::erf(x); }; })
      .Case([](TanhOp) { return [](double x) { return std::tanh(x); }; })
      .Case([](SigmoidOp) {
        return [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
      })
      .Case([](ReluOp) { return [](double x) { return x < 0 ? 0.0 : x; }; })
      .Case([](SinOp) { return [](double x) { return std::sin(x); }; })
      .Case([](CosOp) { return [](double x) { return std::cos(x); }; })
      .Case([](GeluOp gelu) -> FloatUnary {
        if (gelu.getApproximate() == Approximate::Tanh)
          return [](double x) {
            double inner = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
            return 0.5 * x * (1 + std::tanh(inner));
          };
        return [](double x) { return 0.5 * x * (1 + std::erf(x * M_SQRT1_2)); };
      })
      .Default([](Operation *) { return FloatUnary(); });
}

static double nanOr(double x, double y, double result) {
  return std::isnan(x) ? x : std::isnan(y) ? y : result;
}

static FloatBinary floatBinary(Operation *op) {
  return llvm::TypeSwitch<Operation *, FloatBinary>(op)
      .Case([](AddOp) { return [](double x, double y) { return x + y; }; })
      .Case([](SubOp) { return [](double x, double y) { return x - y; }; })
      .Case([](MulOp) { return [](double x, double y) { return x * y; }; })
      .Case([](DivOp) { return [](double x, double y) { return x / y; }; })
      .Case([](PowOp) {
        return [](double x, double y) { return std::pow(x, y); };
      })
      .Case([](MaxOp) {
        return [](double x, double y) { return nanOr(x, y, std::max(x, y)); };
      })
      .Case([](MinOp) {
        return [](double x, double y) { return nanOr(x, y, std::min(x, y)); };
      })
      .Default([](Operation *) { return FloatBinary(); });
}

/// Overflow wraps, as in the types. Unary ops ignore `y`. What machines trap at
/// divides by 1, as kernels do.
static IntegerBinary integerFunction(Operation *op, bool u64) {
  using U = uint64_t;
  return llvm::TypeSwitch<Operation *, IntegerBinary>(op)
      .Case([](AbsOp) {
        return [](int64_t x, int64_t) {
          return static_cast<int64_t>(x < 0 ? 0 - U(x) : U(x));
        };
      })
      .Case([](NegOp) {
        return
            [](int64_t x, int64_t) { return static_cast<int64_t>(0 - U(x)); };
      })
      .Case([](SignOp) {
        return
            [](int64_t x, int64_t) { return int64_t(x > 0) - int64_t(x < 0); };
      })
      .Case([](ReluOp) {
        return [](int64_t x, int64_t) { return std::max<int64_t>(x, 0); };
      })
      .Case([](NotOp) {
        return [](int64_t x, int64_t) { return int64_t(x == 0); };
      })
      .Case([](AddOp) {
        return [](int64_t x, int64_t y) {
          return static_cast<int64_t>(U(x) + U(y));
        };
      })
      .Case([](SubOp) {
        return [](int64_t x, int64_t y) {
          return static_cast<int64_t>(U(x) - U(y));
        };
      })
      .Case([](MulOp) {
        return [](int64_t x, int64_t y) {
          return static_cast<int64_t>(U(x) * U(y));
        };
      })
      .Case([&](DivOp) -> IntegerBinary {
        if (u64)
          return [](int64_t x, int64_t y) {
            return static_cast<int64_t>(U(x) / (y == 0 ? 1 : U(y)));
          };
        return [](int64_t x, int64_t y) {
          return y == 0 || (y == -1 && x == INT64_MIN) ? x : x / y;
        };
      })
      .Case([&](MaxOp) -> IntegerBinary {
        if (u64)
          return [](int64_t x, int64_t y) {
            return static_cast<int64_t>(std::max(U(x), U(y)));
          };
        return [](int64_t x, int64_t y) { return std::max(x, y); };
      })
      .Case([&](MinOp) -> IntegerBinary {
        if (u64)
          return [](int64_t x, int64_t y) {
            return static_cast<int64_t>(std::min(U(x), U(y)));
          };
        return [](int64_t x, int64_t y) { return std::min(x, y); };
      })
      .Case([](AndOp) { return [](int64_t x, int64_t y) { return x & y; }; })
      .Case([](OrOp) { return [](int64_t x, int64_t y) { return x | y; }; })
      .Case([](XorOp) { return [](int64_t x, int64_t y) { return x ^ y; }; })
      .Default([](Operation *) { return IntegerBinary(); });
}

template <typename T>
static bool compares(Predicate predicate, T x, T y) {
  switch (predicate) {
  case Predicate::Eq:
    return x == y;
  case Predicate::Ne:
    return x != y;
  case Predicate::Lt:
    return x < y;
  case Predicate::Le:
    return x <= y;
  case Predicate::Gt:
    return x > y;
  case Predicate::Ge:
    return x >= y;
  }
  llvm_unreachable("every predicate compares");
}

static bool compareAt(Predicate predicate, const Tensor &x, int64_t i,
                      const Tensor &y, int64_t j) {
  if (isFloat(x.kind()))
    return compares(predicate, x.number(i), y.number(j));
  if (x.kind() == Kind::U64)
    return compares(predicate, static_cast<uint64_t>(x.integer(i)),
                    static_cast<uint64_t>(y.integer(j)));
  return compares(predicate, x.integer(i), y.integer(j));
}

/// Toward zero; what the type cannot hold becomes its end, a NaN 0.
static int64_t truncated(double value, Kind kind) {
  if (std::isnan(value))
    return 0;
  value = std::trunc(value);
  if (kind == Kind::U64)
    return value >= 0x1p64 ? -1
           : value <= 0    ? 0
                           : static_cast<int64_t>(uint64_t(value));
  bool isUnsigned = kind >= Kind::U8;
  int64_t bits = 8 * bytesOf(kind);
  double least = isUnsigned ? 0 : -std::ldexp(1.0, bits - 1);
  double most =
      std::ldexp(1.0, isUnsigned ? bits : bits - 1); // the first too large
  if (value >= most)
    return bits == 64 ? INT64_MAX : static_cast<int64_t>(most) - 1;
  return static_cast<int64_t>(std::max(value, least));
}

static void castAt(const Tensor &from, int64_t i, Tensor &to, int64_t at) {
  if (isFloat(to.kind()))
    return to.setNumber(at, from.asDouble(i));
  if (!isFloat(from.kind()))
    return to.setInteger(at,
                         from.integer(i)); // narrower types keep the low bits
  double value = from.number(i);
  to.setInteger(at, to.kind() == Kind::Bool ? value != 0
                                            : truncated(value, to.kind()));
}

LogicalResult ferrite::reference::evaluateElementwise(Operation *op,
                                                      Frame &frame,
                                                      Tensor &out) {
  SmallVector<const Tensor *> in;
  SmallVector<Sizes> strides;
  for (Value operand : op->getOperands()) {
    in.push_back(&frame[operand]);
    FailureOr<Sizes> stride = broadcastStrides(op, *in.back(), out.shape());
    if (failed(stride))
      return failure();
    strides.push_back(*stride);
  }
  auto each = [&](auto visit) {
    parallelRanges(out.count(), frame.threads, [&](int64_t begin, int64_t end) {
      walkStrided(out.shape(), strides, begin, end, visit);
    });
    return success();
  };
  if (isa<CastOp>(op))
    return each(
        [&](int64_t at, const Sizes &o) { castAt(*in[0], o[0], out, at); });
  if (isa<IsNaNOp>(op))
    return each([&](int64_t at, const Sizes &o) {
      out.setInteger(at, std::isnan(in[0]->number(o[0])));
    });
  if (auto compare = dyn_cast<CompareOp>(op))
    return each(
        [&, predicate = compare.getPredicate()](int64_t at, const Sizes &o) {
          out.setInteger(at, compareAt(predicate, *in[0], o[0], *in[1], o[1]));
        });
  if (isa<WhereOp>(op))
    return each([&](int64_t at, const Sizes &o) {
      size_t chosen = in[0]->integer(o[0]) ? 1 : 2;
      castAt(*in[chosen], o[chosen], out, at);
    });
  if (isFloat(out.kind()) && in.size() == 1)
    if (FloatUnary function = floatUnary(op))
      return each([&](int64_t at, const Sizes &o) {
        out.setNumber(at, function(in[0]->number(o[0])));
      });
  if (isFloat(out.kind()) && in.size() == 2)
    if (FloatBinary function = floatBinary(op))
      return each([&](int64_t at, const Sizes &o) {
        out.setNumber(at, function(in[0]->number(o[0]), in[1]->number(o[1])));
      });
  if (!isFloat(out.kind()))
    if (IntegerBinary function = integerFunction(op, out.kind() == Kind::U64))
      return each([&](int64_t at, const Sizes &o) {
        out.setInteger(at, function(in[0]->integer(o[0]),
                                    in.size() == 2 ? in[1]->integer(o[1]) : 0));
      });
  return op->emitError("the reference evaluator does not know ")
         << op->getName();
}
