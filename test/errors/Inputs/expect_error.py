"""Runs `ferrite compile MODEL` and checks how it fails: expect_error.py CODE MODEL

Prints the message for FileCheck. Fails unless there is exactly one line, the exit
code is CODE, no output file is left, and time and memory stay within bounds.
"""
import os
import resource
import subprocess
import sys
import time


def main():
    code, model = int(sys.argv[1]), sys.argv[2]
    output = model + ".so"
    folder = os.path.dirname(os.path.abspath(model))
    stem = os.path.basename(model)
    before = set(os.listdir(folder))
    start = time.monotonic()
    run = subprocess.run(
        ["ferrite", "compile", model, "-o", output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    seconds = time.monotonic() - start
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(run.stderr, end="")
    problems = []
    if run.returncode != code:
        problems.append(f"exit code {run.returncode}, expected {code}")
    lines = run.stderr.splitlines()
    if len(lines) != 1 or not lines[0].startswith("ferrite: error: "):
        problems.append(f"{len(lines)} lines on stderr, expected one error")
    if run.stdout:
        problems.append("something on stdout")
    # Other tests write beside this one; a temporary file would hold the name.
    left = {name for name in set(os.listdir(folder)) - before if stem in name}
    if left:
        problems.append(f"left {sorted(left)}")
    # Sanitizers slow it down and reserve memory: they test something else.
    if not os.environ.get("FERRITE_SANITIZED"):
        if seconds > 5:
            problems.append(f"took {seconds:.1f} s")
        if megabytes > 500:
            problems.append(f"took {megabytes:.0f} MB")
    for problem in problems:
        print("expect_error:", problem, file=sys.stderr)
    return 1 if problems else 0


sys.exit(main())
