#!/usr/bin/env python3
"""Weights with --sparsify=weights:.., against NumPy.

    run_pruning.py FERRITE [--only SUBSTRING] [--keep FOLDER]

FERRITE is the program. Needs NumPy and onnx. The model is three products, written here;
each method is said here a second time, from its paper, by inverses and Cholesky factors
of NumPy: the zeros must be at the same places, and the results those of the weights that
are left. The report must say which products skip their zeros, and why others do not.
"""
import json
import sys

import numpy as np
from onnx import TensorProto, helper, save

import cases
from cases import compile_model, run_model

K, HIDDEN, N = 192, 160, 72
SHAPES = {"32x4": (32, 4), "16x4": (16, 4), "32x1": (32, 1), "16x1": (16, 1), "1x1": (1, 1),
          "2:4": (1, 1)}


def make_weights():
    rng = np.random.default_rng(11)
    # Rows of different size, so that inputs matter.
    return {"first": rng.standard_normal((K, HIDDEN)) * 0.1,
            "second": rng.standard_normal((HIDDEN, N)) * rng.uniform(0.2, 2, (HIDDEN, 1)) * 0.1,
            "head": rng.standard_normal((N, 32)) * 0.2}


def make_model(path, weights):
    nodes = [helper.make_node("MatMul", ["x", "first"], ["a"], name="/first/MatMul"),
             helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MatMul", ["b", "second"], ["c"], name="/second/MatMul"),
             helper.make_node("Tanh", ["c"], ["d"]),
             helper.make_node("MatMul", ["d", "head"], ["y"], name="/head/MatMul")]
    constants = [helper.make_tensor(name, TensorProto.FLOAT, w.shape,
                                    w.astype(np.float32).tobytes(), raw=True)
                 for name, w in weights.items()]
    graph = helper.make_graph(
        nodes, "pruned", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["s", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["s", 32])], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
         path)


def inputs(rows):
    rng = np.random.default_rng(12)
    few = rng.standard_normal((24, K)) * 0.7
    return (rng.standard_normal((rows, 24)) @ few * rng.uniform(0.5, 2, K)
            + rng.standard_normal((rows, K)) * 0.2).astype(np.float32)


def forward(x, weights):
    hidden = np.maximum(x.astype(np.float64) @ weights["first"], 0)
    return hidden, np.tanh(hidden @ weights["second"]) @ weights["head"]


