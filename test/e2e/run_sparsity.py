#!/usr/bin/env python3
"""Attention with --sparsify, against NumPy with the dense mask of each pattern.

    run_sparsity.py FERRITE [--only SUBSTRING] [--keep FOLDER]

FERRITE is the program. Needs NumPy and onnx. The model is two attentions, one after the
other, written here; which blocks a pattern keeps is said here a second time, from the
papers' text. Files of lists that are wrong must be refused with the layer and head in
the message, and leave no output. Longer than other files because of its tables of
patterns and refusals.
"""
import json
import pathlib
import subprocess
import sys

import numpy as np
from onnx import TensorProto, helper, load, save

import cases
from cases import compile_model, run_model

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
B, H, KV, D = 2, 4, 2, 16


def make_model(path, causal):
    """Two layers: q of the second is what the first gave."""
    def value(name, heads):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", heads, "s", D])
    nodes = [helper.make_node("Attention", ["q", "k", "v"], ["mid"], name="/0/attn",
                              is_causal=int(causal)),
             helper.make_node("Attention", ["mid", "k", "v"], ["out"], name="/1/attn",
                              is_causal=int(causal))]
    graph = helper.make_graph(nodes, "sparse", [value("q", H), value("k", KV), value("v", KV)],
                              [value("out", H)])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11),
         path)


