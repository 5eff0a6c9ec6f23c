//===- SelectState.cpp - How caches and their attention are launched ------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A pool is memory of the caller: an append writes into it, and its result is
// the same memory. No kernel asks how many pages there are; the runtime has
// checked every page that a call names.
//
//===----------------------------------------------------------------------===//
#include "dialects/Ferrite/IR/KvPool.h"
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

void Selector::selectSelectRunPages(SelectRunPagesOp op) {
  Location loc = op.getLoc();
  StridedView query = unitInner(get(op.getQuery()), loc);
  std::vector<KernelOperand> operands = {
      query, poolOperand(get(op.getKeys()), op.getKeys().getType())};
  for (Value value : {op.getRunBegins(), op.getContexts(), op.getPageTables(),
                      op.getThresholds()})
    operands.push_back(contiguous(value, loc));
  StridedView result = makeResult(op);
  plan.launch(
      loc,
      "select_run_pages_" + query.dims[2].str() + "x" + query.dims[3].str(),
      operands, KernelOperand(result), /*claimed=*/false,
      [&](OpBuilder &b, ValueRange args) -> Operation * {
        return SelectRunPagesOp::create(
            b, loc, getTensorType(result.dims, result.element), args[0],
            args[1], args[2], args[3], args[4], args[5], op.getScaleAttr(),
            op.getSoftcapAttr(), op.getStride(), op.getPages(), op.getPooled());
      });
}

void Selector::selectWeighPages(WeighPagesOp op) {
  Location loc = op.getLoc();
  StridedView query = unitInner(get(op.getQuery()), loc);
  std::vector<KernelOperand> operands = {
      query, poolOperand(get(op.getKeys()), op.getKeys().getType())};
  for (Value value : {op.getRunBegins(), op.getContexts(), op.getPageTables(),
                      op.getRuns(), op.getTokens()})
    operands.push_back(contiguous(value, loc));
  StridedView result = makeResult(op);
  plan.launch(loc,
              "weigh_pages_" + query.dims[2].str() + "x" + query.dims[3].str(),
              operands, KernelOperand(result), /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return WeighPagesOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args[2], args[3], args[4], args[5], args[6],
                    op.getScaleAttr(), op.getSoftcapAttr());
              });
}

void Selector::selectSummarizePages(SummarizePagesOp op) {
  Location loc = op.getLoc();
  std::vector<KernelOperand> operands = {
      poolOperand(get(op.getKeys()), op.getKeys().getType())};
  for (Value value : {op.getRunBegins(), op.getContexts(), op.getPageTables()})
    operands.push_back(contiguous(value, loc));
  StridedView pool = get(op.getSummaries());
  operands.push_back(poolOperand(pool, op.getSummaries().getType()));
  operands.back().alias = true;
  KernelOperand result = operands.back();
  views[op] = pool;
  std::string name = "summarize_pages_" + pool.dims[1].str();
  plan.launch(loc, name, operands, result, /*claimed=*/false,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return SummarizePagesOp::create(
                    b, loc, op.getSummaries().getType(), args[0], args[1],
                    args[2], args[3], args[4]);
              });
}

void Selector::selectSelectPages(SelectPagesOp op) {
  Location loc = op.getLoc();
  StridedView query = unitInner(get(op.getQuery()), loc);
  std::vector<KernelOperand> operands = {
      query, poolOperand(get(op.getSummaries()), op.getSummaries().getType())};
  for (Value value : {op.getRunBegins(), op.getContexts(), op.getVisible(),
                      op.getPageTables()})
    operands.push_back(contiguous(value, loc));
  StridedView result = makeResult(op);
  std::string name =
      "select_pages_" + query.dims[2].str() + "x" + query.dims[3].str();
  plan.launch(loc, name, operands, KernelOperand(result), /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                return SelectPagesOp::create(
                    b, loc, getTensorType(result.dims, result.element), args[0],
                    args[1], args[2], args[3], args[4], args[5],
                    op.getScaleAttr(), op.getShareAttr(), op.getTokens(),
                    op.getLeft());
              });
}

/// Of the kernel's op, what the op says; `next` is the operand behind those
/// that both ops of paged attention have.
template <typename OpTy>
static void setParts(OpTy to, PagedAttentionOp from,
                     ValueRange::iterator next) {
  if (from.getSlopes())
    to.getSlopesMutable().assign(*next++);
  if (from.getBias())
    to.getBiasMutable().assign(*next++);
  if (from.getSelected())
    to.getSelectedMutable().assign(*next++);
  to.setSoftcapAttr(from.getSoftcapAttr());
  to.setLeft(from.getLeft());
  to.setFrom(from.getFrom());
  to.setUntil(from.getUntil());
  to.setGap(from.getGap());
  to.setCross(from.getCross());
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
  size_t shared = operands.size();
  std::vector<KernelOperand> addends;
  for (Value value : {op.getSlopes(), op.getBias(), op.getSelected()})
    if (value)
      addends.push_back(contiguous(value, loc));
  std::string shape = query.dims[2].str() + "x" + query.dims[3].str();

  // Runs of one token block by block first, so that all threads read one long
  // sequence.
  StridedView tables = get(op.getPageTables());
  // As the op infers it: ceil(width / 8) rows and one more at most.
  constexpr int64_t pages =
      PagedAttentionOp::kBlockKeys / KvAppendOp::kPageTokens;
  auto pool = cast<RankedTensorType>(op.getValues().getType());
  int64_t row = PagedAttentionOp::partialWidth(
      kvPoolDepth(pool.getElementType(), pool.getDimSize(3)));
  StridedView partials =
      plan.makeBuffer(loc, Float32Type::get(op.getContext()),
                      {get(op.getContexts()).dims[0], query.dims[2],
                       tables.dims[1] * DimExpr(row / pages) + DimExpr(row)});
  std::vector<KernelOperand> inputs = operands;
  llvm::append_range(inputs, addends);
  plan.launch(loc, "paged_partials_" + shape, inputs, KernelOperand(partials),
              /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto paged = PagedPartialsOp::create(
                    b, loc, getTensorType(partials.dims, partials.element),
                    args[0], args[1], args[2], args[3], args[4], args[5],
                    args[6], Value(), Value(), Value(), op.getScaleAttr(),
                    op.getSoftcapAttr(), op.getLeft(), op.getFrom(),
                    op.getUntil(), op.getGap(), op.getCross());
                setParts(paged, op, args.begin() + shared);
                return paged;
              });

  if (op.getSinks())
    operands.push_back(contiguous(op.getSinks(), loc));
  operands.push_back(partials);
  if (op.getKept())
    operands.push_back(contiguous(op.getKept(), loc));
  llvm::append_range(operands, addends);
  StridedView result = makeResult(op);
  plan.launch(loc, "paged_attention_" + shape, operands, KernelOperand(result),
              /*claimed=*/true,
              [&](OpBuilder &b, ValueRange args) -> Operation * {
                auto paged = PagedAttentionOp::create(
                    b, loc, getTensorType(result.dims, result.element),
                    args.take_front(shared), op.getScale().convertToFloat());
                auto next = args.begin() + shared;
                if (op.getSinks())
                  paged.getSinksMutable().assign(*next++);
                paged.getPartialsMutable().assign(*next++);
                if (op.getKept()) {
                  paged.getKeptMutable().assign(*next++);
                  paged.setKeptPages(op.getKeptPages());
                }
                setParts(paged, op, next);
                return paged;
              });
}
