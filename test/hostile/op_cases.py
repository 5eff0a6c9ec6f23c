"""Ops whose attributes, operands or versions ask for the impossible."""
from corpus import *

BIG = 10**12
IMPOSSIBLE = "(impossible|overflow|negative|out of range|cut off more|it resizes 4 points by|attribute 'pads' has)"


def op(name, message, nodes, code=1, inputs=(X,), **options):
    """One model; `nodes` as one node or a list."""
    nodes = nodes if isinstance(nodes, list) else [nodes]
    add(name, code, message, lambda: model(nodes, inputs=inputs, **options))


# -- Bombs: results of 10^12 elements and more from a few bytes ---------------------------

def bomb(name, made, *weights, **options):
    op("bomb-" + name, rf"node 'n' \(\w+\): .*{IMPOSSIBLE}", made, weights=list(weights), **options)


bomb("constant-of-shape", [node("ConstantOfShape", "s", "c"), node("Add", "x c", "y", "add")], ints("s", BIG, 4))
bomb("constant-of-shape-that-wraps", [node("ConstantOfShape", "s", "c"), node("Add", "x c", "y", "add")],
     ints("s", 2**32, 2**32, 4))
bomb("constant-of-shape-as-output", [node("ConstantOfShape", "s", "y")], ints("s", BIG, BIG))
bomb("constant-of-shape-negative", [node("ConstantOfShape", "s", "y")], ints("s", -1, 4))
bomb("expand", node("Expand", "x s", "y"), ints("s", BIG, 1, 4))
bomb("expand-that-wraps", node("Expand", "x s", "y"), ints("s", 2**62, 2**62, 1, 1))
bomb("tile", node("Tile", "x s", "y"), ints("s", BIG, BIG))
bomb("tile-of-a-constant", node("Tile", "c s", "y"), ints("s", BIG), tensor("c", np.ones(4, np.float32)))
bomb("tile-negative", node("Tile", "x s", "y"), ints("s", -1, 1))
bomb("range", node("Range", "a b d", "y"), scalar("a", 0), scalar("b", BIG * 1000), scalar("d", 1), inputs=[])
bomb("range-that-wraps", node("Range", "a b d", "y"), scalar("a", -2**63), scalar("b", 2**63 - 1), scalar("d", 1), inputs=[])
bomb("range-of-floats", node("Range", "a b d", "y"), tensor("a", 0, np.float32), tensor("b", 1e12, np.float32),
     tensor("d", 1, np.float32), inputs=[])
bomb("range-to-infinity", node("Range", "a b d", "y"), tensor("a", 0, np.float32), tensor("b", np.inf, np.float32),
     tensor("d", 1, np.float32), inputs=[])
op("range-of-nan", r"node 'n' \(Range\): ", node("Range", "a b d", "y"), inputs=[], weights=[
    tensor("a", np.nan, np.float32), tensor("b", 3, np.float32), tensor("d", 1, np.float32)])
op("range-with-delta-0", r"node 'n' \(Range\): its delta is 0", node("Range", "a b d", "y"), inputs=[],
   weights=[scalar("a", 0), scalar("b", 9), scalar("d", 0)])
op("range-with-delta-int64-min", r"node 'n' \(Range\): ", node("Range", "a b d", "y"), inputs=[],
   weights=[scalar("a", 2**63 - 1), scalar("b", -2**63), scalar("d", -2**63)])
bomb("pad", node("Pad", "x p", "y"), ints("p", 0, BIG, 0, BIG * 1000))
bomb("pad-that-wraps", node("Pad", "x p", "y"), ints("p", 0, 2**63 - 1, 0, 2**63 - 1))
bomb("pad-to-nothing", node("Pad", "x p", "y"), ints("p", 0, -3, 0, -3))
IMAGE = value("x", ["N", 1, 4, 4])
add("bomb-resize-by-sizes", 1, rf"node 'n' \(Resize\): .*{IMPOSSIBLE}", lambda: model(
    [helper.make_node("Resize", ["x", "", "", "s"], ["y"], "n")], inputs=[value("x", [1, 1, 4, 4])],
    weights=[ints("s", 1, 1, BIG, BIG)]))
