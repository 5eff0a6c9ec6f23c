//===- Importer.cpp - The state of one import -----------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/Importer.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "lib/Frontend/ONNX/OpBinder.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;

namespace ferrite::frontend {

//===----------------------------------------------------------------------===//
// OpTable
//===----------------------------------------------------------------------===//

OpTable::OpTable() {
  registerElementwiseOps(*this);
  registerComparisonOps(*this);
  registerConstantOps(*this);
  registerViewOps(*this);
  registerIndexOps(*this);
  registerContractionOps(*this);
  registerConvOps(*this);
  registerPoolOps(*this);
  registerPadOps(*this);
  registerResizeOps(*this);
  registerGroupNormOps(*this);
  registerQuantizeOps(*this);
  registerQuantizedConvOps(*this);
  registerQuantizedProductOps(*this);
  registerQuantizedElementwiseOps(*this);
  registerBlockQuantOps(*this);
  registerNormOps(*this);
  registerReduceOps(*this);
  registerDecomposedOps(*this);
  registerActivationOps(*this);
  registerEinsumOps(*this);
  registerMatrixOps(*this);
  registerUnpoolOps(*this);
  registerSignalOps(*this);
  registerRnnOps(*this);
  registerGridSampleOps(*this);
  registerMicrosoftOps(*this);
  registerAttentionOps(*this);
  registerControlFlowOps(*this);
  registerSequenceOps(*this);
  registerLinearAttentionOps(*this);
  registerRecurrentOps(*this);
}

std::string OpTable::getKey(const onnx::NodeProto &node) {
  if (node.domain().empty() || node.domain() == "ai.onnx")
    return node.op_type();
  return node.domain() + "::" + node.op_type();
}

OpHandler OpTable::find(const onnx::NodeProto &node) const {
  return entries.lookup(getKey(node)).handler;
}

bool OpTable::takesSequences(const onnx::NodeProto &node) const {
  return entries.lookup(getKey(node)).takesSequences;
}

unsigned OpTable::getRequiredInputs(const onnx::NodeProto &node) const {
  return entries.lookup(getKey(node)).required;
}

unsigned OpTable::getMostInputs(const onnx::NodeProto &node) const {
  return entries.lookup(getKey(node)).most;
}

//===----------------------------------------------------------------------===//
// Importer: the model
//===----------------------------------------------------------------------===//

Importer::Importer(MLIRContext *context, ModelFile &file,
                   const ImportOptions &options, ImportSummary &summary)
    : builder(context), file(file), options(options), summary(summary) {}

Location Importer::getLoc(const onnx::NodeProto &node) {
  return NameLoc::get(builder.getStringAttr(getNodeName(node)));
}

void Importer::setEqualities(std::vector<SymbolBounds::Equality> known,
                             bool tentative) {
  symbols.setEqualities(std::move(known));
  symbols.isTentative = tentative;
}

bool Importer::unify(const onnx::NodeProto &node, const DimExpr &a,
                     const DimExpr &b) {
  if (!found)
    found = symbols.solve(a, b);
  if (!found)
    return false;
  // Shown by the compile report: calls of other sizes will be refused.
  remark::missed(
      getLoc(node),
      remark::RemarkOpts::name("equal-sizes").category("ferrite-import"))
      << remark::reason("{0} has to be {1}: the node works with no other size",
                        found->symbol, found->value.str());
  return true;
}

void Importer::emitReports() {
  for (const auto &[loc, message] : reports)
    emitError(loc) << message;
}

void Importer::report(const onnx::NodeProto *node, StringRef message,
                      Fault fault) {
  if (found)
    return; // of what follows from the sizes being unequal
  if (errors != 0 && !options.collectAll)
    return; // of what follows from the first
  std::string text = message.str() + symbols.explainDecided(message);
  if (text.size() != message.size()) // in a run the size may be right
    fault = Fault::Limitation;
  ++errors;
  ++(fault == Fault::Model ? summary.faults : summary.limitations);
  if (!node) {
    reports.emplace_back(builder.getUnknownLoc(),
                         makePrintable("'" + file.getPath() + "': " + text));
    return;
  }
  reports.emplace_back(getLoc(*node),
                       makePrintable("node '" + getNodeName(*node) + "' (" +
                                     OpTable::getKey(*node) + "): " + text));
}

FailureOr<OwningOpRef<ModuleOp>> Importer::run() {
  if (failed(prepareModel()))
    return failure();
  const onnx::GraphProto &graph = file.getModel().graph();
  summary.opset = opset;
  summary.nodes = graph.node_size();
  collectUses(graph.node());
  for (const auto &output : graph.output())
    usedNames.insert(output.name());
  collectEmptyDims(graph);

  OwningOpRef<ModuleOp> module(ModuleOp::create(builder.getUnknownLoc()));
  (*module)->setAttr(kModelPathAttr, builder.getStringAttr(file.getPath()));
  builder.setInsertionPointToEnd(module->getBody());
  auto function = func::FuncOp::create(builder, builder.getUnknownLoc(), "main",
                                       builder.getFunctionType({}, {}));
  Block *block = function.addEntryBlock();
  builder.setInsertionPointToStart(block);
  if (failed(importInitializers()) || failed(importInputs(function)))
    return failure();
  for (const onnx::NodeProto &node : graph.node()) {
    ++summary.ops[OpTable::getKey(node)];
    if (failed(importNode(node)) && (!options.collectAll || found))
      return failure();
  }
  if (failed(importOutputs(function)) || errors != 0)
    return failure();

  SmallVector<Attribute> symbolAttrs;
  for (const auto &[name, bounds] : symbols.all())
    symbolAttrs.push_back(
        SymbolAttr::get(builder.getContext(), name, bounds.min, bounds.max));
  function->setAttr(kSymbolsAttr, builder.getArrayAttr(symbolAttrs));
  eraseDeadOps(*block);
  // The `like` of a CastLike has no elements; as data, no kernel takes that.
  for (BlockArgument argument : block->getArguments())
    if (cast<RankedTensorType>(argument.getType()).hasStaticShape() &&
        cast<RankedTensorType>(argument.getType()).getNumElements() == 0 &&
        !argument.use_empty())
      report(nullptr,
             "input '" +
                 function
                     .getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                   kNameAttr)
                     .str() +
                 "' has no elements, which is not supported where its "
                 "elements are computed with",
             Fault::Limitation);
  if (errors != 0)
    return failure();
  if (failed(verify(*module)))
    return failure();
  return std::move(module);
}

