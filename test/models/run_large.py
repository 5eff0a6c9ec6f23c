#!/usr/bin/env python3
"""Compiles and runs a 3 GiB model: the slow tier of tools/check.

    run_large.py FERRITE [--gib 3]

Makes the model of make_large.py, compiles it (its weights go to a file beside the
artifact), and compares the result with the exact one. Anonymous memory of the
compile must stay under 500 MB whatever the weights, and under 2 GB when it
quantizes them. Needs about 6 GiB of disk, or
says why it skips.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np


def anonymous_peak(command):
    """Runs a command; the most anonymous memory it had, in bytes."""
    process, peak = subprocess.Popen(command), 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in status.splitlines()
                                if line.startswith("RssAnon"))])
        except OSError:
            pass
        time.sleep(0.01)
    return process.returncode, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--gib", type=float, default=3)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--gptq", action="store_true", help="of a large model, too: minutes")
    args = parser.parse_args()
    passed = failed = 0

    def check(name, holds, detail):
        nonlocal passed, failed
        passed, failed = passed + bool(holds), failed + (not holds)
        print(f"{'PASS' if holds else 'FAIL'} {name}: {detail}")

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        if shutil.disk_usage(folder).free < (args.gib * 2 + 1) * 2**30:
            print(f"SKIP large model: {folder} has less than {args.gib * 2 + 1:.0f} GiB free")
            print("0 passed, 0 failed")
            return 1
        maker = pathlib.Path(__file__).with_name("make_large.py")
        subprocess.run([sys.executable, maker, folder, "--gib", str(args.gib),
                        "--size", str(args.size)], check=True)
        artifact = folder / "large.so"
        code, peak = anonymous_peak([args.ferrite, "compile", folder / "large.onnx", "-o",
                                     artifact, "--quiet"])
        check("compile", code == 0, f"exit {code}")
        check("anonymous memory", peak < 500e6, f"{peak / 1e6:.0f} MB")
        if code == 0:
            out = folder / "out.npz"
            code = subprocess.run([args.ferrite, "run", artifact, "--inputs",
                                   folder / "in.npz", "--outputs", out]).returncode
            check("run", code == 0, f"exit {code}")
            with np.load(out) as got, np.load(folder / "expected.npz") as expected:
                equal = all(np.array_equal(got[k], expected[k]) for k in expected.files)
            check("result", equal, "equal" if equal else "differs")
        for name, options in (("nearest", ["--quantize=w4g64"]),
                              ("gptq", ["--quantize=w4g64,gptq", f"--calib={folder / 'in.npz'}"])):
            # The moments of one input, [size, size] of double, may be held besides.
            most = 2e9 if args.gib > 1 else 500e6 + 2 * 8 * args.size ** 2
            if name == "gptq" and args.gib > 1 and not args.gptq:
                continue
            artifact.unlink(missing_ok=True)
            begin = time.monotonic()
            code, peak = anonymous_peak([args.ferrite, "compile", folder / "large.onnx", "-o",
                                         artifact, "--quiet", *options])
            check(f"quantize, {name}", code == 0 and artifact.exists(),
                  f"exit {code}, {time.monotonic() - begin:.0f} s")
            check(f"anonymous memory, {name}", peak < most, f"{peak / 1e6:.0f} MB")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
