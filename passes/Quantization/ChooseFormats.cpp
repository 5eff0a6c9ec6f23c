//===- ChooseFormats.cpp - How each weight is to be stored ----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "passes/Analysis/AttentionScores.h"
#include "passes/Analysis/Matchers.h"
#include "passes/Quantization/Passes.h"
#include "passes/Quantization/ProductNames.h"
#include "passes/Quantization/Spec.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ferrite {
#define GEN_PASS_DEF_CHOOSEFORMATS
#include "passes/Quantization/Passes.h.inc"
} // namespace ferrite

using namespace mlir;
using namespace ferrite;

static constexpr const char *kPass = "ferrite-choose-formats";

static void report(Operation *op, const Twine &why) {
  remark::missed(op->getLoc(),
                 remark::RemarkOpts::name("choose-formats").category(kPass))
      << remark::reason("{0}", why.str());
}

/// Weights of fewer elements save nothing that a load would notice.
static constexpr int64_t kLeastElements = 4096;

static bool matchesAny(StringRef glob, ArrayRef<StringRef> names) {
  return llvm::any_of(names,
                      [&](StringRef name) { return matchesName(glob, name); });
}

/// Whether a rotary embedding reads it.
static bool isOfAngles(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<RopeOp>(user) || (isa<ViewOp, SliceOp, TransposeOp>(user) &&
                                 isOfAngles(user->getResult(0)));
  });
}

/// Null, or why the product's weight cannot be stored in fewer bits.
static const char *whyWide(LinearOp op) {
  if (op.isOfBytes())
    return "it multiplies bytes already";
  if (!isWeightOrConstant(op.getWeight()))
    return "its right side is computed";
  if (!elementTypeOf(op.getInput()).isF32())
    return "its input is not of f32";
  if (!isa<FloatType>(elementTypeOf(op.getWeight())))
    return "its weight is not of numbers";
  if (auto weight = op.getWeight().getDefiningOp<WeightOp>())
    for (Attribute source : weight.getSources())
      if (cast<SourceAttr>(source).getDequant())
        return "its weight is quantized in the model already";
  RankedTensorType type = typeOf(op.getWeight());
  if (type.getNumElements() < kLeastElements)
    return "its weight is too small to save anything";
  if (type.getDimSize(0) % 16 != 0)
    return "its depth is no multiple of 16";
  return nullptr;
}

/// The same of a product of experts, whose weight is [experts, depth, columns].
static const char *whyWide(ExpertLinearOp op) {
  if (op.getBits())
    return "its weight is quantized in the model already";
  if (!isWeightOrConstant(op.getWeight()))
    return "its weights are computed";
  RankedTensorType type = typeOf(op.getWeight());
  if (!elementTypeOf(op.getInput()).isF32() ||
      !isa<FloatType>(type.getElementType()))
    return "its input is not of f32, or its weight not of numbers";
  if (type.getNumElements() < kLeastElements)
    return "its weight is too small to save anything";
  if (type.getDimSize(1) % 16 != 0)
    return "its depth is no multiple of 16";
  auto weight = op.getWeight().getDefiningOp<WeightOp>();
  if (!weight)
    return nullptr;
  if (weight.getSources().size() > 1 && weight.getAxis() != 0)
    return "its experts do not lie one behind the other";
  for (Attribute attr : weight.getSources()) {
    auto source = cast<SourceAttr>(attr);
    ArrayRef<int64_t> perm = source.getPerm();
    if (source.getDequant())
      return "its weight is quantized in the model already";
    if (source.getPitch() || source.getShape().size() > 3 ||
        source.getShape().size() == 1 || (perm.size() == 3 && perm[0] != 0))
      return "its experts do not lie as one matrix each";
  }
  return nullptr;
}

static const char *whyNotFormat(LinearOp, const QuantFormat &) {
  return nullptr;
}

static const char *whyNotFormat(ExpertLinearOp, const QuantFormat &format) {
  if (format.isNormalFloat)
    return "products of experts read no code books";
  if (format.isStatic)
    return "inputs of experts are rounded by what each row has";
  return nullptr;
}

/// The format with a group that divides `depth`.
static QuantFormat fitGroup(QuantFormat format, int64_t depth) {
  while (format.group > 16 && depth % format.group != 0)
    format.group /= 2;
  return format;
}

