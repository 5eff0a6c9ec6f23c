#!/usr/bin/env python3
"""Runs the libFuzzer targets for a while, on seeds made from the tests' models.

    run_fuzz.py BIN [--seconds 30] [--only import] [--keep DIR]

BIN has ferrite-{import,artifact,npz}-fuzz, which `ninja ferrite-fuzzers` builds. A
crash, a failed assertion, an input that takes over 10 s or 1.5 GB fails; with --keep
the input is left there. Deterministic but for time: the seed of each run is fixed.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

TEST = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TEST / "hostile"))
import corpus
import bytes_cases  # noqa: F401
import graph_cases  # noqa: F401
import op_cases  # noqa: F401
import seeds
import tensor_cases  # noqa: F401


def import_seeds(folder):
    for name in corpus.CASES:
        place = folder / "scratch" / name
        place.mkdir(parents=True)
        made = corpus.build(name, place)
        if made and len(made) < 20000:
            (folder / name).write_bytes(made)
    for name, data in [*seeds.build().items(), ("small", corpus.small().SerializeToString())]:
        (folder / f"valid-{name}").write_bytes(data)
    for path in sorted((TEST / "models").glob("*.onnx")):
        if path.stat().st_size < 60000:
            (folder / path.name).write_bytes(path.read_bytes())


def artifact_seeds(folder, bin):
    for path in (bin.parent / "test" / "unit" / "runtime" / "models").glob("*.so"):
        (folder / path.name).write_bytes(path.read_bytes())
    # "T" and edits of the tables: each integer becomes each of the edges somewhere.
    (folder / "tables").write_bytes(b"T")
    for at in range(96):
        (folder / f"tables-{at}").write_bytes(b"T" + bytes([at, at % 16]))


def npz_seeds(folder):
    rng = np.random.default_rng(1)
    np.savez(folder / "stored.npz", x=rng.random((2, 3), np.float32), y=np.int64(7))
    np.savez_compressed(folder / "deflated.npz", x=np.zeros((40, 40)), z=np.ones(3, bool))
    np.save(folder / "fortran.npy", np.asfortranarray(np.ones((3, 4), ">f4")))
    np.save(folder / "empty.npy", np.zeros((0, 4), np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--only", default="import,artifact,npz")
    parser.add_argument("--keep", type=pathlib.Path, help="where inputs that fail are left")
    args = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only.split(","):
            program = args.bin / f"ferrite-{name}-fuzz"
            corpora, found = pathlib.Path(scratch) / name, (args.keep or pathlib.Path(scratch)) / f"found-{name}"
            corpora.mkdir()
            found.mkdir(parents=True, exist_ok=True)
            {"import": import_seeds, "npz": npz_seeds,
             "artifact": lambda folder: artifact_seeds(folder, args.bin.resolve())}[name](corpora)
            queue = corpora / "queue"
            queue.mkdir()
            run = subprocess.run([program, f"-max_total_time={args.seconds}", "-timeout=10", "-rss_limit_mb=1500",
                                  "-malloc_limit_mb=1000", "-max_len=20000", "-seed=20261121", "-detect_leaks=0",
                                  f"-artifact_prefix={found}/", "-print_final_stats=1", queue, corpora],
                                 capture_output=True, text=True, errors="replace")
            lines = run.stderr.splitlines()
            runs = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
            good = run.returncode == 0 and runs and int(runs[0]) > 100
            passed, failed = passed + bool(good), failed + (not good)
            print(f"{'PASS' if good else 'FAIL'} {name}: {runs[0] if runs else 'no'} runs")
            if not good:
                print("\n".join(lines[-60:]))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
