//===- ControlFlow.cpp - If, Loop and Scan --------------------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// A plan has no branches and no loops. What is known at compile time is done
// here: a branch that is known is imported in place, and so is a body as often
// as it runs. Of a condition that data decides both branches are computed; they
// have no side effects, so the choice between their results is the If.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ControlFlow.h"

using namespace mlir;

namespace ferrite::frontend {

/// How often a body is imported at most, and how many nodes that makes.
constexpr int64_t kMaxTrips = 256;
constexpr int64_t kMaxUnrolledNodes = 20000;
constexpr int64_t kMaxUnrolledInAll = 100000;

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

FailureOr<std::vector<TensorValue>>
Importer::importBody(OpBinder &binder, const onnx::GraphProto &body,
                     ArrayRef<TensorValue> arguments) {
  if (body.input_size() != static_cast<int>(arguments.size()))
    return binder.error("its body takes " + Twine(body.input_size()) +
                        " values, not the " + Twine(arguments.size()) +
                        " that it is given");
  for (const auto &[input, argument] : llvm::zip(body.input(), arguments))
    define(input.name(), argument);
  for (const auto &tensor : body.initializer()) {
    Location loc = NameLoc::get(builder.getStringAttr(tensor.name()));
    FailureOr<TensorValue> value = importConstant(tensor, tensor.name(), loc);
    if (failed(value))
      return failure();
    define(tensor.name(), std::move(*value));
  }
  if (body.sparse_initializer_size() != 0)
    return binder.unsupported("its body has sparse initializers");
  for (const auto &node : body.node()) {
    ++summary.ops[OpTable::getKey(node)];
    if (failed(importNode(node)))
      return failure();
  }
  std::vector<TensorValue> results;
  for (const auto &output : body.output()) {
    TensorValue *value = find(output.name());
    if (!value)
      return binder.error("its body does not define its result '" +
                          output.name() + "'");
    // A copy would be made data a second time; what is small may be.
    bool isSmall = value->contents || value->floats;
    if (!value->poisoned && value->isTensor() && !isSmall &&
        failed(materialize(*value)))
      return failure();
    results.push_back(*value);
  }
  return results;
}

namespace {

bool anyPoisoned(ArrayRef<TensorValue> values) {
  return llvm::any_of(values,
                      [](const TensorValue &value) { return value.poisoned; });
}

/// The graph of attribute `name`; the checker has seen to it for the standard's
/// own nodes.
const onnx::GraphProto *getGraph(OpBinder &b, StringRef name) {
  const auto *attribute = b.find(name, onnx::AttributeProto::GRAPH);
  return attribute && attribute->has_g() ? &attribute->g() : nullptr;
}

int64_t countNodes(const onnx::GraphProto &graph) {
  int64_t count = 1;
  for (const auto &node : graph.node()) {
    ++count;
    for (const auto &attribute : node.attribute())
      if (attribute.has_g())
        count += countNodes(attribute.g());
  }
  return count;
}

/// Before `added` more trips make it `trips`.
LogicalResult checkTrips(OpBinder &b, const onnx::GraphProto &body,
                         int64_t trips, int64_t added) {
  int64_t nodes = countNodes(body);
  if (trips > kMaxTrips || trips * nodes > kMaxUnrolledNodes)
    return b.unsupported("its body would be repeated " + Twine(trips) +
                         " times; Ferrite unrolls at most " + Twine(kMaxTrips) +
                         ", and " + Twine(kMaxUnrolledNodes) + " nodes");
  // Loops in loops multiply.
  b.importer.unrolledNodes += added * nodes;
  if (b.importer.unrolledNodes > kMaxUnrolledInAll)
    return b.unsupported("the loops of the model unroll to more than " +
                         Twine(kMaxUnrolledInAll) + " nodes");
  return success();
}

//===----------------------------------------------------------------------===//
// If
//===----------------------------------------------------------------------===//

/// Both branches gave results: chooses between those of one place.
LogicalResult choose(OpBinder &b, unsigned i, TensorValue &yes,
                     TensorValue &no) {
  if (!yes.isTensor() || !no.isTensor())
    return b.unsupported("its condition depends on data, and its branches "
                         "give sequences or optional values");
  if (yes.element != no.element || yes.dims != no.dims)
    return b.unsupported("its condition depends on data, and its branches give "
                         "results of different shapes or types, " +
                         printDims(yes.dims) + " and " + printDims(no.dims));
  FailureOr<Value> condition = b.data(0), then = b.importer.materialize(yes),
                   otherwise = b.importer.materialize(no);
  if (failed(condition) || failed(then) || failed(otherwise))
    return failure();
  Dims ones(yes.rank(), DimExpr(1));
  Value which = b.view(*condition, b.input(0).dims, ones);
  return b.setData(
      b.create<WhereOp>(yes.dims, yes.element, which, *then, *otherwise),
      yes.dims, i);
}

LogicalResult importIf(OpBinder &b) {
  const onnx::GraphProto *then = getGraph(b, "then_branch"),
                         *otherwise = getGraph(b, "else_branch");
  if (!then || !otherwise)
    return b.error("it has no two branches");
  const onnx::NodeProto &node = b.node;
  for (const onnx::GraphProto *branch : {then, otherwise})
    if (branch->output_size() < node.output_size())
      return b.error("a branch has fewer results than the node");
  TensorValue &condition = b.input(0);
  if (!condition.element.isInteger(1) || !product(condition.dims).isConstant(1))
    return b.error("its condition is not one bool");
  if (condition.contents && condition.contents->front().constant()) {
    bool isTrue = !condition.contents->front().isConstant(0);
    auto results = b.importer.importBody(b, isTrue ? *then : *otherwise, {});
    if (failed(results))
      return failure();
    for (int i = 0; i < node.output_size(); ++i)
      b.setResult((*results)[i], i);
    return success();
  }
  auto yes = b.importer.importBody(b, *then, {});
  if (failed(yes))
    return failure();
  auto no = b.importer.importBody(b, *otherwise, {});
  if (failed(no))
    return failure();
  for (int i = 0; i < node.output_size(); ++i) {
    if ((*yes)[i].poisoned || (*no)[i].poisoned)
      b.setResult((*yes)[i].poisoned ? (*yes)[i] : (*no)[i], i);
    else if (failed(choose(b, i, (*yes)[i], (*no)[i])))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Scan
//===----------------------------------------------------------------------===//

/// The inputs and attributes of a Scan.
struct ScanParts {
  const onnx::GraphProto *body = nullptr;
  unsigned states = 0, scans = 0, stacks = 0;
  std::vector<int64_t> inputAxes, inputReversed, outputAxes, outputReversed;
  int64_t trips = 0;
};

/// A list attribute of `count` numbers, zeros by default.
FailureOr<std::vector<int64_t>> readList(OpBinder &b, StringRef name,
                                         size_t count) {
  auto list = b.intsAttr(name).value_or(std::vector<int64_t>(count));
  if (list.size() != count)
    return b.error("attribute '" + name + "' has " + Twine(list.size()) +
                   " elements, not " + Twine(count));
  return list;
}

FailureOr<ScanParts> readScan(OpBinder &b) {
  ScanParts parts;
  parts.body = getGraph(b, "body");
  int64_t scans = b.intAttr("num_scan_inputs", 0);
  if (!parts.body || scans < 1 || scans > b.numInputs())
    return b.error("it has no body, or attribute 'num_scan_inputs' is not the "
                   "number of its last inputs");
  for (unsigned i = 0; i < b.numInputs(); ++i)
    if (!b.hasInput(i) || !b.input(i).isTensor())
      return b.error("its input " + Twine(i) + " is no tensor");
  parts.scans = static_cast<unsigned>(scans);
  parts.states = b.numInputs() - parts.scans;
  int results = parts.body->output_size();
  if (results < static_cast<int>(parts.states) ||
      b.node.output_size() > results)
    return b.error("its body has " + Twine(results) + " results");
  parts.stacks = results - parts.states;
  auto inputAxes = readList(b, "scan_input_axes", parts.scans),
       inputReversed = readList(b, "scan_input_directions", parts.scans),
       outputAxes = readList(b, "scan_output_axes", parts.stacks),
       outputReversed = readList(b, "scan_output_directions", parts.stacks);
  if (failed(inputAxes) || failed(inputReversed) || failed(outputAxes) ||
      failed(outputReversed))
    return failure();
  std::optional<DimExpr> length;
  for (unsigned i = 0; i < parts.scans; ++i) {
    const TensorValue &input = b.input(parts.states + i);
    FailureOr<int64_t> axis = b.normalizeAxis((*inputAxes)[i], input.rank());
    if (failed(axis))
      return failure();
    (*inputAxes)[i] = *axis;
    if (length && *length != input.dims[*axis])
      return b.error("what it scans has " + length->str() + " and " +
                     input.dims[*axis].str() + " parts");
    length = input.dims[*axis];
  }
  if (!length->constant())
    return b.unsupported("what it scans has " + length->str() +
                         " parts; Ferrite unrolls a known number of them. Make "
                         "it one with --dim");
  parts.trips = *length->constant();
  parts.inputAxes = *inputAxes;
  parts.inputReversed = *inputReversed;
  parts.outputAxes = *outputAxes;
  parts.outputReversed = *outputReversed;
  return parts;
}

LogicalResult importScan(OpBinder &b) {
  FailureOr<ScanParts> parts = readScan(b);
  if (failed(parts) ||
      failed(checkTrips(b, *parts->body, parts->trips, parts->trips)))
    return failure();
  std::vector<TensorValue> states;
  for (unsigned i = 0; i < parts->states; ++i)
    states.push_back(b.input(i));
  std::vector<std::vector<TensorValue>> stacks(parts->stacks);
  for (int64_t trip = 0; trip < parts->trips; ++trip) {
    std::vector<TensorValue> arguments = states;
    for (unsigned i = 0; i < parts->scans; ++i) {
      int64_t at = parts->inputReversed[i] ? parts->trips - 1 - trip : trip;
      FailureOr<TensorValue> part =
          takePart(b, parts->states + i, parts->inputAxes[i], at);
      if (failed(part))
        return failure();
      arguments.push_back(*part);
    }
    auto results = b.importer.importBody(b, *parts->body, arguments);
    if (failed(results))
      return failure();
    states.assign(results->begin(), results->begin() + parts->states);
    for (unsigned i = 0; i < parts->stacks; ++i)
      stacks[i].push_back((*results)[parts->states + i]);
  }
  for (unsigned i = 0; i < parts->states; ++i)
    b.setResult(states[i], i);
  for (unsigned i = 0; i < parts->stacks; ++i) {
    if (parts->outputReversed[i])
      std::reverse(stacks[i].begin(), stacks[i].end());
    if (b.hasOutput(parts->states + i) &&
        failed(
            stackParts(b, stacks[i], parts->outputAxes[i], parts->states + i)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Loop
//===----------------------------------------------------------------------===//

/// Whether a condition, known at compile time, lets a trip begin.
FailureOr<bool> isTaken(OpBinder &b, const TensorValue &condition) {
  if (!condition.isTensor() || !condition.contents ||
      condition.contents->size() != 1 ||
      !condition.contents->front().constant())
    return b.unsupported("whether it goes on depends on data; Ferrite unrolls "
                         "a number of trips that is known");
  return !condition.contents->front().isConstant(0);
}

LogicalResult importLoop(OpBinder &b) {
  const onnx::GraphProto *body = getGraph(b, "body");
  unsigned carried = b.numInputs() < 2 ? 0 : b.numInputs() - 2;
  if (!body || body->output_size() < static_cast<int>(carried) + 1 ||
      b.node.output_size() > body->output_size() - 1)
    return b.error("it has no body with a condition and a result for each "
                   "value that it carries");
  int64_t limit = INT64_MAX;
  if (b.hasInput(0)) {
    auto count = b.integers(0, "trip count");
    if (failed(count))
      return failure();
    if (count->size() != 1)
      return b.error("its trip count is not one number");
    limit = std::max<int64_t>(count->front(), 0);
  }
  bool goesOn = true;
  if (b.hasInput(1)) {
    auto condition = b.integers(1, "condition");
    if (failed(condition))
      return failure();
    if (condition->size() != 1)
      return b.error("its condition is not one bool");
    goesOn = condition->front() != 0;
  }
  std::vector<TensorValue> values;
  for (unsigned i = 0; i < carried; ++i) {
    if (!b.hasInput(2 + i))
      return b.error("a value that it carries is missing");
    values.push_back(b.input(2 + i));
  }
  std::vector<std::vector<TensorValue>> stacks(body->output_size() - 1 -
                                               carried);
  auto scalar = [&](int64_t value, Type element) {
    TensorValue result = b.makeValue(element, {});
    result.contents = {DimExpr(value)};
    return result;
  };
  for (int64_t trip = 0; goesOn && trip < limit; ++trip) {
    if (failed(checkTrips(b, *body, trip + 1, 1)))
      return failure();
    std::vector<TensorValue> arguments = {
        scalar(trip, b.builder().getI64Type()),
        scalar(1, b.builder().getI1Type())};
    arguments.insert(arguments.end(), values.begin(), values.end());
    auto results = b.importer.importBody(b, *body, arguments);
    if (failed(results))
      return failure();
    if (anyPoisoned(*results)) {
      for (unsigned i = 0; i < carried + stacks.size(); ++i)
        b.setResult(
            *llvm::find_if(*results, [](auto &each) { return each.poisoned; }),
            i);
      return success();
    }
    FailureOr<bool> taken = isTaken(b, results->front());
    if (failed(taken))
      return failure();
    goesOn = *taken;
    values.assign(results->begin() + 1, results->begin() + 1 + carried);
    for (size_t i = 0; i < stacks.size(); ++i)
      stacks[i].push_back((*results)[1 + carried + i]);
  }
  for (unsigned i = 0; i < carried; ++i)
    b.setResult(values[i], i);
  for (size_t i = 0; i < stacks.size(); ++i)
    if (b.hasOutput(carried + i) &&
        failed(stackParts(b, stacks[i], 0, carried + i)))
      return failure();
  return success();
}

} // namespace

void registerControlFlowOps(OpTable &table) {
  table.add("If", importIf);
  table.add("Scan", importScan);
  table.addForSequences("Loop", importLoop);
}

} // namespace ferrite::frontend
