#!/usr/bin/env python3
"""Attention under every construction of a mask, against NumPy.

    run_masks.py FERRITE [--only SUBSTRING] [--keep FOLDER]

FERRITE is the program. Needs NumPy and onnx. Each case is a graph of one attention,
written here node by node, and the same mask as a NumPy formula, added to f32 scores in
the graph's order: rows without a key to see get what the graph gives them. Left
padding makes such rows. The report of the compiler must name the mask as the case
says.

Longer than other files because each of its cases is a graph with its formula beside it.
"""
import functools
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import cases

MIN = np.finfo(np.float32).min
B, H, D = 2, 4, 16


class Graph:
    """Nodes in order; each method returns the name of a value."""

    def __init__(self, past=0, dtype=np.float32):
        self.nodes, self.constants, self.inputs = [], [], []
        self.dtype, self.past = dtype, past
        self.elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.q, self.k, self.v = (self.input(x, self.elem, ["b", H, "s", D]) for x in "qkv")
        self.pad = self.input("pad", TensorProto.INT64, ["b", "total" if past else "s"])
        if past:
            before = [self.input(f"past_{x}", self.elem, ["b", H, "past", D]) for x in "kv"]
            self.k = self.op("Concat", before[0], self.k, axis=-2)
            self.v = self.op("Concat", before[1], self.v, axis=-2)

    def input(self, name, elem, dims):
        self.inputs.append(helper.make_tensor_value_info(name, elem, dims))
        return name

    def op(self, kind, *inputs, **attributes):
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.name(x) for x in inputs], [name],
                                           name=name, **attributes))
        return name

    def name(self, x):
        if isinstance(x, str):
            return x
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(x), name))
        return name

    def size(self, value, axis):
        return self.op("Squeeze", self.op("Shape", value, start=axis, end=axis + 1))

    def range(self, value, axis):
        return self.op("Range", np.int64(0), self.size(value, axis), np.int64(1))

    def positions(self):
        """Key positions [k] and query positions [s, 1], those behind the past."""
        j, i = self.range(self.k, 2), self.range(self.q, 2)
        if self.past:
            i = self.op("Add", i, self.op("Sub", self.size(self.k, 2), self.size(self.q, 2)))
        return j, self.op("Unsqueeze", i, np.array([1]))

    def causal(self):
        j, i = self.positions()
        return self.op("LessOrEqual", j, i)

    def padding(self):
        return self.op("Unsqueeze", self.op("Cast", self.pad, to=TensorProto.BOOL),
                       np.array([1, 2]))

    def number(self, x):
        return np.asarray(x, self.dtype)

    def drop(self, keep, fill=MIN):
        return self.op("Where", keep, self.number(0), self.number(fill))

    def scores(self):
        s = self.op("MatMul", self.q, self.op("Transpose", self.k, perm=[0, 1, 3, 2]))
        return self.op("Mul", s, self.number(D ** -0.5))

    def finish(self, scores):
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), self.v)

    def model(self, result):
        out = helper.make_tensor_value_info("out", self.elem, ["b", H, "s", D])
        self.nodes[-1].output[0] = "out"
        graph = helper.make_graph(self.nodes, "masks", self.inputs, [out], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)],
                                 ir_version=11)


