"""Mixtures of experts as exporters spell them, in small graphs of standard ops.

`dense` takes every token through every expert, as gpt-oss of transformers 4 does outside of
training; `gathered` copies the matrices of each token's experts, which broadcast against its
one row; `looped` finds the tokens of each expert in turn, as index_add of TorchScript (17)
and of dynamo (20) and as a read, a sum and a write have it. All must come out as products of
the chosen experts (test/passes/Fusion/fuse-moe).
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .contrib import Draw

EXPERTS, HIDDEN, INNER, CHOICES = 6, 24, 20, 2


class Graph:
    """Nodes and initializers, each named after what it holds."""

    op = "Mixture"

    def __init__(self, name, build, shape, **options):
        self.name, self.shape = name, shape
        self.draw = Draw("mixture" + name)
        self.nodes, self.initializers = [], []
        build(self, **options)
        self.x = self.draw(*shape, HIDDEN)

    def hold(self, name, value, dtype=None):
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, name, *shape):
        return self.hold(name, self.draw(*shape, scale=0.3))

    def add(self, op, inputs, *outputs, **attributes):
        name = f"{op}_{len(self.nodes)}"
        outputs = outputs or (name + "_out",)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def ints(self, *values):
        return self.hold(f"ints_{len(self.initializers)}", values, np.int64)

    def number(self, value):
        return self.hold(f"number_{len(self.initializers)}", value, np.float32)

    def feeds(self):
        return {"x": self.x}

    def model(self):
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", HIDDEN])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.initializers)
        return helper.make_model(graph, ir_version=10,
                                 opset_imports=[helper.make_opsetid("", 20)])

    def answer(self):
        import onnxruntime as ort
        session = ort.InferenceSession(self.model().SerializeToString(),
                                       providers=["CPUExecutionProvider"])
        return {"y": session.run(None, self.feeds())[0]}


def rows_and_routing(g, choices=CHOICES):
    rows = g.add("Reshape", ["x", g.ints(-1, HIDDEN)])
    logits = g.add("MatMul", [rows, g.weight("router", HIDDEN, EXPERTS)])
    g.add("TopK", [logits, g.ints(choices)], "best", "chosen", axis=-1)
    return rows, logits, g.add("Softmax", ["best"], axis=-1)


def clamped_gate(g, both):
    """gpt-oss's: interleaved, clamped, the linear half plus one."""
    end, last, two = g.ints(2 ** 62), g.ints(-1), g.ints(2)
    gate = g.add("Slice", [both, g.ints(0), end, last, two])
    up = g.add("Slice", [both, g.ints(1), end, last, two])
    gate = g.add("Min", [gate, g.number(1)])
    up = g.add("Clip", [up, g.number(-1), g.number(1)])
    sigmoid = g.add("Sigmoid", [g.add("Mul", [gate, g.number(1.702)])])
    return g.add("Mul", [g.add("Add", [up, g.number(1)]), g.add("Mul", [gate, sigmoid])])


def dense(g):
    rows, logits, weights = rows_and_routing(g)
    zeros = g.add("ConstantOfShape", [g.add("Shape", [logits])])
    scores = g.add("ScatterElements", [zeros, "chosen", weights], axis=1)
    rows = g.add("Tile", [rows, g.ints(EXPERTS, 1)])
    rows = g.add("Reshape", [rows, g.ints(EXPERTS, -1, HIDDEN)])

    def product(x, name, depth, columns):
        bias = g.add("Unsqueeze", [g.weight(name + "_bias", EXPERTS, columns), g.ints(1)])
        return g.add("Add", [g.add("MatMul", [x, g.weight(name, EXPERTS, depth, columns)]), bias])

    each = product(clamped_gate(g, product(rows, "up", HIDDEN, 2 * INNER)), "down", INNER, HIDDEN)
    shape = g.add("Shape", ["x"], start=0, end=2)
    each = g.add("Reshape", [each, g.add("Concat", [g.ints(EXPERTS), shape, g.ints(HIDDEN)],
                                         axis=0)])
    scores = g.add("Transpose", [scores], perm=[1, 0])
    scores = g.add("Reshape", [scores, g.add("Concat", [g.ints(EXPERTS), shape], axis=0)])
    weighted = g.add("Mul", [each, g.add("Unsqueeze", [scores, g.ints(3)])])
    g.add("ReduceSum", [weighted, g.ints(0)], "y", keepdims=0)


