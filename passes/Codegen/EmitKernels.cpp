//===- EmitKernels.cpp - Code for the kernels of a plan -------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// From the op in a plan.kernel to the specification of its emitter. Emitters
// know no dialect of ours, so that each can be tested alone. Longer than other
// files because each op has a rule.
//
//===----------------------------------------------------------------------===//
#include "passes/Codegen/EmitKernels.h"

#include "dialects/Ferrite/IR/FerriteMerge.h"
#include "dialects/Ferrite/IR/FerriteSparsity.h"
#include "dialects/Ferrite/IR/KvPool.h"
#include "passes/Analysis/AttentionScores.h"
#include "passes/Codegen/CPU/EmitAttention.h"
#include "passes/Codegen/CPU/EmitByteMatmul.h"
#include "passes/Codegen/CPU/EmitEmbedding.h"
#include "passes/Codegen/CPU/EmitExperts.h"
#include "passes/Codegen/CPU/EmitFused.h"
#include "passes/Codegen/CPU/EmitGather.h"
#include "passes/Codegen/CPU/EmitIntegerMatmul.h"
#include "passes/Codegen/CPU/EmitLinear.h"
#include "passes/Codegen/CPU/EmitLinearAttention.h"
#include "passes/Codegen/CPU/EmitMatmul.h"
#include "passes/Codegen/CPU/EmitMergeTokens.h"
#include "passes/Codegen/CPU/EmitNorm.h"
#include "passes/Codegen/CPU/EmitOrder.h"
#include "passes/Codegen/CPU/EmitPackedLinear.h"
#include "passes/Codegen/CPU/EmitPagedAttention.h"
#include "passes/Codegen/CPU/EmitPages.h"
#include "passes/Codegen/CPU/EmitRope.h"
#include "passes/Codegen/CPU/EmitScatter.h"
#include "passes/Codegen/CPU/EmitSelectBlocks.h"
#include "passes/Codegen/CPU/EmitSoftmax.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;
using namespace ferrite::cpu;

KernelLayout ferrite::layoutOf(plan::KernelOp kernel) {
  KernelLayout layout;
  for (Attribute attr : kernel.getLayouts()) {
    auto from = cast<plan::LayoutAttr>(attr);
    OperandLayout &to = layout.operands.emplace_back();
    to.elementType = from.getType();
    to.shape.assign(from.getShape().begin(), from.getShape().end());
    to.strides.assign(from.getStrides().begin(), from.getStrides().end());
    to.mayAlias = from.getAlias();
  }
  return layout;
}

static Combine combineOf(CombineKind kind, Type element) {
  bool isUnsigned = element.isUnsignedInteger();
  switch (kind) {
  case CombineKind::None:
  case CombineKind::Sum:
    return Combine::Sum;
  case CombineKind::Prod:
    return Combine::Prod;
  case CombineKind::Max:
    return isUnsigned ? Combine::MaxUnsigned : Combine::Max;
  case CombineKind::Min:
    return isUnsigned ? Combine::MinUnsigned : Combine::Min;
  }
  llvm_unreachable("all kinds are covered");
}

/// A body that only yields its argument.
static bool isIdentity(Block &block) {
  auto yield = cast<YieldOp>(block.back());
  return block.getOperations().size() == 1 && block.getNumArguments() == 1 &&
         yield.getValue() == block.getArgument(0);
}

static LogicalResult emit(KernelBuilder &kb, LinearOp op) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  Block &epilogue = op.getEpilogue().front();
  Block *work = isIdentity(epilogue) ? nullptr : &epilogue;
  if (weight.getRank() > 2)
    return emitByteMatmul(kb,
                          {work, !!op.getInputZero(), !!op.getWeightZero()});
  LinearSpec spec;
  spec.depth = weight.getDimSize(0);
  spec.columns = weight.getDimSize(1);
  spec.weightType = weight.getElementType();
  spec.hasZero = static_cast<bool>(op.getInputZero());
  spec.epilogue = work;
  if (std::optional<SparseAttr> sparse = op.getSparse())
    spec.stripColumns = sparse->getColumns();
  return emitLinear(kb, spec);
}

static bool hasUnsignedElements(Value value) {
  Type element = getElementTypeOrSelf(value);
  return element.isUnsignedInteger() || element.isInteger(1);
}

static LogicalResult emit(KernelBuilder &kb, MatmulOp op) {
  if (isa<IntegerType>(getElementTypeOrSelf(op.getResult())))
    return emitIntegerMatmul(kb, {hasUnsignedElements(op.getLhs()),
                                  hasUnsignedElements(op.getRhs())});
  return emitMatmul(kb, {});
}

