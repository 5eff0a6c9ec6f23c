"""Small valid models, one or a few ops each: what the fuzzers begin with.

Their numbers do not matter here; the conformance suite looks at those.
"""
import sys

from corpus import T, X, graph, helper, ints, model, node, np, raw, scalar, tensor, value

ROWS = X  # [N, 4]
IMAGE = value("x", ["N", 3, 8, 8])
TOKENS = value("x", ["B", "S", 8])
HEADS = [value(name, ["B", 2, "S", 4]) for name in "qkv"]
MS = [("com.microsoft", 1)]


def ones(name, *shape):
    return tensor(name, np.ones(shape, np.float32))


def of(inputs, *nodes, opset=20, domains=(), weights=()):
    return lambda: model(list(nodes), inputs=inputs if isinstance(inputs, list) else [inputs], opset=opset,
                         domains=domains, weights=list(weights))


def branch(op):
    return graph([node(op, "x", "r")], (), [value("r", None)], name="branch")


def body():
    return graph([node("Add", "v v", "r"), node("Identity", "k", "go")],
                 [value("i", [], T.INT64), value("k", [], T.BOOL), value("v", ["N", 4])],
                 [value("go", [], T.BOOL), value("r", ["N", 4])], name="body")


def scan():
    return graph([node("Add", "s v", "t"), node("Identity", "t", "o")], [value("s", [4]), value("v", [4])],
                 [value("t", [4]), value("o", [4])], name="body")


