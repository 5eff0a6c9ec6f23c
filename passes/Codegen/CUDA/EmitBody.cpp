//===- EmitBody.cpp - A scalar body as C++ --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/CUDA/EmitBody.h"

#include "passes/Codegen/CUDA/BodyNames.h"

#include "passes/Codegen/CPU/BodyEvaluator.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cuda;

static bool isShortFloat(Type type) { return type.isF16() || type.isBF16(); }

std::string cuda::convertFloat(const std::string &value, Type from, Type to) {
  if (from == to)
    return value;
  if (to.isF16())
    return "ferrite::roundF16((float)" + value + ")";
  if (to.isBF16())
    return "ferrite::roundBF16((float)" + value + ")";
  return "(" + valueName(to) + ")" + value;
}

static std::string unsignedLiteral(Attribute attr);

/// A literal that is exactly the value.
static std::string literal(Attribute attr) {
  std::string text = unsignedLiteral(attr);
  return text[0] == '-' ? "(" + text + ")" : text;
}

static std::string unsignedLiteral(Attribute attr) {
  if (auto integer = dyn_cast<IntegerAttr>(attr)) {
    if (integer.getType().isInteger(1))
      return integer.getValue().isZero() ? "false" : "true";
    int64_t value = integer.getValue().getSExtValue();
    if (value == INT64_MIN)
      return "(-9223372036854775807ll - 1)";
    if (value == INT32_MIN)
      return "(-2147483647 - 1)";
    std::string text = std::to_string(value);
    bool wide = integer.getType().isIndex() || integer.getType().isInteger(64);
    return wide ? text + "ll" : text;
  }
  auto number = cast<FloatAttr>(attr);
  llvm::APFloat value = number.getValue();
  bool isDouble = number.getType().isF64();
  if (value.isNaN())
    return isDouble ? "(double)FERRITE_NAN" : "FERRITE_NAN";
  if (value.isInfinity())
    return std::string(value.isNegative() ? "-" : "") +
           (isDouble ? "(double)" : "") + "FERRITE_INFINITY";
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << llvm::format(isDouble ? "%.17g" : "%.9g",
                         isDouble ? value.convertToDouble()
                                  : number.getValueAsDouble());
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return isDouble ? text : text + "f";
}

namespace {
class BodyText {
public:
  BodyText(StringRef prefix, function_ref<std::string(int64_t)> loopIndex)
      : prefix(prefix), loopIndex(loopIndex) {}

  void set(Value value, const std::string &text) { names[value] = text; }
  std::string get(Value value) {
    if (auto found = names.find(value); found != names.end())
      return found->second;
    // verifyBody() lets nothing else in from outside.
    return literal(value.getDefiningOp<arith::ConstantOp>().getValue());
  }
  LogicalResult add(Operation &op);

  std::string text;

private:
  std::string arg(Operation &op, unsigned i) { return get(op.getOperand(i)); }
  std::string unsignedArg(Operation &op, unsigned i) {
    return "ferrite::unsignedOf(" + arg(op, i) + ")";
  }
  std::string expression(Operation &op);
  std::string comparison(arith::CmpFOp op);
  std::string comparison(arith::CmpIOp op);
  std::string power(Operation &op);

  std::string prefix;
  function_ref<std::string(int64_t)> loopIndex;
  llvm::DenseMap<Value, std::string> names;
  unsigned count = 0;
};
} // namespace

std::string BodyText::comparison(arith::CmpFOp op) {
  using P = arith::CmpFPredicate;
  std::string a = get(op.getLhs()), b = get(op.getRhs());
  auto is = [&](const char *sign) { return a + " " + sign + " " + b; };
  switch (op.getPredicate()) {
  case P::AlwaysFalse:
    return "false";
  case P::AlwaysTrue:
    return "true";
  case P::OEQ:
    return is("==");
  case P::OGT:
    return is(">");
  case P::OGE:
    return is(">=");
  case P::OLT:
    return is("<");
  case P::OLE:
    return is("<=");
  case P::ONE:
    return "(" + is("<") + ") || (" + is(">") + ")";
  case P::ORD:
    return "!(ferrite::isNaN(" + a + ") || ferrite::isNaN(" + b + "))";
  case P::UEQ:
    return "!((" + is("<") + ") || (" + is(">") + "))";
  case P::UGT:
    return "!(" + is("<=") + ")";
  case P::UGE:
    return "!(" + is("<") + ")";
  case P::ULT:
    return "!(" + is(">=") + ")";
  case P::ULE:
    return "!(" + is(">") + ")";
  case P::UNE:
    return is("!=");
  case P::UNO:
    return "ferrite::isNaN(" + a + ") || ferrite::isNaN(" + b + ")";
  }
  llvm_unreachable("all predicates are covered");
}

