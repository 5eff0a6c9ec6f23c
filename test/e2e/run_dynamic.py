#!/usr/bin/env python3
"""Blocks of attention that are chosen at run time, against NumPy that chooses them too.

    run_dynamic.py FERRITE [--only SUBSTRING] [--keep FOLDER]
    run_dynamic.py FERRITE --tinycode DIR     # the bars on a trained model: minutes

FERRITE is the program. Needs NumPy and onnx. The model is that of run_sparsity.py; the
rule is said here a second time, from the text of ferrite.select_blocks. DIR of tinycode
holds target/model.onnx, calibration.npy and valid.npy: perplexity of the first 5 windows
of 2048 tokens, thresholds by the first 2 of the calibration.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from onnx import load

import cases
from cases import compile_model, run_model
from run_sparsity import B, D, H, KV, attention, make_model

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
TOKENS = (1, 31, 64, 150)


def groups(x, stride, pooled, last_first):
    """[S, D] in groups of `stride` tokens, zeros behind the last."""
    s, d = x.shape
    x = np.concatenate([x, np.zeros((-s % stride, d))]).reshape(-1, stride, d)
    if pooled:
        return x.mean(1)
    return (x[:, ::-1] if last_first else x).reshape(len(x), -1)


def shares(q, k, block, stride, norm, pooled, causal):
    """What each block gets of each row, of one head."""
    a, c = groups(q, stride, pooled, True), groups(k, stride, pooled, False)
    x = a @ c.T * D ** -0.5 / norm / (1 if pooled else stride)
    if causal:
        x = np.where(np.tri(len(a), dtype=bool), x, -np.inf)
    p = np.exp(x - x.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    rows = -(-len(q) // block)
    result = np.zeros((rows, rows))
    for i, row in enumerate(p):
        np.add.at(result[i * stride // block], np.arange(len(c)) * stride // block, row)
    return result


def chosen(q, k, threshold, block, causal, limit=None, **estimate):
    """Which keys each query of a head sees: [S, S]."""
    e = shares(q, k, block, causal=causal, **estimate)
    keep = np.zeros(e.shape, bool)
    for r, row in enumerate(e):
        count = r + 1 if causal else len(row)
        rank = np.where((np.arange(count) == 0) | (np.arange(count) == r), np.inf, row[:count])
        order = np.argsort(-rank, kind="stable")
        before = np.cumsum(row[order]) - row[order]
        keep[r, order] = (before < threshold * row[:count].sum()) | (rank[order] == np.inf)
        if threshold >= 1 or limit is not None and r >= limit:
            keep[r] = True
    at = np.arange(len(q)) // block
    return keep[at[:, None], at[None, :]]


# name: (option, whether causal, thresholds by head, what `chosen` takes besides)
CASES = {
    "xattention": ("xattention:0.8,block=16,stride=4", True, [0.8] * H,
                   dict(block=16, stride=4, norm=0.5, pooled=False)),
    "xattention_both_ways": ("xattention:threshold=0.7,block=32,norm=1", False, [0.7] * H,
                             dict(block=32, stride=8, norm=1, pooled=False)),
    "pooled": ("pooled:0.8,block=16", True, [0.8] * H,
               dict(block=16, stride=16, norm=0.5, pooled=True)),
    "pooled_groups": ("pooled:0.6,block=32,stride=4,norm=2", False, [0.6] * H,
                      dict(block=32, stride=4, norm=2, pooled=True)),
    "some_heads": ("xattention:0.6,block=16,heads=1-2", True, [2, 0.6, 0.6, 2],
                   dict(block=16, stride=8, norm=0.5, pooled=False)),
    # Rows behind what lists are for keep all.
    "short_lists": ("xattention:0.6,block=16,tokens=64", True, [0.6] * H,
                    dict(block=16, stride=8, norm=0.5, pooled=False, limit=4)),
}


def masks(q, k, causal, thresholds, rule):
    """[B, H, S, S]"""
    s = q.shape[2]
    result = np.empty((B, H, s, s), bool)
    for b in range(B):
        for h in range(H):
            result[b, h] = chosen(q[b, h], k[b, h // (H // KV)].astype(np.float64),
                                  thresholds[h], causal=causal, **rule)
    return result & np.tri(s, dtype=bool) if causal else result


def run_case(ferrite, folder, name):
    option, causal, thresholds, rule = CASES[name]
    model, artifact = folder / f"{name}.onnx", folder / f"{name}.so"
    make_model(model, causal)
    done = compile_model(ferrite, model, artifact, f"--sparsify={option}")
    if done.returncode:
        return done.stderr.strip()
    left_out = 0
    for s in TOKENS:
        rng = np.random.default_rng(s)
        q = rng.standard_normal((B, H, s, D)).astype(np.float32) * 4
        k, v = (rng.standard_normal((B, KV, s, D)).astype(np.float32) for _ in "kv")
        runs = []
        for threads in ("1", "2"):
            got, why = run_model(ferrite, artifact, folder, dict(q=q, k=k, v=v), "--threads",
                                 threads)
            if why:
                return f"{s} tokens: {why}"
            runs.append(got["out"])
        if runs[0].tobytes() != runs[1].tobytes():
            return f"{s} tokens: two threads give other bits than one"
        want = q.astype(np.float64)
        for _ in range(2):
            keep = masks(want, k, causal, thresholds, rule)
            left_out += (~keep).sum() - (~np.tri(s, dtype=bool)).sum() * B * H * causal
            want = np.concatenate([attention(want[b:b + 1], k[b:b + 1], v[b:b + 1], keep[b])
                                   for b in range(B)])
        off = np.abs(runs[0] - want).max() / np.abs(want).max()
        if not off < 2e-5:
            return f"{s} tokens: off by {off:.1e}"
        # A sequence has the same bits alone.
        got, why = run_model(ferrite, artifact, folder, dict(q=q[1:], k=k[1:], v=v[1:]))
        if why or got["out"].tobytes() != runs[0][1:].tobytes():
            return f"{s} tokens: a sequence alone gives other bits, {why}"
    return None if left_out > 1000 else f"only {left_out} scores are left out"


def planted(s, seed=5):
    """Heads 0 and 1 look at the first block, 2 and 3 at their own and one other."""
    rng = np.random.default_rng(seed)
    at = np.arange(s) // 16
    q, k = (rng.standard_normal((1, heads, s, D)).astype(np.float32) * 0.3 for heads in (H, KV))
    q[:, :2, :, 0] += 9
    k[:, 0, :16, 0] += 9
    for r in range(at[-1] + 1):
        q[:, 2:, at == r, r % D] += 9
        k[:, 1, at == r, r % D] += 9
    v = rng.standard_normal((1, KV, s, D)).astype(np.float32)
    return dict(q=q, k=k, v=v)


def run_auto(ferrite, folder):
    """Thresholds by data: the mass that the report says is held, by NumPy over all queries."""
    s, model, calib = 256, folder / "auto.onnx", folder / "calib.npz"
    make_model(model, True)
    data = planted(s)
    np.savez(calib, **data)
    found = {}
    for option in ("xattention:auto,mass=0.9", "pooled:auto,mass=0.9", "xattention:auto,density=0.4",
                   "xattention:0.9"):
        report = folder / "auto.json"
        done = compile_model(ferrite, model, folder / "auto.so", "--calib", calib, "--report", report,
                             f"--sparsify={option},block=16,layers=0")
        if done.returncode:
            return f"{option}: {done.stderr.strip()}"
        row = found[option] = json.loads(report.read_text())["attention"][0]
        scores = np.einsum("hid,hjd->hij", data["q"][0].astype(np.float64),
                           np.repeat(data["k"][0].astype(np.float64), H // KV, 0)) * D ** -0.5
        scores = np.where(np.tri(s, dtype=bool), scores, -np.inf)
        w = np.exp(scores - scores.max(-1, keepdims=True))
        w /= w.sum(-1, keepdims=True)
        pooled = option.startswith("pooled")
        for h, threshold in enumerate(row["thresholds"]):
            keep = chosen(data["q"][0, h].astype(np.float64), data["k"][0, h // 2].astype(np.float64),
                          threshold, 16, True, stride=16 if pooled else 8, norm=0.5, pooled=pooled)
            mass = (w[h] * keep).sum(-1).mean()
            if abs(mass - row["mass"][h]) > 0.03:
                return f"{option}: head {h} keeps {mass} of the mass, the report says {row['mass'][h]}"
            kept = keep[::16, ::16][np.tri(s // 16, dtype=bool)].mean()
            density = row["heads"][h] if "heads" in row else row["density"]
            if abs(kept - density) > 1e-6:
                return f"{option}: head {h} keeps {kept}, the report says {density}"
        if len(row["estimated_error"]) != H or not row["predicted_gain"] > 1:
            return f"{option}: the report has {row}"
    if min(min(found[f"{name}:auto,mass=0.9"]["mass"]) for name in ("xattention", "pooled")) < 0.9:
        return "a head holds less mass than asked for"
    if not 0.1 < found["xattention:auto,density=0.4"]["density"] <= 0.4:
        return f"a density of 0.4 is {found['xattention:auto,density=0.4']}"
    sparse = ["--sparsify=xattention:auto,mass=0.9,block=16", "--calib", calib]
    for options, holds in (([*sparse, "--require-sparsity=0.3"], True),
                           ([*sparse, "--require-sparsity=0.99"], False),
                           # Without data nothing is known to be left out.
                           (["--sparsify=xattention:0.9,block=16", "--require-sparsity=0.1"], False)):
        done = compile_model(ferrite, model, folder / "gate.so", *options)
        if (done.returncode == 0) != holds or not holds and "require-sparsity" not in done.stderr:
            return f"{options[-1]}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def run_step(ferrite, folder):
    """A prompt in a step over pages chooses as the entry of the graph does: the first
    token that follows it is the same, and not always that of dense attention."""
    model = MODELS / "gpt2-long-kv.dynamo-20-sdpa.onnx"
    artifacts = {"sparse": folder / "sparse.so", "dense": folder / "dense.so"}
    for name, options in (("sparse", ["--sparsify=xattention:0.05"]), ("dense", [])):
        done = compile_model(ferrite, model, artifacts[name], *options)
        if done.returncode:
            return done.stderr.strip()
    inputs = load(model, load_external_data=False).graph.input
    others = 0
    for seed in range(12):
        ids = np.random.default_rng(seed).integers(1, 100, (1, 200 + 5 * seed))
        feed = {"input_ids": ids, "position_ids": np.arange(ids.shape[1])[None],
                "attention_mask": np.ones_like(ids)}
        for value in inputs:
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if value.name not in feed:
                feed[value.name] = np.zeros((1, dims[1], 0, dims[3]), np.float32)
        said = {}
        for name, artifact in artifacts.items():
            got, why = run_model(ferrite, artifact, folder, feed)
            if why:
                return why
            said[name] = int(got["logits"][0, -1].argmax())
        done = subprocess.run([ferrite, "generate", artifacts["sparse"], "--json", "--max-tokens",
                               "1", "--prompt-ids", ",".join(map(str, ids[0]))],
                              capture_output=True, text=True, timeout=60)
        if done.returncode:
            return done.stderr.strip()
        token = json.loads(done.stdout)["texts"][0]["samples"][0]["tokens"][0]
        if token != said["sparse"]:
            return f"prompt {seed}: the step says {token}, the entry {said}"
        others += said["sparse"] != said["dense"]
    return None if others else "dense attention says the same"


WRONG_OPTIONS = {
    "xattention": "it needs 'threshold'",
    "xattention:0": "above 0 up to 1",
    "xattention:1.5": "above 0 up to 1",
    "xattention:auto,density=0": "above 0 up to 1",
    "xattention:nan": "above 0 up to 1",
    "xattention:some": "or auto",
    "xattention:0.9,stride=3": "no power of two",
    "xattention:0.9,stride=128": "no power of two from 2 that divides the block",
    "xattention:0.9,mass=0.9": "for thresholds by data",
    "xattention:auto,mass=0.9,density=0.5": "both 'mass' and 'density'",
    "xattention:auto": "needs data",
    "xattention:0.9,norm=0": "'norm' takes a number above 0",
    "xattention:0.9,window=3": "it has no 'window'",
    "pooled:0.9,heads=7": "no attention of the model can take",
    "pooled:0.9,layers=7": "layer 7, but the model has 2",
    "pooled:0.9,block=16,tokens=16777216": "no attention of the model can take",
}


def run_refusals(ferrite, folder):
    make_model(folder / "refused.onnx", True)
    for option, text in WRONG_OPTIONS.items():
        output = folder / "refused.so"
        done = compile_model(ferrite, folder / "refused.onnx", output, f"--sparsify={option}")
        if done.returncode != 1 or text not in done.stderr or output.exists():
            return f"{option}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def tinycode(ferrite, root, folder):
    """The bars; false if one is missed."""
    model, size = root / "target" / "model.onnx", 2048

    def windows(name, count, past):
        ids = np.load(root / f"{name}.npy").astype(np.int64)
        x = np.stack([ids[i * size:(i + 1) * size] for i in range(count)])
        arrays = dict(input_ids=x, attention_mask=np.ones((count, size + past), np.int64),
                      position_ids=np.tile(np.arange(size), (count, 1)))
        if past:  # one token that the mask hides
            arrays["attention_mask"][:, 0] = 0
            arrays["labels"] = np.stack([ids[i * size + 1:(i + 1) * size + 1] for i in range(count)])
            arrays |= {f"past_key_values.{i}.{kv}": np.zeros((count, 1, 1, 64), np.float32)
                       for i in range(8) for kv in ("key", "value")}
        np.savez(folder / f"{name}.npz", **arrays)
        return folder / f"{name}.npz"

    calib, valid = windows("calibration", 2, 0), windows("valid", 5, 1)

    def density(option):
        report = folder / "report.json"
        done = compile_model(ferrite, model, folder / "none.mlir", f"--sparsify={option}", "--calib",
                             calib, "--report", report, "--compile-to=sparsify")
        if done.returncode:
            sys.exit(done.stderr)
        rows = json.loads(report.read_text())["attention"]
        return np.mean([row["density"] for row in rows])

    def loss(option):
        artifact = folder / "model.so"
        done = compile_model(ferrite, model, artifact, "--cpu=native", f"--sparsify={option}",
                             "--calib", calib)
        done = done if done.returncode else subprocess.run(
            [ferrite, "verify", model, artifact, "--metric=perplexity", "--data", valid, "--json"],
            capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        metric = json.loads(done.stdout)["metric"]
        return 100 * (metric["perplexity"] / metric["float_perplexity"] - 1)

    ok = True
    for target, most in ((0.46, 1.0), (0.31, None)):
        each = f"xattention:auto,density={target}"
        kept, own = density(each), loss(each)
        # One threshold for all heads that keeps as much.
        low, high = 0.5, 1.0
        for _ in range(7):
            middle = (low + high) / 2
            low, high = (low, middle) if density(f"xattention:{middle}") > kept else (middle, high)
        one = f"xattention:{low}"
        alike = loss(one)
        print(f"each head's threshold: keeps {100 * kept:.1f} %, perplexity {own:+.3f} %; "
              f"{low:.4f} for all: keeps {100 * density(one):.1f} %, {alike:+.3f} %", flush=True)
        if most is not None and own > most:
            ok = False
            print(f"FAIL more than {most:+.1f} %")
        if own > alike * 2 / 3:
            ok = False
            print("FAIL not a third better than one threshold")
    return ok


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--tinycode", type=pathlib.Path)
    args, rest = parser.parse_known_args()
    if args.tinycode:
        with tempfile.TemporaryDirectory() as folder:
            return not tinycode(rest[0], args.tinycode, pathlib.Path(folder))
    runs = {name: lambda f, d, name=name: run_case(f, d, name) for name in CASES}
    runs |= {"auto": run_auto, "step": run_step, "refusals": run_refusals}
    return cases.main(__doc__, runs)


if __name__ == "__main__":
    sys.exit(main())
