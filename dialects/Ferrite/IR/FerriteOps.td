//===- FerriteOps.td - All families of the dialect ---------*- tablegen -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_OPS_TD
#define FERRITE_OPS_TD

include "dialects/Ferrite/IR/FerriteElementwiseOps.td"
include "dialects/Ferrite/IR/FerriteShapeOps.td"
include "dialects/Ferrite/IR/FerriteContractionOps.td"
include "dialects/Ferrite/IR/FerriteNormOps.td"
include "dialects/Ferrite/IR/FerriteFusedOps.td"

#endif // FERRITE_OPS_TD
