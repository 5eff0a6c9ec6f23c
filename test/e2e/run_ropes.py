#!/usr/bin/env python3
"""Rotary embeddings as exporters write them, against NumPy.

    run_ropes.py FERRITE [--only SUBSTRING] [--keep FOLDER]

FERRITE is the program. Needs NumPy and onnx. Each case is the graph of one rotation of
[batch, heads, tokens, 32]: its angles come from positions, as in the models named. All
must fuse, and each pair be turned by the angle of the formula.
"""
import functools
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import cases

D, HEADS = 32, 4


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, [self.name(x) for x in inputs], names,
                                           name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def name(self, x):
        if isinstance(x, str):
            return x
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(x), name))
        return name

    def part(self, x, start, end, step=1):
        return self.op("Slice", x, np.array([start]), np.array([end]), np.array([-1]),
                       np.array([step]))

    def angles(self, rotated):
        return self.op("Mul", self.op("Cast", self.op("Unsqueeze", "positions", np.array([-1])),
                                      to=TensorProto.FLOAT), frequencies(rotated))

    def turn(self, x, rotated_x, cos, sin):
        return self.op("Add", self.op("Mul", x, cos), self.op("Mul", rotated_x, sin))

    def halves(self, x, size):
        return self.op("Concat", self.op("Neg", self.part(x, size // 2, 2**62)),
                       self.part(x, 0, size // 2), axis=-1)


def frequencies(rotated):
    return (1e4 ** (-np.arange(rotated // 2) * 2 / rotated)).astype(np.float32)


def cos_and_sin(g, angles):
    return (g.op("Unsqueeze", g.op(kind, angles), np.array([1])) for kind in ("Cos", "Sin"))


def llama(g):
    """Halves; one row of positions for all of the batch."""
    a = g.angles(D)
    return g.turn("x", g.halves("x", D), *cos_and_sin(g, g.op("Concat", a, a, axis=-1)))


def phi(g):
    """The first 8 of 32."""
    a = g.angles(8)
    x, rest = g.part("x", 0, 8), g.part("x", 8, 2**62)
    y = g.turn(x, g.halves(x, 8), *cos_and_sin(g, g.op("Concat", a, a, axis=-1)))
    return g.op("Concat", y, rest, axis=-1)


def gptj(g):
    """Adjacent elements."""
    a = g.op("Unsqueeze", g.angles(D), np.array([-1]))
    twice = g.op("Concat", a, a, axis=-1)
    twice = g.op("Reshape", twice, np.array([0, 0, D]))
    even, odd = g.part("x", 0, 2**62, 2), g.part("x", 1, 2**62, 2)
    both = g.op("Concat", g.op("Unsqueeze", g.op("Neg", odd), np.array([-1])),
                g.op("Unsqueeze", even, np.array([-1])), axis=-1)
    return g.turn("x", g.op("Reshape", both, np.array([0, 0, 0, D])), *cos_and_sin(g, twice))


def qwen2_vl(g):
    """Three rows of positions; sections of 4, 6 and 6 angles take one each."""
    a = g.angles(D)
    both = g.op("Concat", a, a, axis=-1)

    def joined(kind):
        parts = g.op("Split", g.op(kind, both), np.array([4, 6, 6, 4, 6, 6]), axis=-1, outputs=6)
        parts = [g.op("Gather", p, np.array(i % 3), axis=0) for i, p in enumerate(parts)]
        return g.op("Unsqueeze", g.op("Concat", *parts, axis=-1), np.array([1]))
    return g.turn("x", g.halves("x", D), joined("Cos"), joined("Sin"))


# The dims of the positions, how many elements are turned, and which are pairs.
CASES = {"llama": (llama, [1, "s"], D, False), "phi": (phi, ["b", "s"], 8, False),
         "gptj": (gptj, ["b", "s"], D, True), "qwen2_vl": (qwen2_vl, [3, "b", "s"], D, False)}


def expect(name, x, positions):
    _, dims, rotated, interleaved = CASES[name]
    y = x.astype(np.float64)
    for b in range(x.shape[0]):
        for s in range(x.shape[2]):
            for i, frequency in enumerate(frequencies(rotated)):
                at = (positions[(0, 1, 2)[(i >= 4) + (i >= 10)], b, s] if len(dims) == 3
                      else positions[b % positions.shape[0], s])
                angle = float(np.float32(at) * frequency)
                p, q = (2 * i, 2 * i + 1) if interleaved else (i, i + rotated // 2)
                u, v = x[b, :, s, p].astype(np.float64), x[b, :, s, q].astype(np.float64)
                y[b, :, s, p] = u * np.cos(angle) - v * np.sin(angle)
                y[b, :, s, q] = v * np.cos(angle) + u * np.sin(angle)
    return y


def run_case(ferrite, folder, name):
    build, dims, _, _ = CASES[name]
    g = Graph()
    build(g)
    g.nodes[-1].output[0] = "y"
    shape = ["b", HEADS, "s", D]
    graph = helper.make_graph(
        g.nodes, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
         helper.make_tensor_value_info("positions", TensorProto.INT64, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], g.constants)
    model, artifact = folder / f"{name}.onnx", folder / f"{name}.so"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
         model)
    done = cases.compile_model(ferrite, model, artifact, "--require-fusion=rope:all")
    if done.returncode:
        return done.stderr.strip()
    rng = np.random.default_rng(0)
    for batch, tokens in ((1, 1), (2, 7), (3, 40)):
        x = rng.standard_normal((batch, HEADS, tokens, D)).astype(np.float32)
        sizes = [{"b": batch, "s": tokens}.get(d, d) for d in dims]
        positions = rng.integers(0, 60, sizes)
        got, why = cases.run_model(ferrite, artifact, folder, dict(x=x, positions=positions))
        if why:
            return why
        off = np.abs(got["y"] - expect(name, x, positions)).max()
        if not off < 2e-6:
            return f"batch {batch}, {tokens} tokens: off by {off:.1e}"
    return None


if __name__ == "__main__":
    sys.exit(cases.main(__doc__, {name: functools.partial(run_case, name=name) for name in CASES}))
