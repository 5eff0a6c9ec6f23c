//===- ControlFlow.cpp - If and Loop --------------------------------------===//
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

static int64_t countNodes(const onnx::GraphProto &graph) {
  int64_t count = 1;
  for (const auto &node : graph.node()) {
    ++count;
    for (const auto &attribute : node.attribute())
      if (attribute.has_g())
        count += countNodes(attribute.g());
  }
  return count;
}

const onnx::GraphProto *getGraph(OpBinder &b, StringRef name) {
  const auto *attribute = b.find(name, onnx::AttributeProto::GRAPH);
  return attribute && attribute->has_g() ? &attribute->g() : nullptr;
}

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

namespace {

bool anyPoisoned(ArrayRef<TensorValue> values) {
  return llvm::any_of(values,
                      [](const TensorValue &value) { return value.poisoned; });
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

/// What a body gives from result `first` on, when it runs no time: none of what
/// one trip with `arguments` would give. The ops of that trip are dead.
LogicalResult setEmptyStacks(OpBinder &b, const onnx::GraphProto &body,
                             ArrayRef<TensorValue> arguments, unsigned first) {
  if (failed(checkTrips(b, body, 1, 1)))
    return failure();
  auto results = b.importer.importBody(b, body, arguments);
  if (failed(results))
    return failure();
  for (unsigned i = first; i + 1 < results->size(); ++i)
    if (b.hasOutput(i) && failed(stackNone(b, (*results)[i + 1], i)))
      return failure();
  return success();
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
  auto getArguments = [&](int64_t trip) {
    std::vector<TensorValue> arguments = {
        scalar(trip, b.builder().getI64Type()),
        scalar(1, b.builder().getI1Type())};
    arguments.insert(arguments.end(), values.begin(), values.end());
    return arguments;
  };
  if ((!goesOn || limit == 0) &&
      b.node.output_size() > static_cast<int>(carried) &&
      failed(setEmptyStacks(b, *body, getArguments(0), carried)))
    return failure();
  for (int64_t trip = 0; goesOn && trip < limit; ++trip) {
    if (failed(checkTrips(b, *body, trip + 1, 1)))
      return failure();
    auto results = b.importer.importBody(b, *body, getArguments(trip));
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
    if (b.hasOutput(carried + i) && !stacks[i].empty() &&
        failed(stackParts(b, stacks[i], 0, carried + i)))
      return failure();
  return success();
}

} // namespace

void registerControlFlowOps(OpTable &table) {
  table.add("If", importIf);
  registerScanOps(table);
  table.addForSequences("Loop", importLoop);
}

} // namespace ferrite::frontend
