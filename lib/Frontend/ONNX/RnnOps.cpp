//===- RnnOps.cpp - RNN, GRU and LSTM, step by step -----------------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The products of all steps with the input weights are one; what depends on the
// state before is unrolled, so the number of steps has to be known. No
// transformer has these: they need to be right, not to be long.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/IndexTuples.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

constexpr int64_t kMostSteps = 256;

enum class Cell { Rnn, Gru, Lstm };

struct State {
  Value hidden, cell; ///< [batch, hidden]
};

class Recurrence {
public:
  Recurrence(OpBinder &b, Cell cell) : b(b), cell(cell) {}
  LogicalResult import();

private:
  LogicalResult bindAttributes();
  LogicalResult bindActivations();
  LogicalResult bindShapes();
  LogicalResult expectDims(unsigned i, const Dims &dims, StringRef what);
  Value matrixOf(unsigned i, int64_t direction, const Dims &dims);
  Value bias(int64_t direction, bool ofState, int64_t first, int64_t count);
  State initial(int64_t direction);
  Value perStep(int64_t direction);
  LogicalResult run(int64_t direction);
  State step(const State &before, Value input, int64_t direction);
  State stepGru(const State &before, Value input, int64_t direction);
  State stepLstm(const State &before, Value input, int64_t direction);

  int64_t gates() const {
    return cell == Cell::Rnn ? 1 : cell == Cell::Gru ? 3 : 4;
  }
  int64_t numActivations() const {
    return cell == Cell::Rnn ? 1 : cell == Cell::Gru ? 2 : 3;
  }
  template <typename OpTy>
  Value make(Value x, Value y) {
    return b.create<OpTy>(point, element, x, y);
  }
  Value sliced(Value x, Dims dims, size_t d, int64_t first, int64_t count);
  /// Gate `g` of [batch, gates * hidden].
  Value gate(Value all, int64_t g) {
    return sliced(all, {batch, DimExpr(gates() * hidden)}, 1, g * hidden,
                  hidden);
  }
  /// Row `g` of the peepholes, to all of the batch.
  Value peephole(int64_t g, int64_t direction) {
    Value all = matrixOf(7, direction, {DimExpr(3 * hidden)});
    return sliced(all, {DimExpr(3 * hidden)}, 0, g * hidden, hidden);
  }
  Value product(Value state, Value weight, int64_t columns);
  Value activate(int64_t direction, int64_t i, Value x);
  Value oneMinus(Value x) { return make<SubOp>(b.scalar(1, element), x); }
  Value stack(ArrayRef<Value> parts, const Dims &part, size_t d, Dims &dims);

  OpBinder &b;
  Cell cell;
  Type element;
  int64_t hidden = 0, steps = 0, directions = 1, inputs = 0;
  bool reverses = false, batchFirst = false, linearBeforeReset = false,
       couplesForget = false;
  std::optional<float> clip;
  std::vector<std::string> activations;
  DimExpr batch;
  Dims point; ///< [batch, hidden]
  std::vector<Value> data;
  std::vector<Value> outputs, lastHidden, lastCell; ///< of each direction
};

} // namespace

LogicalResult Recurrence::bindAttributes() {
  hidden = b.intAttr("hidden_size", 0);
  batchFirst = b.intAttr("layout", 0) != 0;
  linearBeforeReset =
      cell == Cell::Gru && b.intAttr("linear_before_reset", 0) != 0;
  couplesForget = cell == Cell::Lstm && b.intAttr("input_forget", 0) != 0;
  // Of an LSTM it is not said whether the cell is clipped before it is shown.
  if (b.hasAttr("clip") && cell == Cell::Lstm)
    return b.unsupported("attribute 'clip' is not supported");
  if (b.hasAttr("clip"))
    clip = b.floatAttr("clip", 0);
  std::string direction = b.stringAttr("direction", "forward");
  reverses = direction == "reverse";
  directions = direction == "bidirectional" ? 2 : 1;
  if (directions == 1 && !reverses && direction != "forward")
    return b.error("attribute 'direction' = '" + direction +
                   "' is no direction");
  return bindActivations();
}