void Importer::eraseDeadOps(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

void Importer::collectUses(
    const google::protobuf::RepeatedPtrField<onnx::NodeProto> &nodes) {
  for (const auto &node : nodes) {
    for (const std::string &input : node.input())
      usedNames.insert(input);
    for (const auto &attribute : node.attribute())
      if (attribute.has_g()) {
        collectUses(attribute.g().node());
        for (const auto &output : attribute.g().output())
          usedNames.insert(output.name());
      }
  }
}

//===----------------------------------------------------------------------===//
// Importer: values and nodes
//===----------------------------------------------------------------------===//

TensorValue *Importer::find(StringRef name) {
  auto found = values.find(name);
  return found == values.end() ? nullptr : &found->second;
}

void Importer::define(StringRef name, TensorValue value) {
  values.insert_or_assign(name, std::move(value));
}

void Importer::poisonOutputs(const onnx::NodeProto &node) {
  for (const std::string &output : node.output()) {
    TensorValue value(getLoc(node));
    value.poisoned = true;
    if (!output.empty())
      define(output, std::move(value));
  }
}

LogicalResult Importer::importNode(const onnx::NodeProto &node) {
  // Loops in loops may repeat a few nodes beyond bounds.
  constexpr uint64_t kMaxImportedNodes = 1000000;
  if (++importedNodes > kMaxImportedNodes) {
    if (importedNodes == kMaxImportedNodes + 1)
      report(&node,
             "the model has more nodes than Ferrite imports, its loops "
             "unrolled",
             Fault::Limitation);
    poisonOutputs(node);
    return failure();
  }
  for (const std::string &input : node.input()) {
    if (input.empty())
      continue;
    TensorValue *value = find(input);
    if (!value || !value->poisoned)
      continue;
    // The cause was reported; an op that is unknown besides is news.
    if (!table.find(node) && !hasFunctionBody(node, opset))
      reportUnknown(node);
    poisonOutputs(node);
    return success();
  }
  if (!rejected.contains(&node) && succeeded(applyHandler(node)))
    return success();
  poisonOutputs(node);
  return failure();
}

void Importer::reportUnknown(const onnx::NodeProto &node) {
  bool isStandard = node.domain().empty() || node.domain() == "ai.onnx";
  if (isStandard && !isKnownOp(node, opset))
    report(&node, "opset " + std::to_string(opset) + " of ONNX has no such op");
  else
    report(&node, "the op is not supported", Fault::Limitation);
}

LogicalResult Importer::applyHandler(const onnx::NodeProto &node) {
  for (const std::string &output : node.output())
    definers[output] = &node;
  OpHandler handler = table.find(node);
  if (!handler && !hasFunctionBody(node, opset)) {
    reportUnknown(node);
    return failure();
  }
  for (const std::string &input : node.input())
    if (!input.empty() && !find(input)) {
      report(&node, "reads '" + input + "', which nothing before it defines");
      return failure();
    }
  if (!handler)
    return importFunction(node);
  for (const std::string &input : node.input())
    if (!input.empty() && !find(input)->isTensor() &&
        !table.takesSequences(node)) {
      report(&node,
             "its input '" + input +
                 "' is a sequence or an optional value without an element, "
                 "which is not supported here",
             Fault::Limitation);
      return failure();
    }
  OpBinder binder(*this, node);
  for (unsigned i = 0, end = table.getRequiredInputs(node); i < end; ++i)
    if (!binder.hasInput(i))
      return binder.error("its input " + Twine(i) + " is missing");
  if (binder.numInputs() > table.getMostInputs(node))
    return binder.error("it has " + Twine(binder.numInputs()) +
                        " inputs; the op takes " +
                        Twine(table.getMostInputs(node)));
  Block *block = builder.getInsertionBlock();
  Operation *before = block->empty() ? nullptr : &block->back();
  if (failed(handler(binder)) || failed(verifyFrom(binder, before)) ||
      failed(binder.checkAllRead()))
    return failure();
  for (const std::string &output : node.output())
    if (!output.empty() && !find(output) && usedNames.contains(output)) {
      report(&node, "its output '" + output + "' is not supported",
             Fault::Limitation);
      return failure();
    }
  return success();
}

} // namespace ferrite::frontend