def gathered(g):
    rows, _, weights = rows_and_routing(g)
    column = g.add("Unsqueeze", [rows, g.ints(1, 3)])
    up = g.add("Gather", [g.weight("up", EXPERTS, INNER, HIDDEN), "chosen"], axis=0)
    up = g.add("MatMul", [up, column])
    up = g.add("Mul", [up, g.add("Sigmoid", [up])])
    down = g.add("Gather", [g.weight("down", EXPERTS, HIDDEN, INNER), "chosen"], axis=0)
    each = g.add("Squeeze", [g.add("MatMul", [down, up]), g.ints(3)])
    weighted = g.add("Mul", [each, g.add("Unsqueeze", [weights, g.ints(2)])])
    total = g.add("ReduceSum", [weighted, g.ints(1)], keepdims=0)
    g.add("Reshape", [total, g.add("Shape", ["x"])], "y")


def looped(g, choices, ending, experts=range(EXPERTS)):
    """`experts` in their order; tokens that chose others alone keep half of themselves."""
    rows, _, weights = rows_and_routing(g, choices)
    total = g.add("Mul", [rows, g.number(0.5)])
    flat = g.add("Reshape", [weights, g.ints(-1, 1)])
    for expert in experts:
        number = g.hold(f"expert_{expert}", expert, np.int64)
        found = g.add("NonZero", [g.add("Equal", ["chosen", number])])
        token, choice = (g.add("Gather", [found, g.hold(f"{part}_{expert}", i, np.int64)],
                               axis=0) for i, part in enumerate(("token", "choice")))
        own = g.add("Gather", [rows, token], axis=0)
        up = g.add("Add", [g.add("MatMul", [own, g.weight(f"up_{expert}", HIDDEN, INNER)]),
                           g.weight(f"bias_{expert}", INNER)])
        up = g.add("Mul", [up, g.add("Sigmoid", [up])])
        down = g.add("MatMul", [up, g.weight(f"down_{expert}", INNER, HIDDEN)])
        at = g.add("Add", [choice, g.add("Mul", [token, g.ints(choices)])])
        each = g.add("Mul", [down, g.add("Gather", [flat, at], axis=0)])
        tuples = g.add("Unsqueeze", [token, g.ints(-1)])
        if ending == "add":
            total = g.add("ScatterND", [total, tuples, each], reduction="add")
        elif ending == "write":
            there = g.add("GatherND", [total, tuples])
            total = g.add("ScatterND", [total, tuples, g.add("Add", [there, each])])
        else:
            zeros = g.add("ConstantOfShape", [g.add("Shape", [total])])
            indices = g.add("Expand", [tuples, g.add("Shape", [each])])
            total = g.add("Add", [total, g.add("ScatterElements", [zeros, indices, each],
                                               axis=0)])
    g.add("Reshape", [total, g.add("Shape", ["x"])], "y")


def cases():
    for name, build in (("dense", dense), ("gathered", gathered)):
        yield Graph(name, build, (3, 7))
        yield Graph(name + "-one-token", build, (1, 1))
    # One token: most experts have no row.
    for choices, shape in ((1, (1, 1)), (1, (3, 7)), (2, (1, 1)), (2, (2, 1)), (2, (3, 7)),
                           (3, (3, 2))):
        for ending in ("add", "write", "elements")[:3 if choices < 3 and shape[0] == 3 else 1]:
            yield Graph(f"looped-{ending}-{choices}-of-{shape[0]}x{shape[1]}", looped, shape,
                        choices=choices, ending=ending)
    # Tokens that chose none of these have no turn.
    for shape in ((1, 1), (3, 7)):
        yield Graph(f"looped-some-of-{shape[0]}x{shape[1]}", looped, shape, choices=2,
                    ending="add", experts=(4, 1))
