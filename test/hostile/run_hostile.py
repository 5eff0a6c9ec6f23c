#!/usr/bin/env python3
"""Compiles some 250 malformed models and checks how each is refused.

    run_hostile.py FERRITE [--only RE] [--keep DIR] [--list]

The promises, for each: one line on stderr that names the node, tensor or file and says
what is wrong, the exit code of its author (1, the model) or ours (2, a limitation), no
output file, under 5 s and within 500 MB of address space (`ulimit -v`).
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import corpus
import bytes_cases  # noqa: F401  (each adds its cases)
import graph_cases  # noqa: F401
import op_cases  # noqa: F401
import tensor_cases  # noqa: F401

SECONDS, BYTES = 5, 500_000_000


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def problems_of(ferrite, name, folder):
    """What is wrong with how a case is refused, and the message."""
    code, message, _ = corpus.CASES[name]
    path = folder / "model.onnx"
    made = corpus.build(name, folder)
    if made is not None:
        path.write_bytes(made)
    before = {each.name for each in folder.iterdir()}
    start = time.monotonic()
    try:
        run = subprocess.run([ferrite, "compile", path, "-o", folder / "model.so", "--quiet"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                             timeout=4 * SECONDS, preexec_fn=limit_memory)
    except subprocess.TimeoutExpired:
        return [f"still runs after {4 * SECONDS} s"], ""
    seconds = time.monotonic() - start
    found = []
    if run.returncode not in (code if isinstance(code, tuple) else (code,)):
        found.append(f"exit code {run.returncode}, not {code}")
    lines = run.stderr.splitlines()
    if len(lines) != 1 or not lines[0].startswith("ferrite: error: ") or len(lines[0]) > 2000:
        found.append(f"{len(lines)} lines of {len(run.stderr)} characters, not one error")
    elif not re.search(message, lines[0]):
        found.append(f"the message does not match {message!r}")
    if run.stdout:
        found.append("something on stdout")
    left = {each.name for each in folder.iterdir()} - before
    if left:
        found.append(f"left {sorted(left)}")
    if seconds > SECONDS:
        found.append(f"took {seconds:.1f} s")
    return found, run.stderr[:600]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--only", default="", help="cases whose name has this regular expression")
    parser.add_argument("--keep", type=pathlib.Path, help="write the models here, and leave them")
    parser.add_argument("--list", action="store_true", help="print the message of each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    names = [name for name in corpus.CASES if re.search(args.only, name)]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = args.keep or pathlib.Path(scratch)

        def check(name):
            folder = root / name / "model"
            folder.mkdir(parents=True)
            return name, *problems_of(args.ferrite, name, folder)

        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for name, problems, message in pool.map(check, names):
                passed, failed = passed + (not problems), failed + bool(problems)
                if problems or args.list:
                    print(f"{'FAIL' if problems else 'PASS'} {name}: {'; '.join(problems)}\n     {message.strip()}")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