LogicalResult Recurrence::bindActivations() {
  for (const char *name : {"activation_alpha", "activation_beta"})
    if (b.hasAttr(name))
      return b.unsupported("attribute '" + Twine(name) + "' is not supported");
  if (const auto *given = b.find("activations", onnx::AttributeProto::STRINGS))
    activations.assign(given->strings().begin(), given->strings().end());
  for (int64_t i = activations.size(); i < directions * numActivations(); ++i) {
    bool isGate = cell != Cell::Rnn && i % numActivations() == 0;
    activations.push_back(isGate ? "Sigmoid" : "Tanh");
  }
  for (const std::string &name : activations)
    if (name != "Sigmoid" && name != "Tanh" && name != "Relu")
      return b.unsupported("activation '" + name + "' is not supported");
  return success();
}

LogicalResult Recurrence::expectDims(unsigned i, const Dims &dims,
                                     StringRef what) {
  if (!b.hasInput(i))
    return success();
  if (b.input(i).dims == dims && (i == 4 || b.input(i).element == element))
    return success();
  return b.error("its " + what + ", " + printDims(b.input(i).dims) +
                 ", is not of " + printDims(dims) + " and of its type");
}

LogicalResult Recurrence::bindShapes() {
  TensorValue &input = b.input(0);
  element = input.element;
  if (input.rank() != 3 || !isa<FloatType>(element))
    return b.error("its input, " + printDims(input.dims) +
                   ", is not of three dims of floats");
  std::optional<int64_t> length = input.dims[batchFirst].constant(),
                         width = input.dims[2].constant();
  batch = input.dims[!batchFirst];
  if (!length || *length < 1 || *length > kMostSteps || !width)
    return b.unsupported("of " + input.dims[batchFirst].str() +
                         " steps is not supported; Ferrite needs from 1 to " +
                         Twine(kMostSteps));
  steps = *length;
  inputs = *width;
  if (b.input(2).rank() == 3 && b.input(2).dims[2].constant() && hidden == 0)
    hidden = *b.input(2).dims[2].constant();
  if (hidden < 1 || hidden > (int64_t(1) << 24))
    return b.error("its hidden_size is " + Twine(hidden));
  point = {batch, DimExpr(hidden)};
  DimExpr d(directions), all(gates() * hidden), h(hidden);
  Dims state = {d, batch, h};
  if (batchFirst)
    std::swap(state[0], state[1]);
  if (failed(expectDims(1, {d, all, DimExpr(inputs)}, "W")) ||
      failed(expectDims(2, {d, all, h}, "R")) ||
      failed(expectDims(3, {d, all + all}, "B")) ||
      failed(expectDims(4, {batch}, "sequence_lens")) ||
      failed(expectDims(5, state, "initial_h")) ||
      failed(expectDims(6, state, "initial_c")) ||
      failed(expectDims(7, {d, DimExpr(3 * hidden)}, "P")))
    return failure();
  for (unsigned i = 0; i < 8; ++i) {
    data.emplace_back();
    if (!b.hasInput(i))
      continue;
    FailureOr<Value> value = b.data(i);
    if (failed(value))
      return failure();
    data.back() = *value;
  }
  return success();
}

/// `count` positions of dim `d`.
Value Recurrence::sliced(Value x, Dims dims, size_t d, int64_t first,
                         int64_t count) {
  Dims offsets(dims.size(), DimExpr(0));
  offsets[d] = DimExpr(first);
  dims[d] = DimExpr(count);
  return b.create<SliceOp>(dims, OpBinder::elementOf(x), x, b.dimsAttr(offsets),
                           SmallVector<int64_t>(dims.size(), 1),
                           b.dimsAttr(dims));
}

/// What input `i` has for a direction, of `dims`.
Value Recurrence::matrixOf(unsigned i, int64_t direction, const Dims &dims) {
  bool isState = i == 5 || i == 6;
  size_t d = isState && batchFirst ? 1 : 0;
  return b.view(sliced(data[i], b.input(i).dims, d, direction, 1), dims);
}