add("bomb-resize-by-scales", 1, rf"node 'n' \(Resize\): .*{IMPOSSIBLE}", lambda: model(
    [helper.make_node("Resize", ["x", "", "s"], ["y"], "n")], inputs=[IMAGE],
    weights=[tensor("s", [1, 1, 1e12, 1e30], np.float32)]))
add("resize-by-nan", 1, r"node 'n' \(Resize\): ", lambda: model(
    [helper.make_node("Resize", ["x", "", "s"], ["y"], "n")], inputs=[IMAGE],
    weights=[tensor("s", [1, 1, np.nan, 1], np.float32)]))
bomb("one-hot", node("OneHot", "i d v", "y"), scalar("d", BIG * 10**4), tensor("v", [0, 1], np.float32),
     inputs=[value("i", ["N", 4], T.INT64)])
op("bomb-of-an-input", "input 'x' has more elements than any memory can hold", node("Relu", "x", "y"),
   inputs=[value("x", [10**7, 10**8])])
bomb("conv-of-huge-pads", node("Conv", "x w", "y", pads=[2**62] * 4), tensor("w", np.ones((1, 1, 3, 3), np.float32)),
     inputs=[value("x", [1, 1, 4, 4])])
bomb("outer-product", [node("MatMul", "a b", "y")], inputs=[value("a", [10**8, 1]), value("b", [1, 10**8])])
bomb("broadcast-of-two-inputs", [node("Add", "a b", "y")], inputs=[value("a", [10**9, 1]), value("b", [1, 10**9])])
bomb("concat-of-itself", [node("Concat", " ".join(["x"] * 300), "a", "c0", axis=1)]
     + [node("Concat", " ".join(["a" if i == 0 else f"a{i}"] * 300), f"a{i + 1}", "n", axis=1) for i in range(5)]
     + [node("Relu", "a5", "y", "relu")])

# -- Shapes --------------------------------------------------------------------------------

op("reshape-to-another-count", r"node 'n' \(Reshape\): .*has no view of shape", node("Reshape", "x s", "y"),
   weights=[ints("s", 3, 5)], inputs=[value("x", [4, 4])])
op("reshape-with-two-unknowns", r"node 'n' \(Reshape\): ", node("Reshape", "x s", "y"), weights=[ints("s", -1, -1)])
op("reshape-to-minus-two", r"node 'n' \(Reshape\): ", node("Reshape", "x s", "y"), weights=[ints("s", -2, 4)])
op("reshape-to-rank-5000", r"node 'n' \(Reshape\): ", node("Reshape", "x s", "y"), weights=[ints("s", *[1] * 4999, -1)])
op("reshape-copies-a-dim-that-is-not-there", r"node 'n' \(Reshape\): ", node("Reshape", "x s", "y"),
   weights=[ints("s", -1, 4, 0)])
op("unsqueeze-to-rank-5000", r"node 'n' \(Unsqueeze\): ", node("Unsqueeze", "x s", "y"), weights=[ints("s", *range(5000))])
op("expand-to-rank-5000", r"node 'n' \(Expand\): ", node("Expand", "x s", "y"), weights=[ints("s", *[1] * 5000)])
op("squeeze-of-a-dim-of-4", r"node 'n' \(Squeeze\): ", node("Squeeze", "x s", "y"), weights=[ints("s", 1)])
op("transpose-with-an-axis-twice", r"node 'n' \(Transpose\): an axis occurs twice", node("Transpose", "x", "y", perm=[0, 0]))
op("transpose-beyond-the-rank", r"node 'n' \(Transpose\): ", node("Transpose", "x", "y", perm=[0, 2**40]))
op("transpose-of-too-few-axes", r"node 'n' \(Transpose\): ", node("Transpose", "x", "y", perm=[0]))
op("concat-beyond-the-rank", r"node 'n' \(Concat\): ", node("Concat", "x x", "y", axis=2**31))
op("concat-of-different-ranks", r"node 'n' \(Concat\): ", node("Concat", "x w", "y", axis=0),
   weights=[tensor("w", np.ones(4, np.float32))])
op("softmax-beyond-the-rank", r"node 'n' \(Softmax\): ", node("Softmax", "x", "y", axis=-2**63))
op("gather-outside", r"node 'n' \(Gather\): index 7 is outside dim 1 of size 4", node("Gather", "x i", "y", axis=1),
   weights=[scalar("i", 7)])
