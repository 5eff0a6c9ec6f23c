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
include "dialects/Ferrite/IR/FerriteAttentionOps.td"
include "dialects/Ferrite/IR/FerriteNormOps.td"
include "dialects/Ferrite/IR/FerriteRopeOps.td"
include "dialects/Ferrite/IR/FerriteConvOps.td"
include "dialects/Ferrite/IR/FerriteFusedOps.td"
include "dialects/Ferrite/IR/FerriteIndexOps.td"
include "dialects/Ferrite/IR/FerriteMoEOps.td"
include "dialects/Ferrite/IR/FerriteQuantOps.td"
include "dialects/Ferrite/IR/FerriteRecurrentOps.td"
include "dialects/Ferrite/IR/FerriteStateOps.td"
include "dialects/Ferrite/IR/FerritePageOps.td"

#endif // FERRITE_OPS_TD