/// Gates [first, first + count) of the bias, of the input's half or the
/// state's.
Value Recurrence::bias(int64_t direction, bool ofState, int64_t first,
                       int64_t count) {
  DimExpr all(2 * gates() * hidden);
  return sliced(matrixOf(3, direction, {all}), {all}, 0,
                (first + (ofState ? gates() : 0)) * hidden, count * hidden);
}

State Recurrence::initial(int64_t direction) {
  auto get = [&](unsigned i) -> Value {
    if (b.hasInput(i))
      return matrixOf(i, direction, point);
    return b.create<BroadcastOp>(point, element, b.scalar(0, element),
                                 b.dimsAttr(point));
  };
  return {get(5), cell == Cell::Lstm ? get(6) : Value()};
}

/// state * weight^T, of `columns` rows of the weight.
Value Recurrence::product(Value state, Value weight, int64_t columns) {
  Dims from = {DimExpr(columns), DimExpr(hidden)};
  return b.create<MatmulOp>(Dims{batch, DimExpr(columns)}, element, state,
                            b.transpose(weight, from, {1, 0}));
}

Value Recurrence::activate(int64_t direction, int64_t i, Value x) {
  if (clip) {
    x = make<MaxOp>(x, b.scalar(-*clip, element));
    x = make<MinOp>(x, b.scalar(*clip, element));
  }
  StringRef name = activations[direction * numActivations() + i];
  if (name == "Sigmoid")
    return b.create<SigmoidOp>(point, element, x);
  if (name == "Tanh")
    return b.create<TanhOp>(point, element, x);
  return b.create<ReluOp>(point, element, x);
}

/// [steps, batch, gates * hidden]: what the input gives to each step.
Value Recurrence::perStep(int64_t direction) {
  Dims order = b.input(0).dims;
  Value x = data[0];
  if (batchFirst) {
    x = b.transpose(x, order, {1, 0, 2});
    std::swap(order[0], order[1]);
  }
  Dims weight = {DimExpr(gates() * hidden), DimExpr(inputs)};
  order[2] = weight[0];
  Value result = b.create<MatmulOp>(
      order, element, x,
      b.transpose(matrixOf(1, direction, weight), weight, {1, 0}));
  if (b.hasInput(3))
    result = b.create<AddOp>(order, element, result,
                             bias(direction, false, 0, gates()));
  return result;
}

State Recurrence::stepGru(const State &before, Value input, int64_t direction) {
  Dims all = {DimExpr(3 * hidden), DimExpr(hidden)};
  Value weight = matrixOf(2, direction, all);
  auto fromState = [&](int64_t g, Value state) {
    Value x =
        product(state, sliced(weight, all, 0, g * hidden, hidden), hidden);
    return b.hasInput(3) ? make<AddOp>(x, bias(direction, true, g, 1)) : x;
  };
  auto sigma = [&](int64_t g) {
    return activate(direction, 0,
                    make<AddOp>(gate(input, g), fromState(g, before.hidden)));
  };
  Value update = sigma(0), reset = sigma(1);
  Value kept = linearBeforeReset
                   ? make<MulOp>(reset, fromState(2, before.hidden))
                   : fromState(2, make<MulOp>(reset, before.hidden));
  Value fresh = activate(direction, 1, make<AddOp>(gate(input, 2), kept));
  return {make<AddOp>(make<MulOp>(oneMinus(update), fresh),
                      make<MulOp>(update, before.hidden)),
          {}};
}

State Recurrence::stepLstm(const State &before, Value sums, int64_t direction) {
  // In order: input, output, forget, cell; peepholes of the first three.
  auto sigma = [&](int64_t g, Value state) {
    Value x = gate(sums, g);
    if (b.hasInput(7))
      x = make<AddOp>(x, make<MulOp>(state, peephole(g, direction)));
    return activate(direction, 0, x);
  };
  Value in = sigma(0, before.cell);
  Value forget = couplesForget ? oneMinus(in) : sigma(2, before.cell);
  Value fresh = activate(direction, 1, gate(sums, 3));
  Value next =
      make<AddOp>(make<MulOp>(forget, before.cell), make<MulOp>(in, fresh));
  Value out = sigma(1, next);
  return {make<MulOp>(out, activate(direction, 2, next)), next};
}

