//===- FerriteElementwiseOps.td - One point in, one point out -*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// NumPy broadcasting throughout. These ops exist to be matched and fused: what
// is left of them after fusion becomes `ferrite.fused`.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_ELEMENTWISE_OPS_TD
#define FERRITE_ELEMENTWISE_OPS_TD

include "mlir/Interfaces/InferTypeOpInterface.td"
include "dialects/Ferrite/IR/FerriteAttrs.td"

/// One shape rule for the family, NumPy's, written once.
class Ferrite_ElementwiseOp<string mnemonic, dag ins, list<Trait> traits = []>
    : Ferrite_Op<mnemonic, traits # [ResultsBroadcastableShape]> {
  let arguments = ins;
  let results = (outs Ferrite_Tensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let extraClassDefinition = [{
    ::llvm::LogicalResult $cppClass::inferDims(
        ::llvm::ArrayRef<::ferrite::Dims> operands,
        ::llvm::SmallVectorImpl<::ferrite::Dims> &results) {
      return ::ferrite::detail::inferBroadcast(*this, operands, results);
    }
  }];
}

class Ferrite_UnaryOp<string mnemonic, string formula, string origin,
                      Type type = Ferrite_Tensor>
    : Ferrite_ElementwiseOp<mnemonic, (ins type:$input),
                            [SameOperandsAndResultType]> {
  let summary = "elementwise " # formula;
  let description = "`result = " # formula # "`, in the element type. "
      "**From** ONNX `" # origin # "`. **To** a body of `ferrite.fused` or of an epilogue.";
}

class Ferrite_BinaryOp<string mnemonic, string formula, string origin,
                       list<Trait> traits = [], Type type = Ferrite_Tensor>
    : Ferrite_ElementwiseOp<mnemonic, (ins type:$lhs, type:$rhs),
                            traits # [SameOperandsAndResultElementType]> {
  let summary = "elementwise " # formula;
  let description = "`result = " # formula # "` with NumPy broadcasting, in the element type. "
      "**From** ONNX `" # origin # "`. **To** a body of `ferrite.fused` or of an epilogue.";
}

def Ferrite_AbsOp : Ferrite_UnaryOp<"abs", "|input|", "Abs">;
def Ferrite_NegOp : Ferrite_UnaryOp<"neg", "-input", "Neg">;
def Ferrite_SignOp : Ferrite_UnaryOp<"sign", "sign(input), 0 at 0", "Sign">;
def Ferrite_FloorOp : Ferrite_UnaryOp<"floor", "floor(input)", "Floor", Ferrite_FloatTensor>;
def Ferrite_CeilOp : Ferrite_UnaryOp<"ceil", "ceil(input)", "Ceil", Ferrite_FloatTensor>;
def Ferrite_RoundOp : Ferrite_UnaryOp<"round", "round(input), halves to even", "Round", Ferrite_FloatTensor>;
def Ferrite_SqrtOp : Ferrite_UnaryOp<"sqrt", "sqrt(input)", "Sqrt", Ferrite_FloatTensor>;
def Ferrite_ReciprocalOp : Ferrite_UnaryOp<"reciprocal", "1 / input", "Reciprocal", Ferrite_FloatTensor>;
def Ferrite_ExpOp : Ferrite_UnaryOp<"exp", "exp(input)", "Exp", Ferrite_FloatTensor>;
def Ferrite_LogOp : Ferrite_UnaryOp<"log", "log(input)", "Log", Ferrite_FloatTensor>;
def Ferrite_ErfOp : Ferrite_UnaryOp<"erf", "erf(input)", "Erf", Ferrite_FloatTensor>;
def Ferrite_TanhOp : Ferrite_UnaryOp<"tanh", "tanh(input)", "Tanh", Ferrite_FloatTensor>;
def Ferrite_SigmoidOp : Ferrite_UnaryOp<"sigmoid", "1 / (1 + exp(-input))", "Sigmoid", Ferrite_FloatTensor>;
def Ferrite_ReluOp : Ferrite_UnaryOp<"relu", "max(input, 0), NaN stays", "Relu">;
def Ferrite_SinOp : Ferrite_UnaryOp<"sin", "sin(input)", "Sin", Ferrite_FloatTensor>;
def Ferrite_CosOp : Ferrite_UnaryOp<"cos", "cos(input)", "Cos", Ferrite_FloatTensor>;
def Ferrite_TanOp : Ferrite_UnaryOp<"tan", "tan(input)", "Tan", Ferrite_FloatTensor>;
def Ferrite_AsinOp : Ferrite_UnaryOp<"asin", "asin(input)", "Asin", Ferrite_FloatTensor>;
def Ferrite_AcosOp : Ferrite_UnaryOp<"acos", "acos(input)", "Acos", Ferrite_FloatTensor>;
def Ferrite_AtanOp : Ferrite_UnaryOp<"atan", "atan(input)", "Atan", Ferrite_FloatTensor>;
def Ferrite_SinhOp : Ferrite_UnaryOp<"sinh", "sinh(input)", "Sinh", Ferrite_FloatTensor>;
def Ferrite_CoshOp : Ferrite_UnaryOp<"cosh", "cosh(input)", "Cosh", Ferrite_FloatTensor>;
def Ferrite_AsinhOp : Ferrite_UnaryOp<"asinh", "asinh(input)", "Asinh", Ferrite_FloatTensor>;
def Ferrite_AcoshOp : Ferrite_UnaryOp<"acosh", "acosh(input)", "Acosh", Ferrite_FloatTensor>;
def Ferrite_AtanhOp : Ferrite_UnaryOp<"atanh", "atanh(input)", "Atanh", Ferrite_FloatTensor>;
def Ferrite_Log1pOp : Ferrite_UnaryOp<"log1p", "log(1 + input)", "Softplus, Mish", Ferrite_FloatTensor>;
def Ferrite_Expm1Op : Ferrite_UnaryOp<"expm1", "exp(input) - 1", "Elu, Celu, Selu", Ferrite_FloatTensor>;
def Ferrite_NotOp : Ferrite_UnaryOp<"not", "not input, bit by bit", "Not, BitwiseNot", Ferrite_BitsTensor>;

