#!/usr/bin/env python3
"""Runs ONNX's backend tests through ferrite.backend and compiled artifacts.

    run_conformance.py [--ferrite PROGRAM] [--only REGEX] [--triage FILE] [--json FILE]

The tests are those of the installed package `onnx`, all but those that download a model.
Each test compiles for this machine's best ISA level, runs, and compares with the
tolerances of the suite. Workers are processes, one a core: a crash or a test that takes
longer than --timeout, alone on the machine, costs that test alone.

expected_failures.txt lists what does not pass, and why. A listed test that passes is a
failure, of the table: it only shrinks by being corrected. The last line is
"N passed, N failed".
"""

import argparse
import collections
import contextlib
import io
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import tempfile
import time
import unittest
import warnings

FOLDER = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(FOLDER, "expected_failures.txt")
# What must never happen comes first in every list.
KINDS = ("wrong", "crash", "hang", "bug", "invalid", "error", "refused")


def collect(parent):
    """The tests by name, as ONNX's own runner makes them."""
    import onnx.backend.test.runner as runner
    import ferrite.backend

    class Backend(ferrite.backend.FerriteBackend):
        """With as many threads as `compile_threads` says."""

        @classmethod
        def prepare(cls, model, device="CPU", **kwargs):
            return super().prepare(model, device, threads=compile_threads, timeout=parent.timeout, **kwargs)

    cases = {}
    for case in runner.Runner(Backend).test_cases.values():
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
            name = test.id().rsplit(".", 1)[-1]
            if name.endswith("_cpu"):
                cases[name[: -len("_cpu")]] = test
    return cases


def describe(error):
    """(kind, one line) of an exception."""
    import subprocess
    import ferrite

    text = " ".join(str(error).split())
    if isinstance(error, ferrite.CompileError):
        text = re.sub(r"^ferrite: error: ", "", text)
        kind = {1: "invalid", 2: "refused", 3: "bug"}.get(error.exit_code, "crash")
        return kind, text
    if isinstance(error, subprocess.TimeoutExpired):
        return "hang", f"the compiler takes longer than {error.timeout} s"
    if isinstance(error, ferrite.Error):
        return "error", text
    if isinstance(error, AssertionError):
        return "wrong", text
    return "error", f"{type(error).__name__}: {text}"


class Result(unittest.TestResult):
    """Keeps the exception: its type says what happened."""

    what = ("passed", "")

    def addError(self, test, err):
        self.what = describe(err[1])

    def addFailure(self, test, err):
        self.what = describe(err[1])

    def addSkip(self, test, reason):
        self.what = ("skipped", reason)


def work(cases, connection):
    """A worker: runs the tests whose names arrive."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    while True:
        name = connection.recv()
        if name is None:
            return
        result = Result()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            cases[name].run(result)
        connection.send(result.what)


# One a test, since there is a test a core.
compile_threads = 1


class Worker:
    def __init__(self, cases):
        self.cases = cases
        self.name = None
        self.start()

    def start(self):
        self.connection, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=work, args=(self.cases, other), daemon=True)
        self.process.start()
        other.close()

    def give(self, name, limit):
        self.name, self.deadline = name, time.monotonic() + limit
        self.connection.send(name)

    def poll(self, limit):
        """What came of the test, or None while it runs."""
        if self.connection.poll():
            try:
                what = self.connection.recv()
            except (EOFError, ConnectionResetError):
                self.process.join()
                code = self.process.exitcode
                self.start()
                cause = signal.Signals(-code).name if code and code < 0 else f"exit {code}"
                what = ("crash", f"the run ended with {cause}")
        elif time.monotonic() > self.deadline:
            self.process.kill()
            self.process.join()
            self.start()
            what = ("hang", f"takes longer than {limit:g} s")
        else:
            return None
        self.name = None
        return what


def run(names, cases, jobs, limit):
    """{name: (kind, message)}"""
    workers = [Worker(cases) for _ in range(min(jobs, max(len(names), 1)))]
    waiting, results = list(reversed(names)), {}
    begin = shown = time.monotonic()
    while len(results) < len(names):
        for worker in workers:
            if worker.name is not None:
                name = worker.name
                what = worker.poll(limit)
                if what is not None:
                    results[name] = what
            if worker.name is None and waiting:
                worker.give(waiting.pop(), limit)
        multiprocessing.connection.wait([w.connection for w in workers], 0.2)
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            passed = sum(kind == "passed" for kind, _ in results.values())
            print(
                f"{len(results)} of {len(names)} in {shown - begin:.0f} s, {passed} passed",
                flush=True,
            )
    for worker in workers:
        worker.connection.send(None)
        worker.process.join(5)
    return results


def read_table():
    """[(compiled pattern, reason)]"""
    rows = []
    if not os.path.exists(TABLE):
        return rows
    with open(TABLE, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            pattern, tab, reason = line.partition("\t")
            if not tab or not reason.strip():
                sys.exit(f"{TABLE}:{number}: expects a name or pattern, a tab and a reason")
            rows.append((re.compile(pattern), reason.strip()))
    return rows


def may_expect(kind, reason):
    """A refusal may be listed. A crash, a hang and a wrong result may not, but for a
    last digit that the reason shows to be no worse than the suite's."""
    return kind in ("invalid", "error", "refused") or (
        kind == "wrong" and reason.startswith("rounding: ")
    )


