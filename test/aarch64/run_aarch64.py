#!/usr/bin/env python3
"""Compiles models for AArch64 and runs them under qemu-user, against PyTorch's answers.

    run_aarch64.py FERRITE [--only SUBSTRING]

The runtime and runner.cpp are compiled with Debian's cross compiler; models, cases and
tolerances are those of test/e2e. Kinds of checks: the outputs, at one thread and at two
with the same bits; and the code: a product's inner loop multiplies and adds in Neon
registers, and neither spills nor calls. Without qemu or the cross compiler it is skipped.
"""
import argparse
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from run_e2e import load_case, relative_error  # noqa: E402
from tables import TOLERANCE  # noqa: E402

COMPILER, EMULATOR, SYSROOT = "aarch64-linux-gnu-g++", "qemu-aarch64", "/usr/aarch64-linux-gnu"
# Of FerriteDType.
DTYPES = {0: np.float32, 1: np.float16, 2: np.uint16, 3: np.float64, 6: np.int32, 7: np.int64,
          8: np.uint8, 12: np.bool_}
# One of each kind of kernel: encoders, decoders, experts, images, every element type.
MODELS = ["bert.dynamo-20-sdpa", "bert-f16.dynamo-20-sdpa", "bert-bf16.dynamo-20-sdpa",
          "bert-dynamic-int8", "bert-nbits-int4", "deberta.dynamo-20-eager",
          "gemma2-kv.dynamo-20-eager", "gpt-oss-kv.dynamo-20-eager", "gpt2-kv.dynamo-20-sdpa",
          "llama-kv.dynamo-20-sdpa", "mixtral.dynamo-20-sdpa", "modernbert.dynamo-20-sdpa",
          "swin-sdpa.dynamo-20-sdpa", "t5-both.dynamo-20-sdpa", "vit.dynamo-20-sdpa",
          "whisper-both.dynamo-20-sdpa"]


def build_runner(folder):
    runner = folder / "runner"
    sources = [*sorted((ROOT / "runtime/core").glob("*.cpp")),
               *sorted((ROOT / "runtime/cpu").glob("*.cpp")), HERE / "runner.cpp"]
    xxhash = folder / "include"  # the header alone: /usr/include is another machine's
    xxhash.mkdir()
    for header in pathlib.Path("/usr/include").glob("xxh*.h"):
        shutil.copy(header, xxhash)
    subprocess.run([COMPILER, "-O2", "-std=c++17", "-fno-threadsafe-statics", "-D_GNU_SOURCE",
                    '-DFERRITE_VERSION_STRING="test"', f"-I{ROOT / 'runtime'}",
                    f"-I{ROOT / 'include'}", f"-I{xxhash}", *map(str, sources), "-o", runner,
                    "-ldl", "-lpthread"], check=True)
    return runner


def write_tensors(path, feed):
    codes = {np.dtype(kind): code for code, kind in DTYPES.items()}
    with open(path, "wb") as file:
        for name, array in feed.items():
            file.write(struct.pack("<iii", len(name), codes[array.dtype], array.ndim))
            file.write(struct.pack(f"<{array.ndim}q", *array.shape))
            file.write(name.encode() + np.ascontiguousarray(array).tobytes())


def read_tensors(path):
    data, at, tensors = path.read_bytes(), 0, {}
    while at < len(data):
        length, code, rank = struct.unpack_from("<iii", data, at)
        shape = struct.unpack_from(f"<{rank}q", data, at + 12)
        at += 12 + 8 * rank
        name = data[at:at + length].decode()
        kind, count = np.dtype(DTYPES[code]), int(np.prod(shape))
        tensors[name] = np.frombuffer(data, kind, count, at + length).reshape(shape)
        at += length + count * kind.itemsize
    return tensors


