//===- PagedParts.h - Summaries and weights of pages, selections -*- C++
//-*-===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#ifndef FERRITE_LIB_REFERENCE_PAGEDPARTS_H
#define FERRITE_LIB_REFERENCE_PAGEDPARTS_H

#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "lib/Reference/Frame.h"

namespace ferrite::reference {

llvm::LogicalResult evaluateSummarizePages(SummarizePagesOp op, Frame &frame,
                                           Tensor &out);
llvm::LogicalResult evaluateSelectPages(SelectPagesOp op, Frame &frame,
                                        Tensor &out);
llvm::LogicalResult evaluateWeighPages(WeighPagesOp op, Frame &frame,
                                       Tensor &out);

} // namespace ferrite::reference
#endif // FERRITE_LIB_REFERENCE_PAGEDPARTS_H