def shape_of(message):
    """Messages that differ only in names and numbers are one reason."""
    message = re.sub(r"node '[^']*'", "node", message)
    message = re.sub(r"'[^']*'", "'..'", message)
    message = re.sub(r"tensor<[^>]*>", "tensor", message)
    return re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "N", message)[:160]


def write_triage(path, results):
    groups = collections.defaultdict(list)
    for name, (kind, message) in results.items():
        if kind in KINDS:
            groups[kind, shape_of(message)].append((name, message))
    passed = sum(kind == "passed" for kind, _ in results.values())
    with open(path, "w", encoding="utf-8") as file:
        print(f"{passed} of {len(results)} passed", file=file)
        for kind in KINDS:
            of_kind = {k: v for k, v in groups.items() if k[0] == kind}
            count = sum(map(len, of_kind.values()))
            print(f"\n=== {kind}: {count}", file=file)
            for (_, shape), tests in sorted(of_kind.items(), key=lambda x: -len(x[1])):
                print(f"\n{len(tests)} x {shape}", file=file)
                for name, message in tests:
                    print(f"    {name}\t{message[:300]}", file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ferrite", help="the program (default: as ferrite.compile finds it)")
    parser.add_argument("--only", help="a regular expression: run these tests alone")
    parser.add_argument("--triage", help="write all failures to this file, by reason")
    parser.add_argument("--json", help="write {test: [kind, message]} to this file")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=float, default=10, help="seconds (default: 10)")
    options = parser.parse_args()
    if options.ferrite:
        os.environ["FERRITE_EXECUTABLE"] = os.path.abspath(options.ferrite)

    # Models of the suite are unpacked below the home directory: keep it clean.
    home = tempfile.TemporaryDirectory(prefix="ferrite-conformance-")
    os.environ["ONNX_HOME"] = home.name
    os.environ["TMPDIR"] = tempfile.tempdir = home.name
    begin = time.monotonic()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        cases = collect(options)
    names = sorted(n for n in cases if not options.only or re.search(options.only, n))
    print(f"{len(names)} tests, collected in {time.monotonic() - begin:.0f} s", flush=True)
    results = run(names, cases, options.jobs, options.timeout)
    # Another test ran beside each, on a machine that may be slow: once more, alone.
    slow = [name for name in names if results[name][0] == "hang"]
    if slow:
        global compile_threads
        compile_threads = options.jobs
        results.update(run(slow, cases, 1, options.timeout))
    home.cleanup()

    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=0)
    if options.triage:
        write_triage(options.triage, results)

    table = read_table()
    used = set()
    failures, expected = [], 0
    for name in names:
        kind, message = results[name]
        row = next((i for i, (p, _) in enumerate(table) if p.fullmatch(name)), None)
        if row is not None:
            used.add(row)
        if kind in ("passed", "skipped"):
            if row is not None:
                failures.append((name, f"passes, but the table says: {table[row][1]}"))
        elif row is None or not may_expect(kind, table[row][1]):
            failures.append((name, f"{kind}: {message}"))
        else:
            expected += 1
    if not options.only:
        for i, (pattern, _) in enumerate(table):
            if i not in used:
                failures.append((pattern.pattern, "the table's pattern matches no test"))
    for name, message in failures:
        print(f"FAILED {name}: {message[:400]}")
    counts = collections.Counter(kind for kind, _ in results.values())
    print(", ".join(f"{n} {kind}" for kind, n in counts.most_common()))
    print(f"{expected} expected failures, {time.monotonic() - begin:.0f} s")
    print(f"{counts['passed']} passed, {len(failures)} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
