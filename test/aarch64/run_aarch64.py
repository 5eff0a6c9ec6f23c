#!/usr/bin/env python3
"""Compiles models for AArch64 and runs them under qemu-user, against PyTorch's answers.

    run_aarch64.py FERRITE [--only SUBSTRING]

The runtime and runner.cpp are compiled with Debian's cross compiler; models, cases and
tolerances are those of test/e2e. Kinds of checks: the outputs, at one thread and at two
with the same bits; products of bytes, exact and with the same bits at the levels with dot
and matrix products; and the code: a product's inner loop multiplies and adds in Neon
registers, with the level's instruction, and neither spills nor calls. Without qemu or the cross compiler it is skipped.
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
import onnx
from onnx import helper, numpy_helper

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
# Of bytes: level, its largest tile, its instruction, and how many of it the tile's loop has.
BYTE_LEVELS = [("neon", "4x16", "mla", 64), ("neon_dot", "6x16", "sdot", 96),
               ("neon_i8mm", "6x16", "usmmla", 24)]
# K and N of products with rests of both, and the most rows.
SHAPES = [(1, 1), (3, 17), (4, 64), (7, 70), (8, 8), (13, 100), (37, 129), (64, 33)]


def build_runner(folder):
    runner = folder / "runner"
    sources = [*sorted((ROOT / "runtime/core").glob("*.cpp")),
               *sorted((ROOT / "runtime/cpu").glob("*.cpp")),
               *sorted((ROOT / "runtime/cuda").glob("*.cpp")), HERE / "runner.cpp"]
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

    def compile(self, name, level="neon", model=None, options=()):
        artifact = self.folder / f"{name}.{level}.so"
        model = model or ROOT / f"test/models/{name}.onnx"
        done = subprocess.run([self.ferrite, "compile", model, "-o", artifact, f"--cpu={level}",
                               "--quiet", *options], capture_output=True, text=True, timeout=300)
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

    def byte_levels(self):
        """The same bits at each level: integers are exact, and the rest is the same code."""
        name, case = "bert-dynamic-int8", "b3-s16-right"
        feed, _ = load_case(HERE.parent / "e2e" / f"{name}.{case}.npz")
        first = None
        for level, tile, instruction, count in BYTE_LEVELS:
            artifact = self.compile(name, level)
            got = self.run(artifact, feed, 1) if artifact else "no artifact"
            if isinstance(got, str):
                self.add(False, f"{name} {level}", got)
                continue
            first = first or got
            self.add(all(first[output].tobytes() == got[output].tobytes() for output in first),
                     f"{name} {level}: the bits of neon")
            self.code(artifact, "byte_linear", tile, instruction, count)

    def byte_scores(self):
        """Scores of queries and keys as bytes: the same bits at each level, near PyTorch's answer."""
        name, case = "albert", "b3-s16-right"
        feed, wanted = load_case(HERE.parent / "e2e" / f"{name}.{case}.npz")
        first = None
        for level, *_ in BYTE_LEVELS:
            artifact = self.compile(f"{name}.dynamo-20-sdpa", level, options=["--quantize=qk8"])
            got = self.run(artifact, feed, 1) if artifact else "no artifact"
            if isinstance(got, str):
                self.add(False, f"{name} qk8 {level}", got)
                continue
            first = first or got
            for output, want in wanted.items():
                seen = np.isfinite(want)
                error = relative_error(got[output][seen], want[seen])
                self.add(1e-5 < error < 5e-2 and first[output].tobytes() == got[output].tobytes(),
                         f"{name} qk8 {level}: the bits of neon", f"{error:.1e}")

    def byte_products(self):
        """Products with every kind of rest, against NumPy's integers."""
        random = np.random.default_rng(5)
        for depth, columns in SHAPES:
            weight = random.integers(-128, 128, (depth, columns), dtype=np.int8)
            node = helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])
            graph = helper.make_graph(
                [node], "product",
                [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["rows", depth])],
                [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, ["rows", columns])],
                [numpy_helper.from_array(weight, "w"),
                 numpy_helper.from_array(np.uint8(117), "zero")])
            model = self.folder / "product.onnx"
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)],
                                        ir_version=10), model)
            for level, *_ in BYTE_LEVELS:
                artifact = self.compile("product", level, model)
                bad = "" if artifact else "no artifact"
                for rows in (1, 2, 5, 6, 13) if artifact else ():
                    x = random.integers(0, 256, (rows, depth), dtype=np.uint8)
                    got = self.run(artifact, {"x": x}, 1)
                    wanted = (x.astype(np.int32) - 117) @ weight.astype(np.int32)
                    if isinstance(got, str) or not np.array_equal(got["y"], wanted):
                        bad = got if isinstance(got, str) else f"{rows} rows differ"
                self.add(not bad, f"bytes {depth} x {columns} {level}", bad)

    def code(self, artifact, kernel, tile, wanted, count):
        """The inner loop of the tile: what lies between a label and the jump to it."""
        text = subprocess.run(["llvm-objdump", "-d", "--no-show-raw-insn",
                               "--mattr=+dotprod,+i8mm", artifact],
                              capture_output=True, text=True, check=True).stdout
        tiles = [body for body in re.split(r"\n\n", text)
                 if re.match(rf"[0-9a-f]+ <{kernel}[^>]*neon[^>]*{tile}>", body.lstrip())]
        self.add(bool(tiles), f"code: {kernel} with {wanted} has tiles")
        for body in tiles[:2]:
            lines = re.findall(r"^ *([0-9a-f]+):\s+(.*)$", body, re.M)
            loops = []
            for at, (address, instruction) in enumerate(lines):
                jump = re.match(r"(?:b\.\w+|cbnz|tbz|tbnz|cbz)\s.*?0x([0-9a-f]+) <", instruction)
                places = [i for i, (a, _) in enumerate(lines[:at + 1])
                          if jump and int(a, 16) == int(jump[1], 16)]
                loops += [[i for _, i in lines[first:at + 1]] for first in places]
            hot = max(loops, key=lambda loop: sum(wanted in i for i in loop), default=[])
            products = sum(wanted in i for i in hot)
            self.add(products >= count, f"code: {count} {wanted} in the loop", str(products))
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
            checks.byte_products()
            checks.byte_scores()
            checks.byte_levels()
            artifact = checks.compile("bert.dynamo-20-sdpa")
            if artifact:
                checks.code(artifact, "linear", "6x16", "fmla", 96)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