def prune(w, x, share, blocks, method):
    """Columns of a strip lose blocks together; SparseGPT goes through K in order."""
    wide, deep = SHAPES[blocks]
    w = w.astype(np.float32).astype(np.float64)
    depth, span = len(w), len(w)
    weigh = np.ones(depth)
    upper = None
    if method == "wanda":
        weigh = (x ** 2).mean(0)
    elif method == "sparsegpt":
        moments = x.T @ x
        damped = moments + 0.01 * np.diag(moments).mean() * np.eye(depth)
        upper = np.linalg.cholesky(np.linalg.inv(damped)).T
        weigh, span = 1 / np.diag(upper) ** 2, 128
    if blocks == "2:4":
        span = 4
    for first in range(0, w.shape[1], wide):
        strip, zeros = w[:, first:first + wide], 0
        for begin in range(0, depth, span):
            end = min(depth, begin + span)
            scores = (strip[begin:end] ** 2 * weigh[begin:end, None]).sum(1)
            scores = np.add.reduceat(scores, np.arange(0, end - begin, deep))
            more = int(np.ceil(share * -(-end // deep) - 1e-9)) - zeros
            zeros += more
            gone = np.zeros(depth, bool)
            for block in np.argsort(scores, kind="stable")[:more]:
                gone[begin + block * deep:min(end, begin + (block + 1) * deep)] = True
            for k in np.flatnonzero(gone):
                if upper is not None:
                    strip[k + 1:] -= np.outer(upper[k, k + 1:], strip[k] / upper[k, k])
                strip[k] = 0
    return w


def relative(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def run_case(ferrite, folder, name):
    blocks, method = name.split(" ")
    share = 0.5 if blocks == "2:4" else 0.6
    weights, x = make_weights(), inputs(300)
    model, artifact, report = (folder / f"m.{e}" for e in ("onnx", "so", "json"))
    make_model(model, weights)
    np.savez(folder / "calib.npz", x=x)
    option = f"--sparsify=weights:{share},blocks={blocks},method={method}"
    data = ["--calib", folder / "calib.npz"] if method != "magnitude" else []
    done = compile_model(ferrite, model, artifact, option, *data, "--report", report,
                         "--cpu=native")
    if done.returncode:
        return done.stderr.strip()
    hidden, _ = forward(x, weights)
    left = dict(weights, first=prune(weights["first"], x.astype(np.float64), share, blocks, method),
                second=prune(weights["second"], hidden, share, blocks, method))
    _, want = forward(x[:50], left)
    got, why = run_model(ferrite, artifact, folder, dict(x=x[:50]))
    if why:
        return why
    off = relative(got["y"], want)
    # Updates in f32 against f64.
    if not off < (3e-3 if method == "sparsegpt" else 1e-5):
        return f"off by {off:.1e}"
    said = json.loads(report.read_text())
    rows = {row["weight"]: row for row in said["pruned"]}
    if set(rows) != {"first", "second"}:
        return f"the report says that {set(rows)} were pruned"
    for weight, row in rows.items():
        kept = (left[weight] != 0).mean()
        data_of = x.astype(np.float64) if weight == "first" else hidden
        scale = {"magnitude": np.eye(len(left[weight])), "sparsegpt": data_of,
                 "wanda": np.diag(np.sqrt((data_of ** 2).mean(0)))}[method]
        error = relative(scale @ left[weight], scale @ weights[weight].astype(np.float32))
        if abs(row["kept"] - kept) > 1e-9 or abs(row["error"] - error) > 0.03 * error:
            return f"{weight}: {row}, not {kept} kept and an error of {error}"
    for row in said["weight_zeros"]:
        # Blocks of f32 are one k deep.
        predicted = dict(row["predicted"])
        dense, pairs = predicted.pop("dense"), predicted.pop("2:4", None)
        best = min(predicted, key=predicted.get, default="dense")
        wanted = best if predicted.get(best, dense) * 1.05 < dense else "dense"
        if row["kernel"] != wanted or not row["reason"]:
            return f"its products are {row}"
        if blocks in ("1x1", "2:4") and method == "magnitude" and wanted != "dense":
            return f"it has {row['zero_blocks']}"
        if blocks not in ("1x1", "2:4") and wanted not in ("32x1", "16x1"):
            return f"blocks that nobody skips: {row}"
        if blocks == "2:4" and not (pairs and pairs > dense):
            return f"2:4 is predicted to be faster, and not chosen: {row}"
    return None


def run_bytes(ferrite, folder):
    """With --quantize=w8a8: what is left is rounded, zeros stay, and products of bytes
    skip them; with data for both."""
    weights, x = make_weights(), inputs(300)
    make_model(folder / "b.onnx", weights)
    np.savez(folder / "calib.npz", x=x)
    report = folder / "b.json"
    hidden, dense = forward(x, weights)
    for method in ("magnitude", "sparsegpt"):
        done = compile_model(
            ferrite, folder / "b.onnx", folder / "b.so", "--calib", folder / "calib.npz",
            f"--sparsify=weights:0.5,blocks=32x4,method={method}", "--quantize=w8a8,head=wide",
            "--report", report, "--require-sparsity=weights:0.45")
        if done.returncode:
            return done.stderr.strip()
        said = json.loads(report.read_text())
        kernels = {row["weight"]: row["kernel"] for row in said["weight_zeros"]}
        if kernels != {"first": "32x4", "second": "32x4"}:
            return f"{method}: the kernels are {kernels}"
        left = dict(weights, first=prune(weights["first"], x.astype(np.float64), 0.5, "32x4",
                                         method),
                    second=prune(weights["second"], hidden, 0.5, "32x4", method))
        got, why = run_model(ferrite, folder / "b.so", folder, dict(x=x[:64]))
        if why:
            return why
        off = relative(got["y"], forward(x[:64], left)[1])
        if not off < 0.03:
            return f"{method}: off by {off:.1e} of what was pruned"
    return None


def run_names(ferrite, folder):
    """The last item that matches holds; a head is pruned where it is named."""
    make_model(folder / "n.onnx", make_weights())
    report = folder / "n.json"
    done = compile_model(ferrite, folder / "n.onnx", folder / "n.so", "--report", report,
                         "--sparsify=weights:0.5;weights:0.75,blocks=16x1,names=head")
    if done.returncode:
        return done.stderr.strip()
    rows = {r["weight"]: (r["blocks"], round(r["kept"], 2))
            for r in json.loads(report.read_text())["pruned"]}
    want = {"first": ("32x4", 0.5), "second": ("32x4", 0.5), "head": ("16x1", 0.25)}
    return None if rows == want else f"{rows}"


def run_refusals(ferrite, folder):
    make_model(folder / "r.onnx", make_weights())
    for options, text in (
            (["--sparsify=weights:0.5,method=wanda"], "needs data"),
            (["--sparsify=weights:0.5,names=nobody"], "no product has a weight or node named"),
            (["--sparsify=weights:0.5,blocks=8x8"], "is none of"),
            (["--sparsify=weights:2"], "above 0 and below 1"),
            (["--sparsify=weights:0.5", "--require-sparsity=weights:0.6"], "weights of linears")):
        output = folder / "r.so"
        done = compile_model(ferrite, folder / "r.onnx", output, *options)
        # A gate that does not hold is 2.
        if done.returncode not in (1, 2) or text not in done.stderr or output.exists():
            return f"{options}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def main():
    runs = {f"{blocks} {method}": lambda f, d, n=f"{blocks} {method}": run_case(f, d, n)
            for blocks in SHAPES for method in ("magnitude", "wanda", "sparsegpt")}
    runs |= {"bytes": run_bytes, "names": run_names, "refusals": run_refusals}
    return cases.main(__doc__, runs)


if __name__ == "__main__":
    sys.exit(main())
