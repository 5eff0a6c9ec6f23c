#!/usr/bin/env python3
"""Tokens that merge (--sparsify=merge), against PyTorch's merging of the same ViT.

    run_merge.py FERRITE [--only SUBSTRING] [--keep FOLDER]

FERRITE is the program. Needs NumPy. make_merge.py wrote what is compared with; images are
those of vit.b5.npz. Results are the same bits alone or in a batch, with one thread or
two; the report says how many tokens each attention sees; a model that cannot is an error
whose report has the reason.
"""
import json
import pathlib
import sys

import numpy as np

import cases
from cases import compile_model, run_model

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
TOLERANCE = 3e-5  # of outputs up to 5; f32 through two layers
# case: (option, tokens that each attention sees)
CASES = {"two": ("merge:2", (17, 15)),
         "six": ("merge:6,layers=0;merge:5,layers=1", (17, 11)),
         "second": ("merge:4,layers=1", (17, 17)),
         "free": ("merge:3,fixed=0", (17, 14))}


def images():
    with np.load(HERE / "vit.b5.npz") as file:
        return file["in.pixel_values"]


def run_case(ferrite, folder, name, model):
    option, seen = CASES[name]
    artifact, report = folder / "merge.so", folder / "merge.json"
    done = compile_model(ferrite, MODELS / model, artifact, f"--sparsify={option}",
                         "--report", report)
    if done.returncode:
        return done.stderr.strip()
    got, why = run_model(ferrite, artifact, folder, {"pixel_values": images()})
    if why:
        return why
    with np.load(HERE / "vit-merge.npz") as file:
        for output, value in got.items():
            want = file[f"{name}.{output}"]
            off = np.abs(value - want).max() if value.shape == want.shape else np.inf
            if not off < TOLERANCE:
                return f"{output} is off by {off:.1e}"
    for options, rows in ((["--threads", "2"], slice(0, 5)), (["--threads", "1"], slice(3, 4))):
        again, why = run_model(ferrite, artifact, folder, {"pixel_values": images()[rows]},
                               *options)
        if why:
            return why
        if any(again[k].tobytes() != got[k][rows].tobytes() for k in got):
            return f"other bits with {options}, images {rows}"
    for row, tokens in zip(json.loads(report.read_text())["attention"], seen):
        share = (tokens / 17) ** 2
        if row["tokens"] != tokens or abs(row["density"] - share) > 1e-9:
            return f"the report says {row}, not {tokens} tokens"
    return None


def run_share(ferrite, folder):
    """A share is of what the layer sees; and no layer merges more than half."""
    for share, counts in (("merge:0.2", "merge:3,layers=0;merge:2,layers=1"),
                          ("merge:900", "merge:8,layers=0;merge:4,layers=1")):
        results = []
        for option in (share, counts):
            done = compile_model(ferrite, MODELS / "vit.dynamo-20-sdpa.onnx",
                                 folder / "share.so", f"--sparsify={option}",
                                 "--require-sparsity=0.1")
            if done.returncode:
                return done.stderr.strip()
            got, why = run_model(ferrite, folder / "share.so", folder,
                                 {"pixel_values": images()})
            if why:
                return why
            results.append(got["last_hidden_state"].tobytes())
        if results[0] != results[1]:
            return f"{share} is not {counts}"
    return None


# model, option: what the report or the message has.
REFUSED = {
    ("bert.dynamo-20-sdpa", "merge:2"): "it has a mask",
    ("gpt2.dynamo-20-sdpa", "merge:2"): "goes by position",
    ("vit.dynamo-20-sdpa", "merge:2,fixed=17"): "too few for so many",
    ("vit.dynamo-20-sdpa", "window:9;merge:2"): "goes by position",
    ("vit.dynamo-20-sdpa", "merge:2,layers=7"): "is for layer 7",
    ("vit.dynamo-20-sdpa", "merge:0"): "a number, not '0'",
    ("vit.dynamo-20-sdpa", "merge:0.7"): "up to 0.5",
    ("vit.dynamo-20-sdpa", "merge"): "it needs 'tokens'",
    ("vit.dynamo-20-sdpa", "merge:2,block=64"): "it has no 'block'",
}


def run_refusals(ferrite, folder):
    for (model, option), text in REFUSED.items():
        report, output = folder / "refused.json", folder / "refused.so"
        report.unlink(missing_ok=True)
        done = compile_model(ferrite, MODELS / f"{model}.onnx", output, f"--sparsify={option}",
                             "--report", report)
        said = done.stderr + (report.read_text() if report.exists() else "")
        if done.returncode != 1 or text not in said or output.exists():
            return f"{model}, {option}: exit code {done.returncode}, {done.stderr.strip()!r}"
    return None


def main():
    runs = {f"{name}_{model.split('.')[1]}":
            lambda f, d, name=name, model=model: run_case(f, d, name, model)
            for name in CASES for model in ("vit.dynamo-20-sdpa.onnx",
                                            "vit.torchscript-17-sdpa.onnx")}
    runs |= {"share": run_share, "refusals": run_refusals}
    return cases.main(__doc__, runs)


if __name__ == "__main__":
    sys.exit(main())