def Ferrite_GeluOp : Ferrite_ElementwiseOp<"gelu",
    (ins Ferrite_FloatTensor:$input, EnumProp<Ferrite_Approximate>:$approximate),
    [SameOperandsAndResultType]> {
  let summary = "Gaussian error linear unit";
  let description = [{
    ```
    none: result = 0.5 * input * (1 + erf(input / sqrt(2)))
    tanh: result = 0.5 * input * (1 + tanh(sqrt(2/pi) * (input + 0.044715 * input^3)))
    ```

    **Numerics.** In f32 whatever the element type, rounded once (Hendrycks and
    Gimpel, arXiv 1606.08415; ONNX Gelu-20).
    **Properties.** `approximate` (no default): `none` or `tanh`.
    **From** ONNX `Gelu` and `--ferrite-fuse-gelu`. **To** the epilogue of a `linear`.

    ```mlir
    %y = ferrite.gelu none %x : tensor<?x64xf32>
    ```
  }];
  let assemblyFormat = "$approximate $input attr-dict `:` type($input)";
}

def Ferrite_CastOp : Ferrite_ElementwiseOp<"cast", (ins Ferrite_Tensor:$input,
    UnitProp:$overflows, DefaultValuedProp<EnumProp<Ferrite_Rounding>, "::ferrite::Rounding::Up">:$rounding)> {
  let summary = "conversion to the element type of the result";
  let description = [{
    Float to narrower float rounds to nearest even, f64 to 8 bits and less by way
    of f32; an integer keeps the low bits that fit; float to integer truncates
    toward zero and takes the type's nearest end where it does not fit (a NaN is
    0), but to fewer than 8 bits keeps the low bits of that in i32; to `i1` it is
    `input != 0`; from `i1` it is 0 or 1.

    What does not fit a float of 8 bits (infinities too) becomes its largest
    value, or with `overflows` its infinity, or its NaN where it has none; f4E2M1FN
    always saturates, and a NaN is its -0. f8E8M0FNU has powers of two alone:
    `rounding` chooses one, for the magnitude of the input (ONNX Cast-24).
    **Properties.** `overflows` (default absent), `rounding` (default up; without
    meaning but to f8E8M0FNU).
    **From** ONNX `Cast`, `CastLike`. **To** a body of `ferrite.fused`.

    ```mlir
    %y = ferrite.cast %x : (tensor<?xf32>) -> tensor<?xf8E4M3FN>
    ```
  }];
  let assemblyFormat = [{
    operands (`overflows` $overflows^)? (`rounding` $rounding^)? attr-dict
    `:` functional-type(operands, results)
  }];
  let hasFolder = 1;
}

