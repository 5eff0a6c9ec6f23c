#!/usr/bin/env python3
"""Compiles every model of test/models and compares it with PyTorch's answers.

    run_e2e.py FERRITE [--threads N] [--only SUBSTRING] [--models FOLDER]
               [--keep FOLDER] [--no-bits] [--jobs N] [--no-exceptions]

FERRITE is the program. Needs NumPy only; README.md says how the references were
made. Four kinds of checks, each counted on its own:

  fusion     compile with --require-fusion=attention:all succeeds
  mask       the report names what each layer's attention sees (models of SEES)
  reference  relative L2 error of each output against PyTorch in float32
  bits       a token's result is the same bits alone or in a batch, in a shorter or
             longer padding, at 1, 2 or 3 threads (models of BIT_MODELS)

What a model cannot yet do is in exceptions.txt with the reason; an exception that
holds no longer fails, so that the list shrinks. A reference is NaN where an output does
not matter. Models are compiled for the level of this machine, those of BOTH_LEVELS for
all levels, and run at each. FERRITE_CPU in the environment reaches the program.

Longer than other files because its kinds of checks share one compiled artifact.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tables import (BIT_MODELS, BOTH_LEVELS, ENTRY_FLAGS, LAST_LOGITS, LONGEST, NOT_HELD, PACKAGE,
                    SEES, TOLERANCE, kind_of)

HERE = pathlib.Path(__file__).resolve().parent


class Results:
    """Counts; `known` maps (model, kind of check) to the reason why it may fail."""

    def __init__(self, known=None):
        self.passed, self.failed, self.skipped, self.excepted = 0, [], 0, []
        self.known, self.used, self.lock = known or {}, {}, threading.Lock()

    def add(self, ok, what, detail=""):
        name, kind = what.split()[0], self.kind(what)
        with self.lock:
            word = "PASS" if ok else "FAIL"
            if (name, kind) in self.known:
                self.used.setdefault((name, kind), []).append(ok)
                if not ok:
                    word = "XFAIL"
                    self.excepted.append(what)
            if word == "PASS":
                self.passed += 1
            elif word == "FAIL":
                self.failed.append(what)
            print(f"{word} {what:54s} {detail}", flush=True)
        return ok

    @staticmethod
    def kind(what):
        words = what.split()
        if words[-1] in ("fusion", "compile", "mask"):
            return words[-1]
        return "bits" if "bits" in what else "reference"

    def stale(self):
        """An exception whose every check passed must go."""
        for key, results in self.used.items():
            if all(results):
                self.failed.append(f"{key[0]} {key[1]} passes: take it out of exceptions.txt")

    def finish(self, detail=""):
        """Prints the last line; the exit code, which is 1 if nothing was checked either."""
        for what in self.failed:
            print(f"failed: {what}")
        print(f"{self.passed} passed, {len(self.failed)} failed{detail}")
        return 1 if self.failed or not self.passed else 0

    def skip(self, what, why):
        with self.lock:
            self.skipped += 1
        print(f"SKIP {what:54s} {why}", flush=True)


class Failed(Exception):
    """The program failed; the text is its last words."""


def execute(*command, limit, level=None):
    environment = {**os.environ, "FERRITE_CPU": level} if level else None
    try:
        done = subprocess.run([str(c) for c in command], timeout=limit, text=True,
                              env=environment,
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

    def __init__(self, ferrite, artifact, scratch, threads, level=None):
        self.ferrite, self.artifact, self.scratch = ferrite, artifact, scratch
        self.threads, self.level = threads, level

    def run(self, feed, threads=None, entry=None):
        inputs, outputs = self.scratch / "in.npz", self.scratch / "out.npz"
        outputs.unlink(missing_ok=True)
        np.savez(inputs, **feed)
        execute(self.ferrite, "run", self.artifact, "--inputs", inputs, "--outputs", outputs,
                "--threads", threads or self.threads, *(["--entry", entry] if entry else []),
                limit=60, level=self.level)
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
    """Over what matters: the reference is NaN elsewhere."""
    got, want = to_f32(got).astype(np.float64), want.astype(np.float64)
    real = ~np.isnan(want)
    return float(np.linalg.norm((got - want)[real]) / max(np.linalg.norm(want[real]), 1e-30))


def load_case(path):
    with np.load(path) as file:
        parts = {kind: {name[len(kind) + 1:]: file[name] for name in file.files
                        if name.startswith(kind + ".")} for kind in ("in", "out")}
    return parts["in"], parts["out"]


def check_references(name, model, files, tolerance, results, flag=None):
    """`flag` is the input whose values became entries."""
    for path in files:
        case = path.name.split(".")[1]
        feed, wanted = load_case(path)
        what = f"{name} {case}" + (f" at {model.level}" if model.level else "")
        if case in NOT_HELD.get(name, ()):
            continue
        entry = flag and f"{flag}_{'true' if feed.pop(flag).all() else 'false'}"
        try:
            got = model.run(feed, entry=entry)
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
    if any(input.startswith("past_") for input in feed):
        return  # a cache has no padding to cut
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


def check_last_logits(ferrite, graph, name, full, options, files, results):
    """Compiled with --last-logits: the last row of the full logits, bit for bit."""
    artifact = full.scratch / "last.so"
    try:
        execute(ferrite, "compile", graph, "-o", artifact, "--quiet", "--last-logits",
                *options, limit=180)
        last = Model(ferrite, artifact, full.scratch, full.threads)
        for path in files:
            feed, _ = load_case(path)
            want = full.run(feed)
            want["logits"] = want["logits"][:, -1:]
            wrong = differences(last.run(feed), want)
            results.add(not wrong, f"{name} {path.name.split('.')[1]} bits: last logits",
                        "differ: " + ", ".join(wrong) if wrong else "equal")
    except Failed as error:
        results.add(False, f"{name} bits: last logits", error)


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


def compile_model(ferrite, graph, name, artifact, options, results):
    """With the gate on fusion; without it the numbers are still worth knowing."""
    command = [ferrite, "compile", graph, "-o", artifact, "--quiet", *options]
    start = time.monotonic()
    try:
        execute(*command, "--require-fusion=attention:all", limit=180)
        results.add(True, f"{name} compile", f"in {time.monotonic() - start:.1f} s")
        return results.add(True, f"{name} fusion", "all of attention")
    except Failed as error:
        gate = error
    try:
        execute(*command, limit=180)
    except Failed as error:
        return results.add(False, f"{name} compile", error)
    results.add(True, f"{name} compile", f"in {time.monotonic() - start:.1f} s")
    results.add(False, f"{name} fusion", gate)
    return True


def check_mask(name, report, wanted, results):
    """What lengths or padding hide beside it is data: "a mask"."""
    seen = [row["sees"].removesuffix(", a mask")
            for row in json.loads(report.read_text())["attention"] if row["entry"] == "main"]
    results.add(seen == wanted, f"{name} mask", "; ".join(seen))


def check_model(ferrite, source, folder, args, results):
    name = source.name.removesuffix(".onnx")
    family = name.split(".")[0]
    scratch = folder / name  # models are checked at once
    scratch.mkdir(exist_ok=True)
    kind = kind_of(family)
    files = sorted(HERE.glob(f"{family}.*.npz"))
    if not files:
        results.add(False, name, f"no reference {family}.*.npz")
        return
    graph = place(source, scratch)
    if graph is None:
        results.skip(name, f"the package {PACKAGE.replace('_', '-')}, which holds the weights,"
                           f" is not installed for {sys.executable}")
        return
    artifact = (args.keep or scratch) / f"{name}.so"
    both = name in BOTH_LEVELS
    levels = [] if both else [f"--cpu={os.environ.get('FERRITE_CPU') or 'native'}"]
    report = scratch / "report.json"
    sees = SEES.get(family.removesuffix("-kv"))
    if compile_model(ferrite, graph, name, artifact,
                     levels + ([f"--report={report}"] if sees else []), results):
        if sees:
            check_mask(name, report, sees, results)
        for level in [None, "avx2"] if both else [None]:
            model = Model(ferrite, artifact, scratch, args.threads, level)
            check_references(name, model, files, TOLERANCE[kind], results,
                             ENTRY_FLAGS.get(name))
            if args.bits:
                for case in BIT_MODELS.get(name, []):
                    check_bits(name, model, HERE / f"{family}.{case}.npz",
                               LONGEST.get(family), results)
        if name in LAST_LOGITS:
            check_last_logits(ferrite, graph, name, Model(
                ferrite, artifact, scratch, args.threads), levels, files, results)
    if not args.keep:
        shutil.rmtree(scratch)


def check_operator(ferrite, source, folder, args, results):
    """Models of one node each, in one file; see ../models/references/contrib.py."""
    cases = {}
    with np.load(source) as file:
        for entry in file.files:
            case, key = entry.split("/", 1)
            cases.setdefault(case, {})[key] = file[entry]
    for case, parts in cases.items():
        scratch = folder / f"{source.stem}.{case}"
        scratch.mkdir(exist_ok=True)
        graph, artifact = scratch / "model.onnx", scratch / "model.so"
        graph.write_bytes(parts.pop("model").tobytes())
        feed = {key[3:]: value for key, value in parts.items() if key.startswith("in.")}
        what = f"{source.stem} {case}"
        try:
            execute(ferrite, "compile", graph, "-o", artifact, "--quiet",
                    f"--cpu={os.environ.get('FERRITE_CPU') or 'native'}", limit=180)
            got = Model(ferrite, artifact, scratch, args.threads).run(feed)
        except Failed as error:
            results.add(False, what, error)
            continue
        notes, good = [], True
        for key, want in parts.items():
            if not key.startswith("out."):
                continue
            output = got.get(key[4:])
            if output is None or output.shape != want.shape or output.dtype != want.dtype:
                good = False
                notes.append(f"{key[4:]} is {output is not None and output.shape}")
                continue
            error = relative_error(output, want)
            good &= error <= TOLERANCE["f16" if want.dtype == np.float16 else "f32"]
            notes.append(f"{key[4:]} {error:.1e}")
        results.add(good, what, ", ".join(notes))
        if not args.keep:
            shutil.rmtree(scratch)


def read_exceptions():
    """Lines of MODEL KIND: REASON."""
    known = {}
    for line in (HERE / "exceptions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            what, reason = line.split(": ", 1)
            known[tuple(what.split())] = reason
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--models", type=pathlib.Path, default=HERE.parent / "models")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the artifacts in this folder")
    parser.add_argument("--no-bits", dest="bits", action="store_false")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)),
                        help="models at once (default: the CPUs of this process)")
    parser.add_argument("--no-exceptions", action="store_true", help="take none of them")
    args = parser.parse_args()
    ferrite = shutil.which(args.ferrite)
    if ferrite is None:
        parser.error(f"{args.ferrite} is not a program")
    sources = sorted(p for p in args.models.glob("*.onnx") if args.only in p.name)
    operators = sorted(p for p in (HERE / "operators").glob("*.npz") if args.only in p.name)
    if not sources and not operators:
        parser.error(f"no model in {args.models} has '{args.only}' in its name")
    results = Results({} if args.no_exceptions else read_exceptions())
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ferrite-e2e-") as temporary:
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(args.jobs) as pool:
            done = [pool.submit(check, os.path.abspath(ferrite), source,
                                pathlib.Path(temporary), args, results)
                    for check, these in ((check_model, sources), (check_operator, operators))
                    for source in these]
        for each in done:
            each.result()  # an exception of ours is not a failed model
    results.stale()
    skipped = f", {results.skipped} models skipped" if results.skipped else ""
    known = f", {len(results.excepted)} known exceptions" if results.excepted else ""
    return results.finish(f"{known}{skipped} ({time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
    sys.exit(main())