State Recurrence::step(const State &before, Value input, int64_t direction) {
  if (cell == Cell::Gru)
    return stepGru(before, input, direction);
  Dims all = {DimExpr(gates() * hidden), DimExpr(hidden)};
  Dims wide = {batch, all[0]};
  Value sums = b.create<AddOp>(
      wide, element, input,
      product(before.hidden, matrixOf(2, direction, all), gates() * hidden));
  if (b.hasInput(3))
    sums =
        b.create<AddOp>(wide, element, sums, bias(direction, true, 0, gates()));
  if (cell == Cell::Lstm)
    return stepLstm(before, sums, direction);
  return {activate(direction, 0, sums), {}};
}

/// `parts` joined along a new dim `d`.
Value Recurrence::stack(ArrayRef<Value> parts, const Dims &part, size_t d,
                        Dims &dims) {
  dims = part;
  dims.insert(dims.begin() + d, DimExpr(1));
  SmallVector<Value> views;
  for (Value each : parts)
    views.push_back(b.view(each, dims));
  dims[d] = DimExpr(static_cast<int64_t>(parts.size()));
  if (views.size() == 1)
    return views[0];
  return b.create<ConcatOp>(dims, element, ValueRange(views),
                            static_cast<int64_t>(d));
}

LogicalResult Recurrence::run(int64_t direction) {
  bool backward = reverses || direction == 1;
  Value all = perStep(direction);
  Dims wide = {batch, DimExpr(gates() * hidden)}, order = wide;
  order.insert(order.begin(), DimExpr(steps));
  State state = initial(direction);
  std::vector<Value> shown(steps);
  Type i1 = b.builder().getI1Type();
  Dims column = {batch, DimExpr(1)};
  for (int64_t i = 0; i < steps; ++i) {
    int64_t t = backward ? steps - 1 - i : i;
    Value input = b.view(sliced(all, order, 0, t, 1), wide);
    State next = step(state, input, direction);
    shown[t] = next.hidden;
    if (b.hasInput(4)) {
      // Behind the end of its sequence a row keeps its state and shows zeros.
      Type lengths = b.input(4).element;
      Value inside = b.create<CompareOp>(column, i1, b.view(data[4], column),
                                         sizeScalar(b, DimExpr(t), lengths),
                                         Predicate::Gt);
      auto choose = [&](Value x, Value y) {
        return b.create<WhereOp>(point, element, inside, x, y);
      };
      shown[t] = choose(next.hidden, b.scalar(0, element));
      next.hidden = choose(next.hidden, state.hidden);
      if (next.cell)
        next.cell = choose(next.cell, state.cell);
    }
    state = next;
  }
  Dims dims;
  outputs.push_back(stack(shown, point, batchFirst ? 1 : 0, dims));
  lastHidden.push_back(state.hidden);
  lastCell.push_back(state.cell);
  return success();
}

LogicalResult Recurrence::import() {
  if (failed(bindAttributes()) || failed(bindShapes()))
    return failure();
  for (int64_t d = 0; d < directions; ++d)
    if (failed(run(d)))
      return failure();
  Dims sequence = point, dims;
  sequence.insert(sequence.begin() + (batchFirst ? 1 : 0), DimExpr(steps));
  if (b.hasOutput(0)) {
    Value all = stack(outputs, sequence, batchFirst ? 2 : 1, dims);
    if (failed(b.setData(all, dims, 0)))
      return failure();
  }
  for (unsigned i : {1, 2}) {
    if (!b.hasOutput(i) || (i == 2 && cell != Cell::Lstm))
      continue;
    Value all =
        stack(i == 1 ? lastHidden : lastCell, point, batchFirst ? 1 : 0, dims);
    if (failed(b.setData(all, dims, i)))
      return failure();
  }
  return success();
}

template <Cell cell>
static LogicalResult importRecurrence(OpBinder &b) {
  return Recurrence(b, cell).import();
}

void registerRnnOps(OpTable &table) {
  table.add("RNN", importRecurrence<Cell::Rnn>);
  table.add("GRU", importRecurrence<Cell::Gru>);
  table.add("LSTM", importRecurrence<Cell::Lstm>);
}

} // namespace ferrite::frontend
