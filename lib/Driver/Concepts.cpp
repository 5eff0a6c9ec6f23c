//===- Concepts.cpp - What became of each part of a model -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Concepts.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "passes/Fusion/WhichNode.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

/// A sigmoid that multiplies what it is of, or what it is of but for a factor.
static StringRef kindOfGate(SigmoidOp gate) {
  Value input = gate.getInput();
  auto scale = input.getDefiningOp<MulOp>();
  for (Operation *user : gate->getUsers())
    if (isa<MulOp>(user))
      for (Value other : user->getOperands()) {
        if (other == input)
          return "silu";
        if (scale && (other == scale.getLhs() || other == scale.getRhs()))
          return "quick gelu";
      }
  return "sigmoid";
}

/// What the report calls an op of the model, empty where it lists none.
static StringRef kindOfCandidate(Operation *op) {
  return TypeSwitch<Operation *, StringRef>(op)
      .Case<AttentionOp>([](auto) { return "attention"; })
      .Case([](NormOp norm) {
        return norm.getKind() == NormKind::Layer ? "layer norm" : "rms norm";
      })
      .Case<SoftmaxOp>([](auto) { return "softmax"; })
      .Case<MatmulOp>([](auto) { return "matmul"; })
      .Case<GeluOp>([](auto) { return "gelu"; })
      .Case([](SigmoidOp gate) { return kindOfGate(gate); })
      .Case<TanhOp>([](auto) { return "tanh"; })
      .Case<ReluOp>([](auto) { return "relu"; })
      .Case<ErfOp>([](auto) { return "erf"; })
      .Default([](Operation *) { return ""; });
}

/// The op's own name where it is a concept after fusion, else empty.
static std::string nameOfConcept(Operation *op) {
  if (isa<AttentionOp, NormOp>(op))
    return kindOfCandidate(op).str();
  if (isa<LinearOp, RopeOp, EmbeddingOp, GroupedLinearOp, ExpertLinearOp,
          LinearAttentionOp>(op))
    return nameForPeople(op);
  return "";
}

/// The nodes of a location, one by one.
static SmallVector<StringRef> namesIn(Location loc) {
  SmallVector<StringRef> names;
  loc->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      names.push_back(name.getName().getValue());
    return WalkResult::advance();
  });
  return names;
}

std::vector<Candidate> ferrite::findCandidates(ModuleOp normalized) {
  std::vector<Candidate> result;
  normalized.walk([&](Operation *op) {
    SmallVector<StringRef> names = namesIn(op->getLoc());
    StringRef kind = kindOfCandidate(op);
    if (!kind.empty() && !names.empty())
      result.push_back({kind.str(), names.back().str()});
  });
  return result;
}

/// What a pass that raises or fuses looks for, empty for the others.
static StringRef kindOfPass(StringRef pass) {
  return llvm::StringSwitch<StringRef>(pass)
      .Case("ferrite-fuse-attention", "attention")
      .Case("ferrite-fuse-layer-norm", "norm")
      .Case("ferrite-fuse-gelu", "gelu")
      .Case("ferrite-fuse-rope", "rope")
      .Case("ferrite-fuse-moe", "experts")
      .Case("ferrite-fuse-embedding", "embedding")
      .Case("ferrite-fuse-gate", "gated activation")
      .Case("ferrite-fuse-norm-residual", "residual sum of norm")
      .Default("");
}

namespace {
/// The missed remarks by node.
class Reasons {
public:
  explicit Reasons(const RemarkLog &remarks) {
    for (const RemarkRecord &record : remarks.records()) {
      // Kernels that were not joined say nothing of what was matched.
      bool isJoin = record.pass == "ferrite-fuse-elementwise" ||
                    record.pass == "ferrite-fuse-qkv";
      if (!record.missed || record.reason.empty() || isJoin)
        continue;
      SmallVector<StringRef> nodes;
      StringRef(record.node).split(nodes, ", ");
      for (StringRef node : nodes)
        byNode.try_emplace(node, &record);
    }
  }
  const RemarkRecord *find(StringRef node) const { return byNode.lookup(node); }
  std::string of(StringRef node, const Twine &otherwise) const {
    const RemarkRecord *found = find(node);
    StringRef pass = found ? StringRef(found->pass) : "";
    pass.consume_front("ferrite-");
    return found ? pass.str() + ": " + found->reason : otherwise.str();
  }

private:
  llvm::StringMap<const RemarkRecord *> byNode;
};

/// Writes the rows: what was found, then what of the model is no part of it.
class ConceptList {
public:
  ConceptList(ModuleOp fused, const RemarkLog &remarks)
      : fused(fused), remarks(remarks), reasons(remarks) {}
  std::vector<ConceptRecord> build(ArrayRef<Candidate> candidates);

private:
  void addNamedOps();
  void addCandidate(const Candidate &candidate);
  void addRemark(const RemarkRecord &record);
  std::string whyLeft(Operation *op, StringRef kind) const;
  std::string whyProduct(Operation *matmul) const;