op("gather-int64-min", r"node 'n' \(Gather\): index .* is outside", node("Gather", "x i", "y", axis=1),
   weights=[scalar("i", -2**63)])
op("gather-by-floats", r"node 'n' \(Gather\): ", node("Gather", "x i", "y"), weights=[tensor("i", 1.0, np.float32)])
op("split-that-does-not-add-up", r"node 'n' \(Split\): ", node("Split", "x s", "a y", axis=1), weights=[ints("s", 3, 3)])
op("split-negative", r"node 'n' \(Split\): ", node("Split", "x s", "a y", axis=1), weights=[ints("s", -4, 8)])
op("split-that-wraps", r"node 'n' \(Split\): ", node("Split", "x s", "a b y", axis=1),
   weights=[ints("s", 2**62, 2**62, 2**63 - 1)])
op("split-into-a-billion", r"node 'n' \(Split\): ", node("Split", "x", "y", axis=1, num_outputs=10**9))
op("slice-with-step-0", r"node 'n' \(Slice\): ", node("Slice", "x a b c d", "y"),
   weights=[ints("a", 0), ints("b", 2), ints("c", 1), ints("d", 0)])
op("slice-of-unequal-lists", r"node 'n' \(Slice\): ", node("Slice", "x a b c", "y"),
   weights=[ints("a", 0, 0), ints("b", 2), ints("c", 1)])
op("slice-of-one-axis-twice", r"node 'n' \(Slice\): ", node("Slice", "x a b c", "y"),
   weights=[ints("a", 0, 1), ints("b", 2, 3), ints("c", 1, -1)])
op("matmul-sizes", r"node 'n' \(MatMul\): ", node("MatMul", "x w", "y"), weights=[tensor("w", np.ones((3, 5), np.float32))])
op("matmul-of-scalars", r"node 'n' \(MatMul\): ", node("MatMul", "w w", "y"), weights=[tensor("w", 1, np.float32)])
op("gemm-rank-3", r"node 'n' \(Gemm\): .*rank", node("Gemm", "x w", "y"), inputs=[value("x", ["N", "S", 4])],
   weights=[tensor("w", np.ones((4, 5), np.float32))])
op("shapes-that-do-not-broadcast", r"node 'n' \(Add\): shapes \[N, 4\] and \[3\] do not broadcast", node("Add", "x w", "y"),
   weights=[tensor("w", np.ones(3, np.float32))])
op("conv-of-0-groups", r"node 'n' \(Conv\): ", node("Conv", "x w", "y", group=0), inputs=[IMAGE],
   weights=[tensor("w", np.ones((1, 1, 3, 3), np.float32))])
op("conv-with-stride-0", r"node 'n' \(Conv\): ", node("Conv", "x w", "y", strides=[0, 0]), inputs=[IMAGE],
   weights=[tensor("w", np.ones((1, 1, 3, 3), np.float32))])
op("conv-kernel-beyond-the-image", r"node 'n' \(Conv\): ", node("Conv", "x w", "y"), inputs=[IMAGE],
   weights=[tensor("w", np.ones((1, 1, 9, 9), np.float32))])
op("pool-of-kernel-0", r"node 'n' \(MaxPool\): ", node("MaxPool", "x", "y", kernel_shape=[0, 0]), inputs=[IMAGE])
op("pool-of-kernel-negative", r"node 'n' \(AveragePool\): ", node("AveragePool", "x", "y", kernel_shape=[-1, -1]), inputs=[IMAGE])
op("einsum-that-does-not-parse", r"node 'n' \(Einsum\): ", node("Einsum", "x x", "y", equation="ij,j->->k"))
op("einsum-of-many-letters", r"node 'n' \(Einsum\): ", node("Einsum", "x", "y", equation="i" * 100000 + "->i"))
op("topk-beyond-the-dim", r"node 'n' \(TopK\): ", node("TopK", "x k", "y z"), weights=[ints("k", 2**62)])
op("depth-to-space-by-0", r"node 'n' \(DepthToSpace\): ", node("DepthToSpace", "x", "y", blocksize=0), inputs=[IMAGE])
op("group-norm-of-0-groups", r"node 'n' \(GroupNormalization\): ", node("GroupNormalization", "x w w", "y", num_groups=0),
   inputs=[IMAGE], opset=21, weights=[tensor("w", np.ones(1, np.float32))])
