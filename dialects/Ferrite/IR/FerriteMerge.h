//===- FerriteMerge.h - Ops that make tokens one ----------------*- C++ -*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Apart from Ferrite.h: few need them.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_DIALECTS_FERRITE_IR_FERRITEMERGE_H
#define FERRITE_DIALECTS_FERRITE_IR_FERRITEMERGE_H

#include "dialects/Ferrite/IR/Ferrite.h"

#define GET_OP_CLASSES
#include "dialects/Ferrite/IR/FerriteMergeOps.h.inc"

#endif // FERRITE_DIALECTS_FERRITE_IR_FERRITEMERGE_H