  ModuleOp fused;
  const RemarkLog &remarks;
  Reasons reasons;
  /// A node may have gone into several: the first of the highest rank.
  llvm::StringMap<Operation *> holder;
  llvm::StringSet<> told; // nodes whose missed remark is in a row
  std::vector<ConceptRecord> rows;
};
} // namespace

/// Named ops win over what is left, and that over what it merely reads.
static int rankOf(Operation *op) {
  if (!nameOfConcept(op).empty())
    return 3;
  auto fused = dyn_cast<FusedOp>(op);
  bool reduces = fused && fused.getCombine() != CombineKind::None;
  if (reduces || isa<MatmulOp, SoftmaxOp>(op)) // a product of integers is one
    return 2;
  return isa<WeightOp, arith::ConstantOp>(op) ? 0 : 1;
}

void ConceptList::addNamedOps() {
  fused.walk([&](func::FuncOp func) {
    for (Operation &op : func.getBody().front()) {
      for (StringRef node : namesIn(op.getLoc())) {
        Operation *&at = holder[node];
        if (!at || rankOf(&op) > rankOf(at))
          at = &op;
      }
      if (!nameOfConcept(&op).empty())
        rows.push_back({nameOfConcept(&op), "", nodeNames(op.getLoc()), ""});
    }
  });
}

/// Whether the scores of a softmax are computed by a product.
static bool isOfProduct(SoftmaxOp softmax) {
  llvm::SetVector<Operation *> above;
  above.insert(softmax);
  for (size_t i = 0; i < above.size() && i < 16; ++i)
    for (Value operand : above[i]->getOperands()) {
      Operation *op = operand.getDefiningOp();
      if (isa_and_present<MatmulOp>(op))
        return true;
      if (isa_and_present<FusedOp, ViewOp, TransposeOp, CastOp>(op))
        above.insert(op);
    }
  return false;
}

/// The softmax of the scores that `matmul` computes, or of the probabilities
/// that it multiplies, a few ops away; null without one.
static SoftmaxOp softmaxOf(Operation *matmul) {
  llvm::SetVector<Operation *> above, below;
  above.insert(matmul);
  below.insert(matmul);
  auto follow = [](llvm::SetVector<Operation *> &list, Operation *next) {
    if (next && !isa<MatmulOp, LinearOp, AttentionOp, NormOp>(next))
      list.insert(next);
  };
  for (size_t i = 0; i < below.size() && i < 16; ++i) {
    if (auto softmax = dyn_cast<SoftmaxOp>(below[i]))
      return softmax;
    for (Operation *user : below[i]->getUsers())
      follow(below, user);
  }
  for (size_t i = 0; i < above.size() && i < 16; ++i) {
    if (auto softmax = dyn_cast<SoftmaxOp>(above[i]))
      return softmax;
    for (Value operand : above[i]->getOperands())
      follow(above, operand.getDefiningOp());
  }
  return {};
}

std::string ConceptList::whyProduct(Operation *matmul) const {
  if (SoftmaxOp softmax = softmaxOf(matmul))
    for (StringRef node : namesIn(softmax.getLoc()))
      if (const RemarkRecord *record = reasons.find(node);
          record && kindOfPass(record->pass) == "attention")
        return "it is of the attention" + whichNode(softmax.getOperation()) +
               " that did not match: " + record->reason;
  return "both sides are computed: the right one is no weight" +
         (matmul->getNumOperands() > 1 ? whichNode(matmul->getOperand(1)) : "");
}

