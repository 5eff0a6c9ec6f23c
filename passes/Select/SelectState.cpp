//===- SelectState.cpp - How caches and their attention are launched ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A pool is memory of the caller: an append writes into it, and its result is
// the same memory. No kernel asks how many pages there are; the runtime has
// checked every page that a call names.
//
//===----------------------------------------------------------------------===//
#include "passes/Select/Selector.h"

using namespace mlir;
using namespace ferrite;

/// A pool as kernels see it: its pages are not counted.
static KernelOperand poolOperand(const StridedView &pool, Type type) {
  KernelOperand operand(pool, cast<RankedTensorType>(type));
  operand.sized = {false, true, true, true};
  return operand;
}

void Selector::selectKvAppend(KvAppendOp op) {
  Location loc = op.getLoc();
  StridedView rows = unitInner(get(op.getRows()), loc);
  StridedView pool = get(op.getPool());
  std::vector<KernelOperand> operands = {rows, contiguous(op.getSlots(), loc)};
  operands.push_back(poolOperand(pool, op.getPool().getType()));
  operands.back().alias = true;
  KernelOperand result = operands.back();
  views[op] = pool;
  std::string name = (op.getKeys() ? "append_keys_" : "append_values_") +
                     rows.dims[2].str() + "x" + rows.dims[3].str();
  plan.launch(loc, name, operands, result, /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return KvAppendOp::create(b, loc, op.getPool().getType(),
                                          args[0], args[1], args[2],
                                          op.getKeys());
              });
}

void Selector::selectPagedAttention(PagedAttentionOp op) {
  Location loc = op.getLoc();
  StridedView query = unitInner(get(op.getQuery()), loc);
  std::vector<KernelOperand> operands = {query};
  for (Value pool : {op.getKeys(), op.getValues()})
    operands.push_back(poolOperand(get(pool), pool.getType()));
  for (Value value : {op.getRunBegins(), op.getContexts(), op.getVisible(),
                      op.getPageTables()})
    operands.push_back(contiguous(value, loc));
  for (Value value : {op.getSinks(), op.getSlopes(), op.getBias()})
    if (value)
      operands.push_back(contiguous(value, loc));
  StridedView result = makeResult(op);
  std::string name =
      "paged_attention_" + query.dims[2].str() + "x" + query.dims[3].str();
  plan.launch(loc, name, operands, KernelOperand(result), /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto paged = PagedAttentionOp::create(
                    b, loc, getTensorType(result.dims, result.element),
                    args.take_front(7), op.getScale().convertToFloat());
                auto next = args.begin() + 7;
                if (op.getSinks())
                  paged.getSinksMutable().assign(*next++);
                if (op.getSlopes())
                  paged.getSlopesMutable().assign(*next++);
                if (op.getBias())
                  paged.getBiasMutable().assign(*next++);
                paged.setSoftcapAttr(op.getSoftcapAttr());
                paged.setLeft(op.getLeft());
                paged.setCross(op.getCross());
                return paged;
              });
}
