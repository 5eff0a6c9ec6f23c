//===- RecurrentOps.cpp - What surrounds linear attention -----------------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// The causal convolution in front of it, which keeps its last inputs as a
// state; the gates; and the norm behind it.
//
//===----------------------------------------------------------------------===//
#include "lib/Frontend/ONNX/KnownOps.h"

using namespace mlir;

namespace ferrite::frontend {
namespace {

/// A tap is a product and a sum at every point; all of them are one kernel.
constexpr int64_t kMaxTaps = 64;

//===----------------------------------------------------------------------===//
// CausalConvWithState
//===----------------------------------------------------------------------===//

class CausalConv {
public:
  explicit CausalConv(OpBinder &b) : b(b), ops(b) {}
  LogicalResult run();

private:
  LogicalResult readAttributes();
  LogicalResult readInputs();
  /// Channels as one dim, where they lie behind the tokens.
  KnownTensor merged(const KnownTensor &input);
  KnownTensor convolve();
  KnownTensor activate(const KnownTensor &x);
  size_t axis() const { return isLast ? 1 : 2; }

  OpBinder &b;
  KnownOps ops;
  bool isLast = false, hasSilu = false;
  int64_t dilation = 1, taps = 1;
  Dims outer;            ///< the input's own dims
  KnownTensor x, padded; ///< [batch, channels, tokens], or channels last
  KnownTensor weight, bias;
};

} // namespace

LogicalResult CausalConv::readAttributes() {
  std::string activation = b.stringAttr("activation", "none");
  hasSilu = activation == "silu" || activation == "swish";
  if (!hasSilu && activation != "none")
    return b.unsupported("attribute 'activation' = '" + activation +
                         "' is not supported");
  if (b.node.domain() != "com.microsoft")
    return success();
  isLast = b.intAttr("channels_last", 0) != 0;
  dilation = b.intAttr("dilation", 1);
  if (dilation < 1 || dilation > (1 << 20))
    return b.error("attribute 'dilation' is " + Twine(dilation));
  if (failed(b.expectInt("ndim", 1, 1)) ||
      failed(b.expectInt("state_window", 0, 0)))
    return failure();
  return success();
}

KnownTensor CausalConv::merged(const KnownTensor &input) {
  if (!isLast)
    return input;
  ArrayRef<DimExpr> dims = input.dims;
  return ops.view(input, {dims[0], dims[1], product(dims.drop_front(2))});
}

LogicalResult CausalConv::readInputs() {
  FailureOr<KnownTensor> input = ops.input(0), kernel = ops.input(1);
  if (failed(input) || failed(kernel))
    return failure();
  if (!isa<FloatType>(input->element) || input->dims.size() < 3 ||
      (!isLast && input->dims.size() != 3))
    return b.error("its input has shape " + printDims(input->dims));
  outer = input->dims;
  x = merged(*input);
  DimExpr channels = x.dims[isLast ? 2 : 1];
  if (kernel->dims.size() != 3 || !kernel->dims[2].constant() ||
      *kernel->dims[2].constant() < 1)
    return b.error("its weight of shape " + printDims(kernel->dims) +
                   " is not [channels, 1, taps]");
  taps = *kernel->dims[2].constant();
  if (taps > kMaxTaps)
    return b.unsupported("it has " + Twine(taps) + " taps, more than " +
                         Twine(kMaxTaps));
  kernel = ops.input(1, {channels, DimExpr(1), DimExpr(taps)}, x.element);
  if (failed(kernel))
    return failure();
  weight = *kernel;
  if (b.hasInput(2)) {
    FailureOr<KnownTensor> added = ops.input(2, {channels}, x.element);
    if (failed(added))
      return failure();
    bias = *added;
  }
  Dims dims = outer;
  dims[axis()] = DimExpr((taps - 1) * dilation);
  KnownTensor past;
  if (b.hasInput(3)) {
    FailureOr<KnownTensor> given = ops.input(3, dims, x.element);
    if (failed(given))
      return failure();
    past = *given;
  } else if (taps > 1) {
    past = ops.filled(0, x.element, dims);
  }
  padded = taps == 1 ? x : ops.concat({merged(past), x}, axis());
  return success();
}

KnownTensor CausalConv::convolve() {
  Type f32 = b.builder().getF32Type();
  DimExpr channels = weight.dims[0];
  Dims side = isLast ? Dims{channels} : Dims{channels, DimExpr(1)};
  KnownTensor sum;
  for (int64_t tap = 0; tap < taps; ++tap) {
    KnownTensor part =
        ops.slice(padded, axis(), DimExpr(tap * dilation), x.dims[axis()]);
    KnownTensor factor =
        ops.view(ops.slice(weight, 2, DimExpr(tap), DimExpr(1)), side);
    KnownTensor term =
        ops.binary<MulOp>(ops.cast(part, f32), ops.cast(factor, f32));
    sum = sum ? ops.binary<AddOp>(sum, term) : term;
  }
  if (bias)
    sum = ops.binary<AddOp>(sum, ops.cast(ops.view(bias, side), f32));
  return ops.cast(sum, x.element);
}

KnownTensor CausalConv::activate(const KnownTensor &x) {
  if (!hasSilu)
    return x;
  KnownTensor wide = ops.cast(x, b.builder().getF32Type());
  return ops.cast(ops.binary<MulOp>(wide, ops.unary<SigmoidOp>(wide)),
                  x.element);
}

LogicalResult CausalConv::run() {
  if (failed(readAttributes()) || failed(readInputs()))
    return failure();
  if (b.hasOutput(0)) {
    KnownTensor result = ops.view(activate(convolve()), outer);
    if (failed(b.setData(result.value, result.dims)))
      return failure();
  }
  if (!b.hasOutput(1))
    return success();
  DimExpr kept((taps - 1) * dilation);
  KnownTensor present =
      ops.slice(padded, axis(), padded.dims[axis()] - kept, kept);
  Dims dims = outer;
  dims[axis()] = kept;
  present = ops.view(present, dims);
  return b.setData(present.value, present.dims, 1);
}

static LogicalResult importCausalConv(OpBinder &b) {
  return CausalConv(b).run();
}

//===----------------------------------------------------------------------===//
// LinearAttentionGate, GatedRMSNorm
//===----------------------------------------------------------------------===//

static LogicalResult importGate(OpBinder &b) {
  KnownOps ops(b);
  FailureOr<KnownTensor> a = ops.input(0);
  if (failed(a))
    return failure();
  if (!isa<FloatType>(a->element) || a->dims.empty())
    return b.error("its input 0 is not of floats");
  Type f32 = b.builder().getF32Type();
  Dims heads = {a->dims.back()};
  FailureOr<KnownTensor> bias = ops.input(1, heads, b.input(1).element),
                         scale = ops.input(2, heads, b.input(2).element);
  if (failed(bias) || failed(scale))
    return failure();
  KnownTensor x = ops.binary<AddOp>(ops.cast(*a, f32), ops.cast(*bias, f32));
  // Without an overflow: max(x, 0) + log(1 + exp(-|x|)).
  KnownTensor tail = ops.unary<ExpOp>(ops.unary<NegOp>(ops.unary<AbsOp>(x)));
  KnownTensor softplus =
      ops.binary<AddOp>(ops.unary<ReluOp>(x), ops.unary<Log1pOp>(tail));
  KnownTensor decay =
      ops.cast(ops.binary<MulOp>(softplus, ops.cast(*scale, f32)), a->element);
  if (b.hasOutput(0) && failed(b.setData(decay.value, decay.dims)))
    return failure();
  if (!b.hasOutput(1))
    return success();
  if (!b.hasInput(3))
    return b.error("its output 'beta' needs input 'b'");
  FailureOr<KnownTensor> rate = ops.input(3);
  if (failed(rate))
    return failure();
  if (!isa<FloatType>(rate->element))
    return b.error("its input 'b' is not of floats");
  KnownTensor beta =
      ops.cast(ops.unary<SigmoidOp>(ops.cast(*rate, f32)), rate->element);
  return b.setData(beta.value, beta.dims, 1);
}

static LogicalResult importGatedNorm(OpBinder &b) {
  KnownOps ops(b);
  FailureOr<KnownTensor> x = ops.input(0), scale = ops.input(1);
  if (failed(x) || failed(scale))
    return failure();
  FailureOr<KnownTensor> gate = ops.input(2, x->dims, x->element);
  if (failed(gate))
    return failure();
  std::string activation = b.stringAttr("activation", "silu");
  bool isSigmoid = activation == "sigmoid";
  if (!isSigmoid && activation != "silu" && activation != "swish")
    return b.unsupported("attribute 'activation' = '" + activation +
                         "' is not supported");
  float epsilon = b.floatAttr("epsilon", 1e-5f);
  std::optional<DimExpr> groups;
  if (!x->dims.empty() && scale->dims.size() == 1 && isa<FloatType>(x->element))
    groups = x->dims.back().dividedBy(scale->dims[0]);
  if (!groups || !scale->dims[0].constant())
    return b.error("its input of shape " + printDims(x->dims) +
                   " does not divide into rows for a scale of shape " +
                   printDims(scale->dims));
  Type f32 = b.builder().getF32Type();
  Dims rows = x->dims;
  rows.back() = *groups;
  rows.push_back(scale->dims[0]);
  KnownTensor wide = ops.view(ops.cast(*x, f32), rows);
  KnownTensor norm = {b.create<NormOp>(rows, f32, wide.value,
                                       ops.cast(*scale, f32).value, Value(),
                                       Value(), NormKind::RMS,
                                       b.builder().getF32FloatAttr(epsilon)),
                      rows, f32};
  KnownTensor open = ops.cast(*gate, f32);
  KnownTensor factor = ops.unary<SigmoidOp>(open);
  if (!isSigmoid)
    factor = ops.binary<MulOp>(open, factor);
  KnownTensor result =
      ops.cast(ops.binary<MulOp>(ops.view(norm, x->dims), factor), x->element);
  return b.setData(result.value, result.dims);
}

void registerRecurrentOps(OpTable &table) {
  table.add("CausalConvWithState", importCausalConv);
  table.add("com.microsoft::CausalConvWithState", importCausalConv, 2, 4);
  table.add("com.microsoft::LinearAttentionGate", importGate, 3, 4);
  table.add("com.microsoft::GatedRMSNorm", importGatedNorm, 3, 3);
}

} // namespace ferrite::frontend