/// A kernel's window offset, of its own sizes.
template <typename OpTy>
static LogicalResult setOffset(OpTy op, AttentionSpec::Offset &to) {
  DimExpr offset = op.getOffsetExpr();
  for (const auto &[symbols, factor] : offset.terms()) {
    if (symbols.empty())
      to.constant = factor;
    else if (symbols.size() == 1 && symbols[0] == "queries")
      to.queries = factor;
    else if (symbols.size() == 1 && symbols[0] == "keys")
      to.keys = factor;
    else
      return op.emitError("a kernel's window offset is of `queries` and "
                          "`keys`, but got ")
             << *op.getOffset();
  }
  return success();
}

static LogicalResult emit(KernelBuilder &kb, AttentionOp op) {
  AttentionSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.softcap = op.getSoftcap().convertToFloat();
  spec.zeroFullyMasked = op.getGuarded();
  if (op.getMask())
    spec.addends.push_back(
        {AttentionAddend::Kind::Keep, op.getFill().convertToFloat()});
  if (op.getBias())
    spec.addends.push_back({AttentionAddend::Kind::Bias, 0});
  spec.left = op.getLeft();
  spec.right = op.getRight();
  spec.chunk = op.getChunk();
  spec.anchors = op.getAnchors();
  spec.windowFill = op.getWindowFill().convertToFloat();
  spec.joined = op.getJoined();
  spec.hasOffsets = static_cast<bool>(op.getOffsets());
  spec.hasLengths = static_cast<bool>(op.getLengths());
  spec.hasSinks = static_cast<bool>(op.getSinks());
  spec.hasPrefix = static_cast<bool>(op.getPrefix());
  spec.hasSegments = static_cast<bool>(op.getQuerySegments());
  spec.byteScores = op->hasAttr(kScoresAttr);
  spec.block = op.getBlock();
  if (failed(setOffset(op, spec.offset)))
    return failure();
  return emitAttention(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, PackKeysOp) {
  return emitPackKeysKernel(kb);
}

template <typename OpTy>
static SelectBlocksSpec selectSpecOf(OpTy op) {
  SelectBlocksSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.softcap = op.getSoftcap().convertToFloat();
  spec.stride = op.getStride();
  spec.pooled = op.getPooled();
  return spec;
}

static LogicalResult emit(KernelBuilder &kb, SelectBlocksOp op) {
  SelectBlocksSpec spec = selectSpecOf(op);
  spec.block = op.getBlock();
  spec.blocks = op.getBlocks();
  spec.left = op.getLeft();
  spec.causal = op.getCausal();
  spec.hasMask = static_cast<bool>(op.getMask());
  spec.hasOffsets = static_cast<bool>(op.getOffsets());
  spec.hasLengths = static_cast<bool>(op.getLengths());
  if (failed(setOffset(op, spec.offset)))
    return failure();
  return emitSelectBlocks(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, SelectRunPagesOp op) {
  SelectBlocksSpec spec = selectSpecOf(op);
  spec.isPaged = spec.causal = true;
  spec.blocks = op.getPages();
  return emitSelectBlocks(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, TokenMetricOp) {
  return emitTokenMetric(kb);
}

static LogicalResult emit(KernelBuilder &kb, MatchTokensOp op) {
  return emitMatchTokens(kb, op.getRemoved(), op.getFixed());
}

static LogicalResult emit(KernelBuilder &kb, MergeTokensOp op) {
  return emitMergeTokens(kb, static_cast<bool>(op.getSizes()), op.getSum());
}

static LogicalResult emit(KernelBuilder &kb, UnmergeTokensOp) {
  return emitUnmergeTokens(kb);
}

static LogicalResult emit(KernelBuilder &kb, NormOp op) {
  NormSpec spec;
  spec.kind = op.getKind() == NormKind::Layer ? NormRow::Kind::Layer
                                              : NormRow::Kind::RMS;
  spec.epsilon = op.getEpsilon().convertToFloat();
  spec.hasBias = static_cast<bool>(op.getBias());
  spec.hasResidual = static_cast<bool>(op.getResidual());
  spec.hasAfter = static_cast<bool>(op.getAfter());
  return emitNorm(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, SoftmaxOp) {
  return emitSoftmax(kb, {});
}

static LogicalResult emit(KernelBuilder &kb, RopeOp op) {
  return emitRope(kb, {op.getInterleaved()});
}

static LogicalResult emit(KernelBuilder &kb, EmbeddingOp op) {
  EmbeddingSpec spec;
  spec.idsCount = op.getIds().size();
  for (auto [index, position] : llvm::zip(op.getIndex(), op.getPositions()))
    spec.sources.push_back({index, position});
  spec.hasNorm = static_cast<bool>(op.getWeight());
  spec.epsilon = op.getEpsilon().convertToFloat();
  return emitEmbedding(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, FusedOp op) {
  FusedSpec spec;
  spec.numInputs = op.getInputs().size();
  auto map = cast<AffineMapAttr>(op.getMaps().getValue().back()).getValue();
  SmallVector<bool> reduction;
  Dims domain = *parseDims(op.getDomain());
  for (auto [d, size] : llvm::enumerate(domain))
    reduction.push_back(!map.isFunctionOfDim(d) && !size.isConstant(1));
  spec.loops = inferFusedLoops(kb.layout(), reduction);
  spec.body = &op.getBody().front();
  if (op.getCombine() != CombineKind::None)
    spec.combines = {
        combineOf(op.getCombine(), getElementTypeOrSelf(op.getType()))};
  Block &finish = op.getFinish().front();
  spec.finish = isIdentity(finish) ? nullptr : &finish;
  return emitFused(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, GatherOp) {
  return emitGather(kb, {GatherKind::Slices, 0});
}

static LogicalResult emit(KernelBuilder &kb, GatherNDOp) {
  return emitGather(kb, {GatherKind::Tuples, 0});
}

static LogicalResult emit(KernelBuilder &kb, CumSumOp op) {
  return emitScan(kb, {op.getExclusive(), op.getReverse(), false});
}

static LogicalResult emit(KernelBuilder &kb, CumProdOp op) {
  return emitScan(kb, {op.getExclusive(), op.getReverse(), true});
}

static LogicalResult emit(KernelBuilder &kb, GatherElementsOp op) {
  return emitGather(
      kb, {GatherKind::Elements, static_cast<unsigned>(op.getAxis())});
}

static ScatterCombine scatterCombineOf(CombineKind kind, bool isUnsigned) {
  switch (kind) {
  case CombineKind::None:
    return ScatterCombine::Replace;
  case CombineKind::Sum:
    return ScatterCombine::Sum;
  case CombineKind::Prod:
    return ScatterCombine::Prod;
  case CombineKind::Max:
    return isUnsigned ? ScatterCombine::MaxUnsigned : ScatterCombine::Max;
  case CombineKind::Min:
    return isUnsigned ? ScatterCombine::MinUnsigned : ScatterCombine::Min;
  }
  llvm_unreachable("all kinds are covered");
}

static LogicalResult emit(KernelBuilder &kb, ScatterNDOp op) {
  return emitScatter(
      kb, {ScatterKind::Tuples,
           scatterCombineOf(op.getCombine(), hasUnsignedElements(op.getData())),
           0});
}

static LogicalResult emit(KernelBuilder &kb, ScatterElementsOp op) {
  return emitScatter(
      kb, {ScatterKind::Elements,
           scatterCombineOf(op.getCombine(), hasUnsignedElements(op.getData())),
           static_cast<unsigned>(op.getAxis())});
}

static LogicalResult emit(KernelBuilder &kb, ArgReduceOp op) {
  return emitArgReduce(kb,
                       {op.getKind() == CombineKind::Min, op.getSelectLast(),
                        hasUnsignedElements(op.getInput())});
}

static LogicalResult emit(KernelBuilder &kb, TopKOp op) {
  return emitTopK(kb, {op.getSmallest(), hasUnsignedElements(op.getInput())});
}

static LogicalResult emit(KernelBuilder &kb, LinearAttentionOp op) {
  LinearAttentionSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.hasDecay = static_cast<bool>(op.getDecay());
  spec.hasBeta = static_cast<bool>(op.getBeta());
  spec.hasState = static_cast<bool>(op.getState());
  return emitLinearAttention(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, KvAppendOp op) {
  return emitKvAppend(kb, op.getKeys());
}

/// What the two ops of paged attention have in common.
template <typename OpTy>
static PagedSpec pagedSpecOf(OpTy op) {
  PagedSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.softcap = op.getSoftcap().convertToFloat();
  spec.left = op.getLeft();
  spec.from = op.getFrom();
  spec.until = op.getUntil();
  spec.gap = op.getGap();
  spec.cross = op.getCross();
  spec.hasSlopes = static_cast<bool>(op.getSlopes());
  spec.hasBias = static_cast<bool>(op.getBias());
  spec.hasSelected = static_cast<bool>(op.getSelected());
  return spec;
}

static LogicalResult emit(KernelBuilder &kb, SummarizePagesOp op) {
  static_assert(SummarizePagesOp::kParts == kPageParts);
  return emitSummarizePages(kb);
}

static LogicalResult emit(KernelBuilder &kb, SelectPagesOp op) {
  SelectPagesSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.share = op.getShare().convertToFloat();
  spec.tokens = op.getTokens();
  spec.left = op.getLeft();
  return emitSelectPages(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, WeighPagesOp op) {
  WeighPagesSpec spec;
  spec.scale = op.getScale().convertToFloat();
  spec.softcap = op.getSoftcap().convertToFloat();
  return emitWeighPages(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, PagedAttentionOp op) {
  PagedSpec spec = pagedSpecOf(op);
  spec.hasSinks = static_cast<bool>(op.getSinks());
  spec.hasPartials = static_cast<bool>(op.getPartials());
  spec.keptPages = op.getKeptPages();
  auto pool = cast<RankedTensorType>(op.getValues().getType());
  // Of a pool of records the last size is that of one in bytes.
  spec.hasLse = cast<RankedTensorType>(op.getType()).getDimSize(3) >
                kvPoolDepth(pool.getElementType(), pool.getDimSize(3));
  return emitPagedAttention(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, PagedPartialsOp op) {
  PagedSpec spec = pagedSpecOf(op);
  spec.isPartials = true;
  return emitPagedAttention(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, RouteOp op) {
  return emitRoute(kb, {static_cast<int64_t>(op.getGroups()),
                        static_cast<int64_t>(op.getChunk())});
}

static LogicalResult emit(KernelBuilder &kb, GroupedLinearOp op) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  auto input = cast<RankedTensorType>(op.getInput().getType());
  GroupedLinearSpec spec;
  spec.groups = weight.getDimSize(0);
  spec.depth = input.getDimSize(1);
  spec.columns = weight.getDimSize(2);
  spec.share = op.getShare();
  spec.chunk = op.getChunk();
  spec.bits = op.getBits();
  spec.block = op.getBlock();
  spec.hasBias = static_cast<bool>(op.getBias());
  spec.hasZeroPoints = static_cast<bool>(op.getZeroPoints());
  return emitGroupedLinear(kb, spec);
}

static LogicalResult emit(KernelBuilder &kb, RoundRowsOp op) {
  return emitRoundRows(kb, op.getBlock(), op.getSumBlock());
}

static LogicalResult emit(KernelBuilder &kb, PackedLinearOp op) {
  PackedAttr packed = op.getPacked();
  PackedLinearSpec spec;
  spec.packed.panels = packed.getPanels();
  spec.packed.scaleType = packed.getScale();
  spec.packed.shift = packed.getShift();
  if (packed.getCodes())
    spec.packed.codes = packed.getCodes().asArrayRef();
  spec.inputBlock = op.getInputBlock();
  Block &epilogue = op.getEpilogue().front();
  spec.epilogue = isIdentity(epilogue) ? nullptr : &epilogue;
  return emitPackedLinear(kb, spec);
}

bool ferrite::hasLowBitProducts(plan::KernelOp kernel) {
  auto linear = dyn_cast<LinearOp>(kernel.getComputation());
  auto packed = dyn_cast<PackedLinearOp>(kernel.getComputation());
  if ((linear && linear.isOfBytes()) || (packed && packed.getInputBlock()) ||
      kernel.getComputation()->hasAttr(kScoresAttr))
    return true;
  // Which of them use dots, their emitters know.
  return llvm::any_of(kernel.getLayouts(), [](Attribute attr) {
    return cast<plan::LayoutAttr>(attr).getType().isBF16();
  });
}

FailureOr<EmittedKernels> ferrite::emitKernels(ModuleOp plan,
                                               ArrayRef<plan::KernelOp> kernels,
                                               const CpuLevel &level,
                                               KernelSymbol symbolOf,
                                               KernelLocation locationOf) {
  EmittedKernels result;
  result.module = ModuleOp::create(plan.getLoc());
  for (plan::KernelOp kernel : kernels) {
    KernelBuilder kb(*result.module, symbolOf(kernel), layoutOf(kernel), level,
                     locationOf(kernel));
    LogicalResult emitted =
        TypeSwitch<Operation *, LogicalResult>(kernel.getComputation())
            .Case<LinearOp, MatmulOp, AttentionOp, NormOp, SoftmaxOp,
                  EmbeddingOp, RopeOp, FusedOp, GatherOp, GatherNDOp, CumSumOp,
                  CumProdOp, GatherElementsOp, ScatterNDOp, ScatterElementsOp,
                  ArgReduceOp, TopKOp, LinearAttentionOp, KvAppendOp,
                  PagedAttentionOp, PagedPartialsOp, SummarizePagesOp,
                  SelectPagesOp, RouteOp, GroupedLinearOp, RoundRowsOp,
                  PackedLinearOp, PackKeysOp, SelectBlocksOp, SelectRunPagesOp,
                  TokenMetricOp, MatchTokensOp, MergeTokensOp, UnmergeTokensOp,
                  WeighPagesOp>([&](auto op) { return emit(kb, op); })
            .Default([](Operation *op) {
              return op->emitError("no emitter makes code for ")
                     << op->getName();
            });
    if (failed(emitted))
      return failure();
    result.scratchBytes = std::max(result.scratchBytes, kb.scratchBytes());
    result.instructions |= kb.usedInstructions();
  }
  return result;
}
