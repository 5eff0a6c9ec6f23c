//===- MakeStepEncode.cpp - An entry for what a decoder reads -------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Keys and values of an encoder's tokens are the same in every step. Where the
// graph computes them, of hidden states or of the encoder's own inputs, a copy
// of it computes nothing else: the caller runs it once for each sequence.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/Matchers.h"
#include "passes/Fusion/MakeStep.h"

using namespace mlir;
using namespace ferrite;

void ferrite::eraseUnused(func::FuncOp func) {
  Block &block = func.getBody().front();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.use_empty() && !op.hasTrait<OpTrait::IsTerminator>())
      op.erase();
}

/// Bounds of the symbols that inputs still have.
static void keepUsedSymbols(func::FuncOp func) {
  auto symbols = func->getAttrOfType<ArrayAttr>(kSymbolsAttr);
  if (!symbols)
    return;
  auto isUsed = [&](StringRef name) {
    for (unsigned i = 0; i < func.getNumArguments(); ++i) {
      auto dims = func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr);
      if (!dims)
        continue; // all of them are numbers
      const Dims all = *parseDims(dims);
      for (const DimExpr &dim : all)
        if (llvm::is_contained(dim.symbols(), name.str()))
          return true;
    }
    return false;
  };
  SmallVector<Attribute> kept;
  for (Attribute symbol : symbols)
    if (isUsed(cast<SymbolAttr>(symbol).getName()))
      kept.push_back(symbol);
  func->setAttr(kSymbolsAttr, ArrayAttr::get(func.getContext(), kept));
}

func::FuncOp ferrite::makeEncode(func::FuncOp from) {
  func::FuncOp func = from.clone();
  func.setName("encode");
  func->setAttr(kEncodeAttr, UnitAttr::get(func.getContext()));
  SmallVector<AttentionOp> others;
  Block &block = func.getBody().front();
  auto end = cast<func::ReturnOp>(block.getTerminator());
  OpBuilder builder(end);
  SmallVector<Value> results;
  SmallVector<DictionaryAttr> names;
  llvm::DenseSet<std::pair<Value, unsigned>> seen;
  int64_t layer = 0;
  for (const CachedAttention &each : findCachedAttentions(func, others)) {
    if (!each.isSource)
      continue;
    for (bool keys : {true, false}) {
      const CacheRows &rows = keys ? each.keys : each.values;
      if (!seen.insert({rows.rows, keys}).second)
        continue;
      // [batch, tokens, heads, width] as attention has it.
      auto type = typeOf(rows.rows);
      results.push_back(TransposeOp::create(
          builder, rows.rows.getLoc(),
          RankedTensorType::get({type.getDimSize(0), type.getDimSize(2),
                                 type.getDimSize(1), type.getDimSize(3)},
                                type.getElementType()),
          rows.rows, builder.getDenseI64ArrayAttr({0, 2, 1, 3})));
      names.push_back(builder.getDictionaryAttr(builder.getNamedAttr(
          kNameAttr,
          builder.getStringAttr(stateName(func, each, keys, layer)))));
    }
    ++layer;
  }
  end.getOperandsMutable().assign(results);
  eraseUnused(func);
  func.setFunctionType(FunctionType::get(
      func.getContext(), block.getArgumentTypes(), end.getOperandTypes()));
  func.setAllResultAttrs(names);
  for (unsigned i = func.getNumArguments(); i-- > 0;)
    if (func.getArgument(i).use_empty())
      (void)func.eraseArgument(i);
  keepUsedSymbols(func);
  return func;
}
