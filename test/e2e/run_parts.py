#!/usr/bin/env python3
"""Checks what a step has on request against ONNX Runtime's answers.

    run_parts.py FERRITE

FERRITE is the program; the runtime library is taken from ../lib beside it. Compiles
llama-kv with embeddings in, hidden states and sums of attention out and layers left out,
and a second model beside it, and compares with llama-kv-parts.npz (make_parts.py), at once
and in two chunks. Prints "N passed, N failed".
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from run_e2e import Failed, Results, execute, relative_error
from steps import I32, I64, Sequence, Step
from tables import TOLERANCE

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
LLAMA = MODELS / "llama-kv.torchscript-17-sdpa.onnx"
OTHER = MODELS / "gpt2-kv.torchscript-17-sdpa.onnx"
PARTS = ["embeddings", "hidden:0", "hidden:1", "hidden:2", "hidden:/model/model/layers.0/Add",
         "lse:0", "lse:1"]
# What an option may not be, the exit code, and a word of the message.
REFUSED = [
    (["--step-with=colour"], 1, "colour"),
    (["--step-with=lse:x"], 1, "lse:x"),
    (["--step-with=lse:2"], 2, "no layer 2"),
    (["--step-with=hidden:3"], 2, "behind 3 layers"),
    (["--step-with=hidden:/nothing"], 2, "/nothing"),
    (["--step-entry=early:skip:0-1"], 2, "2 layers"),
    (["--step-entry=early:skip:7"], 2, "2 layers"),
    (["--step-entry=early:choose:0-1"], 2, "2 layers"),
    (["--step-entry=early:1"], 1, "NAME:skip:LAYERS"),
    (["--step-entry=step:skip:1"], 1, "two entries"),
    (["--with=draft"], 1, "NAME:FILE"),
    (["--with=main:x.onnx"], 1, "two entries"),
    (["--with=draft:nowhere.onnx"], 1, "nowhere.onnx"),
]


def check_drafts(ferrite, artifact, scratch, add):
    """Texts with guesses of the model's own layers, and of a model compiled in beside it:
    those without guesses."""
    def write(path, *options):
        done = subprocess.run(
            [ferrite, "generate", path, "--prompt-ids=5,17,9,40,3", "--max-tokens=60",
             "--threads=1", "--json", *options], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"generate ended with {done.returncode}: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
        return answer["texts"], answer["stats"]

    plain, stats = write(artifact)
    add(stats["drafted_tokens"] == 0, "no draft, no guesses")
    texts, stats = write(artifact, "--draft-entry=early")
    add(texts == plain and stats["drafted_tokens"] > 0, "guesses of fewer layers",
        f"{stats['accepted_tokens']} of {stats['drafted_tokens']} right")
    twin = scratch / "twin.so"
    execute(ferrite, "compile", LLAMA, "-o", twin, "--cpu=native", "--quiet",
            f"--with=draft:{LLAMA}", limit=300)
    texts, stats = write(twin)
    add(texts == plain and stats["accepted_tokens"] == stats["drafted_tokens"] > 0,
        "guesses of a draft in the artifact",
        f"{stats['accepted_tokens']} of {stats['drafted_tokens']} right")
    texts, stats = write(twin, "--no-draft")
    add(texts == plain and stats["drafted_tokens"] == 0, "--no-draft")


def check_exits(step_of, ids, width, add):
    """Runs that leave layers out among runs that do not, against entries of one kind."""
    texts = [ids[:7], ids[2:3], ids[1:6], ids[4:8]]
    blocks = {"exits": [1], "first": [0]}

    def run(step, runs, **more):
        count = sum(len(tokens) for _, tokens, *_ in runs)
        none = np.zeros((count, width), np.float32), np.zeros(count, bool)
        return step.run(runs, None, none, **more)

    def call(step, leave, entry):
        """Logits of each text in two calls, and the rows of the last layer's pages."""
        sequences, answers = [Sequence() for _ in texts], []
        for piece in (slice(0, 3), slice(3, None)):
            runs = [(s, t[piece], np.arange(len(t))[piece]) for s, t in zip(sequences, texts)]
            logits = run(step, runs, leave={layer: leave for layer in blocks.get(entry, [])})
            answers.append(np.split(logits, np.cumsum([len(r[1]) for r in runs])[:-1]))
        pages = [np.concatenate([np.zeros(0)] + [
            step.read(s, i, 0, s.length).ravel()
            for i, state in enumerate(step.states) if state.layer == 1])
                 for s in sequences]
        return [np.concatenate(each) for each in zip(*answers)], pages

    def answers(entry, leave=()):
        step = step_of(entry)
        found = call(step, leave, entry)
        step.close()
        return found

    plain, pages = answers("step")
    for entry, without in (("exits", "early"), ("first", "late")):
        less, _ = answers(without)
        for leave in ((), (1,), (0, 3), (0, 1, 2, 3)):
            logits, own = answers(entry, leave)
            add(all(np.array_equal(logits[i], (less if i in leave else plain)[i])
                    for i in range(len(texts))), f"{entry}: runs {leave} leave a layer out")
            if entry == "exits":  # what reaches the layer is the same, whoever runs it
                add(all(np.array_equal(a, b) for a, b in zip(own, pages)),
                    f"{entry}: keys and values of runs {leave}")
    # A text that goes through a layer, passes it by and goes through it again.
    step, logits = step_of("exits"), []
    sequence = Sequence()
    for at, leave in ((0, ()), (3, (0,)), (5, ())):
        part = slice(at, {0: 3, 3: 5, 5: 8}[at])
        logits.append(run(step, [(sequence, ids[part], np.arange(8)[part])], leave={1: leave}))
    whole = step_of("step")
    want = run(whole, [(Sequence(), ids[:8], np.arange(8))])
    add(np.array_equal(logits[0], want[:3]) and np.array_equal(logits[2], want[5:8]) and
        not np.array_equal(logits[1], want[3:5]), "a layer left out for some tokens of a text")
    two = [(Sequence(), ids[:3], np.arange(3)), (Sequence(), ids[:2], np.arange(2))]
    for name, value, kind, word in (
            ("layer_runs_1", [1, 0], I64, "layer_rows_1"), ("layer_runs_1", [0, 2], I64, "2 runs"),
            ("layer_runs_1", [-1, 0], I64, "ascend"), ("layer_runs_1", [0], I64, "2"),
            ("layer_rows_1", [0, 1, 2, 3, 5], I64, "does not hold 4"),
            ("layer_rows_1", [0, 1, 2, 3], I64, "does not hold 4"),
            ("layer_rows_1", [0, 1, 2, 3, 4, 4], I64, "6 elements"),
            ("layer_begins_1", [0, 2, 5], I32, "where its run begins"),
            ("layer_begins_1", [0, 3, 4], I32, "ends with 4")):
        try:
            run(step, two, leave={1: ()}, changed={name: (value, kind)})
            message = "no error"
        except RuntimeError as error:
            message = str(error)
        for sequence, *_ in two:
            sequence.length = 0
        add(word in message, f"refuses {name} = {value}", message[:90])
    step.close()
    whole.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    args = parser.parse_args()
    args.ferrite = args.ferrite.resolve()
    library = str(args.ferrite.resolve().parent.parent / "lib" / "libferrite_rt.so")
    results = Results()
    add = results.add

    def near(got, want, what):
        error = relative_error(got, want)
        add(error <= TOLERANCE["f32"], what, f"{error:.1e}")

    want = np.load(HERE / "llama-kv-parts.npz")
    ids, count = want["ids"], len(want["ids"])
    none = np.zeros_like(want["embeddings"]), np.zeros(count, bool)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = pathlib.Path(scratch) / "both.so"
        execute(args.ferrite, "compile", LLAMA, "-o", artifact, "--cpu=native", "--quiet",
                *[f"--step-with={part}" for part in PARTS], "--step-entry=early:skip:1",
                "--step-entry=late:skip:0", "--step-entry=exits:choose:1",
                "--step-entry=first:choose:0", f"--with=other:{OTHER}", limit=300)
        step = Step(library, artifact, 16, fill=0xFF)

        def run(embeddings=none, bits=None, outputs=None, pieces=1, of=step, rows=None):
            sequence, found = Sequence(), []
            for part in np.array_split(np.arange(count), pieces):
                seen = [] if bits is None else [[bits[i] for i in part]]
                given = None if embeddings is None else (embeddings[0][part],
                                                         embeddings[1][part])
                found.append(of.run([(sequence, ids[part], part, *seen)], rows, given, outputs))
            if outputs:
                return [np.concatenate(each) for each in zip(*found)]
            return np.concatenate(found)

        near(run(), want["logits"], "logits")
        names = ["hidden:0", "hidden:1", "hidden:2", "lse:0", "lse:1"]
        for pieces in (1, 2):
            values = run(outputs=names, pieces=pieces)
            for name, value in zip(names, values):
                near(value, want[name.replace(":", "")], f"{name} in {pieces} pieces")
        [some] = run(outputs=["hidden:1"], rows=[6, 2])
        near(some, want["hidden1"][[6, 2]], "hidden:1 of two tokens")
        [inner] = run(outputs=["hidden:/model/model/layers.0/Add"])
        add(inner.shape == want["hidden1"].shape and
            relative_error(inner, want["hidden1"]) > 0.01, "a node by its name")
        given = want["embeddings"], want["embedded"]
        for pieces in (1, 2):
            near(run(given, pieces=pieces), want["embedded_logits"],
                 f"embeddings in {pieces} pieces")
        # Blocks of four tokens that see each other and what is before them.
        blocks = [0b1111] * 4 + [0b11111111] * 4
        near(run(bits=blocks), want["block_logits"], "blocks at once")
        near(run(bits=[0b1111] * 8, pieces=2), want["block_logits"], "blocks one by one")
        step.close()
        for entry, layer in (("early", 1), ("late", 0)):
            less = Step(library, artifact, 16, entry=entry)
            near(run(of=less), want[f"skip{layer}_logits"], f"without layer {layer}")
            add(len(less.states) == 2 and less.states[0].layer == 1 - layer,
                f"states without layer {layer}")
            less.close()
        check_exits(lambda entry: Step(library, artifact, 16, entry=entry, threads=2), ids,
                    want["embeddings"].shape[1], add)
        # The other model is what it is alone.
        alone = pathlib.Path(scratch) / "alone.so"
        execute(args.ferrite, "compile", OTHER, "-o", alone, "--cpu=native", "--quiet",
                limit=300)
        logits = []
        for path, entry in ((artifact, "other_step"), (alone, "step")):
            other = Step(library, path, 16, entry=entry)
            logits.append(run(None, of=other))
            other.close()
        add(np.array_equal(*logits), "another model in the artifact")
        check_drafts(args.ferrite, artifact, pathlib.Path(scratch), add)
        for options, code, word in REFUSED:
            done = subprocess.run(
                [args.ferrite, "compile", LLAMA, "-o", pathlib.Path(scratch) / "no.so",
                 "--cpu=native", *options], capture_output=True, text=True, cwd=scratch)
            add(done.returncode == code and word in done.stderr,
                f"refuses {options[0]}", f"exit {done.returncode}: {done.stderr.strip()[:100]}")
    return results.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as problem:
        print("FAIL", problem)
        print("0 passed, 1 failed")
        sys.exit(1)