def attention(q, k, v, keep):
    """[B, H, S, D] with keep [H, S, S]."""
    k, v = (np.repeat(x.astype(np.float64), H // KV, axis=1) for x in (k, v))
    s = np.einsum("bhid,bhjd->bhij", q, k) * D ** -0.5
    s = np.where(keep[None], s, -np.inf)
    w = np.exp(s - s.max(-1, keepdims=True))
    return np.einsum("bhij,bhjd->bhid", w / w.sum(-1, keepdims=True), v)


def blocks(s, block, kept):
    """Scores of the blocks that kept(r, c) says, for all heads."""
    at = np.arange(s) // block
    keep = np.array([[kept(r, c) for c in range(at[-1] + 1)] for r in range(at[-1] + 1)])
    return np.broadcast_to(keep[at[:, None], at[None, :]], (H, s, s))


def window(s, left, right, sinks=0):
    i, j = np.arange(s)[:, None], np.arange(s)[None, :]
    return np.broadcast_to(((j >= i - left) & (j <= i + right)) | ((j < sinks) & (j <= i)),
                           (H, s, s))


# name: (option, whether causal, the mask of layer 0 and of layer 1, "-" for all keys)
CASES = {
    "window": ("window:40", True, lambda s: window(s, 39, 0), None),
    "window_sinks": ("window:40,sinks=3", True, lambda s: window(s, 39, 0, 3), None),
    "window_both_ways": ("window:40", False, lambda s: window(s, 20, 20), None),
    "window_of_one_layer": ("window:40,layers=1", True, "-", lambda s: window(s, 39, 0)),
    # A window of 64 tokens reaches back 63, which is into the block before.
    "longformer": ("longformer:64,global=20,block=32", True,
                   lambda s: blocks(s, 32, lambda r, c: r - c <= 2 or c < 1 or r < 1), None),
    "longformer_both_ways": ("longformer:window=64,global=20,block=32", False,
                             lambda s: blocks(s, 32, lambda r, c: abs(r - c) <= 1 or c < 1
                                              or r < 1), None),
    "bigbird": ("bigbird:window=3,global=1,block=16", False,
                lambda s: blocks(s, 16, lambda r, c: abs(r - c) <= 1 or r < 1 or c < 1), None),
    "dilated": ("dilated:window=48,dilation=3,block=16", True,
                lambda s: blocks(s, 16, lambda r, c: (r - c) % 3 == 0 and r - c < 9), None),
    "strided": ("strided:local=32,stride=64,block=16", True,
                lambda s: blocks(s, 16, lambda r, c: r - c < 2 or (r - c) % 4 == 0), None),
    # Rows behind what lists were made for keep all.
    "short_lists": ("longformer:16,block=16,tokens=64", True,
                    lambda s: blocks(s, 16, lambda r, c: r - c <= 1 or r >= 4), None),
    "one_head": ("longformer:16,block=16,heads=1-2", True,
                 lambda s: np.stack([np.ones((s, s), bool), *blocks(s, 16, lambda r, c:
                                     r - c <= 1)[:2], np.ones((s, s), bool)]), None),
    "two_items": ("longformer:16,block=16,layers=0;window:9,layers=1", True,
                  lambda s: blocks(s, 16, lambda r, c: r - c <= 1), lambda s: window(s, 8, 0)),
}
TOKENS = (1, 31, 64, 150)


def compare(ferrite, artifact, folder, causal, first, second):
    """What is wrong, or None. The masks are functions of the tokens."""
    for s in TOKENS:
        rng = np.random.default_rng(s)
        q = rng.standard_normal((B, H, s, D)).astype(np.float32) * 3
        k, v = (rng.standard_normal((B, KV, s, D)).astype(np.float32) for _ in "kv")
        got, why = run_model(ferrite, artifact, folder, dict(q=q, k=k, v=v))
        if why:
            return f"{s} tokens: {why}"
        want = q.astype(np.float64)
        for mask in (first, second):
            keep = np.ones((H, s, s), bool) if mask == "-" else np.array(mask(s))
            if causal:
                keep = keep & np.tri(s, dtype=bool)
            want = attention(want, k, v, keep)
        off = np.abs(got["out"] - want).max() / np.abs(want).max()
        if not off < 2e-5:
            return f"{s} tokens: off by {off:.1e}"
    return None


def run_pattern(ferrite, folder, name):
    option, causal, first, second = CASES[name]
    model, artifact, report = (folder / f"{name}.{x}" for x in ("onnx", "so", "json"))
    make_model(model, causal)
    done = compile_model(ferrite, model, artifact, f"--sparsify={option}", "--report", report)
    if done.returncode:
        return done.stderr.strip()
    why = compare(ferrite, artifact, folder, causal, first, second or first)
    if why:
        return why
    # The kept density, of as many tokens as the report says (those of a pattern with
    # `tokens` in the option alone: others are too many for a mask here).
    rows = json.loads(report.read_text())["attention"]
    for row, mask in zip(rows, (first, second or first)):
        s = row["tokens"]
        if s > 1000:
            continue
        keep = np.array(mask(s)) & (np.tri(s, dtype=bool) if causal else True)
        dense = s * (s + 1) / 2 if causal else s * s
        if abs(row["density"] - keep.sum() / H / dense) > 1e-9:
            return f"the report says {row['density']}, not {keep.sum() / H / dense}"
    return None


def run_random(ferrite, folder):
    """BigBird's draws: as many as asked for in each row, others in each head."""
    make_model(folder / "random.onnx", False)
    option = "bigbird:window=1,random=2,seed=5,block=16,tokens=160"
    texts = []
    for i in range(2):
        done = compile_model(ferrite, folder / "random.onnx", folder / f"random{i}.mlir",
                             f"--sparsify={option}", "--compile-to=sparsify")
        if done.returncode:
            return done.stderr.strip()
        texts.append((folder / f"random{i}.mlir").read_text())
    if texts[0] != texts[1]:
        return "two compilations draw different blocks"
    done = compile_model(ferrite, folder / "random.onnx", folder / "random.so",
                         f"--sparsify={option}", "--report", folder / "random.json")
    row = json.loads((folder / "random.json").read_text())["attention"][0]
    # The diagonal and two more of ten.
    return None if abs(row["density"] - 0.3) < 1e-9 else f"{row} keeps no 3 of 10 blocks"


def lists_file(folder, name, layers, **more):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"block": 16, "layers": layers, **more}))
    return path


def run_file(ferrite, folder):
    """Lists by layer and head: random ones, heads that are in none, and names."""
    rng = np.random.default_rng(3)
    rows = 150 // 16 + 1

    def draw():
        keep = (rng.random((rows, rows)) < 0.3) | np.eye(rows, dtype=bool)
        return keep, [[int(c) for c in np.flatnonzero(row)] for row in keep]

    own = {h: draw() for h in (0, 2)}
    shared = draw()
    make_model(folder / "file.onnx", False)
    path = lists_file(folder, "file", {
        "0": {str(h): lists for h, (_, lists) in own.items()}, "/1/attn": {"*": shared[1]}})
    done = compile_model(ferrite, folder / "file.onnx", folder / "file.so",
                         f"--sparsify=blocks:{path}")
    if done.returncode:
        return done.stderr.strip()

    def first(s):
        at = np.arange(s) // 16
        keeps = [own[h][0] if h in own else np.ones((rows, rows), bool) for h in range(H)]
        # A row whose blocks are all behind the keys keeps all.
        blocks_here = at[-1] + 1
        masks = []
        for keep in keeps:
            keep = keep[:, :blocks_here]
            keep = keep | ~keep.any(1, keepdims=True)
            masks.append(keep[at[:, None], at[None, :]])
        return np.stack(masks)

    def second(s):
        return blocks(s, 16, lambda r, c: shared[0][r, c])

    return compare(ferrite, folder / "file.so", folder, False, first, second)