SEEDS = {
    **{op.lower(): of(ROWS, node(op, "x", "y")) for op in
       "Relu Exp Erf Tanh Sigmoid Sqrt Abs Neg Softplus Gelu HardSwish Elu Softmax LogSoftmax Shape Flatten IsNaN "
       "Floor NonZero Size Mish Hardmax".split()},
    "add": of(ROWS, node("Add", "x w", "y"), weights=[ones("w", 4)]),
    "pow": of(ROWS, node("Pow", "x w", "y"), weights=[tensor("w", 2, np.float32)]),
    "where": of(ROWS, node("Greater", "x w", "c"), node("Where", "c x w", "y"), weights=[tensor("w", 0, np.float32)]),
    "clip": of(ROWS, node("Clip", "x a b", "y"), weights=[tensor("a", 0, np.float32), tensor("b", 6, np.float32)]),
    "cast": of(ROWS, node("Cast", "x", "h", to=T.FLOAT16), node("Cast", "h", "y", to=T.FLOAT)),
    "reduce": of(ROWS, node("ReduceMean", "x a", "y", keepdims=1), weights=[ints("a", -1)]),
    "argmax": of(ROWS, node("ArgMax", "x", "y", axis=1, keepdims=0)),
    "topk": of(ROWS, node("TopK", "x k", "y z"), weights=[ints("k", 2)]),
    "cumsum": of(ROWS, node("CumSum", "x a", "y"), weights=[scalar("a", 1)]),
    "matmul": of(ROWS, node("MatMul", "x w", "y"), weights=[ones("w", 4, 5)]),
    "gemm": of(ROWS, node("Gemm", "x w b", "y", transB=1, alpha=0.5), weights=[ones("w", 5, 4), ones("b", 5)]),
    "einsum": of(TOKENS, node("Einsum", "x w", "y", equation="bsd,de->bse"), weights=[ones("w", 8, 4)]),
    "layernorm": of(TOKENS, node("LayerNormalization", "x w b", "y"), weights=[ones("w", 8), ones("b", 8)]),
    "rmsnorm": of(TOKENS, node("RMSNormalization", "x w", "y"), opset=23, weights=[ones("w", 8)]),
    "groupnorm": of(IMAGE, node("GroupNormalization", "x w w", "y", num_groups=3), opset=21, weights=[ones("w", 3)]),
    "batchnorm": of(IMAGE, node("BatchNormalization", "x w w w w", "y"), weights=[ones("w", 3)]),
    "conv": of(IMAGE, node("Conv", "x w", "y", pads=[1] * 4, strides=[2, 2]), weights=[ones("w", 6, 3, 3, 3)]),
    "pool": of(IMAGE, node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])),
    "average": of(IMAGE, node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1] * 4)),
    "resize": of(IMAGE, helper.make_node("Resize", ["x", "", "s"], ["y"]), weights=[tensor("s", [1, 1, 2, 2], np.float32)]),
    "pad": of(IMAGE, node("Pad", "x p", "y", mode="reflect"), weights=[ints("p", 0, 0, 1, 1, 0, 0, 1, 1)]),
    "depth-to-space": of(value("x", ["N", 4, 4, 4]), node("DepthToSpace", "x", "y", blocksize=2)),
    "transpose": of(TOKENS, node("Transpose", "x", "y", perm=[0, 2, 1])),
    "reshape": of(TOKENS, node("Reshape", "x s", "y"), weights=[ints("s", 0, 0, 2, 4)]),
    "reshape-by-shape": of(TOKENS, node("Shape", "x", "s"), node("Gather", "s i", "b"), node("Concat", "b m f", "t", axis=0),
                           node("Reshape", "x t", "y"), weights=[ints("i", 0), ints("m", -1), ints("f", 4)]),
    "squeeze": of(TOKENS, node("Unsqueeze", "x a", "u"), node("Squeeze", "u a", "y"), weights=[ints("a", 1)]),
    "expand": of(ROWS, node("Expand", "x s", "y"), weights=[ints("s", 3, 1, 4)]),
    "tile": of(ROWS, node("Tile", "x s", "y"), weights=[ints("s", 1, 3)]),
    "concat": of(ROWS, node("Concat", "x x w", "y", axis=0), weights=[ones("w", 2, 4)]),
    "split": of(ROWS, node("Split", "x s", "y z", axis=1), weights=[ints("s", 1, 3)]),
    "slice": of(TOKENS, node("Slice", "x a b c d", "y"), weights=[ints("a", 1), ints("b", 7), ints("c", 2), ints("d", 2)]),
    "gather": of(value("x", ["N"], T.INT64), node("Gather", "w x", "y"), weights=[ones("w", 9, 4)]),
    "gather-elements": of([ROWS, value("i", ["N", 4], T.INT64)], node("GatherElements", "x i", "y", axis=1)),
    "gather-nd": of([ROWS, value("i", ["M", 1], T.INT64)], node("GatherND", "x i", "y")),
    "scatter": of([ROWS, value("i", ["M", 1], T.INT64), value("u", ["M", 4])], node("ScatterND", "x i u", "y")),
    "one-hot": of(value("x", ["N"], T.INT64), node("OneHot", "x d v", "y"), weights=[scalar("d", 5), tensor("v", [0, 1], np.float32)]),
    "range": of(ROWS, node("Shape", "x", "s"), node("Gather", "s z", "n"), node("Range", "z n o", "y"),
                weights=[scalar("z", 0), scalar("o", 1)]),
    "constant-of-shape": of(ROWS, node("Shape", "x", "s"), node("ConstantOfShape", "s", "y")),
    "trilu": of(value("x", ["S", "S"]), node("Trilu", "x", "y", upper=0)),
    "if": of([ROWS, value("c", [], T.BOOL)], node("If", "c", "y", then_branch=branch("Relu"), else_branch=branch("Neg"))),
    "loop": of(ROWS, node("Loop", "m c x", "y", body=body()), weights=[scalar("m", 3), tensor("c", True, np.bool_)]),
    "scan": of(value("x", [3, 4]), node("Scan", "w x", "f y", body=scan(), num_scan_inputs=1), weights=[ones("w", 4)]),
    "attention": of(HEADS, node("Attention", "q k v", "y", is_causal=1), opset=24),
    "attention-rank-3": of(TOKENS, node("Attention", "x x x", "y", q_num_heads=2, kv_num_heads=2), opset=23),
    "attention-past": of([*HEADS, value("p", ["B", 2, "P", 4]), value("r", ["B", 2, "P", 4])],
                         helper.make_node("Attention", ["q", "k", "v", "", "p", "r"], ["y", "u", "w"]), opset=23),
    "rotary": of([HEADS[0], value("c", ["B", "S", 2]), value("s", ["B", "S", 2])], node("RotaryEmbedding", "q c s", "y"), opset=23),
    "dequantize": of(ROWS, node("DequantizeLinear", "w s", "d", axis=0, block_size=2), node("MatMul", "x d", "y"), opset=21,
                     weights=[raw("w", [4, 4], T.INT4, bytes(8)), ones("s", 2, 4)]),
    "quantize": of(ROWS, node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y"),
                   weights=[tensor("s", 0.1, np.float32), tensor("z", 3, np.int8)]),
    "dynamic-quantize": of(ROWS, node("DynamicQuantizeLinear", "x", "q s z"), node("MatMulInteger", "q w z", "y"),
                           weights=[raw("w", [4, 4], T.INT8, bytes(16))]),
    "skip-norm": of(TOKENS, node("SkipLayerNormalization", "x x w", "y", domain="com.microsoft"), domains=MS, weights=[ones("w", 8)]),
    "multi-head": of(TOKENS, node("MultiHeadAttention", "x x x", "y", domain="com.microsoft", num_heads=2), domains=MS),
    "nbits": of(value("x", ["N", 32]), node("MatMulNBits", "x w s", "y", domain="com.microsoft", K=32, N=4, bits=4, block_size=32),
                domains=MS, weights=[raw("w", [4, 1, 16], T.UINT8, bytes(64)), ones("s", 4)]),
    "old-opset": of(ROWS, node("Softmax", "x", "s", axis=1), node("Dropout", "s", "y"), opset=9),
}


def build():
    """The bytes of each, by name."""
    return {name: make().SerializeToString() for name, make in SEEDS.items()}


if __name__ == "__main__":
    for name, data in build().items():
        with open(f"{sys.argv[1]}/{name}.onnx", "wb") as file:
            file.write(data)