def Ferrite_BitcastOp : Ferrite_ElementwiseOp<"bitcast", (ins Ferrite_Tensor:$input)> {
  let summary = "the same bits as another element type";
  let description = [{
    **Constraints.** C1: both element types have as many bits.
    **From** ONNX `BitCast`. **To** a body of `ferrite.fused`.

    ```mlir
    %y = ferrite.bitcast %x : (tensor<?xf32>) -> tensor<?xi32>
    ```
  }];
  let hasVerifier = 1;
}

def Ferrite_IsNaNOp : Ferrite_ElementwiseOp<"isnan", (ins Ferrite_FloatTensor:$input)> {
  let summary = "whether each element is a NaN";
  let description = "**From** ONNX `IsNaN`; around a softmax it is the guard of a fully "
      "masked row, which `attention` takes over. The result is of `i1`.";
}

def Ferrite_AddOp : Ferrite_BinaryOp<"add", "lhs + rhs", "Add", [Commutative]>;
def Ferrite_SubOp : Ferrite_BinaryOp<"sub", "lhs - rhs", "Sub">;
def Ferrite_MulOp : Ferrite_BinaryOp<"mul", "lhs * rhs", "Mul", [Commutative]>;
def Ferrite_DivOp : Ferrite_BinaryOp<"div", "lhs / rhs, integers toward zero", "Div">;
def Ferrite_PowOp : Ferrite_BinaryOp<"pow", "lhs ^ rhs; of integers wrapped, and 0 for negative rhs but of 1 and -1", "Pow", [], Ferrite_NumberTensor>;
def Ferrite_ModOp : Ferrite_BinaryOp<"mod", "lhs - floor(lhs / rhs) * rhs, exactly; integers over 0 are 0", "Mod", [], Ferrite_NumberTensor>;
def Ferrite_RemOp : Ferrite_BinaryOp<"rem", "lhs - trunc(lhs / rhs) * rhs, exactly; integers over 0 are 0", "Mod (fmod = 1)", [], Ferrite_NumberTensor>;
def Ferrite_ShiftLeftOp : Ferrite_BinaryOp<"shift_left", "lhs << rhs, 0 from the width on", "BitShift", [], Ferrite_IntegerTensor>;
def Ferrite_ShiftRightOp : Ferrite_BinaryOp<"shift_right", "lhs >> rhs, with the sign of signed types; no bits from the width on", "BitShift", [], Ferrite_IntegerTensor>;
def Ferrite_MaxOp : Ferrite_BinaryOp<"max", "max(lhs, rhs), NaN wins", "Max, Clip", [Commutative]>;
def Ferrite_MinOp : Ferrite_BinaryOp<"min", "min(lhs, rhs), NaN wins", "Min, Clip", [Commutative]>;
def Ferrite_AndOp : Ferrite_BinaryOp<"and", "lhs and rhs, bit by bit", "And, BitwiseAnd", [Commutative], Ferrite_BitsTensor>;
def Ferrite_OrOp : Ferrite_BinaryOp<"or", "lhs or rhs, bit by bit", "Or, BitwiseOr", [Commutative], Ferrite_BitsTensor>;
def Ferrite_XorOp : Ferrite_BinaryOp<"xor", "lhs xor rhs, bit by bit", "Xor, BitwiseXor", [Commutative], Ferrite_BitsTensor>;

def Ferrite_CompareOp : Ferrite_ElementwiseOp<"compare",
    (ins Ferrite_Tensor:$lhs, Ferrite_Tensor:$rhs, EnumProp<Ferrite_Predicate>:$predicate),
    [SameTypeOperandElements]> {
  let summary = "elementwise comparison";
  let description = [{
    `result = lhs <predicate> rhs`, an `i1`. A NaN compares unequal to all.
    **Properties.** `predicate` (no default): eq, ne, lt, le, gt, ge.
    **From** ONNX `Equal`, `Less`, `LessOrEqual`, `Greater`, `GreaterOrEqual`.

    ```mlir
    %c = ferrite.compare lt %a, %b : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi1>
    ```
  }];
  let assemblyFormat = "$predicate $lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
}

def Ferrite_WhereOp : Ferrite_ElementwiseOp<"where",
    (ins Ferrite_BoolTensor:$condition, Ferrite_Tensor:$lhs, Ferrite_Tensor:$rhs)> {
  let summary = "elementwise choice";
  let description = "`result = condition ? lhs : rhs` with NumPy broadcasting of all three. "
      "**From** ONNX `Where`.";
}

#endif // FERRITE_ELEMENTWISE_OPS_TD