GOOD = [[0], [0, 1], [1, 2]]
# What is wrong with a file, and what the message must have.
WRONG_FILES = {
    "no_block": ({"0": {"1": [[0], [], [2]]}}, {}, "layer 0, head 1: row 1 keeps no block"),
    "descends": ({"1": {"0": [[0], [1, 0]]}}, {}, "layer 1, head 0: row 1 has block 0 behind"),
    "twice": ({"1": {"0": [[0], [1, 1]]}}, {}, "layer 1, head 0: row 1 has block 1 behind"),
    "outside": ({"0": {"3": [[0], [0, 1], [1, 7]]}}, {}, "layer 0, head 3: row 2 has block 7"),
    "negative": ({"0": {"3": [[0], [-1]]}}, {}, "layer 0, head 3: row 1"),
    "huge": ({"0": {"3": [[0], [1 << 40]]}}, {}, "layer 0, head 3: row 1"),
    "fraction": ({"0": {"3": [[0], [0.5]]}}, {}, "layer 0, head 3: row 1"),
    "no_array": ({"0": {"3": 7}}, {}, "layer 0, head 3"),
    "no_rows": ({"0": {"3": []}}, {}, "layer 0, head 3"),
    "no_such_head": ({"0": {"4": GOOD}}, {}, "layer 0, head 4: the layer has 4 heads"),
    "no_such_layer": ({"2": {"*": GOOD}}, {}, "layer 2, but the model has 2"),
    "other_rows": ({"0": {"0": GOOD, "1": GOOD[:2]}}, {}, "layer 0, head 1: it has 2 rows"),
    "unseen": ({"0": {"0": [[0], [0], [2]], "2": [[0], [0], [0]], "3": [[1], [1], [0]]}}, {},
               "layer 0, head 3: row 0 keeps no block that a causal"),
    "no_heads": ({"0": {}}, {}, "layer 0"),
    "head_name": ({"0": {"one": GOOD}}, {}, "layer 0, head one"),
    "block_size": ({"0": {"*": GOOD}}, {"block": 20}, "'block' is a multiple of 16"),
    "unknown_key": ({"0": {"*": GOOD}}, {"blokc": 64}, "'blokc' means nothing"),
    "no_layers": ({}, {}, "'layers'"),
}
WRONG_OPTIONS = {
    "window": "it needs 'window'",
    "window:0": "a number of 1 or more",
    "window:9,global=2": "it has no 'global'",
    "spiral:3": "unknown pattern",
    "longformer:64,block=20": "a multiple of 16",
    "longformer:64,window=3": "there twice",
    "longformer:64,layers=1-9": "layer 9, but the model has 2",
    "longformer:64,layers=3-1": "no set of numbers",
    "longformer:64,heads=4": "no attention of the model can take",
    "longformer:64,block=16,tokens=16777216": "no attention of the model can take",
    "strided:local=64,stride=65": "no multiple of the block",
    "bigbird:99999999999999999999": "a number of 1 or more",
    "search:0": "above 0 up to 1",
    "quest:0": "a share above 0",
    "quest:0.0": "a share above 0",
    "blocks:": "names no file",
    "blocks:/nowhere.json": "cannot open",
    ";": "names no pattern",
}


def run_refusals(ferrite, folder):
    make_model(folder / "refused.onnx", True)
    wrong = [(f"blocks:{lists_file(folder, name, layers, **more)}", text)
             for name, (layers, more, text) in WRONG_FILES.items()]
    (folder / "text.json").write_text("{\"layers\": [")
    (folder / "empty.json").write_text("")
    wrong += [(f"blocks:{folder / name}", "it is no JSON") for name in ("text.json", "empty.json")]
    wrong += WRONG_OPTIONS.items()
    for option, text in wrong:
        output = folder / "refused.so"
        done = compile_model(ferrite, folder / "refused.onnx", output, f"--sparsify={option}")
        if done.returncode != 1 or text not in done.stderr or output.exists():
            return f"{option}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def run_gate(ferrite, folder):
    make_model(folder / "gate.onnx", True)
    sparse = "--sparsify=longformer:16,block=16,tokens=320"
    for options, holds in (([sparse, "--require-sparsity=0.8"], True),
                           ([sparse, "--require-sparsity=attention:0.95"], False),
                           ([sparse + ",layers=1", "--require-sparsity=0.8"], False),
                           (["--require-sparsity=0"], True),
                           (["--require-sparsity=0.1"], False),
                           (["--require-sparsity=much"], False),
                           (["--require-sparsity=nan"], False)):
        output = folder / "gate.so"
        output.unlink(missing_ok=True)
        done = compile_model(ferrite, folder / "gate.onnx", output, *options)
        if done.returncode != (0 if holds else 1) or output.exists() != holds:
            return f"{options}: exit code {done.returncode}, {done.stderr.strip()!r}"
        if not holds and "require-sparsity" not in done.stderr:
            return f"{options}: {done.stderr.strip()!r}"
    return None


