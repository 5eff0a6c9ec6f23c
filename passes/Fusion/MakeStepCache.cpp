//===- MakeStepCache.cpp - Caches and inputs of a decoder -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A cache is found by what it is for: an attention reads the concatenation of
// an argument and of new rows, through whatever views. One whose keys do not
// depend on the tokens reads a source, and one whose queries do not either is
// part of what computes that source, an encoder. What an input means
// apart from that only its name says, and those are the names that optimum,
// genai and the exporters of torch give.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/DimAnalysis.h"
#include "passes/Fusion/MakeStep.h"

#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace ferrite;

/// The argument that a value is a part of.
static BlockArgument argumentOf(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ViewOp, TransposeOp, BroadcastOp, SliceOp>(op))
      return {};
    value = op->getOperand(0);
  }
  return cast<BlockArgument>(value);
}

/// A scatter into an argument (TensorScatter, index_copy): the last part of an
/// index is the place of the token.
static std::optional<CacheRows> findBuffer(ScatterNDOp scatter) {
  Value data = scatter.getData();
  int64_t dim =
      cast<RankedTensorType>(scatter.getIndices().getType()).getShape().back() -
      1;
  auto transpose = data.getDefiningOp<TransposeOp>();
  if (transpose)
    data = transpose.getInput();
  auto past = dyn_cast<BlockArgument>(data);
  if (!past || dim < 0 || scatter.getCombine() != CombineKind::None)
    return std::nullopt;
  CacheRows rows{scatter, past, scatter.getResult()};
  rows.bufferDim = transpose ? transpose.getPerm()[dim] : dim;
  int64_t places =
      cast<RankedTensorType>(past.getType()).getDimSize(rows.bufferDim);
  rows.places = ShapedType::isDynamic(places) ? -1 : places;
  return rows;
}

static std::optional<CacheRows> findRows(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto concat = dyn_cast<ConcatOp>(op)) {
      if (concat.getInputs().size() != 2)
        return std::nullopt;
      BlockArgument past = argumentOf(concat.getInputs()[0]);
      if (!past)
        return std::nullopt;
      return CacheRows{concat, past, concat.getResult()};
    }
    if (auto scatter = dyn_cast<ScatterNDOp>(op)) {
      if (std::optional<CacheRows> rows = findBuffer(scatter))
        return rows;
      std::optional<CacheRows> rows = findRows(scatter.getData());
      if (!rows || !isa<ConcatOp>(rows->whole) ||
          scatter.getCombine() != CombineKind::None)
        return std::nullopt;
      return CacheRows{scatter, rows->past, scatter.getResult()};
    }
    if (!isa<ViewOp, TransposeOp, BroadcastOp>(op))
      return std::nullopt;
    value = op->getOperand(0);
  }
  return std::nullopt;
}

/// Rows without a past. Those of an argument are read through views alone; of
/// computed ones each attention has its own.
static CacheRows rowsOf(Value value) {
  Value from = value;
  while (Operation *op = from.getDefiningOp()) {
    if (!isa<ViewOp, TransposeOp, BroadcastOp>(op))
      return {nullptr, {}, value};
    from = op->getOperand(0);
  }
  // Hidden states have no dim of heads yet.
  if (cast<RankedTensorType>(from.getType()).getRank() < 4)
    return {nullptr, {}, value};
  return {nullptr, cast<BlockArgument>(from), from};
}

/// Everything that depends on the tokens.
static llvm::DenseSet<Value> valuesOfTokens(func::FuncOp func) {
  llvm::DenseSet<Value> found;
  for (BlockArgument arg : func.getArguments())
    if (classifyInput(func, arg, {}) == StepInput::Ids)
      found.insert(arg);
  for (Operation &op : func.getBody().front())
    if (llvm::any_of(op.getOperands(),
                     [&](Value value) { return found.contains(value); }))
      for (Value result : op.getResults())
        found.insert(result);
  return found;
}

SmallVector<CachedAttention>
ferrite::findCachedAttentions(func::FuncOp func,
                              SmallVectorImpl<AttentionOp> &others) {
  SmallVector<CachedAttention> found;
  llvm::DenseSet<Value> ofTokens = valuesOfTokens(func);
  for (auto op : func.getBody().getOps<AttentionOp>()) {
    Value key = op.getKey(), value = op.getValue();
    std::optional<CacheRows> keys = findRows(key), values = findRows(value);
    if (keys && values)
      found.push_back({op, *keys, *values});
    else if (keys || values)
      others.push_back(op);
    else if (ofTokens.contains(op.getQuery()))
      found.push_back({op, rowsOf(key), rowsOf(value),
                       !ofTokens.contains(key) && !ofTokens.contains(value)});
  }
  return found;
}