//===----------------------------------------------------------------------===//
// The entry
//===----------------------------------------------------------------------===//

FailureOr<OwningOpRef<ModuleOp>>
ferrite::frontend::importEntry(MLIRContext *context, const std::string &path,
                               const ImportOptions &options,
                               ImportSummary &found) {
  context
      ->loadDialect<FerriteDialect, func::FuncDialect, arith::ArithDialect>();
  std::vector<frontend::SymbolBounds::Equality> equalities;
  bool isTentative = false, mayTry = true;
  while (true) {
    auto file = frontend::ModelFile::open(path);
    found = {};
    if (!file) {
      ++found.faults;
      emitError(UnknownLoc::get(context))
          << frontend::makePrintable(llvm::toString(file.takeError()));
      return failure();
    }
    frontend::Importer importer(context, **file, options, found);
    importer.setEqualities(equalities, isTentative);
    auto module = importer.run();
    // Each takes a symbol away; models have a handful.
    if (importer.getFound() && equalities.size() < 16) {
      equalities = addEquality(std::move(equalities), *importer.getFound());
      isTentative = false;
      mayTry = true;
      continue;
    }
    bool tries = !isTentative && mayTry && failed(module) && importer.isOpen();
    if (tries || isTentative) {
      mayTry = false;
      isTentative = tries;
      continue;
    }
    importer.emitReports();
    return module;
  }
}
