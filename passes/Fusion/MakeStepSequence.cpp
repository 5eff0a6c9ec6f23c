//===- MakeStepSequence.cpp - A decoder of one sequence -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Which symbol is the batch, which the new tokens and which the past: the
// inputs say it by their dims, and exporters give one size several names.
//
//===----------------------------------------------------------------------===//
#include "passes/Fusion/MakeStep.h"

using namespace mlir;
using namespace ferrite;

std::string ferrite::argumentName(func::FuncOp func, BlockArgument arg) {
  auto name = func.getArgAttrOfType<StringAttr>(arg.getArgNumber(), kNameAttr);
  return name ? name.getValue().str() : std::to_string(arg.getArgNumber());
}

std::string ferrite::stateName(func::FuncOp func,
                               const CachedAttention &attention, bool keys,
                               int64_t layer) {
  if (BlockArgument past = keys ? attention.keys.past : attention.values.past)
    return argumentName(func, past);
  return std::string(attention.isSource ? "source." : "past.") +
         std::to_string(layer) + (keys ? ".key" : ".value");
}

bool ferrite::takesOneToken(func::FuncOp func) {
  return llvm::any_of(func.getArguments(), [&](BlockArgument arg) {
    auto attr = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), kDimsAttr);
    std::optional<Dims> dims = attr ? parseDims(attr) : std::nullopt;
    return classifyInput(func, arg, {}) == StepInput::Ids && dims &&
           dims->size() == 2 && !dims->front().constant() &&
           dims->back().isConstant(1);
  });
}

SequenceSizes SequenceSizes::of(func::FuncOp func,
                                ArrayRef<CachedAttention> attentions) {
  DimExpr one(1), tokens = DimExpr::symbol(kTokens);
  bool single = takesOneToken(func);
  return {single ? tokens : one, single ? one : tokens,
          hasOwnPast(attentions) ? DimExpr::symbol(kPast) : DimExpr(0)};
}

namespace {
class SymbolMapper {
public:
  SymbolMapper(func::FuncOp func, ArrayRef<CachedAttention> attentions,
               std::string &reason)
      : func(func), attentions(attentions),
        sizes(SequenceSizes::of(func, attentions)), reason(reason) {}
  LogicalResult run(SymbolMap &symbols);

private:
  LogicalResult fail(const Twine &why) {
    reason = why.str();
    return failure();
  }
  LogicalResult map(SymbolMap &symbols, const DimExpr &dim, const DimExpr &to,
                    const Twine &what);
  std::optional<Dims> dimsOf(BlockArgument arg) {
    auto attr = func.getArgAttrOfType<ArrayAttr>(arg.getArgNumber(), kDimsAttr);
    return attr ? parseDims(attr) : std::nullopt;
  }
  LogicalResult mapPasts(SymbolMap &symbols);
  LogicalResult mapMasks(SymbolMap &symbols);

  func::FuncOp func;
  ArrayRef<CachedAttention> attentions;
  SequenceSizes sizes;
  std::string &reason;
};
} // namespace

static std::optional<std::string> symbolOf(const DimExpr &dim) {
  std::vector<std::string> names = dim.symbols();
  if (names.size() != 1 || DimExpr::symbol(names[0]) != dim)
    return std::nullopt;
  return names[0];
}

LogicalResult SymbolMapper::map(SymbolMap &symbols, const DimExpr &dim,
                                const DimExpr &to, const Twine &what) {
  if (dim == to)
    return success();
  std::optional<std::string> name = symbolOf(dim);
  if (!name)
    return fail(what + " is " + dim.str() + ", no size that may vary");
  auto [known, isNew] = symbols.try_emplace(*name, to);
  if (!isNew && known->second != to)
    return fail(what + " is " + dim.str() + ", which is another size too");
  return success();
}

/// A cache has its batch first (behind a dim of keys and values, where it has
/// both), and no other size that varies than that of its past. That of a source
/// keeps its name.
LogicalResult SymbolMapper::mapPasts(SymbolMap &symbols) {
  for (const CachedAttention &each : attentions)
    for (const CacheRows &rows : {each.keys, each.values}) {
      if (!rows.past)
        continue;
      std::optional<Dims> dims = dimsOf(rows.past);
      std::string name = argumentName(func, rows.past);
      if (!dims)
        return fail("the dims of '" + name + "' are not known");
      for (auto [i, dim] : llvm::enumerate(*dims)) {
        if (dim.constant() || static_cast<int64_t>(i) == rows.bufferDim)
          continue;
        bool isBatch = i == 0 || (i == 1 && (*dims)[0].constant());
        if (each.isSource && !isBatch)
          continue;
        if (failed(map(symbols, dim, isBatch ? sizes.batch : sizes.past,
                       "dim " + Twine(i) + " of '" + name + "'")))
          return failure();
      }
    }
  return success();
}