class Checks:
    def __init__(self, ferrite, folder):
        self.ferrite, self.folder = ferrite, folder
        self.runner = build_runner(folder)
        self.passed = self.failed = 0

    def add(self, good, what, detail=""):
        print("PASS" if good else "FAIL", what, detail, flush=True)
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)

    def compile(self, name, *options):
        artifact = self.folder / f"{name}.so"
        done = subprocess.run([self.ferrite, "compile", ROOT / f"test/models/{name}.onnx", "-o",
                               artifact, "--cpu=neon", "--quiet", *options],
                              capture_output=True, text=True, timeout=300)
        if done.returncode:
            self.add(False, f"{name} compile", done.stderr.strip()[-300:])
            return None
        return artifact

    def run(self, artifact, feed, threads):
        inputs, outputs = self.folder / "in", self.folder / "out"
        write_tensors(inputs, feed)
        done = subprocess.run([EMULATOR, "-L", SYSROOT, self.runner, artifact, inputs, outputs,
                               str(threads)], capture_output=True, text=True, timeout=300)
        if done.returncode:
            return done.stderr.strip()[-300:] or f"exit {done.returncode}"
        return read_tensors(outputs)

    def model(self, name):
        artifact = self.compile(name)
        family = name.split(".")[0]
        suffix = family.rsplit("-", 1)[-1]
        tolerance = TOLERANCE[suffix if suffix in TOLERANCE else "f32"]
        for path in sorted((HERE.parent / "e2e").glob(f"{family}.*.npz")) if artifact else ():
            feed, wanted = load_case(path)
            what = f"{name} {path.name.split('.')[1]}"
            one, two = (self.run(artifact, feed, threads) for threads in (1, 2))
            if isinstance(one, str) or isinstance(two, str):
                self.add(False, what, one if isinstance(one, str) else two)
                continue
            errors = {output: relative_error(one[output], want) for output, want in wanted.items()}
            self.add(all(error <= tolerance for error in errors.values()), what,
                     ", ".join(f"{output} {error:.1e}" for output, error in errors.items()))
            same = all(one[output].tobytes() == two[output].tobytes() for output in one)
            self.add(same, f"{what} bits: 1 or 2 threads")

    def code(self):
        """The inner loop of the tile of 6 x 16: what lies between a label and the jump to it."""
        artifact = self.compile("bert.dynamo-20-sdpa")
        text = subprocess.run(["llvm-objdump", "-d", "--no-show-raw-insn", artifact],
                              capture_output=True, text=True, check=True).stdout
        tiles = [body for body in re.split(r"\n\n", text)
                 if re.match(r"[0-9a-f]+ <linear[^>]*neon[^>]*6x16>", body.lstrip())]
        self.add(bool(tiles), "code: there are tiles of 6 x 16")
        for body in tiles[:2]:
            lines = re.findall(r"^ *([0-9a-f]+):\s+(.*)$", body, re.M)
            loops = []
            for at, (address, instruction) in enumerate(lines):
                jump = re.match(r"(?:b\.\w+|cbnz|tbz|tbnz|cbz)\s.*?0x([0-9a-f]+) <", instruction)
                places = [i for i, (a, _) in enumerate(lines[:at + 1])
                          if jump and int(a, 16) == int(jump[1], 16)]
                loops += [[i for _, i in lines[first:at + 1]] for first in places]
            hot = max(loops, key=lambda loop: sum("fmla" in i for i in loop), default=[])
            products = sum("fmla" in i for i in hot)
            self.add(products >= 96, "code: 4 x 24 fmla in the loop", str(products))
            self.add(not any("[sp" in i or re.match(r"bl\b", i) for i in hot),
                     "code: neither spills nor calls in the loop")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ferrite", type=pathlib.Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    missing = [tool for tool in (COMPILER, EMULATOR, "llvm-objdump") if not shutil.which(tool)]
    if missing:
        print(f"SKIP AArch64: no {', '.join(missing)} (Debian: g++-aarch64-linux-gnu, qemu-user)")
        print("0 passed, 0 failed")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(args.ferrite.resolve(), pathlib.Path(folder))
        for name in MODELS:
            if args.only in name:
                checks.model(name)
        if not args.only:
            checks.code()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