def run_weights(ferrite, folder):
    """Zeros of weights: 2 of 4, blocks, single ones, and none."""
    rng = np.random.default_rng(1)
    k, n = 64, 96
    weights = {name: rng.standard_normal((k, n)).astype(np.float32) + 5
               for name in ("dense", "pairs", "blocks", "single")}
    weights["pairs"].reshape(k // 4, 4, n)[:, 1:3] = 0
    kept = rng.random((k // 4, n // 32)) < 0.5
    weights["blocks"] *= np.repeat(np.repeat(kept, 4, 0), 32, 1)
    weights["single"] *= rng.random((k, n)) < 0.5
    nodes, last = [], "x"
    for i, name in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [last, name], [f"y{i}"], name=f"/{name}"))
        last = f"y{i}"
        if i + 1 < len(weights):
            # The innermost axis is 1.
            nodes.append(helper.make_node("Slice", [last, "zero", "k", "one"], [f"z{i}"]))
            last = f"z{i}"
    constants = [helper.make_tensor(name, TensorProto.FLOAT, (k, n), w.tobytes(), raw=True)
                 for name, w in weights.items()]
    constants += [helper.make_tensor(name, TensorProto.INT64, (1,), [value])
                  for name, value in (("zero", 0), ("k", k), ("one", 1))]
    graph = helper.make_graph(
        nodes, "zeros", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["s", k])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["s", n])], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
         folder / "zeros.onnx")
    report = folder / "zeros.json"
    done = compile_model(ferrite, folder / "zeros.onnx", folder / "zeros.so", "--report", report,
                         "--require-sparsity=weights:0.3")
    if done.returncode:
        return done.stderr.strip()
    rows = {row["weight"]: row for row in json.loads(report.read_text())["weight_zeros"]}
    if set(rows) != {"pairs", "blocks", "single"}:
        return f"the report has {set(rows)}"
    for name, row in rows.items():
        zero = weights[name] == 0
        if abs(row["zeros"] - zero.mean()) > 1e-9:
            return f"{name}: {row}"
        if row["two_of_four"] != bool((zero.reshape(k // 4, 4, n).sum(1) >= 2).all()):
            return f"{name}: {row}"
        for size, share in row["zero_blocks"].items():
            wide, deep = map(int, size.split("x"))
            whole = zero.reshape(k // deep, deep, n // wide, wide).all((1, 3)).mean()
            if abs(share - whole) > 1e-9:
                return f"{name}: {size} is {share}, not {whole}"
    done = compile_model(ferrite, folder / "zeros.onnx", folder / "zeros2.so",
                         "--require-sparsity=weights:0.9")
    if done.returncode != 1 or "weights of linears" not in done.stderr:
        return f"the gate: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def run_search(ferrite, folder):
    """Heads with structure that was planted get the pattern of it, and the mass that the
    report says is kept, by NumPy over all queries."""
    make_model(folder / "search.onnx", True)
    s, block, least = 256, 16, 0.9
    rows, at = s // block, np.arange(s) // block
    rng = np.random.default_rng(5)
    q, k = (rng.standard_normal((1, heads, s, D)).astype(np.float32) * 0.1 for heads in (H, KV))
    # Heads 0 and 1 read head 0 of the keys, whose first block points where all queries do;
    # those of heads 2 and 3 point to the keys of their own block.
    q[:, :2, :, 0] += 9
    k[:, 0, :block, 0] += 9
    for r in range(rows):
        q[:, 2:, at == r, r] += 12
        k[:, 1, at == r, r] += 12
    v = rng.standard_normal((1, KV, s, D)).astype(np.float32)
    np.savez(folder / "calib.npz", q=q, k=k, v=v)
    compiled = compile_model(ferrite, folder / "search.onnx", folder / "search.so",
                             f"--sparsify=search:{least},block={block},layers=0", "--calib",
                             folder / "calib.npz", "--report", folder / "search.json")
    if compiled.returncode:
        return compiled.stderr.strip()
    row = json.loads((folder / "search.json").read_text())["attention"][0]
    if not 0 < row["density"] < 0.3 or min(row["mass"]) < least:
        return f"of planted blocks it keeps {row}"
    scores = np.einsum("hid,hjd->hij", q[0].astype(np.float64),
                       np.repeat(k[0].astype(np.float64), H // KV, 0)) * D ** -0.5
    scores = np.where(np.tri(s, dtype=bool), scores, -np.inf)
    w = np.exp(scores - scores.max(-1, keepdims=True))
    w /= w.sum(-1, keepdims=True)
    for h, (pattern, said) in enumerate(zip(row["patterns"], row["mass"])):
        if pattern not in ("a-shape 1+1", "a-shape 0+1", "vertical-slash 1+0",
                           "vertical-slash 0+1", "vertical-slash 0+0"):
            return f"head {h} has {pattern}"
        keep = at[:, None] == at[None, :]
        if h < 2:
            keep = keep | (at[None, :] == 0)
        real = (w[h] * keep).sum(-1).mean()
        if real < least or abs(real - said) > 0.03:
            return f"head {h} keeps {real} of the mass, the report says {said}"
    mask = np.stack([blocks(s, block, lambda r, c: c in ((0, r) if h < 2 else (r,)))[0]
                     for h in range(H)])
    got, why = run_model(ferrite, folder / "search.so", folder, dict(q=q, k=k, v=v))
    if why:
        return why
    causal = np.tri(s, dtype=bool)
    want = attention(attention(q, k, v, mask & causal), k, v, np.stack([causal] * H))
    off = np.abs(got["out"] - want).max() / np.abs(want).max()
    if not off < 2e-5:
        return f"off by {off:.1e}"
    for options, text in ((["--sparsify=search:0.9"], "needs data"),
                          (["--sparsify=search:1.5", "--calib", folder / "calib.npz"], "above 0"),
                          (["--sparsify=search:0.9,layers=4", "--calib", folder / "calib.npz"],
                           "layer 4"),
                          (["--calib", folder / "calib.npz"], "--sparsify=search")):
        done = compile_model(ferrite, folder / "search.onnx", folder / "no.so", *options)
        if done.returncode != 1 or text not in done.stderr:
            return f"{options}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def run_estimate(ferrite, folder):
    """What patterns by name keep of data, in the report, against NumPy over all queries."""
    make_model(folder / "estimate.onnx", True)
    s = 160
    rng = np.random.default_rng(7)
    q = rng.standard_normal((1, H, s, D)).astype(np.float32) * 2
    k, v = (rng.standard_normal((1, KV, s, D)).astype(np.float32) for _ in "kv")
    np.savez(folder / "estimate.npz", q=q, k=k, v=v)
    done = compile_model(ferrite, folder / "estimate.onnx", folder / "estimate.so",
                         "--sparsify=longformer:32,block=16,heads=1-3,layers=0;window:40,layers=1",
                         "--calib", folder / "estimate.npz", "--report", folder / "estimate.json")
    if done.returncode:
        return done.stderr.strip()
    causal = np.tri(s, dtype=bool)
    keys = np.repeat(k.astype(np.float64), H // KV, 1)
    masks = (blocks(s, 16, lambda r, c: r - c <= 2), window(s, 39, 0))
    queries = q.astype(np.float64)
    for row, mask in zip(json.loads((folder / "estimate.json").read_text())["attention"], masks):
        scores = np.einsum("bhid,bhjd->bhij", queries, keys)[0] * D ** -0.5
        w = np.where(causal, np.exp(scores - scores.max(-1, keepdims=True)), 0)
        kept = (w * mask).sum(-1) / w.sum(-1)
        for h in range(H):
            want = 1 if row["layer"] == 0 and h == 0 else kept[h].mean()
            said, lost = row["mass"][h], row["estimated_error"][h]
            if abs(said - want) > 0.03 or abs(said + lost - 1) > 1e-9:
                return f"layer {row['layer']}, head {h}: kept {want}, the report says {said}"
        queries = attention(queries, k, v, np.stack([causal] * H))
    return None


def run_search_biased(ferrite, folder):
    """The search in f16, with a bias by distance: two blocks are enough, by their bias."""
    s, block, half = 256, 16, TensorProto.FLOAT16

    def value(name, *dims):
        return helper.make_tensor_value_info(name, half, dims)
    graph = helper.make_graph(
        [helper.make_node("Attention", ["q", "k", "v", "m"], ["out"], is_causal=1)], "biased",
        [value("q", "b", H, "s", D), value("k", "b", KV, "s", D), value("v", "b", KV, "s", D),
         value("m", 1, H, "s", "s")], [value("out", "b", H, "s", D)])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11),
         folder / "biased.onnx")
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, heads, s, D)).astype(np.float16) / 8
               for heads in (H, KV, KV))
    i, j = np.arange(s)[:, None], np.arange(s)[None, :]
    bias = np.broadcast_to(-np.abs(i - j) / 4, (1, H, s, s)).astype(np.float16)
    np.savez(folder / "biased.npz", q=q, k=k, v=v, m=bias)
    done = compile_model(ferrite, folder / "biased.onnx", folder / "biased.so",
                         f"--sparsify=search:0.95,block={block}", "--calib",
                         folder / "biased.npz", "--report", folder / "biased.json")
    if done.returncode:
        return done.stderr.strip()
    row = json.loads((folder / "biased.json").read_text())["attention"][0]
    if row["patterns"] != ["a-shape 0+2"] * H:
        return f"of a bias by distance it keeps {row}"
    got, why = run_model(ferrite, folder / "biased.so", folder, dict(q=q, k=k, v=v, m=bias))
    if why:
        return why
    scores = np.einsum("bhid,bhjd->bhij", q.astype(np.float64),
                       np.repeat(k.astype(np.float64), H // KV, 1)) * D ** -0.5 + bias
    w = np.where(i >= j, np.exp(scores), 0)
    kept = w * (i // block - j // block < 2)
    mass = (kept.sum(-1) / w.sum(-1)).mean()
    if abs(mass - np.mean(row["mass"])) > 0.01:
        return f"two blocks have {mass} of the mass, the report says {row['mass']}"
    want = np.einsum("bhij,bhjd->bhid", kept / kept.sum(-1, keepdims=True),
                     np.repeat(v.astype(np.float64), H // KV, 1))
    off = np.abs(got["out"] - want).max() / np.abs(want).max()
    return None if off < 2e-3 else f"off by {off:.1e}"


def run_step(ferrite, folder):
    """A window narrows the step over pages as it does the entry of the graph."""
    model = MODELS / "gpt2-long-kv.dynamo-20-sdpa.onnx"
    texts, logits = [], []
    for option in ("--sparsify=window:7", None):
        artifact = folder / "step.so"
        done = compile_model(ferrite, model, artifact, *([option] if option else []))
        if done.returncode:
            return done.stderr.strip()
        done = subprocess.run([ferrite, "generate", artifact, "--json", "--max-tokens", "24",
                               "--prompt-ids", ",".join(map(str, range(3, 43)))],
                              capture_output=True, text=True, timeout=60)
        if done.returncode:
            return done.stderr.strip()
        texts.append(json.loads(done.stdout)["texts"][0]["samples"][0]["tokens"])
        ids = np.array([[*range(3, 43), *texts[0]]])
        feed = {}
        for value in load(model, load_external_data=False).graph.input:
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if value.name == "input_ids":
                feed[value.name] = ids
            elif value.name == "position_ids":
                feed[value.name] = np.arange(ids.shape[1])[None]
            elif value.name == "attention_mask":
                feed[value.name] = np.ones_like(ids)
            else:
                feed[value.name] = np.zeros((1, dims[1], 0, dims[3]), np.float32)
        got, why = run_model(ferrite, artifact, folder, feed)
        if why:
            return why
        logits.append(got["logits"][0])
    said = logits[0].argmax(-1)[39:-1].tolist()
    if said[:len(texts[0])] != texts[0]:
        return f"the step writes {texts[0]}, the entry {said}"
    if np.abs(logits[0] - logits[1])[20:].max() < 1e-3:
        return "a window of 7 changes nothing"
    return None


def main():
    runs = {name: lambda f, d, name=name: run_pattern(f, d, name) for name in CASES}
    runs |= {"random": run_random, "file": run_file, "refusals": run_refusals, "gate": run_gate,
             "weights": run_weights,
             "step": run_step,
             "search": run_search, "search_biased": run_search_biased, "estimate": run_estimate}
    return cases.main(__doc__, runs)


if __name__ == "__main__":
    sys.exit(main())
