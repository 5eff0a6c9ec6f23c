#!/usr/bin/env python3
"""Lets models of test/models write, and compares with PyTorch's `generate`.

    run_generated.py FERRITE [--only SUBSTRING] [--models FOLDER]

FERRITE is the program. Against generated.json, for every export of each family, an
encoder-decoder as one file, as encoder and decoder, and with a decoder whose keys of
the source come from outside:

  greedy     200 tokens, and with a repetition penalty of 1.3
  company    the same beside other texts, prompts in chunks, so few pages that texts are
             preempted, guesses: the same tokens and logprobs as alone
  samples    random texts are the same alone, in company and with guesses
  beams      run, best first

A first difference is allowed where PyTorch's two best logits lie within 1e-4, and is
listed. The last line is "N passed, N failed".
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from run_decoders import Failed, execute

HERE = pathlib.Path(__file__).resolve().parent
TOKENS = 200


class Program:
    """A model with what it needs to run, and how its texts begin."""

    def __init__(self, program, artifact, encoders, row, folder):
        self.program, self.artifact, self.row = program, artifact, row
        self.encoders = [w for path in encoders for w in ("--encoder", path)]
        self.features = folder / "features.npz"

    def source(self, number):
        """Options of text 0, the reference's, or of another one."""
        row = self.row
        if "features" in row:
            path = self.features.with_suffix(f".{number}.npz")
            features = np.array([row["features"]], np.float32) * (1 + number)
            np.savez(path, input_features=features)
            return ["--inputs", path]
        ids = row.get("source") or row["prompt"]
        return ["--prompt-ids", ",".join(map(str, ids[number:]))]

    def texts(self, numbers, *options):
        """Tokens of all samples of these texts, and their logprobs."""
        words = [w for n in numbers for w in self.source(n)]
        if "start" in self.row:
            words += ["--decoder-ids", ",".join(map(str, self.row["start"]))]
        answer = json.loads(execute(
            self.program, "generate", self.artifact, *self.encoders, "--json", "--threads", 2,
            "--max-tokens", TOKENS, *words, *options))
        return ([[s["tokens"] for s in t["samples"]] for t in answer["texts"]],
                [[s.get("logprobs") for s in t["samples"]] for t in answer["texts"]],
                answer["stats"])


def compare(got, reference):
    """What is to be listed; raises where PyTorch says something else for certain."""
    want = reference["tokens"]
    if got == want:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    if len(got) == len(want) and at in reference["close"]:
        return f"differs from token {at} on, where two logits are within 1e-4"
    raise Failed(f"{len(got)} tokens of {len(want)}, the first difference at {at}: "
                 f"{got[at:at + 4]}, not {want[at:at + 4]}")


def check_greedy(model):
    notes = []
    for kind, options in (("greedy", ()), ("penalty", ("--repetition-penalty", 1.3))):
        [[text]], _, _ = model.texts([0], *options)
        notes.append(compare(text, model.row[kind]))
    return "; ".join(filter(None, notes))


def check_company(model):
    penalty = ["--repetition-penalty", 1.3, "--logprobs", 1]
    alone, logprobs, _ = model.texts([0], *penalty)
    others = [0, 3, 5, 0]
    for name, options in (("company", []), ("chunks", ["--step-tokens", 7]),
                          ("few pages", ["--cache-pages", 6]),
                          ("guesses", ["--lookup"])):
        texts, also, stats = model.texts(others, *penalty, *options)
        for i in (0, 3):
            if texts[i] != alone[0] or also[i] != logprobs[0]:
                raise Failed(f"{name}: text {i} is not the text alone")
        if name == "few pages" and not stats["preemptions"]:
            raise Failed("few pages: nothing was preempted")
        if "start" in model.row and stats["encoder_runs"] != 3:
            raise Failed(f"{stats['encoder_runs']} sources encoded for 3 different ones")
    return ""


def check_samples(model):
    # Random models are sure of themselves.
    options = ["--temperature", 8, "--samples", 3, "--seed", 5, "--top-p", 0.95]
    [alone], _, _ = model.texts([0], *options)
    if len({tuple(text) for text in alone}) != 3:
        raise Failed("samples are the same")
    for more in ([], ["--lookup"], ["--step-tokens", 5]):
        texts, _, _ = model.texts([3, 0], *options, *more)
        if texts[1] != alone:
            raise Failed(f"samples in company differ ({more})")
    return ""


def check_beams(model):
    options = ["--beams", 3, "--samples", 3]
    [alone], _, _ = model.texts([0], *options)
    texts, _, _ = model.texts([3, 0], *options)
    if texts[1] != alone or len({tuple(text) for text in alone}) != 3:
        raise Failed("beams in company differ")
    return ""


def setups(folder, name):
    """(title, artifact, encoders) by the files of models."""
    def exports(part):
        return sorted(folder.glob(f"{name}{part}.*.onnx"))
    for path in exports("-kv"):
        yield path.stem, path, []
    encoders, firsts = exports("-encoder"), exports("-decoder")
    for path in firsts + exports("-decoder-merged"):
        yield f"{path.stem} + encoder", path, [encoders[0]]
    for path in exports("-both"):
        yield path.stem, path, []
    for path in exports("-decoder-kv"):
        yield f"{path.stem} + encoder + decoder", path, [encoders[0], firsts[0]]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    args = parser.parse_args()
    program = args.ferrite.resolve()
    rows = json.loads((HERE / "generated.json").read_text())
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ferrite-generated-") as scratch:
        scratch, made = pathlib.Path(scratch), {}

        def artifact(path):
            if path not in made:
                made[path] = scratch / f"{path.stem}.so"
                execute(program, "compile", path, "-o", made[path], "--quiet", "--cpu=native")
            return made[path]

        for name, row in rows.items():
            for title, path, encoders in setups(args.models, name):
                if args.only not in title:
                    continue
                for check in (check_greedy, check_company, check_samples, check_beams):
                    what = f"{title} {check.__name__[6:]}"
                    try:
                        model = Program(program, artifact(path), [artifact(e) for e in encoders],
                                        row, scratch)
                        note = check(model)
                    except (Failed, KeyError) as error:
                        failed += 1
                        print(f"FAIL {what}: {error}", flush=True)
                    else:
                        passed += 1
                        print(f"PASS {what} {note}".rstrip(), flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
