#!/usr/bin/env python3
"""Runs models on a GPU under compute-sanitizer.

    run_sanitizer.py FERRITE [--device cuda:0] [--only SUBSTRING] [--tools memcheck,racecheck,synccheck]

Each model of models.py, and those of run_warpgroups.py, under each tool: no error, and the results of a run
without it. There must be a GPU, a toolkit with compute-sanitizer and NVIDIA's compiler; where one is missing the
run says so and exits with 77.
"""
import argparse
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from models import CHECKED
from run_cuda import HERE, run_e2e
from run_warpgroups import HIDDEN, WIDE_MODELS, make_wide_model


def inputs_of(name, folder):
    """The model's file and inputs."""
    if name in WIDE_MODELS:
        source = folder / f"{name}.onnx"
        make_wide_model(source, *WIDE_MODELS[name])
        return source, {"x": np.random.default_rng(0).standard_normal((2, 300, HIDDEN)).astype(np.float32)}
    files = sorted((HERE.parent / "e2e").glob(f"{name.split('.')[0]}.*.npz"))
    return HERE.parent / "models" / f"{name}.onnx", run_e2e.load_case(files[-1])[0]


def check(args, name, sanitizer, folder, results):
    source, feed = inputs_of(name, folder)
    artifact, given, plain, checked = (folder / part for part in ("model.so", "in.npz", "plain.npz", "checked.npz"))
    np.savez(given, **feed)
    try:
        run_e2e.execute(args.ferrite, "compile", source, "-o", artifact, "--quiet", "--target=cuda", limit=300)
        entry = run_e2e.ENTRY_FLAGS.get(name)
        run = [args.ferrite, "run", artifact, "--inputs", given, "--device", args.device,
               *(["--entry", entry] if entry else [])]
        run_e2e.execute(*run, "--outputs", plain, limit=300)
    except run_e2e.Failed as error:
        results.add(False, name, error)
        return
    for tool in args.tools.split(","):
        checked.unlink(missing_ok=True)
        try:
            run_e2e.execute(sanitizer, "--tool", tool, "--error-exitcode", "9", *run, "--outputs", checked,
                            limit=1200)
            with np.load(plain) as want, np.load(checked) as got:
                wrong = run_e2e.differences(dict(got), dict(want))
            results.add(not wrong, f"{name} {tool}", "differ: " + ", ".join(wrong) if wrong else "no error")
        except run_e2e.Failed as error:
            results.add(False, f"{name} {tool}", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", default="")
    parser.add_argument("--tools", default="memcheck,racecheck,synccheck")
    args = parser.parse_args()
    args.ferrite = args.ferrite.resolve()
    if not pathlib.Path("/dev/nvidiactl").exists():
        print("SKIP: there is no NVIDIA GPU on this machine")
        return 77
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not sanitizer:
        print("SKIP: there is no compute-sanitizer on this machine")
        return 77
    results = run_e2e.Results()
    for name in [*CHECKED, *WIDE_MODELS]:
        if args.only in name:
            with tempfile.TemporaryDirectory() as folder:
                check(args, name, sanitizer, pathlib.Path(folder), results)
    return results.finish()


if __name__ == "__main__":
    sys.exit(main())
