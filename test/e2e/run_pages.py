#!/usr/bin/env python3
"""Checks steps that read parts of their pages (compile --sparsify=quest) against NumPy.

    run_pages.py FERRITE
    run_pages.py FERRITE --tinycode DIR     # the bar on a trained model: minutes

FERRITE is the program; the runtime library is taken from ../lib beside it. Takes the decoder
of run_kv.py with more places, reads a prompt at once and goes on in short runs, and checks

  logits   against the decoder in NumPy (f64), which makes summaries, scores and lists by the
           text of ferrite.select_pages; the same without selection is far from it
  bits     tokens one by one, runs of several, and beside another sequence: the same
  all      a share of 1, and a text too short to leave out any: the logits of the model as it is
  report   the share and the gain of each layer that selects
  refused  budgets that are none

DIR of tinycode holds target/model.onnx and valid.npy: perplexity of the first 5 windows of 2048
tokens, each token reading a quarter of what it sees, against that of the step as it is. Prints
"N passed, N failed".
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import run_kv
from run_e2e import Results, execute
from steps import Sequence, Step

PROMPT, COUNT, PART, SHARE = 300, 620, 16, 0.25
REFUSED = [("quest:0", "budget"), ("quest:-3", "budget"), ("quest:1.5", "budget"), ("quest:nan.0", "budget"),
           ("quest:0.0", "budget"), ("quest:x", "budget"), ("quest", "budget"), ("quest:99999999999999999999", "budget"),
           ("quest:0.5,layers=7", "layer 7"), ("quest:0.5,heads=0", "heads"), ("quest:0.5,block=64", "block"),
           ("quest:0.5,layers=0;quest:0.5,layers=0", "no attention")]


def parts_of(q, keys, t, scale, share):
    """The parts that token `t` reads of `keys` [tokens, size], for queries [heads, size]."""
    own, seen = t // 64 * 4, t // PART + 1
    count = own
    keep = max(int(np.ceil(np.float32(share) * np.float32(seen))), 12) - (seen - count)
    keep = min(count, max(keep, 4))
    parts = keys[:count * PART].reshape(count, PART, -1)
    mean, half = parts.mean(1), (parts.max(1) - parts.min(1)) / 2
    guess = scale * (q @ mean.T + np.abs(q) @ half.T / 2)
    weights = np.exp(guess - guess.max(-1, keepdims=True)) if count else guess
    score = (weights / weights.sum(-1, keepdims=True)).sum(0)
    score[:4] = np.inf
    chosen = np.argsort(-score, kind="stable")[:keep]
    reads = np.zeros(seen, bool)
    reads[own:] = reads[chosen] = True
    return np.repeat(reads, PART)[:t + 1]


def reference(ids, size, share):
    """Logits of the decoder in f64, whose tokens behind the prompt select in both layers."""
    w = {name: array.astype(np.float64) for name, array in run_kv.weights(size).items()}
    count, at = len(ids), np.arange(len(ids))
    x = w["words"][ids] + w["places"][at]
    group = run_kv.HEADS // run_kv.KEY_HEADS
    for i in range(run_kv.LAYERS):
        q, k, v = ((x @ w[f"{n}{i}"]).reshape(count, -1, size).transpose(1, 0, 2) for n in "qkv")
        a = np.zeros_like(q)
        for head in range(run_kv.KEY_HEADS):
            mine = slice(head * group, (head + 1) * group)
            for t in range(count):
                reads = np.ones(t + 1, bool)
                if t >= PROMPT and share:
                    reads = parts_of(q[mine, t], k[head], t, size ** -0.5, share)
                z = q[mine, t] @ k[head, :t + 1].T * size ** -0.5
                p = np.where(reads, np.exp(z - z.max(-1, keepdims=True)), 0)
                a[mine, t] = p / p.sum(-1, keepdims=True) @ v[head, :t + 1]
        x = x + np.tanh(a.transpose(1, 0, 2).reshape(count, -1) @ w[f"o{i}"])
    return x @ w["head"]


def read(step, ids, sizes, beside=False):
    """Logits of a prompt read at once, then of runs of these sizes in turn."""
    sequence, other, rows = Sequence(), Sequence(), []
    at, turn = 0, 0
    while at < len(ids):
        count = PROMPT if at == 0 else min(sizes[turn % len(sizes)], len(ids) - at)
        runs = [(sequence, ids[at:at + count], range(at, at + count))]
        if beside:
            runs.insert(0, (other, ids[:2], range(other.length, other.length + 2)))
        rows.append(step.run(runs)[2 * beside:])
        at, turn = at + count, turn + (at > 0)
    return np.concatenate(rows)


def row_errors(a, b):
    return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)


def small(ferrite, library, folder, add):
    run_kv.PLACES = 1024
    model = folder / "model.onnx"
    run_kv.write_model(model, 64)
    ids = np.random.default_rng(5).integers(0, run_kv.WORDS, COUNT)

    def compiled(name, *options):
        execute(ferrite, "compile", model, "-o", folder / f"{name}.so", "--cpu=native", "--quiet", *options, limit=300)
        return Step(library, folder / f"{name}.so", 40, fill=0xFF)

    dense = compiled("dense")
    plain = read(dense, ids, [16])
    dense.close()
    want, far = reference(ids, 64, SHARE), reference(ids, 64, None)
    report = folder / "report.json"
    for kv in ("f32", "int8", "int4"):
        step = compiled(kv, f"--sparsify=quest:{SHARE},layers=0-1", f"--report={report}", f"--kv={kv}")
        logits = read(step, ids, [16])
        if kv == "f32":
            # Where two parts score alike, f32 may take the other one.
            near, away = row_errors(logits, want), row_errors(far, want)[PROMPT:]
            add(np.mean(near < 1e-4) > 0.98 and near.max() < away.max(), "logits",
                f"{np.mean(near < 1e-4):.3f} of rows within 1e-4; all read is {np.median(away):.1e} away")
            add(np.median(away) > 1e-3, "something is left out")
        add(np.isfinite(logits).all() and (row_errors(logits, want) < 0.3).mean() > 0.95, f"{kv} numbers")
        add(np.array_equal(read(step, ids, [1]), logits), f"{kv} one by one")
        add(np.array_equal(read(step, ids, [3, 16, 1, 7], beside=True), logits), f"{kv} runs, in company")
        step.close()
    rows = [row for row in json.loads(report.read_text())["attention"] if "best" in row["sees"]]
    add(len(rows) == 2 and all(abs(row["density"] - SHARE - 1 / PART) < 1e-6 and row["predicted_gain"] == 1 / row["density"] for row in rows), "report", f"{rows[:1]}")
    step = compiled("all", "--sparsify=quest:1,layers=0-1")
    add(np.max(row_errors(read(step, ids, [16]), plain)) < 1e-5, "a share of 1")
    step.close()
    step = compiled("tokens", "--sparsify=quest:192,layers=1")
    add(np.array_equal(step.run([(Sequence(), ids[:16], range(16))]), plain[:16]) or
        np.max(row_errors(step.run([(Sequence(), ids[:16], range(16))]), plain[:16])) < 1e-5, "a short text")
    add(not np.array_equal(read(step, ids, [16]), plain), "a number of tokens")
    step.close()
    for spec, word in REFUSED:
        done = subprocess.run([ferrite, "compile", model, "-o", folder / "no.so", "--quiet", f"--sparsify={spec}"],
                              capture_output=True, text=True)
        add(done.returncode in (1, 2) and word in done.stderr and not (folder / "no.so").exists(), f"no {spec[:20]}",
            done.stderr.strip()[-90:])


def perplexity(step, windows):
    loss = 0.0
    for ids in windows:
        sequence, at = Sequence(), 0
        logits = []
        while at < len(ids):
            count = min(PART, len(ids) - at)
            logits.append(step.run([(sequence, ids[at:at + count], range(at, at + count))]))
            at += count
        step.free = sequence.pages + step.free
        x = np.concatenate(logits)[:-1].astype(np.float64)
        top = x.max(-1, keepdims=True)
        chosen = np.take_along_axis(x, ids[1:, None], 1)
        loss += np.mean(top[:, 0] + np.log(np.exp(x - top).sum(-1)) - chosen[:, 0])
    return np.exp(loss / len(windows))


def tinycode(ferrite, library, folder, root, add):
    ids = np.load(root / "valid.npy").astype(np.int64).reshape(-1)
    windows = [ids[i * 2048:(i + 1) * 2048] for i in range(5)]
    found = {}
    for name, options in (("dense", []), ("25 %", ["--sparsify=quest:0.25"]), ("12.5 %", ["--sparsify=quest:0.125"]),
                          ("25 % of all layers", ["--sparsify=quest:0.25,layers=0-7"]),
                          ("25 %, int8", ["--sparsify=quest:0.25", "--kv=int8"])):
        artifact = folder / "model.so"
        execute(ferrite, "compile", root / "target" / "model.onnx", "-o", artifact, "--cpu=native", "--quiet", *options, limit=600)
        step = Step(library, artifact, 40)
        found[name] = perplexity(step, windows)
        step.close()
        more = 100 * (found[name] / found["dense"] - 1)
        add(name != "25 %" or more <= 1.2, name, f"perplexity {found[name]:.4f}, {more:+.2f} %" + (", bar +1.2 %" if name == "25 %" else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--tinycode", type=pathlib.Path)
    args = parser.parse_args()
    ferrite = args.ferrite.resolve()
    library = str(ferrite.parent.parent / "lib" / "libferrite_rt.so")
    results = Results()
    add = results.add

    with tempfile.TemporaryDirectory(prefix="ferrite-pages-") as folder:
        if args.tinycode:
            tinycode(ferrite, library, pathlib.Path(folder), args.tinycode, add)
        else:
            small(ferrite, library, pathlib.Path(folder), add)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
