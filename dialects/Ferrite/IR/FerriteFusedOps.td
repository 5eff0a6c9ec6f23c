//===- FerriteFusedOps.td - Leftover elementwise work ------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_FUSED_OPS_TD
#define FERRITE_FUSED_OPS_TD

include "dialects/Ferrite/IR/FerriteAttrs.td"

def Ferrite_FusedOp : Ferrite_Op<"fused", [IsolatedFromAbove]> {
  let summary = "scalar code at every point of a domain, reduced or not";
  let description = [{
    ```
    point(d..)   = body(inputs[0] at maps[0](d..), ..)
    result(p..)  = finish(combine over the other loops of point(d..))
    ```

    Like `linalg.generic` with one result: `domain` gives the loop sizes, `maps`
    has a map per input and one for the result. A map's results are loops, or
    the constant 0 for a dim of size 1. Loops that the result's map does not name
    are reduced by `combine`, in order of position.

    **Numerics.** As written: the body's types are the operands' element types and
    what its casts make of them.
    **Constraints.** C1: `domain` parses; there is a map per input and one for the
    result, over as many dims as `domain`, of loops and zeros. C2: sizes agree with
    the domain. C3: the body takes a scalar per input and yields one; `finish` takes
    that and yields the result's element type. C4: `combine` is none exactly when
    the result's map names every loop of a size other than 1.
    **Properties.** `combine` (no default).
    **From** `--ferrite-fuse-elementwise`. **To** kernels `fused`.

    ```mlir
    %y = ferrite.fused (%x, %b : tensor<?x64xf32>, tensor<64xf32>) domain = ["batch", "64"] maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d1)>, affine_map<(d0, d1) -> (d0, d1)>] combine none -> tensor<?x64xf32> {
    ^bb0(%a: f32, %c: f32):
      %s = arith.addf %a, %c : f32
      ferrite.yield %s : f32
    } finish {
    ^bb0(%a: f32):
      ferrite.yield %a : f32
    }
    ```
  }];
  let arguments = (ins Variadic<Ferrite_Tensor>:$inputs, Ferrite_DimsAttr:$domain,
                       AffineMapArrayAttr:$maps, EnumProp<Ferrite_CombineKind>:$combine);
  let results = (outs Ferrite_Tensor:$result);
  let regions = (region SizedRegion<1>:$body, SizedRegion<1>:$finish);
  let assemblyFormat = [{
    (`(` $inputs^ `:` type($inputs) `)`)? `domain` `=` $domain `maps` `=` $maps
    `combine` $combine attr-dict `->` type($result) $body `finish` $finish
  }];
  let hasVerifier = 1;
}

def Ferrite_LoopIndexOp : Op<Ferrite_Dialect, "loop_index", [Pure]> {
  let summary = "the position of the point in a loop of the domain";
  let description = [{
    Inside the body of a `fused` alone. **Properties.** `dim` (no default).

    ```mlir
    %i = ferrite.loop_index 1
    ```
  }];
  let arguments = (ins I64Prop:$dim);
  let results = (outs I64:$result);
  let assemblyFormat = "$dim attr-dict";
}

#endif // FERRITE_FUSED_OPS_TD