class Numbers:
    """The operands of a case, and what formulas of masks need."""

    def __init__(self, s, past, dtype, padding):
        rng = np.random.default_rng(s * 100 + past)
        k = past + s

        def draw(*shape):
            return rng.standard_normal(shape).astype(dtype)

        self.q, self.k, self.v = draw(B, H, s, D), draw(B, H, k, D), draw(B, H, k, D)
        self.pad = np.ones((B, k), np.int64)
        if padding == "left":
            self.pad[1, :k // 2 + 1] = 0
        elif padding == "right":
            self.pad[1, k // 2:] = 0
        elif padding == "all":
            self.pad[1, :] = 0
        self.j, self.i = np.arange(k)[None, :], np.arange(past, k)[:, None]
        self.causal = self.j <= self.i
        self.keys = self.pad[:, None, None, :] != 0
        self.dtype, self.extra = dtype, {}

    def drop(self, keep, fill=MIN):
        return np.where(keep, self.dtype(0), self.dtype(fill))

    def scores(self):
        s = np.einsum("bhid,bhjd->bhij", self.q.astype(np.float64),
                      self.k.astype(np.float64)) * D ** -0.5
        return s.astype(self.dtype)

    def answer(self, scores):
        scores = scores.astype(np.float64)
        with np.errstate(invalid="ignore"):
            w = np.exp(scores - scores.max(-1, keepdims=True))
            w /= w.sum(-1, keepdims=True)
        return np.einsum("bhij,bhjd->bhid", w, self.v.astype(np.float64))


CASES = {}


def case(names, past=0, dtype=np.float32, paddings=("left", "right", "all")):
    """`names`: what the report must call the mask."""
    def add(function):
        CASES[function.__name__] = (function, names, past, dtype, paddings)
        return function
    return add


# Each returns the scores of graph `g` after the mask, and those of NumPy. Sums of the
# lowest number overflow to -inf on purpose.

@case("causal + padding")
def joined_by_and(g, n):
    keep = g.op("And", g.causal(), g.padding())
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(n.causal & n.keys)


@case("causal with offset past + padding", past=3)
def joined_by_and_with_past(g, n):
    return joined_by_and(g, n)


@case("causal + padding")
def two_masks_added(g, n):
    mask = g.op("Add", g.drop(g.causal()), g.drop(g.padding()))
    return (g.op("Add", g.scores(), mask),
            n.scores() + (n.drop(n.causal) + n.drop(n.keys)))


@case("causal + padding")
def two_small_fills_added(g, n):
    mask = g.op("Add", g.drop(g.causal(), -1e4), g.drop(g.padding(), -1e4))
    return (g.op("Add", g.scores(), mask),
            n.scores() + (n.drop(n.causal, -1e4) + n.drop(n.keys, -1e4)))


@case("causal + padding")
def fills_that_differ(g, n):
    s = g.op("Add", g.scores(), g.drop(g.causal(), -1e9))
    return (g.op("Add", s, g.drop(g.padding())),
            n.scores() + n.drop(n.causal, -1e9) + n.drop(n.keys))


@case("causal + padding")
def sum_with_a_lower_bound(g, n):
    s = g.op("Add", g.op("Add", g.scores(), g.drop(g.causal())), g.drop(g.padding()))
    return (g.op("Max", s, g.number(MIN)),
            np.maximum(n.scores() + n.drop(n.causal) + n.drop(n.keys), MIN))


@case("causal + padding")
def padding_replaces(g, n):
    s = g.op("Add", g.scores(), g.drop(g.causal()))
    return (g.op("Where", g.padding(), s, g.number(MIN)),
            np.where(n.keys, n.scores() + n.drop(n.causal), MIN))


@case("bias (scores that one mask dropped are replaced by another)",
      paddings=("left", "right"))
def padding_replaces_infinity(g, n):
    s = g.op("Add", g.scores(), g.drop(g.causal(), -np.inf))
    return (g.op("Where", g.padding(), s, g.number(MIN)),
            np.where(n.keys, n.scores() + n.drop(n.causal, -np.inf), MIN))


@case("causal + padding + bias")
def three_masks_added(g, n):
    other = g.input("other", TensorProto.BOOL, ["b", 1, 1, "s"])
    n.extra["other"] = n.j[None, None] % 3 != np.arange(B)[:, None, None, None]
    s = g.op("Add", g.op("Add", g.scores(), g.drop(g.causal())), g.drop(g.padding()))
    return (g.op("Add", s, g.drop(other)),
            n.scores() + n.drop(n.causal) + n.drop(n.keys) + n.drop(n.extra["other"]))


@case("causal + bias", paddings=("left",))
def a_float_mask_from_outside(g, n):
    mask = g.input("mask", g.elem, ["b", 1, "s", "s"])
    n.extra["mask"] = n.drop(n.keys & (n.j >= n.i - 5)).astype(n.dtype)
    s = g.op("Add", g.scores(), g.drop(g.causal()))
    return (g.op("Add", s, mask), n.scores() + n.drop(n.causal) + n.extra["mask"])


@case("causal + padding")
def trilu(g, n):
    shape = g.op("Concat", g.op("Shape", g.q, start=2, end=3),
                 g.op("Shape", g.k, start=2, end=3), axis=0)
    full = g.op("Expand", g.number(MIN), shape)
    mask = g.op("Trilu", full, np.int64(1), upper=1)
    return (g.op("Add", g.op("Add", g.scores(), mask), g.drop(g.padding())),
            n.scores() + n.drop(n.causal) + n.drop(n.keys))


@case("causal with offset past + padding", past=2)
def scatter_written(g, n):
    """As transformers 4.4x wrote it: the padding goes into a copy of the columns."""
    j, i = g.positions()
    shape = g.op("Concat", g.op("Shape", g.q, start=2, end=3),
                 g.op("Shape", g.k, start=2, end=3), axis=0)
    tri = g.op("Trilu", g.op("Expand", g.number(MIN), shape), np.int64(1), upper=1)
    behind = g.op("Cast", g.op("Greater", j, i), to=g.elem)
    mask = g.op("Unsqueeze", g.op("Mul", tri, behind), np.array([0, 1]))
    sizes = [g.op("Shape", g.pad, start=0, end=1), np.array([1]),
             g.op("Shape", g.q, start=2, end=3), g.op("Shape", g.k, start=2, end=3)]
    whole = g.op("Expand", mask, g.op("Concat", *sizes, axis=0))
    added = g.op("Add", whole, g.op("Cast", g.op("Unsqueeze", g.pad, np.array([1, 2])),
                                    to=g.elem))
    filled = g.op("Where", g.op("Equal", added, g.number(0)), g.number(MIN), whole)
    grid = g.op("Concat", *sizes, np.array([1]), axis=0)
    axes = [g.range(g.pad, 0), np.zeros(1, np.int64), g.range(g.q, 2), g.range(g.k, 2)]
    tuples = [g.op("Expand", g.op("Reshape", a, np.array([-1 if d == x else 1 for d in range(5)])),
                   grid) for x, a in enumerate(axes)]
    written = g.op("ScatterND", whole, g.op("Concat", *tuples, axis=-1), filled)
    return (g.op("Add", g.scores(), written),
            n.scores() + n.drop(n.causal & n.keys))


@case("causal + chunks of 8 + padding")
def chunks(g, n):
    j, i = g.positions()
    same = g.op("Equal", g.op("Div", i, np.int64(8)), g.op("Div", j, np.int64(8)))
    keep = g.op("And", g.op("And", g.causal(), same), g.padding())
    return (g.op("Add", g.scores(), g.drop(keep)),
            n.scores() + n.drop(n.causal & (n.i // 8 == n.j // 8) & n.keys))


@case("causal with offset past + chunks of 8 + padding", past=5)
def chunks_with_past(g, n):
    return chunks(g, n)


@case("chunks of 8", paddings=("none",))
def chunks_both_ways(g, n):
    j, i = g.positions()
    same = g.op("Equal", g.op("Div", j, np.int64(8)), g.op("Div", i, np.int64(8)))
    return (g.op("Add", g.scores(), g.drop(same)),
            n.scores() + n.drop(n.i // 8 == n.j // 8))


@case("causal with offset past + block diagonal + padding", past=4)
def chunks_from_the_first_token(g, n):
    """Chunks are counted from the end of the left padding of each sequence."""
    j, i = g.positions()
    first = g.input("first", TensorProto.INT64, ["b"])
    n.extra["first"] = np.array([0, 2])
    start = g.op("Unsqueeze", first, np.array([1, 2, 3]))
    # Div rounds to 0: kept at 0 and above as torch's floor does.
    i, j = (g.op("Div", g.op("Add", g.op("Sub", x, start), np.int64(64)), np.int64(8))
            for x in (i, j))
    keep = g.op("And", g.op("And", g.causal(), g.op("Equal", i, j)), g.padding())
    start = n.extra["first"][:, None, None, None]
    same = (n.i - start) // 8 == (n.j - start) // 8
    return (g.op("Add", g.scores(), g.drop(keep)),
            n.scores() + n.drop(n.causal & same & n.keys))


def prefix_of(g, n):
    j, _ = g.positions()
    length = g.input("length", TensorProto.INT64, ["b"])
    n.extra["length"] = np.array([3, 7])
    first = g.op("Less", j, g.op("Unsqueeze", length, np.array([1, 2, 3])))
    seen = n.causal | (n.j < n.extra["length"][:, None, None, None])
    return g.op("Or", g.causal(), first), seen


@case("causal + prefix + padding")
def prefix(g, n):
    keep, seen = prefix_of(g, n)
    keep = g.op("And", keep, g.padding())
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(seen & n.keys)


@case("causal with offset past + prefix", past=2, paddings=("none",))
def prefix_alone(g, n):
    keep, seen = prefix_of(g, n)
    return (g.op("Add", g.scores(), g.drop(keep, -np.inf)),
            n.scores() + n.drop(seen, -np.inf))


@case("mask causal + chunks of 8 + prefix")
def prefix_within_chunks(g, n):
    """A prefix of the chunk alone, which a window cannot say."""
    keep, seen = prefix_of(g, n)
    j, i = g.positions()
    same = g.op("Equal", g.op("Div", i, np.int64(8)), g.op("Div", j, np.int64(8)))
    keep = g.op("And", same, g.op("And", keep, g.causal()))
    return (g.op("Add", g.scores(), g.drop(keep)),
            n.scores() + n.drop(seen & n.causal & (n.i // 8 == n.j // 8)))


@case("block diagonal + padding")
def packed_segments(g, n):
    ids = g.input("ids", TensorProto.INT64, ["b", "s"])
    n.extra["ids"] = np.stack([n.j[0] // 5, n.j[0] // 7])
    q = g.op("Unsqueeze", ids, np.array([1, 3]))
    k = g.op("Unsqueeze", ids, np.array([1, 2]))
    keep = g.op("And", g.op("Equal", q, k), g.padding())
    x = n.extra["ids"]
    same = x[:, None, :, None] == x[:, None, None, :]
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(same & n.keys)


@case("causal + block diagonal", paddings=("none",))
def packed_documents(g, n):
    """One row for all sequences, as position ids that start again give it."""
    ids = g.input("row", TensorProto.INT32, ["s"])
    n.extra["row"] = (n.j[0] // 11).astype(np.int32)
    same = g.op("Equal", g.op("Unsqueeze", ids, np.array([1])), ids)
    x = n.extra["row"]
    return (g.op("Add", g.scores(), g.drop(g.op("And", same, g.causal()))),
            n.scores() + n.drop((x[:, None] == x[None, :]) & n.causal))


@case("causal window of 5 before + sink of 2 + padding")
def sinks_and_window(g, n):
    j, i = g.positions()
    near = g.op("Greater", j, g.op("Sub", i, np.int64(6)))
    keep = g.op("Or", g.op("Less", j, np.int64(2)), near)
    keep = g.op("And", g.op("And", keep, g.causal()), g.padding())
    seen = ((n.j < 2) | (n.j > n.i - 6)) & n.causal & n.keys
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(seen)


@case("causal window of 5 before + sink of 2 + padding", past=7)
def sinks_and_window_with_past(g, n):
    return sinks_and_window(g, n)


@case("causal window of 5 before + sink of 2 + prefix", paddings=("none",))
def sinks_that_all_see(g, n):
    """The first keys are joined to a window that is causal already."""
    j, i = g.positions()
    near = g.op("And", g.op("Greater", j, g.op("Sub", i, np.int64(6))), g.causal())
    keep = g.op("Or", near, g.op("Less", j, np.int64(2)))
    seen = (n.j < 2) | ((n.j > n.i - 6) & n.causal)
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(seen)


@case("mask", paddings=("none",))
def global_tokens(g, n):
    """The first tokens see all, and all see them: rows that no window says. Kernels skip
    the blocks of keys that the mask drops for all rows of a tile."""
    j, i = g.positions()
    near = g.op("LessOrEqual", g.op("Abs", g.op("Sub", i, j)), np.int64(4))
    first = g.op("Or", g.op("Less", j, np.int64(3)), g.op("Less", i, np.int64(3)))
    seen = (np.abs(n.i - n.j) <= 4) | (n.j < 3) | (n.i < 3)
    return g.op("Add", g.scores(), g.drop(g.op("Or", near, first))), n.scores() + n.drop(seen)


@case("window of")
def distance(g, n):
    j, i = g.positions()
    near = g.op("LessOrEqual", g.op("Abs", g.op("Sub", i, j)), np.int64(4))
    keep = g.op("And", near, g.padding())
    seen = (np.abs(n.i - n.j) <= 4) & n.keys
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(seen)


@case("causal window of 4 before + padding", past=9)
def sliding_with_past(g, n):
    j, i = g.positions()
    near = g.op("Greater", j, g.op("Sub", i, np.int64(5)))
    keep = g.op("And", g.op("And", g.causal(), near), g.padding())
    seen = n.causal & (n.j > n.i - 5) & n.keys
    return g.op("Add", g.scores(), g.drop(keep)), n.scores() + n.drop(seen)


@case("none", paddings=("none",))
def always_true(g, n):
    j, _ = g.positions()
    return (g.op("Add", g.scores(), g.drop(g.op("GreaterOrEqual", j, np.int64(0)))),
            n.scores())


@case("causal + padding", dtype=np.float16)
def lowest_f16_added(g, n):
    low = np.finfo(np.float16).min
    s = g.op("Add", g.scores(), g.drop(g.causal(), low))
    with np.errstate(over="ignore"):
        return (g.op("Add", s, g.drop(g.padding(), low)),
                n.scores() + n.drop(n.causal, low) + n.drop(n.keys, low))


def repeated(spelling):
    """Two heads of keys and values for four of queries, in front of Attention."""
    def build(g, n):
        for name, array in (("k", n.k), ("v", n.v)):
            half = array[:, ::2]
            n.extra[name + "2"] = half
            g.input(name + "2", g.elem, ["b", 2, "s", D])
            array[:] = np.repeat(half, 2, axis=1)
        mask = g.op("And", g.causal(), g.padding())
        k, v = (spelling(g, name) for name in ("k2", "v2"))
        g.op("Attention", g.q, k, v, mask)
        # A bool mask drops with -inf, and rows without a key are 0.
        return None, n.scores() + n.drop(n.causal & n.keys, -np.inf)
    return build


def by_expand(g, x):
    five = g.op("Unsqueeze", x, np.array([2]))
    sizes = [g.op("Shape", x, start=0, end=2), np.array([2]), g.op("Shape", x, start=2)]
    wide = g.op("Expand", five, g.op("Concat", *sizes, axis=0))
    return g.op("Reshape", wide, np.array([0, H, -1, D]))


def by_tile(g, x):
    wide = g.op("Tile", g.op("Unsqueeze", x, np.array([2])), np.array([1, 1, 2, 1, 1]))
    return g.op("Reshape", wide, np.array([0, H, -1, D]))


def by_gather(g, x):
    return g.op("Gather", x, np.array([0, 0, 1, 1]), axis=1)


def by_concat(g, x):
    five = g.op("Unsqueeze", x, np.array([2]))
    return g.op("Reshape", g.op("Concat", five, five, axis=2), np.array([0, H, -1, D]))


for spelled in (by_expand, by_tile, by_gather, by_concat):
    CASES["attention_op_" + spelled.__name__] = (
        repeated(spelled), "4 heads over 2, scale 0.25, mask causal + padding", 0,
        np.float32, ("left", "right", "none"))


def run_case(ferrite, folder, name):
    function, words, past, dtype, paddings = CASES[name]
    graph = Graph(past, dtype)
    with np.errstate(over="ignore"):
        scores, _ = function(graph, Numbers(19, past, dtype, "none"))
    model, artifact = folder / f"{name}.onnx", folder / f"{name}.so"
    if scores is not None:
        graph.finish(scores)
    save(graph.model(None), model)
    report = folder / f"{name}.json"
    done = cases.compile_model(ferrite, model, artifact, "--report", report,
                               "--require-fusion=attention:all")
    if done.returncode:
        return done.stderr.strip()
    if words not in report.read_text():
        found = [line for line in report.read_text().split('"') if "attention: " in line]
        return f"the report says {found}, not '{words}'"
    limit = 2e-3 if dtype == np.float16 else 2e-5
    for s in (1, 19, 70):
        for padding in paddings:
            n = Numbers(s, past, dtype, padding)
            with np.errstate(over="ignore", invalid="ignore"):
                _, after = function(Graph(past, dtype), n)
                want = n.answer(after)
            if scores is None:
                want = np.nan_to_num(want)
            feed = dict(q=n.q, k=n.k[:, :, past:], v=n.v[:, :, past:], pad=n.pad,
                        past_k=n.k[:, :, :past], past_v=n.v[:, :, :past], **n.extra)
            used = {i.name for i in graph.inputs}
            got, why = cases.run_model(ferrite, artifact, folder,
                                       {k: v for k, v in feed.items() if k in used})
            if why:
                return f"{s} tokens, {padding}: {why}"
            got = got["out"].astype(np.float64)
            if (np.isnan(got) != np.isnan(want)).any():
                return f"{s} tokens, {padding} padding: NaN in other places"
            rows = np.abs(np.nan_to_num(got - want)).max() / np.abs(np.nan_to_num(want)).max()
            if rows > limit:
                return f"{s} tokens, {padding} padding: off by {rows:.1e}"
    return None


if __name__ == "__main__":
    sys.exit(cases.main(__doc__, {name: functools.partial(run_case, name=name) for name in CASES}))
