"""What the tests of single models share: ferrite's two commands, and cases by name."""
import argparse
import pathlib
import subprocess
import tempfile

import numpy as np


def compile_model(ferrite, model, artifact, *options):
    return subprocess.run([ferrite, "compile", model, "-o", artifact, "--quiet", *options],
                          capture_output=True, text=True, timeout=300)


def run_model(ferrite, artifact, folder, feed, *options):
    """(outputs by name, None), or (None, what ferrite says is wrong)."""
    np.savez(folder / "in.npz", **feed)
    done = subprocess.run([ferrite, "run", artifact, "--inputs", folder / "in.npz",
                           "--outputs", folder / "out.npz", *options],
                          capture_output=True, text=True, timeout=60)
    if done.returncode:
        return None, done.stderr.strip()
    with np.load(folder / "out.npz") as got:
        return dict(got), None


def main(description, cases):
    """Runs those that --only names. A case takes the program and a folder, and returns
    None or what is wrong."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("ferrite")
    parser.add_argument("--only", default="", metavar="SUBSTRING")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or pathlib.Path(scratch)
        folder.mkdir(exist_ok=True)
        names = [name for name in cases if options.only in name]
        for name in names:
            why = cases[name](options.ferrite, folder)
            failed += why is not None
            print(f"{'FAIL' if why else 'PASS'} {name:32s} {why or ''}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return failed != 0
