//===- Concepts.cpp - What became of each part of a model -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Driver/Concepts.h"

#include "dialects/Ferrite/IR/Ferrite.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ferrite;

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
      .Case<SigmoidOp>([](auto) { return "sigmoid"; })
      .Case<TanhOp>([](auto) { return "tanh"; })
      .Case<ReluOp>([](auto) { return "relu"; })
      .Case<ErfOp>([](auto) { return "erf"; })
      .Default([](Operation *) { return ""; });
}

/// The op's own name where it is a concept after fusion, else empty.
static std::string nameOfConcept(Operation *op) {
  if (isa<AttentionOp, NormOp>(op))
    return kindOfCandidate(op).str();
  if (isa<LinearOp, RopeOp, EmbeddingOp, GroupedLinearOp, LinearAttentionOp>(
          op)) {
    std::string name = op->getName().stripDialect().str();
    std::replace(name.begin(), name.end(), '_', ' ');
    return name;
  }
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

namespace {
/// The missed remarks by node.
class Reasons {
public:
  explicit Reasons(const RemarkLog &remarks) {
    for (const RemarkRecord &record : remarks.records()) {
      if (!record.missed || record.reason.empty())
        continue;
      SmallVector<StringRef> nodes;
      StringRef(record.node).split(nodes, ", ");
      StringRef pass = record.pass;
      pass.consume_front("ferrite-");
      for (StringRef node : nodes)
        byNode.try_emplace(node, pass.str() + ": " + record.reason);
    }
  }
  std::string of(StringRef node, StringRef otherwise) const {
    auto found = byNode.find(node);
    return found == byNode.end() ? otherwise.str() : found->second;
  }

private:
  llvm::StringMap<std::string> byNode;
};
} // namespace

std::vector<ConceptRecord>
ferrite::matchCandidates(ModuleOp fused, ArrayRef<Candidate> candidates,
                         const RemarkLog &remarks) {
  std::vector<ConceptRecord> result;
  // Named ops win over what is left: a node may have gone into both.
  llvm::StringMap<Operation *> holder;
  fused.walk([&](func::FuncOp func) {
    for (Operation &op : func.getBody().front()) {
      bool isNamed = !nameOfConcept(&op).empty();
      for (StringRef node : namesIn(op.getLoc())) {
        Operation *&at = holder[node];
        if (!at || (isNamed && nameOfConcept(at).empty()))
          at = &op;
      }
      if (isNamed)
        result.push_back({nameOfConcept(&op), "", nodeNames(op.getLoc()), ""});
    }
  });
  Reasons reasons(remarks);
  for (const Candidate &candidate : candidates) {
    ConceptRecord record{candidate.kind, "", candidate.node, ""};
    Operation *op = holder.lookup(candidate.node);
    std::string name = op ? nameOfConcept(op) : "";
    if (!op) {
      record.into = "nothing: no output needs it, or it was computed at "
                    "compile time";
    } else if (!name.empty()) {
      // The op itself is in the list; what else it holds is said here.
      bool isItself = name == candidate.kind ||
                      (candidate.kind == "matmul" && name != "embedding") ||
                      (candidate.kind == "softmax" && name == "attention");
      if (isItself)
        continue;
      record.into = (isa<LinearOp>(op) ? "the epilogue of " : "") + name;
    } else {
      StringRef left = isa<MatmulOp>(op) ? "both sides are computed"
                       : isa<FusedOp>(op)
                           ? "no product or norm before it takes it"
                           : "no op of a transformer takes it";
      record.into = isa<FusedOp>(op) ? "an elementwise kernel"
                                     : op->getName().stripDialect().str();
      record.reason = reasons.of(candidate.node, left);
    }
    result.push_back(std::move(record));
  }
  return result;
}
