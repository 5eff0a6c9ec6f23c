#!/usr/bin/env python3
"""Runs spoilt artifacts, and good ones on spoilt inputs: `ferrite run` and `inspect`.

    run_artifacts.py FERRITE [--list]

An artifact is code and is trusted as such; but a file that was cut off, is of another
machine or version, or has lost its weights is refused before any of it runs. Inputs are
not trusted at all. Each case: one line that says what is wrong, exit code 1, no output
file, under 5 s and 500 MB.
"""
import argparse
import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from corpus import T, model, node, tensor, value
from run_hostile import SECONDS, limit_memory

IDS = np.array([[1, 2, 3]], np.int64)
MASK = np.ones((1, 3), np.float32)


def source():
    """ids [batch, sequence] into a table of 10 rows, times mask: y."""
    table = np.arange(10 * 20000, dtype=np.float32).reshape(10, 20000)  # above 64 KiB: a weight
    return model([node("Gather", "table ids", "rows", "gather"), node("Unsqueeze", "mask one", "wide", "unsqueeze"),
                  node("Mul", "rows wide", "y", "mul")],
                 inputs=[value("ids", ["batch", "sequence"], T.INT64), value("mask", ["batch", "sequence"])],
                 weights=[tensor("table", table), tensor("one", [2], np.int64)]).SerializeToString()


def npz(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def npy(text, data=b"", version=b"\x01\x00"):
    """An .npy file with a header of our own."""
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name + ".npy", data)
    return out.getvalue()


def good():
    return npz(ids=IDS, mask=MASK)


def header(dims="(1, 3)", descr="'<i8'", order="False"):
    return zipped(ids=npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {dims}, }}", IDS.tobytes()),
                  mask=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }", MASK.tobytes()))


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def directory(data, at, new):
    """With a field of the first entry of the zip's directory changed."""
    return patched(data, data.index(b"PK\x01\x02") + at, new)