op("attention-of-0-heads", r"node 'n' \(Attention\): ", node("Attention", "x x x", "y", q_num_heads=0, kv_num_heads=0),
   inputs=[value("x", ["N", "S", 8])], opset=23)
op("attention-of-uneven-heads", r"node 'n' \(Attention\): ", node("Attention", "x x x", "y", q_num_heads=3, kv_num_heads=2),
   inputs=[value("x", ["N", "S", 12])], opset=23)
op("rotary-of-an-odd-size", r"node 'n' \(RotaryEmbedding\): ", node("RotaryEmbedding", "x c s", "y"),
   inputs=[value("x", ["N", 2, "S", 5]), value("c", ["N", "S", 2]), value("s", ["N", "S", 2])], opset=23)
op("dequantize-with-a-block-of-0", r"node 'd' \(DequantizeLinear\): ",
   [node("DequantizeLinear", "w s", "v", "d", axis=0, block_size=-1), node("MatMul", "x v", "y")], opset=21,
   weights=[raw("w", [4, 4], T.INT4, bytes(8)), tensor("s", np.ones((2, 4), np.float32))])
MS = [("com.microsoft", 1)]
op("nbits-of-17-bits", r"node 'n' \(com.microsoft::MatMulNBits\): ",
   node("MatMulNBits", "x w s", "y", domain="com.microsoft", K=4, N=4, bits=17, block_size=32), domains=MS, code=1,
   weights=[raw("w", [4, 1, 16], T.UINT8, bytes(64)), tensor("s", np.ones(4, np.float32))])
op("nbits-of-another-size", r"node 'n' \(com.microsoft::MatMulNBits\): ",
   node("MatMulNBits", "x w s", "y", domain="com.microsoft", K=2**40, N=4, bits=4, block_size=32), domains=MS,
   weights=[raw("w", [4, 1, 16], T.UINT8, bytes(64)), tensor("s", np.ones(4, np.float32))])

# -- Attributes --------------------------------------------------------------------------------

op("attribute-of-another-type", r"node 'n' \(Softmax\): Mismatched attribute type", node("Softmax", "x", "y", axis=1.5))
op("attribute-of-strings", r"node 'n' \(Transpose\): Mismatched attribute type", node("Transpose", "x", "y", perm=["a", "b"]))
op("attribute-unknown", r"node 'n' \(Softmax\): Unrecognized attribute: axes", node("Softmax", "x", "y", axes=1))
op("attribute-missing", r"node 'n' \(Cast\): .*'to'", node("Cast", "x", "y"))
op("cast-to-type-999", r"node 'n' \(Cast\): ", node("Cast", "x", "y", to=999))
op("cast-to-strings", r"node 'n' \(Cast\): ", node("Cast", "x", "y", to=T.STRING), code=2)
op("constant-without-a-value", r"node 'n' \(Constant\): ", [node("Constant", "", "c"), node("Add", "x c", "y", "add")])
op("constant-of-two-values", r"node 'n' \(Constant\): ", [node("Constant", "", "c", value_int=1, value_float=2.0),
                                                         node("Identity", "c", "y", "id")])
op("constant-of-a-string", r"node 'n' \(Constant\): ", [node("Constant", "", "c", value_string="a"),
                                                       node("Identity", "c", "y", "id")], code=2)


@case(1, r"node 'n' \(Softmax\): .*axis")
def attribute_twice():
    twice = node("Softmax", "x", "y", axis=0)
    twice.attribute.append(helper.make_attribute("axis", 1))
    return model([twice])


@case(1, r"node 'n' \(Softmax\): ")
def attribute_without_a_name():
    spoilt = node("Softmax", "x", "y")
    spoilt.attribute.append(onnx.AttributeProto(type=onnx.AttributeProto.INT, i=1))
    return model([spoilt])


@case(1, r"node 'n' \(Softmax\): ")
def attribute_whose_type_is_not_its_field():
    spoilt = node("Softmax", "x", "y")
    spoilt.attribute.append(onnx.AttributeProto(name="axis", type=onnx.AttributeProto.INT, s=b"1"))
    return model([spoilt])