bool ferrite::isDecoder(ArrayRef<CachedAttention> attentions) {
  auto isOwn = [](const CachedAttention &each) { return !each.isSource; };
  return llvm::any_of(attentions, isOwn) &&
         llvm::all_of(attentions, [&](CachedAttention each) {
           return !isOwn(each) || each.op.getRight() == 0;
         });
}

bool ferrite::hasOwnPast(ArrayRef<CachedAttention> attentions) {
  return llvm::any_of(attentions, [](const CachedAttention &each) {
    return !each.isSource && each.hasPast();
  });
}

bool ferrite::computesSource(ArrayRef<CachedAttention> attentions) {
  return llvm::any_of(attentions, [](const CachedAttention &each) {
    return each.isSource && !each.hasPast();
  });
}

/// Inputs of a decoder have names of their own where there is an encoder.
static bool hasDecoderIds(func::FuncOp func) {
  return llvm::any_of(func.getArguments(), [&](BlockArgument arg) {
    auto name =
        func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), kNameAttr);
    return name && name.getValue() == "decoder_input_ids";
  });
}

/// Whether the places that a scatter writes are computed of `arg`.
static bool placesWrites(BlockArgument arg,
                         ArrayRef<CachedAttention> attentions) {
  SmallVector<Value> pending;
  llvm::SmallPtrSet<Value, 16> seen;
  for (const CachedAttention &each : attentions)
    for (const CacheRows *rows : {&each.keys, &each.values})
      if (rows->bufferDim >= 0)
        pending.push_back(cast<ScatterNDOp>(rows->whole).getIndices());
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    if (value == arg)
      return true;
    if (Operation *op = value.getDefiningOp(); op && seen.insert(value).second)
      llvm::append_range(pending, op->getOperands());
  }
  return false;
}

StepInput ferrite::classifyInput(func::FuncOp func, BlockArgument arg,
                                 ArrayRef<CachedAttention> attentions) {
  for (const CachedAttention &each : attentions)
    if (each.keys.past == arg || each.values.past == arg)
      return StepInput::Past;
  auto name = func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), kNameAttr);
  auto type = dyn_cast<RankedTensorType>(arg.getType());
  if (!name || !type)
    return StepInput::Other;
  StepInput kind =
      llvm::StringSwitch<StepInput>(name.getValue())
          .Cases({"input_ids", "decoder_input_ids"}, StepInput::Ids)
          .Cases({"attention_mask", "decoder_attention_mask"}, StepInput::Mask)
          .Case("encoder_attention_mask", StepInput::SourceMask)
          .Cases({"position_ids", "decoder_position_ids"}, StepInput::Positions)
          .Case("cache_position", StepInput::CachePositions)
          .Default(StepInput::Other);
  if (hasDecoderIds(func) && name.getValue() == "attention_mask")
    kind = StepInput::SourceMask;
  if (hasDecoderIds(func) && name.getValue() == "input_ids")
    kind = StepInput::Other;
  bool isInteger = type.getElementType().isInteger(64) ||
                   type.getElementType().isInteger(32);
  if (kind == StepInput::Other && type.getRank() == 1 && isInteger &&
      placesWrites(arg, attentions))
    return StepInput::Begins;
  bool isMask = kind == StepInput::Mask || kind == StepInput::SourceMask;
  int64_t rank = kind == StepInput::CachePositions ? 1 : 2;
  if (type.getRank() != rank || (!isInteger && !isMask))
    return StepInput::Other;
  return kind;
}