INPUTS = {
    "empty": (lambda: b"", "in.npz"),
    "text": (lambda: b"ids: 1 2 3\n" * 30, "in.npz"),
    "noise": (lambda: np.random.default_rng(3).bytes(5000), "in.npz"),
    "cut-by-its-end": (lambda: good()[:-30], "in.npz"),
    "cut-in-half": (lambda: good()[:len(good()) // 2], "in.npz"),
    "only-its-end": (lambda: good()[-22:], "in.npz"),
    "empty-archive": (lambda: b"PK\x05\x06" + bytes(18), "in.npz|ids"),
    "of-no-arrays": (lambda: zipped(ids=b"hello"), "ids"),
    "compressed-size-of-a-bomb": (lambda: directory(good(), 20, struct.pack("<I", 0xfffffff0)), "in.npz"),
    "size-of-a-bomb": (lambda: directory(good(), 24, struct.pack("<I", 0xfffffff0)), "in.npz"),
    "offset-beyond-the-file": (lambda: directory(good(), 42, struct.pack("<I", 0xfffffff0)), "in.npz"),
    "checksum-wrong": (lambda: patched(good(), good().index(IDS.tobytes()), b"\x07"), "ids"),
    "method-unknown": (lambda: directory(good(), 10, b"\x63\x00"), "in.npz|ids"),
    "encrypted": (lambda: directory(good(), 8, b"\x01\x00"), "in.npz|ids"),
    "deflated-noise": (lambda: directory(good(), 10, b"\x08\x00"), "in.npz|ids"),
    "input-missing": (lambda: npz(ids=IDS), "mask"),
    "input-twice": (lambda: zipped(ids=b"", mask=b"").replace(b"mask.npy", b"ids1.npy").replace(b"ids1.npy", b"ids.npy\0"), "in.npz|ids|mask"),
    "type-wrong": (lambda: npz(ids=IDS.astype(np.float64), mask=MASK), "ids"),
    "rank-wrong": (lambda: npz(ids=IDS[0], mask=MASK), "ids"),
    "rank-of-30": (lambda: npz(ids=IDS.reshape([1] * 29 + [3]), mask=MASK), "ids"),
    "dims-that-disagree": (lambda: npz(ids=IDS, mask=np.ones((1, 4), np.float32)), "mask|sequence"),
    "no-elements": (lambda: npz(ids=np.zeros((0, 3), np.int64), mask=np.zeros((0, 3), np.float32)), "batch|ids|mask"),
    "id-outside": (lambda: npz(ids=np.array([[1, 10, 3]]), mask=MASK), "ids"),
    "id-int64-min": (lambda: npz(ids=np.array([[1, -2**63, 3]]), mask=MASK), "ids"),
    "pickled-objects": (lambda: header(descr="'|O'"), "ids"),
    "strings": (lambda: npz(ids=np.array([["a", "b", "c"]]), mask=MASK), "ids"),
    "complex": (lambda: npz(ids=IDS.astype(np.complex64), mask=MASK), "ids"),
    "records": (lambda: header(descr="[('a', '<i8')]"), "ids"),
    "dim-negative": (lambda: header("(1, -3)"), "ids"),
    "dim-of-letters": (lambda: header("(1, x)"), "ids"),
    "dims-of-a-bomb": (lambda: header("(1, 1000000000000)"), "ids"),
    "dims-that-wrap": (lambda: header("(4294967296, 4294967296)"), "ids"),
    "dims-of-66-bits": (lambda: header("(1, 73786976294838206464)"), "ids"),
    "order-of-letters": (lambda: header(order="Maybe"), "ids"),
    "header-is-code": (lambda: header("(__import__('os').getpid(),)"), "ids"),
    "header-nested": (lambda: header("(" * 50 + ")" * 50), "ids"),
    "header-of-another-version": (lambda: zipped(ids=npy("{}", version=b"\x09\x00"), mask=npy("{}")), "ids"),
    "header-longer-than-the-file": (lambda: zipped(ids=b"\x93NUMPY\x01\x00\xff\xff{}", mask=b""), "ids"),
}

NOT_OURS = "is not a Ferrite model|is truncated|cannot be loaded|is for |has ABI version|has a table of|not a shared library"


def spoilt_artifacts(data):
    """Name, bytes and message of each."""
    yield "empty", b"", NOT_OURS
    yield "text", b"not an artifact\n" * 40, NOT_OURS
    yield "only-its-magic", data[:4], NOT_OURS
    yield "only-its-header", data[:64], NOT_OURS
    for percent in range(5, 100, 5):
        yield f"cut-at-{percent}-percent", data[:len(data) * percent // 100], "is truncated"
    yield "cut-by-a-byte", data[:-1], "is truncated"
    yield "of-32-bits", patched(data, 4, b"\x01"), "is for "
    yield "big-endian", patched(data, 5, b"\x02"), "is for "
    yield "an-executable", patched(data, 16, b"\x02\x00"), "is not a shared library"
    yield "of-another-machine", patched(data, 18, b"\xf3\x00"), "ELF machine 243"
    for name, at, size in (("segments", 32, 8), ("sections", 40, 8), ("entry-sizes", 54, 2), ("section-sizes", 58, 2)):
        for value_name, byte in (("far", b"\x7f"), ("ones", b"\xff")):
            yield f"{name}-{value_name}", patched(data, at, byte * size), NOT_OURS
    yield "too-many-segments", patched(data, 56, b"\xff\xff"), NOT_OURS
    yield "too-many-sections", patched(data, 60, b"\xff\xff"), NOT_OURS
    symbol = data.index(b"ferrite_model\0")
    yield "without-its-symbol", patched(data, symbol, b"Ferrite"), "without the symbol ferrite_model"
    table = data.index(struct.pack("<Q", 0x3145544952524546))
    yield "table-without-magic", patched(data, table, b"FERRITE2"), NOT_OURS
    yield "table-of-version-99", patched(data, table + 8, struct.pack("<I", 99)), "has ABI version 99 and this runtime"
    yield "table-of-another-size", patched(data, table + 12, struct.pack("<I", 8)), "has a table of 8 bytes"


class Suite:
    def __init__(self, ferrite, verbose):
        self.ferrite, self.verbose = ferrite, verbose
        self.passed = self.failed = 0

    def expect(self, name, message, command, output=None, code=1):
        try:
            run = subprocess.run([self.ferrite, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 errors="replace", timeout=SECONDS, preexec_fn=limit_memory)
            found = []
            lines = run.stderr.splitlines()
            if run.returncode != code:
                found.append(f"exit code {run.returncode}, not {code}")
            if code and (len(lines) != 1 or not re.search(message, lines[0])):
                found.append(f"not one line that matches {message!r}")
            text = run.stderr
        except subprocess.TimeoutExpired:
            found, text = [f"still runs after {SECONDS} s"], ""
        if code and output and output.exists():
            found.append("left an output file")
        self.passed, self.failed = self.passed + (not found), self.failed + bool(found)
        if found or self.verbose:
            print(f"{'FAIL' if found else 'PASS'} {name}: {'; '.join(found)}\n     {text.strip()[:500]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ferrite")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    suite = Suite(args.ferrite, args.list)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "m.onnx").write_bytes(source())
        artifact, far, out = folder / "m.so", folder / "far.so", folder / "out.npz"
        subprocess.run([args.ferrite, "compile", folder / "m.onnx", "-o", artifact, "--quiet", "--cpu=avx2"], check=True)
        subprocess.run([args.ferrite, "compile", folder / "m.onnx", "-o", far, "--weights", folder / "far.weights",
                        "--quiet", "--cpu=avx2"], check=True)
        inputs = folder / "in.npz"
        inputs.write_bytes(good())
        run = lambda what: ["run", what, "--inputs", inputs, "--outputs", out]
        suite.expect("good", "", run(artifact), code=0)
        suite.expect("good-with-far-weights", "", run(far), code=0)
        out.unlink()

        for name, data, message in spoilt_artifacts(artifact.read_bytes()):
            bad = folder / "bad.so"
            bad.write_bytes(data)
            suite.expect(f"artifact-{name}", message, run(bad), out)
            suite.expect(f"inspect-{name}", message, ["inspect", bad])
        suite.expect("artifact-is-a-folder", "not a regular file|cannot", run(folder), out)
        suite.expect("artifact-is-missing", "cannot open", run(folder / "none.so"), out)
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        suite.expect("artifact-is-a-pipe", "not a regular file", run(pipe), out)

        weights = folder / "far.weights"
        data = weights.read_bytes()
        weights.write_bytes(data[:-1])
        suite.expect("weights-cut-by-a-byte", "far.weights.*truncated or of another compile", run(far), out)
        weights.write_bytes(b"")
        suite.expect("weights-empty", "far.weights.*truncated or of another compile", run(far), out)
        weights.unlink()
        suite.expect("weights-missing", "cannot open the weights .*far.weights", run(far), out)
        weights.mkdir()
        suite.expect("weights-are-a-folder", "far.weights.* are no file|cannot", run(far), out)
        weights.rmdir()
        os.mkfifo(weights)
        suite.expect("weights-are-a-pipe", "far.weights.* are no file", run(far), out)
        weights.unlink()

        for name, (make, message) in INPUTS.items():
            inputs.write_bytes(make())
            suite.expect(f"inputs-{name}", message, run(artifact), out)
        inputs.unlink()
        inputs.mkdir()
        suite.expect("inputs-are-a-folder", "in.npz", run(artifact), out)
        inputs.rmdir()
        suite.expect("inputs-are-missing", "in.npz", run(artifact), out)
        inputs.write_bytes(good())
        suite.expect("outputs-into-no-folder", "none/out.npz|none", ["run", artifact, "--inputs", inputs, "--outputs",
                                                                   folder / "none" / "out.npz"])
    print(f"{suite.passed} passed, {suite.failed} failed")
    return int(suite.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