@case(1, r"node 'n' \(Softmax\): ")
def attribute_by_reference_outside_a_function():
    spoilt = node("Softmax", "x", "y")
    spoilt.attribute.append(onnx.AttributeProto(name="axis", ref_attr_name="k", type=onnx.AttributeProto.INT))
    return model([spoilt])


# -- Versions and domains ----------------------------------------------------------------------

RELU = node("Relu", "x", "y")
op("opset-0", "imports no opset of ai.onnx|opset 0", RELU, opset=0)
op("opset-negative", "imports no opset of ai.onnx|opset -1", RELU, opset=-1)
op("opset-a-billion", "uses opset 1000000000; the newest that Ferrite knows is", RELU, opset=10**9)
op("opset-2-to-the-62", "uses opset .*; the newest that Ferrite knows is", RELU, opset=2**62)
op("opset-missing", "imports no opset of ai.onnx", RELU, opset=None)
op("opset-twice", "opset|twice", RELU, domains=[("", 7)])
op("ir-version-0", "no IR version", RELU, ir=0)
op("ir-version-negative", "no IR version", RELU, ir=-1)
op("ir-version-99", "has IR version 99; the newest that Ferrite knows is", RELU, ir=99)
op("ir-version-2-to-the-62", "has IR version .*; the newest that Ferrite knows is", RELU, ir=2**62)
op("op-of-no-opset", r"node 'n' \(Frobnicate\): opset 20 of ONNX has no such op", node("Frobnicate", "x", "y"))
op("op-removed-from-the-opset", r"node 'n' \(Upsample\): ", node("Upsample", "x s", "y"), weights=[
    tensor("s", [1, 1], np.float32)], code=1)
op("domain-unknown", r"node 'n' \(my.domain::Magic\): the op is not supported", node("Magic", "x", "y", domain="my.domain"),
   domains=[("my.domain", 1)], code=2)
op("domain-not-imported", r"node 'n' \(my.domain::Magic\): ", node("Magic", "x", "y", domain="my.domain"), code=2)
op("domain-of-the-standard-misused", r"node 'n' \(com.microsoft::Relu\): ", node("Relu", "x", "y", domain="com.microsoft"),
   domains=MS, code=2)
op("domain-of-training", r"node 'n' \(ai.onnx.preview.training::Adam\): ",
   node("Adam", "x x x", "y", domain="ai.onnx.preview.training"), domains=[("ai.onnx.preview.training", 1)], code=2)
op("op-of-classical-learning", r"node 'n' \(ai.onnx.ml::Scaler\): the op is not supported",
   node("Scaler", "x", "y", domain="ai.onnx.ml"), domains=[("ai.onnx.ml", 3)], code=2)
op("op-of-strings", r"node 'n' \(StringNormalizer\): ", node("StringNormalizer", "x", "y"), inputs=[value("x", [4])], code=2)
op("op-of-images", r"node 'n' \(ImageDecoder\): ", node("ImageDecoder", "x", "y"), inputs=[value("x", ["N"], T.UINT8)], code=2)
op("op-that-is-recurrent", r"node 'n' \(LSTM\): of S steps is not supported", node("LSTM", "x x x", "y", hidden_size=4),
   inputs=[value("x", ["S", "N", 4])], code=2)
op("old-opset-with-a-bad-node", r"node '.*'.*Frobnicate|Frobnicate", node("Frobnicate", "x", "y"), opset=9)
op("old-opset-that-cannot-be-converted", r"converted to opset 13|node 'Resize\(y\)' \(Resize\): ", node("Upsample", "x", "y", scales=[-1.0, 0.0]), opset=7, code=1)

# Refused either way: whether they are looked into depends on whether we have the op.
for name in ("reshape-to-rank-5000", "unsqueeze-to-rank-5000", "expand-to-rank-5000", "depth-to-space-by-0",
             "dequantize-with-a-block-of-0", "nbits-of-17-bits", "nbits-of-another-size", "einsum-that-does-not-parse",
             "einsum-of-many-letters", "op-removed-from-the-opset", "old-opset-that-cannot-be-converted"):
    CASES[name] = ((1, 2), *CASES[name][1:])