std::string BodyText::comparison(arith::CmpIOp op) {
  using P = arith::CmpIPredicate;
  std::string a = get(op.getLhs()), b = get(op.getRhs());
  auto is = [&](const char *sign, bool isUnsigned) {
    if (!isUnsigned)
      return a + " " + sign + " " + b;
    return "ferrite::unsignedOf(" + a + ") " + sign + " ferrite::unsignedOf(" +
           b + ")";
  };
  switch (op.getPredicate()) {
  case P::eq:
    return is("==", false);
  case P::ne:
    return is("!=", false);
  case P::slt:
    return is("<", false);
  case P::sle:
    return is("<=", false);
  case P::sgt:
    return is(">", false);
  case P::sge:
    return is(">=", false);
  case P::ult:
    return is("<", true);
  case P::ule:
    return is("<=", true);
  case P::ugt:
    return is(">", true);
  case P::uge:
    return is(">=", true);
  }
  llvm_unreachable("all predicates are covered");
}

/// As the CPU's: models write squares, cubes and roots as powers, and those
/// are exact.
std::string BodyText::power(Operation &op) {
  std::string a = arg(op, 0), b = arg(op, 1);
  llvm::APFloat constant(0.0f);
  if (matchPattern(op.getOperand(1), m_ConstantFloat(&constant))) {
    double e = constant.convertToDouble();
    if (e == 1)
      return a;
    if (e == 2)
      return a + " * " + a;
    if (e == 3)
      return a + " * " + a + " * " + a;
    if (e == 0.5)
      return "ferrite::sqrt(" + a + ")";
    if (e == -1)
      return "1 / " + a;
    if (e == -0.5)
      return "1 / ferrite::sqrt(" + a + ")";
  }
  return "ferrite::pow(" + a + ", " + b + ")";
}

std::string BodyText::expression(Operation &op) {
  Type type = op.getResult(0).getType();
  std::string value = valueName(type);
  if (const char *name = functionName(&op))
    return "ferrite::" + std::string(name) + "(" + arg(op, 0) + ")";
  if (const char *name = pairFunctionName(&op))
    return "ferrite::" + std::string(name) + "(" + arg(op, 0) + ", " +
           arg(op, 1) + ")";
  if (const char *name = unsignedFunctionName(&op))
    return "(" + value + ")ferrite::" + std::string(name) + "(" +
           unsignedArg(op, 0) + ", " + unsignedArg(op, 1) + ")";
  if (const char *sign = signOf(&op)) {
    std::string text = arg(op, 0) + " " + sign + " " + arg(op, 1);
    return type.isIntOrFloat() && type.isSignlessInteger()
               ? "(" + value + ")(" + text + ")"
               : text;
  }
  if (const char *sign = wrappingSign(&op))
    return "(" + value + ")(" + unsignedArg(op, 0) + " " + sign + " " +
           unsignedArg(op, 1) + ")";
  return llvm::TypeSwitch<Operation *, std::string>(&op)
      .Case([&](arith::NegFOp) { return "-" + arg(op, 0); })
      .Case([&](arith::CmpFOp compare) { return comparison(compare); })
      .Case([&](arith::CmpIOp compare) { return comparison(compare); })
      .Case([&](arith::SelectOp) {
        return arg(op, 0) + " ? " + arg(op, 1) + " : " + arg(op, 2);
      })
      .Case([&](arith::ShRSIOp) {
        return "(" + value + ")(" + arg(op, 0) + " >> " + arg(op, 1) + ")";
      })
      .Case([&](arith::ExtSIOp) {
        // The one bit of a bool is its sign.
        std::string text = "(" + value + ")" + arg(op, 0);
        return op.getOperand(0).getType().isInteger(1)
                   ? "(" + value + ")-" + text
                   : text;
      })
      .Case<arith::ExtUIOp, arith::UIToFPOp>(
          [&](auto) { return "(" + value + ")" + unsignedArg(op, 0); })
      .Case([&](arith::TruncIOp) {
        return type.isInteger(1) ? "(" + arg(op, 0) + " & 1) != 0"
                                 : "(" + value + ")" + arg(op, 0);
      })
      .Case([&](arith::SIToFPOp) {
        std::string text = "(" + value + ")" + arg(op, 0);
        return op.getOperand(0).getType().isInteger(1) ? "-" + text : text;
      })
      .Case([&](arith::FPToSIOp) {
        return "ferrite::toInteger<" + value + ">(" + arg(op, 0) + ")";
      })
      .Case([&](arith::FPToUIOp) {
        return "(" + value + ")ferrite::toInteger<decltype(" +
               "ferrite::unsignedOf((" + value + ")0))>(" + arg(op, 0) + ")";
      })
      .Case<arith::ExtFOp, arith::TruncFOp>([&](auto) {
        return convertFloat(arg(op, 0), op.getOperand(0).getType(), type);
      })
      .Case([&](arith::BitcastOp) {
        Type from = op.getOperand(0).getType();
        std::string text = arg(op, 0);
        if (isShortFloat(from))
          text = "ferrite::" + std::string(from.isF16() ? "f16" : "bf16") +
                 "(" + text + ").bits";
        if (isShortFloat(type))
          return "(float)ferrite::" +
                 std::string(type.isF16() ? "f16" : "bf16") +
                 "::ofBits((ferrite::u16)" + text + ")";
        return "ferrite::bitsAs<" + value + ">(" +
               (isShortFloat(from) ? "(ferrite::i16)" + text : text) + ")";
      })
      .Case([&](math::PowFOp) { return power(op); })
      .Case([&](math::FmaOp) {
        return "ferrite::fma(" + arg(op, 0) + ", " + arg(op, 1) + ", " +
               arg(op, 2) + ")";
      })
      .Default([](Operation *) { return std::string(); });
}