/// Its tokens are all there are, whatever their name.
LogicalResult SymbolMapper::mapMasks(SymbolMap &symbols) {
  for (BlockArgument arg : func.getArguments()) {
    if (classifyInput(func, arg, attentions) != StepInput::Mask)
      continue;
    DimExpr all = dimsOf(arg)->back().replaced(
        [&](StringRef name) -> std::optional<DimExpr> {
          auto found = symbols.find(name.str());
          if (found == symbols.end())
            return std::nullopt;
          return found->second;
        });
    if (failed(map(symbols, all, sizes.all(), "the tokens of the mask")))
      return failure();
  }
  return success();
}

LogicalResult SymbolMapper::run(SymbolMap &symbols) {
  if (failed(mapPasts(symbols)))
    return failure();
  bool hasSource = llvm::any_of(
      attentions, [](const CachedAttention &each) { return each.isSource; });
  for (BlockArgument arg : func.getArguments()) {
    StepInput kind = classifyInput(func, arg, attentions);
    if (kind == StepInput::Past)
      continue;
    std::optional<Dims> dims = dimsOf(arg);
    if (kind == StepInput::Other || kind == StepInput::SourceMask) {
      // An encoder's: its batch is the same, whatever its name.
      if (dims && dims->size() > 1 && hasSource && symbolOf(dims->front()))
        (void)symbols.try_emplace(*symbolOf(dims->front()), sizes.batch);
      continue;
    }
    std::string name = argumentName(func, arg);
    if (!dims)
      return fail("the dims of '" + name + "' are not known");
    if (kind == StepInput::Begins) {
      if (failed(map(symbols, (*dims)[0], sizes.batch,
                     "the batch of '" + name + "'")))
        return failure();
      continue;
    }
    if (dims->size() == 2 && failed(map(symbols, (*dims)[0], sizes.batch,
                                        "the batch of '" + name + "'")))
      return failure();
    if (kind != StepInput::Mask &&
        failed(map(symbols, dims->back(), sizes.fresh,
                   "the tokens of '" + name + "'")))
      return failure();
  }
  return mapMasks(symbols);
}

/// Views of what was a buffer of `length` tokens, up to attentions.
static void fitViews(Value value, int64_t length, const DimExpr &tokens) {
  for (Operation *user : value.getUsers()) {
    if (!isa<ViewOp, TransposeOp, BroadcastOp>(user))
      continue;
    auto attr = user->getAttrOfType<ArrayAttr>("dims");
    std::optional<Dims> dims = attr ? parseDims(attr) : std::nullopt;
    // Where another dim is as long, nobody knows which of the two is meant.
    if (dims && llvm::count(*dims, DimExpr(length)) == 1) {
      *llvm::find(*dims, DimExpr(length)) = tokens;
      user->setAttr("dims", getDimsAttr(user->getContext(), *dims));
    }
    fitViews(user->getResult(0), length, tokens);
  }
}

/// A buffer of one sequence is as long as what it holds in the end: what lies
/// behind is never read.
static void fitBuffers(func::FuncOp func,
                       ArrayRef<CachedAttention> attentions) {
  SequenceSizes sizes = SequenceSizes::of(func, attentions);
  for (const CachedAttention &each : attentions)
    for (const CacheRows &rows : {each.keys, each.values}) {
      if (rows.bufferDim < 0)
        continue;
      unsigned index = rows.past.getArgNumber();
      auto attr = func.getArgAttrOfType<ArrayAttr>(index, kDimsAttr);
      Dims dims = attr ? *parseDims(attr)
                       : ferrite::detail::dimsOfType(rows.past.getType());
      DimExpr tokens = sizes.all();
      std::optional<int64_t> length = dims[rows.bufferDim].constant();
      if (length && *length != 1)
        fitViews(rows.rows, *length, tokens);
      dims[rows.bufferDim] = tokens;
      func.setArgAttr(index, kDimsAttr, getDimsAttr(func.getContext(), dims));
    }
}

LogicalResult ferrite::bringToOneSequence(func::FuncOp func,
                                          ArrayRef<CachedAttention> attentions,
                                          std::string &reason) {
  SymbolMap symbols;
  if (failed(SymbolMapper(func, attentions, reason).run(symbols)))
    return failure();
  fitBuffers(func, attentions);
  std::string why;
  if (failed(replaceSymbols(func, symbols, why))) {
    reason = "does not hold for one sequence: " + why;
    return failure();
  }
  MLIRContext *context = func.getContext();
  auto bounds = [&](StringRef name, int64_t min) -> Attribute {
    return SymbolAttr::get(context, name, min, INT32_MAX);
  };
  func->setAttr(
      kSymbolsAttr,
      ArrayAttr::get(context, {bounds(kTokens, 1), bounds(kPast, 0),
                               bounds(kRuns, 1), bounds(kTable, 1),
                               bounds(kSourceTable, 1), bounds(kLogits, 0)}));
  return success();
}
