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
def Ferrite_NotOp : Ferrite_UnaryOp<"not", "not input", "Not", Ferrite_BoolTensor>;

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

def Ferrite_CastOp : Ferrite_ElementwiseOp<"cast", (ins Ferrite_Tensor:$input)> {
  let summary = "conversion to the element type of the result";
  let description = [{
    Float to narrower float rounds to nearest even; float to integer truncates
    toward zero; to `i1` it is `input != 0`; from `i1` it is 0 or 1 (ONNX Cast-13).
    **From** ONNX `Cast`, `CastLike`. **To** a body of `ferrite.fused`.
  }];
  let hasFolder = 1;
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
def Ferrite_PowOp : Ferrite_BinaryOp<"pow", "lhs ^ rhs", "Pow", [], Ferrite_FloatTensor>;
def Ferrite_MaxOp : Ferrite_BinaryOp<"max", "max(lhs, rhs), NaN wins", "Max, Clip", [Commutative]>;
def Ferrite_MinOp : Ferrite_BinaryOp<"min", "min(lhs, rhs), NaN wins", "Min, Clip", [Commutative]>;
def Ferrite_AndOp : Ferrite_BinaryOp<"and", "lhs and rhs", "And", [Commutative], Ferrite_BoolTensor>;
def Ferrite_OrOp : Ferrite_BinaryOp<"or", "lhs or rhs", "Or", [Commutative], Ferrite_BoolTensor>;
def Ferrite_XorOp : Ferrite_BinaryOp<"xor", "lhs xor rhs", "Xor", [Commutative], Ferrite_BoolTensor>;

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