/// States of one window share pages: those of a narrow one are given back while
/// a wide one still needs its own. What several attentions read is kept for the
/// widest of them.
SmallVector<int64_t>
ferrite::findWindows(MutableArrayRef<CachedAttention> attentions) {
  llvm::DenseMap<Value, int64_t> lefts;
  auto widest = [](int64_t a, int64_t b) {
    return a < 0 || b < 0 ? -1 : std::max(a, b);
  };
  for (CachedAttention &each : attentions)
    for (Value rows : {each.keys.rows, each.values.rows}) {
      int64_t left = each.op.getLeft();
      auto [at, isNew] = lefts.try_emplace(rows, left);
      if (!isNew)
        at->second = widest(at->second, left);
    }
  SmallVector<int64_t> windows;
  for (CachedAttention &each : attentions) {
    if (each.isSource)
      continue;
    // It has one page table for keys and values.
    each.kept = widest(lefts[each.keys.rows], lefts[each.values.rows]);
    if (!llvm::is_contained(windows, each.kept))
      windows.push_back(each.kept);
  }
  llvm::sort(windows, [](int64_t a, int64_t b) { // -1 is the widest
    return static_cast<uint64_t>(a) > static_cast<uint64_t>(b);
  });
  return windows;
}

//===--- symbols ----------------------------------------------------------===//

static Attribute replaceIn(Attribute attr, const SymbolMap &symbols) {
  MLIRContext *context = attr.getContext();
  auto replace = [&](const DimExpr &dim) {
    return dim.replaced([&](StringRef name) -> std::optional<DimExpr> {
      auto found = symbols.find(name.str());
      if (found == symbols.end())
        return std::nullopt;
      return found->second;
    });
  };
  if (auto array = dyn_cast<ArrayAttr>(attr)) {
    if (array.empty() || !isa<StringAttr>(array[0]))
      return attr;
    std::optional<Dims> dims = parseDims(array);
    if (!dims)
      return attr;
    for (DimExpr &dim : *dims)
      dim = replace(dim);
    return getDimsAttr(context, *dims);
  }
  auto string = dyn_cast<StringAttr>(attr);
  std::optional<DimExpr> dim =
      string ? DimExpr::parse(string.getValue()) : std::nullopt;
  return dim ? StringAttr::get(context, replace(*dim).str()) : attr;
}

LogicalResult ferrite::replaceSymbols(Operation *op, const SymbolMap &symbols,
                                      llvm::DenseMap<Value, Dims> &dims,
                                      std::string &reason) {
  if (op->getNumResults() == 0)
    return success();
  auto shaped = dyn_cast<SymbolicShapeOpInterface>(op);
  if (!shaped || isa<WeightOp>(op)) {
    for (Value result : op->getResults())
      dims[result] = ferrite::detail::dimsOfType(result.getType());
    return success();
  }
  for (NamedAttribute attr : llvm::to_vector(op->getAttrs()))
    if (Attribute value = replaceIn(attr.getValue(), symbols);
        value != attr.getValue())
      op->setAttr(attr.getName(), value);
  SmallVector<Dims> operands, results;
  for (Value operand : op->getOperands())
    operands.push_back(dims.lookup(operand));
  ScopedDiagnosticHandler handler(op->getContext(), [&](Diagnostic &said) {
    reason = said.str();
    return success();
  });
  if (failed(shaped.inferDims(operands, results)))
    return failure();
  for (auto [result, size] : llvm::zip_equal(op->getResults(), results)) {
    dims[result] = size;
    result.setType(getTensorType(
        size, cast<RankedTensorType>(result.getType()).getElementType()));
  }
  return success();
}

LogicalResult ferrite::replaceSymbols(func::FuncOp func,
                                      const SymbolMap &symbols,
                                      std::string &reason) {
  llvm::DenseMap<Value, Dims> dims;
  for (BlockArgument arg : func.getArguments()) {
    unsigned i = arg.getArgNumber();
    auto type = cast<RankedTensorType>(arg.getType());
    auto attr = func.getArgAttrOfType<ArrayAttr>(i, kDimsAttr);
    if (attr) {
      attr = cast<ArrayAttr>(replaceIn(attr, symbols));
      func.setArgAttr(i, kDimsAttr, attr);
      dims[arg] = *parseDims(attr);
    } else {
      dims[arg] = ferrite::detail::dimsOfType(type);
    }
    arg.setType(getTensorType(dims[arg], type.getElementType()));
  }
  for (Operation &op : func.getBody().front())
    if (failed(replaceSymbols(&op, symbols, dims, reason)))
      return failure();
  Operation *end = func.getBody().front().getTerminator();
  func.setFunctionType(FunctionType::get(func.getContext(),
                                         func.getBody().getArgumentTypes(),
                                         end->getOperandTypes()));
  return success();
}
