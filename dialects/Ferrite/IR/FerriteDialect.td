//===- FerriteDialect.td - What a model computes -----------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The dialect, the types its ops take, and the base class of its ops.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECT_TD
#define FERRITE_DIALECT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/Properties.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/Ferrite/IR/FerriteInterfaces.td"

def Ferrite_Dialect : Dialect {
  let name = "ferrite";
  let cppNamespace = "::ferrite";
  let summary = "what a transformer computes, on ranked tensors with symbolic dims";
  let description = [{
    Value-semantic ops on ranked tensors. A dynamic dimension is always an
    expression of the entry's symbols (`DimExpr`): entry arguments name theirs
    in `ferrite.dims`, and every op says how its result's follow from its
    operands' (`SymbolicShapeOpInterface`).

    Discardable attributes of an entry function: `ferrite.symbols` (an array of
    `#ferrite.symbol`), and on arguments `ferrite.name` and `ferrite.dims`, on
    results `ferrite.name`. A step has `ferrite.step`, and those of its arguments
    that live between calls a `ferrite.state` (`#ferrite.state`).
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def Ferrite_Float : AnyTypeOf<[F16, BF16, F32, F64]>;
/// Storage types: they are converted, moved and quantized, and computed in none.
def Ferrite_TinyFloat : AnyTypeOf<[F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ,
                                   F8E8M0FNU, F4E2M1FN]>;
def Ferrite_TinyInteger : AnyTypeOf<[I<2>, I<4>, UI<2>, UI<4>]>;
/// Signed integers are signless, unsigned ones say so.
def Ferrite_Integer : AnyTypeOf<[I8, I16, I32, I64, UI8, UI16, UI32, UI64]>;
def Ferrite_Element : AnyTypeOf<[Ferrite_Float, I1, Ferrite_Integer,
                                 Ferrite_TinyFloat, Ferrite_TinyInteger]>;
def Ferrite_FloatTensor : RankedTensorOf<[Ferrite_Float]>;
def Ferrite_IndexTensor : RankedTensorOf<[I32, I64]>;
def Ferrite_BoolTensor : RankedTensorOf<[I1]>;
def Ferrite_NumberTensor : RankedTensorOf<[Ferrite_Float, Ferrite_Integer]>;
def Ferrite_IntegerTensor : RankedTensorOf<[Ferrite_Integer]>;
def Ferrite_BitsTensor : RankedTensorOf<[I1, Ferrite_Integer]>;
def Ferrite_Tensor : RankedTensorOf<[Ferrite_Element]>;

/// What every op of the dialect owes: values in, values out, no effect, and its
/// result dims in terms of its operands'.
class Ferrite_Op<string mnemonic, list<Trait> traits = []>
    : Op<Ferrite_Dialect, mnemonic,
         traits # [Pure, DeclareOpInterfaceMethods<SymbolicShapeOpInterface>]>;

#endif // FERRITE_DIALECT_TD