namespace {
struct ChooseFormatsPass final
    : ferrite::impl::ChooseFormatsBase<ChooseFormatsPass> {
  using ChooseFormatsBase::ChooseFormatsBase;

  void runOnOperation() override {
    llvm::Expected<QuantSpec> parsed = QuantSpec::parse(spec);
    if (!parsed) {
      emitError(getOperation().getLoc()) << llvm::toString(parsed.takeError());
      return signalPassFailure();
    }
    std::vector<bool> used(parsed->overrides.size(), false);
    std::vector<bool> usedScores(parsed->byteScores.size(), false);
    SmallVector<std::string> seen;
    getOperation().walk([&](Operation *op) {
      if (auto linear = dyn_cast<LinearOp>(op)) {
        for (StringRef name : productNames(linear))
          seen.push_back(name.str());
        return choose(linear, *parsed, used);
      }
      if (auto gather = dyn_cast<GatherOp>(op);
          gather && !parsed->tables.isWide())
        return chooseTable(gather, *parsed);
      if (isa<EmbeddingOp>(op) && !parsed->tables.isWide())
        report(op, "tables that are added up and normalized stay as they are");
      if (auto attention = dyn_cast<AttentionOp>(op))
        return chooseScores(attention, *parsed, usedScores);
      if (isa<PagedAttentionOp>(op) && !parsed->byteScores.empty())
        report(op, "keys of a cache of pages have the type of --kv");
      if (auto experts = dyn_cast<ExpertLinearOp>(op)) {
        for (StringRef name : productNames(experts))
          seen.push_back(name.str());
        return choose(experts, *parsed, used);
      }
      if (auto matmul = dyn_cast<MatmulOp>(op);
          matmul && isWeightOrConstant(matmul.getRhs()))
        report(op, "its weight is no matrix of a linear");
    });
    for (auto [override, isUsed] : llvm::zip(parsed->overrides, used)) {
      if (isUsed)
        continue;
      auto error = emitError(getOperation().getLoc())
                   << "--quantize: no product has a weight or node named '"
                   << override.glob << "'";
      if (!seen.empty())
        error << "; one is named '" << seen.front() << "'";
      return signalPassFailure();
    }
    if (!parsed->tables.isWide() && !hasTable) {
      emitError(getOperation().getLoc())
          << "--quantize: the model gathers rows of no table that could be of "
             "bytes; --report says why";
      return signalPassFailure();
    }
    for (auto [glob, isUsed] : llvm::zip(parsed->byteScores, usedScores)) {
      if (isUsed)
        continue;
      emitError(getOperation().getLoc())
          << "--quantize: the model has no attention"
          << (glob == "*" ? "" : " with a node named '" + glob + "'")
          << " whose scores could be of bytes; --report says why";
      return signalPassFailure();
    }
  }

private:
  bool hasTable = false;

  void chooseTable(GatherOp op, const QuantSpec &spec) {
    if (!isWeightOrConstant(op.getData()))
      return;
    auto table = op.getData().getDefiningOp<WeightOp>();
    RankedTensorType type = typeOf(op.getData());
    if (op.getAxis() != 0 || type.getRank() != 2 ||
        !type.getElementType().isF32())
      return report(op,
                    "its table is no matrix of f32 whose rows are gathered");
    if (type.getNumElements() < kLeastElements)
      return report(op, "its table is too small to save anything");
    if (isOfAngles(op.getResult()))
      return report(op, "its table is of sines or cosines");
    if (table) {
      auto source = cast<SourceAttr>(table.getSources()[0]);
      if (table.getSources().size() != 1 || source.getDequant() ||
          !source.getPerm().empty() || source.getShape() != type.getShape())
        return report(op, "its table does not lie as rows of numbers");
    }
    hasTable = true;
    op->setAttr(kFormatAttr,
                StringAttr::get(op.getContext(), spec.tables.str()));
    remark::passed(op.getLoc(),
                   remark::RemarkOpts::name("choose-formats").category(kPass))
        << spec.tables.str();
  }

  void chooseScores(AttentionOp op, const QuantSpec &spec,
                    std::vector<bool> &used) {
    bool isChosen = false;
    for (size_t i = 0; i < spec.byteScores.size(); ++i)
      if (matchesAny(spec.byteScores[i], productNames(op)))
        used[i] = isChosen = true;
    if (!isChosen)
      return;
    if (op.hasBlocks())
      return report(op, "keys of block lists are read in floats");
    op->setAttr(kScoresAttr, StringAttr::get(op.getContext(), kByteScores));
    remark::passed(op.getLoc(),
                   remark::RemarkOpts::name("choose-formats").category(kPass))
        << kByteScores;
  }

  /// Of a product of rows or of experts.
  template <typename OpTy>
  void choose(OpTy op, const QuantSpec &spec, std::vector<bool> &used) {
    QuantFormat format = spec.base;
    SmallVector<StringRef> names = productNames(op);
    for (size_t i = 0; i < spec.overrides.size(); ++i)
      if (matchesAny(spec.overrides[i].glob, names)) {
        used[i] = true;
        format = spec.overrides[i].format;
      }
    if (const char *why = whyWide(op))
      return report(op, why);
    if (format.isWide())
      return report(op, "the option says so");
    int64_t depth = typeOf(op.getWeight()).getShape().drop_back().back();
    if (const char *why = whyNotFormat(op, format))
      return report(op, why);
    QuantFormat fit = fitGroup(format, depth);
    if (!(fit == format))
      report(op, "groups of " + Twine(fit.group) + ", because " + Twine(depth) +
                     " is no multiple of " + Twine(format.group));
    op->setAttr(kFormatAttr, StringAttr::get(op.getContext(), fit.str()));
    remark::passed(op.getLoc(),
                   remark::RemarkOpts::name("choose-formats").category(kPass))
        << fit.str();
  }
};
} // namespace
