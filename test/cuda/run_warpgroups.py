#!/usr/bin/env python3
"""Layers that are wide enough for the warpgroups of sm_90a, on a played GPU, against NumPy.

    run_warpgroups.py FERRITE --fake LIBRARY [--only SUBSTRING]

Written here, since the models of ../models have heads of 16: projections, causal attention of
heads of 64 and 128 with and without shared keys, lists of blocks, an epilogue with a residual.
The kernels must be those of warpgroups; bits must not depend on the order of threads, on what
else is in the batch, nor on how many tokens follow, which takes tiles of other sizes.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from run_cuda import HERE, DeviceModel, run_e2e

HIDDEN = 128
# name: element, heads, heads of keys, their size, option, keys that a query keeps, tolerance
CASES = {
    "halves": (TensorProto.FLOAT16, 2, 1, 64, "", None, 2e-3),
    "wide_heads": (TensorProto.FLOAT16, 1, 1, 128, "", None, 2e-3),
    "bf16": (TensorProto.BFLOAT16, 2, 2, 64, "", None, 1.5e-2),
    "window": (TensorProto.FLOAT16, 2, 2, 64, "--sparsify=window:150", lambda i, j: j > i - 150, 2e-3),
    "blocks": (TensorProto.FLOAT16, 2, 1, 64, "--sparsify=bigbird:window=1,block=128",
               lambda i, j: i // 128 == j // 128, 2e-3),
}


# The models of check_kernels.py: element, heads, heads of keys, their size. As wide as BERT-base and Llama-8B,
# so that all sizes of tiles are there.
WIDE_MODELS = {"wide-f16": (TensorProto.FLOAT16, 12, 12, 64), "wide128-bf16": (TensorProto.BFLOAT16, 8, 2, 128)}


def make_weights(heads, kv, size):
    """Of few bits, so that rounding to 16 changes nothing."""
    rng = np.random.default_rng(7)

    def short(*shape):
        return (np.round(rng.standard_normal(shape) * 16) / 128).astype(np.float32)
    return {"qkv": short(HIDDEN, (heads + 2 * kv) * size), "out": short(heads * size, HIDDEN)}


def make_wide_model(path, element, heads, kv, size):
    make_model(path, element, heads, kv, size, make_weights(heads, kv, size))


def make_model(path, element, heads, kv, size, weights):
    def node(op, inputs, outputs, **attributes):
        return helper.make_node(op, inputs, outputs, name=f"/{outputs[0]}", **attributes)

    nodes = [
        node("Cast", ["x"], ["h"], to=element),
        *[node("Cast", [name], [f"{name}_short"], to=element) for name in weights],
        node("MatMul", ["h", "qkv_short"], ["all"]),
        node("Split", ["all", "parts"], ["q", "k", "v"], axis=-1),
        node("Attention", ["q", "k", "v"], ["mixed"], q_num_heads=heads, kv_num_heads=kv, is_causal=1),
        node("MatMul", ["mixed", "out_short"], ["projected"]),
        node("Add", ["projected", "h"], ["sum"]),
        node("Cast", ["sum"], ["y"], to=TensorProto.FLOAT),
    ]
    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", HIDDEN])
    constants = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    parts = np.array([heads * size, kv * size, kv * size], np.int64)
    graph = helper.make_graph(nodes, "wide", [value("x")], [value("y")],
                              constants + [numpy_helper.from_array(parts, "parts")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)


def expected(x, weights, heads, kv, size, keep):
    b, s, _ = x.shape
    x = x.astype(np.float64)
    q, k, v = np.split(x @ weights["qkv"], [heads * size, (heads + kv) * size], axis=-1)
    q, k, v = (t.reshape(b, s, -1, size).transpose(0, 2, 1, 3) for t in (q, k, v))
    k, v = (np.repeat(t, heads // kv, axis=1) for t in (k, v))
    i, j = np.arange(s)[:, None], np.arange(s)[None, :]
    kept = (j <= i) & (keep(i, j) if keep else True)
    scores = np.where(kept, q @ k.swapaxes(-1, -2) * size ** -0.5, -np.inf)
    w = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (w / w.sum(-1, keepdims=True)) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(b, s, -1) @ weights["out"] + x


def check(args, name, folder, results):
    element, heads, kv, size, option, keep, limit = CASES[name]
    weights = make_weights(heads, kv, size)
    model, artifact, text = folder / "model.onnx", folder / "model.so", folder / "model.cu"
    make_model(model, element, heads, kv, size, weights)
    try:
        run_e2e.execute("env", f"FERRITE_NVCC={HERE / 'fake-nvcc'}", "FERRITE_CACHE=off", args.ferrite,
                        "compile", model, "-o", artifact, "--quiet", "--target=cuda", "--gpu=sm_90a",
                        *([option] if option else []), limit=300)
        run_e2e.execute(args.ferrite, "compile", model, "-o", text, "--quiet", "--target=cuda", "--emit=cuda",
                        "--gpu=sm_90a", *([option] if option else []), limit=60)
        kernels = text.read_text().split("\n// %", 1)[-1]
        lacking = [w for w in ("WarpgroupProduct<", "WarpgroupAttention<") if w not in kernels]
        results.add(not lacking, f"{name} kernels", f"no {lacking}" if lacking else "of warpgroups")
        played = {"FERRITE_LIBCUDA": args.fake, "FERRITE_FAKE_SM": "90"}
        device = DeviceModel(args.ferrite, artifact, folder, "cuda:0", played, None)
        other = DeviceModel(args.ferrite, artifact, folder, "cuda:0",
                            {**played, "FERRITE_FAKE_ORDER": "reverse"}, None)
        x = (np.round(np.random.default_rng(8).standard_normal((2, 300, HIDDEN)) * 16) / 16).astype(np.float32)
        got = device.run({"x": x})["y"]
        worst = run_e2e.relative_error(got, expected(x, weights, heads, kv, size, keep))
        results.add(worst <= limit, f"{name} numpy", f"{worst:.1e}")
        results.add(np.array_equal(other.run({"x": x})["y"], got), f"{name} bits: order of threads", "")
        alone = device.run({"x": x[1:]})["y"]
        results.add(np.array_equal(alone, got[1:]), f"{name} bits: alone", "")
        head = device.run({"x": x[1:, :40]})["y"]
        results.add(np.array_equal(head, got[1:, :40]), f"{name} bits: the first tokens", "")
    except run_e2e.Failed as error:
        results.add(False, name, error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    args.ferrite, args.fake = args.ferrite.resolve(), args.fake.resolve()
    results = run_e2e.Results()
    for name in CASES:
        if args.only in name:
            with tempfile.TemporaryDirectory() as folder:
                check(args, name, pathlib.Path(folder), results)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