/// The loop that a ferrite.loop_index names; none for other ops.
static std::optional<int64_t> loopOf(Operation &op) {
  if (op.getName().getStringRef() != cpu::kLoopIndexOp)
    return std::nullopt;
  auto properties =
      dyn_cast_or_null<DictionaryAttr>(op.getPropertiesAsAttribute());
  auto dim = properties ? properties.getAs<IntegerAttr>("dim") : IntegerAttr();
  return dim ? std::optional<int64_t>(dim.getInt()) : std::nullopt;
}

LogicalResult BodyText::add(Operation &op) {
  if (isa<arith::ConstantOp>(op)) {
    set(op.getResult(0), literal(cast<arith::ConstantOp>(op).getValue()));
    return success();
  }
  if (std::optional<int64_t> loop = loopOf(op); loop && loopIndex) {
    set(op.getResult(0), loopIndex(*loop));
    return success();
  }
  for (Type type :
       llvm::concat<const Type>(op.getOperandTypes(), op.getResultTypes()))
    if (valueName(type).empty())
      return op.emitError("a CUDA kernel has no values of type ") << type;
  std::string value = expression(op);
  if (value.empty())
    return op.emitError("a CUDA kernel cannot hold the op '")
           << op.getName() << "'";
  Type type = op.getResult(0).getType();
  bool movesBits =
      isa<arith::SelectOp, arith::BitcastOp, arith::ExtFOp, arith::TruncFOp>(
          op);
  if (isShortFloat(type) && !movesBits)
    value = convertFloat("(" + value + ")", Float32Type::get(op.getContext()),
                         type);
  std::string name = prefix + std::to_string(count++);
  text += "const " + valueName(type) + " " + name + " = " + value + ";\n";
  set(op.getResult(0), name);
  return success();
}

FailureOr<std::string>
cuda::emitBody(Block &body, ArrayRef<std::string> args,
               SmallVectorImpl<std::string> &results, StringRef prefix,
               function_ref<std::string(int64_t)> loopIndex) {
  if (failed(cpu::verifyBody(body)))
    return failure();
  BodyText made(prefix, loopIndex);
  for (auto [argument, text] : llvm::zip(body.getArguments(), args))
    made.set(argument, text);
  for (Operation &op : llvm::make_range(body.begin(), std::prev(body.end())))
    if (failed(made.add(op)))
      return failure();
  for (Value value : body.back().getOperands())
    results.push_back(made.get(value));
  return made.text;
}

FailureOr<std::string> cuda::emitBodyLambda(Block &body, StringRef name) {
  SmallVector<std::string> args, results;
  std::string parameters;
  for (BlockArgument argument : body.getArguments()) {
    args.push_back("in" + std::to_string(argument.getArgNumber()));
    if (valueName(argument.getType()).empty())
      return emitError(body.getParentOp()->getLoc(),
                       "a CUDA kernel has no values of type ")
             << argument.getType();
    parameters += (parameters.empty() ? "" : ", ") + std::string("const ") +
                  valueName(argument.getType()) + " " + args.back();
  }
  FailureOr<std::string> text = emitBody(body, args, results, "v");
  if (failed(text))
    return failure();
  return "const auto " + name.str() + " = [](" + parameters + ") -> " +
         valueName(body.back().getOperand(0).getType()) + " {\n" +
         indent(*text + "return " + results[0] + ";\n") + "};\n";
}