/// Why an op is no part of a named one, where no pass said it at its node;
/// empty for a softmax of its own: that of a router, or of logits.
std::string ConceptList::whyLeft(Operation *op, StringRef kind) const {
  if (kind == "matmul")
    return whyProduct(op);
  if (auto softmax = dyn_cast<SoftmaxOp>(op))
    return isOfProduct(softmax) ? "no product takes its probabilities" : "";
  return isa<FusedOp>(op) ? "no product or norm before it takes it"
                          : "no op of a transformer takes it";
}

/// Where a row says that something was computed.
static std::string placeOf(Operation *op) {
  if (isa<LinearOp>(op))
    return "the epilogue of linear";
  std::string name = nameOfConcept(op);
  return isa<FusedOp>(op) ? rankOf(op) == 2 ? "a kernel that reduces"
                                            : "an elementwise kernel"
         : name.empty()   ? nameForPeople(op)
                          : name;
}

void ConceptList::addCandidate(const Candidate &candidate) {
  ConceptRecord row{candidate.kind, "", candidate.node, ""};
  const RemarkRecord *missed = reasons.find(candidate.node);
  StringRef soughtAs = missed ? kindOfPass(missed->pass) : "";
  Operation *op = holder.lookup(candidate.node);
  std::string name = op ? nameOfConcept(op) : "";
  if (!op) {
    row.into = "nothing: no output needs it, or it was computed at compile "
               "time";
  } else if (!name.empty()) {
    // The op itself is in the list; what else it holds is said here.
    bool isItself = name == candidate.kind ||
                    (candidate.kind == "matmul" && name != "embedding") ||
                    (candidate.kind == "softmax" && name == "attention");
    if (isItself)
      return;
    row.into = (isa<LinearOp>(op) ? "the epilogue of " : "") + name;
    // An erf that is in an epilogue as such: no gelu was recognised.
    if (!soughtAs.empty())
      row.reason = reasons.of(candidate.node, "");
  } else {
    row.into = placeOf(op);
    row.reason = reasons.of(candidate.node, whyLeft(op, candidate.kind));
  }
  if (!soughtAs.empty() && !row.reason.empty()) {
    row.kind = soughtAs;
    told.insert(candidate.node);
  }
  rows.push_back(std::move(row));
}

/// A near miss at a node that is none of the candidates: the root of a chain
/// that would have become one op.
void ConceptList::addRemark(const RemarkRecord &record) {
  StringRef kind = kindOfPass(record.pass);
  bool isResidual = record.pass == "ferrite-fuse-norm-residual";
  if (kind.empty() || !(record.missed || (record.passed && isResidual)))
    return;
  SmallVector<StringRef> nodes;
  StringRef(record.node).split(nodes, ", ");
  if (llvm::any_of(nodes, [&](StringRef node) { return told.contains(node); }))
    return;
  ConceptRecord row{kind.str(), "", record.node, record.reason};
  if (record.passed)
    for (const auto &[key, value] : record.facts)
      row.into = value;
  for (StringRef node : nodes)
    if (Operation *op = record.missed ? holder.lookup(node) : nullptr)
      row.into = placeOf(op);
  if (row.into.empty())
    row.into = "several ops";
  if (record.missed)
    for (StringRef node : nodes)
      told.insert(node);
  rows.push_back(std::move(row));
}

std::vector<ConceptRecord> ConceptList::build(ArrayRef<Candidate> candidates) {
  addNamedOps();
  llvm::StringMap<StringRef> raised; // tanh and erf that became gelus
  for (const RemarkRecord &record : remarks.records()) {
    SmallVector<StringRef> nodes;
    StringRef(record.node).split(nodes, ", ");
    if (record.passed && record.pass == "ferrite-fuse-gelu")
      for (StringRef node : nodes)
        raised[node] = "gelu";
  }
  for (Candidate candidate : candidates) {
    bool isPart = candidate.kind == "erf" || candidate.kind == "tanh";
    if (StringRef kind = raised.lookup(candidate.node); isPart && !kind.empty())
      candidate.kind = kind;
    addCandidate(candidate);
  }
  for (const RemarkRecord &record : remarks.records())
    addRemark(record);
  return std::move(rows);
}

std::vector<ConceptRecord>
ferrite::matchCandidates(ModuleOp fused, ArrayRef<Candidate> candidates,
                         const RemarkLog &remarks) {
  return ConceptList(fused, remarks).build(candidates);
}
