//===- ScanOps.cpp - Scan, of sequences and of batches of them ------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The number of parts is known, and the body is imported for each of them.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/ControlFlow.h"
#include "lib/Frontend/ONNX/OnnxLibrary.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

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
          takePart(b, b.input(parts->states + i), parts->inputAxes[i], at);
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
// Opset 8
//===----------------------------------------------------------------------===//

/// The Scan of opset 8, over the second dim of each element of a batch. Input 0
/// may be the lengths of the sequences.
struct BatchScan {
  const onnx::GraphProto *body = nullptr;
  unsigned states = 0, scans = 0, stacks = 0;
  std::vector<int64_t> reversed;
  int64_t batch = 0, trips = 0;
};

FailureOr<BatchScan> readBatchScan(OpBinder &b) {
  BatchScan scan;
  scan.body = getGraph(b, "body");
  int64_t scans = b.intAttr("num_scan_inputs", 0);
  if (!scan.body || scans < 1 || scans >= b.numInputs())
    return b.error("it has no body, or attribute 'num_scan_inputs' is not the "
                   "number of its last inputs");
  if (b.hasInput(0))
    return b.unsupported("lengths of sequences are not supported");
  scan.scans = static_cast<unsigned>(scans);
  scan.states = b.numInputs() - 1 - scan.scans;
  int results = scan.body->output_size();
  if (results < static_cast<int>(scan.states) || b.node.output_size() > results)
    return b.error("its body has " + Twine(results) + " results");
  scan.stacks = results - scan.states;
  auto reversed = readList(b, "directions", scan.scans);
  if (failed(reversed))
    return failure();
  scan.reversed = *reversed;
  for (unsigned i = 1; i < b.numInputs(); ++i) {
    bool isScanned = i > scan.states;
    if (!b.hasInput(i) || !b.input(i).isTensor() ||
        b.input(i).rank() < (isScanned ? 2 : 1))
      return b.error("its input " + Twine(i) + " is no batch of tensors");
    const Dims &dims = b.input(i).dims, &last = b.input(b.numInputs() - 1).dims;
    if (last.size() < 2 || dims[0] != last[0] ||
        (isScanned && dims[1] != last[1]))
      return b.error("its inputs differ in their batch or in the number of "
                     "their parts");
    if (!last[0].constant() || !last[1].constant())
      return b.unsupported("it scans " + printDims(last) +
                           "; Ferrite unrolls a known number of parts. Make it "
                           "one with --dim");
    scan.batch = *last[0].constant();
    scan.trips = *last[1].constant();
  }
  if (scan.batch * scan.trips == 0)
    return b.unsupported("it scans nothing");
  return scan;
}

/// Result `i` of one element of the batch after the other, their parts along
/// the second dim.
LogicalResult stackBatch(OpBinder &b, const BatchScan &scan,
                         std::vector<TensorValue> &parts, unsigned i) {
  if (!b.hasOutput(i))
    return success();
  if (failed(stackParts(b, parts, 0, i)))
    return failure();
  TensorValue &result = *b.importer.find(b.node.output(i));
  if (result.poisoned || i < scan.states)
    return success();
  Dims dims = result.dims;
  dims[0] = DimExpr(scan.trips);
  dims.insert(dims.begin(), DimExpr(scan.batch));
  if (result.data)
    result.data = b.view(result.data, dims);
  result.dims = dims;
  return success();
}

LogicalResult importBatchScan(OpBinder &b) {
  FailureOr<BatchScan> scan = readBatchScan(b);
  int64_t trips = 0;
  if (failed(scan))
    return failure();
  if (llvm::MulOverflow(scan->batch, scan->trips, trips))
    trips = std::numeric_limits<int32_t>::max();
  if (failed(checkTrips(b, *scan->body, trips, trips)))
    return failure();
  std::vector<std::vector<TensorValue>> results(scan->states + scan->stacks);
  for (int64_t element = 0; element < scan->batch; ++element) {
    std::vector<TensorValue> states;
    for (unsigned i = 1; i < b.numInputs(); ++i) {
      FailureOr<TensorValue> part = takePart(b, b.input(i), 0, element);
      if (failed(part))
        return failure();
      states.push_back(*part);
    }
    std::vector<TensorValue> sequences(states.begin() + scan->states,
                                       states.end());
    states.resize(scan->states, TensorValue(b.loc));
    for (int64_t trip = 0; trip < scan->trips; ++trip) {
      std::vector<TensorValue> arguments = states;
      for (auto [sequence, reversed] : llvm::zip(sequences, scan->reversed)) {
        FailureOr<TensorValue> part =
            takePart(b, sequence, 0, reversed ? scan->trips - 1 - trip : trip);
        if (failed(part))
          return failure();
        arguments.push_back(*part);
      }
      auto each = b.importer.importBody(b, *scan->body, arguments);
      if (failed(each))
        return failure();
      states.assign(each->begin(), each->begin() + scan->states);
      for (unsigned i = 0; i < scan->stacks; ++i)
        results[scan->states + i].push_back((*each)[scan->states + i]);
    }
    for (unsigned i = 0; i < scan->states; ++i)
      results[i].push_back(states[i]);
  }
  for (auto [i, parts] : llvm::enumerate(results))
    if (failed(stackBatch(b, *scan, parts, i)))
      return failure();
  return success();
}

} // namespace

void registerScanOps(OpTable &table) {
  table.add("Scan", importScan);
  table.add(std::string(kBatchScanDomain) + "::Scan", importBatchScan);
}

} // namespace ferrite::frontend
